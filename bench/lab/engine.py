"""An engine that computes nothing: it carries out plans and says how long each step would take.

It keeps of each slot what a real engine keeps (ipc/engine.py): what is known of the request, how
many tokens it may still have. Every token it gives is 0.
Cost: a few array operations a step, and what is special in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.lab.engine_model import EngineModel
from ipc.engine import Ended, Plan, Report
from ipc.llm import FinishReason

INT = np.dtype("<i4")


class LabEngine:
    """See the module head. context: by slot, tokens whose keys and values a decode reads.

    outputs: by request, how many tokens it gives before it stops by itself; the others go on to
             what they may have.
    """

    def __init__(self, model: EngineModel) -> None:
        slots = model.max_running
        self.model = model
        self.known = np.zeros(slots, np.int64)
        self.limit = np.zeros(slots, np.int64)
        self.left = np.zeros(slots, np.int64)
        self.context = np.zeros(slots, np.int64)
        self.most = np.zeros(slots, np.int64)
        self.outputs: dict[int, int] = {}
        self.rows = np.zeros(0, np.int64)  # the slots that decode, ascending
        self._decoding = np.zeros(slots, np.bool_)

    def step(self, plan: Plan) -> tuple[Report, int]:
        """Carry out a plan; returns its report and the time the step takes, in ns."""
        self._take_changes(plan)
        rows = self.rows
        self.context[rows] += 1
        read = int(self.context[rows].sum())
        computed, stretches, sampled = self._prefill(plan)
        model = self.model
        time_us = (
            model.step_us
            + model.prefill_us * computed
            + model.row_us * len(rows)
            + model.context_us * (read + stretches)
            + model.swap_us * self._copied(plan)
        )
        if sampled:
            rows = np.concatenate((rows, sampled))
        self.left[rows] -= 1
        report: Report = {"plan": plan["plan"], "tokens": bytes(INT.itemsize * len(rows))}
        ending = rows[self.left[rows] == 0]
        if len(ending):
            report["ended"] = [self._end(slot) for slot in ending.tolist()]
        return report, round(1e3 * time_us)

    def _take_changes(self, plan: Plan) -> None:
        changes = ints(plan.get("drop")), ints(plan.get("decode_off"))
        started = ints(plan.get("decode_on"))
        for new in plan.get("add", ()):
            slot = new["slot"]
            self.known[slot] = len(new["ids"]) // INT.itemsize
            self.most[slot] = new["sampling"]["max_tokens"]
            self.limit[slot] = self.outputs.get(new["request"], self.most[slot])
            self.left[slot] = self.limit[slot] - (self.known[slot] - new["num_prompt"])
        if len(changes[0]) or len(changes[1]) or len(started):
            self._decoding[changes[0]] = False
            self._decoding[changes[1]] = False
            self._decoding[started] = True
            self.rows = self._decoding.nonzero()[0]

    def _prefill(self, plan: Plan) -> tuple[int, int, list[int]]:
        """Return tokens computed, tokens read, and the slots whose last known token was among."""
        computed = read = 0
        sampled = []
        for slot, start, count in ints(plan.get("prefill")).reshape(-1, 3).tolist():
            computed += count
            read += start + count
            if start + count == self.known[slot]:
                sampled.append(slot)
                self.context[slot] = self.known[slot]
        return computed, read, sampled

    @staticmethod
    def _copied(plan: Plan) -> int:
        """Return how many blocks go to the host or come back; copies on write cost nothing here."""
        pairs = plan.get("copy_out", b"") + plan.get("copy_in", b"")
        return len(pairs) // (2 * INT.itemsize)

    def _end(self, slot: int) -> Ended:
        reason: FinishReason = "length" if self.limit[slot] == self.most[slot] else "stop"
        return {"slot": slot, "reason": reason, "text": "", "tokens": int(self.limit[slot])}

    def skip(self, steps: int) -> None:
        """Carry out so many more steps like the last one, in which nobody ends."""
        self.context[self.rows] += steps
        self.left[self.rows] -= steps

    def time_ns(self, steps: int, start: int = 0, chunk: int = 0) -> int:
        """Return how long that would take, with a chunk of a prompt besides, from `start` on."""
        model, rows = self.model, len(self.rows)
        read = steps * (int(self.context[self.rows].sum()) + start)
        read += (rows + chunk) * steps * (steps + 1) // 2
        step_us = model.step_us + model.row_us * rows + model.prefill_us * chunk
        return round(1e3 * (steps * step_us + model.context_us * read))


def ints(data: bytes | None) -> NDArray[np.int32]:
    """Return an array of a plan."""
    return np.frombuffer(data or b"", INT)
