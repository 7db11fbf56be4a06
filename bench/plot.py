"""The ratios to the floors as a picture; needs the extra ``plot``."""

from __future__ import annotations

from pathlib import Path

from bench.goals import GOALS
from bench.report import Measurement, format_number


def draw(measurements: list[Measurement], path: Path) -> None:
    """Write a picture of all measurements that have a floor.

    Raises:
        ImportError: matplotlib is not installed.
    """
    # Imported here: an optional dependency.
    from matplotlib.figure import Figure

    shown = [each for each in reversed(measurements) if each.ratio is not None]
    figure = Figure(figsize=(9, 1.4 + 0.32 * len(shown)), layout="constrained")
    axes = figure.subplots()
    ratios = [each.ratio or 0.0 for each in shown]
    bars = axes.barh([each.name for each in shown], ratios, color="#4477aa")
    axes.bar_label(bars, [describe(each) for each in shown], padding=4, fontsize=8)
    for row, each in enumerate(shown):
        goal = GOALS.get(each.name)
        if goal is not None and goal.of == "ratio":
            axes.plot([goal.limit] * 2, [row - 0.45, row + 0.45], color="#cc3311", linewidth=2)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.margins(x=0.35, y=0.01)
    axes.set_xlabel("value / floor of the same run (black: the floor; red: the goal)")
    axes.set_title("llmos bench: for us and ms less is better, for 1/s more")
    figure.savefig(path, dpi=140)


def describe(measurement: Measurement) -> str:
    """Return the label of a bar."""
    return f"{measurement.ratio:.2f}  ({format_number(measurement.value)} {measurement.unit})"
