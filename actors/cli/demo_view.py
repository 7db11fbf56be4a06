"""What `llmos demo` shows while it runs: a bar on a terminal, lines in a log, nothing for JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import typer

from actors.cli.render import is_terminal

PLAIN_STEP = 10  # percent between two lines of progress, where there is no terminal


class View(NamedTuple):
    """``say`` prints a line; ``show`` is told how many of them are done."""

    say: Callable[[str], None]
    show: Callable[[int], None]


@contextmanager
def progress_view(label: str, total: int, things: str, *, as_json: bool) -> Iterator[View]:
    """Yield the view of one pass over ``total`` things."""
    if as_json:
        yield View(lambda _: None, lambda _: None)
    elif is_terminal():
        yield from _live(label, total)
    else:
        yield View(typer.echo, _lines(label, total, things))


def _lines(label: str, total: int, things: str) -> Callable[[int], None]:
    """Return what prints a line at every tenth."""
    shown = 0

    def show(done: int) -> None:
        nonlocal shown
        percent = 100 * done // max(total, 1)
        if percent // PLAIN_STEP > shown // PLAIN_STEP:
            shown = percent
            typer.echo(f"{label} {percent:>4} %  {done} of {total} {things}")

    return show


def _live(label: str, total: int) -> Iterator[View]:
    # Imported here: rich is for terminals only (actors/cli/render.py).
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(label, total=total)
        yield View(
            lambda line: progress.console.print(line, highlight=False, markup=False),
            lambda done: progress.update(task, completed=done),
        )
