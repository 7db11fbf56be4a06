"""``python -m kernel`` as a process: how it starts, ends, and refuses."""

import json
import os
import resource
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from ext.wire import Envelope
from ipc import envelope as wire
from ipc.auth import read_operator_token
from ipc.home import Home, home_at
from ipc.kernel_exit import KernelExit
from ipc.protocol import PROTOCOL_VERSION, SESSION_BIT, Kind
from ipc.start import own_python
from kernel.host.signals import Signals
from kernel.host.watcher import Watcher

pytestmark = pytest.mark.slow


class Kernels:
    """Starts kernels in one home; kills what a test has left."""

    def __init__(self, directory: Path) -> None:
        self.home: Home = home_at(directory / "home")
        self._started: list[subprocess.Popen[str]] = []

    def up(self, *options: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        """Start one and wait until it listens."""
        reading, writing = os.pipe()
        command = self._command("--ready-fd", str(writing), *options)
        child = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.PIPE, text=True)
        self._started.append(child)
        os.close(writing)
        with os.fdopen(reading) as ready:
            line = ready.readline()
        assert line, child.communicate()[1]
        return child, json.loads(line)

    def refused(
        self, *options: str, before: Callable[[], None] | None = None
    ) -> tuple[KernelExit, str]:
        """Start one that is to end by itself; return its status and what it said."""
        command = self._command(*options)
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=before)
        return KernelExit(done.returncode), done.stderr

    def _command(self, *options: str) -> list[str]:
        return own_python("kernel.__main__", "--home", str(self.home.state_dir), *options)

    def close(self) -> None:
        for child in self._started:
            if child.poll() is None:
                child.kill()
            child.wait()
            if child.stderr is not None:
                child.stderr.close()


@pytest.fixture
def kernels(tmp_path: Path) -> Iterator[Kernels]:
    kernels = Kernels(tmp_path)
    yield kernels
    kernels.close()


class Caller:
    """A client that has said hello."""

    def __init__(self, home: Home) -> None:
        body = {
            "role": "client",
            "protocol": PROTOCOL_VERSION,
            "actor": SESSION_BIT | 5,
            "incarnation": 0,
            "token": read_operator_token(home.operator_token),
            "generation": None,
            "epoch": None,
            "taken": 0,
            "open": [],
        }
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.connect(home.endpoint)
        hello = Envelope(Kind.HELLO, SESSION_BIT | 5, 0, msgpack.packb(body))
        self.socket.send_multipart(wire.encode([hello]))

    def ask_status(self) -> None:
        """Send a numbered envelope: its number is journaled before it is answered."""
        body = msgpack.packb(["status", [], {}])
        ask = Envelope(Kind.ASK, SESSION_BIT | 5, 0, body, correlation=1, sequence=1)
        self.socket.send_multipart(wire.encode([ask]))

    def answer(self, timeout_ms: int = 10_000) -> Envelope | None:
        """Return the kernel's answer, or None if none comes in time."""
        if not self.socket.poll(timeout_ms):
            return None
        return wire.decode(self.socket.recv_multipart())[0]

    def close(self) -> None:
        self.socket.close(linger=0)
        self.context.term()


def is_welcome(home: Home) -> bool:
    """Say hello, and whether the kernel welcomes."""
    caller = Caller(home)
    answer = caller.answer()
    caller.close()
    return answer is not None and answer.kind == Kind.WELCOME


def test_it_says_when_it_listens_and_ends_in_order_on_sigterm(kernels: Kernels) -> None:
    child, ready = kernels.up()
    welcome = is_welcome(kernels.home)
    child.terminate()

    assert child.wait() == KernelExit.DONE
    assert ready == {"pid": child.pid, "endpoint": kernels.home.endpoint}
    assert welcome
    assert not kernels.home.socket.exists()
    lines = kernels.home.kernel_log.read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert (events[0], events[-1]) == ("kernel_listens", "kernel_ended")


def test_a_killed_kernel_leaves_nothing_in_the_way_of_the_next(kernels: Kernels) -> None:
    child, _ = kernels.up()
    child.kill()
    child.wait()

    kernels.up()

    assert is_welcome(kernels.home)


def test_a_second_kernel_in_the_same_home_is_refused(kernels: Kernels) -> None:
    child, _ = kernels.up()

    status, said = kernels.refused()

    assert status is KernelExit.HOME_IN_USE
    assert f"in use by kernel process {child.pid}" in said


def test_an_unknown_configuration_key_is_refused_by_name(kernels: Kernels, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("turn_slot = 3\n")

    status, said = kernels.refused("--config", str(tmp_path / "c.toml"))

    assert status is KernelExit.USAGE
    assert "unknown key 'turn_slot'" in said


@pytest.mark.parametrize("damage", ["garbage", "newer"])
def test_a_journal_it_cannot_read_is_refused_and_left_alone(kernels: Kernels, damage: str) -> None:
    child, _ = kernels.up()
    child.terminate()
    child.wait()
    path = kernels.home.journal
    if damage == "garbage":
        path.write_bytes(b"garbage" * 10_000)
    else:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version=2000")
        connection.close()
    before = path.read_bytes()

    status, said = kernels.refused()

    assert status is KernelExit.BAD_JOURNAL
    assert str(path) in said
    assert path.read_bytes() == before


def test_a_row_that_does_not_fit_is_named_once_with_what_to_do(kernels: Kernels) -> None:
    child, _ = kernels.up()
    child.terminate()
    child.wait()
    row = {"name": "a", "parent": 0, "limits": {}, "own": {}, "ended": {}, "overrun": {}}
    with sqlite3.connect(kernels.home.journal) as connection:
        connection.execute("INSERT INTO budget VALUES (7, ?)", (msgpack.packb(row),))
    connection.close()

    status, said = kernels.refused()

    assert status is KernelExit.BAD_JOURNAL
    assert said.count("bad record in budget, key 7: warned: Field required") == 1
    assert "hint:  nothing was changed: restore the journal from a copy" in said
    assert "Traceback" not in said


def test_a_home_that_cannot_be_a_directory_is_refused(kernels: Kernels) -> None:
    kernels.home.state_dir.write_text("a file")

    status, said = kernels.refused()

    assert status is KernelExit.BAD_HOME
    assert str(kernels.home.state_dir) in said


def test_a_disk_that_is_full_at_the_start_is_told(kernels: Kernels) -> None:
    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    status, said = kernels.refused(before=no_room)

    assert status is KernelExit.JOURNAL_WRITE
    assert "cannot write the journal" in said


def test_who_cannot_say_why_it_ends_says_it_by_its_status(kernels: Kernels) -> None:
    kernels.home.state_dir.write_text("a file")

    def full() -> None:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 2)

    assert kernels.refused(before=full)[0] is KernelExit.BAD_HOME


def test_a_failed_commit_ends_the_kernel_before_it_answers(kernels: Kernels) -> None:
    child, _ = kernels.up()
    caller = Caller(kernels.home)
    welcome = caller.answer()
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (100, 100))

    caller.ask_status()
    status = child.wait()
    answer = caller.answer(timeout_ms=0)
    caller.close()

    assert welcome is not None
    assert status == KernelExit.JOURNAL_WRITE
    assert answer is None


def test_a_second_interrupt_leaves_at_once() -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    calls: list[str] = []
    watcher = Watcher()
    signals = Signals(
        watcher, shutdown=lambda: calls.append("shutdown"), leave=lambda: calls.append("leave")
    )
    try:
        os.kill(os.getpid(), signal.SIGINT)
        watcher.dispatch(watcher.wait(100))
        first = list(calls)
        os.kill(os.getpid(), signal.SIGINT)
        watcher.dispatch(watcher.wait(100))
    finally:
        signals.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    assert first == ["shutdown"]
    assert "leave" in calls
    assert signals.was_interrupted
