"""Many agents, each a process, that want 2 slots at once: who gets them, by the kernel's record.

Under each policy, in memory: tests/kernel/test_turn_policies.py.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from actors import ActorRef, aconnect
from actors.async_client import AsyncClient
from tests.chaos.kernel_process import running_kernel

pytestmark = pytest.mark.slow

SOURCE = """
import asyncio
import os
from actors import Actor, receive

class Holder(Actor):
    @receive
    async def hold(self, path: str) -> None:
        while not os.path.exists(path):
            await asyncio.sleep(0.01)

class Brief(Actor):
    @receive
    async def work(self) -> int:
        return 1
"""
AT_ONCE, SLOTS = 16, 2


async def spawn_all(client: AsyncClient, target: str, number: int) -> list[ActorRef[Any]]:
    agents: list[ActorRef[Any]] = []
    while len(agents) < number:
        spawns = [client.spawn(f"{target}:Brief", restart="temporary") for _ in range(AT_ONCE)]
        agents += await asyncio.gather(*spawns)
    return agents[:number]


async def contend(
    home: Path, folder: Path, number: int
) -> tuple[list[tuple[int, int]], list[dict[str, Any]]]:
    """Return (priority, actor) as told, in that order, and the kernel's record of grants."""
    program, gate = folder / "brief.py", folder / "gate"
    program.write_text(SOURCE)
    numbers = random.Random(4)
    async with aconnect(home=home) as client:
        agents = await spawn_all(client, str(program), number)
        holders = [await client.spawn(f"{program}:Holder") for _ in range(SLOTS)]
        for holder in holders:
            await holder.tell.hold(str(gate))
        told = [(numbers.randrange(8), agent.id) for agent in agents]
        await client.tell_all(
            agent.options(priority=priority).tell.work()
            for agent, (priority, _) in zip(agents, told, strict=True)
        )
        (turns, *_) = await client.system("policies")
        assert turns["waiting"] == number  # all are queued before the first grant
        await client.system("grants", keep=2 * number)
        gate.touch()
        while True:
            grants = (await client.system("grants"))["grants"]
            if len(grants) >= number:
                return told, grants
            await asyncio.sleep(0.05)


def in_order(folder: Path, number: int) -> None:
    with running_kernel(folder, turn_slots=SLOTS, turn_policy="priority") as kernel:
        told, grants = asyncio.run(contend(kernel.home, folder, number))

    # All came together, so age (10 s a priority) does not count: by priority, then as they came.
    expected = [actor for _, actor in sorted(told, key=lambda pair: pair[0])]
    assert [grant["actor"] for grant in grants] == expected


def test_100_processes_get_two_slots_in_the_order_of_the_policy(tmp_path: Path) -> None:
    in_order(tmp_path, 100)


@pytest.mark.soak
def test_500_processes_get_two_slots_in_the_order_of_the_policy(tmp_path: Path) -> None:
    in_order(tmp_path, 500)
