"""What every bench shares: alternate the runs, keep the medians, print one document or one table.

A ratio is value / floor, so for a cost less is better: 1.5 is half as much again as the floor, 0.25
four times as fast.
"""

from __future__ import annotations

import json
import math
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
    """Run all in turn, `repeats` times after one discarded round, and return the median of each.

    Who gives no number in the discarded round (it hangs, or is not installed) is not run again.
    """
    first = {name: run() for name, run in runs.items()}
    able = [name for name, sample in first.items() if not math.isnan(sample)]
    rounds = [{name: runs[name]() for name in able} for _ in range(repeats)]
    return {
        name: median(each[name] for each in rounds) if name in able else math.nan for name in runs
    }


def print_json(measurements: list[Measurement]) -> None:
    print(json.dumps([asdict(each) | {"ratio": each.ratio} for each in measurements], indent=1))


def print_table(
    title: str,
    measurements: list[Measurement],
    *,
    verdict: Callable[[Measurement], str] | None = None,
) -> None:
    """Print a table. verdict: adds a column that says how a measurement is to be judged."""
    table = Table(title=title)
    table.add_column("name", overflow="fold")
    for heading in ("value", "unit", "floor", "ratio"):
        table.add_column(heading, justify="left" if heading == "unit" else "right")
    if verdict is not None:
        table.add_column("goal")
    for each in measurements:
        numbers = [format_number(n) for n in (each.value, each.floor, each.ratio)]
        judged = [] if verdict is None else [verdict(each)]
        table.add_row(each.name, numbers[0], each.unit, *numbers[1:], *judged)
    Console().print(table)


def format_number(number: float | None) -> str:
    return "" if number is None else f"{number:,.4g}" if abs(number) < 1000 else f"{number:,.0f}"
