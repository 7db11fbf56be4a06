"""A demo and an example that are told to end, as real processes: nothing of theirs stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from actors.cli.demo_kernel import MARK, Kernel
from actors.cli.exits import Exit
from actors.cli.interruption import Interrupted, interruptible, signals_held
from ipc.home import home_at
from tests.remote_engine.rig import ServerProcess

ROOT = Path(__file__).resolve().parents[3]
DEMO = ("-c", "from actors.cli.main import main; main()", "demo", "--index", "--root", "ext")
LIMIT_S = 250


@contextmanager
def program(place: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program whose temporary files are in a place."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(place)}
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process


@pytest.fixture(autouse=True)
def hangs_up() -> Iterator[None]:
    """Under nohup SIGHUP is ignored, here and in what is started from here: not in these tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"it ended without saying {text!r}: {seen}")


def who_has(place: Path) -> list[str]:
    """Return the processes that were started with their temporary files in a place."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(place):
                found.append(f"{process.pid} {process.status()} {process.cmdline()}")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [line for line in found if psutil.STATUS_ZOMBIE not in line]


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGTERM, "start a kernel"),
        (signal.SIGHUP, "process"),  # it has killed a worker
        (signal.SIGTERM, "SIGKILL the kernel"),  # no kernel runs, agents do
    ],
)
def test_a_demo_that_is_told_to_end_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    with program(tmp_path, *DEMO) as process:
        wait_for(process, moment)
        process.send_signal(number)
        process.communicate(timeout=LIMIT_S)

    assert process.returncode == Exit.INTERRUPTED
    assert (who_has(tmp_path), list(tmp_path.iterdir())) == ([], [])


def test_what_is_started_for_a_kernel_of_ones_own_as_it_dies_is_ended_with_the_rest(
    tmp_path: Path,
) -> None:
    kernel = Kernel(home_at(tmp_path))
    kernel.start()
    late = subprocess.Popen(["sleep", "1000"], env=os.environ | {MARK: kernel.mark})

    kernel.kill()
    kernel.stop()

    try:
        assert not psutil.pid_exists(late.pid)
    finally:
        late.kill()


@pytest.mark.slow
def test_an_example_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    server = ServerProcess()
    words = ("examples/translation.py", "--endpoint", server.url, "--remote-model", "echo")

    with program(tmp_path, *words, "--lines", "4000") as process:
        wait_for(process, "loading the model")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_S)
    server.close()

    assert process.returncode == Exit.INTERRUPTED
    assert (who_has(tmp_path), list(tmp_path.iterdir())) == ([], [])


def clean_up_slowly(number: signal.Signals) -> None:
    """Be told to end, and once more while cleaning up."""
    with interruptible():
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_one_exception_however_often_it_comes(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    with pytest.raises(Interrupted) as caught:
        clean_up_slowly(number)

    assert caught.value.args == (number.name,)
    assert signal.getsignal(number) is before


def hold_and_go_on(steps: list[str]) -> None:
    """Be told to end while signals are held."""
    with interruptible():
        with signals_held():
            signal.raise_signal(signal.SIGTERM)
            steps.append("inside")
        steps.append("never")


def test_a_held_signal_comes_when_the_block_has_ended() -> None:
    steps: list[str] = []

    with pytest.raises(Interrupted):
        hold_and_go_on(steps)

    assert steps == ["inside"]


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(), signals_held():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_may_have_a_home_of_their_own() -> None:
    done = []

    def work() -> None:
        with interruptible(), signals_held():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert done == [True]
