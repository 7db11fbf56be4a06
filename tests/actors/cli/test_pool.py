"""The commands about pools of agents."""

import json
from typing import Any

from actors.cli.exits import Exit
from actors.cli.pool import members_text
from ipc.errors import UnknownPolicyError, WrongStateError
from tests.actors.cli.fake import Terminal


def pool(**fields: Any) -> dict[str, Any]:
    return {
        "actor": 20,
        "name": "desk",
        "target": "desk.py:Clerk",
        "parent": None,
        "balance": "p2c",
        "minimum": 2,
        "maximum": 8,
        "members": 3,
        "running": 2,
        "draining": 0,
        "lost": 1,
        "unfinished": 5,
        "waiting": 0,
        "routed": 40,
        "taken_over": 3,
        "passed_on": 6,
        "kept_together": 0,
        **fields,
    }


def member(**fields: Any) -> dict[str, Any]:
    return {
        "actor": 21,
        "name": "desk.1",
        "state": "running",
        "outstanding": 2,
        "response_ms": 12.34,
        "handled": 9,
        "failed": 1,
        "restarts": 0,
        "skills": ["french", "german"],
        "scores": {"french": 0.9},
        **fields,
    }


def test_create_asks_for_the_members_and_how_they_are_used(llmos: Terminal) -> None:
    llmos.client.answers["pool_create"] = {"actor": 20, "name": "desk"}

    words = ("--as", "desk", "--min", "2", "--max", "8", "--balance", "p2c", "--skill", "a,b")
    result = llmos("pool", "create", "desk:Clerk", "size=3", *words)

    ((call, arguments),) = llmos.client.calls
    assert (call, result.stdout) == ("pool_create", "desk is pool 20\n")
    spec = arguments.pop("spec")
    assert (spec["name"], spec["qualname"]) == ("desk", "Clerk")
    assert arguments == {"minimum": 2, "maximum": 8, "balance": "p2c", "skills": [["a", "b"]]}


def test_what_is_not_said_is_left_to_the_kernel(llmos: Terminal) -> None:
    llmos.client.answers["pool_create"] = {"actor": 20, "name": "clerk-20"}

    llmos("pool", "create", "desk:Clerk")

    assert list(llmos.client.calls[0][1]) == ["spec"]


def test_an_unknown_policy_is_told_with_the_known_ones(llmos: Terminal) -> None:
    error = UnknownPolicyError(kind="balancing", name="fast", known="p2c, round_robin")
    llmos.client.answers["pool_create"] = error

    result = llmos("pool", "create", "desk:Clerk", "--balance", "fast")

    assert result.exit_code == Exit.USAGE
    assert "p2c, round_robin" in result.stderr


def test_ls_prints_one_line_a_pool(llmos: Terminal) -> None:
    llmos.client.answers["pools"] = [pool()]

    heading, line = llmos("pool", "ls").stdout.splitlines()

    assert heading.split()[:3] == ["ID", "NAME", "MEMBERS"]
    assert "2 of 3 run (1 lost)" in line
    assert "2 to 8" in line
    assert json.loads(llmos("pool", "ls", "--json").stdout) == [pool()]


def test_show_prints_each_members_load_and_response_time(llmos: Terminal) -> None:
    fresh = member(name="desk.2", response_ms=None, skills=[], scores={})
    llmos.client.answers["pool"] = pool(member_list=[member(), fresh])

    lines = llmos("pool", "show", "desk").stdout.splitlines()

    assert llmos.client.calls == [("pool", {"pool": "desk"})]
    assert "3 taken over" in "\n".join(lines)
    assert "12.3 ms" in lines[-2]
    assert "french 0.90, german" in lines[-2]
    assert " - " in lines[-1]


def test_resize_sends_only_what_was_said(llmos: Terminal) -> None:
    llmos.client.answers["pool_resize"] = pool(minimum=4, maximum=4)

    result = llmos("pool", "resize", "desk", "--min", "4")

    assert llmos.client.calls == [("pool_resize", {"pool": "desk", "minimum": 4})]
    assert result.stdout == "desk has 4 members\n"


def test_rm_needs_force_while_there_is_work(llmos: Terminal) -> None:
    error = WrongStateError(actor="desk", state="busy", problem="5 messages are unfinished")
    llmos.client.answers["pool_remove"] = lambda pool, force: (
        {"terminated": ["desk.1", "desk"]} if force else _raise(error)
    )

    refused = llmos("pool", "rm", "desk")
    ended = llmos("pool", "rm", "desk", "--force")

    assert refused.exit_code == Exit.USAGE
    assert "unfinished" in refused.stderr
    assert ended.stdout == "ended: desk.1, desk\n"


def test_members_that_drain_or_are_lost_are_told_apart() -> None:
    assert members_text(pool(draining=2)) == "2 of 3 run (2 draining, 1 lost)"
    assert members_text(pool(lost=0, running=3)) == "3 of 3 run"


def _raise(error: Exception) -> Any:
    raise error
