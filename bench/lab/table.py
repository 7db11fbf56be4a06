"""Shows the figures of several policies: a table, the document of `llmos bench`, a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.lab.figures import Figure, Figures, measurements
from bench.report import Measurement, format_number
from ipc.errors import UsageError

SHOWN = (
    "throughput_tokens",
    "wait_mean",
    "wait_p50",
    "wait_p99",
    "ttft_mean",
    "ttft_p50",
    "ttft_p99",
    "completion_mean",
    "completion_p50",
    "completion_p99",
    "program_mean",
    "program_p50",
    "program_p99",
    "slowdown_mean",
    "slowdown_p99",
    "jain",
    "worst_starved",
    "utilisation",
    "kv_hit",
    "preemptions",
)
DRAWN = ("wait_mean", "ttft_p99", "completion_mean", "program_mean", "slowdown_p99", "jain")
COMPARED_TO = "fcfs"
_CELL = 3  # a column's border and the space on both sides

Results = Mapping[str, Figures]


def print_results(title: str, results: Results) -> None:
    """Print one column a policy; in several tables where one would be wider than the terminal."""
    console = Console()
    for page in pages(results, console.width):
        table = Table(title=title)
        table.add_column("", no_wrap=True)
        for policy in page:
            table.add_column(policy, justify="right", no_wrap=True)
        for name in SHOWN:
            table.add_row(_label(name, results), *(_shown(results[each][name]) for each in page))
        console.print(table)


def pages(results: Results, width: int) -> list[list[str]]:
    """Return the policies whose columns fit beside each other, and those that follow."""
    start = max(len(_label(name, results)) for name in SHOWN) + _CELL + 1
    found: list[list[str]] = []
    left = 0
    for policy, figures in results.items():
        needs = max(len(policy), *(len(_shown(figures[name])) for name in SHOWN)) + _CELL
        if not found or needs > left:
            found.append([])
            left = width - start
        found[-1].append(policy)
        left -= needs
    return found


def _label(name: str, results: Results) -> str:
    unit = next(iter(results.values()))[name].unit
    return f"{name}, {unit}" if unit else name


def _shown(figure: Figure) -> str:
    return format_number(figure.value)


def document(results: Results) -> list[Measurement]:
    """Return all figures; the floor is that of first come first served, where it was run."""
    floor = results.get(COMPARED_TO)
    return [
        each
        for policy, figures in results.items()
        for each in measurements(policy, figures, None if policy == COMPARED_TO else floor)
    ]


def draw(title: str, results: Results, path: Path) -> None:
    """Write a picture that compares the policies.

    Raises:
        ImportError: matplotlib is not installed. UsageError: nothing can be written there.
    """
    # Imported here: an optional dependency.
    from matplotlib.figure import Figure as Picture

    figure = Picture(figsize=(11, 6), layout="constrained")
    policies = list(results)
    for axes, name in zip(figure.subplots(2, 3).flat, DRAWN, strict=True):
        first = results[policies[0]][name]
        bars = axes.barh(policies, [results[each][name].value for each in policies])
        labels = [format_number(results[policy][name].value) for policy in policies]
        axes.bar_label(bars, labels, padding=2, fontsize="small")
        axes.invert_yaxis()
        axes.margins(x=0.3)
        better = "more" if first.higher_is_better else "less"
        unit = f", {first.unit}" if first.unit else ""
        axes.set_title(f"{name}{unit} ({better} is better)", fontsize="medium")
    figure.suptitle(title)
    try:
        figure.savefig(path, dpi=120)
    except OSError as problem:
        raise UsageError(reason=f"{path}: {problem.strerror or problem}") from problem
