"""Who waits for budget: lines of waiters at the accounts whose limits stand against them.

A waiter stands where it was refused: in the line of one account and one resource, in the order of
its number (that of its message or call). When more is left there, the first in line tries again;
it goes on, or stands in the line of whatever now stands against it.

Invariants:
  I1  a waiter is in one line, and is tried only while it is there.
  I2  nobody with a higher number overtakes a waiter of the same line (``is_behind``).

Mechanism only: what a waiter does when it goes on is its own. Cost: O(log n) a waiter; trying costs
what the waiter does.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable

from kernel.budget.accounts import Account, Shortage

Attempt = Callable[[], Shortage | None]
Place = tuple[int, str]  # account, resource


class Waiter:
    """One that waits. attempt: tries to go on; returns what still stands against it."""

    __slots__ = ("account", "attempt", "number", "place")

    def __init__(self, number: int, account: Account, attempt: Attempt) -> None:
        self.number = number
        self.account = account  # whose call or send it is
        self.attempt = attempt
        self.place: Place | None = None  # None: it waits no more


class BudgetLines:
    """See the module head."""

    def __init__(self) -> None:
        self._lines: dict[Place, list[Waiter]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def waiters(self) -> list[Waiter]:
        """Return all that wait."""
        return [waiter for line in self._lines.values() for waiter in line]

    def stand(self, waiter: Waiter, shortage: Shortage) -> None:
        """Let a waiter stand in the line of what stands against it."""
        waiter.place = (shortage.account.id, shortage.resource)
        insort(self._lines.setdefault(waiter.place, []), waiter, key=lambda item: item.number)

    def leave(self, waiter: Waiter) -> Place | None:
        """Take a waiter out of its line; returns which it was, None if it stood in none."""
        place, waiter.place = waiter.place, None
        if place is not None:
            line = self._lines[place]
            line.remove(waiter)
            if not line:
                del self._lines[place]
        return place

    def is_behind(self, number: int, account: Account, resource: str) -> bool:
        """Say whether somebody with a lower number waits where this one would be refused."""
        node = account.nearest(resource)
        line = self._lines.get((node.id, resource)) if node is not None else None
        return line is not None and line[0].number < number

    def try_first(self, place: Place) -> None:
        """Let those at a place go on, one after the other, until one of them cannot."""
        while (line := self._lines.get(place)) is not None:
            waiter = line[0]
            self.leave(waiter)
            shortage = waiter.attempt()
            if shortage is not None:
                self.stand(waiter, shortage)
                if waiter.place == place:
                    return
