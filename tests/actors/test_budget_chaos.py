"""Senders with budgets, killed at random with their receivers and the kernel: each message is paid
once, no limit is ever passed, nothing is lost.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from actors import Actor, ActorRef, receive, subscribe
from actors.testing import TestKernel
from tests.soak import share_of

SETTINGS = {"restart_intensity": 10_000, "max_attempts": 10_000, "session_grace_s": 3600}
STEPS = 40


class Sink(Actor):
    """Keeps what it gets, in order; sometimes it takes its time."""

    @receive
    async def take(self, sender: str, number: int) -> int:
        seen = self.state.setdefault("seen", {})
        seen[sender] = [*seen.get(sender, []), number]
        return number

    @subscribe("numbers")
    async def hear(self, sender: str, number: int) -> None:
        await self.take(sender, number)


class Sender(Actor):
    """Sends numbers in each way there is."""

    intensity = 10_000

    def __init__(self, name: str) -> None:
        self.name = name

    @receive
    async def ask(self, sink: ActorRef[Any], first: int, count: int) -> None:
        for number in range(first, first + count):
            await sink.take(self.name, number)

    @receive
    async def tell_all(self, sink: ActorRef[Any], first: int, count: int) -> None:
        for number in range(first, first + count):
            await sink.tell.take(self.name, number)

    @receive
    async def remind(self, sink: ActorRef[Any], first: int, count: int) -> None:
        for number in range(first, first + count):
            await self.ref.tell.ask(sink, number, 1)

    @receive
    async def spread(self, sink: ActorRef[Any], first: int, count: int) -> None:
        for number in range(first, first + count):
            await self.publish("numbers", self.name, number)


COSTS = {"ask": 1, "tell_all": 1, "remind": 2, "spread": 2}  # messages a number, with two sinks
COPIES = {"ask": 1, "tell_all": 1, "remind": 1, "spread": 2}  # of it that sinks get


class History:
    """One parent with a budget, two children below it, two sinks."""

    def __init__(self, kernel: TestKernel, seed: int) -> None:
        self.kernel = kernel
        self.rng = random.Random(seed)
        self.sinks = [kernel.spawn(Sink, name=f"sink{number}") for number in range(2)]
        parent = kernel.spawn(Sender, "parent", name="parent", budget={"messages": 40})
        first = kernel.spawn(
            Sender, "first", name="first", parent=parent, budget={"messages": 15, "bytes": 4000}
        )
        second = kernel.spawn(Sender, "second", name="second", parent=parent)
        self.senders = {"parent": parent, "first": first, "second": second}
        self.expected = dict.fromkeys(self.senders, 0)
        self.copies = dict.fromkeys(self.senders, 0)

    def send(self) -> None:
        name, how = self.rng.choice(sorted(self.senders)), self.rng.choice(sorted(COSTS))
        count = self.rng.randint(1, 8)
        tell = getattr(self.senders[name].tell, how)
        self.kernel.tell(tell(self.rng.choice(self.sinks), self.copies[name], count))
        self.expected[name] += count * COSTS[how]
        self.copies[name] += count * COPIES[how]

    def top_up(self) -> None:
        name = self.rng.choice(["parent", "first"])
        amounts = {"messages": self.rng.randint(1, 12)}
        if self.rng.random() < 0.3 and name == "first":
            amounts = {"bytes": 2000}
        try:
            self.kernel.system("budget_top_up", actor=name, amounts=amounts)
        except Exception as error:
            assert "InfeasibleBudgetError" in type(error).__name__  # noqa: PT017  the parent is full

    def kill(self) -> None:
        victim = self.rng.choice(["kernel", "sink0", "sink1", *self.senders])
        if victim == "kernel":
            self.kernel.restart_kernel()
            return
        (info,) = [info for info in self.kernel.system("ps") if info["name"] == victim]
        if info["state"] != "starting":
            self.kernel.crash(self.kernel.lookup(victim))

    def check(self) -> None:
        tree = self.kernel.core.state.budgets.tree
        tree.check_integrity()
        for name, sender in self.senders.items():
            own = tree.accounts[sender.id].own["messages"]
            assert own <= self.expected[name], f"{name} paid twice"

    def finish(self) -> None:
        for name in ("first", "parent"):
            limits = dict.fromkeys(("messages", "bytes"))
            self.kernel.system("budget_set", actor=name, limits=limits)
        self.kernel.advance(120)
        self.check()
        tree = self.kernel.core.state.budgets.tree
        own = {name: tree.accounts[one.id].own["messages"] for name, one in self.senders.items()}
        assert own == self.expected
        assert not any(account.reserved["messages"] for account in tree.accounts.values())
        seen = [self.kernel.state(sink).get("seen", {}) for sink in self.sinks]
        got = {name: sum(len(one.get(name, [])) for one in seen) for name in self.senders}
        assert got == self.copies
        assert self.kernel.system("dead_letters") == []
        assert self.kernel.system("status")["pending_messages"] == 0


def run(seed: int) -> None:
    with TestKernel(seed=seed, **SETTINGS) as kernel:
        history = History(kernel, seed)
        for _ in range(STEPS):
            history.rng.choice([history.send, history.send, history.top_up, history.kill])()
            history.check()
            kernel.advance(history.rng.uniform(0.0, 0.3))
            history.check()
        history.finish()


@pytest.mark.parametrize("seed", range(6))
def test_each_message_is_paid_once_and_no_limit_is_passed_whatever_dies(seed: int) -> None:
    run(seed)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, 400, 50))
def test_each_message_is_paid_once_in_long_runs(first: int) -> None:
    for seed in range(first, first + share_of(50)):
        run(seed)
