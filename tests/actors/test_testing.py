"""The test kit: the real kernel core, agents and a client on one virtual clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from actors import (
    Actor,
    ActorRef,
    AskTimeoutError,
    BadSpecError,
    ChildExit,
    DeadlockError,
    Down,
    LLMOSError,
    MailboxFullError,
    NoHandlerError,
    RemoteError,
    UnknownActorError,
    UsageError,
    receive,
    subscribe,
)
from actors.testing import TestKernel
from kernel.rings import Rings


@pytest.fixture
def kernel() -> Iterator[TestKernel]:
    with TestKernel() as running:
        yield running


class Gatherer(Actor):
    """Publishes, and asks many at once."""

    @receive
    async def announce(self, topic: Any) -> None:
        await self.publish(topic)

    @receive
    async def gather_asks(self, counter: ActorRef[Counter], num: int) -> None:
        await asyncio.gather(*(counter.api.add() for _ in range(num)))


class Counter(Actor):
    """Counts, durably and not."""

    def __init__(self, start: int = 0) -> None:
        self.start = start
        self.volatile = 0

    @receive
    async def add(self, amount: int = 1) -> int:
        self.volatile += 1
        self.state["sum"] = self.state.get("sum", self.start) + amount
        return int(self.state["sum"])

    @receive
    async def get(self) -> list[int]:
        return [self.state.get("sum", 0), self.volatile]

    @receive
    async def add_later(self, delay: float, amount: int) -> int:
        return await self.send_after(delay, self.add, amount)

    @receive
    async def forget(self, timer: int) -> None:
        await self.cancel_timer(timer)

    @receive
    async def add_to(self, other: ActorRef[Any], amount: int) -> None:
        await other.tell.add(amount)

    @receive
    async def remind(self, other: ActorRef[Any], delay: float) -> None:
        await self.send_after(delay, other.add(100))

    @receive
    async def fail_after_telling(self, other: ActorRef[Any]) -> None:
        await other.tell.add(1)
        raise ValueError("rolled back")

    @receive
    async def slow(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    @receive
    async def ask(self, other: ActorRef[Any], seconds: float) -> str:
        answer: str = await other.slow(seconds)
        return answer

    @receive
    async def ring(self, other: ActorRef[Any]) -> str:
        return str(await other.ring_back(self.ref))

    @receive
    async def ring_back(self, other: ActorRef[Any]) -> str:
        return str(await other.slow(0.0))

    @receive
    def blocking(self, number: int) -> int:
        return number * 2

    @receive
    def blocking_ask(self, other: ActorRef[Any]) -> int:
        return int(other.add(3).result())

    @receive
    async def count(self, up_to: int) -> AsyncIterator[int]:
        for number in range(up_to):
            yield number
            await asyncio.sleep(0.1)

    @receive
    async def keyed(self, other: ActorRef[Any]) -> None:
        await other.options(key="k").tell.add(1)


class Starter(Actor):
    """Counts its starts."""

    async def on_start(self) -> None:
        self.state["starts"] = self.state.get("starts", 0) + 1

    @receive
    async def starts(self) -> int:
        return int(self.state["starts"])


class Broken(Actor):
    """Never gets up."""

    async def on_start(self) -> None:
        raise RuntimeError("cannot start")


class Parent(Actor):
    """Spawns, watches, publishes."""

    @receive
    async def raise_child(self, name: str, start: int) -> ActorRef[Counter]:
        return await self.spawn(Counter, start, name=name, restart="temporary")

    @receive
    async def watch(self, other: ActorRef[Any]) -> None:
        await self.monitor(other)

    @receive
    async def offspring(self) -> list[str]:
        return [child["name"] for child in await self.children()]

    @receive
    async def seen(self) -> list[Any]:
        return list(self.state.get("seen", []))

    async def on_child_exit(self, event: ChildExit) -> None:
        self.state.setdefault("seen", []).append(["exit", event.name, event.will_restart])

    async def on_down(self, event: Down) -> None:
        self.state.setdefault("seen", []).append(["down", event.name])

    @receive
    async def announce(self, text: str) -> None:
        await self.publish("news", text, loud=True)

    @subscribe("news")
    async def news(self, text: str, loud: bool) -> None:
        self.state.setdefault("seen", []).append([text, loud])


def test_asks_tells_and_state(kernel: TestKernel) -> None:
    counter = kernel.spawn(Counter, 10, name="counter")

    assert kernel.ask(counter.add(5)) == 15
    kernel.tell(counter.tell.add())

    assert kernel.state(counter) == {"sum": 16}
    assert kernel.ask(kernel.lookup("counter").add(0)) == 16


def test_virtual_hours_take_no_time(kernel: TestKernel) -> None:
    counter = kernel.spawn(Counter)
    began = time.perf_counter()

    assert kernel.ask(counter.slow(3000.0)) == "slept"

    assert time.perf_counter() - began < 30


def test_a_durable_timer_fires_in_virtual_time_and_survives_a_kernel_restart(
    kernel: TestKernel,
) -> None:
    counter = kernel.spawn(Counter)
    kernel.ask(counter.add_later(60.0, 7))
    kernel.advance(30)
    kernel.restart_kernel()

    kernel.advance(29)
    assert kernel.state(counter) == {}
    kernel.advance(2)

    assert kernel.state(counter) == {"sum": 7}


@pytest.mark.parametrize("delay", [-1.0, 1e99, float("inf"), float("nan")])
def test_a_delay_that_no_clock_can_hold_is_refused(kernel: TestKernel, delay: float) -> None:
    counter = kernel.spawn(Counter)

    with pytest.raises(LLMOSError, match="a delay is 0 s to ten years"):
        kernel.ask(counter.add_later(delay, 7))


def test_a_timer_can_be_cancelled(kernel: TestKernel) -> None:
    counter = kernel.spawn(Counter)
    timer = kernel.ask(counter.add_later(60.0, 7))

    kernel.ask(counter.forget(timer))
    kernel.advance(120)

    assert kernel.state(counter) == {}


def test_a_timer_may_tell_somebody_else(kernel: TestKernel) -> None:
    one, other = kernel.spawn(Counter), kernel.spawn(Counter)
    kernel.ask(one.remind(other, 5.0))

    kernel.advance(10)

    assert kernel.state(other) == {"sum": 100}


def test_a_crash_loses_no_accepted_message_and_keeps_state(kernel: TestKernel) -> None:
    counter = kernel.spawn(Counter)
    kernel.ask(counter.add(1))

    kernel.crash(counter)

    assert kernel.ask(counter.add(1)) == 2
    assert kernel.ask(counter.get()) == [2, 1]


def test_an_asker_waits_through_the_crash_of_the_callee(kernel: TestKernel) -> None:
    asker, callee = kernel.spawn(Counter), kernel.spawn(Counter)
    task = kernel.loop.create_task(_await(asker.ask(callee, 100.0)))
    kernel.advance(50)

    kernel.crash(callee)
    kernel.advance(120)

    assert task.result() == "slept"


def test_a_waiting_asker_sees_a_kernel_restart_as_a_delay(kernel: TestKernel) -> None:
    asker, callee = kernel.spawn(Counter), kernel.spawn(Counter)
    task = kernel.loop.create_task(_await(asker.ask(callee, 10.0)))
    kernel.advance(5)

    kernel.stop_kernel()
    kernel.advance(20)
    assert not task.done()
    kernel.start_kernel()
    kernel.advance(5)

    assert task.result() == "slept"


def test_effects_of_a_failed_turn_never_were(kernel: TestKernel) -> None:
    one, other = kernel.spawn(Counter, name="one"), kernel.spawn(Counter)

    with pytest.raises(RemoteError, match=r"ValueError in one\.fail_after_telling"):
        kernel.ask(one.fail_after_telling(other))
    kernel.run_until_idle()

    assert kernel.state(other) == {}


def test_a_deadline_is_kept_in_virtual_time(kernel: TestKernel) -> None:
    counter = kernel.spawn(Counter)

    with pytest.raises(AskTimeoutError):
        kernel.ask(counter.options(deadline=5).slow(60.0))


def test_a_ring_of_asks_is_a_deadlock_error(kernel: TestKernel) -> None:
    one, other = kernel.spawn(Counter, name="one"), kernel.spawn(Counter, name="other")

    with pytest.raises(LLMOSError) as caught:
        kernel.ask(one.ring(other))

    assert isinstance(caught.value, DeadlockError)
    assert "one" in caught.value.ring


def test_a_full_mailbox_refuses_who_does_not_wait(kernel: TestKernel) -> None:
    counter = kernel.spawn(Counter, mailbox_messages=2)
    kernel.tell(counter.tell.slow(60.0))
    kernel.tell(counter.tell.add())

    with pytest.raises(MailboxFullError):
        kernel.tell(counter.options(nowait=True).tell.add())


def test_a_tell_that_waits_for_room_is_accepted_by_the_next_kernel(kernel: TestKernel) -> None:
    counter = kernel.spawn(Counter, mailbox_messages=1)
    kernel.tell(counter.tell.slow(1000.0))

    async def tell() -> None:
        await counter.tell.add()

    waiting = kernel.loop.create_task(tell())
    kernel.advance(5)
    assert not waiting.done()

    kernel.restart_kernel()
    kernel.advance(5)

    assert waiting.done()
    waiting.result()


def test_tells_sent_together_to_a_small_mailbox_wait_for_room_and_are_all_accepted(
    kernel: TestKernel,
) -> None:
    counter = kernel.spawn(Counter, mailbox_messages=2)
    kernel.tell(counter.tell.slow(60.0))
    together = kernel.client.tell_all([counter.tell.add() for _ in range(40)])

    waiting = kernel.loop.create_task(together)
    kernel.advance(5)
    assert not waiting.done()
    kernel.advance(60)

    assert waiting.done()
    waiting.result()
    assert kernel.ask(counter.get())[0] == 40


def test_def_handlers_run_in_threads_and_may_ask(kernel: TestKernel) -> None:
    one, other = kernel.spawn(Counter), kernel.spawn(Counter)

    assert kernel.ask(one.blocking(21)) == 42
    assert kernel.ask(one.blocking_ask(other)) == 3


def test_streams(kernel: TestKernel) -> None:
    counter = kernel.spawn(Counter)

    assert kernel.items(counter.count(300)) == list(range(300))


def test_children_monitors_and_topics(kernel: TestKernel) -> None:
    parent = kernel.spawn(Parent, name="parent")
    child = kernel.ask(parent.raise_child("kid", 5))
    assert kernel.ask(child.add(1)) == 6
    assert kernel.ask(parent.offspring()) == ["kid"]
    kernel.ask(parent.watch(child))

    kernel.crash(child)
    kernel.ask(parent.announce("hello"))
    kernel.run_until_idle()

    seen = kernel.ask(parent.seen())
    assert sorted(map(str, seen)) == sorted(
        map(str, [["exit", "kid", False], ["down", "kid"], ["hello", True]])
    )
    with pytest.raises(UnknownActorError):
        kernel.lookup("kid")


def test_what_goes_wrong_has_its_own_error(kernel: TestKernel) -> None:
    counter = kernel.spawn(Counter)

    with pytest.raises(NoHandlerError):
        kernel.ask(counter.nothing())
    with pytest.raises(BadSpecError):
        kernel.spawn("no_such_module:Class")
    with pytest.raises(TimeoutError):
        kernel.ask(counter.slow(100.0), within=10)


def test_on_start_is_the_first_turn_of_each_incarnation(kernel: TestKernel) -> None:
    starter = kernel.spawn(Starter, name="starter")
    assert kernel.ask(starter.starts()) == 1

    kernel.crash(starter)

    assert kernel.ask(starter.starts()) == 2


def test_an_actor_whose_on_start_fails_is_quarantined(kernel: TestKernel) -> None:
    broken = kernel.spawn(Broken, name="broken")

    kernel.advance(60)

    (info,) = kernel.system("ps")
    assert (info["name"], info["state"]) == ("broken", "quarantined")
    assert broken.name == "broken"


def test_a_key_has_no_meaning_inside_a_turn(kernel: TestKernel) -> None:
    one = kernel.spawn(Counter)

    with pytest.raises(LLMOSError, match="a key is for clients"):
        kernel.ask(one.keyed(one))


def test_one_seed_gives_one_history() -> None:
    def history() -> list[Any]:
        with TestKernel(seed=3) as kernel:
            counters = [kernel.spawn(Counter, name=f"c{number}") for number in range(3)]
            for number in range(20):
                kernel.tell(counters[number % 3].tell.add_to(counters[(number + 1) % 3], number))
                if number == 10:
                    kernel.crash(counters[0])
            kernel.advance(10)
            return [kernel.clock.monotonic_ns(), kernel.system("statistics")]

    assert history() == history()


async def _await(call: Any) -> Any:
    return await call


@pytest.mark.parametrize("delay", [-1.0, float("nan"), float("inf"), 1e30])
def test_a_delay_nobody_can_wait_for_is_refused(kernel: TestKernel, delay: float) -> None:
    counter = kernel.spawn(Counter)

    with pytest.raises(UsageError, match="a delay is"):
        kernel.ask(counter.add_later(delay, 1))


@pytest.mark.parametrize("topic", ["", None, 5])
def test_a_topic_is_a_text(kernel: TestKernel, topic: Any) -> None:
    with pytest.raises(UsageError, match="a topic is a text"):
        kernel.ask(kernel.spawn(Gatherer).announce(topic))
    with pytest.raises(UsageError, match="a topic is a text"):
        subscribe(topic)


def test_many_asks_at_once_are_not_each_weighed_against_all_before(kernel: TestKernel) -> None:
    counter, gatherer = kernel.spawn(Counter, mailbox_messages=2), kernel.spawn(Gatherer)
    searched = set()
    waits_of = Rings.waits_of

    def noted(rings: Rings, turn: int) -> Any:
        searched.add(rings.state.messages[turn].receiver)
        return waits_of(rings, turn)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rings, "waits_of", noted)
        kernel.ask(gatherer.gather_asks(counter, 300))

    assert kernel.ask(counter.get()) == [300, 300]
    assert gatherer.id not in searched
