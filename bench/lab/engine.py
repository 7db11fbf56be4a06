"""An engine that computes nothing: it carries out plans and says how long each step would take.

It keeps of each slot what a real engine keeps (ipc/engine.py): what is known of the request, how
many tokens it may still have. Every token it gives is 0.
Cost: O(1) a step while the same slots decode, else a few array operations; what is special in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.lab.engine_model import EngineModel
from ipc.engine import Ended, Plan, Report
from ipc.llm import FinishReason

INT = np.dtype("<i4")
CHANGES = ("drop", "decode_off", "decode_on")  # fields of a plan that changes who decodes
NEVER = 1 << 62


class LabEngine:
    """See the module head.

    outputs: by request, how many tokens it gives before it stops by itself; the others go on to
             what they may have.
    rows: the slots that decode, ascending. Their _context (tokens that a decode reads) and _left
          (tokens to come) are behind by the `_lag` steps since rows changed.
    """

    def __init__(self, model: EngineModel) -> None:
        slots = model.max_running
        self.model = model
        self.outputs: dict[int, int] = {}
        self.rows = np.zeros(0, np.int64)
        self._decoding = np.zeros(slots, np.bool_)
        self._known = [0] * slots
        self._limit = [0] * slots
        self._most = [0] * slots
        self._context = np.zeros(slots, np.int64)
        self._left = np.zeros(slots, np.int64)
        self._lag = 0
        self._read = 0  # tokens that the last step's decodes have read
        self._first_end = NEVER  # steps from the last change of rows to the next end

    @property
    def steps_to_end(self) -> int:
        """In how many steps the next of those who decode ends; NEVER if nobody does."""
        return self._first_end - self._lag

    def step(self, plan: Plan) -> tuple[Report, int]:
        """Carry out a plan; returns its report and the time the step takes, in ns."""
        if not plan.keys().isdisjoint(CHANGES):
            self._change_rows(plan)
        for new in plan.get("add", ()):
            slot, sampling = new["slot"], new["sampling"]
            self._known[slot] = known = len(new["ids"]) // INT.itemsize
            self._most[slot] = sampling["max_tokens"]
            self._limit[slot] = self.outputs.get(new["request"], self._most[slot])
            self._left[slot] = self._limit[slot] - (known - new["num_prompt"])
        self.skip(1)
        ending = self._settle() if self._lag == self._first_end else []
        computed, stretches, sampled = self._prefill(plan)
        for slot in sampled:
            self._left[slot] -= 1
            if not self._left[slot]:
                ending.append(slot)
        num_rows, model = len(self.rows), self.model
        time_us = (
            model.step_us
            + model.prefill_us * computed
            + model.row_us * num_rows
            + model.context_us * (self._read + stretches)
            + model.swap_us * self._copied(plan)
        )
        report: Report = {
            "plan": plan["plan"],
            "tokens": bytes(INT.itemsize * (num_rows + len(sampled))),
        }
        if ending:
            report["ended"] = [self._end(slot) for slot in ending]
        return report, round(1e3 * time_us)

    def _change_rows(self, plan: Plan) -> None:
        self._settle()
        self._decoding[ints(plan.get("drop"))] = False
        self._decoding[ints(plan.get("decode_off"))] = False
        self._decoding[ints(plan.get("decode_on"))] = True
        self.rows = rows = self._decoding.nonzero()[0]
        self._read = int(self._context[rows].sum())
        self._first_end = int(self._left[rows].min()) if len(rows) else NEVER

    def _settle(self) -> list[int]:
        """Bring the columns up to date; returns the slots that have got their last token."""
        rows = self.rows
        self._context[rows] += self._lag
        self._left[rows] -= self._lag
        self._first_end -= self._lag
        self._lag = 0
        if self._first_end:
            return []
        ending: list[int] = rows[self._left[rows] == 0].tolist()
        return ending

    def _prefill(self, plan: Plan) -> tuple[int, int, list[int]]:
        """Return tokens computed, tokens read, and the slots whose last known token was among."""
        computed = read = 0
        sampled = []
        numbers = iter(memoryview(plan.get("prefill", b"")).cast("i"))
        for slot, start, count in zip(numbers, numbers, numbers, strict=True):
            computed += count
            read += start + count
            if start + count == self._known[slot]:
                sampled.append(slot)
                self._context[slot] = self._known[slot]
        return computed, read, sampled

    @staticmethod
    def _copied(plan: Plan) -> int:
        """Return how many blocks go to the host or come back; copies on write cost nothing here."""
        pairs = plan.get("copy_out", b"") + plan.get("copy_in", b"")
        return len(pairs) // (2 * INT.itemsize)

    def _end(self, slot: int) -> Ended:
        reason: FinishReason = "length" if self._limit[slot] == self._most[slot] else "stop"
        return {"slot": slot, "reason": reason, "text": "", "tokens": self._limit[slot]}

    def skip(self, steps: int) -> None:
        """Carry out so many more steps like the last one, in which nobody ends."""
        self._lag += steps
        self._read += steps * len(self.rows)

    def time_ns(self, steps: int, start: int = 0, chunk: int = 0) -> int:
        """Return how long that would take, with a chunk of a prompt besides, from `start` on."""
        model, rows = self.model, len(self.rows)
        read = steps * (self._read + start)
        read += (rows + chunk) * steps * (steps + 1) // 2
        step_us = model.step_us + model.row_us * rows + model.prefill_us * chunk
        return round(1e3 * (steps * step_us + model.context_us * read))


def ints(data: bytes | None) -> NDArray[np.int32]:
    """Return an array of a plan."""
    return np.frombuffer(data or b"", INT)
