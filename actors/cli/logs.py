"""The command `logs`: what agents and the kernel wrote, also while it grows.

It reads files, so it works when no kernel runs. Following looks for new text five times a
second: inotify would save nothing a person could see.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.options import HomeOption, JsonOption, NameOption, complete_agent
from actors.cli.render import print_json
from actors.cli.values import agent_key
from ipc.errors import KernelUnavailableError, UnknownActorError

POLL_S = 0.2
CHUNK_BYTES = 1 << 16


@guarded
def logs(
    agent: Annotated[
        str | None,
        typer.Argument(help="Name or number; the kernel if none.", autocompletion=complete_agent),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="The last so many.")] = 50,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an agent printed, or the kernel's log.

    Example: llmos logs hits -f
    """
    path = find_log(Where(home, name), agent)
    tail, end = last_lines(path, lines)
    if as_json:
        print_json({"path": str(path), "lines": tail})
        return
    for line in tail:
        typer.echo(line)
    if follow:
        for text in followed(path, end, time.sleep):
            typer.echo(text, nl=False)


def find_log(where: Where, agent: str | None) -> Path:
    """Return the log file of an agent, or of the kernel.

    Raises:
        UnknownActorError: there is none, and never was in this home.
    """
    home = where.paths()
    if agent is None:
        path = home.kernel_log
    else:
        path = _of_living(where, agent) or _of_past(home.logs, agent)
    if not path.exists():
        raise UnknownActorError(name=agent or "kernel", hint=f": {path} does not exist")
    return path


def _of_living(where: Where, agent: str) -> Path | None:
    try:
        with open_client(where) as client:
            path = client.system("inspect", actor=agent_key(agent))["log_path"]
    except (KernelUnavailableError, UnknownActorError):
        return None
    return Path(path) if path else None


def _of_past(directory: Path, agent: str) -> Path:
    """Return the newest file that an agent of this name, or number, has left."""
    found = [*directory.glob(f"{agent}-*.log"), *directory.glob(f"*-{agent}.log")]
    if not found:
        raise UnknownActorError(name=agent, hint=f": it has no log in {directory}")
    return max(found, key=lambda path: path.stat().st_mtime)


def last_lines(path: Path, count: int) -> tuple[list[str], int]:
    """Return the last lines of a file, and the offset after them.

    Cost: reads backwards, in proportion to what it returns.
    """
    with path.open("rb") as file:
        end = position = file.seek(0, os.SEEK_END)
        data = b""
        while position > 0 and data.count(b"\n") <= count:
            step = min(CHUNK_BYTES, position)
            position -= step
            file.seek(position)
            data = file.read(step) + data
    text = data.decode(errors="replace").splitlines()
    return (text[-count:] if count else []), end


def followed(path: Path, offset: int, wait: Callable[[float], None]) -> Iterator[str]:
    """Yield text added after ``offset``, for ever; a file cut short is read from its start."""
    while True:
        length = path.stat().st_size if path.exists() else 0
        if length < offset:
            offset = 0
        if length > offset:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(length - offset)
            offset += len(data)
            yield data.decode(errors="replace")
        wait(POLL_S)
