"""What an agent sees of budgets: its own account, and a child's warning.

Amounts are in the units of ipc/budget.py: money, seconds, tokens ...; what the kernel counts are
integers of smallest units. A picture of the moment: with ``concurrency`` or children at work, what
is left may be less by the next line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from actors.reference import ActorRef
from ipc.budget import BudgetInfo, show_amount

Number = int | float


@dataclass(frozen=True, slots=True)
class Allowance:
    """One resource. limit: the account's own, None without; left: None if nothing limits it."""

    used: Number
    reserved: Number
    promised: Number  # to children: what is left of their limits
    limit: Number | None
    left: Number | None


@dataclass(frozen=True, slots=True)
class ChildBudget:
    """What ``on_child_budget`` is told: a child has used four fifths of a limit."""

    child: ActorRef[Any]
    name: str
    resource: str
    used: Number
    limit: Number


class BudgetView(Mapping[str, Allowance]):
    """An account by resource; those that are neither limited nor used are not in it."""

    def __init__(self, found: list[BudgetInfo]) -> None:
        """found: the answer of the system call; empty without a budget."""
        self._by_name: dict[str, Allowance] = {}
        for resource, info in (found[0]["resources"] if found else {}).items():
            limit, left = info["limit"], info["left"]
            self._by_name[resource] = Allowance(
                used=show_amount(resource, info["used"]),
                reserved=show_amount(resource, info["reserved"]),
                promised=show_amount(resource, info["promised"]),
                limit=None if limit is None else show_amount(resource, limit),
                left=None if left is None else show_amount(resource, left),
            )

    def __getitem__(self, resource: str) -> Allowance:
        return self._by_name[resource]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def left(self, resource: str) -> Number | None:
        """Return how much more may be used; None: nothing limits it."""
        found = self._by_name.get(resource)
        return None if found is None else found.left

    def __repr__(self) -> str:
        return f"<budget {', '.join(f'{key}: {a.left} left' for key, a in self.items())}>"
