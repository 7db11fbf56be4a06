"""Warnings at four fifths of a limit: once for each crossing, counted, logged, told to the parent.

Cost: nothing until an account crosses its mark.
"""

from __future__ import annotations

from ipc.budget import show_amount
from ipc.protocol import ON_CHILD_BUDGET
from kernel.budget.accounts import Account
from kernel.delivery import Delivery
from kernel.output import Notice


class BudgetWarnings:
    """See the module head."""

    def __init__(self, delivery: Delivery) -> None:
        self.state = delivery.state
        self.delivery = delivery
        self.tree = delivery.state.budgets.tree

    def give(self) -> None:
        """Tell of the accounts that have come to their mark since the last time."""
        crossings, self.tree.crossings = self.tree.crossings, []
        for account, resource in crossings:
            if resource in account.limits:
                self._give(account, resource)

    def _give(self, account: Account, resource: str) -> None:
        used = show_amount(resource, account.used[resource])
        limit = show_amount(resource, account.limits[resource])
        self.state.counters.add("budget_warnings")
        facts = {"actor": account.id, "name": account.name, "resource": resource}
        notice = Notice("budget_warning", {**facts, "used": used, "limit": limit})
        self.state.output.commands.append(notice)
        record = self.state.actors.get(account.id)
        parent = self.state.actors.get(record.parent) if record is not None else None
        if parent is not None and parent.has_hook("on_child_budget"):
            told = (account.id, account.name, resource, used, limit)
            self.delivery.tell_from_kernel(parent, ON_CHILD_BUDGET, *told)
