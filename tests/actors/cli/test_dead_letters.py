"""The commands about dead letters."""

import json
from typing import Any

import msgpack

from actors.cli.dead_letters import call_text, read_call
from actors.cli.exits import Exit
from ipc.errors import AttemptsExhaustedError, UnknownDeadLetterError, to_wire
from tests.actors.cli.fake import Terminal


def letter(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "number": number,
        "message": 70 + number,
        "sender": 3,
        "receiver": 12,
        "receiver_name": "hits",
        "reason": "max_attempts",
        "error": to_wire(AttemptsExhaustedError(actor="hits", attempts=3)),
        "attempts": 3,
        "died_wall_ns": 1_700_000_000_000_000_000,
        "size": 20,
        "body": None,
        **fields,
    }


def test_the_list_names_receiver_reason_and_error(llmos: Terminal) -> None:
    llmos.client.answers["dead_letters"] = [letter(2), letter(1, reason="no_handler", error=None)]

    lines = llmos("dead-letters", "list", "--agent", "hits").stdout.splitlines()

    assert llmos.client.calls == [("dead_letters", {"limit": 100, "actor": "hits"})]
    assert "hits crashed 3 times" in lines[1]
    assert lines[2].split()[-1] == "-"


def test_show_prints_the_call_as_it_was_made(llmos: Terminal) -> None:
    body = msgpack.packb(["add", [5], {"note": "x"}])
    llmos.client.answers["dead_letter"] = lambda number: letter(number, body=body)

    assert "add(5, note='x')" in llmos("dead-letters", "show", "2").stdout
    document = json.loads(llmos("dead-letters", "show", "2", "--json").stdout)
    assert document["call"] == ["add", [5], {"note": "x"}]


def test_a_body_that_cannot_be_read_is_shown_as_bytes() -> None:
    assert read_call(b"\xc1") == b"\xc1"
    assert "base64" in call_text(b"\xc1")


def test_retry_takes_numbers_or_all_of_an_agent(llmos: Terminal) -> None:
    llmos.client.answers["retry_letter"] = {"message": 90}
    llmos.client.answers["dead_letters"] = [letter(4), letter(5)]

    assert llmos("dead-letters", "retry", "1", "2").stdout == "2 sent again\n"
    assert llmos("dead-letters", "retry", "--all", "--agent", "hits").stdout == "2 sent again\n"

    numbers = [args["number"] for name, args in llmos.client.calls if name == "retry_letter"]
    assert numbers == [1, 2, 4, 5]


def test_neither_numbers_nor_all_is_refused_and_changes_nothing(llmos: Terminal) -> None:
    for words in ([], ["1", "--all"], ["1", "--agent", "hits"]):
        assert llmos("dead-letters", "drop", *words).exit_code == Exit.USAGE
    assert llmos.client.calls == []


def test_an_unknown_number_is_not_found(llmos: Terminal) -> None:
    llmos.client.answers["drop_letter"] = UnknownDeadLetterError(number=9)

    result = llmos("dead-letters", "drop", "9")

    assert result.exit_code == Exit.NOT_FOUND
    assert "no dead letter 9" in result.stderr
