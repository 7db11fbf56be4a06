"""The kernel's loop: wait, feed the core, commit, emit.

What it is not: it decides nothing. Input goes to the core (kernel/driver.py), and what the core
returns is committed, then sent and run.

Invariants:
  I1  the output rule: no frame and no command leaves before ``commit`` has returned. If it
      raises, the loop ends with that error and nothing of the turn has left. When to commit,
      and what may leave before, is kernel/host/group_commit.py's matter.
  I2  a loop turn is bounded: ``Edge.drain`` takes so many messages, then they are committed.
  I3  nothing in it waits but ``Edge.wait``.

Cost: the parts' own, and about 5 us a turn (bench: loop). Idle: one wake-up a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ipc.clock import Clock
from kernel.driver import CoreInputs
from kernel.host.edge import INPUT, READABLE, Edge
from kernel.host.group_commit import GroupCommit
from kernel.host.launcher import Exited, Inspected, Launcher, Started
from kernel.host.structured_log import structlog
from kernel.host.trace_file import TraceFile
from kernel.host.watcher import Watcher
from kernel.output import (
    Command,
    ContinueProcess,
    InspectProcess,
    KillProcess,
    LimitCpu,
    Notice,
    Output,
    RecordTraffic,
    Shutdown,
    StartProcess,
    StartRecording,
    StopProcess,
    StopRecording,
    WatchProcess,
    WeighProcess,
)
from kernel.records import Journal
from kernel.resources.monitor import Monitor

TICK_NS = 1_000_000_000
_TEND_STEPS = 64  # of the journal's upkeep, a tick, while nothing arrives

log = structlog.get_logger(__name__)


class TendedJournal(Journal, Protocol):
    """A journal that is opened anew by each kernel, and needs upkeep."""

    generation: int  # a history that peers can resume
    epoch: int  # counts openings

    def tend(self) -> bool:
        """Do a small step; True: there is more."""
        ...

    def size_bytes(self) -> int:
        """Return the bytes used on disk."""
        ...


class Daemon:
    """Drives one core. The parts are made and closed by whoever makes this."""

    def __init__(
        self,
        core: CoreInputs,
        *,
        journal: TendedJournal,
        edge: Edge,
        launcher: Launcher,
        watcher: Watcher,
        clock: Clock,
        free_bytes: Callable[[], int],
        monitor: Monitor | None = None,
        trace: TraceFile | None = None,
    ) -> None:
        """free_bytes: tells the room on the journal's disk. monitor: None: nothing is sampled.

        trace: writes recorded traffic; a new one by default.
        """
        self._core = core
        self._journal = journal
        self._edge = edge
        self._launcher = launcher
        self._watcher = watcher
        self._descriptor = watcher.fileno()
        self._clock = clock
        self._free_bytes = free_bytes
        self._monitor = monitor
        self._trace = trace or TraceFile()
        self._is_done = False
        self._wants_shutdown = False
        self._next_tick_ns = 0
        self._num_bad_frames = 0
        self._num_expired = 0
        self._group = GroupCommit(journal, self._emit)

    def request_shutdown(self) -> None:
        """Have the core stop everything in order; ``run`` returns when it has."""
        self._wants_shutdown = True

    def leave(self) -> None:
        """Have ``run`` return after the present turn, whatever still runs."""
        self._is_done = True

    def run(self) -> None:
        """Turn the loop until the core says Shutdown.

        Raises:
            JournalWriteError: nothing of that turn has left (I1).
        """
        while not self._is_done:
            self.turn()
        self._group.flush()

    def turn(self) -> None:
        """Do one loop turn; waits until there is something to do."""
        core, edge, clock = self._core, self._edge, self._clock
        found = edge.wait(self._descriptor, self._timeout_ms())
        now_ns = clock.monotonic_ns()
        core.begin(now_ns, clock.wall_ns())
        if found & READABLE:
            self._watcher.dispatch(self._watcher.wait(0))
        if self._launcher.has_events:
            self._tell_process_events()
        if now_ns >= self._next_tick_ns:
            self._tick(now_ns)
        if self._wants_shutdown:
            self._wants_shutdown = False
            core.request_shutdown()
        if found & INPUT:
            edge.drain(core.receive)
        self._group.add(core.finish(), now_ns, is_busy=edge.has_input)

    def _timeout_ms(self) -> int:
        if self._launcher.has_events or self._wants_shutdown:
            return 0
        due_ns = self._next_tick_ns
        core_due_ns, commit_due_ns = self._core.next_due_ns(), self._group.due_ns
        if core_due_ns is not None and core_due_ns < due_ns:
            due_ns = core_due_ns
        if commit_due_ns is not None and commit_due_ns < due_ns:
            due_ns = commit_due_ns
        wait_ns = due_ns - self._clock.monotonic_ns()
        return (wait_ns + 999_999) // 1_000_000 if wait_ns > 0 else 0

    def _emit(self, output: Output) -> None:
        send = self._edge.send
        for route, batch in output.frames:
            send(route, batch)
        for command in output.commands:
            self._run_command(command)

    def _run_command(self, command: Command) -> None:
        match command:
            case StartProcess():
                self._launcher.start(command)
            case KillProcess():
                self._launcher.kill(command)
            case WatchProcess():
                self._launcher.watch(command)
            case InspectProcess():
                self._launcher.inspect(command)
            case StopProcess():
                self._launcher.suspend(command)
            case ContinueProcess():
                self._launcher.resume(command)
            case LimitCpu():
                self._launcher.limit_cpu(command)
            case WeighProcess():
                self._launcher.weigh(command)
            case Notice():
                log.warning(command.event, **command.fields)
            case StartRecording():
                self._trace.start(command.path)
            case RecordTraffic():
                self._trace.write(command.traffic)
            case StopRecording():
                self._trace.stop()
            case Shutdown():
                self._is_done = True

    def _tell_process_events(self) -> None:
        for event in self._launcher.take_events():
            identity = {"actor": event.actor, "incarnation": event.incarnation}
            if isinstance(event, Started):
                log.info("process_started", pid=event.pid, **identity)
                self._core.process_started(**identity, pid=event.pid, start_time=event.start_time)
            elif isinstance(event, Exited):
                log.info("process_exited", reason=event.reason, **identity)
                self._core.process_exited(**identity, reason=event.reason, cpu_ns=event.cpu_ns)
            else:
                self._tell_activity(event)

    def _tell_activity(self, event: Inspected) -> None:
        seen = event.activity
        self._core.process_inspected(
            event.actor,
            event.incarnation,
            is_stopped=seen.is_stopped,
            wants_cpu=seen.wants_cpu,
            cpu_ns=seen.cpu_ns,
        )

    def _tick(self, now_ns: int) -> None:
        self._next_tick_ns = now_ns + TICK_NS
        self._core.storage(self._free_bytes())
        self._launcher.tick()
        samples = self._monitor.exchange(self._launcher.roots) if self._monitor else None
        if samples is not None:
            self._core.sampled(samples)
        report = self._trace.take_report()
        if report is not None:
            self._core.recorded(report)
        for _ in range(_TEND_STEPS):
            if not self._journal.tend() or self._edge.has_input():
                break
        self._log_bad_frames()
        self._log_expired_letters()

    def _log_bad_frames(self) -> None:
        count = self._edge.counters["bad_frames"]
        if count != self._num_bad_frames:
            new, self._num_bad_frames = count - self._num_bad_frames, count
            log.warning("bad_frames", new=new, total=count, last=self._edge.last_problem)

    def _log_expired_letters(self) -> None:
        count = self._core.statistics().get("dead_letters_expired", 0)
        if count != self._num_expired:
            new, self._num_expired = count - self._num_expired, count
            log.warning("dead_letters_expired", new=new, total=count)


def free_bytes_of(directory: Path) -> int:
    """Return how many bytes this user may still write there."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


def rss_bytes() -> int:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
