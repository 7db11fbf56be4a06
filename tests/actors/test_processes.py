"""Agents and clients as processes, with a kernel process between them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from actors import (
    ActorRef,
    BadSpecError,
    Client,
    KernelUnavailableError,
    NameTakenError,
    SchemaError,
    aconnect,
    connect,
)
from ipc.errors import ClosedError
from tests.chaos.kernel_process import KernelProcess, running_kernel

AGENTS = f"{Path(__file__).with_name('agents.py')}:Worker"

pytestmark = pytest.mark.slow


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[KernelProcess]:
    """A kernel of the test's own, which it may kill."""
    with running_kernel(tmp_path) as process:
        yield process


@pytest.fixture(scope="module")
def common_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    """One for all tests that leave it alone: starting one is most of what such a test costs."""
    with running_kernel(tmp_path_factory.mktemp("common")) as process:
        yield process


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of the test's own kernel, if it has one."""
    name = "kernel" if "kernel" in request.fixturenames else "common_kernel"
    with connect(home=request.getfixturevalue(name).home) as connected:
        yield connected


def spawn(client: Client, tmp_path: Path, **options: Any) -> ActorRef[Any]:
    return client.spawn(AGENTS, environment={"MARKS": str(tmp_path)}, **options)


def test_asks_tells_and_streams_from_a_script(client: Client, tmp_path: Path) -> None:
    worker = spawn(client, tmp_path, name="worker")

    assert worker.echo({"a": [1, None, b"x"]}) == {"a": [1, None, b"x"]}
    worker.tell.echo("accepted")
    assert list(worker.stream.count(500)) == list(range(500))
    assert client.lookup("worker") == worker
    for item in worker.stream.count(10**9):
        if item == 100:
            break
    assert worker.echo("still there") == "still there"


def test_large_arrays_travel_as_attachments(client: Client, tmp_path: Path) -> None:
    worker = spawn(client, tmp_path)
    array = np.arange(1 << 20, dtype=np.float64)

    assert np.array_equal(worker.double(array), array * 2)


def test_references_in_constructor_arguments_can_be_used(client: Client, tmp_path: Path) -> None:
    friend = spawn(client, tmp_path)

    worker = client.spawn(AGENTS, friend)

    assert worker.ask_friend("hello") == "hello"


def test_many_asks_from_many_threads(client: Client, tmp_path: Path) -> None:
    worker = spawn(client, tmp_path)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(worker.echo, range(200)))

    assert answers == list(range(200))


def test_what_cannot_be_spawned_says_why(client: Client, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_like_this\n")
    spawn(client, tmp_path, name="taken")

    with pytest.raises(BadSpecError) as caught:
        client.spawn(f"{tmp_path}/broken.py:Agent")
    with pytest.raises(NameTakenError):
        spawn(client, tmp_path, name="taken")
    with pytest.raises(BadSpecError, match="argument 'friend'"):
        client.spawn(AGENTS, 5)

    assert "broken.py" in caught.value.traceback


def test_a_killed_agent_is_replaced_and_its_turn_retried(client: Client, tmp_path: Path) -> None:
    worker = spawn(client, tmp_path)
    first = worker.pid()
    killer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
    killer.start()

    assert worker.nap(1.0) != first


def test_a_hanging_loop_loses_its_lease(client: Client, tmp_path: Path) -> None:
    worker = spawn(client, tmp_path)
    first = worker.pid()

    assert worker.hang_once(60.0) != first


def test_the_lease_of_a_class_that_says_none_is_the_kernels(tmp_path: Path) -> None:
    source = tmp_path / "looper.py"
    source.write_text(
        "import os\nfrom actors import Actor, receive\n\n\n"
        "class Looper(Actor):\n"
        "    @receive\n"
        "    async def turn(self, first: int) -> int:\n"
        "        while os.getpid() == first:\n"
        "            pass\n"
        "        return os.getpid()\n\n"
        "    @receive\n"
        "    async def pid(self) -> int:\n"
        "        return os.getpid()\n"
    )
    with (
        running_kernel(tmp_path, lease_s=1.0) as process,
        connect(home=process.home) as client,
    ):
        looper = client.spawn(f"{source}:Looper")
        first = looper.pid()

        assert looper.turn(first) != first
        said = client.system("inspect", actor=looper.id)["last_error"]
        assert said == "its event loop stood still for 1 s in a turn"


def test_a_process_that_holds_the_interpreter_for_ever_is_replaced_a_stopped_one_is_not(
    client: Client, tmp_path: Path
) -> None:
    workers = {how: spawn(client, tmp_path) for how in ("blocks", "spins")}
    stopped = spawn(client, tmp_path)
    first = {how: worker.pid() for how, worker in workers.items()}
    pid = stopped.pid()

    with ThreadPoolExecutor(3) as pool:
        os.kill(pid, signal.SIGSTOP)
        late = pool.submit(stopped.pid)
        answers = {how: pool.submit(w.seize_once, how) for how, w in workers.items()}
        others = {how: answer.result() for how, answer in answers.items()}
        os.kill(pid, signal.SIGCONT)  # after several of its leases

        assert late.result() == pid
    assert all(others[how] != first[how] for how in workers)


def test_a_forked_child_cannot_use_the_channel(client: Client, tmp_path: Path) -> None:
    worker = spawn(client, tmp_path)

    assert worker.fork() == "ClosedError"
    assert worker.echo(1) == 1


def test_agents_and_clients_live_through_a_kernel_restart(
    kernel: KernelProcess, client: Client, tmp_path: Path
) -> None:
    worker = spawn(client, tmp_path)
    before = worker.pid()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(worker.nap, 1.0)
        kernel.kill()
        kernel.start()

        assert answer.result(200) == before
    assert worker.pid() == before


def test_agents_leave_by_themselves_when_no_kernel_returns(tmp_path: Path) -> None:
    process = KernelProcess(tmp_path / "home", orphan_grace_s=0.5)
    process.start()
    with connect(home=process.home) as client:
        agent = psutil.Process(spawn(client, tmp_path).pid())

    process.kill()

    psutil.wait_procs([agent], timeout=200)
    assert not agent.is_running()


def test_a_stopped_client_refuses(kernel: KernelProcess, tmp_path: Path) -> None:
    client = connect(home=kernel.home)
    worker = spawn(client, tmp_path)
    client.close()

    with pytest.raises(ClosedError):
        worker.echo(1)
    client.close()


def test_nobody_listening_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(KernelUnavailableError):
        connect(home=tmp_path / "nothing")
    with pytest.raises(KernelUnavailableError):
        connect(endpoint=f"ipc://{tmp_path}/nobody.sock", token="0" * 64)


def test_a_patient_client_waits_for_its_kernel(tmp_path: Path) -> None:
    process = KernelProcess(tmp_path / "home")
    process.start()
    process.kill()
    starter = threading.Timer(0.5, process.start)
    starter.start()

    with connect(home=tmp_path / "home", timeout=200) as client:
        assert client.system("ps") == []

    starter.join()
    process.stop()


def test_the_asynchronous_client_does_the_same(kernel: KernelProcess, tmp_path: Path) -> None:
    async def main() -> None:
        async with aconnect(kernel.home) as client:
            worker = await client.spawn(AGENTS, environment={"MARKS": str(tmp_path)})
            assert await asyncio.gather(*(worker.echo(n) for n in range(50))) == list(range(50))
            assert [item async for item in worker.count(100)] == list(range(100))
            await client.tell_all(worker.tell.echo(n) for n in range(1000))
            await worker.options(priority=0, deadline=10).echo(1)
            with pytest.raises(SchemaError):
                await worker.nap("long")

    asyncio.run(main())


def test_a_key_sends_once(client: Client, tmp_path: Path) -> None:
    worker = spawn(client, tmp_path)

    first = worker.options(key="k").echo("one")

    assert worker.options(key="k").echo("two") == first == "one"
