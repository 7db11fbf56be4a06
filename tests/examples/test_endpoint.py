"""The examples with a model behind an HTTP endpoint: another engine, the same agents.

The endpoint echoes what it is asked; that is a poor model, of which nothing is expected.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.client import Client
from examples import content_studio, summarise, translation
from examples.own_kernel import MODEL, Options, own_kernel
from tests.remote_engine.rig import ServerProcess

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    process = ServerProcess()
    yield process
    process.close()


def options(items: int, server: ServerProcess) -> Options:
    spec = {"name": MODEL, "endpoint": server.url, "remote_model": "echo"}
    return Options(items, spec, is_trained=False, as_json=True)


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Client]:
    with own_kernel(options(1, server)) as connected:
        yield connected


def test_the_translation_asks_the_endpoint_for_every_sentence(
    client: Client, server: ServerProcess
) -> None:
    outcome = translation.run(client, options(6, server))

    assert outcome["problems"] == []
    assert sum(row["sentences"] for row in outcome["translators"]) >= 6


def test_the_studio_forks_sessions_of_the_endpoint(client: Client, server: ServerProcess) -> None:
    outcome = content_studio.run(client, options(2, server))

    assert outcome["problems"] == []
    assert (outcome["texts"], outcome["drafts"]["read"]) == (2, 6)


def test_the_digest_has_every_ticket(client: Client, server: ServerProcess) -> None:
    outcome = summarise.run(client, options(5, server))

    assert outcome["problems"] == []
    counted = [row[level] for row in outcome["teams"] for level in ("low", "normal", "high")]
    assert sum(int(cell.split()[0]) for cell in counted) == 5


def test_the_customer_service_runs_with_an_endpoint(server: ServerProcess) -> None:
    words = ("--endpoint", server.url, "--remote-model", "echo", "--tickets", "5", "--json")
    done = subprocess.run(
        [sys.executable, "examples/customer_service.py", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["solved"], outcome["completions"], outcome["problems"]) == (5, 10, [])
