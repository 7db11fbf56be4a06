"""What the core asks of the world: frames to send, and commands about processes.

The output rule: the driver (kernel/daemon.py, the simulator, actors/testing.py) commits
``changes`` before it sends a frame or runs a command. The one exception is an output that
``is_deferrable``: all its frames grant messages to agents. What an agent does with a grant
becomes visible only through a commit of its own, which cannot be durable without all that was
changed before it; so such frames may leave first, and ``changes`` may be merged into the next
set. If the kernel dies in between, the grant was never made: the sender, who has not been told
of acceptance, sends again, and the next kernel stops the turn. One commit an ask is saved.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ext.wire import Envelope
from ipc.protocol import SpawnSpec
from kernel.records import WriteSet


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
class Shutdown:
    """Everything has stopped: leave the loop."""


Command = StartProcess | KillProcess | WatchProcess | Shutdown


@dataclass(slots=True)
class Output:
    """The outcome of one loop turn."""

    changes: WriteSet = field(default_factory=WriteSet)
    frames: list[tuple[bytes, list[Envelope]]] = field(default_factory=list)  # (route, batch)
    commands: list[Command] = field(default_factory=list)
    is_deferrable: bool = False
