"""Who may run a turn now: a bounded number of slots and a first-come line for them.

Mechanism: it counts slots and keeps the line; the order of the line is FCFS. A turn that
waits for a call holds no slot, and needs one again before its answer is delivered.

Cost: O(1). An actor stands at most once in the line to be granted messages.
"""

from __future__ import annotations

from collections import deque


class SlotLine:
    """Counts running turns against a limit; lines up those who want to run."""

    __slots__ = ("_busy_ns", "_grants", "_grants_set", "_resumes", "_since_ns", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._busy_ns = 0
        self._since_ns = 0
        self._grants: deque[int] = deque()
        self._grants_set: set[int] = set()
        self._resumes: deque[int] = deque()

    def change(self, change: int, now_ns: int) -> None:
        """Take so many slots more, or give them back."""
        self._busy_ns += self.used * (now_ns - self._since_ns)
        self._since_ns = now_ns
        self.used += change

    def busy_ns(self, now_ns: int) -> int:
        """Return the time slots were in use, summed over slots."""
        return self._busy_ns + self.used * (now_ns - self._since_ns)

    @property
    def is_free(self) -> bool:
        """Say whether a slot is free and nobody stands in line for it."""
        return self.used < self.limit and not self._grants and not self._resumes

    @property
    def is_contended(self) -> bool:
        """Say whether somebody stands in line."""
        return bool(self._grants or self._resumes)

    def line_up(self, actor: int) -> None:
        """Put the actor in line for messages, once."""
        if actor not in self._grants_set:
            self._grants_set.add(actor)
            self._grants.append(actor)

    def line_up_answer(self, call: int) -> None:
        """Put a finished call in line: its parked turn goes on when a slot is free."""
        self._resumes.append(call)

    def take_answer(self) -> int | None:
        """Return the next finished call whose turn may go on, if a slot is free."""
        if self._resumes and self.used < self.limit:
            return self._resumes.popleft()
        return None

    def take_actor(self) -> int | None:
        """Return the next actor that may be granted messages, if a slot is free."""
        if self._grants and self.used < self.limit:
            actor = self._grants.popleft()
            self._grants_set.discard(actor)
            return actor
        return None
