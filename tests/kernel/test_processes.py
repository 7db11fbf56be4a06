"""kernel/processes.py and ipc/proc.py with real processes of the machine's."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipc.proc import child_pids, read_stat, start_time
from kernel.processes import Death, boot_ticks, kill_tree, open_process, sweep


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
