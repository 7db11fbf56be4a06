"""What every bench shares: alternate the runs, keep the medians, print one document or one table.

A ratio is value / floor, so for a cost less is better: 1.5 is half as much again as the floor, 0.25
four times as fast.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Measurement:
    name: str
    value: float
    unit: str
    floor: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.floor is None else self.value / self.floor


def alternate(runs: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Run all in turn, `repeats` times after one discarded round, and return the median of each."""
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            sample = run()
            if repeat:
                samples[name].append(sample)
    return {name: median(values) for name, values in samples.items()}


def print_json(measurements: list[Measurement]) -> None:
    print(json.dumps([asdict(each) | {"ratio": each.ratio} for each in measurements], indent=1))


def print_table(title: str, measurements: list[Measurement]) -> None:
    table = Table(title=title)
    table.add_column("name", overflow="fold")
    for heading in ("value", "unit", "floor", "ratio"):
        table.add_column(heading, justify="left" if heading == "unit" else "right")
    for each in measurements:
        numbers = [format_number(n) for n in (each.value, each.floor, each.ratio)]
        table.add_row(each.name, numbers[0], each.unit, *numbers[1:])
    Console().print(table)


def format_number(number: float | None) -> str:
    return "" if number is None else f"{number:,.4g}" if abs(number) < 1000 else f"{number:,.0f}"
