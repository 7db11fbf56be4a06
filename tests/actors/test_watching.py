"""Links and monitors through the SDK, and taking them back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from actors import Actor, ActorRef, Down, receive
from actors.testing import TestKernel


class Watcher(Actor):
    """Watches others, ties its fate to theirs, and writes down whose end it was told of."""

    @receive
    async def watch(self, other: ActorRef[Any]) -> None:
        await self.monitor(other)

    @receive
    async def look_away(self, other: ActorRef[Any]) -> None:
        await self.demonitor(other)

    @receive
    async def tie(self, other: ActorRef[Any]) -> None:
        await self.link(other)

    @receive
    async def untie(self, other: ActorRef[Any]) -> None:
        await self.unlink(other)

    @receive
    async def told(self) -> list[str]:
        return list(self.state.get("told", []))

    async def on_down(self, event: Down) -> None:
        self.state.setdefault("told", []).append(event.name)


class Mortal(Actor):
    """Is terminated by its first crash."""

    @receive
    async def ping(self) -> str:
        return "pong"


@pytest.fixture
def kernel() -> Iterator[TestKernel]:
    with TestKernel() as made:
        yield made


def mortal(kernel: TestKernel, name: str) -> ActorRef[Mortal]:
    return kernel.spawn(Mortal, name=name, restart="temporary")


def living(kernel: TestKernel) -> set[str]:
    return {info["name"] for info in kernel.system("ps")}


def test_who_monitors_is_told_of_the_end_and_lives_on(kernel: TestKernel) -> None:
    watcher, watched = kernel.spawn(Watcher, name="watcher"), mortal(kernel, "watched")
    kernel.ask(watcher.watch(watched))

    kernel.crash(watched)
    kernel.run_until_idle()

    assert kernel.ask(watcher.told()) == ["watched"]


def test_who_has_taken_a_monitor_back_is_not_told(kernel: TestKernel) -> None:
    watcher = kernel.spawn(Watcher, name="watcher")
    watched, other = mortal(kernel, "watched"), mortal(kernel, "other")
    for each in (watched, other):
        kernel.ask(watcher.watch(each))
    kernel.ask(watcher.look_away(watched))

    for each in (watched, other):
        kernel.crash(each)
    kernel.run_until_idle()

    assert kernel.ask(watcher.told()) == ["other"]


def test_linked_agents_end_together_and_unlinked_ones_do_not(kernel: TestKernel) -> None:
    tied, free = (
        kernel.spawn(Watcher, name=name, restart="temporary") for name in ("tied", "free")
    )
    partner = mortal(kernel, "partner")
    for each in (tied, free):
        kernel.ask(each.tie(partner))
    kernel.ask(free.untie(partner))

    kernel.crash(partner)
    kernel.run_until_idle()

    assert living(kernel) == {"free"}
