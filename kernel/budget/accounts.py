"""The tree of accounts: what each agent may use, has used, and has set aside.

An account is an agent's; its parent is the account of the agent's parent. What an account uses,
all above it use too. A limit is a promise both ways: the subtree never uses more, and as much is
set aside for it at the nearest account above that has a limit of that resource.

    left = limit - used - reserved - promised

used      spent for good, by the account's subtree, ended agents included
reserved  set aside for what is under way in the subtree
promised  what is left of the limits of the accounts below, and so is nobody else's

Invariants (``check_integrity``):
  I1  used + reserved + promised <= limit, at every account and for every resource it limits.
  I2  used = own + ended + the sum of the children's used. reserved likewise, without ended.
  I3  promised = the sum over children: of what is left of a limited one, of the promised of
      one without a limit.
  I4  ``reserve`` and ``set_limits`` change all accounts up to the root, or none.
  I5  a reservation that fits at the nearest limited account fits at all above it.

Amounts are integers of the smallest units (ipc/budget.py), at least 0. What is only measured after
the fact (CPU time) cannot be reserved: ``spend`` books it up to the limit, the rest as overrun.

What it is not: who waits (kernel/budget/lines.py), what is journaled (kernel/budget/budgets.py).
Cost: O(depth) for each resource. Pure; owner: the core's loop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ipc.budget import WARN_AT, show_amount
from ipc.errors import BudgetExceededError, InfeasibleBudgetError

Amounts = Mapping[str, int]


def _zeros() -> defaultdict[str, int]:
    return defaultdict(int)


@dataclass(slots=True, eq=False)
class Account:
    """One agent's account; see the module head. ``own``, ``ended``, ``overrun``: journaled."""

    id: int
    name: str
    parent: Account | None
    children: dict[int, Account] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    own: defaultdict[str, int] = field(default_factory=_zeros)
    ended: defaultdict[str, int] = field(default_factory=_zeros)  # by children that are gone
    overrun: defaultdict[str, int] = field(default_factory=_zeros)  # of own and ended
    used: defaultdict[str, int] = field(default_factory=_zeros)
    reserved: defaultdict[str, int] = field(default_factory=_zeros)
    promised: defaultdict[str, int] = field(default_factory=_zeros)
    warned: set[str] = field(default_factory=set)  # resources whose warning has been given
    is_closing: bool = False  # its agent is gone, and something is still reserved

    def held(self, resource: str) -> int:
        """Return what is not left of a limit."""
        return self.used[resource] + self.reserved[resource] + self.promised[resource]

    def claim(self, resource: str) -> int:
        """Return what this account keeps from others below the next limit above."""
        limit = self.limits.get(resource)
        if limit is None:
            return self.promised[resource]
        return limit - self.used[resource] - self.reserved[resource]

    def nearest(self, resource: str) -> Account | None:
        """Return the first account from here upwards that limits the resource."""
        node: Account | None = self
        while node is not None and resource not in node.limits:
            node = node.parent
        return node

    def left(self, resource: str) -> int | None:
        """Return how much more may be reserved here; None: there is no limit."""
        node = self.nearest(resource)
        return None if node is None else node.limits[resource] - node.held(resource)

    @property
    def limits_sends(self) -> bool:
        """Say whether messages or their bytes are limited here or above."""
        return self.nearest("messages") is not None or self.nearest("bytes") is not None

    def path(self) -> Iterator[Account]:
        """Yield this account and all above it."""
        node: Account | None = self
        while node is not None:
            yield node
            node = node.parent


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why nothing was reserved: an account whose limit does not allow it."""

    account: Account
    resource: str
    needed: int

    def error(self) -> BudgetExceededError:
        """Return the error that says so."""
        account, resource = self.account, self.resource
        return BudgetExceededError(
            account=account.name,
            resource=resource,
            limit=show_amount(resource, account.limits.get(resource, 0)),
            used=show_amount(resource, account.held(resource)),
            needed=show_amount(resource, self.needed),
        )


class AccountTree:
    """See the module head.

    freed: accounts and resources of which more is left than before, for who waits.
    crossings: accounts of which a resource has come to the warning mark.
    changed: accounts whose journaled part has changed; ``closed``: those that are gone.
    """

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self.freed: dict[tuple[int, str], None] = {}
        self.crossings: list[tuple[Account, str]] = []
        self.changed: dict[int, Account] = {}
        self.closed: list[int] = []

    # --- accounts -------------------------------------------------------------------------

    def open(self, identifier: int, name: str, parent: Account | None, limits: Amounts) -> Account:
        """Make an account.

        Raises:
            InfeasibleBudgetError: a limit is more than is left above. Nothing was made.
        """
        account = Account(identifier, name, parent)
        self._check_limits(account, limits)
        self.accounts[identifier] = account
        if parent is not None:
            parent.children[identifier] = account
        self.set_limits(account, limits)
        self.changed[identifier] = account
        return account

    def adopt(self, parent: Account, child: Account) -> None:
        """Put a tree of accounts below an account that has no limits yet."""
        assert child.parent is None
        assert not parent.limits
        parent.children[child.id] = child
        child.parent = parent
        for resource in {*child.used, *child.reserved, *child.promised, *child.limits}:
            used, reserved = child.used[resource], child.reserved[resource]
            for node in parent.path():
                node.used[resource] += used
                node.reserved[resource] += reserved
            self._move_claim(parent, resource, child.claim(resource))

    def move(self, account: Account, parent: Account | None) -> None:
        """Put a tree of accounts below another account; nothing is refused.

        What it has used, reserved and set aside is counted by the accounts above it from now on.
        Limits on only one of the two ways up move along: by as much as was counted against those
        of the old way they shrink, and those of the new way grow. So I1 holds everywhere.
        """
        old = list(account.parent.path()) if account.parent is not None else []
        new = list(parent.path()) if parent is not None else []
        for resource in {*account.used, *account.reserved, *account.promised, *account.limits}:
            self._shift(account, [node for node in old if node not in new], resource, -1)
            self._shift(account, [node for node in new if node not in old], resource, 1)
        if account.parent is not None:
            del account.parent.children[account.id]
        if parent is not None:
            parent.children[account.id] = account
        account.parent = parent
        self.changed[account.id] = account

    def _shift(self, account: Account, nodes: list[Account], resource: str, sign: int) -> None:
        """Count an account's amounts at accounts that were not above it, or are so no more."""
        used, reserved = sign * account.used[resource], sign * account.reserved[resource]
        claim = sign * account.claim(resource)
        for node in nodes:
            node.used[resource] += used
            node.reserved[resource] += reserved
            node.promised[resource] += claim
            if resource in node.limits:
                node.limits[resource] += used + reserved + claim
                self.changed[node.id] = node
                self.freed[node.id, resource] = None  # who waits here may wait elsewhere now

    def set_limits(self, account: Account, limits: Mapping[str, int | None]) -> None:
        """Set limits, or take them away (None); those not named stay.

        Raises:
            InfeasibleBudgetError: less than is held, or more than is left above. Nothing was set.
        """
        self._check_limits(account, limits)
        for resource, limit in limits.items():
            before = account.claim(resource)
            if limit is None:
                account.limits.pop(resource, None)
            else:
                account.limits[resource] = limit
            if account.parent is not None:
                self._move_claim(account.parent, resource, account.claim(resource) - before)
            self._free(account, resource)
            self._forgive(account, resource)
        self.changed[account.id] = account

    def _check_limits(self, account: Account, limits: Mapping[str, int | None]) -> None:
        for resource, limit in limits.items():
            held = account.held(resource)
            if limit is not None and limit < held:
                missing, taken = held - limit, show_amount(resource, held)
                self._refuse(account, resource, limit, missing, f"less than it has taken ({taken})")
            above = account.parent.nearest(resource) if account.parent is not None else None
            if above is None:
                continue
            after = account.promised[resource]
            if limit is not None:
                after = limit - account.used[resource] - account.reserved[resource]
            missing = after - account.claim(resource) - (above.left(resource) or 0)
            if missing > 0:
                left = show_amount(resource, above.left(resource) or 0)
                all_of_it = show_amount(resource, above.limits[resource])
                text = f"more than {above.name} has left for it ({left} of {all_of_it})"
                self._refuse(account, resource, limit or 0, missing, text)

    def _refuse(
        self, account: Account, resource: str, limit: int, missing: int, constraint: str
    ) -> None:
        raise InfeasibleBudgetError(
            account=account.name,
            resource=resource,
            wanted=show_amount(resource, limit),
            missing=show_amount(resource, missing),
            constraint=constraint,
        )

    def close(self, account: Account) -> None:
        """End an account whose children have ended: what it used stays with its parent.

        Its unspent limits are the parent's again at once; it is gone when all is settled.
        """
        account.is_closing = True
        self.set_limits(account, dict.fromkeys(account.limits))
        self._fold(account)

    def _fold(self, account: Account) -> None:
        """Remove accounts that are closing and have nothing reserved, from here upwards."""
        node: Account | None = account
        while node is not None and node.is_closing and not node.children:
            if any(node.reserved.values()):
                return
            parent = node.parent
            if parent is not None:
                del parent.children[node.id]
                for resource, amount in node.used.items():
                    parent.ended[resource] += amount
                for resource, amount in node.overrun.items():
                    parent.overrun[resource] += amount
                self.changed[parent.id] = parent
            self.accounts.pop(node.id, None)
            self.changed.pop(node.id, None)
            self.closed.append(node.id)
            node = parent

    # --- amounts --------------------------------------------------------------------------

    def shortage(self, account: Account, needs: Amounts) -> Shortage | None:
        """Return what stands against reserving all of this, or None."""
        for resource, amount in needs.items():
            node = account.nearest(resource)
            if node is not None and amount > node.limits[resource] - node.held(resource):
                return Shortage(node, resource, amount)
        return None

    def reserve(self, account: Account, needs: Amounts) -> Shortage | None:
        """Set all of this aside up to the root, or nothing, and say why."""
        shortage = self.shortage(account, needs)
        if shortage is None:
            for resource, amount in needs.items():
                self._move(account, resource, amount, 0)
        return shortage

    def release(self, account: Account, amounts: Amounts) -> None:
        """What was reserved is not needed after all."""
        for resource, amount in amounts.items():
            self.settle(account, resource, amount, 0)

    def settle(self, account: Account, resource: str, reserved: int, used: int) -> None:
        """Of what was reserved, so much was used; the rest is free again. used <= reserved."""
        assert 0 <= used <= reserved
        self._move(account, resource, -reserved, used)
        if used:
            account.own[resource] += used
            self.changed[account.id] = account
            self._warn(account, resource)
        if used < reserved:
            self._free(account, resource)
        if account.is_closing and account.id in self.accounts:
            self._fold(account)

    def spend(self, account: Account, resource: str, amount: int) -> int:
        """Book what was not reserved, as far as the limit allows; return and book the overrun."""
        left = account.left(resource)
        within = amount if left is None else max(0, min(amount, left))
        if within:
            self._move(account, resource, within, 0)
            self.settle(account, resource, within, within)
        if over := amount - within:
            account.overrun[resource] += over
            self.changed[account.id] = account
        return over

    def _move(self, account: Account, resource: str, reserved: int, used: int) -> None:
        change, is_below_limit = reserved + used, False
        for node in account.path():
            if is_below_limit:  # it was promised to an account below, and is taken from that
                node.promised[resource] -= change
            node.reserved[resource] += reserved
            node.used[resource] += used
            is_below_limit = is_below_limit or resource in node.limits

    def _move_claim(self, parent: Account, resource: str, change: int) -> None:
        """The claim of a child has changed: so has what is promised, up to the next limit."""
        if not change:
            return
        for node in parent.path():
            node.promised[resource] += change
            if resource in node.limits:
                if change < 0:
                    self.freed[node.id, resource] = None
                return

    def _free(self, account: Account, resource: str) -> None:
        self.freed[account.id, resource] = None
        node = account.nearest(resource)
        if node is not None:
            self.freed[node.id, resource] = None

    # --- the warning mark -----------------------------------------------------------------

    def _warn(self, account: Account, resource: str) -> None:
        for node in account.path():
            if resource not in node.warned and is_at_mark(node, resource):
                node.warned.add(resource)
                self.changed[node.id] = node
                self.crossings.append((node, resource))

    def _forgive(self, account: Account, resource: str) -> None:
        """A limit was changed: if the mark is above what is used, it may be crossed again."""
        if resource in account.warned and not is_at_mark(account, resource):
            account.warned.discard(resource)

    # --- recovery and checks --------------------------------------------------------------

    def load(self, account: Account) -> None:
        """Take a journaled account; parents come before children. Nothing is reserved."""
        self.accounts[account.id] = account
        if account.parent is not None:
            account.parent.children[account.id] = account
        limits, account.limits = account.limits, {}
        for resource in {*account.own, *account.ended}:
            spent = account.own[resource] + account.ended[resource]
            for node in account.path():
                node.used[resource] += spent
        account.limits = limits

    def recount_promises(self) -> None:
        """Compute what is promised, from the leaves up; after all were loaded."""
        for account in sorted(self.accounts.values(), key=lambda node: -len(list(node.path()))):
            for child in account.children.values():
                for resource in {*child.limits, *child.promised}:
                    account.promised[resource] += child.claim(resource)

    def check_integrity(self) -> None:
        """Verify I1-I3; for tests. Raises AssertionError."""
        for node in self.accounts.values():
            children = node.children.values()
            names = {*node.used, *node.reserved, *node.promised, *node.limits}
            for resource in names:
                used = node.own[resource] + node.ended[resource]
                used += sum(child.used[resource] for child in children)
                assert node.used[resource] == used, f"I2 {node.name} {resource}"
                below = sum(child.reserved[resource] for child in children)
                assert node.reserved[resource] >= below >= 0, f"I2 {node.name} {resource}"
                promised = sum(child.claim(resource) for child in children)
                assert node.promised[resource] == promised >= 0, f"I3 {node.name} {resource}"
                limit = node.limits.get(resource)
                assert limit is None or node.held(resource) <= limit, f"I1 {node.name} {resource}"


def is_at_mark(account: Account, resource: str) -> bool:
    """Say whether so much of a limit is used that a warning is due."""
    limit = account.limits.get(resource)
    return limit is not None and account.used[resource] * 100 >= limit * WARN_AT
