"""What Linux says of a process: its share of memory, its resident memory, its CPU time."""

from __future__ import annotations

import time
from pathlib import Path

_KIB = 1024
_CPUCLOCK_SCHED = 2  # clock_getcpuclockid(3): the process's CPU time, in ns


def pss_bytes(pid: int) -> int:
    """Return the proportional set size: shared pages count in equal parts for all who share."""
    return _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def private_bytes(pid: int) -> int:
    """Return the memory that would be free if the process ended."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    return _field(rollup, "Private_Clean") + _field(rollup, "Private_Dirty")


def rss_bytes(pid: int) -> int:
    """Return the resident memory, shared pages included."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS")


def cpu_ns(pid: int) -> int:
    """Return the CPU time that the process has used, all threads."""
    return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _KIB
    raise ValueError(f"{path} has no {name}")
