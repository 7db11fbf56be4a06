"""One LLM call on its way: from its ask to its answer.

LINE        no engine of its model is ready, or its session is busy
PREPARING   an engine turns its input into tokens
QUEUED      an engine's scheduler (or the queue of a remote one) has it
SENT        a remote endpoint may be computing it
BUDGET      it waits for its owner's budget (kernel/llm/metering.py)
SPELLING    the kernel has ended it, and an engine turns its tokens into text
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ipc.llm import FinishReason, LlmInput, Sampling
from kernel.calls import Call
from kernel.llm.meter import Meter
from kernel.llm.registry import ModelVersion
from kernel.llm.request import Request
from kernel.llm.sessions import LlmSession


class Phase(Enum):
    """See the module head."""

    LINE = "line"
    PREPARING = "preparing"
    QUEUED = "queued"
    SENT = "sent"
    BUDGET = "budget"
    SPELLING = "spelling"


class Purpose(Enum):
    """What the call wants."""

    GENERATE = "generate"
    COUNT = "count"
    APPEND = "append"


@dataclass(slots=True, eq=False)
class Job:
    """See the module head."""

    call: Call
    purpose: Purpose
    model: ModelVersion
    given: LlmInput | None
    sampling: Sampling
    session: LlmSession | None
    priority: int
    accepted_ns: int
    parents: tuple[int, ...] = ()  # calls of its turn whose results it had, if known
    call_site: str = ""
    retries_doubt: bool = False
    phase: Phase = Phase.LINE
    engine: int = 0  # actor of the engine that has it
    meter: Meter | None = None  # of its owner's budget, if that has one
    request: Request | None = None  # once its tokens are known
    end_reason: FinishReason | None = None  # why the kernel itself has ended it
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    shown: str = ""  # of a streamed completion's text
    unshown_tokens: int = 0  # emitted since, without text of their own
    deaths: int = 0  # engines that died while they computed it
    attempts: int = 0  # of a remote call
    is_sent_before: bool = field(default=False)  # by an engine or kernel that is gone

    @property
    def id(self) -> int:
        """Return the call's id."""
        return self.call.id

    @property
    def owner(self) -> int:
        """Return who waits for it."""
        return self.call.owner

    @property
    def program(self) -> str:
        """Name whose calls follow each other: its session, or its owner's calls at one place."""
        if self.session is not None:
            return self.session.program
        program = self.request.program if self.request is not None else 0
        return f"o{self.owner}.{program}.{self.call_site}"
