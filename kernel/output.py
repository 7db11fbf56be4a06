"""What the core asks of the world: frames to send, and commands about processes.

The output rule: the driver (kernel/daemon.py, the simulator, actors/testing.py) commits
``changes`` before it sends a frame or runs a command. The one exception are batches on the
routes named in ``early``, which grant messages to agents, or lend them room, and do nothing
else. What an agent does with it becomes visible only through a commit of its own, not durable
without all that was changed before it; so such batches may leave first, and ``changes`` may be
merged into the next set. If the kernel dies in between, the grant was never made: the sender,
who has not been told of acceptance, sends again, and the next kernel stops the turn. One commit
an ask is saved, and an agent works while what it was granted is being written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ext.wire import Envelope
from ipc.protocol import SpawnSpec
from kernel.records import WriteSet
from kernel.traffic import Traffic


@dataclass(frozen=True, slots=True)
class StartProcess:
    """Start the agent's process; answer with ``process_started`` or ``process_exited``."""

    actor: int
    incarnation: int
    token: str
    name: str
    spec: SpawnSpec


@dataclass(frozen=True, slots=True)
class KillProcess:
    """SIGKILL the process tree now; answer with ``process_exited``.

    pid is None while the start has not been answered: kill it as soon as it is known.
    start_time: clock ticks since boot, so that a reused pid is never hit.
    """

    actor: int
    incarnation: int
    pid: int | None
    start_time: int | None


@dataclass(frozen=True, slots=True)
class WatchProcess:
    """Watch a process that outlived the kernel before this one."""

    actor: int
    incarnation: int
    pid: int
    start_time: int


@dataclass(frozen=True, slots=True)
class InspectProcess:
    """Look what an agent's process does; answer with ``process_inspected``, unless it is gone."""

    actor: int
    incarnation: int
    pid: int
    start_time: int


@dataclass(frozen=True, slots=True)
class StopProcess:
    """Let the process tree stand still (SIGSTOP); nothing is answered."""

    actor: int
    incarnation: int
    pid: int
    start_time: int


@dataclass(frozen=True, slots=True)
class ContinueProcess:
    """Let the process tree go on (SIGCONT); nothing is answered."""

    actor: int
    incarnation: int
    pid: int
    start_time: int


@dataclass(frozen=True, slots=True)
class LimitCpu:
    """Have the process end (SIGXCPU) when it has used so many seconds of CPU; None: never."""

    actor: int
    incarnation: int
    pid: int
    start_time: int
    cpu_s: int | None


@dataclass(frozen=True, slots=True)
class WeighProcess:
    """Give an agent's processes their part of the CPUs; nothing is answered.

    weight: 100 is usual; 1 to 10000.
    """

    actor: int
    incarnation: int
    weight: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Write a line into the kernel's log. fields: plain values."""

    event: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StartRecording:
    """Begin a file of recorded traffic; how it does is told with ``recorded``, now and then."""

    path: str


@dataclass(frozen=True, slots=True)
class RecordTraffic:
    """Write one request into that file, or count it as dropped."""

    traffic: Traffic


@dataclass(frozen=True, slots=True)
class StopRecording:
    """End that file after what waits to be written."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Everything has stopped: leave the loop."""


Command = (
    StartProcess
    | KillProcess
    | WatchProcess
    | InspectProcess
    | StopProcess
    | ContinueProcess
    | LimitCpu
    | WeighProcess
    | Notice
    | StartRecording
    | RecordTraffic
    | StopRecording
    | Shutdown
)


class Output:
    """The outcome of one loop turn."""

    __slots__ = ("changes", "commands", "early", "frames", "is_patient")

    def __init__(self) -> None:
        self.changes = WriteSet()
        self.frames: list[tuple[bytes, list[Envelope]]] = []  # (route, batch)
        self.commands: list[Command] = []
        self.early: set[bytes] = set()  # routes whose batch may leave before
        self.is_patient = False  # what is not early only acknowledges: nobody waits for an answer
