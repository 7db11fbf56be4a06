"""Commands about pools of agents: create, list, show, resize, remove."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.options import (
    EnvOption,
    HomeOption,
    JsonOption,
    MailboxOption,
    MaxAttemptsOption,
    NameOption,
    NewNameOption,
    TargetArgument,
    ValuesArgument,
    complete_agent,
)
from actors.cli.render import Column, print_json, print_record, print_table
from actors.cli.spawn import make_spec_here
from actors.cli.values import agent_key, parse_arguments, parse_environment

PoolArgument = Annotated[
    str, typer.Argument(help="Name or number of the pool.", autocompletion=complete_agent)
]
Minimum = Annotated[int | None, typer.Option("--min", min=1, help="Members it always has.")]
Maximum = Annotated[int | None, typer.Option("--max", min=1, help="Members it may grow to.")]
ShrinkAfter = Annotated[
    float | None,
    typer.Option(
        "--shrink-after",
        metavar="S",
        min=0,
        help="How long a member must be too many before it goes.",
    ),
]
Balance = Annotated[
    str | None,
    typer.Option(
        "--balance",
        metavar="POLICY",
        help="least_outstanding (usual), round_robin, response_time, p2c, prefix or skill.",
    ),
]
Skills = Annotated[
    list[str] | None,
    typer.Option(
        "--skill", metavar="WORDS", help="a,b: the next member declares these. Repeat it."
    ),
]

app = typer.Typer(
    help="Pools of agents: one name, members that come and go with the load.", no_args_is_help=True
)

COLUMNS = (
    Column("ID", lambda row: row["actor"], right=True),
    Column("NAME", lambda row: row["name"]),
    Column("MEMBERS", lambda row: members_text(row)),
    Column("LIMITS", lambda row: limits_text(row)),
    Column("BALANCE", lambda row: row["balance"]),
    Column("UNFINISHED", lambda row: row["unfinished"], right=True),
    Column("WAITING", lambda row: row["waiting"], right=True),
    Column("ROUTED", lambda row: row["routed"], right=True),
    Column("TAKEN OVER", lambda row: row["taken_over"], right=True),
    Column("TARGET", lambda row: row["target"]),
)
MEMBER_COLUMNS = (
    Column("ID", lambda row: row["actor"], right=True),
    Column("NAME", lambda row: row["name"]),
    Column("STATE", lambda row: row["state"]),
    Column("OUTSTANDING", lambda row: row["outstanding"], right=True),
    Column("RESPONSE", lambda row: response_text(row), right=True),
    Column("HANDLED", lambda row: row["handled"], right=True),
    Column("FAILED", lambda row: row["failed"], right=True),
    Column("RESTARTS", lambda row: row["restarts"], right=True),
    Column("SKILLS", lambda row: skills_text(row)),
)


@app.command()
@guarded
def create(
    target: TargetArgument,
    values: ValuesArgument = None,
    pool_name: NewNameOption = None,
    minimum: Minimum = None,
    maximum: Maximum = None,
    balance: Balance = None,
    skills: Skills = None,
    shrink_after_s: ShrinkAfter = None,
    env: EnvOption = None,
    mailbox: MailboxOption = None,
    max_attempts: MaxAttemptsOption = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a pool: agents of one class that share what is sent to its name.

    Example: llmos pool create desk.py:Clerk --as desk --min 2 --max 8 --balance p2c
    """
    args, kwargs = parse_arguments(values or [])
    options = {
        "name": pool_name,
        "environment": parse_environment(env or []) or None,
        "mailbox_messages": mailbox,
        "max_attempts": max_attempts,
    }
    arguments = _given(
        minimum=minimum,
        maximum=maximum,
        balance=balance,
        skills=[words.split(",") for words in skills or ()] or None,
        shrink_after_s=shrink_after_s,
    )
    spec = make_spec_here(target, args, kwargs, options)
    with open_client(Where(home, name)) as client:
        answer = client.system("pool_create", spec=spec, **arguments)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{answer['name']} is pool {answer['actor']}")


@app.command("ls")
@guarded
def list_pools(
    home: HomeOption = None, name: NameOption = None, as_json: JsonOption = False
) -> None:
    """List the pools: members, limits, load.

    Example: llmos pool ls
    """
    with open_client(Where(home, name)) as client:
        pools = client.system("pools")
    if as_json:
        print_json(pools)
    else:
        print_table(COLUMNS, pools)


@app.command()
@guarded
def show(
    pool: PoolArgument,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one pool: its members with their load and response times.

    Example: llmos pool show desk
    """
    with open_client(Where(home, name)) as client:
        detail = client.system("pool", pool=agent_key(pool))
    if as_json:
        print_json(detail)
        return
    print_record(_shown(detail))
    typer.echo()
    print_table(MEMBER_COLUMNS, detail["member_list"])


@app.command()
@guarded
def resize(
    pool: PoolArgument,
    minimum: Minimum = None,
    maximum: Maximum = None,
    shrink_after_s: ShrinkAfter = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the limits of a pool; members that are too many finish what they have first.

    Example: llmos pool resize desk --min 4 --max 16
    """
    arguments = _given(minimum=minimum, maximum=maximum, shrink_after_s=shrink_after_s)
    with open_client(Where(home, name)) as client:
        info = client.system("pool_resize", pool=agent_key(pool), **arguments)
    if as_json:
        print_json(info)
    else:
        typer.echo(f"{info['name']} has {limits_text(info)} members")


@app.command()
@guarded
def rm(
    pool: PoolArgument,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also with unfinished messages: asks fail, tells are dead letters."
        ),
    ] = False,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a pool and its members for good.

    Example: llmos pool rm desk
    """
    with open_client(Where(home, name)) as client:
        answer = client.system("pool_remove", pool=agent_key(pool), force=force)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"ended: {', '.join(answer['terminated'])}")


def _given(**arguments: Any) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if value is not None}


def limits_text(row: Mapping[str, Any]) -> str:
    """Return the limits of a pool: one number, or from and to."""
    low, high = row["minimum"], row["maximum"]
    return str(low) if low == high else f"{low} to {high}"


def members_text(row: Mapping[str, Any]) -> str:
    """Return how many members run, and of those that do not take messages why."""
    odd = [f"{row[word]} {word}" for word in ("draining", "lost") if row[word]]
    running = f"{row['running']} of {row['members']} run"
    return f"{running} ({', '.join(odd)})" if odd else running


def response_text(row: Mapping[str, Any]) -> str | None:
    """Return a member's response time; nothing if it has answered nothing yet."""
    return None if row["response_ms"] is None else f"{row['response_ms']:.1f} ms"


def skills_text(row: Mapping[str, Any]) -> str:
    """Return what a member declares, each with its score if it was asked for."""
    scores = row["scores"]
    return ", ".join(
        f"{skill} {scores[skill]:.2f}" if skill in scores else skill for skill in row["skills"]
    )


def _shown(detail: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pool": f"{detail['name']} ({detail['actor']})",
        "target": detail["target"],
        "parent": detail["parent"],
        "members": f"{members_text(detail)}, limits {limits_text(detail)}",
        "balance": detail["balance"],
        "messages": f"{detail['unfinished']} unfinished, {detail['waiting']} wait for room",
        "routed": f"{detail['routed']}, {detail['kept_together']} by affinity, "
        f"{detail['taken_over']} taken over from lost members, "
        f"{detail['passed_on']} passed on to idle ones",
    }
