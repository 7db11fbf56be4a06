"""The examples and the demo with the embedded model: a kernel, agents, an engine that computes.

The examples as scripts: test_endpoint.py, which needs no torch.

Few items each, so that it takes a minute of CPU time. On few items one mistake of the model's
weighs more than an example's own check allows: here nothing may be lost or come twice, and most
answers must be right.
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

from actors.client import Client
from actors.embedded_model import PATH
from examples import content_studio, customer_service, summarise, translation
from examples.own_kernel import Options, own_kernel

pytest.importorskip("torch")
pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[2]
MAIN = "from actors.cli.main import main; main()"
LIMIT_S = 400

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(LIMIT_S + 60),
    pytest.mark.skipif(
        not (PATH / "config.json").is_file(),
        reason="this checkout is without the weights of the embedded model",
    ),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """One kernel and one engine for all: loading torch takes most of the time."""
    with own_kernel(options(1)) as connected:
        yield connected


def options(items: int) -> Options:
    return Options(items, None, is_trained=True, as_json=True)


def without_mistakes_of_the_model(outcome: dict[str, Any]) -> list[str]:
    of_the_model = ("are wrong", "coverage is", "lack a fact", "wrongly")
    return [one for one in outcome["problems"] if not any(part in one for part in of_the_model)]


def test_the_translation_gives_every_line_back(client: Client) -> None:
    outcome = translation.run(client, options(8))

    assert without_mistakes_of_the_model(outcome) == []
    assert outcome["lines_right"] >= 0.75


def test_the_studio_writes_every_brief(client: Client) -> None:
    outcome = content_studio.run(client, options(4))

    assert without_mistakes_of_the_model(outcome) == []
    assert outcome["drafts"]["read"] == 12
    assert outcome["keyword_coverage"] >= 0.75


def test_the_digest_counts_every_ticket(client: Client) -> None:
    outcome = summarise.run(client, options(12))

    assert without_mistakes_of_the_model(outcome) == []
    assert outcome["counted_wrongly"] <= 0.25


def test_the_customer_service_solves_every_ticket_once(client: Client) -> None:
    outcome = customer_service.run(client, options(12))

    assert without_mistakes_of_the_model(outcome) == []
    assert (outcome["solved"], outcome["solved_again"], outcome["completions"]) == (12, 0, 24)
    assert outcome["routing_accuracy"] >= 0.75


def test_the_demo_kills_three_processes_and_bills_each_completion_once() -> None:
    status, outcome = run_demo("--tickets", "20")

    assert without_mistakes_of_the_model(outcome) == []
    assert status == bool(outcome["problems"])
    assert (outcome["solved"], outcome["solved_again"], outcome["completions"]) == (20, 0, 40)
    assert outcome["billed"]["completions"] == 40
    # On a busy machine all tickets can be solved between two looks of the demo, so that the kernel
    # has nothing to recover when it is killed.
    assert outcome["restarts"] >= 1


def run_demo(*words: str) -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit status and the JSON that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "demo", *words, "--json"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
