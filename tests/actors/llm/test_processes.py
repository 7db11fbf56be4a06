"""Language models with real processes: kernel, engine, agents and a client."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors import ActorRef, Client, SamplingError, UsageError, connect
from tests.actors.llm.engine import DRIVER
from tests.chaos.kernel_process import KernelProcess, running_kernel

AGENTS = f"{Path(__file__).with_name('agents.py')}:Writer"
LONG = " ".join(f"word{number}" for number in range(30))

pytestmark = pytest.mark.slow


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the engine notes what it was asked."""
    path = tmp_path / "asked"
    monkeypatch.setenv("SCRIPTED_LOG", str(path))
    return path


@pytest.fixture
def kernel(tmp_path: Path, log: Path) -> Iterator[KernelProcess]:
    with running_kernel(tmp_path) as process:
        yield process


@pytest.fixture
def client(kernel: KernelProcess) -> Iterator[Client]:
    with connect(home=kernel.home) as connected:
        connected.system("model_add", spec={"name": "capitals", "driver": DRIVER})
        connected.system("model_use", name="capitals")
        yield connected


@pytest.fixture
def writer(client: Client, tmp_path: Path) -> ActorRef[Any]:
    return client.spawn(AGENTS, name="writer", environment={"MARKS": str(tmp_path)})


def pid_of(client: Client, name: str) -> int:
    (found,) = [info["pid"] for info in client.system("ps") if info["name"] == name]
    return int(found)


def test_a_script_completes_streams_and_converses(client: Client) -> None:
    llm = client.llm

    whole = llm.complete("hello there")
    stream = llm.stream("hello there")
    pieces = list(stream)
    with llm.session() as session:
        session.append("read this")
        first, second = session.fork(2)
        branch = first.generate(" and that")
        second.pin(5)

    assert (str(whole), whole.usage.model) == ("HELLO THERE", "capitals")
    assert pieces == list("HELLO THERE")
    assert stream.completion.text == stream.text == "HELLO THERE"
    assert branch.text == "READ THIS AND THAT"
    assert llm.count_tokens("three") == 5
    assert "capitals" in {model["name"] for model in llm.models()}
    with pytest.raises(SamplingError):
        llm.complete("x", max_tokens=0)


def test_a_script_leaves_a_stream_early(client: Client) -> None:
    for piece in client.llm.stream(LONG):
        assert piece == "W"
        break
    stream = client.llm.stream("x")
    with pytest.raises(UsageError, match="has been read"):
        _ = stream.completion
    assert list(stream) == ["X"]

    (engine,) = client.system("llm_status")["engines"]
    assert engine["running"] == engine["waiting"] == 0


def test_agents_call_models_from_coroutines_and_threads(
    client: Client, writer: ActorRef[Any]
) -> None:
    assert writer.write("abc") == "ABC"
    assert writer.write_in_a_thread("abc") == "ABC"
    assert list(writer.stream.read("ab")) == ["A", "B"]


def test_a_killed_agent_does_not_pay_twice(writer: ActorRef[Any], log: Path) -> None:
    assert writer.write_and_die_once("once") == ["ONCE", "ONCE AGAIN"]
    assert log.read_text().splitlines() == ["once", "once again"]


@pytest.mark.parametrize("killed", ["engine", "kernel", "agent"])
def test_a_stream_outlives_a_kill_of_anybody(
    kernel: KernelProcess, client: Client, writer: ActorRef[Any], killed: str
) -> None:
    pieces = []
    for piece in writer.stream.read(LONG):
        pieces.append(piece)
        if len(pieces) == 60:
            if killed == "kernel":
                kernel.replace()
            else:
                name = "engine.capitals.1" if killed == "engine" else "writer"
                os.kill(pid_of(client, name), signal.SIGKILL)

    assert "".join(pieces) == LONG.upper()
    assert len(pieces) == len(LONG)
