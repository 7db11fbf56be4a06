"""Starts, watches and kills agent processes for the kernel's loop.

What it is not: it decides nothing (that is the core) and forks nothing (actors/zygote.py).

Invariants:
  I1  every StartProcess, KillProcess and WatchProcess is answered: Started or Exited, and each
      (actor, incarnation) gets one Exited at most.
  I2  agents live on when the zygote dies. The next start brings up a new zygote; an agent
      whose start was not answered by then counts as not started (it will be fenced).
  I3  a dead agent's leftovers are killed too: by its control group where it has one
      (kernel/resources/agent_groups.py), and by what they look like (kernel/host/processes.py).

Events come out of ``take_events``; the loop gives them to the core. Nothing here blocks,
but ``start`` when the zygote is brought up (about 1 ms; it imports the SDK meanwhile).

Cost: about 0.1 ms a start on the kernel's side.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kernel.host.activity import Activity, read_activity
from kernel.host.processes import (
    Death,
    boot_ticks,
    kill_tree,
    limit_cpu,
    open_process,
    signal_tree,
    sweep,
)
from kernel.host.structured_log import structlog
from kernel.host.watcher import Watcher
from kernel.host.zygote_link import ZygoteLink
from kernel.output import (
    ContinueProcess,
    InspectProcess,
    KillProcess,
    LimitCpu,
    StartProcess,
    StopProcess,
    WatchProcess,
    WeighProcess,
)
from kernel.resources.enforcement import Enforcement
from kernel.resources.process_sampler import Root

STATUS_WAIT_NS = 1_000_000_000  # from a pidfd's event to the zygote's report of the status

log = structlog.get_logger(__name__)

Identity = tuple[int, int]  # actor, incarnation


@dataclass(frozen=True, slots=True)
class Started:
    """The agent's process runs."""

    actor: int
    incarnation: int
    pid: int
    start_time: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The agent's process is gone, or could not be started."""

    actor: int
    incarnation: int
    reason: str
    cpu_ns: int | None = field(default=None, compare=False)  # used in all, if its zygote has told


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the agent's process does."""

    actor: int
    incarnation: int
    activity: Activity


@dataclass(slots=True)
class _Process:
    identity: Identity
    pid: int
    start_time: int
    descriptor: int | None  # pidfd; None once it is known to be gone
    zygote: int | None  # pid of the zygote that will report its status
    gone_since_ns: int | None = None


Event = Started | Exited | Inspected


class Launcher:
    """Owns the link to the zygote and a pidfd of every agent process."""

    def __init__(
        self,
        watcher: Watcher,
        link: ZygoteLink,
        *,
        marker: Callable[[int, int], str],
        monotonic_ns: Callable[[], int],
        enforcement: Enforcement,
    ) -> None:
        """marker: of (actor, incarnation), as NAME=value, in its environment."""
        self._enforcement = enforcement
        self._watcher = watcher
        self._link = link
        self._marker = marker
        self._monotonic_ns = monotonic_ns
        self._events: deque[Event] = deque()
        self._by_identity: dict[Identity, _Process] = {}
        self._by_pid: dict[int, _Process] = {}
        self._starting: dict[Identity, bool] = {}  # True: kill it as soon as its pid is known
        self._deaths: list[Death] = []
        self._graves: list[Identity] = []  # of the dead, whose groups are to be emptied
        self._sweeper: threading.Thread | None = None
        self._is_untidy = True  # groups are to be removed; of the kernel before this one, perhaps
        link.on_message = self._on_zygote
        link.on_death = self._on_zygote_death

    @property
    def has_events(self) -> bool:
        """Say whether ``take_events`` would return any."""
        return bool(self._events)

    def take_events(self) -> list[Event]:
        """Remove and return what has happened, oldest first."""
        events = list(self._events)
        self._events.clear()
        return events

    def roots(self) -> list[Root]:
        """Return the agents' processes that are there."""
        return [
            Root(*process.identity, process.pid, process.start_time)
            for process in self._by_identity.values()
            if process.gone_since_ns is None
        ]

    def start(self, command: StartProcess) -> None:
        """Have the zygote fork the agent."""
        identity = (command.actor, command.incarnation)
        self._starting[identity] = False
        try:
            self._link.start(command, self._enforcement.recipe(*identity, command.spec))
        except OSError as error:
            self._fail_start(identity, f"the zygote does not start: {error}")

    def watch(self, command: WatchProcess) -> None:
        """Watch a process that an earlier kernel started."""
        identity = (command.actor, command.incarnation)
        if identity in self._by_identity:
            return
        descriptor = open_process(command.pid, command.start_time)
        if descriptor is None:
            self._bury(identity, None, "gone")
        else:
            self._enforcement.adopt(*identity, command.pid)
            self._add(_Process(identity, command.pid, command.start_time, descriptor, None))

    def kill(self, command: KillProcess) -> None:
        """SIGKILL the process tree, now or as soon as its pid is known."""
        identity = (command.actor, command.incarnation)
        process = self._by_identity.get(identity)
        if process is not None:
            kill_tree(process.pid, process.start_time)  # its pidfd tells the rest
        elif identity in self._starting:
            self._starting[identity] = True
        elif command.pid is None or command.start_time is None:
            self._events.append(Exited(*identity, "gone"))
        else:
            self.watch(WatchProcess(*identity, command.pid, command.start_time))
            if identity in self._by_identity:
                kill_tree(command.pid, command.start_time)

    def weigh(self, command: WeighProcess) -> None:
        """Give a process its part of the CPUs, if it is there."""
        process = self._by_identity.get((command.actor, command.incarnation))
        if process is not None:
            self._enforcement.weigh(*process.identity, process.pid, command.weight)

    def inspect(self, command: InspectProcess) -> None:
        """Look what a process does; if it is gone, its exit is told."""
        activity = read_activity(command.pid, command.start_time)
        if activity is not None:
            self._events.append(Inspected(command.actor, command.incarnation, activity))

    def suspend(self, command: StopProcess) -> None:
        """Let a process tree stand still; one that is gone has told so."""
        signal_tree(command.pid, command.start_time, signal.SIGSTOP)

    def resume(self, command: ContinueProcess) -> None:
        """Let a process tree go on."""
        signal_tree(command.pid, command.start_time, signal.SIGCONT)

    def limit_cpu(self, command: LimitCpu) -> None:
        """Set the CPU time at which a process ends."""
        limit_cpu(command.pid, command.start_time, command.cpu_s)

    def tick(self) -> None:
        """Do what is due; at least once a second."""
        limit = self._monotonic_ns() - STATUS_WAIT_NS
        for process in list(self._by_identity.values()):
            if process.gone_since_ns is not None and process.gone_since_ns <= limit:
                self._exit(process, "gone")
        self._sweep()

    def close(self) -> None:
        """Let go of everything; agents live on, leftovers of the dead do not."""
        self._link.close()
        for process in list(self._by_identity.values()):
            self._remove(process)
        if self._sweeper is not None:
            self._sweeper.join()
        self._clear(self._graves, self._deaths)
        self._enforcement.close()

    def _on_zygote(self, verb: str, arguments: list[int | str]) -> None:
        match verb, arguments:
            case "started", [int(actor), int(incarnation), int(pid), int(start_time)]:
                self._on_started((actor, incarnation), pid, start_time)
            case "failed", [int(actor), int(incarnation), str(problem)]:
                self._fail_start((actor, incarnation), problem)
            case "exited", [int(pid), int(status), int(cpu_ns)]:
                process = self._by_pid.get(pid)
                if process is not None and process.zygote == self._link.pid:
                    self._exit(process, describe(status), cpu_ns)

    def _on_started(self, identity: Identity, pid: int, start_time: int) -> None:
        is_doomed = self._starting.pop(identity, False)
        descriptor = open_process(pid, start_time)
        process = _Process(identity, pid, start_time, descriptor, self._link.pid)
        if descriptor is None:  # dead already; its status is the zygote's next message
            process.gone_since_ns = self._monotonic_ns()
        self._add(process)
        if is_doomed:
            kill_tree(pid, start_time)
        else:
            self._events.append(Started(*identity, pid, start_time))

    def _on_zygote_death(self) -> None:
        log.warning("zygote_died", unanswered_starts=len(self._starting))
        for identity in list(self._starting):  # I2
            self._fail_start(identity, "the zygote died")
        for process in list(self._by_identity.values()):
            process.zygote = None
            if process.gone_since_ns is not None:
                self._exit(process, "gone")

    def _on_pidfd(self, process: _Process) -> None:
        self._unwatch(process)
        if process.zygote is None:
            self._exit(process, "gone")
        else:  # the zygote is about to tell its status
            process.gone_since_ns = self._monotonic_ns()

    def _add(self, process: _Process) -> None:
        self._by_identity[process.identity] = process
        self._by_pid[process.pid] = process
        if process.descriptor is not None:
            self._watcher.add(process.descriptor, lambda: self._on_pidfd(process))

    def _remove(self, process: _Process) -> None:
        self._unwatch(process)
        del self._by_identity[process.identity]
        if self._by_pid.get(process.pid) is process:
            del self._by_pid[process.pid]

    def _unwatch(self, process: _Process) -> None:
        if process.descriptor is not None:
            self._watcher.remove(process.descriptor)
            os.close(process.descriptor)
            process.descriptor = None

    def _exit(self, process: _Process, reason: str, cpu_ns: int | None = None) -> None:
        self._remove(process)
        self._bury(process.identity, process.pid, reason, cpu_ns)

    def _fail_start(self, identity: Identity, problem: str) -> None:
        self._starting.pop(identity, None)
        self._graves.append(identity)
        self._events.append(Exited(*identity, f"cannot start: {problem}"))

    def _bury(
        self, identity: Identity, session: int | None, reason: str, cpu_ns: int | None = None
    ) -> None:
        """Report the exit and have the leftovers killed (I3)."""
        self._events.append(Exited(*identity, reason, cpu_ns))
        self._graves.append(identity)
        self._deaths.append(Death(session, boot_ticks(), self._marker(*identity)))
        self._sweep()

    def _sweep(self) -> None:
        if self._sweeper is not None and self._sweeper.is_alive():
            return  # the next tick looks again
        if self._deaths or self._graves or self._is_untidy:
            graves, self._graves = self._graves, []
            deaths, self._deaths = self._deaths, []
            self._sweeper = threading.Thread(
                target=self._clear, args=(graves, deaths), name="sweeper", daemon=True
            )
            self._sweeper.start()

    def _clear(self, graves: list[Identity], deaths: list[Death]) -> None:
        """End what the dead have left (I3). In a thread: it may wait, and reads all of /proc."""
        for identity in graves:
            self._enforcement.discard(*identity)
        if deaths:
            sweep(deaths)
        self._is_untidy = self._enforcement.tidy()


def describe(status: int) -> str:
    """Return a wait status in words: "exit 3", "signal 9", "signal 24: its CPU time is used up"."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        why = ": its CPU time is used up" if number == signal.SIGXCPU else ""
        return f"signal {number}{why}"
    return f"exit {os.waitstatus_to_exitcode(status)}"
