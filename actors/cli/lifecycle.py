"""Commands about the kernel itself: up, down, status, statistics."""

from __future__ import annotations

import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from actors.cli import units
from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.kernel_process import (
    Settings,
    boot_log,
    exit_of,
    start_in_background,
    start_kernel,
    stop_kernel,
)
from actors.cli.options import HomeOption, JsonOption, NameOption
from actors.cli.render import print_json, print_record
from ipc.errors import HomeInUseError
from ipc.home import Home
from ipc.running import running_pid


class Durability(StrEnum):
    """What the kernel's journal survives."""

    PROCESS = "process"
    POWER = "power"
    NONE = "none"


@guarded
def up(
    daemon: Annotated[
        bool, typer.Option("--daemon", "-d", help="Return when it listens; it runs on.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file with its settings.")
    ] = None,
    durability: Annotated[
        Durability | None,
        typer.Option(help="Survive the kill of every process, a power loss, or nothing."),
    ] = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start the kernel; the agents of its last run come back.

    Example: llmos up --daemon
    """
    where = Where(home, name)
    settings = Settings(config, durability.value if durability else None)
    pid = running_pid(where.paths())
    if pid is not None:
        raise HomeInUseError(home=str(where.paths().state_dir), pid=pid)
    if daemon:
        _up_in_background(where, settings, as_json=as_json)
    else:
        _up_in_foreground(where.paths(), settings)


def _up_in_background(where: Where, settings: Settings, *, as_json: bool) -> None:
    home = where.paths()
    log = boot_log(home)
    begin = log.stat().st_size if log.exists() else 0
    started = start_in_background(home, settings)
    if not started.is_ready:
        said = log.read_bytes()[begin:].decode(errors="replace")  # not what kernels before it said
        typer.echo(said.rstrip() or f"the kernel could not write why to {log}", err=True)
        typer.echo(f"hint:  the kernel ended before it listened; see {home.logs}", err=True)
        raise typer.Exit(exit_of(started.process.wait()))
    if as_json:
        print_json({"pid": started.process.pid, "home": str(home.state_dir)})
    else:
        words = " ".join(["llmos status", *where.words()])
        typer.echo(f"kernel {started.process.pid} is up in {home.state_dir}; see `{words}`")


def _up_in_foreground(home: Home, settings: Settings) -> None:
    """Stay until the kernel ends; an interrupt reaches it from the terminal by itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    started = start_kernel(home, settings)
    signal.signal(signal.SIGTERM, lambda *_: started.process.terminate())
    if started.is_ready:
        typer.echo(f"kernel {started.process.pid} is up in {home.state_dir}", err=True)
        typer.echo("Ctrl-C stops it and its agents; `llmos up` brings them back", err=True)
    raise typer.Exit(exit_of(started.process.wait()))


@guarded
def down(
    timeout: Annotated[
        float, typer.Option(metavar="S", min=0, help="Wait so long for it to end.")
    ] = 60.0,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop the agents in order, then the kernel; the next `llmos up` brings them back.

    Example: llmos down
    """
    pid = stop_kernel(Where(home, name).paths(), timeout)
    if as_json:
        print_json({"stopped": pid})
    else:
        typer.echo(f"kernel {pid} has stopped")


@guarded
def status(home: HomeOption = None, name: NameOption = None, as_json: JsonOption = False) -> None:
    """Show the kernel: process, agents, pending messages, journal, memory.

    Example: llmos status --json
    """
    where = Where(home, name)
    with open_client(where) as client:
        answer = client.system("status")
    if as_json:
        print_json(answer)
    else:
        print_record(_status_fields(answer, where))


def _status_fields(answer: dict[str, Any], where: Where) -> dict[str, Any]:
    return {
        "kernel": f"{answer['pid']}, version {answer['version']}",
        "home": where.paths().state_dir,
        "up": units.since(answer["started_wall_ns"]),
        "durability": answer["durability"],
        "agents": f"{answer['actors']}, {answer['running']} running",
        "clients": answer["sessions"],
        "pending": f"{answer['pending_messages']} messages, {units.size(answer['pending_bytes'])}",
        "dead letters": answer["dead_letters"],
        "journal": f"{units.size(answer['journal_bytes'])}, generation {answer['generation']}",
        "epoch": answer["epoch"],
        "memory": units.size(answer["rss_bytes"]),
    }


@guarded
def statistics(
    home: HomeOption = None, name: NameOption = None, as_json: JsonOption = False
) -> None:
    """Show the kernel's counters since it started.

    Example: llmos statistics --json
    """
    with open_client(Where(home, name)) as client:
        counters = client.system("statistics")
    if as_json:
        print_json(counters)
    else:
        print_record(counters)
