"""Which benches there are, and running some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench import footprint, journal_commits, recovery, ring, round_trips, spawning, throughput
from bench.effort import Effort
from bench.report import Measurement
from bench.world import Stage


@dataclass(frozen=True, slots=True)
class Bench:
    """One file of this folder: the figures it gives, and how they are measured."""

    title: str
    names: tuple[str, ...]
    measure: Callable[[Stage, Effort], list[Measurement]]
    is_long: bool = False  # left out of --quick, unless it is asked for by name


BENCHES = (
    Bench("round trips", round_trips.NAMES, round_trips.measure),
    Bench("throughput", throughput.NAMES, throughput.measure),
    Bench("spawning", spawning.NAMES, spawning.measure),
    Bench("journal commits", journal_commits.NAMES, journal_commits.measure),
    Bench("idle footprint", footprint.NAMES, footprint.measure),
    Bench("recovery", recovery.NAMES, recovery.measure),
    Bench("500 agents", ring.NAMES, ring.measure, is_long=True),
)
ALL_NAMES = tuple(name for bench in BENCHES for name in bench.names)
QUICK_NAMES = tuple(name for bench in BENCHES if not bench.is_long for name in bench.names)


def run(
    effort: Effort, wanted: frozenset[str], tell: Callable[[str], None]
) -> Iterator[Measurement]:
    """Yield the wanted figures; tell: is told the title of each bench that begins."""
    with Stage() as stage:
        for bench in BENCHES:
            if wanted.isdisjoint(bench.names):
                continue
            tell(bench.title)
            for measurement in bench.measure(stage, effort):
                if measurement.name in wanted:
                    yield measurement
