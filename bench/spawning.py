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
    """Return the figure of NAMES; the first spawns are not counted."""
    world = stage.free.world
    times = [spawn_ms(world, f"spawned.{n}") for n in range(effort.num_spawns * effort.repeats)]
    return [Measurement("spawn_ms", median(times), "ms")]


def spawn_ms(world: World, name: str) -> float:
    """Spawn an agent, ask it once, and terminate it; return how long the first two took."""
    start = perf_counter()
    agent = world.spawn("Echo", name)
    agent.echo(b"")
    elapsed_s = perf_counter() - start
    world.client.system("kill", actor=name)
    return elapsed_s * 1e3
