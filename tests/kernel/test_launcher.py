"""kernel/host/launcher.py and actors/zygote.py with real processes; agents run a line of Python."""

import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipc.clock import SystemClock
from ipc.home import home_at
from ipc.proc import read_stat, start_time
from ipc.start import agent_marker
from kernel.host.home import hold_home
from kernel.host.launcher import Exited, Launcher, Started, describe
from kernel.host.watcher import Watcher
from kernel.host.zygote_link import ZygoteLink
from kernel.output import KillProcess, StartProcess, WatchProcess
from kernel.resources.agent_groups import open_groups
from kernel.resources.enforcement import Enforcement

FOREVER = "import signal; signal.pause()"


class Stage:
    """A launcher with its loop, and a socket through which agents report."""

    def __init__(self, directory: Path, enforcement: Enforcement | None = None) -> None:
        self.directory = directory
        self.home = home_at(directory / "home")
        self.lock = hold_home(self.home)
        self.watcher = Watcher()
        self.link = ZygoteLink(self.watcher, self.home, 1.0, module="tests.kernel.plain_zygote")
        self.launcher = Launcher(
            self.watcher,
            self.link,
            marker=lambda a, i: agent_marker(a, i, str(self.home.state_dir)),
            monotonic_ns=SystemClock().monotonic_ns,
            enforcement=enforcement or Enforcement(None, "a test"),
        )
        self.reports = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.reports.bind(str(directory / "reports"))
        self.pids: list[tuple[int, int]] = []

    def start(self, target: str, actor: int = 5, **spec: Any) -> None:
        self.launcher.start(
            StartProcess(actor, 1, "token", f"Agent{actor}", {"target": target, **spec})
        )

    def next_event(self) -> Started | Exited:
        while not self.launcher.has_events:
            self.watcher.dispatch(self.watcher.wait(0.2))
            self.launcher.tick()
        event = self.launcher._events.popleft()
        if isinstance(event, Started):
            self.pids.append((event.pid, event.start_time))
        return event

    def started(self) -> Started:
        event = self.next_event()
        assert isinstance(event, Started), event
        return event

    def report(self) -> str:
        return self.reports.recv(65536).decode()

    def report_code(self, expression: str) -> str:
        """Return Python that sends the value of an expression to us."""
        path = str(self.directory / "reports")
        return (
            "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
            f"s.sendto(str({expression}).encode(), {path!r})"
        )

    def close(self) -> None:
        self.launcher.close()
        for pid, started in self.pids:
            if start_time(pid) == started:
                os.kill(pid, signal.SIGKILL)
        self.reports.close()
        self.watcher.close()
        self.lock.release()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


def wait_gone(pid: int) -> None:
    """Wait until a process is gone; it is not our child, so a pidfd tells."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    watcher = Watcher()
    watcher.add(descriptor, lambda: None)
    assert watcher.wait(200) == [descriptor]
    watcher.close()
    os.close(descriptor)


def test_a_started_agent_is_a_session_of_its_own_and_its_exit_is_told(stage: Stage) -> None:
    stage.start("import os, sys; code = 7 if os.getsid(0) == os.getpid() else 8")

    started, exited = stage.started(), stage.next_event()

    assert (started.actor, started.incarnation) == (5, 1)
    assert exited == Exited(5, 1, "exit 7")


def test_an_agent_holds_no_descriptor_of_its_parents(stage: Stage) -> None:
    stage.start(stage.report_code("sorted(__import__('os').listdir('/proc/self/fd'))"))

    assert stage.report() == "['0', '1', '2', '3', '4']"  # 3: the report's, 4: listdir's own


def test_an_agent_has_its_place_output_environment_and_name(stage: Stage) -> None:
    work = stage.directory / "work"
    work.mkdir()
    code = "print('hello', flush=True); import os; " + stage.report_code(
        "(os.getcwd(), os.environ['COLOUR'], os.environ['LLMOS_AGENT'],"
        " open('/proc/self/comm').read(), open('/proc/self/cmdline').read())"
    )

    stage.start(code, cwd=str(work), environment={"COLOUR": "red"})
    report = stage.report()

    assert str(work) in report
    assert "'red'" in report
    assert f"'5.1@{stage.home.state_dir}'" in report
    assert "'Agent5\\n'" in report
    assert "llmos agent Agent5 (5)" in report
    assert stage.home.log_path(5, "Agent5").read_text() == "hello\n"


def test_user_code_comes_after_ours_on_the_path(stage: Stage) -> None:
    theirs = stage.directory / "theirs"
    (theirs / "actors").mkdir(parents=True)
    (theirs / "actors" / "__init__.py").write_text("mine = True")
    (theirs / "only_here.py").write_text("value = 42")
    code = "import actors, only_here; from actors.user_path import clash_of; " + stage.report_code(
        "(actors.__file__, only_here.value, clash_of('actors.x'))"
    )

    stage.start(code, cwd=str(theirs), sys_path=[""])
    report = stage.report()

    assert str(theirs / "actors" / "__init__.py") not in report
    assert "42" in report
    assert f"{theirs / 'actors'} is named like the package 'actors' of llmos" in report


def test_limits_are_set(stage: Stage) -> None:
    code = "import resource; " + stage.report_code(
        "(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CPU))"
    )

    stage.start(code, rlimits={"files": 64, "cpu_s": 9})

    assert stage.report() == "((64, 64), (9, 10))"


def test_an_agent_that_used_its_cpu_time_up_ends_with_a_signal_that_says_so(stage: Stage) -> None:
    stage.start("while True: pass", rlimits={"cpu_s": 1})
    stage.started()

    assert stage.next_event() == Exited(5, 1, "signal 24: its CPU time is used up")


def test_an_exception_ends_in_the_agents_log(stage: Stage) -> None:
    stage.start("raise ValueError('in the user code')")
    stage.started()

    assert stage.next_event() == Exited(5, 1, "exit 71")
    assert "ValueError: in the user code" in stage.home.log_path(5, "Agent5").read_text()


def test_a_missing_working_directory_is_told_before_anything_is_forked(stage: Stage) -> None:
    stage.start("code = 0", cwd="/no/such/place")

    assert stage.next_event() == Exited(
        5, 1, "cannot start: cannot enter its working directory /no/such/place"
    )


def test_kill_takes_the_whole_tree_even_what_daemonised(stage: Stage) -> None:
    daemonise = (
        "import os, subprocess, signal; subprocess.Popen(['sleep', '1000'])\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        f"    {stage.report_code('os.getpid()')}\n"
        "    signal.pause()\n"
        "signal.pause()\n"
    )
    stage.start(daemonise)
    agent = stage.started()
    hidden = int(stage.report())

    stage.launcher.kill(KillProcess(5, 1, agent.pid, agent.start_time))

    assert stage.next_event() == Exited(5, 1, "signal 9")
    wait_gone(hidden)


def test_what_a_crashed_agent_leaves_behind_is_killed_too(stage: Stage) -> None:
    escape = (
        "import os, subprocess, signal\n"
        "child = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        f"{stage.report_code('child.pid')}\n"
        "os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    stage.start(escape)
    stage.started()
    left = int(stage.report())

    assert stage.next_event() == Exited(5, 1, "signal 11")
    wait_gone(left)


def escape(stage: Stage) -> str:
    """Return the code of an agent whose child leaves its session, executes nothing, and stays."""
    return (
        "import os, signal\nif os.fork() == 0:\n    os.setsid()\n    "
        + stage.report_code("os.getpid()").replace("; ", "\n    ")
        + "\n    signal.pause()\nsignal.pause()"
    )


def has_died(pid: int) -> bool:
    """Wait for a process that is not ours to end."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 20)[0])
    finally:
        os.close(descriptor)


def test_a_child_that_left_the_session_and_executed_nothing_does_not_outlive_a_crash(
    stage: Stage,
) -> None:
    stage.start(escape(stage))
    agent = stage.started()
    escaped = int(stage.report())

    os.kill(agent.pid, signal.SIGKILL)

    assert isinstance(stage.next_event(), Exited)
    assert has_died(escaped)


def test_its_control_group_ends_what_an_agent_left_behind_when_the_zygote_is_gone_too(
    tmp_path: Path,
) -> None:
    try:
        groups = open_groups(f"test-launcher-{os.getpid()}")
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    stage = Stage(tmp_path, Enforcement(groups, is_for_all=True))
    try:
        stage.start(escape(stage))
        agent = stage.started()
        escaped = int(stage.report())
        assert stage.link.pid is not None
        os.kill(stage.link.pid, signal.SIGKILL)
        while stage.link.pid is not None:
            stage.watcher.dispatch(stage.watcher.wait(0.2))

        os.kill(agent.pid, signal.SIGKILL)

        assert isinstance(stage.next_event(), Exited)
        assert has_died(escaped)
    finally:
        stage.close()


def test_a_kill_before_the_pid_is_known_waits_for_it(stage: Stage) -> None:
    stage.start(FOREVER)
    stage.launcher.kill(KillProcess(5, 1, None, None))

    assert stage.next_event() == Exited(5, 1, "signal 9")


def test_a_reused_pid_is_not_touched(stage: Stage) -> None:
    stage.start(FOREVER)
    agent = stage.started()

    stage.launcher.kill(KillProcess(9, 1, agent.pid, agent.start_time - 1))
    stage.launcher.watch(WatchProcess(8, 1, agent.pid, agent.start_time - 1))

    assert [stage.next_event(), stage.next_event()] == [Exited(9, 1, "gone"), Exited(8, 1, "gone")]
    assert start_time(agent.pid) == agent.start_time


def test_agents_outlive_the_zygote_and_the_next_start_brings_up_another(stage: Stage) -> None:
    stage.start(FOREVER)
    agent = stage.started()
    zygote = stage.link.pid
    assert zygote is not None
    os.kill(zygote, signal.SIGKILL)

    while stage.link.pid is not None:
        stage.watcher.dispatch(stage.watcher.wait(0.2))
    stage.start("code = 3", actor=6)
    second = [stage.started(), stage.next_event()]

    assert second[1] == Exited(6, 1, "exit 3")
    assert start_time(agent.pid) == agent.start_time
    os.kill(agent.pid, signal.SIGKILL)
    assert stage.next_event() == Exited(5, 1, "gone")


def test_a_start_the_zygote_died_over_is_answered(stage: Stage) -> None:
    stage.link.warm_up()
    zygote = stage.link.pid
    assert zygote is not None
    os.kill(zygote, signal.SIGSTOP)
    stage.start(FOREVER)
    os.kill(zygote, signal.SIGKILL)

    assert stage.next_event() == Exited(5, 1, "cannot start: the zygote died")


def test_agents_outlive_the_kernel_and_the_zygote_does_not(stage: Stage) -> None:
    stage.start(FOREVER)
    agent = stage.started()
    zygote = stage.link.pid
    assert zygote is not None

    stage.launcher.close()

    assert read_stat(zygote) is None
    assert start_time(agent.pid) == agent.start_time


def test_an_adopted_process_is_watched(stage: Stage) -> None:
    stage.start(FOREVER)
    agent = stage.started()
    os.kill(stage.link.pid or 0, signal.SIGKILL)
    while stage.link.pid is not None:
        stage.watcher.dispatch(stage.watcher.wait(0.2))
    other = Launcher(
        stage.watcher,
        stage.link,
        marker=lambda a, i: "X=1",
        monotonic_ns=lambda: 0,
        enforcement=Enforcement(None, "a test"),
    )

    other.watch(WatchProcess(5, 1, agent.pid, agent.start_time))
    os.kill(agent.pid, signal.SIGKILL)
    while not other.has_events:
        stage.watcher.dispatch(stage.watcher.wait(0.2))

    assert other.take_events() == [Exited(5, 1, "gone")]


def test_statuses_in_words() -> None:
    assert [describe(0), describe(3 << 8), describe(9)] == ["exit 0", "exit 3", "signal 9"]


def test_a_large_request_passes_through_a_small_socket(stage: Stage) -> None:
    stage.start(stage.report_code("len(start.spec['arguments'])"), arguments=b"x" * 20_000_000)

    stage.started()

    assert stage.report() == "20000000"
