"""Messages a second: pipelined tells, and asks with 32 outstanding, beside the raw broker.

Question: what is left of the raw broker's throughput when each message is journaled, handled and
acknowledged? Budget: tells at least 0.5 of the floor's unbatched one-way messages, asks at least
0.5 of the floor's. All of 64 B, unpinned.

Tells are counted by the receiver: the clock stops when an ask sent after the last tell is
answered, and with one sender and one priority that ask is handled after them all.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from actors import aconnect
from bench.agents import TURN_TELLS
from bench.effort import Effort
from bench.report import Measurement, alternate
from bench.world import Pair, Stage, World

NAMES = ("tells_per_s", "tells_per_s_turns", "asks_32_per_s")
SIZE = 64
OUTSTANDING = 32
CHUNK = 256  # tells that the client sends together
SENDERS = 4  # chunks under way


def measure(stage: Stage, effort: Effort) -> list[Measurement]:
    """Return the figures of NAMES."""
    pair, count = stage.free, effort.num_tells
    medians = alternate(
        {
            "tells": lambda: asyncio.run(tells_per_s(pair.world, count)),
            "turns": lambda: asyncio.run(turn_tells_per_s(pair, count)),
            "asks": lambda: pair.asker.asks_per_s(SIZE, count // 2, OUTSTANDING),
            "floor tells": lambda: pair.floor.one_way_per_s(SIZE, count),
            "floor asks": lambda: pair.floor.asks_per_s(SIZE, count // 2, OUTSTANDING),
        },
        effort.repeats,
    )
    floor = medians["floor tells"]
    return [
        Measurement("tells_per_s", medians["tells"], "1/s", floor),
        Measurement("tells_per_s_turns", medians["turns"], "1/s", floor),
        Measurement("asks_32_per_s", medians["asks"], "1/s", medians["floor asks"]),
    ]


async def tells_per_s(world: World, count: int) -> float:
    """Tell the sink from this process, in chunks."""
    async with aconnect(home=world.home.state_dir) as client:
        sink = await client.lookup("sink")
        note, data = sink.tell.note, bytes(SIZE)

        chunks = iter(chunks_of(count))

        async def send_on() -> None:
            for chunk in chunks:
                await client.tell_all(note(data) for _ in range(chunk))

        start = perf_counter()
        await asyncio.gather(*(send_on() for _ in range(SENDERS)))
        return counted(await sink.take_count(), count) / (perf_counter() - start)


async def turn_tells_per_s(pair: Pair, count: int) -> float:
    """Have an agent tell the sink, in turns of TURN_TELLS."""
    async with aconnect(home=pair.world.home.state_dir) as client:
        teller = await client.lookup("teller")
        burst, num_turns = teller.tell.burst, count // TURN_TELLS
        start = perf_counter()
        await client.tell_all(burst(SIZE) for _ in range(num_turns))
        return counted(await teller.take_count(), num_turns * TURN_TELLS) / (perf_counter() - start)


def chunks_of(count: int) -> list[int]:
    """Return the sizes of the client's chunks."""
    return [min(CHUNK, count - start) for start in range(0, count, CHUNK)]


def counted(handled: int, sent: int) -> int:
    """Return the count, which must be right before a rate means anything."""
    if handled != sent:
        raise RuntimeError(f"{handled} of {sent} tells were handled")
    return handled
