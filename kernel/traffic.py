"""What is recorded of one LLM request: when, how long, whose, what it shares; never what it says.

Plain data that goes from the core, as a command, to kernel/host/trace_file.py, which writes it;
what came of that goes back as a TraceReport.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["done", "failed", "cancelled"]  # cancelled: nobody waited any more


@dataclass(frozen=True, slots=True)
class Traffic:
    """One request that has ended. Times are from the beginning of the recording.

    output_tokens: of one that was not done, those it had got.
    program, owner: numbers that mean nothing elsewhere.
    groups: one number for each full stretch of `group_tokens` of the prompt, from its start; equal
            ones have equal tokens before and in them.
    """

    arrival_ns: int
    ended_ns: int
    program: int
    owner: int
    call_site: str
    priority: int
    prompt_tokens: int
    output_tokens: int
    groups: tuple[int, ...]
    group_tokens: int
    outcome: Outcome = "done"


@dataclass(frozen=True, slots=True)
class TraceReport:
    """How the file does. dropped: did not fit into the buffer, or came after a problem."""

    written: int
    dropped: int
    is_open: bool
    problem: str = ""
