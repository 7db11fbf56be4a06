"""kernel/budget/accounts.py: limits hold at every level, whatever is reserved, settled or ended."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ipc.errors import InfeasibleBudgetError
from kernel.budget.accounts import Account, AccountTree

RESOURCES = ("tokens", "money")


@dataclass(eq=False)
class Node:
    """The oracle's account: what it has done itself; all else is added up anew each time."""

    parent: Node | None
    limits: dict[str, int] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)  # own, and that of children that ended
    held: list[tuple[str, int]] = field(default_factory=list)  # reservations of its own
    children: list[Node] = field(default_factory=list)

    def above(self) -> list[Node]:
        return [self.parent, *self.parent.above()] if self.parent else []

    def total(self, resource: str) -> int:
        """Used and reserved by the subtree."""
        mine = self.used.get(resource, 0) + sum(n for r, n in self.held if r == resource)
        return mine + sum(child.total(resource) for child in self.children)

    def spent(self, resource: str) -> int:
        return self.used.get(resource, 0) + sum(c.spent(resource) for c in self.children)

    def claim(self, resource: str) -> int:
        """What nobody else may use because of this subtree, beside what it has used."""
        if resource in self.limits:
            return self.limits[resource] - self.total(resource)
        return sum(child.claim(resource) for child in self.children)

    def left(self, resource: str) -> int | None:
        if resource not in self.limits:
            return self.parent.left(resource) if self.parent else None
        promised = sum(child.claim(resource) for child in self.children)
        return self.limits[resource] - self.total(resource) - promised


class Accounts(RuleBasedStateMachine):
    """Random trees; each answer and each number is compared with the oracle's."""

    @initialize(limit=st.integers(0, 100))
    def start(self, limit: int) -> None:
        self.tree = AccountTree()
        self.pairs: list[tuple[Account, Node]] = []
        self.next_id = 1
        self._add(None, {"tokens": limit})

    def _add(self, parent: tuple[Account, Node] | None, limits: dict[str, int]) -> None:
        above = parent[0] if parent else None
        account = self.tree.open(self.next_id, f"a{self.next_id}", above, limits)
        node = Node(parent[1] if parent else None, dict(limits))
        if parent:
            parent[1].children.append(node)
        self.pairs.append((account, node))
        self.next_id += 1

    def _pick(self, choice: int) -> tuple[Account, Node]:
        return self.pairs[choice % len(self.pairs)]

    @rule(
        choice=st.integers(0, 99),
        limits=st.dictionaries(st.sampled_from(RESOURCES), st.integers(0, 60)),
    )
    def open(self, choice: int, limits: dict[str, int]) -> None:
        parent = self._pick(choice)
        lefts = {r: parent[1].left(r) for r in limits}
        fits = all(lefts[r] is None or n <= lefts[r] for r, n in limits.items())
        before = len(self.tree.accounts)
        try:
            self._add(parent, limits)
        except InfeasibleBudgetError:
            assert not fits
            assert len(self.tree.accounts) == before
        else:
            assert fits

    @rule(
        choice=st.integers(0, 99),
        needs=st.dictionaries(st.sampled_from(RESOURCES), st.integers(1, 40), min_size=1),
    )
    def reserve(self, choice: int, needs: dict[str, int]) -> None:
        account, node = self._pick(choice)
        fits = all(node.left(r) is None or n <= node.left(r) for r, n in needs.items())

        shortage = self.tree.reserve(account, needs)

        assert (shortage is None) == fits
        if fits:
            node.held += needs.items()

    @rule(choice=st.integers(0, 99), share=st.integers(0, 4))
    def settle(self, choice: int, share: int) -> None:
        account, node = self._pick(choice)
        if node.held:
            resource, amount = node.held.pop()
            used = amount * share // 4
            node.used[resource] = node.used.get(resource, 0) + used
            self.tree.settle(account, resource, amount, used)

    @rule(choice=st.integers(0, 99), amount=st.integers(0, 50))
    def spend(self, choice: int, amount: int) -> None:
        account, node = self._pick(choice)
        left = node.left("tokens")
        over = self.tree.spend(account, "tokens", amount)
        assert over == (0 if left is None else max(0, amount - left))
        node.used["tokens"] = node.used.get("tokens", 0) + amount - over

    @rule(
        choice=st.integers(0, 99),
        resource=st.sampled_from(RESOURCES),
        limit=st.none() | st.integers(0, 120),
    )
    def set_limit(self, choice: int, resource: str, limit: int | None) -> None:
        account, node = self._pick(choice)
        old = dict(node.limits)
        node.limits.pop(resource, None)
        if limit is not None:
            node.limits[resource] = limit
        fits = all(n.left(r) is None or n.left(r) >= 0 for _, n in self.pairs for r in RESOURCES)
        try:
            self.tree.set_limits(account, {resource: limit})
        except InfeasibleBudgetError:
            assert not fits
            node.limits = old
        else:
            assert fits

    @rule(choice=st.integers(0, 99))
    @precondition(lambda self: len(self.pairs) > 1)
    def close(self, choice: int) -> None:
        account, node = self.pairs[1:][choice % (len(self.pairs) - 1)]
        if node.children:
            return
        for resource, amount in node.held:
            self.tree.settle(account, resource, amount, 0)
        self.tree.close(account)
        self.pairs.remove((account, node))
        assert node.parent is not None
        node.parent.children.remove(node)
        for resource, amount in node.used.items():
            node.parent.used[resource] = node.parent.used.get(resource, 0) + amount

    @rule(choice=st.integers(0, 99), to=st.integers(0, 99))
    def move(self, choice: int, to: int) -> None:
        """What is counted elsewhere now takes its part of the limits along."""
        (account, node), (above, above_node) = self._pick(choice), self._pick(to)
        old, new = node.above(), [above_node, *above_node.above()]
        if node.parent is None or node in new:
            return
        for resource in RESOURCES:
            moved = node.total(resource) + node.claim(resource)
            for other in {*old, *new} - ({*old} & {*new}):
                if resource in other.limits:
                    other.limits[resource] += moved if other in new else -moved
        node.parent.children.remove(node)
        node.parent = above_node
        above_node.children.append(node)

        self.tree.move(account, above)

        for changed, its_node in self.pairs:
            assert changed.limits == its_node.limits

    @rule()
    def recover(self) -> None:
        """What a journal keeps makes the same tree, without reservations."""
        again = AccountTree()
        self.pairs.sort(key=lambda pair: len(pair[1].above()))
        for account, node in self.pairs:
            parent = again.accounts.get(account.parent.id) if account.parent else None
            copy = Account(account.id, account.name, parent, limits=dict(account.limits))
            copy.own.update(account.own)
            copy.ended.update(account.ended)
            again.load(copy)
            node.held = []
        again.recount_promises()
        self.tree = again
        self.pairs = [(again.accounts[account.id], node) for account, node in self.pairs]

    @invariant()
    def numbers_are_the_oracles(self) -> None:
        self.tree.check_integrity()
        for account, node in self.pairs:
            for resource in RESOURCES:
                assert account.used[resource] == node.spent(resource)
                assert account.used[resource] + account.reserved[resource] == node.total(resource)
                assert account.left(resource) == node.left(resource)
                limit = node.limits.get(resource)
                assert limit is None or node.total(resource) <= limit


def test_limits_hold_at_every_level_whatever_is_reserved_spent_or_ended() -> None:
    run_state_machine_as_test(
        Accounts, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )


def test_a_childs_limit_is_set_aside_for_it_and_comes_back_when_it_ends() -> None:
    tree = AccountTree()
    top = tree.open(1, "top", None, {"tokens": 100})
    child = tree.open(2, "child", top, {"tokens": 60})
    tree.reserve(child, {"tokens": 25})
    tree.settle(child, "tokens", 25, 20)
    before = top.left("tokens")

    tree.close(child)

    assert before == 40
    assert (top.used["tokens"], top.left("tokens"), top.own["tokens"]) == (20, 80, 0)


def test_a_limit_above_what_the_parent_has_left_says_by_how_much() -> None:
    tree = AccountTree()
    top = tree.open(1, "top", None, {"money": 5_000_000})
    tree.open(2, "first", top, {"money": 4_000_000})

    with pytest.raises(InfeasibleBudgetError) as caught:
        tree.open(3, "second", top, {"money": 1_500_000})

    assert caught.value.fields == {
        "account": "second",
        "resource": "money",
        "wanted": 1.5,
        "missing": 0.5,
        "constraint": "more than top has left for it (1.0 of 5.0)",
    }
    assert 3 not in tree.accounts


def test_a_warning_is_given_once_for_each_crossing_of_four_fifths() -> None:
    tree = AccountTree()
    top = tree.open(1, "top", None, {"tokens": 100})
    tree.spend(top, "tokens", 79)
    crossed = [len(tree.crossings)]
    for amount in (1, 5):
        tree.spend(top, "tokens", amount)
        crossed.append(len(tree.crossings))
    tree.set_limits(top, {"tokens": 200})
    tree.spend(top, "tokens", 75)

    assert (*crossed, len(tree.crossings)) == (0, 1, 1, 2)


def test_what_an_ended_child_still_has_reserved_is_settled_with_its_parent() -> None:
    tree = AccountTree()
    top = tree.open(1, "top", None, {"tokens": 100})
    child = tree.open(2, "child", top, {"tokens": 60})
    tree.reserve(child, {"tokens": 30})
    tree.close(child)
    left_meanwhile = top.left("tokens")

    tree.settle(child, "tokens", 30, 10)

    assert left_meanwhile == 70
    assert (top.left("tokens"), top.used["tokens"], list(tree.accounts)) == (90, 10, [1])
    tree.check_integrity()


def test_overrun_is_booked_apart_and_never_counts_as_used() -> None:
    tree = AccountTree()
    top = tree.open(1, "top", None, {"cpu_s": 10})

    over = tree.spend(top, "cpu_s", 14)

    assert (over, top.used["cpu_s"], top.overrun["cpu_s"]) == (4, 10, 4)
