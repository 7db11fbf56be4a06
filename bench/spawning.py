"""Spawn to first reply: from a client's call to the answer of the agent's first ask.

Question: is an agent cheap enough to be started for one task? Budget: 20 ms through the warm
zygote. The agent's class is in a module that the zygote has not imported.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter

from bench.effort import Effort
from bench.report import Measurement
from bench.world import Stage, World

NAMES = ("spawn_ms",)


def measure(stage: Stage, effort: Effort) -> list[Measurement]:
    """Return the figure of NAMES."""
    world = stage.free.world
    names = [f"spawned.{n}" for n in range(effort.num_spawns * effort.repeats)]
    times = [spawn_ms(world, name) for name in names]
    for name in names:  # only now: a process that ends would take its time from the next one
        world.client.system("kill", actor=name)
    return [Measurement("spawn_ms", median(times), "ms")]


def spawn_ms(world: World, name: str) -> float:
    """Spawn an agent and ask it once; return how long that took."""
    start = perf_counter()
    world.spawn("Echo", name).echo(b"")
    return (perf_counter() - start) * 1e3
