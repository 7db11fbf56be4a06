"""The commands `policy ls`, `show`, `set`, `reset`, `grants`: who is served first, and who was."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.options import (
    COMPLETION_TIMEOUT_S,
    HomeOption,
    JsonOption,
    NameOption,
    where_of,
)
from actors.cli.render import Column, print_json, print_table
from ipc.errors import LLMOSError

app = typer.Typer(no_args_is_help=True, help="Scheduling policies: who is served first.")


class Kind(StrEnum):
    """What is scheduled."""

    TURNS = "turns"
    LLM = "llm"
    PLACEMENT = "placement"


def complete_policy(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the policies there are for what was named before on the line."""
    kind = str(ctx.params.get("kind"))
    try:
        with open_client(where_of(ctx), COMPLETION_TIMEOUT_S) as client:
            rows = client.system("policies")
    except (LLMOSError, OSError):
        return []
    known = {name for row in rows if row["kind"] == kind for name in row["known"]}
    return sorted(name for name in known if name.startswith(incomplete))


KindArgument = Annotated[
    Kind, typer.Argument(help="turns (of agents), llm (requests) or placement (on engines).")
]

LS_COLUMNS = (
    Column("WHAT", lambda row: row["kind"]),
    Column("POLICY", lambda row: row["policy"]),
    Column("FROM", lambda row: _source(row)),
    Column("WAITING", lambda row: row["waiting"], right=True),
    Column("ORDER", lambda row: row["known"][row["policy"]]),
)
SHOW_COLUMNS = (
    Column("", lambda row: "*" if row["is_used"] else " "),
    Column("POLICY", lambda row: row["name"]),
    Column("ORDER", lambda row: row["order"]),
)
GRANT_COLUMNS = (
    Column("NUMBER", lambda row: row["number"], right=True),
    Column("AGENT", lambda row: row["name"]),
    Column("GIVEN", lambda row: row["given"]),
    Column("TURN", lambda row: row["turn"], right=True),
    Column("PRIORITY", lambda row: row["priority"], right=True),
    Column("PROGRAM", lambda row: row["program"]),
)


def _source(row: Mapping[str, Any]) -> str:
    if row["source"] == "configuration":
        return "configuration"
    return f"llmos policy set (configured: {row['configured']})"


@app.command("ls")
@guarded
def ls(home: HomeOption = None, name: NameOption = None, as_json: JsonOption = False) -> None:
    """List what is scheduled, and by which policy.

    Example: llmos policy ls
    """
    with open_client(Where(home, name)) as client:
        rows = client.system("policies")
    if as_json:
        print_json(rows)
    else:
        print_table(LS_COLUMNS, rows)


@app.command("show")
@guarded
def show(
    kind: KindArgument,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the policies there are, and which one is used.

    Example: llmos policy show turns
    """
    with open_client(Where(home, name)) as client:
        (info,) = (row for row in client.system("policies") if row["kind"] == kind.value)
    if as_json:
        print_json(info)
        return
    typer.echo(f"{info['kind']}: {info['policy']}, from {_source(info)}; {info['waiting']} wait")
    print_table(
        SHOW_COLUMNS,
        [
            {"name": known, "order": order, "is_used": known == info["policy"]}
            for known, order in info["known"].items()
        ],
    )


@app.command("set")
@guarded
def set_policy(
    kind: KindArgument,
    policy: Annotated[
        str,
        typer.Argument(
            help="Its name; `llmos policy show` lists them.", autocompletion=complete_policy
        ),
    ],
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve by another policy from now on; nobody who waits is lost.

    It holds over restarts, before the configuration, until `llmos policy reset`.
    Example: llmos policy set turns fair_share
    """
    with open_client(Where(home, name)) as client:
        info = client.system("policy_set", kind=kind.value, name=policy)
    _print_change(info, as_json=as_json)


@app.command("reset")
@guarded
def reset(
    kind: KindArgument,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the configuration say again which policy is used.

    Example: llmos policy reset turns
    """
    with open_client(Where(home, name)) as client:
        info = client.system("policy_reset", kind=kind.value)
    _print_change(info, as_json=as_json)


def _print_change(info: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(info)
    else:
        order = info["known"][info["policy"]]
        typer.echo(f"{info['kind']}: {info['policy']}, {order}; {info['waiting']} wait")


@app.command("grants")
@guarded
def grants(
    keep: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Keep the last N from now on; 0: none, the usual."),
    ] = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the kernel's own record of who was given a slot, oldest first.

    Example: llmos policy grants --keep 1000
    """
    arguments = {} if keep is None else {"keep": keep}
    with open_client(Where(home, name)) as client:
        answer = client.system("grants", **arguments)
        names = {info["actor"]: info["name"] for info in client.system("ps")}
    if as_json:
        print_json(answer)
        return
    rows = [
        {**grant, "name": names.get(grant["actor"], f"actor {grant['actor']}")}
        for grant in answer["grants"]
    ]
    if rows:
        print_table(GRANT_COLUMNS, rows)
    kept = f"the last {answer['kept']} grants are kept" if answer["kept"] else "grants are not kept"
    typer.echo(kept if answer["kept"] else f"{kept}; --keep N begins")
