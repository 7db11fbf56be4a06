"""The agents that are measured: they answer, ask, tell, count, and hand a message round.

What they keep is in instance attributes on purpose: durable state is not what these benches
measure.
"""

from __future__ import annotations

import asyncio
from time import perf_counter, perf_counter_ns
from typing import Any

from actors import Actor, ActorRef, receive

LARGE_BYTES = 1 << 16
TURN_TELLS = 64  # a turn's tells in the throughput bench, never one giant commit


class Echo(Actor):
    """Answers with what it is asked."""

    @receive
    async def echo(self, data: Any) -> Any:
        return data


class Sink(Actor):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.count = 0

    @receive
    async def note(self, data: bytes) -> None:
        self.count += 1

    @receive
    async def take_count(self) -> int:
        """Return how many were noted since the last time."""
        count, self.count = self.count, 0
        return count


class Asker(Actor):
    """Asks and tells another; the answers and the tells go through the kernel."""

    peer: ActorRef[Any]

    @receive
    async def meet(self, name: str) -> None:
        """Remember whom to ask and tell."""
        self.peer = await self.lookup(name)

    @receive
    async def round_trips_ns(self, size: int, count: int) -> list[int]:
        """Ask one by one; return the time of each."""
        echo, data, times = self.peer.echo, data_of(size), []
        for _ in range(count):
            start = perf_counter_ns()
            await echo(data)
            times.append(perf_counter_ns() - start)
        return times

    @receive
    async def asks_per_s(self, size: int, count: int, outstanding: int) -> float:
        """Keep so many asks under way; return how many were answered a second."""
        data = bytes(size)
        left = iter(range(count))

        async def ask_on() -> None:
            for _ in left:
                await self.peer.echo(data)

        start = perf_counter()
        await asyncio.gather(*(ask_on() for _ in range(outstanding)))
        return count / (perf_counter() - start)

    @receive
    async def burst(self, size: int) -> None:
        """Tell the sink TURN_TELLS times, in one turn."""
        note, data = self.peer.tell.note, bytes(size)
        for _ in range(TURN_TELLS):
            await note(data)

    @receive
    async def take_count(self) -> int:
        """Return how many tells the sink has noted; my own before this are among them."""
        count: int = await self.peer.take_count()
        return count


class Blocked(Actor):
    """Begins a turn that never ends, so that all else stays in the mailbox."""

    @receive
    async def block(self) -> None:
        await asyncio.Event().wait()

    @receive
    async def note(self, data: bytes) -> None:
        """Never comes to this."""


class Member(Actor):
    """One of a ring."""

    concurrency = 2  # the first one waits in a turn while the message comes round

    def __init__(self) -> None:
        self.has_returned = asyncio.Event()

    @receive
    async def meet(self, successor: ActorRef[Any]) -> None:
        """Remember who comes next."""
        self.successor = successor

    @receive
    async def send_round(self, hops: int) -> None:
        """Start a message that is passed on so many times."""
        self.has_returned.clear()
        await self.successor.tell.pass_on(hops - 1)

    @receive
    async def pass_on(self, hops: int) -> None:
        """Pass it on; the last hop ends where it began."""
        if hops:
            await self.successor.tell.pass_on(hops - 1)
        else:
            self.has_returned.set()

    @receive
    async def wait(self) -> None:
        """Return when the message is back."""
        await self.has_returned.wait()


def data_of(size: int) -> Any:
    """Return that many bytes, from LARGE_BYTES on as an array: what travels without a copy."""
    if size < LARGE_BYTES:
        return bytes(size)
    # Imported here: the agents whose memory and start are measured need no numpy.
    import numpy

    return numpy.zeros(size, dtype=numpy.uint8)
