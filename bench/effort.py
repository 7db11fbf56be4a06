"""How much of everything a run does; a run of ``llmos bench`` uses FULL or, with --quick, QUICK."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """Numbers of one run; each figure is the median of ``repeats`` alternating runs."""

    repeats: int
    num_asks: int  # round trips a run, 64 B and 1 KiB
    num_large_asks: int  # 64 KiB
    num_huge_asks: int  # 16 MiB
    num_tells: int
    num_spawns: int
    num_commits: int
    idle_s: float
    num_pending: int  # messages that a restarted kernel finds
    num_recoveries: int
    ring_size: int  # agents


FULL = Effort(
    repeats=7,
    num_asks=1_000,
    num_large_asks=200,
    num_huge_asks=6,
    num_tells=20_000,
    num_spawns=10,
    num_commits=5_000,
    idle_s=10.0,
    num_pending=100_000,
    num_recoveries=3,
    ring_size=500,
)
QUICK = Effort(
    repeats=3,
    num_asks=100,
    num_large_asks=20,
    num_huge_asks=1,
    num_tells=4_096,
    num_spawns=5,
    num_commits=1_000,
    idle_s=1.0,
    num_pending=100_000,
    num_recoveries=1,
    ring_size=500,
)
SMOKE = Effort(  # for the tests: everything once, nothing that means anything
    repeats=1,
    num_asks=4,
    num_large_asks=2,
    num_huge_asks=1,
    num_tells=512,
    num_spawns=1,
    num_commits=20,
    idle_s=0.05,
    num_pending=200,
    num_recoveries=1,
    ring_size=3,
)
