"""What idle agents and an idle kernel take: memory and CPU.

Question: how many agents fit on a small box? Budget: 12 MiB of an agent's own memory (PSS), the
kernel below 80 MiB resident and 1 % of a CPU.

A kernel of its own with AGENTS agents, each of which has answered once. PSS counts a page that
is shared with the zygote and the other agents in equal parts; private memory is what would be
free if that agent ended.
"""

from __future__ import annotations

import time
from statistics import median

from bench.effort import Effort
from bench.procfs import cpu_ns, private_bytes, pss_bytes, rss_bytes
from bench.report import Measurement
from bench.world import Stage, World

NAMES = ("agent_pss_mib", "agent_private_mib", "kernel_rss_mib", "kernel_idle_cpu_percent")
AGENTS = 10
SETTLE_S = 0.5  # acknowledgements and the journal's upkeep are over by then
_MIB = 1 << 20


def measure(stage: Stage, effort: Effort) -> list[Measurement]:
    """Return the figures of NAMES."""
    with World() as world:
        for number in range(AGENTS):
            world.spawn("Echo", f"idle.{number}").echo(b"")
        pids = world.pids()
        time.sleep(min(SETTLE_S, effort.idle_s))
        idle_percent = cpu_percent(world.process.pid, effort.idle_s)
        return [
            Measurement("agent_pss_mib", median(map(pss_bytes, pids)) / _MIB, "MiB"),
            Measurement("agent_private_mib", median(map(private_bytes, pids)) / _MIB, "MiB"),
            Measurement("kernel_rss_mib", rss_bytes(world.process.pid) / _MIB, "MiB"),
            Measurement("kernel_idle_cpu_percent", idle_percent, "%"),
        ]


def cpu_percent(pid: int, duration_s: float) -> float:
    """Return the share of one CPU that a process takes."""
    start, used = time.perf_counter_ns(), cpu_ns(pid)
    time.sleep(duration_s)
    return (cpu_ns(pid) - used) / (time.perf_counter_ns() - start) * 100
