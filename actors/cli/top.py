"""The command `top`: agents and engines at work, live; rates are differences between two looks.

Processor time and memory are those of `llmos resources`: of all processes of an agent together, as
the kernel saw them last, which is a second ago on a machine with few agents.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from actors.cli import units
from actors.cli.agents import PS_COLUMNS
from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.options import HomeOption, IntervalOption, JsonOption, NameOption
from actors.cli.render import Column, is_terminal, plain_lines, print_json, rich_table
from actors.cli.top_llm import ENGINE_COLUMNS, OWNER_COLUMNS, LlmSampler
from actors.cli.units import dash

if TYPE_CHECKING:
    from actors.client import Client

Row = dict[str, Any]
_SHOWN = ("ID", "NAME", "STATE", "PID", "MAIL", "HANDLED", "RESTARTS")

COLUMNS = (
    *(column for column in PS_COLUMNS if column.heading in _SHOWN),
    Column("MSG/S", lambda row: f"{row['handled_per_s']:.0f}", right=True),
    Column("CPU%", lambda row: units.whole(row["cpu_percent"]), right=True),
    Column("MEMORY", lambda row: units.size(row["rss_bytes"]), right=True),
)


class Look(NamedTuple):
    """What is shown at one time. llm: rows of ``engines`` and of ``owners``."""

    kernel: Row
    agents: list[Row]
    llm: Row


@dataclass(slots=True)
class Sampler:
    """Takes looks at the kernel and remembers what the next one is compared with."""

    client: Client
    _llm: LlmSampler = field(init=False)
    _at: float = 0.0
    _handled: dict[int, tuple[int, int]] = field(default_factory=dict)  # actor: incarnation, turns

    def __post_init__(self) -> None:
        self._llm = LlmSampler(self.client)

    def look(self, now: float) -> Look:
        """Return the kernel's status, one row an agent, the busiest first, and the engines."""
        status, agents = self.client.system("status"), self.client.system("ps")
        used = {row["actor"]: row for row in self.client.system("resources")["agents"]}
        elapsed = now - self._at if self._at else 0.0
        rows = [self._row(agent, used.get(agent["actor"], {}), elapsed) for agent in agents]
        self._at = now
        self._handled = {row["actor"]: (row["incarnation"], row["handled"]) for row in rows}
        rows.sort(key=lambda row: (-row["handled_per_s"], -(row["cpu_percent"] or 0), row["actor"]))
        return Look(status, rows, self._llm.look(elapsed))

    def _row(self, agent: Row, used: Row, elapsed: float) -> Row:
        incarnation, handled = self._handled.get(agent["actor"], (0, 0))
        before = handled if incarnation == agent["incarnation"] else 0
        rate = (agent["handled"] - before) / elapsed if elapsed > 0 else 0.0
        millis = used.get("cpu_millis")  # nothing before the kernel's first look at it
        return {
            **agent,
            "handled_per_s": max(rate, 0.0),
            "cpu_percent": None if millis is None else millis / 10,
            "rss_bytes": used.get("rss_bytes"),
        }


@guarded
def top(
    interval: IntervalOption = 1.0,
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help="Stop after so many looks.")
    ] = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch agents and engines at work: rates, queues, processor, memory. Ctrl-C ends it.

    Example: llmos top -i 2
    """
    with open_client(Where(home, name)) as client, _screen(as_json=as_json) as show:
        sampler = Sampler(client)
        sampler.look(time.monotonic())  # rates need something to compare with
        for _ in range(count) if count else itertools.count():
            time.sleep(interval)
            show(sampler.look(time.monotonic()))


@contextmanager
def _screen(*, as_json: bool) -> Iterator[Callable[[Look], None]]:
    """Yield what shows a look: JSON, plain lines for a pipe, or a screen that is redrawn."""
    if as_json:
        yield lambda look: print_json(look._asdict())
    elif not is_terminal():
        yield _print_plain
    else:
        # Imported here: rich is for terminals only (actors/cli/render.py).
        from rich.console import Group
        from rich.live import Live

        with Live(screen=True, auto_refresh=False) as live:
            yield lambda look: live.update(Group(*_parts(look, rich_table)), refresh=True)


def _print_plain(look: Look) -> None:
    for part in _parts(look, plain_lines):
        for line in [part] if isinstance(part, str) else part:
            typer.echo(line)
    typer.echo()


def _parts(look: Look, table: Callable[[Any, Any], Any]) -> Iterator[Any]:
    """Yield the heading and the tables that have rows; ``table`` makes one of its cells."""
    yield heading(look.kernel, look.agents)
    for columns, rows in (
        (ENGINE_COLUMNS, look.llm["engines"]),
        (OWNER_COLUMNS, look.llm["owners"]),
        (COLUMNS, look.agents),
    ):
        if rows:
            yield ""
            yield table(columns, _cells(columns, rows))


def _cells(columns: Sequence[Column], rows: list[Row]) -> list[list[str]]:
    return [[dash(column.text(row)) for column in columns] for row in rows]


def heading(status: Mapping[str, Any], rows: list[Row]) -> str:
    """Return the line above the table."""
    rate = sum(row["handled_per_s"] for row in rows)
    return (
        f"kernel {status['pid']}  up {units.since(status['started_wall_ns'])}  "
        f"{len(rows)} agents, {status['running']} running  {rate:.0f} messages/s  "
        f"pending {status['pending_messages']}  dead {status['dead_letters']}  "
        f"memory {units.size(status['rss_bytes'])}"
    )
