"""Round trips of asks between two agent processes, through the kernel, beside the raw broker.

Question: what does a durable ask cost more than three bare processes that forward bytes?
Budget: 64 B pinned to one CPU at most 3.0 times the floor, likewise pinned.

Pinned, everything that takes part runs on one CPU: what it costs then is work, not the waking of
a thread elsewhere. Unpinned figures stand beside. ``ask_cpu_64B`` is the CPU time of all three
processes for a pinned round trip: on a quiet machine about the same as its time, and what can
still be compared on a busy one.

An ask is answered when the callee's turn is committed. Each run's asks are made in one turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from bench.effort import Effort
from bench.procfs import cpu_ns
from bench.report import Measurement, alternate
from bench.world import Pair, Stage

FLOOR = " floor"
SIZES = {"64B": 64, "1KiB": 1 << 10, "64KiB": 1 << 16, "16MiB": 16 << 20}
TRIP_NAMES = tuple(
    f"ask_rtt_{size}{where}{what}"
    for where in ("", "_unpinned")
    for size in SIZES
    for what in ("", "_p99")
)
NAMES = (*TRIP_NAMES, "ask_cpu_64B")


@dataclass(slots=True)
class Trips:
    """One subject: calling it runs it and returns the run's median; it keeps the run's p99."""

    run: Callable[[int, int], list[int]]  # size, count: times in ns
    size: int
    count: int
    pids: list[int]  # whose CPU time it takes
    p99s: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        used = sum(map(cpu_ns, self.pids))
        times = sorted(self.run(self.size, self.count))
        self.cpus.append((sum(map(cpu_ns, self.pids)) - used) / self.count / 1e3)
        self.p99s.append(times[min(len(times) - 1, len(times) * 99 // 100)] / 1e3)
        return median(times) / 1e3


def measure(stage: Stage, effort: Effort) -> list[Measurement]:
    """Return the figures of NAMES, in microseconds."""
    subjects: dict[str, Trips] = {}
    for where, pair in (("", stage.pinned), ("_unpinned", stage.free)):
        for text, size in SIZES.items():
            subjects |= both(f"ask_rtt_{text}{where}", pair, size, count_for(size, effort))
    medians = alternate(subjects, effort.repeats)
    found = []
    for name in [name for name in subjects if not name.endswith(FLOOR)]:
        ours, floor = subjects[name], subjects[name + FLOOR]
        found.append(Measurement(name, medians[name], "us", medians[name + FLOOR]))
        found.append(Measurement(f"{name}_p99", typical(ours.p99s), "us", typical(floor.p99s)))
    ours, floor = subjects["ask_rtt_64B"], subjects["ask_rtt_64B" + FLOOR]
    return [*found, Measurement("ask_cpu_64B", typical(ours.cpus), "us", typical(floor.cpus))]


def both(name: str, pair: Pair, size: int, count: int) -> dict[str, Trips]:
    """Return ours and the floor's, by name."""
    floor = pair.floor if size < SIZES["64KiB"] else pair.large_floor
    return {
        name: Trips(pair.asker.round_trips_ns, size, count, pair.ask_pids()),
        name + FLOOR: Trips(floor.round_trips_ns, size, count, floor.pids),
    }


def count_for(size: int, effort: Effort) -> int:
    """Return how many round trips of this size a run makes."""
    if size < SIZES["64KiB"]:
        return effort.num_asks
    return effort.num_large_asks if size < SIZES["16MiB"] else effort.num_huge_asks


def typical(samples: list[float]) -> float:
    """Return the median of the runs, without the discarded first one."""
    return median(samples[1:])
