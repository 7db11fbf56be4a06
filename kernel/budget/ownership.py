"""Which actors have accounts: those with a budget, and all below them in the spawn tree.

Accounting begins when a budget is given: at the spawn, or when an operator sets one. What had been
used by then is not counted.

Cost: O(descendants) when the first budget of a tree is set; else O(depth).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipc.budget import MAX_AMOUNT, check_resource
from ipc.errors import BadBudgetError, UnknownCallError
from kernel.actor_record import ActorRecord
from kernel.budget.accounts import Account
from kernel.state import KernelState


class Ownership:
    """See the module head."""

    def __init__(self, state: KernelState) -> None:
        self.state = state
        self.tree = state.budgets.tree

    def ensure(self, record: ActorRecord) -> Account:
        """Return an actor's account; made now, with those of all below it, if there is none."""
        if record.account is not None:
            return record.account
        account = record.account = self.tree.open(record.id, record.name, None, {})
        self.state.llm.budget(record.id)
        for identifier in self.state.tree.children(record.id):
            child = self.ensure(self.state.actors[identifier])
            self.tree.adopt(account, child)
            self.tree.changed[child.id] = child
        return account

    def restore(self) -> None:
        """Give recovered actors their accounts again."""
        for identifier, account in self.tree.accounts.items():
            record = self.state.actors.get(identifier)
            if record is not None:
                record.account = account


def read_limits(value: Any, *, is_change: bool = False) -> dict[str, int | None]:
    """Return amounts in smallest units that a peer gives, checked.

    is_change: they may be negative, and none of them None.
    Raises:
        BadBudgetError: unknown resource, negative, or no integer. UnknownCallError: no map.
    """
    if not isinstance(value, Mapping) or not value:
        raise UnknownCallError(call="budget", problem="limits are a map of resources to amounts")
    for resource, amount in value.items():
        check_resource(str(resource))
        problem = _problem_of(amount, is_change=is_change)
        if problem:
            raise BadBudgetError(resource=resource, problem=problem)
    return dict(value)


def _problem_of(amount: Any, *, is_change: bool) -> str:
    if amount is None:
        return "a change is a number" if is_change else ""
    if type(amount) is not int:
        return f"{amount!r} is not an integer of its smallest unit"
    if amount < 0 and not is_change:
        return f"{amount} is negative"
    return "" if abs(amount) <= MAX_AMOUNT else f"{amount} is too large"
