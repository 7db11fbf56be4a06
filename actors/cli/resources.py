"""The commands `resources`, `resources add`, `drain` and `remove`: the machine, and who has what.

Promise: a pipe gets plain lines, the amounts are those of ipc/resources.py with --json, and in
CPUs, sizes and rates for people.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actors.cli import units
from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.options import HomeOption, IntervalOption, JsonOption, NameOption
from actors.cli.render import Column, is_terminal, plain_lines, print_json, rich_table
from actors.cli.units import dash

if TYPE_CHECKING:
    from actors.client import Client

Row = Mapping[str, Any]
BAR = 20  # characters
_STYLES = {
    **dict.fromkeys(("draining", "leaving", "loading", "stopped"), "yellow"),
    **dict.fromkeys(("failed", "quarantined"), "bold red"),
}

app = typer.Typer(invoke_without_command=True)

ResourceArgument = Annotated[str, typer.Argument(help="Its name; `llmos resources` lists them.")]
AmountArgument = Annotated[
    str | None, typer.Argument(help="How much: 2, 0.5 (CPUs) or 512MiB.", show_default=False)
]


def amount_text(kind: str, amount: float | None) -> str | None:
    """Return an amount of a kind of resource as people read it."""
    if amount is None:
        return None
    if kind == "cpu":
        return f"{amount / 1000:.2f}".rstrip("0").rstrip(".")
    if kind in ("memory", "disk", "gpu_memory"):
        return units.size(amount)
    if kind == "network":
        return f"{amount / 1e6:.1f} Mbit/s"
    return f"{amount / 1000:.0%}" if kind == "gpu" else f"{amount:.0f}"


def _given_text(row: Row, amount: int | None) -> str | None:
    """Return what is given out of a resource; of a GPU that is memory."""
    return amount_text("memory" if row["kind"] == "gpu" else row["kind"], amount)


def bar(share: float | None) -> str:
    """Return a bar as long as the share, in characters a pipe can take."""
    if share is None:
        return ""
    full = min(BAR, round(share * BAR))
    return f"[{'#' * full}{'.' * (BAR - full)}]"


def _bar_style(cell: str) -> str | None:
    full = cell.count("#") / BAR
    return "red" if full >= 0.9 else "yellow" if full >= 0.7 else "green"


def _free(row: Row) -> int | None:
    return None if row["capacity"] is None else row["capacity"] - row["taken"]


USE_COLUMNS = (
    Column("MACHINE", lambda row: row["name"]),
    Column("USED", lambda row: amount_text(row["kind"], row["used"]), right=True),
    Column("OF", lambda row: amount_text(row["kind"], row["capacity"]), right=True),
    Column("%", lambda row: None if row["share"] is None else f"{row['share']:.0%}", right=True),
    Column("", lambda row: bar(row["share"]), style=_bar_style),
)
RESOURCE_COLUMNS = (
    Column("RESOURCE", lambda row: row["name"]),
    Column("KIND", lambda row: row["kind"]),
    Column("STATE", lambda row: row["state"], style=_STYLES.get),
    Column("CAPACITY", lambda row: _given_text(row, row["capacity"]), right=True),
    Column("TAKEN", lambda row: _given_text(row, row["taken"]), right=True),
    Column("FREE", lambda row: _given_text(row, _free(row)), right=True),
    Column("HELD BY", lambda row: ", ".join(f"{k} {_given_text(row, v)}" for k, v in _held(row))),
)
AGENT_COLUMNS = (
    Column("AGENT", lambda row: row["name"]),
    Column("PID", lambda row: row.get("pid"), right=True),
    Column("CPU%", lambda row: _percent(row.get("cpu_millis")), right=True),
    Column("SHARE%", lambda row: _percent(row.get("cpu_share_millis")), right=True),
    Column("CPU TIME", lambda row: _seconds(row.get("cpu_ns")), right=True),
    Column("RSS", lambda row: units.size(row.get("rss_bytes")), right=True),
    Column("PSS", lambda row: units.size(row.get("pss_bytes")), right=True),
    Column("READ/S", lambda row: units.size(row.get("read_per_s")), right=True),
    Column("WRITE/S", lambda row: units.size(row.get("written_per_s")), right=True),
    Column("GPU", lambda row: units.size(row.get("gpu_bytes")), right=True),
    Column("PROCS", lambda row: row.get("processes"), right=True),
    Column("THREADS", lambda row: row.get("threads"), right=True),
    Column("RESERVED", lambda row: ", ".join(_reserved(row))),
)


def _held(row: Row) -> Iterator[tuple[str, int]]:
    yield from sorted(row["holders"].items())


def _percent(millis: int | None) -> str | None:
    return None if millis is None else units.whole(millis / 10)


def _seconds(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else f"{nanoseconds / 1e9:.1f} s"


def _reserved(row: Row) -> Iterator[str]:
    for name, amount in sorted(row["reserved"].items()):
        kind = "memory" if name.startswith("gpu.") else name
        yield f"{name}={amount_text(kind, amount)}"


@app.callback()
@guarded
def resources(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again.")] = False,
    interval: IntervalOption = 1.0,
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help="Stop after so many looks.")
    ] = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the machine, what holds it back, what is reserved, and what each agent uses.

    Example: llmos resources --watch
    """
    if context.invoked_subcommand is not None:
        return
    with open_client(Where(home, name)) as client:
        looks = itertools.count() if watch and count is None else range(count or 1)
        if watch and is_terminal() and not as_json:
            _watch(client, looks, interval)
            return
        for number in looks:
            if number:
                time.sleep(interval)
            _print(client.system("resources"), as_json=as_json)


def _watch(client: Client, looks: Any, interval: float) -> None:
    # Imported here: rich is for terminals only (actors/cli/render.py).
    from rich.console import Group
    from rich.live import Live

    with Live(screen=True, auto_refresh=False) as live:
        for _ in looks:
            parts = _parts(client.system("resources"), rich_table)
            live.update(Group(*parts), refresh=True)
            time.sleep(interval)


def _print(report: Row, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    if is_terminal():
        # Imported here: see _watch.
        from rich.console import Console

        for part in _parts(report, rich_table):
            Console().print(part)
        return
    for part in _parts(report, plain_lines):
        for line in [part] if isinstance(part, str) else part:
            typer.echo(line)


def _parts(report: Row, table: Callable[[Any, Any], Any]) -> Iterator[Any]:
    """Yield the headings and the tables that have rows; ``table`` makes one of its cells."""
    yield heading(report)
    for columns, rows in (
        (USE_COLUMNS, report["uses"]),
        (RESOURCE_COLUMNS, report["resources"]),
        (AGENT_COLUMNS, report["agents"]),
    ):
        if rows:
            yield ""
            yield table(columns, [[dash(column.text(row)) for column in columns] for row in rows])


def heading(report: Row) -> str:
    """Return what holds the machine back, and how limits are kept on it."""
    if report["age_ns"] is None:
        return "nothing was seen of the machine yet: try again in a second"
    found = report["bottleneck"]
    text = "no bottleneck: nothing is near its limit"
    if found is not None:
        share, lasts = f"{found['share']:.0%}", units.duration(found["for_ns"] / 1e9)
        text = f"bottleneck: {found['name']}, {share} used, near its limit for {lasts}"
    return f"{text}; limits are kept by {report['enforcement']}"


@app.command("add")
@guarded
def add(
    resource: ResourceArgument,
    amount: AmountArgument = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a resource, give one more, start one more engine, or take one back that drains.

    Example: llmos resources add licence 3
    """
    _change("resource_add", resource, amount, Where(home, name), as_json=as_json)


@app.command("drain")
@guarded
def drain(
    resource: ResourceArgument,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a resource take no new work; what it has goes on to its end.

    Example: llmos resources drain gpu.0
    """
    _change("resource_drain", resource, None, Where(home, name), as_json=as_json)


@app.command("remove")
@guarded
def remove(
    resource: ResourceArgument,
    amount: AmountArgument = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take an amount from a resource, or all of it; an engine leaves when it has no work left.

    Example: llmos resources remove engine.small.1.2
    """
    _change("resource_remove", resource, amount, Where(home, name), as_json=as_json)


def _change(call: str, resource: str, amount: str | None, where: Where, *, as_json: bool) -> None:
    # Imported here: only these commands need it.
    from ipc.resources import parse_amount

    arguments: dict[str, Any] = {"name": resource}
    if amount is not None:
        arguments["amount"] = parse_amount(resource, amount)
    with open_client(where) as client:
        info = client.system(call, **arguments)
    if as_json:
        print_json(info)
        return
    of = f" of {_given_text(info, info['capacity'])}" if info["capacity"] is not None else ""
    typer.echo(f"{info['name']} is {info['state']}; {_given_text(info, info['taken'])}{of} taken")
