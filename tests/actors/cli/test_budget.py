"""The commands about budgets."""

import json
from typing import Any

import pytest

from actors.cli.exits import Exit
from ipc.errors import InfeasibleBudgetError
from tests.actors.cli.fake import Terminal


def resource(used: int, limit: int | None, **fields: int) -> dict[str, Any]:
    left = None if limit is None else limit - used
    zeros = {"reserved": 0, "promised": 0, "overrun": 0}
    return {"used": used, "limit": limit, "left": left, **zeros, **fields}


def account(actor: int, name: str, parent: int | None, **resources: Any) -> dict[str, Any]:
    return {
        "actor": actor,
        "name": name,
        "parent": parent,
        "suspended": [],
        "waiting": 0,
        "resources": resources,
    }


TREE = [
    account(5, "desk", None, tokens=resource(900, 1000), money=resource(1_250_000, 2_500_000)),
    account(6, "writer", 5, tokens=resource(500, 500), wall_s=resource(2_000_000_000, None)),
    account(7, "idle", 6),
]


def test_budgets_are_shown_as_a_tree(llmos: Terminal) -> None:
    llmos.client.answers["budget"] = TREE

    lines = [line.split() for line in llmos("budget").stdout.splitlines()]

    assert lines[1] == ["desk", "tokens", "900", "0", "0", "1000", "100", "90", "warned"]
    assert lines[2] == ["desk", "money", "1.25", "0.00", "0.00", "2.50", "1.25", "50", "-"]
    assert lines[3] == ["writer", "tokens", "500", "0", "0", "500", "0", "100", "full"]
    assert lines[4] == ["writer", "wall_s", "2.00", "0.00", "0.00", "-", "-", "-", "-"]
    assert lines[5][0] == "idle"


def test_with_json_amounts_are_integers_of_the_smallest_unit(llmos: Terminal) -> None:
    llmos.client.answers["budget"] = TREE

    assert json.loads(llmos("budget", "--json").stdout) == TREE


def test_set_and_top_up_send_exact_amounts(llmos: Terminal) -> None:
    llmos.client.answers["budget_set"] = llmos.client.answers["budget_top_up"] = TREE[:1]

    set_result = llmos("budget", "set", "desk", "tokens=10000", "money=2.50", "bytes=none")
    top_result = llmos("budget", "top-up", "5", "tokens=+5000", "wall_s=-0.5")

    assert (set_result.exit_code, top_result.exit_code) == (Exit.OK, Exit.OK)
    limits = {"tokens": 10_000, "money": 2_500_000, "bytes": None}
    changes = {"tokens": 5000, "wall_s": -500_000_000}
    assert llmos.client.calls == [
        ("budget_set", {"actor": "desk", "limits": limits}),
        ("budget_top_up", {"actor": 5, "amounts": changes}),
    ]


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("beans=1", "known are tokens, money"),
        ("tokens=-5", "-5 is negative"),
        ("tokens", "say it once, as tokens=AMOUNT"),
        ("tokens=many", "is not a number"),
        ("money=0.0000001", "finer than its smallest unit, 1/1,000,000"),
    ],
)
def test_bad_amounts_are_refused_before_anything_is_sent(
    llmos: Terminal, word: str, text: str
) -> None:
    result = llmos("budget", "set", "desk", word)

    assert result.exit_code == Exit.USAGE
    assert text in result.stderr
    assert llmos.client.calls == []


def test_an_infeasible_limit_says_which_constraint_and_by_how_much(llmos: Terminal) -> None:
    llmos.client.answers["budget_set"] = InfeasibleBudgetError(
        account="writer",
        resource="tokens",
        wanted=900,
        missing=400,
        constraint="more than desk has left for it (500 of 1000)",
    )

    result = llmos("budget", "set", "writer", "tokens=900")

    assert result.exit_code == Exit.USAGE
    assert "is 400 more than desk has left for it (500 of 1000)" in result.stderr


def test_without_budgets_it_says_how_to_give_one(llmos: Terminal) -> None:
    llmos.client.answers["budget"] = []

    assert "llmos budget set" in llmos("budget").stdout


def test_spawn_takes_a_budget(llmos: Terminal) -> None:
    llmos.client.answers["spawn"] = lambda spec: {"actor": 9, "name": "new"}

    llmos("spawn", "collections:Counter", "--budget", "tokens=10", "--budget", "money=1")

    ((_, arguments),) = llmos.client.calls
    assert arguments["spec"]["budget"] == {"tokens": 10, "money": 1_000_000}
