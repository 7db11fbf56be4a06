"""Agents, kernel, engine and endpoint as processes: what is promised of remote calls.

The kernel is one for all, but where its end is what is looked at; each test adds a model of its
own and has it in use.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from actors import ActorRef, Client, connect
from ipc.errors import AskTimeoutError, BadModelError, EndpointError, InDoubtError
from tests.chaos.kernel_process import KernelProcess, running_kernel
from tests.remote_engine.rig import ServerProcess

AGENTS = f"{Path(__file__).with_name('agents.py')}:Asker"
_NUMBERS = count(1)  # of the models
SECRET = "sk-end-to-end-secret-0123456789"

pytestmark = pytest.mark.slow


class Site:
    """A kernel, a client of it, and a model behind the server."""

    def __init__(self, kernel: KernelProcess, server: ServerProcess, client: Client) -> None:
        self.model = f"far{next(_NUMBERS)}"
        self.kernel = kernel
        self.server = server
        self.client = client
        self._pool = ThreadPoolExecutor(16)

    def add_model(self, **spec: Any) -> None:
        self.client.system(
            "model_add", spec={"name": self.model, "endpoint": self.server.url, **spec}
        )
        self.client.system("model_use", name=self.model)
        self.client.system("model_load", name=self.model)

    def spawn(self) -> ActorRef[Any]:
        return self.client.spawn(AGENTS)

    def ask(self, asker: ActorRef[Any], text: str, **options: Any) -> Future[str]:
        """Ask in a thread."""
        return self._pool.submit(asker.ask_model, text, options)

    def wait(self, **wanted: int) -> None:
        self.server._ask("/wait", wanted)

    def engine_pid(self) -> int:
        rows = self.client.system("ps")
        (engine,) = [row for row in rows if row["name"].startswith(f"engine.{self.model}.")]
        return int(engine["pid"])

    def close(self) -> None:
        self.server.control(release=True)
        self._pool.shutdown()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    with running_kernel(tmp_path_factory.mktemp("kernel")) as process:
        yield process


@pytest.fixture
def own_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelProcess]:
    monkeypatch.setenv("FAR_KEY", SECRET)
    with running_kernel(tmp_path) as process:
        yield process


@contextmanager
def site_of(kernel: KernelProcess, server: ServerProcess) -> Iterator[Site]:
    with connect(home=kernel.home) as client:
        made = Site(kernel, server, client)
        yield made
        made.close()


@pytest.fixture
def site(kernel: KernelProcess, server: ServerProcess) -> Iterator[Site]:
    with site_of(kernel, server) as made:
        yield made


@pytest.fixture
def own_site(own_kernel: KernelProcess, server: ServerProcess) -> Iterator[Site]:
    with site_of(own_kernel, server) as made:
        yield made


def test_the_concurrency_of_an_endpoint_is_shared_by_all_agents(site: Site) -> None:
    site.add_model(concurrency=2)
    askers = [site.spawn() for _ in range(3)]
    answers = [site.ask(asker, f"hold {n}") for n in range(4) for asker in askers]

    site.wait(open=2)
    site.server.control(release=True)

    assert sorted(answer.result() for answer in answers) == sorted(
        f"held {n}" for n in range(4) for _ in askers
    )
    stats = site.server.stats()
    assert (stats.completed, stats.max_open) == (12, 2)


def test_a_refused_call_is_tried_again_when_the_endpoint_says(site: Site) -> None:
    site.add_model()

    answer = site.ask(site.spawn(), "refuse 2 429 0.5").result()

    times = site.server.stats().times
    assert answer == "at last"
    assert len(times) == 3
    assert min(times[1] - times[0], times[2] - times[1]) >= 0.5


def test_a_broken_answer_is_in_doubt_and_not_asked_for_again(site: Site) -> None:
    site.add_model()
    asker = site.spawn()

    with pytest.raises(InDoubtError):
        site.ask(asker, "break_once").result()
    assert site.server.stats().requests == 1

    again = site.ask(asker, "break_once again", on_doubt="retry")
    assert again.result() == "at last"
    assert site.server.stats().requests == 3


def test_a_stream_is_read_as_it_comes_and_one_that_breaks_is_in_doubt(site: Site) -> None:
    site.add_model()
    asker = site.spawn()

    *pieces, end = asker.read_stream("good morning to you")
    *broken, how = asker.read_stream("break 2")

    assert ("".join(pieces), end) == ("good morning to you ", "stop")
    assert ("".join(broken), how) == ("piece0 piece1 ", "InDoubtError")
    assert site.server.stats().requests == 2


def test_a_model_whose_key_is_missing_is_refused_to_the_operator(site: Site) -> None:
    with pytest.raises(BadModelError) as caught:
        site.add_model(key_env="LLMOS_TEST_NO_SUCH_VARIABLE")

    assert "LLMOS_TEST_NO_SUCH_VARIABLE" in str(caught.value)
    site.add_model()  # the next version
    assert site.spawn().ask_model("good", {}) == "good"


@pytest.mark.parametrize("who", ["engine", "kernel"])
def test_a_call_on_the_way_when_a_process_dies_is_in_doubt(site: Site, who: str) -> None:
    site.add_model()
    asker = site.spawn()
    answer = site.ask(asker, "hold it")
    site.wait(open=1)

    if who == "engine":
        os.kill(site.engine_pid(), signal.SIGKILL)
    else:
        site.kernel.kill()
        site.kernel.start()

    with pytest.raises(InDoubtError):
        answer.result()
    assert site.server.stats().requests == 1
    assert site.ask(asker, "and now?").result() == "and now?"


def test_a_retried_turn_gets_the_recorded_completion(site: Site, tmp_path: Path) -> None:
    site.add_model()

    answer = site.spawn().ask_and_die("once only", str(tmp_path / "mark"))

    assert answer == "once only"
    assert site.server.stats().requests == 1


def test_a_call_that_nobody_waits_for_hangs_up(site: Site) -> None:
    site.add_model()
    asker = site.spawn()

    with pytest.raises(AskTimeoutError):
        asker.options(deadline=1.0).ask_model("hold it", {})

    site.wait(hung_up=1)
    assert site.server.stats().hung_up == 1


def test_an_endpoint_that_lies_is_told_to_the_one_caller(site: Site) -> None:
    site.add_model()
    asker = site.spawn()

    with pytest.raises(EndpointError):
        site.ask(asker, 'usage {"prompt_tokens":-5}').result()

    assert site.ask(asker, "and you?").result() == "and you?"


def test_the_key_is_in_no_file_of_the_kernel(own_site: Site) -> None:
    site = own_site
    site.server.control(key=SECRET)
    site.add_model(key_env="FAR_KEY")
    asker = site.spawn()

    assert site.ask(asker, "hello").result() == "hello"
    with pytest.raises(EndpointError) as caught:
        site.ask(asker, "status 400 you sent KEY").result()
    site.server.control(key="another")
    with pytest.raises(EndpointError) as refused:
        site.ask(asker, "hello").result()
    site.kernel.kill()
    site.kernel.start()
    site.kernel.stop()

    assert "[key]" in str(caught.value)
    assert refused.value.status == 401
    assert site.server.stats().keys[0] == f"Bearer {SECRET}"
    files = [path for path in site.kernel.home.parent.rglob("*") if path.is_file()]
    written = b"".join(path.read_bytes() for path in files)
    assert b"FAR_KEY" in written  # the journal is among them: where the key is stands there
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
