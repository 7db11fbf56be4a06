"""What /proc tells of a process, as far as identity needs it.

A pid is reused, (pid, start time) is not: both are noted when a process is started, and
compared before it is touched.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stat:
    """Some fields of /proc/PID/stat."""

    pid: int
    state: str  # one letter; Z: a zombie
    parent: int
    group: int
    session: int
    start_time: int  # clock ticks since boot

    @property
    def is_alive(self) -> bool:
        """Say whether it can still run."""
        return self.state not in "ZX"


def read_stat(pid: int) -> Stat | None:
    """Return what /proc says of a process; None if there is none."""
    try:
        data = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the name is in parentheses and may hold spaces and parentheses itself
    fields = data[data.rindex(b")") + 2 :].split()
    state, parent, group, session = fields[0].decode(), *map(int, fields[1:4])
    return Stat(pid, state, parent, group, session, int(fields[19]))


def start_time(pid: int) -> int | None:
    """Return when a living process started; None if it is gone or a zombie."""
    stat = read_stat(pid)
    return stat.start_time if stat is not None and stat.is_alive else None


def all_pids() -> list[int]:
    """Return the pids of all processes this one can see."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def child_pids(pid: int) -> list[int]:
    """Return the direct children of a process, of all its threads."""
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{thread}/children").read_text()
            children.extend(map(int, text.split()))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it went away while we looked
    return children
