"""The command `demo` but for its runs: which demo it chooses, and what it makes of the books.

The runs themselves are in tests/examples/test_embedded.py and tests/actors/cli/test_live.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors import embedded_model
from actors.cli import demo, demo_model
from actors.cli.demo_kernel import Patience, StalledError, Tally, check_letters
from actors.cli.demo_model import missing_for_service
from actors.cli.demo_service import outcome_of
from actors.cli.exits import Exit
from ipc.errors import EndpointError, to_wire
from ipc.llm import ModelSpec
from tests.actors.cli.fake import Terminal

REPORT = {
    "tickets": 10,
    "solved": 10,
    "solved_again": 0,
    "routing_accuracy": 1.0,
    "urgency_accuracy": 1.0,
    "completions": 20,
    "prompt_tokens": 900,
    "cached_tokens": 100,
    "completion_tokens": 400,
    "first_token_ms": 12,
    "problems": [],
}
BILLED = {"completions": 20, "prompt_tokens": 900, "completion_tokens": 400}
INDEXED = {
    "files": 1,
    "identifiers": 2,
    "fingerprint": 3,
    "messages": 4,
    "redelivered": 5,
    "recovered": 6,
    "restarts": 7,
    "expected": {"files": 1, "identifiers": 2, "fingerprint": 3},
    "equal": True,
}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put both runs out of action; return which were called."""
    called: list[str] = []

    def run_service(_: int, spec: ModelSpec | None, *__: Any, **___: Any) -> dict[str, Any]:
        called.append("service" if spec is None else str(spec))
        return {**outcome_of(REPORT, Tally(), BILLED, 1.5), "asks_again": spec is not None}

    def run_index(*_: Any, **__: Any) -> dict[str, Any]:
        called.append("index")
        return INDEXED

    monkeypatch.setattr(demo, "run_service", run_service)
    monkeypatch.setattr(demo, "run_index", run_index)
    monkeypatch.setattr(demo, "missing_for_service", lambda _: None)
    return called


def test_it_runs_the_customer_service(llmos: Terminal, runs: list[str]) -> None:
    done = llmos("demo")

    assert (done.exit_code, runs) == (Exit.OK, ["service"])
    assert "nothing was lost, nothing was billed twice" in done.stdout


def test_the_index_runs_on_request(llmos: Terminal, runs: list[str]) -> None:
    llmos("demo", "--index")

    assert runs == ["index"]


def test_without_torch_it_says_how_to_get_it_and_runs_the_index(
    llmos: Terminal, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "missing_for_service", missing_for_service)
    monkeypatch.setattr(demo_model, "find_spec", lambda _: None)

    done = llmos("demo")

    assert runs == ["index"]
    assert "pip install 'llmos[engine]'" in done.stderr


def test_without_the_embedded_model_another_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_model, "find_spec", lambda name: name)
    monkeypatch.setattr(embedded_model, "PATH", tmp_path)

    assert "--model" in str(missing_for_service(None))
    assert missing_for_service({"name": "demo", "path": str(tmp_path)}) is None


def test_an_endpoint_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_model, "find_spec", lambda name: name == "httpx" or None)

    assert missing_for_service({"name": "demo", "endpoint": "http://127.0.0.1:1/v1"}) is None


def test_it_asks_the_endpoint_that_is_named(llmos: Terminal, runs: list[str]) -> None:
    url = "http://127.0.0.1:1/v1"

    done = llmos("demo", "--endpoint", url, "--remote-model", "m", "--key-env", "KEY")

    spec = {"name": "demo", "endpoint": url, "remote_model": "m", "key_env": "KEY"}
    assert (done.exit_code, runs) == (Exit.OK, [str(spec)])
    assert "billed twice" not in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("--model", ".", "--endpoint", "http://127.0.0.1:1/v1"),
        ("--remote-model", "m"),
        ("--key-env", "KEY"),
        ("--index", "--model", "."),
    ],
)
def test_options_that_contradict_each_other_start_nothing(
    llmos: Terminal, runs: list[str], words: tuple[str, ...]
) -> None:
    done = llmos("demo", *words)

    assert (done.exit_code, runs) == (Exit.USAGE, [])


def test_a_folder_to_index_needs_the_index(llmos: Terminal, runs: list[str]) -> None:
    done = llmos("demo", "--root", ".")

    assert (done.exit_code, runs) == (Exit.USAGE, [])


def test_what_is_lost_makes_the_command_fail(
    llmos: Terminal, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REPORT, "problems", ["1 tickets were lost"])

    done = llmos("demo")

    assert done.exit_code == Exit.FAILED
    assert "1 tickets were lost" in done.stderr


@pytest.mark.parametrize("more", [-1, 1])
@pytest.mark.parametrize("name", BILLED)
def test_books_that_differ_are_a_problem(name: str, more: int) -> None:
    billed = BILLED | {name: BILLED[name] + more}

    (problem,) = outcome_of(REPORT, Tally(), billed, 1.0)["problems"]

    assert problem.startswith(f"{BILLED[name] + more} ")


def test_counters_add_up_over_kernels() -> None:
    class Counting:
        def __init__(self) -> None:
            self.answers = [{"a": 3}, {"a": 5}, {"a": 2, "b": 1}]

        def system(self, call: str) -> dict[str, int]:
            assert call == "statistics"
            return self.answers.pop(0)

    tally, client = Tally(), Counting()

    tally.collect(client)  # type: ignore[arg-type]
    tally.collect(client)  # type: ignore[arg-type]
    tally.begin_epoch()
    tally.collect(client)  # type: ignore[arg-type]

    assert (tally.get("a"), tally.get("b"), tally.get("c")) == (7, 1, 0)


def test_a_message_that_was_given_up_is_not_waited_for(llmos: Terminal) -> None:
    error = EndpointError(endpoint="http://h/v1", status=0, problem="no connection")
    letter = {"receiver_name": "triage", "reason": "failed", "error": to_wire(error)}
    llmos.client.answers["dead_letters"] = lambda limit: []
    check_letters(llmos.client)
    llmos.client.answers["dead_letters"] = lambda limit: [letter]

    with pytest.raises(StalledError, match=r"to triage was given up: .*no connection"):
        check_letters(llmos.client)


def test_patience_ends_when_nothing_changes() -> None:
    patience = Patience(0.0)
    patience.note(1)
    patience.note(2)

    with pytest.raises(StalledError):
        patience.note(2)
