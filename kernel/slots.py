"""Who may run a turn now: a bounded number of slots and the line of those who want one.

Mechanism: it counts slots and keeps the line. Unless a scheduling policy is set (``order``), the
line is first come, first served, and turns that go on stand before agents that want a new one. A
turn that waits for a call holds no slot, and needs one again before its answer is delivered.

Invariant: who comes stands behind those in line, even if a slot is free at the moment; so an agent
that has just given its slot back does not take it again before others who wait.

Cost: O(1). An actor stands at most once in the line to be granted messages.
"""

from __future__ import annotations

from collections import deque

from kernel.turn_order import TurnOrder

FIRST_COME = "fcfs"


class SlotLine:
    """Counts running turns against a limit; lines up those who want to run.

    order: the line of a policy other than first come, first served. While there is one, those who
    want a slot stand there, and the line here is empty.
    """

    __slots__ = (
        "_busy_ns",
        "_grants",
        "_grants_set",
        "_resumes",
        "_since_ns",
        "limit",
        "order",
        "used",
        "waiting",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.waiting = 0  # in the line here
        self.order: TurnOrder | None = None
        self._busy_ns = 0
        self._since_ns = 0
        self._grants: deque[int] = deque()
        self._grants_set: set[int] = set()
        self._resumes: deque[int] = deque()

    def change(self, change: int, now_ns: int) -> None:
        """Take so many slots more, or give them back."""
        used = self.used
        self._busy_ns += used * (now_ns - self._since_ns)
        self._since_ns = now_ns
        self.used = used + change

    def busy_ns(self, now_ns: int) -> int:
        """Return the time slots were in use, summed over slots."""
        return self._busy_ns + self.used * (now_ns - self._since_ns)

    @property
    def is_free(self) -> bool:
        """Say whether a slot is free and nobody stands in line for it."""
        return self.used < self.limit and not self.is_contended

    @property
    def is_contended(self) -> bool:
        """Say whether somebody stands in line."""
        return self.num_waiting > 0

    @property
    def policy(self) -> str:
        """Return the name of the policy that orders the line."""
        return FIRST_COME if self.order is None else self.order.name

    @property
    def num_waiting(self) -> int:
        """Return how many stand in line."""
        return self.waiting if self.order is None else len(self.order)

    def line_up(self, actor: int) -> None:
        """Put the actor in line for messages, once."""
        if actor not in self._grants_set:
            self._grants_set.add(actor)
            self._grants.append(actor)
            self.waiting += 1

    def line_up_answer(self, call: int) -> None:
        """Put a finished call in line: its parked turn goes on when a slot is free."""
        self._resumes.append(call)
        self.waiting += 1

    def take_answer(self) -> int | None:
        """Return the next finished call whose turn may go on, if a slot is free."""
        if self._resumes and self.used < self.limit:
            self.waiting -= 1
            return self._resumes.popleft()
        return None

    def take_actor(self) -> int | None:
        """Return the next actor that may be granted messages, if a slot is free."""
        if self._grants and self.used < self.limit:
            self.waiting -= 1
            actor = self._grants.popleft()
            self._grants_set.discard(actor)
            return actor
        return None

    def set_policy(self, policy: str) -> tuple[list[int], list[int]]:
        """Order the line anew; return the calls and the actors that stood in it, in their order.

        They stand in no line now: whoever calls this lines them up again.
        Raises:
            UnknownPolicyError: there is no such policy. Nothing was changed.
        """
        order = None if policy == FIRST_COME else TurnOrder(policy)
        calls, actors = self.standing()
        self._grants.clear()
        self._grants_set.clear()
        self._resumes.clear()
        self.waiting = 0
        self.order = order
        return calls, actors

    def standing(self) -> tuple[list[int], list[int]]:
        """Return the calls and the actors in line, in the order in which they would be served."""
        if self.order is None:
            return list(self._resumes), list(self._grants)
        return self.order.standing()
