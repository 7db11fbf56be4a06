"""Budgets as agents meet them: sends wait at a limit, go on when it is raised, and cost once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from actors import (
    Actor,
    ActorRef,
    AskTimeoutError,
    BadBudgetError,
    BudgetExceededError,
    ChildBudget,
    InfeasibleBudgetError,
    receive,
    subscribe,
)
from actors.testing import TestKernel

SETTINGS = {"restart_intensity": 1000, "max_attempts": 1000}


class Sink(Actor):
    """Keeps what it is told."""

    @receive
    async def take(self, number: int) -> int:
        self.state["seen"] = [*self.state.get("seen", []), number]
        return number

    @receive
    async def seen(self) -> list[int]:
        return list(self.state.get("seen", []))


class Listener(Actor):
    """Hears what is published."""

    @subscribe("numbers")
    async def hear(self, number: int) -> None:
        self.state["heard"] = [*self.state.get("heard", []), number]


class Sender(Actor):
    """Sends in each way there is."""

    @receive
    async def ask(self, sink: ActorRef[Any], numbers: list[int]) -> list[int]:
        return [await sink.take(number) for number in numbers]

    @receive
    async def ask_together(self, sink: ActorRef[Any], numbers: list[int]) -> list[int]:
        return list(await asyncio.gather(*(sink.take(number) for number in numbers)))

    @receive
    async def tell_all(self, sink: ActorRef[Any], numbers: list[int]) -> None:
        for number in numbers:
            await sink.tell.take(number)

    @receive
    async def tell_self(self, sink: ActorRef[Any], numbers: list[int]) -> None:
        for number in numbers:
            await self.ref.tell.ask(sink, [number])

    @receive
    async def spread(self, numbers: list[int]) -> None:
        for number in numbers:
            await self.publish("numbers", number)

    @receive
    async def hurry(self, sink: ActorRef[Any]) -> str:
        hurried = sink.options(on_budget="raise")
        problems = []
        for call in (hurried.take(1), hurried.tell.take(2)):
            try:
                await call
            except BudgetExceededError as error:
                problems.append(f"{error.account} {error.resource} {error.used}/{error.limit}")
        return "; ".join(problems)

    @receive
    async def write(self, prompt: str, on_budget: str = "wait") -> str:
        options: Any = {"max_tokens": 200, "on_budget": on_budget}
        return (await self.llm.complete(prompt, **options)).text

    @receive
    async def read(self, prompt: str) -> list[str]:
        return [piece async for piece in self.llm.stream(prompt, max_tokens=200)]

    @receive
    async def left(self, resource: str) -> Any:
        return (await self.budget()).left(resource)


class Parent(Sender):
    """Spawns with budgets."""

    @receive
    async def have(self, name: str, budget: dict[str, Any]) -> ActorRef[Any]:
        return await self.spawn(Sender, name=name, budget=budget)

    @receive
    async def give(self, child: ActorRef[Any], tokens: int) -> None:
        await self.top_up(child, messages=tokens)

    @receive
    async def end(self, child: ActorRef[Any]) -> None:
        await self.stop_child(child)

    async def on_child_budget(self, event: ChildBudget) -> None:
        told = [event.name, event.resource, event.used, event.limit]
        self.state["told"] = [*self.state.get("told", []), told]


@pytest.fixture
def kernel() -> Iterator[TestKernel]:
    with TestKernel(**SETTINGS) as kernel:
        yield kernel


def account(kernel: TestKernel, name: str, resource: str = "messages") -> tuple[int, int]:
    """Return what an agent's account has used and reserved; checks all accounts besides."""
    kernel.core.state.budgets.tree.check_integrity()
    (info,) = [info for info in kernel.system("budget") if info["name"] == name]
    found = info["resources"][resource]
    return found["used"], found["reserved"]


def state_of(kernel: TestKernel, name: str) -> str:
    (info,) = [info for info in kernel.system("ps") if info["name"] == name]
    return str(info["state"])


def top_up(kernel: TestKernel, name: str, **amounts: int) -> None:
    kernel.system("budget_top_up", actor=name, amounts=amounts)
    kernel.run_until_idle()


def test_asks_beyond_the_budget_wait_and_go_on_when_it_is_topped_up(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    sender = kernel.spawn(Sender, name="sender", budget={"messages": 3})
    task = kernel.loop.create_task(_outcome(sender.ask(sink, [1, 2, 3, 4, 5])))
    kernel.advance(10)
    before = (task.done(), account(kernel, "sender"), kernel.ask(sink.seen()))
    slots = kernel.core.state.slots.used

    top_up(kernel, "sender", messages=2)

    assert before == (False, (3, 0), [1, 2, 3])
    assert slots == 0
    assert task.result() == [1, 2, 3, 4, 5]
    assert account(kernel, "sender") == (5, 0)


def test_waiting_for_budget_is_no_deadlock(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    sender = kernel.spawn(Sender, name="sender", budget={"messages": 0})
    asked = kernel.loop.create_task(_outcome(sender.ask_together(sink, [1, 2])))
    kernel.advance(30)

    top_up(kernel, "sender", messages=2)

    assert asked.result() == [1, 2]
    assert kernel.system("statistics").get("deadlocks", 0) == 0


def test_a_deadline_holds_while_an_ask_waits_for_budget(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    sender = kernel.spawn(Sender, name="sender", budget={"messages": 0})

    with pytest.raises(AskTimeoutError):
        kernel.ask(sender.options(deadline=5.0).ask(sink, [1]))

    kernel.run_until_idle()
    top_up(kernel, "sender", messages=9)
    assert kernel.ask(sink.seen()) == []
    assert account(kernel, "sender") == (0, 0)
    assert state_of(kernel, "sender") == "idle"


def test_a_turn_waits_where_it_tells_beyond_its_budget(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    sender = kernel.spawn(Sender, name="sender", budget={"messages": 2})
    kernel.tell(sender.tell.tell_all(sink, [1, 2, 3]))
    kernel.advance(5)
    before = (kernel.ask(sink.seen()), account(kernel, "sender"), state_of(kernel, "sender"))

    top_up(kernel, "sender", messages=1)

    assert before == ([], (0, 2), "waiting")
    assert kernel.ask(sink.seen()) == [1, 2, 3]
    assert account(kernel, "sender") == (3, 0)


def test_a_commit_never_fails_for_its_budget_what_it_cannot_pay_waits(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    sender = kernel.spawn(Sender, name="sender", budget={"messages": 4})
    kernel.tell(sender.tell.tell_self(sink, [1, 2, 3, 4, 5, 6]))
    kernel.advance(5)
    before = (kernel.ask(sink.seen()), account(kernel, "sender"))

    kernel.restart_kernel()
    kernel.advance(5)
    after_crash = account(kernel, "sender")
    top_up(kernel, "sender", messages=8)
    kernel.advance(5)

    assert before == ([], (4, 0))
    assert after_crash == (4, 0)
    assert kernel.ask(sink.seen()) == [1, 2, 3, 4, 5, 6]
    assert account(kernel, "sender") == (12, 0)


def test_with_raise_nothing_waits_and_the_error_names_the_account(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    sender = kernel.spawn(Sender, name="sender", budget={"messages": 0})

    said = kernel.ask(sender.hurry(sink))

    assert said == "sender messages 0/0; sender messages 0/0"
    assert kernel.ask(sink.seen()) == []


def test_a_retried_turn_pays_once(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    sender = kernel.spawn(Sender, name="sender", budget={"messages": 3})
    task = kernel.loop.create_task(_outcome(sender.ask(sink, [1, 2, 3, 4])))
    kernel.advance(1)
    for _ in range(3):
        kernel.crash(sender)
        kernel.advance(20)
        assert account(kernel, "sender") == (3, 0)
    top_up(kernel, "sender", messages=1)
    kernel.advance(5)

    assert task.result() == [1, 2, 3, 4]
    assert account(kernel, "sender") == (4, 0)
    assert kernel.ask(sink.seen()) == [1, 2, 3, 4]


def test_bytes_are_counted_as_they_are_stored(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    sender = kernel.spawn(Sender, name="sender", budget={"bytes": 1000})
    kernel.loop.create_task(_outcome(sender.ask(sink, list(range(100)))))
    kernel.advance(5)

    used, reserved = account(kernel, "sender", "bytes")

    handled = len(kernel.ask(sink.seen()))
    assert 0 < handled < 100
    assert used == sum(128 + 9 for _ in range(handled))
    assert used <= 1000 < used + 128 + 9
    assert reserved == 0


def test_a_childs_use_counts_for_all_above_and_stays_when_it_ends(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    parent = kernel.spawn(Parent, name="parent", budget={"messages": 10})
    child = kernel.ask(parent.have("child", {"messages": 6}))
    kernel.ask(child.ask(sink, [1, 2, 3]))
    lefts = [kernel.ask(parent.left("messages")), kernel.ask(child.left("messages"))]

    kernel.ask(parent.end(child))

    assert lefts == [4, 3]
    assert account(kernel, "parent") == (3, 0)
    assert kernel.ask(parent.left("messages")) == 7


def test_a_parent_tops_up_a_child_from_its_own(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    parent = kernel.spawn(Parent, name="parent", budget={"messages": 10})
    child = kernel.ask(parent.have("child", {"messages": 2}))
    task = kernel.loop.create_task(_outcome(child.ask(sink, [1, 2, 3, 4])))
    kernel.advance(1)

    kernel.ask(parent.give(child, 3))
    kernel.run_until_idle()

    assert task.result() == [1, 2, 3, 4]
    with pytest.raises(InfeasibleBudgetError) as caught:
        kernel.ask(parent.give(child, 6))
    assert caught.value.missing == 1
    assert "parent has left for it (5 of 10)" in str(caught.value)


def test_the_parent_is_told_once_when_four_fifths_are_used(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    parent = kernel.spawn(Parent, name="parent")
    child = kernel.ask(parent.have("child", {"messages": 5}))

    kernel.ask(child.ask(sink, [1, 2, 3, 4, 5]))
    kernel.run_until_idle()

    assert kernel.state(parent)["told"] == [["child", "messages", 4, 5]]
    assert kernel.system("statistics")["budget_warnings"] == 1


def test_the_members_of_a_pool_share_its_budget(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    pool = kernel.spawn_pool(Sender, name="crew", minimum=2, budget={"messages": 5})
    for first in (1, 3, 5):
        kernel.loop.create_task(_outcome(pool.ask(sink, [first, first + 1])))
    kernel.advance(5)
    before = len(kernel.ask(sink.seen())), account(kernel, "crew")

    top_up(kernel, "crew", messages=1)
    kernel.advance(1)

    assert before == (5, (5, 0))
    assert sorted(kernel.ask(sink.seen())) == [1, 2, 3, 4, 5, 6]
    assert account(kernel, "crew") == (6, 0)


def test_a_limit_set_later_holds_for_room_lent_before(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    sender = kernel.spawn(Sender, name="sender")
    kernel.tell(sender.tell.tell_all(sink, [1, 2]))
    kernel.system("budget_set", actor="sender", limits={"messages": 2})
    kernel.run_until_idle()
    kernel.tell(sender.tell.tell_all(sink, [3, 4, 5]))
    waiting = account(kernel, "sender"), state_of(kernel, "sender")

    top_up(kernel, "sender", messages=1)

    assert waiting == ((0, 2), "waiting")
    assert kernel.ask(sink.seen()) == [1, 2, 3, 4, 5]
    assert account(kernel, "sender") == (3, 0)


def test_a_budget_of_something_else_spares_tells_the_asking(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    limited = kernel.spawn(Sender, name="limited", budget={"messages": 100})
    other = kernel.spawn(Sender, name="other", budget={"tokens": 100})
    for sender in (limited, other):
        kernel.tell(sender.tell.tell_all(sink, [1, 2, 3]))

    lent = {
        record.name: record.lent.get(sink.id, [0, 0])[0]
        for record in kernel.core.state.actors.values()
    }
    assert lent["limited"] == 0
    assert lent["other"] > 100
    assert account(kernel, "other") == (3, 0)


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        ({"tokens": -1}, "is negative"),
        ({"tokens": 1.5}, "finer than its smallest unit"),
        ({"beans": 1}, "known are tokens, money, llm_calls"),
        ({"money": "much"}, "is not a number"),
        ({"messages": True}, "is not a number"),
    ],
)
def test_a_budget_that_is_none_is_refused(
    kernel: TestKernel, budget: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BadBudgetError, match=problem):
        kernel.spawn(Sender, name="sender", budget=budget)
    assert kernel.system("ps") == []


def test_a_child_cannot_have_more_than_is_left_and_is_not_started(kernel: TestKernel) -> None:
    parent = kernel.spawn(Parent, name="parent", budget={"messages": 10, "money": 2.5})

    with pytest.raises(InfeasibleBudgetError) as caught:
        kernel.ask(parent.have("child", {"money": "2.500001"}))

    assert caught.value.missing == 1e-6
    assert [info["name"] for info in kernel.system("ps")] == ["parent"]


def test_a_budget_can_be_set_on_agents_that_run_and_taken_away(kernel: TestKernel) -> None:
    sink = kernel.spawn(Sink, name="sink")
    parent = kernel.spawn(Parent, name="parent")
    child = kernel.ask(parent.have("child", {}))
    kernel.ask(child.ask(sink, [1]))
    kernel.system("budget_set", actor="parent", limits={"messages": 2})
    task = kernel.loop.create_task(_outcome(child.ask(sink, [2, 3, 4])))
    kernel.advance(1)
    waiting = (task.done(), account(kernel, "parent"), account(kernel, "child"))

    kernel.system("budget_set", actor="parent", limits={"messages": None})
    kernel.run_until_idle()

    assert waiting == (False, (2, 0), (2, 0))
    assert task.result() == [2, 3, 4]


def test_each_copy_of_a_publish_costs_a_message(kernel: TestKernel) -> None:
    listeners = [kernel.spawn(Listener) for _ in range(3)]
    sender = kernel.spawn(Sender, name="sender", budget={"messages": 7})
    kernel.ask(sender.spread([1, 2, 3]))
    kernel.run_until_idle()
    before = sum(len(kernel.state(one).get("heard", [])) for one in listeners)

    top_up(kernel, "sender", messages=2)

    assert before == 7
    assert [kernel.state(one)["heard"] for one in listeners] == [[1, 2, 3]] * 3
    assert account(kernel, "sender") == (9, 0)


def test_what_a_terminated_sender_could_not_pay_becomes_dead_letters(kernel: TestKernel) -> None:
    listener = kernel.spawn(Listener)
    sender = kernel.spawn(Sender, name="sender", budget={"messages": 1})
    kernel.ask(sender.spread([1, 2, 3]))

    kernel.system("kill", actor="sender")
    kernel.run_until_idle()

    letters = kernel.system("dead_letters")
    assert [(letter["reason"], letter["receiver"]) for letter in letters] == [
        ("unpaid", listener.id)
    ] * 2
    assert kernel.state(listener)["heard"] == [1]
    kernel.restart_kernel()
    assert kernel.system("budget") == []


def test_unpaid_messages_to_a_terminated_receiver_end_as_dead_letters(kernel: TestKernel) -> None:
    listener = kernel.spawn(Listener, name="listener")
    sender = kernel.spawn(Sender, name="sender", budget={"messages": 0})
    kernel.ask(sender.spread([1]))

    kernel.system("kill", actor="listener")
    kernel.run_until_idle()

    (letter,) = kernel.system("dead_letters")
    assert (letter["reason"], letter["receiver"]) == ("receiver_terminated", listener.id)
    assert state_of(kernel, "sender") == "idle"


WORDS = " ".join(f"w{number}" for number in range(150))


@pytest.mark.parametrize("death", [None, "kernel", "engine", "agent"])
def test_a_completion_that_was_topped_up_is_the_one_it_would_have_been(
    kernel: TestKernel, death: str | None
) -> None:
    kernel.llm.reply(WORDS)
    writer = kernel.spawn(Sender, name="writer", budget={"tokens": 70})
    task = kernel.loop.create_task(_outcome(writer.write("go on")))
    reading = kernel.loop.create_task(_outcome(writer.read("go on"))) if death is None else None
    kernel.advance(5)
    paused = (task.done(), account(kernel, "writer", "tokens"), state_of(kernel, "writer"))

    if death == "kernel":
        kernel.restart_kernel()
    elif death is not None:
        kernel.crash(writer if death == "agent" else kernel.lookup("engine.embedded.1"))
    kernel.advance(10)
    top_up(kernel, "writer", tokens=50)
    kernel.advance(5)
    top_up(kernel, "writer", tokens=1000)
    kernel.advance(5)

    assert paused == (False, (70, 0), "waiting")
    assert task.result() == WORDS
    used = 2 + 150
    if reading is not None:
        assert "".join(reading.result()) == WORDS
        used *= 2
    assert account(kernel, "writer", "tokens") == (used, 0)
    assert len(kernel.llm.requests) == used // 152


def test_an_agent_may_ask_for_an_error_instead_of_waiting(kernel: TestKernel) -> None:
    kernel.llm.reply(WORDS)
    writer = kernel.spawn(Sender, name="writer", budget={"llm_calls": 1})
    kernel.ask(writer.write("first"))

    with pytest.raises(BudgetExceededError) as caught:
        kernel.ask(writer.write("second", "raise"))

    assert (caught.value.account, caught.value.resource) == ("writer", "llm_calls")


async def _outcome(call: Any) -> Any:
    return await call
