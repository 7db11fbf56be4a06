"""All budgets of a kernel: accounts, who waits for them, and what of them is to be journaled.

The core's parts reserve and settle here; what is used is in the write set of the loop turn that
used it (``save``). Reservations are not journaled: the next kernel makes them anew from what is
pending. An actor without a budget, below no actor with one, has no account and costs nothing.

    budget   actor id   (blob)   limits, own, ended, overrun, warned; run: see run_book.py

What it is not: the arithmetic (kernel/budget/accounts.py), the lines (kernel/budget/lines.py), what
is counted and when (kernel/budget/postage.py, kernel/llm/metering.py, kernel/budget/run_time.py).

Cost: O(depth) a reservation; a row for each account that has changed in a loop turn.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgpack

from ipc.budget import BudgetInfo, ResourceInfo
from kernel.budget.accounts import Account, AccountTree, Amounts, Shortage
from kernel.budget.lines import Attempt, BudgetLines, Waiter
from kernel.budget.run_book import Run, RunBook
from kernel.mailbox import Message
from kernel.records import Rows, WriteSet

ALL_SHOWN = ("limits", "used", "reserved", "promised", "overrun")


class Budgets:
    """See the module head.

    unpaid: accepted messages that wait for their sender's budget, by sender, in order.
    """

    def __init__(self) -> None:
        self.tree = AccountTree()
        self.lines = BudgetLines()
        self.unpaid: dict[int, deque[Message]] = {}
        self.unpaid_waiters: dict[int, Waiter] = {}
        self.run_book = RunBook(self.tree)
        self.stopped: dict[int, Waiter] = {}  # actors that wait for CPU or wall time
        self.held_starts: dict[int, None] = {}  # of these, not started: to stand in line
        self.held_calls: dict[int, None] = {}  # counted calls that wait, and have not begun
        self.begun: dict[int, None] = {}  # processes whose hard stop is to be set

    def get(self, actor: int) -> Account | None:
        """Return an actor's account, if it has one."""
        return self.tree.accounts.get(actor)

    def open(
        self, identifier: int, name: str, parent: Account | None, limits: Amounts
    ) -> Account | None:
        """Make the account of a new actor, if it needs one. Raises InfeasibleBudgetError."""
        if parent is None and not limits:
            return None
        return self.tree.open(identifier, name, parent, limits)

    # --- reserving ------------------------------------------------------------------------

    def take(self, account: Account, needs: Amounts, number: int) -> Shortage | None:
        """Reserve all of this, or nothing and say why; also for those who wait before us.

        number: of the message or call; who has a lower one goes first.
        """
        for resource, amount in needs.items():
            if self.lines.is_behind(number, account, resource):
                node = account.nearest(resource)
                assert node is not None
                return Shortage(node, resource, amount)
        return self.tree.reserve(account, needs)

    def charge(self, account: Account, needs: Amounts, number: int) -> Shortage | None:
        """Reserve and use all of this at once, or nothing and say why."""
        shortage = self.take(account, needs, number)
        if shortage is None:
            self.settle(account, needs)
        return shortage

    def settle(self, account: Account, amounts: Amounts) -> None:
        """All of this was reserved and is used now."""
        for resource, amount in amounts.items():
            self.tree.settle(account, resource, amount, amount)

    def wait(self, account: Account, number: int, attempt: Attempt, shortage: Shortage) -> Waiter:
        """Try again whenever more is left of what stands against it."""
        waiter = Waiter(number, account, attempt)
        self.lines.stand(waiter, shortage)
        return waiter

    def give_up(self, waiter: Waiter) -> None:
        """Somebody waits no more; who stood behind may go on."""
        place = self.lines.leave(waiter)
        if place is not None:
            self.tree.freed[place] = None

    def wake(self) -> None:
        """Let those go on for whom enough is left by now."""
        while self.tree.freed:
            place = next(iter(self.tree.freed))
            del self.tree.freed[place]
            self.lines.try_first(place)

    # --- unpaid messages ------------------------------------------------------------------

    def forget_unpaid(self, message: Message) -> None:
        """An unpaid message has ended, or is paid."""
        message.is_unpaid = False
        line = self.unpaid.get(message.sender)
        if line is None or message not in line:
            return
        line.remove(message)
        if not line:
            del self.unpaid[message.sender]
            waiter = self.unpaid_waiters.pop(message.sender, None)
            if waiter is not None:
                self.give_up(waiter)

    def unpaid_to(self, receiver: int) -> list[Message]:
        """Return the unpaid messages to an actor, oldest first. Cost: O(unpaid messages)."""
        found = [m for line in self.unpaid.values() for m in line if m.receiver == receiver]
        return sorted(found, key=lambda message: message.id)

    # --- the journal ----------------------------------------------------------------------

    def save(self, changes: WriteSet) -> None:
        """Put the rows of what has changed into the write set."""
        tree = self.tree
        changed, tree.changed = tree.changed, {}
        for identifier, account in changed.items():
            changes.put("budget", identifier, self._to_row(account))
        closed, tree.closed = tree.closed, []
        for identifier in closed:
            changes.delete("budget", identifier)

    def _to_row(self, account: Account) -> tuple[bytes]:
        run = self.run_book.runs.get(account.id)
        row = {
            "name": account.name,
            "parent": account.parent.id if account.parent is not None else 0,
            "limits": account.limits,
            "own": _present(account.own),
            "ended": _present(account.ended),
            "overrun": _present(account.overrun),
            "warned": sorted(account.warned),
            "run": run.to_row() if run is not None else None,
            "closing": account.is_closing,
        }
        return (msgpack.packb(row),)

    def load(self, rows: Rows) -> None:
        """Take journaled accounts; nothing is reserved. Those that were closing close now."""
        values = {identifier: msgpack.unpackb(blob) for identifier, (blob,) in rows.items()}
        for identifier in values:
            self._load(identifier, values)
        self.tree.recount_promises()
        for account in list(self.tree.accounts.values()):
            if account.is_closing and account.id in self.tree.accounts:
                self.tree.close(account)
        self.tree.crossings.clear()

    def _load(self, identifier: int, values: dict[int, dict[str, Any]]) -> Account:
        known = self.tree.accounts.get(identifier)
        if known is not None:
            return known
        row = values[identifier]
        parent = self._load(row["parent"], values) if row["parent"] in values else None
        account = Account(identifier, row["name"], parent, limits=row["limits"])
        account.own.update(row["own"])
        account.ended.update(row["ended"])
        account.overrun.update(row["overrun"])
        account.warned.update(row["warned"])
        account.is_closing = row["closing"]
        if row["run"] is not None:
            self.run_book.runs[identifier] = Run(*row["run"])
        self.tree.load(account)
        return account

    # --- reports --------------------------------------------------------------------------

    def describe(self, account: Account, suspended: list[str]) -> BudgetInfo:
        """Return one account as ``llmos budget`` shows it. Cost: O(resources + waiters)."""
        names = {name for part in ALL_SHOWN for name in _present(getattr(account, part))}
        names |= account.limits.keys()
        names |= _limited_above(account)
        waiting = sum(waiter.account is account for waiter in self.lines.waiters())
        return BudgetInfo(
            actor=account.id,
            name=account.name,
            parent=account.parent.id if account.parent is not None else None,
            suspended=suspended,
            waiting=waiting,
            resources={name: _resource(account, name) for name in sorted(names)},
        )


def _limited_above(account: Account) -> set[str]:
    return {resource for node in account.path() for resource in node.limits}


def _resource(account: Account, resource: str) -> ResourceInfo:
    return ResourceInfo(
        used=account.used[resource],
        reserved=account.reserved[resource],
        promised=account.promised[resource],
        overrun=account.overrun[resource],
        limit=account.limits.get(resource),
        left=account.left(resource),
    )


def _present(amounts: dict[str, int]) -> dict[str, int]:
    return {resource: amount for resource, amount in amounts.items() if amount}
