"""Budgets as people and programs name them: the resources, their units, amounts in both forms.

What it is not: the accounts (kernel/budget/accounts.py). An amount travels and is counted as an
integer of the smallest unit, so that no sum is ever rounded; people give and read it in the unit
of the table. ``read_amount`` turns the one into the other exactly, or refuses.

    resource     unit        smallest unit   what is counted
    tokens       tokens      1               of completions, prompt and answer together
    money        money       a millionth     of completions, by the prices of their model
    llm_calls    calls       1               completions that were computed, or may have been
    tool_calls   calls       1               system calls that run a tool
    kv_blocks    blocks      1               held at once by completions under way
    messages     messages    1               sent: asks, tells, each copy of a publish
    bytes        bytes       1               of these messages, headers included
    cpu_s        seconds     a nanosecond    CPU time of the agents' processes
    wall_s       seconds     a nanosecond    during which the agents' processes run

Cost: about a microsecond an amount. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from typing_extensions import TypedDict

from ipc.errors import BadBudgetError

SCALES: Final[dict[str, int]] = {  # smallest units in one unit; the order is that of reports
    "tokens": 1,
    "money": 1_000_000,
    "llm_calls": 1,
    "tool_calls": 1,
    "kv_blocks": 1,
    "messages": 1,
    "bytes": 1,
    "cpu_s": 1_000_000_000,
    "wall_s": 1_000_000_000,
}
MAX_AMOUNT: Final = 1 << 62  # smallest units; sums of two still fit 63 bits
WARN_AT: Final = 80  # percent of a limit that is used when a warning is given


class Budget(TypedDict, total=False):
    """Limits, as ``spawn(budget=...)`` takes them; what is absent has no limit of its own."""

    tokens: int
    money: float | Decimal | str
    llm_calls: int
    tool_calls: int
    kv_blocks: int
    messages: int
    bytes: int
    cpu_s: float
    wall_s: float


class ResourceInfo(TypedDict):
    """One resource of one account, in smallest units.

    limit, left: None: there is none. A limit of the account's own; ``left`` heeds those above it.
    """

    used: int
    reserved: int
    promised: int  # to children: what is left of their limits
    overrun: int  # measured beyond the limit, where nothing could be reserved before
    limit: int | None
    left: int | None


class BudgetInfo(TypedDict):
    """One account, for ``llmos budget`` and ``self.budget()``."""

    actor: int
    name: str
    parent: int | None  # None: the account above all others of its tree
    suspended: list[str]  # resources for which the agent stands still
    waiting: int  # calls and sends that wait for budget here
    resources: dict[str, ResourceInfo]


def check_resource(resource: str) -> None:
    """Raise BadBudgetError for a name that is none, listing those there are."""
    if resource not in SCALES:
        problem = f"there is no such resource; known are {', '.join(SCALES)}"
        raise BadBudgetError(resource=resource, problem=problem)


def read_amount(resource: str, value: Any, *, is_signed: bool = False) -> int:
    """Return an amount in smallest units.

    value: an int, a float (as it is printed), a Decimal or a text, in the unit of the table.
    is_signed: a change, which may be negative.
    Raises:
        BadBudgetError: unknown resource, no number, negative, or finer than the smallest unit.
    """
    check_resource(resource)
    try:
        amount = Decimal(str(value)) * SCALES[resource]
    except InvalidOperation:
        amount = Decimal("NaN")
    if isinstance(value, bool) or not amount.is_finite():
        raise BadBudgetError(resource=resource, problem=f"{value!r} is not a number")
    if amount < 0 and not is_signed:
        raise BadBudgetError(resource=resource, problem=f"{value} is negative")
    if amount != int(amount):
        problem = f"{value} is finer than its smallest unit, {_smallest(resource)}"
        raise BadBudgetError(resource=resource, problem=problem)
    if abs(amount) > MAX_AMOUNT:
        raise BadBudgetError(resource=resource, problem=f"{value} is too large")
    return int(amount)


def read_budget(given: Mapping[str, Any]) -> dict[str, int]:
    """Return limits in smallest units. Raises BadBudgetError; None values are left out."""
    return {
        resource: read_amount(resource, value)
        for resource, value in given.items()
        if value is not None
    }


def show_amount(resource: str, amount: int) -> int | float:
    """Return an amount in the unit of the table, for texts and errors."""
    scale = SCALES[resource]
    return amount if scale == 1 else amount / scale


def _smallest(resource: str) -> str:
    return "one" if SCALES[resource] == 1 else f"1/{SCALES[resource]:,}"
