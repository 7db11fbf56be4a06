"""kernel/host/activity.py against real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from ipc.proc import start_time
from kernel.host.activity import Activity, read_activity

pytestmark = pytest.mark.slow


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    processes = []

    def start(code: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-c", f"print(flush=True); {code}"]
        process = subprocess.Popen(line, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def look(process: subprocess.Popen[bytes]) -> Activity:
    started = start_time(process.pid)
    assert started is not None
    activity = read_activity(process.pid, started)
    assert activity is not None
    return activity


def until(process: subprocess.Popen[bytes], holds: Callable[[Activity], bool]) -> Activity:
    while not holds(activity := look(process)):
        os.sched_yield()
    return activity


def test_a_sleeper_wants_no_cpu_and_a_stopped_process_is_seen_as_such(
    start: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    process = start("import signal; signal.pause()")
    asleep = until(process, lambda seen: not seen.wants_cpu)

    os.kill(process.pid, signal.SIGSTOP)
    stopped = until(process, lambda seen: seen.is_stopped)

    assert not asleep.is_stopped
    assert not stopped.wants_cpu


def test_a_busy_process_wants_cpu_and_its_use_grows(
    start: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    process = start("exec('while True: pass')")

    first = until(process, lambda seen: seen.wants_cpu)
    until(process, lambda seen: seen.cpu_ns > first.cpu_ns)


def test_a_process_that_is_gone_or_another_one_tells_nothing(
    start: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    process = start("import signal; signal.pause()")
    started = start_time(process.pid)
    assert started is not None

    assert read_activity(process.pid, started + 1) is None
    process.kill()
    process.wait()
    assert read_activity(process.pid, started) is None
