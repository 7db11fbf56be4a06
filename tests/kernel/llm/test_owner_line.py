"""One place an owner, against a line in which each request stands by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.llm.named_policies import NamedPolicies
from kernel.llm.owners import OwnerAccount
from kernel.llm.request import Request
from kernel.llm.task import DONE, FRESH, Task
from kernel.llm.waiting_line import WaitingLine
from kernel.policy.policy_names import POLICIES
from tests.kernel.llm.world import World, prompt
from tests.reference.fair_share import NAME, OneByOne
from tests.trials import trials

OWNERS = 3
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(
            ["add", "add", "add", "add", "take", "return", "remove", "key", "end", "sort"]
        ),
        st.integers(0, 30),
        st.integers(0, OWNERS - 1),
        st.integers(0, 4),
    ),
    min_size=20,
    max_size=60,
)


@dataclass
class Twin:
    """The same tasks in a line with a place for each, and in one with a place an owner."""

    each: Task
    ours: Task

    @property
    def owner(self) -> int:
        return self.ours.account.owner


def new_task(order: int, owner: int, key: float) -> Task:
    request = Request(order, owner, [1], sampling={"max_tokens": 1, "seed": 1})
    task = Task(request, OwnerAccount(owner, 1), order, order)
    task.key = key
    return task


@settings(max_examples=trials(150), deadline=None)
@given(CHANGES)
def test_requests_with_one_key_an_owner_leave_in_the_order_they_would_have_each_by_itself(
    changes: list[tuple[str, int, int, int]],
) -> None:
    each, ours = WaitingLine(), WaitingLine()
    ours.sort([], by_owner=True)
    waiting, away = list[Twin](), list[Twin]()
    keys = [0.0] * OWNERS
    for order, (what, choice, owner, step) in enumerate(changes):
        if what == "add":
            twin = Twin(*(new_task(order, owner, keys[owner]) for _ in range(2)))
            each.add(twin.each)
            ours.add(twin.ours)
            waiting.append(twin)
        elif what == "key":
            keys[owner] += step - 1.0
            move(each, ours, owner, keys[owner], waiting, away)
        elif what == "return" and away:
            twin = away.pop(choice % len(away))
            key = keys[twin.owner] + step  # it was asked again when it gave way
            for line, task in ((each, twin.each), (ours, twin.ours)):
                task.key = key
                line.put_back(task)
            waiting.append(twin)
        elif what == "end" and away and ours.by_owner is not None:
            twin = away.pop(choice % len(away))
            twin.ours.place = DONE
            ours.by_owner.forget(twin.ours)
        elif what == "sort":
            both = sorted(waiting + away, key=lambda twin: twin.ours.order)
            for twin in both:
                twin.ours.key = twin.each.key  # as who changes the policy asks for all keys
            ours.sort([twin.ours for twin in both], by_owner=step != 0)
        elif what in ("take", "remove") and waiting:
            head = each.head()
            twin = waiting[choice % len(waiting)]
            if what == "take":
                twin = next(one for one in waiting if one.each is head)
            each.remove(twin.each)
            ours.remove(twin.ours)
            assert twin.ours.key == twin.each.key
            for task in (twin.each, twin.ours):
                task.place = DONE  # in no line
            waiting.remove(twin)
            away.append(twin)
        check(each, ours)


def move(each: WaitingLine, ours: WaitingLine, owner: int, key: float, *twins: list[Twin]) -> None:
    """An owner's key has changed; the line that asks one by one is told of each task."""
    waiting, away = twins
    for twin in waiting:
        if twin.owner == owner:
            each.set_key(twin.each, key)
    for twin in away:
        if twin.owner == owner:
            twin.each.key = twin.ours.key = key
    if ours.by_owner is None:
        told = [twin.ours for twin in waiting if twin.owner == owner]
    else:
        apart = ours.by_owner.set_owner_key(owner, key)
        told = [task for task in apart if task.place is not DONE]
    for task in told:
        ours.set_key(task, key)


def check(each: WaitingLine, ours: WaitingLine) -> None:
    if ours.by_owner is not None:
        ours.by_owner.check_integrity()
    assert len(ours) == len(each)
    assert rank(ours.head()) == rank(each.head())
    assert list(map(rank, ours.first(2))) == list(map(rank, each.first(2)))


def rank(task: Task | None) -> Any:
    return None if task is None else (task.rank, task.place is FRESH)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "cancel", "step", "step", "step", "use"]),
        st.integers(0, 1),
        st.integers(0, 40),
    ),
    min_size=20,
    max_size=80,
)
FACTS: dict[str, Any] = {
    "num_blocks": 20,
    "max_running": 4,
    "max_step_tokens": 24,
    "num_host_blocks": 6,
}


class Engines:
    """Two engines under one policy."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.policies = NamedPolicies(policy)
        self.worlds = [
            World(policy=self.policies(), first_request=first, **FACTS) for first in (1, 1001)
        ]
        self.worlds[0].set_quota(0, 12)

    def act(self, what: str, engine: int, number: int) -> None:
        world = self.worlds[engine]
        live = world.scheduler.live()
        if what == "add" and len(live) < 40:
            world.add(
                prompt(number % 19 + 1, number),
                max_tokens=number % 7 * 9 + 1,
                owner=number % OWNERS,
                weight=float(number % 2 + 1),
            )
        elif what == "cancel" and live:
            world.cancel(live[number % len(live)])
        elif what == "use":
            self.policies.use(self.policy if number % 4 else "round_robin", world.tick())
        elif what == "step":
            for _ in range(number % 5):
                world.step()

    def finish(self) -> list[Any]:
        for world in self.worlds:
            world.run()
            world.check_results()
        return [world.sent for world in self.worlds]


@settings(max_examples=trials(40), deadline=None)
@given(ACTIONS)
def test_with_one_place_an_owner_engines_are_sent_the_same_plans(
    actions: list[tuple[str, int, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(POLICIES, NAME, OneByOne)
        ours, each = Engines("fair_share"), Engines(NAME)
        for action in actions:
            for engines in (ours, each):
                engines.act(*action)

        assert ours.finish() == each.finish()
    assert not ours.policies.views
