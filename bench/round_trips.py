"""Round trips of asks between two agent processes, through the kernel, beside the raw broker.

Question: what does a durable ask cost more than three bare processes that forward bytes?
Budget: 64 B pinned to one CPU at most 3.0 times the floor, likewise pinned.

Pinned, everything that takes part runs on one CPU: what it costs then is work, not the waking of
a thread elsewhere. Unpinned figures stand beside. An ask is journaled when it is taken, and again
with its answer when the callee's turn commits. Each run's asks are made in one turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from bench.effort import Effort
from bench.report import Measurement, alternate
from bench.world import Pair, Stage

SIZES = {"64B": 64, "1KiB": 1 << 10, "64KiB": 1 << 16, "16MiB": 16 << 20}
NAMES = tuple(
    f"ask_rtt_{size}{where}{what}"
    for size in SIZES
    for where in ("", "_unpinned")
    for what in ("", "_p99")
)


@dataclass(slots=True)
class Trips:
    """One subject: calling it runs it and returns the run's median; it keeps the run's p99."""

    run: Callable[[int, int], list[int]]  # size, count: times in ns
    size: int
    count: int
    p99s: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        times = sorted(self.run(self.size, self.count))
        self.p99s.append(times[min(len(times) - 1, len(times) * 99 // 100)] / 1e3)
        return median(times) / 1e3


def measure(stage: Stage, effort: Effort) -> list[Measurement]:
    """Return the figures of NAMES, in microseconds."""
    subjects: dict[str, Trips] = {}
    for where, pair in (("", stage.pinned), ("_unpinned", stage.free)):
        for text, size in SIZES.items():
            subjects |= both(f"ask_rtt_{text}{where}", pair, size, count_for(size, effort))
    medians = alternate(subjects, effort.repeats)
    return [
        measurement
        for name in NAMES
        if not name.endswith("_p99")
        for measurement in (
            Measurement(name, medians[name], "us", medians[f"{name} floor"]),
            Measurement(f"{name}_p99", p99(subjects[name]), "us", p99(subjects[f"{name} floor"])),
        )
    ]


def both(name: str, pair: Pair, size: int, count: int) -> dict[str, Trips]:
    """Return ours and the floor's, by name."""
    floor = pair.floor if size < SIZES["64KiB"] else pair.large_floor
    return {
        name: Trips(pair.asker.round_trips_ns, size, count),
        f"{name} floor": Trips(floor.round_trips_ns, size, count),
    }


def count_for(size: int, effort: Effort) -> int:
    """Return how many round trips of this size a run makes."""
    if size < SIZES["64KiB"]:
        return effort.num_asks
    return effort.num_large_asks if size < SIZES["16MiB"] else effort.num_huge_asks


def p99(trips: Trips) -> float:
    """Return the median of the runs' 99th percentiles, without the discarded first run."""
    return median(trips.p99s[1:])
