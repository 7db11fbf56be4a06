"""What the machine has and what of it is used, as far as this kernel may use it.

Discovery and sampling are one: capacity is read at each look, so that a CPU that is taken offline,
a quota that is changed or an interface that comes up is seen at the next one.

Cost: about 1 ms, half of it the network interfaces.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

from ipc.control_groups import (
    Hierarchy,
    cpu_quota_millis,
    memory_limit,
    read_hierarchies,
)
from kernel.resources.gpus import Gpus
from kernel.resources.samples import NetworkSample, NodeSample

T = TypeVar("T")

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class NodeSampler:
    """Looks at the machine."""

    def __init__(
        self,
        directory: Path,
        gpus: Gpus,
        monotonic_ns: Callable[[], int],
        hierarchies: list[Hierarchy] | None = None,
    ) -> None:
        """directory: whose file system counts. hierarchies: None: those of this process."""
        self._directory = directory
        self._gpus = gpus
        self._monotonic_ns = monotonic_ns
        self._hierarchies = read_hierarchies() if hierarchies is None else hierarchies

    def sample(self) -> NodeSample:
        """Return one look."""
        usable = os.sched_getaffinity(0)
        total_bytes, used_bytes = self._memory()
        disk = os.statvfs(self._directory)
        traffic = _read(psutil.disk_io_counters)
        return NodeSample(
            taken_ns=self._monotonic_ns(),
            cpus=len(usable),
            cpu_millis=self._cpu_millis(len(usable)),
            cpu_busy_ns=busy_ns(Path("/proc/stat").read_text(), usable),
            memory_bytes=total_bytes,
            memory_used_bytes=used_bytes,
            disk=str(self._directory),
            disk_bytes=disk.f_blocks * disk.f_frsize,
            disk_free_bytes=disk.f_bavail * disk.f_frsize,
            read_bytes=traffic.read_bytes if traffic else None,
            written_bytes=traffic.write_bytes if traffic else None,
            networks=_read(_networks) or (),
            gpus=self._gpus.sample(),
        )

    def _cpu_millis(self, usable: int) -> int:
        quota = cpu_quota_millis(self._hierarchies)
        return usable * 1000 if quota is None else min(quota, usable * 1000)

    def _memory(self) -> tuple[int, int]:
        """Return what there is and what is used: of the machine, or of the group that limits us."""
        machine = psutil.virtual_memory()
        limit = memory_limit(self._hierarchies)
        if limit is not None and limit.limit_bytes < machine.total:
            used = limit.used_bytes()
            if used is not None:
                return limit.limit_bytes, used
        return machine.total, machine.total - machine.available


def busy_ns(stat: str, usable: set[int]) -> int:
    """Return the time that some CPUs have worked. stat: the text of /proc/stat."""
    ticks = 0
    for line in stat.splitlines():
        name, _, rest = line.partition(" ")
        if name[:3] == "cpu" and name[3:].isdecimal() and int(name[3:]) in usable:
            user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, rest.split())
            ticks += user + nice + system + irq + softirq
    return ticks * _TICK_NS


def _read(function: Callable[[], T]) -> T | None:
    """Return what a function of psutil reads; None where /proc does not have it, as in jails."""
    try:
        return function()
    except (OSError, RuntimeError, ValueError, KeyError):
        return None


def _networks() -> tuple[NetworkSample, ...]:
    facts = psutil.net_if_stats()
    counters = psutil.net_io_counters(pernic=True)
    return tuple(
        NetworkSample(
            name=name,
            is_up=facts[name].isup,
            bits_per_s=facts[name].speed * 1_000_000 or None,
            received_bytes=counter.bytes_recv,
            sent_bytes=counter.bytes_sent,
        )
        for name, counter in sorted(counters.items())
        if name in facts
    )
