"""What a person sees, and a script gets, when a command fails."""

import json
import subprocess
import sys

import pytest

from actors.cli.exits import Exit
from actors.cli.main import main
from ipc.errors import (
    BadSpecError,
    KernelUnavailableError,
    MailboxFullError,
    NoCapabilityError,
    RemoteError,
    SchemaError,
    UnknownActorError,
)
from tests.actors.cli.fake import Terminal, terminal


def test_without_a_kernel_every_command_says_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    llmos = terminal(monkeypatch, KernelUnavailableError(home="/some/home"))
    for words in (["ps"], ["status"], ["ask", "a", "b"], ["kill", "a"], ["dead-letters", "list"]):
        result = llmos(*words)

        assert result.exit_code == Exit.NO_KERNEL
        assert "no kernel is running at /some/home: start one with `llmos up`" in result.stderr


def test_an_unknown_agent_gets_the_nearest_names(llmos: Terminal) -> None:
    result = llmos("ask", "hit", "add", "5")

    assert result.exit_code == Exit.NOT_FOUND
    assert "no actor 'hit' here; did you mean hits?" in result.stderr


def test_a_hint_of_the_kernel_is_kept(llmos: Terminal) -> None:
    llmos.client.answers["inspect"] = UnknownActorError(name="hit", hint="; it was killed")

    assert "no actor 'hit' here; it was killed" in llmos("inspect", "hit").stderr


def test_a_wrong_argument_type_says_how_values_are_read(llmos: Terminal) -> None:
    llmos.client.handlers["add"] = SchemaError(where="hits.add(amount)", problem="not a number")

    result = llmos("ask", "hits", "add", "amount=many")

    assert result.exit_code == Exit.USAGE
    assert "hits.add(amount): not a number" in result.stderr
    assert "values are read as JSON" in result.stderr


def test_an_import_error_shows_the_users_traceback_and_none_of_ours(llmos: Terminal) -> None:
    trace = (
        'Traceback (most recent call last):\n  File "shop.py", line 3, in <module>\nNameError: x'
    )
    llmos.client.answers["spawn"] = BadSpecError(
        target="shop.py:Shop", problem="NameError: x", traceback=trace
    )

    result = llmos("spawn", "shop.py:Shop")

    assert result.exit_code == Exit.BAD_CLASS
    assert trace in result.stderr
    assert "actors/cli" not in result.stderr
    assert "cannot load shop.py:Shop: NameError: x" in result.stderr


def test_an_error_of_the_agent_shows_its_traceback_once(llmos: Terminal) -> None:
    llmos.client.handlers["add"] = RemoteError(
        type_name="ValueError", actor="hits", handler="add", message="no", traceback="TRACE\n"
    )

    result = llmos("ask", "hits", "add", "5")

    assert result.exit_code == Exit.FAILED
    assert result.stderr.count("TRACE") == 1
    assert "ValueError in hits.add: no" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoCapabilityError(sender=1, receiver=2), Exit.DENIED),
        (
            MailboxFullError(receiver=2, depth=9, limit=9, used_bytes=1, limit_bytes=2),
            Exit.OVERLOADED,
        ),
    ],
)
def test_other_errors_end_with_the_code_of_their_family(
    llmos: Terminal, error: Exception, code: Exit
) -> None:
    llmos.client.handlers["add"] = error

    assert llmos("tell", "hits", "add").exit_code == code


def test_with_json_an_error_is_json_on_standard_error(llmos: Terminal) -> None:
    llmos.client.answers["inspect"] = UnknownActorError(name="hits", hint="")

    result = llmos("inspect", "hits", "--json")
    document = json.loads(result.stderr)

    assert result.stdout == ""
    assert (document["error"], document["exit"]) == ("UnknownActorError", Exit.NOT_FOUND)
    assert document["fields"]["name"] == "hits"


def test_a_bug_of_ours_is_called_one(llmos: Terminal) -> None:
    llmos.client.answers["ps"] = [{"unexpected": True}]

    result = llmos("ps")

    assert result.exit_code == Exit.BUG
    assert "this is a bug in LLMOS" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_interrupt_ends_quietly(llmos: Terminal) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    llmos.client.answers["ps"] = interrupt

    result = llmos("ps")

    assert (result.exit_code, result.output) == (Exit.INTERRUPTED, "")


def test_a_home_that_cannot_be_made_is_named(llmos: Terminal) -> None:
    result = llmos("up", "--daemon", "--home", "/dev/null")

    assert result.exit_code == Exit.OPERATOR
    assert "cannot use the directory /dev/null" in result.stderr


def test_a_command_whose_output_is_closed_runs_all_the_same() -> None:
    command = [sys.executable, "-c", "from actors.cli.main import main; main()", "--help"]

    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], check=False, timeout=60
    )

    assert ended.returncode == Exit.OK


def test_an_interrupt_while_modules_are_read_ends_quietly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("actors.cli.app.run", interrupt)

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == Exit.INTERRUPTED
