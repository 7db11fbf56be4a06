"""The commands `budget`, `budget set` and `budget top-up`: what agents may use, and have used.

Amounts are typed and shown in the units of ipc/budget.py (money in money, CPU and wall time in
seconds); with --json they are integers of the smallest units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.options import AgentArgument, HomeOption, JsonOption, NameOption
from actors.cli.render import Column, print_json, print_table
from actors.cli.values import agent_key
from ipc.errors import BadBudgetError

if TYPE_CHECKING:
    from ipc.budget import BudgetInfo

NO_LIMIT = "none"
STATE_STYLES = {"suspended": "red", "full": "red", "waiting": "yellow", "warned": "yellow"}
AmountsArgument = Annotated[
    list[str], typer.Argument(metavar="RESOURCE=AMOUNT...", help="Such as tokens=10000.")
]

app = typer.Typer(invoke_without_command=True)


COLUMNS = (
    Column("AGENT", lambda row: row["agent"]),
    Column("RESOURCE", lambda row: row["resource"]),
    Column("USED", lambda row: row["used"], right=True),
    Column("RESERVED", lambda row: row["reserved"], right=True),
    Column("PROMISED", lambda row: row["promised"], right=True),
    Column("LIMIT", lambda row: row["limit"], right=True),
    Column("LEFT", lambda row: row["left"], right=True),
    Column("%", lambda row: row["percent"], right=True),
    Column("STATE", lambda row: row["state"], style=lambda cell: STATE_STYLES.get(cell)),
)


@app.callback()
@guarded
def budget(
    context: typer.Context,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all budgets as a tree: used, reserved, promised to children, limit, what is left.

    Example: llmos budget --json
    """
    if context.invoked_subcommand is not None:
        return
    with open_client(Where(home, name)) as client:
        found = client.system("budget")
    _print(found, as_json=as_json)


@app.command("set")
@guarded
def set_limits(
    agent: AgentArgument,
    amounts: AmountsArgument,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set limits of an agent and all below it; `none` takes one away.

    Example: llmos budget set writer tokens=10000 money=2.50
    """
    limits = parse_amounts(amounts, can_be_none=True)
    with open_client(Where(home, name)) as client:
        found = client.system("budget_set", actor=agent_key(agent), limits=limits)
    _print(found, as_json=as_json)


@app.command("top-up")
@guarded
def top_up(
    agent: AgentArgument,
    amounts: AmountsArgument,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Raise limits by so much; who waits for budget goes on. A negative amount lowers one.

    Example: llmos budget top-up writer tokens=+5000
    """
    changes = parse_amounts(amounts, is_signed=True)
    with open_client(Where(home, name)) as client:
        found = client.system("budget_top_up", actor=agent_key(agent), amounts=changes)
    _print(found, as_json=as_json)


def parse_amounts(
    words: list[str], *, is_signed: bool = False, can_be_none: bool = False
) -> dict[str, int | None]:
    """Return ``RESOURCE=AMOUNT`` words in smallest units.

    Raises:
        BadBudgetError: not of that form, unknown resource, no amount, named twice.
    """
    # Imported here: see actors/cli/app.py.
    from ipc.budget import check_resource, read_amount

    found: dict[str, int | None] = {}
    for word in words:
        resource, sign, text = word.partition("=")
        check_resource(resource)
        if not sign or resource in found:
            problem = f"say it once, as {resource}=AMOUNT"
            raise BadBudgetError(resource=resource, problem=problem)
        is_none = can_be_none and text == NO_LIMIT
        found[resource] = None if is_none else read_amount(resource, text, is_signed=is_signed)
    return found


def _print(found: list[BudgetInfo], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    elif found:
        print_table(COLUMNS, list(rows_of(found)))
    else:
        typer.echo("no agent has a budget; `llmos budget set AGENT tokens=10000` gives it one")


def rows_of(found: list[BudgetInfo]) -> Iterator[dict[str, Any]]:
    """Yield one row a resource of each account, the accounts indented below their parents."""
    depths: dict[int, int] = {}
    for account in found:
        parent = account["parent"]
        depths[account["actor"]] = depth = depths.get(parent, -1) + 1 if parent is not None else 0
        agent = f"{'  ' * depth}{account['name']}"
        for resource, info in account["resources"].items():
            yield {"agent": agent, "resource": resource, **_cells(account, resource, info)}
        if not account["resources"]:
            names = ("resource", "used", "reserved", "promised", "limit", "left")
            yield {"agent": agent, "percent": None, "state": None, **dict.fromkeys(names)}


def _cells(account: BudgetInfo, resource: str, info: Mapping[str, Any]) -> dict[str, Any]:
    limit = info["limit"]
    names = ("used", "reserved", "promised", "limit", "left")
    cells: dict[str, Any] = {name: _show(resource, info[name]) for name in names}
    cells["percent"] = f"{100 * info['used'] / limit:.0f}" if limit else None
    cells["state"] = _state(account, resource, info)
    return cells


def _state(account: BudgetInfo, resource: str, info: Mapping[str, Any]) -> str | None:
    # Imported here: see actors/cli/app.py.
    from ipc.budget import WARN_AT

    if resource in account["suspended"]:
        return "suspended"
    if info["left"] == 0:
        return "full"
    limit = info["limit"]
    return "warned" if limit and info["used"] * 100 >= limit * WARN_AT else None


def _show(resource: str, amount: int | None) -> str | None:
    # Imported here: see actors/cli/app.py.
    from ipc.budget import SCALES

    if amount is None:
        return None
    scale = SCALES[resource]
    if scale == 1:
        return str(amount)
    text = f"{amount / scale:.6f}" if resource == "money" else f"{amount / scale:.3f}"
    whole, _, part = text.partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"
