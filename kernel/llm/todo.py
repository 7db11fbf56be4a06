"""What the rest of the core leaves for LLM work to settle at the end of a loop turn.

Leaf: plain lists, filled where something ends, emptied by kernel/llm/service.py.

Invariant: ``is_due`` holds from the first entry on until they are settled, so that a loop turn
without LLM work asks one question.
"""

from __future__ import annotations

from collections.abc import Iterable

from ipc.errors import LLMOSError


class LlmTodo:
    """See the module head."""

    __slots__ = (
        "budgeted",
        "departed",
        "ended_calls",
        "is_due",
        "kept",
        "lost_processes",
        "made",
        "moved",
        "not_loaded",
        "raised",
        "undone",
    )

    def __init__(self) -> None:
        self.is_due = False
        self.ended_calls: list[int] = []  # to the kernel; answered or forgotten
        self.lost_processes: list[int] = []  # actors whose process is gone
        self.not_loaded: dict[int, LLMOSError] = {}  # actors without a program
        self.departed: list[int] = []  # actors and clients that are gone for good
        self.made: dict[int, list[int]] = {}  # open turn -> sessions it made
        self.kept: list[int] = []  # sessions whose turn has committed
        self.undone: list[int] = []  # sessions whose turn never will
        self.moved: dict[int, int] = {}  # open turns: whose they are now
        self.budgeted: list[int] = []  # actors that have got an account
        self.raised: dict[int, int] = {}  # calls that inherit a priority

    def end_call(self, call: int) -> None:
        """A call to the kernel is answered or forgotten."""
        self.ended_calls.append(call)
        self.is_due = True

    def lose(self, actor: int) -> None:
        """An actor's process is gone."""
        self.lost_processes.append(actor)
        self.is_due = True

    def depart(self, owner: int) -> None:
        """An actor or a client is gone for good."""
        self.departed.append(owner)
        self.is_due = True

    def keep(self, turn: int) -> None:
        """A turn has committed: the sessions it made stay."""
        if turn in self.made:
            self.kept += self.made.pop(turn)
            self.is_due = True

    def undo(self, turn: int) -> None:
        """A turn never commits: the sessions it made are not."""
        if turn in self.made:
            self.drop(self.made.pop(turn))

    def drop(self, sessions: Iterable[int]) -> None:
        """Sessions of turns that never commit, or whose owner is gone."""
        self.undone += sessions
        self.is_due = True

    def move(self, turn: int, actor: int) -> None:
        """An open turn is another actor's now."""
        self.moved[turn] = actor
        self.is_due = True

    def budget(self, actor: int) -> None:
        """An actor has got an account."""
        self.budgeted.append(actor)
        self.is_due = True

    def urge(self, call: int, priority: int) -> None:
        """A call inherits a priority."""
        self.raised[call] = priority
        self.is_due = True
