"""Carries out plans: one plan, one packed forward pass, one token a sampled row.

The step thread's part of ipc/engine.py, in the order stated there. What it ends by itself: a
request at its limit of tokens, at a stop token, at the end of its grammar. Stop strings are
the text thread's (completions.py), which says so through ``Slots.overs``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from actors.torch_engine.attention import CpuAttention, running
from actors.torch_engine.device_attention import DeviceAttention
from actors.torch_engine.kv_store import KvStore
from actors.torch_engine.loading import Loaded
from actors.torch_engine.packing import Packed, pack, prefill_rows
from actors.torch_engine.sampling import Sampled, Sampler
from actors.torch_engine.slots import Ints, Request, Slots
from ipc.engine import NO_TOKEN, Plan
from ipc.errors import KernelBugError, LLMOSError

Reason = Literal["stop", "length"]


@dataclass(slots=True)
class End:
    """A request that ended in its row's step."""

    row: int
    reason: Reason
    num_tokens: int  # of the completion
    is_stop_token: bool  # the last token ends the text and is not part of it


@dataclass(slots=True)
class StepResult:
    """What a plan gave, before any text is made of it."""

    plan: int
    requests: list[Request | None]  # of each row; None: it was over
    tokens: Ints  # of each row
    text_rows: list[int] = field(default_factory=list)  # whose text is wanted now
    ends: list[End] = field(default_factory=list)
    failed: list[tuple[Request, LLMOSError]] = field(default_factory=list)
    logprobs: list[tuple[Request, dict[str, Any]]] = field(default_factory=list)
    step_ns: int = 0
    idle_ns: int = 0


class Runner:
    """See the module head."""

    def __init__(self, loaded: Loaded, store: KvStore, sampler: Sampler, slots: Slots) -> None:
        self._loaded = loaded
        self._model = loaded.model
        self.store = store
        self._sampler = sampler
        self._stop_ids = np.array(loaded.stop_ids, np.int64)
        self.slots = slots
        self.attention: Any = (
            CpuAttention(store, torch.get_num_threads())
            if store.device.type == "cpu"
            else DeviceAttention(store)
        )

    def run(self, plan: Plan) -> StepResult:
        """Carry out one plan.

        Raises whatever the forward pass raises: then the engine is of no more use.
        """
        with torch.inference_mode():
            return self._run(plan)

    def _run(self, plan: Plan) -> StepResult:
        began = time.perf_counter_ns()
        unfit = self._change(plan)
        decoding = np.flatnonzero(self.slots.decodes)
        prefill = read_rows(plan.get("prefill", b""), 3)
        result = self._rows(plan.get("plan", 0), decoding, prefill)
        for request, error in unfit:
            self._fail(request, error, result)
        self._check_blocks(decoding, prefill, result)
        is_over = self.slots.is_over
        live = prefill[~is_over[prefill[:, 0]]]
        packed = pack(self.slots, decoding[~is_over[decoding]], live)
        if packed is not None:
            self._compute(packed, result)
        result.step_ns = time.perf_counter_ns() - began
        return result

    # --- the plan's changes ---------------------------------------------------------------

    def _change(self, plan: Plan) -> list[tuple[Request, LLMOSError]]:
        """Carry out what comes before the forward pass; return what cannot be served."""
        slots, store = self.slots, self.store
        if plan.get("reset"):
            slots.drop_all()
        slots.take_overs()
        slots.drop(read_rows(plan.get("drop", b""), 1)[:, 0])
        store.copy_out(read_rows(plan.get("copy_out", b""), 2))
        store.copy_in(read_rows(plan.get("copy_in", b""), 2))
        store.copy(read_rows(plan.get("copy", b""), 2))
        unfit = []
        for new in plan.get("add", ()):
            error, request = slots.add(new), slots.requests[new["slot"]]
            if error is not None and request is not None:
                unfit.append((request, error))
        slots.append_blocks(read_rows(plan.get("blocks", b""), 2))
        slots.decodes[read_rows(plan.get("decode_off", b""), 1)[:, 0]] = False
        slots.decodes[read_rows(plan.get("decode_on", b""), 1)[:, 0]] = True
        return unfit

    def _rows(self, plan: int, decoding: NDArray[np.int64], prefill: Ints) -> StepResult:
        ends = prefill[prefill_rows(self.slots, prefill), 0]
        slots = [*decoding.tolist(), *ends.tolist()]
        is_over, requests = self.slots.is_over, self.slots.requests
        of_rows = [None if is_over[slot] else requests[slot] for slot in slots]
        return StepResult(plan, of_rows, np.full(len(slots), NO_TOKEN, np.int32))

    def _check_blocks(self, decoding: NDArray[np.int64], prefill: Ints, result: StepResult) -> None:
        """Fail each request that has no block for what it is to store: the others go on."""
        slots = self.slots
        which = np.concatenate([decoding, prefill[:, 0]])
        need = np.concatenate([slots.length[decoding], prefill[:, 1] + prefill[:, 2]])
        short = (slots.blocks[which] * self.store.block_size < need) & ~slots.is_over[which]
        for slot in which[short].tolist():
            request = slots.requests[slot]
            if request is not None:
                error = KernelBugError(reason=f"slot {slot} was planned beyond its blocks")
                self._fail(request, error, result)

    def _fail(self, request: Request, error: LLMOSError, result: StepResult) -> None:
        if not self.slots.is_over[request.slot]:
            self.slots.is_over[request.slot] = True
            result.failed.append((request, error))
        for row, other in enumerate(result.requests):
            if other is request:
                result.requests[row] = None

    # --- the forward pass -----------------------------------------------------------------

    def _compute(self, packed: Packed, result: StepResult) -> None:
        logits = self.forward(packed, packed.rows)
        if not len(packed.sampled):
            return
        which = packed.slots[packed.sampled]
        rows = [row for row, request in enumerate(result.requests) if request is not None]
        requests: list[Request] = [request for request in result.requests if request is not None]
        plain, positions = self.slots.is_plain[which], self.slots.length[which]
        sampled = self._sampler.sample(logits, requests, plain, positions)
        self._settle(which, np.array(rows), requests, sampled, result)

    def forward(self, packed: Packed, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return the logits of these rows; of one row if there are none."""
        device = self._loaded.device
        used = -(-int(packed.lengths.max()) // self.store.block_size)
        tables = self.slots.tables[:, :used][packed.slots]
        self.attention.begin(packed.starts, packed.lengths, tables)
        keep = rows if len(rows) else np.zeros(1, np.int64)
        with running(self.attention):
            output = self._model(
                input_ids=torch.from_numpy(packed.ids).to(device)[None],
                position_ids=torch.from_numpy(packed.positions).to(device)[None],
                logits_to_keep=torch.from_numpy(keep).to(device),
                use_cache=False,
            )
        logits: torch.Tensor = output.logits[0]
        return logits

    def _settle(
        self,
        which: NDArray[np.int64],
        rows: NDArray[np.int64],
        requests: list[Request],
        sampled: Sampled,
        result: StepResult,
    ) -> None:
        slots = self.slots
        for index, error in sampled.failed.items():
            self._fail(requests[index], error, result)
        result.logprobs = [(requests[i], entry) for i, entry in sampled.logprobs.items()]
        good = sampled.tokens >= 0
        slots.append_tokens(which[good], sampled.tokens[good])
        result.tokens[rows] = sampled.tokens
        result.text_rows = rows[good & slots.needs_text[which]].tolist()
        is_stop = np.isin(sampled.tokens, self._stop_ids) & ~slots.ignores_stops[which]
        for index in np.flatnonzero(slots.has_stop_ids[which]).tolist():
            is_stop[index] |= int(sampled.tokens[index]) in requests[index].options.stop_ids
        is_full = slots.length[which] >= slots.limit[which]
        is_end = is_stop | is_full
        is_end[sampled.grammar_ends] = True
        for index in np.flatnonzero(is_end & good).tolist():
            by_length = not is_stop[index] and index not in sampled.grammar_ends
            reason: Reason = "length" if by_length else "stop"
            count = int(slots.length[which[index]]) - requests[index].num_prompt
            result.ends.append(End(int(rows[index]), reason, count, bool(is_stop[index])))
            slots.is_over[which[index]] = True


def read_rows(data: bytes, columns: int) -> Ints:
    """Return the rows of a plan's field."""
    return np.frombuffer(data, "<i4").reshape(-1, columns)
