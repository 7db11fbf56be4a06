"""What budgets need at the end of a loop turn: who waits goes on, warnings, rows.

Cost: one look while there is no account.
"""

from __future__ import annotations

from kernel.budget.run_time import RunTime
from kernel.budget.warnings import BudgetWarnings
from kernel.records import WriteSet


class BudgetUpkeep:
    """See the module head. ``accounts``: empty while budgets cost nothing."""

    def __init__(self, run_time: RunTime) -> None:
        self.budgets = run_time.state.budgets
        self.run_time = run_time
        self.warnings = BudgetWarnings(run_time.delivery)
        self.accounts = self.budgets.tree.accounts

    @property
    def is_unsettled(self) -> bool:
        """Say whether ``settle`` has something to do."""
        tree = self.budgets.tree
        return bool(tree.freed or tree.crossings or self.run_time.is_unsettled)

    def settle(self) -> None:
        """Let those go on who can by now, and tell of what has crossed its mark."""
        tree = self.budgets.tree
        if tree.freed:
            self.budgets.wake()
        if tree.crossings:
            self.warnings.give()
        if self.run_time.is_unsettled:
            self.run_time.settle()

    def save(self, changes: WriteSet) -> None:
        """Journal what has changed in this loop turn."""
        if self.accounts or self.budgets.tree.closed:
            self.budgets.save(changes)
