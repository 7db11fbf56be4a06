"""Commands about policies: what they ask of the kernel, and what they print."""

from __future__ import annotations

import json
from typing import Any

from ipc.errors import UnknownPolicyError
from tests.actors.cli.fake import Terminal

KNOWN = {"fcfs": "first come, first served", "srpt": "shortest remaining time first"}


def policy(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    """Return one line of ``policies``."""
    return {
        "kind": kind,
        "policy": name,
        "source": "configuration",
        "configured": name,
        "waiting": 0,
        "known": KNOWN,
        **fields,
    }


def test_policies_are_listed_with_where_they_come_from(llmos: Terminal) -> None:
    changed = policy("llm", "srpt", source="set", configured="fcfs", waiting=7)
    llmos.client.answers["policies"] = [policy("turns", "fcfs"), changed]

    _, turns, llm = llmos("policy", "ls").stdout.splitlines()

    assert turns.split()[:4] == ["turns", "fcfs", "configuration", "0"]
    assert "llmos policy set (configured: fcfs)" in llm
    assert "shortest remaining" in llm


def test_show_lists_the_policies_there_are_and_marks_the_one_used(llmos: Terminal) -> None:
    llmos.client.answers["policies"] = [policy("turns", "fcfs"), policy("llm", "srpt")]

    lines = llmos("policy", "show", "llm").stdout.splitlines()

    assert lines[0] == "llm: srpt, from configuration; 0 wait"
    assert [line.split()[:2] for line in lines[2:]] == [["fcfs", "first"], ["*", "srpt"]]


def test_set_names_what_is_to_be_scheduled_how(llmos: Terminal) -> None:
    llmos.client.answers["policy_set"] = policy("turns", "srpt", waiting=3)

    result = llmos("policy", "set", "turns", "srpt")

    assert llmos.client.calls == [("policy_set", {"kind": "turns", "name": "srpt"})]
    assert result.stdout == "turns: srpt, shortest remaining time first; 3 wait\n"


def test_an_unknown_policy_ends_with_the_known_ones(llmos: Terminal) -> None:
    known = "fcfs, srpt"
    llmos.client.answers["policy_set"] = UnknownPolicyError(
        kind="scheduling", name="lottery", known=known
    )

    result = llmos("policy", "set", "turns", "lottery")

    assert result.exit_code == 2
    assert known in result.stderr


def test_an_unknown_kind_is_a_usage_error(llmos: Terminal) -> None:
    assert llmos("policy", "set", "lunch", "fcfs").exit_code == 2


def test_reset_prints_what_counts_again(llmos: Terminal) -> None:
    llmos.client.answers["policy_reset"] = policy("turns", "fcfs")

    assert json.loads(llmos("policy", "reset", "turns", "--json").stdout)["policy"] == "fcfs"


def test_grants_name_agents_and_say_whether_they_are_kept(llmos: Terminal) -> None:
    grant = {
        "number": 1,
        "wall_ns": 0,
        "given": "message",
        "actor": 12,
        "turn": 40,
        "priority": 4,
        "program": "ab",
    }
    llmos.client.answers["grants"] = {"kept": 10, "grants": [grant]}

    lines = llmos("policy", "grants", "--keep", "10").stdout.splitlines()

    assert llmos.client.calls[0] == ("grants", {"keep": 10})
    assert lines[1].split() == ["1", "hits", "message", "40", "4", "ab"]
    assert lines[2] == "the last 10 grants are kept"


def test_a_weight_is_told_at_spawn(llmos: Terminal) -> None:
    llmos.client.answers["spawn"] = {"actor": 14, "name": "new"}

    llmos("spawn", "shop.py:Shop", "--weight", "2.5")

    assert llmos.client.calls[0][1]["spec"]["weight"] == 2.5
