"""Commands about agents: what there is: ps, tree, inspect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from actors.cli import units
from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.options import AgentArgument, HomeOption, JsonOption, NameOption
from actors.cli.render import Column, print_json, print_record, print_table
from actors.cli.values import agent_key
from ipc.ids import short

STATE_STYLES = {
    "running": "green",
    "ready": "green",
    "waiting": "cyan",
    "starting": "yellow",
    "stopping": "yellow",
    "failed": "red",
    "quarantined": "bold red",
    "pool": "blue",
}


def _state(row: Mapping[str, Any]) -> str:
    waiting = row.get("waiting_for") or []
    return f"{row['state']} ({', '.join(waiting)})" if waiting else str(row["state"])


def uptime(row: Mapping[str, Any]) -> str | None:
    """Return how long the agent's process has run, if it has one."""
    return units.since(row["started_wall_ns"]) if row["pid"] else None


def _state_style(cell: str) -> str | None:
    return STATE_STYLES.get(cell.split(" ")[0])


PS_COLUMNS = (
    Column("ID", lambda row: row["actor"], right=True),
    Column("NAME", lambda row: row["name"]),
    Column("STATE", _state, style=_state_style),
    Column("PID", lambda row: row["pid"], right=True),
    Column("UP", lambda row: uptime(row), right=True),
    Column("RESTARTS", lambda row: row["restarts"], right=True),
    Column("MAIL", lambda row: row["mailbox"], right=True),
    Column("HANDLED", lambda row: row["handled"], right=True),
    Column("FAILED", lambda row: row["failures"], right=True),
    Column("TARGET", lambda row: row["target"]),
)


@guarded
def ps(home: HomeOption = None, name: NameOption = None, as_json: JsonOption = False) -> None:
    """List the agents: state, process, mail, restarts.

    Example: llmos ps --json | jq '.[] | select(.mailbox > 100) | .name'
    """
    with open_client(Where(home, name)) as client:
        agents = client.system("ps")
    if as_json:
        print_json(agents)
    else:
        print_table(PS_COLUMNS, agents)


@guarded
def tree(home: HomeOption = None, name: NameOption = None, as_json: JsonOption = False) -> None:
    """Show who was spawned by whom, and is restarted by whom.

    Example: llmos tree
    """
    with open_client(Where(home, name)) as client:
        agents = client.system("ps")
    if as_json:
        print_json(nested(agents))
        return
    typer.echo("kernel")
    for line in tree_lines(nested(agents)):
        typer.echo(line)


def nested(agents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the roots of the supervision tree; each agent gets its ``children``."""
    by_id = {agent["actor"]: {**agent, "children": []} for agent in agents}
    roots: list[dict[str, Any]] = []
    for agent in by_id.values():
        parent = by_id.get(agent["parent"])
        (parent["children"] if parent else roots).append(agent)
    return roots


def tree_lines(agents: list[dict[str, Any]], indent: str = "") -> Iterator[str]:
    """Yield one line an agent, its children below it."""
    for index, agent in enumerate(agents):
        last = index == len(agents) - 1
        text = f"{agent['name']}  {_state(agent)}  {agent['target']}"
        yield f"{indent}{'└─ ' if last else '├─ '}{text}"
        yield from tree_lines(agent["children"], indent + ("   " if last else "│  "))


@guarded
def inspect(
    agent: AgentArgument,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that is known of one agent: handlers, state, open turns, queued mail.

    Example: llmos inspect hits
    """
    with open_client(Where(home, name)) as client:
        detail = client.system("inspect", actor=agent_key(agent))
    if as_json:
        print_json(detail)
    else:
        print_record(_detail_fields(detail))


def _detail_fields(detail: dict[str, Any]) -> dict[str, Any]:
    """Return what ``inspect`` shows, in reading order."""
    return {
        "agent": f"{detail['name']} ({detail['actor']})",
        "target": detail["target"],
        "state": _state(detail),
        "process": f"{detail['pid']}, incarnation {detail['incarnation']}",
        "up": uptime(detail),
        "parent": detail["parent"],
        "restarts": detail["restarts"],
        "handled": f"{detail['handled']} messages, {detail['failures']} failures",
        "mailbox": f"{detail['mailbox']} messages, {units.size(detail['mailbox_bytes'])}",
        "dead letters": detail["dead_letters"],
        "last error": detail["last_error"],
        "handlers": _lines(detail["handlers"].values()),
        "state keys": _lines(f"{k}: {units.size(n)}" for k, n in detail["state_keys"].items()),
        "open turns": _lines(map(_turn, detail["open_turns"])),
        "queued": _lines(map(_queued, detail["queued"])),
        "timers": _lines(_timer(timer) for timer in detail["timers"]),
        "subscriptions": _lines(" ".join(map(str, words)) for words in detail["subscriptions"]),
        "links": _numbers(detail["links"]),
        "monitors": _numbers(detail["monitors"]),
        "handles": _numbers(detail["handles"]),
        "log": detail["log_path"],
    }


def _lines(texts: Any) -> str:
    return "\n".join(texts)


def _numbers(ids: list[int]) -> str:
    return ", ".join(map(short, ids))


def _turn(turn: Mapping[str, Any]) -> str:
    fields = {**turn, "sender": short(turn["sender"])}
    return "  ".join(f"{key} {value}" for key, value in fields.items())


def _queued(message: Mapping[str, Any]) -> str:
    return f"{message['message']} from {short(message['sender'])}: {method_of(message['body'])}"


def method_of(body: bytes) -> str:
    """Return the method that a message calls; its body may be cut short."""
    # Imported here: only a queue that is not empty needs it.
    import msgpack

    unpacker = msgpack.Unpacker()
    unpacker.feed(body)
    try:
        return str(unpacker.unpack()) if unpacker.read_array_header() else "?"
    except (ValueError, msgpack.UnpackException):
        return "?"


def _timer(timer: Mapping[str, Any]) -> str:
    return f"{timer['id']} due {units.moment(timer['due_wall_ns'])}"
