"""The commands `record start`, `stop`, `status`: LLM traffic into a file for `llmos lab`.

Who records is the kernel; these only ask, and wait a moment to see whether the file could be made.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.options import HomeOption, JsonOption, NameOption
from actors.cli.render import print_json
from ipc.errors import UsageError
from ipc.llm import RecordingInfo

app = typer.Typer(no_args_is_help=True, help="Record LLM traffic for the policy lab.")

WAIT_S = 5.0  # the kernel learns of its file about once a second
PAUSE_S = 0.05


@app.command("start")
@guarded
def start(
    file: Annotated[Path, typer.Argument(help="A new file; gzipped if it ends in .gz.")],
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record when LLM requests come, how long they are, whose they are and what they share.

    No text is recorded. Replay with llmos lab run FILE. Example: llmos record start day.jsonl.gz
    """
    with open_client(Where(home, name)) as client:
        client.system("record_start", path=str(file.absolute()))
        info = _settled(client, "starting")
    _show(info, as_json=as_json)


@app.command("stop")
@guarded
def stop(home: HomeOption = None, name: NameOption = None, as_json: JsonOption = False) -> None:
    """End the recording. Requests that have not ended are not in it.

    Example: llmos record stop
    """
    with open_client(Where(home, name)) as client:
        client.system("record_stop")
        info = _settled(client, "stopping")
    _show(info, as_json=as_json)


@app.command("status")
@guarded
def status(home: HomeOption = None, name: NameOption = None, as_json: JsonOption = False) -> None:
    """Show what is recorded, and whether everything could be written.

    Example: llmos record status
    """
    with open_client(Where(home, name)) as client:
        info = client.system("record_status")
    if as_json:
        print_json(info)
    else:
        typer.echo(_line(info))


def _settled(client: Any, passing: str) -> RecordingInfo:
    """Return the status as soon as it is not that one any more, at the latest after WAIT_S."""
    until_s = time.monotonic() + WAIT_S
    while True:
        info: RecordingInfo = client.system("record_status")
        if info["state"] != passing or time.monotonic() > until_s:
            return info
        time.sleep(PAUSE_S)


def _show(info: RecordingInfo, *, as_json: bool) -> None:
    """Print the status.

    Raises:
        UsageError: the file could not be made or written.
    """
    if info["state"] == "failed":
        raise UsageError(reason=f"the recording failed: {info['problem']}")
    if as_json:
        print_json(info)
    else:
        typer.echo(_line(info))


def _line(info: RecordingInfo) -> str:
    if info["state"] == "idle":
        return "nothing is recorded; begin with llmos record start FILE"
    line = f"{info['state']}: {info['path']}, {info['noted']} requests, {info['written']} written"
    if info["dropped"]:
        line += f", {info['dropped']} dropped: the disk was too slow"
    return f"{line}; {info['problem']}" if info["problem"] else line
