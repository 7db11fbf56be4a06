"""The command `demo`: five agents index the standard library while the demo kills them.

It runs in a temporary home, shows what it does, and ends with a table and a check: the totals
must equal those of one process that counts alone (actors/cli/demo_count.py).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from actors.cli.connection import Where, open_client
from actors.cli.demo_count import Totals, count_alone, python_files, standard_library
from actors.cli.demo_run import Kernel, Progress, Run, StalledError
from actors.cli.demo_view import progress_view
from actors.cli.exits import Exit
from actors.cli.guard import guarded
from actors.cli.options import HomeOption, JsonOption, NameOption
from actors.cli.render import print_json, print_record
from ipc.errors import UsageError


@guarded
def demo(
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="DIR", help="Index this folder, not the standard library."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary home.")] = False,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Index the standard library with five agents, kill a worker and the kernel, lose nothing.

    It has a kernel of its own, in a temporary home (or a fresh --home).

    Example: llmos demo
    """
    if name is not None:
        raise UsageError(reason="the demo has a kernel of its own: give --home, or nothing")
    folder = str((root or Path(standard_library())).resolve())
    with _own_home(home, keep=keep) as place:
        outcome = _run(folder, place, as_json=as_json)
    if as_json:
        print_json(outcome)
    else:
        _print_outcome(outcome)
    if not outcome["equal"]:
        raise typer.Exit(Exit.FAILED)


@contextmanager
def _own_home(home: Path | None, *, keep: bool) -> Iterator[Path]:
    """Yield an empty home; remove it afterwards, unless it was given or is to be kept."""
    if home is not None and home.exists() and any(home.iterdir()):
        raise UsageError(reason=f"{home} is not empty: the demo needs a home of its own")
    place = home or Path(tempfile.mkdtemp(prefix="llmos-demo-"))
    try:
        yield place
    except BaseException:
        typer.echo(f"what happened is in {place / 'logs'}", err=True)
        raise
    if home is None and not keep:
        shutil.rmtree(place, ignore_errors=True)


def _run(folder: str, place: Path, *, as_json: bool) -> dict[str, Any]:
    paths = sorted(python_files(folder))
    kernel = Kernel(Where(place).paths())
    try:
        with progress_view("five agents", len(paths), as_json=as_json) as view:
            view.say(f"{len(paths)} Python files in {folder}")
            view.say(f"start a kernel, in {place}")
            kernel.start()
            with open_client(Where(place)) as client:
                run = Run(client, kernel, view)
                seen = run.index(folder, len(paths))
    except StalledError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(Exit.FAILED) from None
    finally:
        kernel.stop()
    with progress_view("one process", len(paths), as_json=as_json) as view:
        view.say("count once more, in one process without messages")
        alone = count_alone(paths, view.show)
    return outcome_of(seen, run.counters, alone)


def outcome_of(seen: Progress, counters: dict[str, int], alone: Totals) -> dict[str, Any]:
    """Return what the demo has shown."""
    expected = {
        "files": alone.files,
        "identifiers": alone.identifiers,
        "fingerprint": alone.fingerprint,
    }
    return {
        "files": seen["files"],
        "identifiers": seen["identifiers"],
        "fingerprint": seen["fingerprint"],
        "messages": seen["messages"],
        "redelivered": counters.get("redelivered", 0),
        "recovered": counters.get("recovered", 0),
        "restarts": counters.get("restarts", 0),
        "expected": expected,
        "equal": expected == {key: seen[key] for key in expected},
    }


def _print_outcome(outcome: dict[str, Any]) -> None:
    expected = outcome["expected"]
    typer.echo()
    print_record(
        {
            "files": f"{outcome['files']:,}",
            "identifiers counted": f"{outcome['identifiers']:,}",
            "messages sent": f"{outcome['messages']:,}",
            "redelivered": f"{outcome['redelivered']:,}, after the worker and the kernel died",
            "recovered": f"{outcome['recovered']:,}, from the journal of the killed kernel",
            "one process alone": f"{expected['files']:,} files, {expected['identifiers']:,} names",
            "fingerprint": f"{outcome['fingerprint']:x}, alone {expected['fingerprint']:x}",
        }
    )
    if outcome["equal"]:
        typer.secho("equal: nothing was lost, nothing was done twice", fg="green", bold=True)
    else:
        typer.secho("NOT EQUAL: this is a bug in LLMOS", fg="red", bold=True, err=True)
