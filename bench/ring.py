"""500 agents alive at once, and a message passed round all of them.

Question: does a small box carry hundreds of agents, each a process? Budget: that it works; the
figures say what it costs. ``agents_500_mib`` is the memory of all agents, the shared parts once.

The message is a tell from each to the next, so a round is 500 journaled messages and 500 turns,
one after the other; its time is from the ask that starts it to the end of the last turn.
"""

from __future__ import annotations

import asyncio
from statistics import median
from time import perf_counter
from typing import Any

from actors import ActorRef, aconnect
from actors.async_client import AsyncClient
from bench.effort import Effort
from bench.procfs import pss_bytes
from bench.report import Measurement
from bench.world import Stage, World

NAMES = ("agents_500_spawn_s", "agents_500_mib", "agents_500_ring_s")
AT_ONCE = 16  # spawns under way
_MIB = 1 << 20

Members = list[ActorRef[Any]]


def measure(stage: Stage, effort: Effort) -> list[Measurement]:
    """Return the figures of NAMES."""
    with World() as world:
        return asyncio.run(measure_ring(world, effort))


async def measure_ring(world: World, effort: Effort) -> list[Measurement]:
    """Build the ring and send the message round."""
    async with aconnect(home=world.home.state_dir) as client:
        start = perf_counter()
        members = await spawn_ring(client, effort.ring_size)
        spawn_s = perf_counter() - start
        rounds = [await round_s(members) for _ in range(effort.repeats)]
        memory = sum(map(pss_bytes, world.pids()))
    return [
        Measurement("agents_500_spawn_s", spawn_s, "s"),
        Measurement("agents_500_mib", memory / _MIB, "MiB"),
        Measurement("agents_500_ring_s", median(rounds), "s"),
    ]


async def spawn_ring(client: AsyncClient, size: int) -> Members:
    """Spawn the members and introduce each to the next."""
    members: Members = []
    while len(members) < size:
        numbers = range(len(members), min(size, len(members) + AT_ONCE))
        spawns = (client.spawn("bench.agents:Member", name=f"member.{n}") for n in numbers)
        members += await asyncio.gather(*spawns)
    successors = [*members[1:], members[0]]
    await asyncio.gather(*map(introduce, members, successors))
    return members


async def introduce(member: ActorRef[Any], successor: ActorRef[Any]) -> None:
    """Tell a member who comes next."""
    await member.meet(successor)


async def round_s(members: Members) -> float:
    """Return how long the message takes to come round."""
    start = perf_counter()
    await members[0].send_round(len(members))
    await members[0].wait()
    return perf_counter() - start
