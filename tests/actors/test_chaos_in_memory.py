"""Money moves between agents of the test kit while agents and the kernel are killed at random.

Smooth: every step is one turn of the kernel's loop, so that the kills fall between a turn's
commit and what follows from it. Rough: links are slow, lose batches and break (rough.py), so
that they fall between a hello and its answer too. Nothing waits. (With real processes:
tests/chaos.)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from actors import Actor, ActorRef, MailboxFullError, receive
from actors.testing import TestKernel
from tests.actors.rough import RoughKernel
from tests.chaos.bank import OPENING_BALANCE, Account
from tests.soak import share_of

NUM_ACCOUNTS = 4
SEEDS = 20
STEPS = 60
SETTINGS = {"restart_intensity": 10_000, "max_attempts": 10_000, "session_grace_s": 3600}


def after(turns: int) -> Callable[[], bool]:
    """Return a condition that holds at the kernel's n-th turn from now."""
    left = iter(range(turns))
    return lambda: next(left, None) is None


class Busy(Actor):
    """Several turns at once, that read, wait, ask, stream and set timers before they write."""

    concurrency = 3

    @receive
    async def note(self, number: int, helper: ActorRef[Any]) -> int:
        noted = self.state.get("noted", [])
        await asyncio.sleep(0.1)
        assert await helper.twice(number) == 2 * number
        self.state["noted"] = [*noted, number]
        return number

    @receive
    async def add_up(self, number: int, helper: ActorRef[Any]) -> int:
        total = 0
        async for item in helper.items(number):
            total += item
        assert total == sum(range(number))
        self.state[f"sum of {number}"] = total
        return number

    @receive
    async def later(self, number: int, delay: float) -> int:
        await self.send_after(delay, self.remember, number)
        return number

    @receive
    async def remember(self, number: int) -> None:
        self.state.setdefault("remembered", []).append(number)


class Helper(Actor):
    """Answers, slowly."""

    @receive
    async def twice(self, number: int) -> int:
        await asyncio.sleep(0.05)
        return 2 * number

    @receive
    async def items(self, up_to: int) -> AsyncIterator[int]:
        for number in range(up_to):
            yield number
            if number % 7 == 0:
                await asyncio.sleep(0.01)


class Slow(Actor):
    """Has little room, and takes its time."""

    @receive
    async def keep(self, number: int) -> None:
        await asyncio.sleep(0.2)
        self.state.setdefault("kept", []).append(number)


class Clumsy(Actor):
    """Passes on what it is told, and often stumbles after it has."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    @receive
    async def pass_on(self, number: int, slow: ActorRef[Any]) -> None:
        await slow.tell.keep(number)
        await asyncio.sleep(0.05)
        if self.rng.random() < 0.5:
            raise RuntimeError("stumbled")


class Place:
    """Agents in a test kernel, and who shakes them."""

    def __init__(self, kernel: TestKernel, seed: int) -> None:
        self.kernel = kernel
        self.rng = random.Random(seed)
        self.number = 0
        self.asks: list[Any] = []
        if isinstance(kernel, RoughKernel):
            kernel.roughen()

    def step(self) -> None:
        what = self.rng.choice(["work", "work", "work", "work", "crash", "kernel", "wait"])
        if isinstance(self.kernel, RoughKernel):
            if self.rng.random() < 0.1:
                self.kernel.break_link()
            self.kernel.advance(self.rng.random() * 0.1)
        if what == "work":
            self.asks.append(self.kernel.loop.create_task(awaited(self.work())))
            self.number += 1
        elif what == "crash" and self.kernel._agents:
            agent = self.rng.choice(list(self.kernel._agents.values()))
            agent.die()
            self.kernel._exited(agent, "signal 9")
        elif what == "kernel":
            self.kernel.stop_kernel()
            self.kernel.advance(self.rng.random() * 2)
            self.kernel.start_kernel()
        else:
            self.kernel.advance(self.rng.random())
        self.kernel._drive(after(self.rng.randrange(8)), 0)

    def work(self) -> Any:
        """Return one more call."""
        raise NotImplementedError

    def settle(self) -> None:
        """Let everything come to its end: nothing has failed."""
        if isinstance(self.kernel, RoughKernel):
            self.kernel.calm()
        self.kernel.advance(600)
        for ask in self.asks:
            ask.result()
        self.check_rest()

    def check_rest(self) -> None:
        """Nothing is left over, and no room is lent that nobody knows of."""
        state = self.kernel.core.state
        assert not state.messages
        assert not len(state.calls)
        assert state.slots.used == 0
        for record in state.actors.values():
            assert record.channel is not None
            assert not record.channel.num_kept  # else it is sent again for ever
            held = self.kernel._agents[record.id].runtime.port.room._lent
            for target, (messages, size) in record.lent.items():
                assert messages <= held.get(target, [0, 0])[0]
                assert size <= held.get(target, [0, 0])[1]


class Town(Place):
    """Accounts that move money."""

    def __init__(self, kernel: TestKernel, seed: int) -> None:
        super().__init__(kernel, seed)
        self.accounts: list[ActorRef[Account]] = [
            kernel.spawn(Account, name=f"account-{index}") for index in range(NUM_ACCOUNTS)
        ]
        for account in self.accounts:
            kernel.ask(account.meet(self.accounts))

    def work(self) -> Any:
        verb = self.rng.choice(["tell", "tell", "ask"])
        sender, to = self.rng.sample(range(NUM_ACCOUNTS), 2)
        if verb == "ask":  # in one direction only: a ring of asks would be a DeadlockError
            sender, to = sorted((sender, to))
        account = self.accounts[sender]
        method = account.tell.transfer if verb == "tell" else account.pay
        return method(self.number, to, self.rng.randrange(1, 50))


class Workshop(Place):
    """One busy actor and its helper."""

    def __init__(self, kernel: TestKernel, seed: int) -> None:
        super().__init__(kernel, seed)
        self.busy, self.helper = kernel.spawn(Busy), kernel.spawn(Helper)
        self.done: dict[str, list[int]] = {"note": [], "add_up": [], "later": []}

    def work(self) -> Any:
        what = self.rng.choice(list(self.done))
        self.done[what].append(self.number)
        if what == "note":
            return self.busy.note(self.number, self.helper)
        if what == "add_up":
            return self.busy.add_up(self.number, self.helper)
        return self.busy.later(self.number, self.rng.random() * 5)


class Counter(Place):
    """Somebody with little room, who is told things by a client that does not always wait."""

    def __init__(self, kernel: TestKernel, seed: int) -> None:
        super().__init__(kernel, seed)
        self.slow = kernel.spawn(Slow, mailbox_messages=3)
        self.clumsy = kernel.spawn(Clumsy, seed)
        self.refused: list[int] = []

    def work(self) -> Any:
        if self.rng.random() < 0.3:
            return self.clumsy.tell.pass_on(self.number, self.slow)
        call = self.slow.options(nowait=self.rng.random() < 0.7).tell.keep(self.number)
        return self.told(self.number, call)

    async def told(self, number: int, call: Any) -> None:
        try:
            await call
        except MailboxFullError:
            self.refused.append(number)


async def awaited(call: Any) -> Any:
    return await call


def make_kernel(seed: int, kind: str) -> TestKernel:
    """Return a kernel whose links are ideal ("smooth"), or slow and lossy ("rough")."""
    if kind == "smooth":
        return TestKernel(seed=seed, **SETTINGS)
    return RoughKernel(seed=seed, loss=(0.0, 0.05, 0.2)[seed % 3], **SETTINGS)


KINDS = ["smooth", "rough"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_transfer_is_applied_exactly_once(seed: int, kind: str) -> None:
    with make_kernel(seed, kind) as kernel:
        town = Town(kernel, seed)
        for _ in range(STEPS):
            town.step()
        town.settle()
        reports = [kernel.ask(account.report()) for account in town.accounts]

    assert sum(report["balance"] for report in reports) == NUM_ACCOUNTS * OPENING_BALANCE
    for side in ("sent", "got"):
        numbers = sorted(number for report in reports for number in report[side])
        assert numbers == list(range(town.number))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_concurrent_turns_streams_and_timers_take_effect_exactly_once(seed: int, kind: str) -> None:
    with make_kernel(seed, kind) as kernel:
        workshop = Workshop(kernel, seed)
        for _ in range(STEPS):
            workshop.step()
        workshop.settle()
        state = kernel.state(workshop.busy)

    assert sorted(state.get("noted", [])) == workshop.done["note"]
    assert sorted(state.get("remembered", [])) == workshop.done["later"]
    for number in workshop.done["add_up"]:
        assert state[f"sum of {number}"] == sum(range(number))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_tell_is_kept_once_if_accepted_and_never_if_refused(seed: int, kind: str) -> None:
    with make_kernel(seed, kind) as kernel:
        counter = Counter(kernel, seed)
        for _ in range(STEPS):
            counter.step()
        counter.settle()
        kept = kernel.state(counter.slow).get("kept", [])

    assert sorted(kept + counter.refused) == list(range(counter.number))


@pytest.mark.soak
def test_the_sdk_keeps_its_promises_in_very_many_histories() -> None:
    for seed in range(SEEDS, SEEDS + share_of(500)):
        test_every_transfer_is_applied_exactly_once(seed, "rough")
        test_concurrent_turns_streams_and_timers_take_effect_exactly_once(seed, "rough")
        test_a_tell_is_kept_once_if_accepted_and_never_if_refused(seed, "rough")
