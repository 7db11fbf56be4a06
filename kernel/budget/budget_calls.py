"""The system calls of budgets: to read them, to set limits, to top them up. See ipc/syscalls.py.

An agent reads its own account and those of its children, and may give a child more of what is left
to itself; all else is an operator's.

Cost: O(accounts shown).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ext.wire import Envelope
from ipc.budget import BudgetInfo
from ipc.errors import BadBudgetError, NoCapabilityError, UnknownActorError
from ipc.protocol import Kind
from kernel.actor_record import ActorRecord
from kernel.budget.accounts import Account
from kernel.budget.ownership import Ownership, read_limits
from kernel.budget.run_book import TIMES
from kernel.budget.run_time import RunTime
from kernel.calls import Call
from kernel.state import Peer

CallHandler = Callable[[Peer, Call, dict[str, Any]], Any]


class BudgetCalls:
    """See the module head."""

    def __init__(self, run_time: RunTime) -> None:
        self.state = run_time.state
        self.run_time = run_time
        self.budgets = self.state.budgets
        self.ownership = Ownership(self.state)

    def calls(self) -> dict[str, tuple[CallHandler, bool]]:
        """Return the system calls: name to (function, agents may make it)."""
        return {
            "budget": (self.report, True),
            "budget_set": (self.set, False),
            "budget_top_up": (self.top_up, True),
        }

    def report(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> list[BudgetInfo]:
        """Return accounts, each after its parent: the caller's own, one actor's tree, or all."""
        actor = arguments.get("actor")
        self.run_time.tick()
        if isinstance(peer, ActorRecord):
            record = peer if actor is None else self._find(peer, actor)
            return [self._describe(record.account)] if record.account is not None else []
        if actor is None:
            roots = [a for a in self.budgets.tree.accounts.values() if a.parent is None]
        else:
            account = self._find(peer, actor).account
            roots = [account] if account is not None else []
        return [self._describe(account) for root in roots for account in _below(root)]

    def _describe(self, account: Account) -> BudgetInfo:
        record = self.state.actors.get(account.id)
        lacking = record.suspended if record is not None else ()
        # After a top-up who stood still goes on at the end of this loop turn: it is told already.
        suspended = [each for each in lacking if each not in TIMES or account.left(each) == 0]
        return self.budgets.describe(account, sorted(suspended))

    def set(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> list[BudgetInfo]:
        """Set limits of an actor's account, or take them away (None)."""
        limits = read_limits(arguments.get("limits"))
        account = self.ownership.ensure(self._find(peer, arguments["actor"]))
        self.budgets.tree.set_limits(account, limits)
        self.run_time.take_up()
        self._note_times(limits)
        if limits.keys() & {"messages", "bytes"}:
            self._recall(account)
        return [self._describe(account)]

    def _recall(self, account: Account) -> None:
        """Have agents below give back the room they hold: from now on they ask, and wait."""
        for node in _below(account):
            record = self.state.actors.get(node.id)
            if record is not None:
                for receiver in record.lent:
                    self.state.post(record, Envelope(Kind.RECALL, 0, receiver))

    def _note_times(self, limits: dict[str, int | None]) -> None:
        if "cpu_s" in limits:
            self.run_time.limit_all()
        if "wall_s" in limits:
            self.run_time.tick()

    def top_up(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> list[BudgetInfo]:
        """Change limits by so much: who waits for budget goes on."""
        changes = read_limits(arguments.get("amounts"), is_change=True)
        record = self._find(peer, arguments["actor"])
        account = record.account
        limits: dict[str, int | None] = {}
        for resource, change in changes.items():
            limit = account.limits.get(resource) if account is not None else None
            if limit is None:
                problem = f"{record.name} has no limit of its own that could be changed; set one"
                raise BadBudgetError(resource=resource, problem=problem)
            limits[resource] = limit + (change or 0)
            if limit + (change or 0) < 0:
                raise BadBudgetError(resource=resource, problem="the limit would be negative")
        assert account is not None
        self.budgets.tree.set_limits(account, limits)
        self._note_times(limits)
        return [self._describe(account)]

    def _find(self, peer: Peer, actor: int | str) -> ActorRecord:
        names = self.state.names
        identifier = names.find(actor) if isinstance(actor, str) else actor
        record = self.state.actors.get(identifier) if identifier is not None else None
        if record is None:
            alike = names.suggest(actor) if isinstance(actor, str) else []
            hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
            raise UnknownActorError(name=actor, hint=hint)
        if isinstance(peer, ActorRecord) and record.parent != peer.id:
            raise NoCapabilityError(sender=peer.id, receiver=record.id)
        return record


def _below(account: Account) -> list[Account]:
    """Return an account and all below it, each after its parent."""
    found = [account]
    for child in account.children.values():
        found += _below(child)
    return found
