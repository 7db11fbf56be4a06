"""How long a kernel that was killed takes to be back, with 100,000 messages pending.

Question: is a crash of the kernel a pause or an outage? Budget: 3 s, from the start of the new
process to its answer to a client. ``kernel_start_s`` is the same with nothing pending.

The messages (64 B) are tells to an agent whose turn never ends. The kernel is killed by SIGKILL;
the agent lives on.
"""

from __future__ import annotations

import asyncio
from statistics import median
from time import perf_counter

from actors import aconnect, connect
from bench.effort import Effort
from bench.report import Measurement
from bench.world import Stage, World

NAMES = ("recovery_100k_s", "kernel_start_s")
CHUNK = 1000
SIZE = 64


def measure(stage: Stage, effort: Effort) -> list[Measurement]:
    """Return the figures of NAMES."""
    with World() as world:
        empty = [restart_s(world, 0) for _ in range(effort.num_recoveries)]
        world.spawn("Blocked", "blocked", mailbox_messages=2 * effort.num_pending)
        asyncio.run(fill(world, effort.num_pending))
        full = [restart_s(world, effort.num_pending) for _ in range(effort.num_recoveries)]
        world.client.system("kill", actor="blocked")  # it would use up its time to stop
    return [
        Measurement("recovery_100k_s", median(full), "s"),
        Measurement("kernel_start_s", median(empty), "s"),
    ]


async def fill(world: World, count: int) -> None:
    """Leave so many messages pending."""
    async with aconnect(home=world.home.state_dir) as client:
        blocked = await client.lookup("blocked")
        await blocked.tell.block()
        note, data = blocked.tell.note, bytes(SIZE)
        for start in range(0, count, CHUNK):
            await client.tell_all(note(data) for _ in range(min(CHUNK, count - start)))


def restart_s(world: World, num_pending: int) -> float:
    """Kill the kernel, start it, and return how long it took until it answered."""
    start = perf_counter()
    world.restart_after_kill()
    with connect(home=world.home.state_dir) as client:
        pending = client.system("status")["pending_messages"]
    if pending < num_pending:
        raise RuntimeError(f"{pending} of {num_pending} messages are pending after the restart")
    return perf_counter() - start
