"""Each example as a script, with a model behind an HTTP endpoint: another engine, the same agents.

The endpoint echoes what it is asked; that is a poor model, of which nothing is expected.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.cli.exits import Exit
from tests.remote_engine.rig import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 250

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    process = ServerProcess()
    yield process
    process.close()


def run_script(name: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_python(f"examples/{name}.py", *words, **environment)


def run_python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def outcome_of(name: str, server: ServerProcess, *words: str) -> Any:
    """Run an example with the endpoint; return the JSON that it printed."""
    endpoint = ("--endpoint", server.url, "--remote-model", "echo", "--json")
    done = run_script(name, *endpoint, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_customer_service_solves_every_ticket_once(server: ServerProcess) -> None:
    outcome = outcome_of("customer_service", server, "--tickets", "5")

    assert (outcome["solved"], outcome["completions"], outcome["problems"]) == (5, 10, [])


def test_the_translation_asks_the_endpoint_for_every_sentence(server: ServerProcess) -> None:
    outcome = outcome_of("translation", server, "--lines", "6")

    assert (outcome["lines"], outcome["problems"]) == (6, [])
    assert sum(row["sentences"] for row in outcome["translators"]) >= 6


def test_the_studio_forks_sessions_of_the_endpoint(server: ServerProcess) -> None:
    outcome = outcome_of("content_studio", server, "--briefs", "2")

    assert (outcome["texts"], outcome["drafts"]["read"], outcome["problems"]) == (2, 6, [])


def test_the_digest_has_every_ticket(server: ServerProcess) -> None:
    outcome = outcome_of("summarise", server, "--tickets", "5")

    counted = [row[level] for row in outcome["teams"] for level in ("low", "normal", "high")]
    assert sum(int(cell.split()[0]) for cell in counted) == 5
    assert outcome["problems"] == []


@pytest.mark.parametrize("name", ["customer_service", "content_studio"])
def test_an_endpoint_that_is_not_there_is_told_at_once(name: str, tmp_path: Path) -> None:
    """At once: a message that was given up is not waited for until the patience ends."""
    nowhere = ("--endpoint", "http://127.0.0.1:1/v1")

    done = run_script(name, *nowhere, TMPDIR=str(tmp_path))

    assert done.returncode == 1
    assert "was given up: endpoint http://127.0.0.1:1/v1: no connection" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_kills_three_processes_and_solves_every_ticket_once(
    server: ServerProcess,
) -> None:
    endpoint = ("--endpoint", server.url, "--remote-model", "echo")
    words = ("-c", "from actors.cli.main import main; main()", "demo", *endpoint, "--json")

    done = run_python(*words, "--tickets", "20")

    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["solved"], outcome["solved_again"], outcome["problems"]) == (20, 0, [])


def test_a_model_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    pytest.importorskip("torch")

    # A home that failed is kept, to be looked into.
    words = ("--model", str(tmp_path / "nowhere"), "--lines", "1")
    done = run_script("translation", *words, TMPDIR=str(tmp_path))

    assert done.returncode == Exit.USAGE
    assert "there is no such folder" in done.stderr
