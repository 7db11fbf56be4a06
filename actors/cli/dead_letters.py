"""Commands about messages that could not be handled: list, show, retry, drop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actors.cli import units
from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.options import HomeOption, JsonOption, NameOption, complete_agent
from actors.cli.render import Column, print_json, print_record, print_table, to_json
from actors.cli.values import agent_key
from ipc.errors import SchemaError, from_wire
from ipc.ids import short

if TYPE_CHECKING:
    from actors.client import Client

PAGE = 1000  # letters asked for at once by ``--all``

OfAgent = Annotated[
    str | None,
    typer.Option("--agent", help="Only those sent to it.", autocompletion=complete_agent),
]
Numbers = Annotated[
    list[int] | None, typer.Argument(help="Numbers of dead letters, as `list` shows them.")
]
All = Annotated[bool, typer.Option("--all", help="All there are (of --agent, if given).")]

app = typer.Typer(
    help="Messages that could not be handled: list, show, retry, drop.", no_args_is_help=True
)

COLUMNS = (
    Column("NUMBER", lambda row: row["number"], right=True),
    Column("AGE", lambda row: units.since(row["died_wall_ns"]), right=True),
    Column("AGENT", lambda row: row["receiver_name"]),
    Column("REASON", lambda row: row["reason"]),
    Column("ATTEMPTS", lambda row: row["attempts"], right=True),
    Column("SIZE", lambda row: units.size(row["size"]), right=True),
    Column("ERROR", lambda row: first_line(row["error"])),
)


def first_line(error: Mapping[str, Any] | None) -> str | None:
    """Return the first line of an error as it crossed the wire."""
    return str(from_wire(dict(error))).split("\n", 1)[0] if error else None


@app.command("list")
@guarded
def list_letters(
    agent: OfAgent = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 100,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, newest first.

    Example: llmos dead-letters list --agent hits
    """
    with open_client(Where(home, name)) as client:
        letters = _letters(client, agent, limit)
    if as_json:
        print_json(letters)
    else:
        print_table(COLUMNS, letters)


@app.command()
@guarded
def show(
    number: Annotated[int, typer.Argument(help="Number of the dead letter.")],
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter: the call, why it died, the traceback.

    Example: llmos dead-letters show 12
    """
    with open_client(Where(home, name)) as client:
        letter = client.system("dead_letter", number=number)
    letter["call"] = read_call(letter.pop("body", None))
    if as_json:
        print_json(letter)
    else:
        print_record(_shown(letter))


@app.command()
@guarded
def retry(
    numbers: Numbers = None,
    every: All = False,
    agent: OfAgent = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send dead letters again, at the tail of their receivers' mail.

    Example: llmos dead-letters retry 12 13, or: llmos dead-letters retry --all --agent hits
    """
    _for_each("retry_letter", numbers, every, agent, Where(home, name), as_json, "sent again")


@app.command()
@guarded
def drop(
    numbers: Numbers = None,
    every: All = False,
    agent: OfAgent = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove dead letters for good.

    Example: llmos dead-letters drop 12
    """
    _for_each("drop_letter", numbers, every, agent, Where(home, name), as_json, "dropped")


def read_call(body: bytes | None) -> Any:
    """Return ``[method, args, kwargs]`` of a message's body, or the raw bytes if unreadable."""
    if body is None:
        return None
    # Imported here: the payload codec loads numpy-aware code that no other command needs.
    from ipc.errors import BadFrameError
    from ipc.payload import decode

    try:
        return decode(body)
    except BadFrameError:
        return body


def _shown(letter: dict[str, Any]) -> dict[str, Any]:
    error = letter["error"]
    return {
        "number": letter["number"],
        "agent": f"{letter['receiver_name']} ({letter['receiver']})",
        "sender": short(letter["sender"]),
        "reason": letter["reason"],
        "attempts": letter["attempts"],
        "died": units.moment(letter["died_wall_ns"]),
        "call": call_text(letter["call"]),
        "error": from_wire(dict(error)) if error else None,
    }


def call_text(call: Any) -> str:
    """Return a call as it would be written in Python."""
    if not isinstance(call, list | tuple) or len(call) not in (3, 4):
        return str(to_json(call)) if isinstance(call, bytes) else str(call)
    method, args, kwargs = call[:3]  # what follows said which member of a pool was to have it
    words = [repr(arg) for arg in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
    return f"{method}({', '.join(words)})"


def _letters(client: Client, agent: str | None, limit: int) -> list[dict[str, Any]]:
    only = {"actor": agent_key(agent)} if agent else {}
    letters: list[dict[str, Any]] = client.system("dead_letters", limit=limit, **only)
    return letters


def _for_each(
    call: str,
    numbers: list[int] | None,
    every: bool,
    agent: str | None,
    where: Where,
    as_json: bool,
    done: str,
) -> None:
    """Make the system call for each chosen letter and say how many there were."""
    if bool(numbers) == every or (agent and not every):
        raise SchemaError(where="dead letters", problem="give numbers, or --all [--agent NAME]")
    with open_client(where) as client:
        chosen = numbers or [one["number"] for one in _letters(client, agent, PAGE)]
        for number in chosen:
            client.system(call, number=number)
    if as_json:
        print_json({"numbers": chosen})
    else:
        typer.echo(f"{len(chosen)} {done}")
