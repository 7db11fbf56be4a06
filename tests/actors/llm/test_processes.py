"""Language models with real processes: kernel, engine, agents and a client."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from actors import ActorRef, Client, SamplingError, UsageError, connect
from tests.actors.llm.engine import DRIVER
from tests.chaos.kernel_process import KernelProcess

AGENTS = f"{Path(__file__).with_name('agents.py')}:Writer"
LONG = " ".join(f"word{number}" for number in range(30))

pytestmark = pytest.mark.slow


class Site:
    """A kernel with a model; the engine notes what it was asked."""

    def __init__(self, kernel: KernelProcess, client: Client, log: Path) -> None:
        self.kernel = kernel
        self.client = client
        self.log = log

    def writer(self, folder: Path) -> ActorRef[Any]:
        """Spawn a writer, which keeps its marks in the folder."""
        return self.client.spawn(AGENTS, environment={"MARKS": str(folder)})


@contextmanager
def site_in(folder: Path) -> Iterator[Site]:
    log = folder / "asked"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIPTED_LOG", str(log))
        kernel = KernelProcess(folder / "home")
    kernel.start()
    try:
        with connect(home=kernel.home) as client:
            client.system("model_add", spec={"name": "capitals", "driver": DRIVER})
            client.system("model_use", name="capitals")
            yield Site(kernel, client, log)
    finally:
        kernel.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all tests that leave its kernel alone."""
    with site_in(tmp_path_factory.mktemp("common")) as common:
        yield common


@pytest.fixture
def client(site: Site) -> Client:
    return site.client


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


def test_agents_call_models_from_coroutines_and_threads(site: Site, tmp_path: Path) -> None:
    writer = site.writer(tmp_path)

    assert writer.write("abc") == "ABC"
    assert writer.write_in_a_thread("abc") == "ABC"
    assert list(writer.stream.read("ab")) == ["A", "B"]


def test_a_killed_agent_does_not_pay_twice(site: Site, tmp_path: Path) -> None:
    writer = site.writer(tmp_path)

    assert writer.write_and_die_once("once") == ["ONCE", "ONCE AGAIN"]

    asked = [line for line in site.log.read_text().splitlines() if line.startswith("once")]
    assert asked == ["once", "once again"]


def read_and_kill(site: Site, folder: Path, kill: Callable[[int], None]) -> list[str]:
    """Read a long stream; kill in the middle. kill: takes the writer's number."""
    writer, pieces = site.writer(folder), []
    for piece in writer.stream.read(LONG):
        pieces.append(piece)
        if len(pieces) == 60:
            kill(writer.id)
    return pieces


@pytest.mark.parametrize("killed", ["engine", "agent"])
def test_a_stream_outlives_a_kill_of_engine_and_agent(
    site: Site, tmp_path: Path, killed: str
) -> None:
    def kill(writer: int) -> None:
        names = {info["actor"]: info["name"] for info in site.client.system("ps")}
        name = "engine.capitals.1" if killed == "engine" else names[writer]
        os.kill(pid_of(site.client, name), signal.SIGKILL)

    pieces = read_and_kill(site, tmp_path, kill)

    assert "".join(pieces) == LONG.upper()
    assert len(pieces) == len(LONG)


def test_a_stream_outlives_a_kill_of_the_kernel(tmp_path: Path) -> None:
    with site_in(tmp_path) as own:
        pieces = read_and_kill(own, tmp_path, lambda writer: own.kernel.replace())

    assert "".join(pieces) == LONG.upper()
    assert len(pieces) == len(LONG)
