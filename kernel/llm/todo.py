"""What the rest of the core leaves for LLM work to settle at the end of a loop turn.

Leaf: plain lists, filled where something ends, emptied by kernel/llm/service.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ipc.errors import LLMOSError


@dataclass(slots=True)
class LlmTodo:
    """See the module head."""

    ended_calls: list[int] = field(default_factory=list)  # to the kernel; answered or forgotten
    lost_processes: list[int] = field(default_factory=list)  # actors whose process is gone
    not_loaded: dict[int, LLMOSError] = field(default_factory=dict)  # actors without a program
    departed: list[int] = field(default_factory=list)  # actors and clients that are gone for good
    made: dict[int, list[int]] = field(default_factory=dict)  # open turn -> sessions it made
    kept: list[int] = field(default_factory=list)  # sessions whose turn has committed
    undone: list[int] = field(default_factory=list)  # sessions whose turn never will
    moved: dict[int, int] = field(default_factory=dict)  # open turns: whose they are now
    budgeted: list[int] = field(default_factory=list)  # actors that have got an account
    raised: dict[int, int] = field(default_factory=dict)  # calls that inherit a priority

    def __bool__(self) -> bool:
        return bool(
            self.ended_calls
            or self.lost_processes
            or self.departed
            or self.kept
            or self.undone
            or self.moved
            or self.budgeted
            or self.raised
        )
