"""kernel/host/processes.py and ipc/proc.py with real processes of the machine's."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipc.proc import child_pids, read_stat, start_time
from kernel.host.processes import (
    Death,
    boot_ticks,
    kill_tree,
    limit_cpu,
    open_process,
    signal_tree,
    sweep,
)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    yield child
    child.kill()
    child.wait()


def test_stat_is_read_whatever_the_process_is_called(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(program), "1000"])

    stat = read_stat(child.pid)
    child.kill()
    child.wait()

    assert stat is not None
    assert (stat.parent, stat.session) == (os.getpid(), os.getsid(0))
    assert read_stat(child.pid) is None


def test_a_zombie_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    started = start_time(sleeper.pid)
    assert started is not None
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)

    assert start_time(sleeper.pid) is None
    assert open_process(sleeper.pid, started) is None


def test_only_the_process_with_that_start_time_is_killed(sleeper: subprocess.Popen[bytes]) -> None:
    started = start_time(sleeper.pid)
    assert started is not None

    assert not kill_tree(sleeper.pid, started - 1)
    assert sleeper.poll() is None
    assert kill_tree(sleeper.pid, started)
    assert sleeper.wait() == -9


def test_a_tree_that_keeps_forking_is_killed_whole() -> None:
    code = (
        "import os, signal, time\n"
        "os.setsid()\n"
        "os.write(1, b'!')\n"
        "while True:\n"
        "    if os.fork() == 0:\n"
        "        for _ in range(3):\n"
        "            if os.fork() == 0: signal.pause()\n"
        "        signal.pause()\n"
        "    time.sleep(0.002)\n"
    )
    root = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert root.stdout is not None
    root.stdout.read(1)
    while len(child_pids(root.pid)) < 5:
        pass
    started = start_time(root.pid)
    assert started is not None

    assert kill_tree(root.pid, started)
    root.wait()
    rest = root.stdout.read()  # ends when the last holder of the pipe is gone
    root.stdout.close()

    assert rest == b""


def test_a_sweep_finds_what_a_dead_root_left_by_session_and_by_mark(
    sleeper: subprocess.Popen[bytes],
) -> None:
    marked = subprocess.Popen(
        ["sleep", "1000"], env={"LLMOS_AGENT": "7.1@/x"}, start_new_session=True
    )
    other = subprocess.Popen(["sleep", "1000"], env={"LLMOS_AGENT": "71.1@/x"})

    by_mark = sweep([Death(None, boot_ticks(), "LLMOS_AGENT=7.1@/x")])
    by_session = sweep([Death(sleeper.pid, boot_ticks() + 1, "LLMOS_AGENT=8.1@/x")])
    alive = other.poll() is None
    other.kill()

    assert (marked.wait(), sleeper.wait(), other.wait()) == (-9, -9, -9)
    assert alive
    assert (by_mark, by_session) == (1, 1)


def test_a_session_that_began_after_the_death_is_not_touched(
    sleeper: subprocess.Popen[bytes],
) -> None:
    started = start_time(sleeper.pid)
    assert started is not None

    assert sweep([Death(sleeper.pid, started - 1, "LLMOS_AGENT=none")]) == 0
    assert sleeper.poll() is None


def test_a_stopped_tree_stands_still_and_goes_on() -> None:
    code = (
        "import os, time\n"
        "child = os.fork()\n"
        "if child: print(child, flush=True)\n"
        "while True: time.sleep(0.001)\n"
    )
    root = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert root.stdout is not None
    child = int(root.stdout.readline())
    started = start_time(root.pid)
    assert started is not None

    assert signal_tree(root.pid, started, signal.SIGSTOP)
    wait_until_stopped(root.pid, child)
    assert signal_tree(root.pid, started, signal.SIGCONT)
    wait_until_stopped(root.pid, child, wanted=False)
    kill_tree(root.pid, started)
    root.wait()
    root.stdout.close()

    assert not signal_tree(root.pid, started, signal.SIGSTOP)


def wait_until_stopped(*pids: int, wanted: bool = True) -> None:
    """Wait until processes stand still, or do no more; the test's own time limit bounds it."""
    while any(_is_stopped(pid) is not wanted for pid in pids):
        time.sleep(0.001)  # polling outside processes: nothing here depends on the order


def _is_stopped(pid: int) -> bool:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text.rpartition(")")[2].split()[0] == "T"


def test_a_limit_of_cpu_time_ends_a_process_and_can_be_raised(
    sleeper: subprocess.Popen[bytes],
) -> None:
    started = start_time(sleeper.pid)
    assert started is not None

    limit_cpu(sleeper.pid, started, 7)
    first = resource.prlimit(sleeper.pid, resource.RLIMIT_CPU)
    limit_cpu(sleeper.pid, started, 9)
    second = resource.prlimit(sleeper.pid, resource.RLIMIT_CPU)
    limit_cpu(sleeper.pid, started, None)
    limit_cpu(sleeper.pid, started - 1, 3)
    last = resource.prlimit(sleeper.pid, resource.RLIMIT_CPU)

    assert (first[0], second[0], last[0]) == (7, 9, first[1])


def test_the_last_second_below_a_hard_limit_is_left_for_the_signal_that_says_why(
    sleeper: subprocess.Popen[bytes],
) -> None:
    started = start_time(sleeper.pid)
    assert started is not None
    resource.prlimit(sleeper.pid, resource.RLIMIT_CPU, (7, 10))

    limit_cpu(sleeper.pid, started, None)
    without = resource.prlimit(sleeper.pid, resource.RLIMIT_CPU)
    limit_cpu(sleeper.pid, started, 30)

    assert without == resource.prlimit(sleeper.pid, resource.RLIMIT_CPU) == (9, 10)
