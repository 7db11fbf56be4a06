"""What a reported step gave, and what a scheduler has done so far: plain records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipc.engine import Ended
from ipc.llm import FinishReason
from kernel.llm.request import Request


@dataclass(slots=True)  # one a step: frozen ones cost a microsecond more
class StepResult:
    """One step. Requests that were cancelled meanwhile are in none of these.

    request_ids, tokens: who was given which token, in row order; already in ``Request.ids``.
    streams: of these rows, 1 where the request is streamed.
    texts: new text of streamed requests; already counted in ``request.sent_chars``.
    ended: the scheduler has let go of them, as the engine says.
    ended_here: and of these by itself: "quota" or, for a request whose tokens came from a larger
        engine, "length". The engine was not asked, so the text of their tokens is still to be had.
    failed: the engine could not go on with them; the error as it came, see ipc.errors.from_wire.
    """

    request_ids: NDArray[np.uint64]
    streams: NDArray[np.int64]
    tokens: NDArray[np.int32]
    texts: list[tuple[Request, str]]
    logprobs: list[tuple[Request, dict[str, Any]]]
    ended: list[tuple[Request, Ended]]
    ended_here: list[tuple[Request, FinishReason]]
    failed: list[tuple[Request, dict[str, Any]]]
    step_ns: int  # as the engine measured it
    idle_ns: int


@dataclass(frozen=True, slots=True)
class SchedulerStatistics:
    """Counters since the engine is up, and occupancy now."""

    waiting: int
    running: int
    blocks: int  # of the pool
    used: int  # held by requests, pins and unreported steps
    cached: int  # held by nobody, and found again if asked for
    generated: int  # tokens
    prompt: int  # tokens of the requests that have begun
    cached_tokens: int  # of these, found in the cache
    steps: int  # reported
    preemptions: int
    demoted: int  # blocks of idle contexts, copied to the host
    promoted: int  # and back, for requests that go on with them
