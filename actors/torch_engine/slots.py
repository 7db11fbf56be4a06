"""The requests an engine knows, each in a slot, as arrays that a step reads whole.

A request's tokens are its ids and, appended here, what was sampled. Owned by the step thread;
what other threads read of a request (``tokens`` up to a length they were told) does not change.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.torch_engine.options import Options, options_of
from ipc.engine import NewRequest
from ipc.errors import BadPromptError, LLMOSError, PromptTooLongError, SamplingError

Ints = NDArray[np.int32]


@dataclass(slots=True, eq=False)
class Request:
    """One request in its slot."""

    slot: int
    number: int
    tokens: Ints  # room for prompt and completion
    num_prompt: int
    num_known: int  # at the time it was added
    limit: int  # tokens, prompt and completion together
    options: Options
    is_streamed: bool
    sent_chars: int
    has_tools: bool
    memory: dict[str, Any] = field(default_factory=dict)  # what sampling keeps of it
    text: Any = None  # what the text thread keeps of it

    @property
    def needs_text(self) -> bool:
        """Say whether its text is wanted with every token."""
        return self.is_streamed or bool(self.options.stop)


class Slots:
    """See the module head. ``blocks[s]`` of ``tables[s]`` are in use."""

    def __init__(
        self, max_running: int, *, block_size: int, max_context: int, vocab_size: int
    ) -> None:
        self.max_context = max_context
        self.vocab_size = vocab_size
        max_blocks = -(-max_context // block_size) + 1  # a plan may run one ahead of the end
        self.requests: list[Request | None] = [None] * max_running
        self.length = np.zeros(max_running, np.int64)
        self.limit = np.zeros(max_running, np.int64)
        self.last = np.zeros(max_running, np.int64)
        self.tables = np.zeros((max_running, max_blocks), np.int32)
        self.blocks = np.zeros(max_running, np.int64)
        self.decodes = np.zeros(max_running, np.bool_)
        self.is_over = np.zeros(max_running, np.bool_)
        self.is_plain = np.zeros(max_running, np.bool_)
        self.needs_text = np.zeros(max_running, np.bool_)
        self.ignores_stops = np.zeros(max_running, np.bool_)
        self.has_stop_ids = np.zeros(max_running, np.bool_)
        self.overs: deque[Request] = deque()  # ended by another thread

    def drop(self, slots: Ints) -> None:
        """Free slots."""
        for slot in slots.tolist():
            self.requests[slot] = None
        self.decodes[slots] = False

    def drop_all(self) -> None:
        """Free all slots."""
        self.drop(np.arange(len(self.requests), dtype=np.int32))
        self.overs.clear()

    def add(self, new: NewRequest) -> LLMOSError | None:
        """Put a request into its slot; return why it cannot be served. It is over then."""
        slot, ids = new["slot"], np.frombuffer(new["ids"], "<i4")
        blocks = np.frombuffer(new["blocks"], "<i4")
        problem: LLMOSError | None = None
        try:
            options = options_of(new["sampling"])
        except SamplingError as error:
            problem, options = error, Options()
        # The length stays what the kernel takes it for: rows are counted by it.
        if not len(ids) or ids.min() < 0 or ids.max() >= self.vocab_size:
            problem = BadPromptError(problem="it has tokens that the model does not know")
            ids = np.zeros(max(1, len(ids)), np.int32)
        if len(ids) > self.max_context or len(blocks) > self.tables.shape[1]:
            what = "the model's context"
            problem = PromptTooLongError(value=len(ids), what=what, limit=self.max_context)
            blocks = blocks[:0]
        self._put(new, ids, options)
        self.blocks[slot] = len(blocks)
        self.tables[slot, : len(blocks)] = blocks
        return problem

    def _put(self, new: NewRequest, ids: Ints, options: Options) -> None:
        limit = min(new["num_prompt"] + options.max_tokens, self.max_context)
        tokens = np.empty(max(limit, len(ids)) + 1, np.int32)
        tokens[: len(ids)] = ids
        request = Request(
            slot=new["slot"],
            number=new["request"],
            tokens=tokens,
            num_prompt=new["num_prompt"],
            num_known=len(ids),
            limit=limit,
            options=options,
            is_streamed=new["stream"],
            sent_chars=new["sent_chars"],
            has_tools=new.get("has_tools", False),
        )
        slot = request.slot
        self.requests[slot] = request
        self.length[slot], self.limit[slot], self.last[slot] = len(ids), limit, ids[-1]
        self.decodes[slot] = self.is_over[slot] = False
        self.is_plain[slot] = options.is_plain
        self.needs_text[slot] = request.needs_text
        self.ignores_stops[slot] = options.ignore_stop_ids
        self.has_stop_ids[slot] = bool(options.stop_ids)

    def append_blocks(self, pairs: Ints) -> None:
        """pairs: (n, 2) of slot and block, in order."""
        for slot, block in pairs.tolist():
            self.tables[slot, self.blocks[slot]] = block
            self.blocks[slot] += 1

    def take_overs(self) -> None:
        """Mark what other threads have ended."""
        while self.overs:
            request = self.overs.popleft()
            if self.requests[request.slot] is request:
                self.is_over[request.slot] = True

    def append_tokens(self, slots: NDArray[np.int64], tokens: NDArray[np.int64]) -> None:
        """Append one sampled token to each."""
        self.last[slots] = tokens
        for slot, length, token in zip(
            slots.tolist(), self.length[slots].tolist(), tokens.tolist(), strict=True
        ):
            request = self.requests[slot]
            assert request is not None
            request.tokens[length] = token
        self.length[slots] += 1
