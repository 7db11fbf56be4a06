"""What a process is doing at this instant: stopped, wanting a CPU, or asleep.

For kernel/heartbeat.py, which asks of agents that are silent within a turn whether they could
have spoken. Leaf; it reads /proc. Cost: about 10 us a thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ipc.proc import start_time

_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_STOPPED = frozenset(b"Tt")  # by a signal, by a debugger
_WANTING = frozenset(b"RD")  # runs or waits for a CPU; waits for a disk


@dataclass(frozen=True, slots=True)
class Activity:
    """One look at all threads of a process."""

    is_stopped: bool
    wants_cpu: bool  # some thread does, or waits for the disk
    cpu_ns: int  # used so far by all of them, in clock ticks


def read_activity(pid: int, started: int) -> Activity | None:
    """Return what the process does; None if it is gone.

    started: its start time in clock ticks since boot, so that a reused pid is not taken for it.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        states = {_fields(f"/proc/{pid}/task/{thread}/stat")[0][0] for thread in threads}
        fields = _fields(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    if start_time(pid) != started:
        return None
    cpu_ticks = int(fields[11]) + int(fields[12])
    return Activity(
        is_stopped=bool(states & _STOPPED),
        wants_cpu=bool(states & _WANTING),
        cpu_ns=cpu_ticks * _NS_PER_TICK,
    )


def _fields(path: str) -> list[bytes]:
    """Return what follows the name in a stat file: it may hold spaces and parentheses."""
    data = Path(path).read_bytes()
    return data[data.rindex(b")") + 2 :].split()
