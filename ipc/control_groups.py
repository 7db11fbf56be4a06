"""Where this process stands in the control groups of the machine, and what limits it there.

Both versions are read: a container or a session of systemd has version 2, older machines and
some hybrids have a hierarchy a controller. A limit counts wherever on the path to the root it
stands; the smallest one binds. What groups the kernel makes of its own is in
kernel/resources/agent_groups.py.

Cost: some tens of small files; at start, and once a look for the two that are used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CONTROLLERS = ("cpu", "memory", "pids")  # those that agents' groups use
UNLIMITED = 1 << 60  # version 1 writes "no limit" as a number near 2**63


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted tree of groups. controllers: of version 1; version 2 has them by group."""

    version: int
    controllers: frozenset[str]
    mount: Path
    group: Path  # this process's directory, below ``mount`` or the same

    def path_to_root(self) -> Iterator[Path]:
        """Yield the group's directory and those above it."""
        yield self.group
        above = self.group
        while above != self.mount:
            above = above.parent
            yield above


def read_hierarchies(proc: Path = Path("/proc/self")) -> list[Hierarchy]:
    """Return the mounted hierarchies, as /proc tells them."""
    try:
        mounts = (proc / "mountinfo").read_text()
        groups = (proc / "cgroup").read_text()
    except OSError:
        return []
    places = dict(_groups(groups))
    found = []
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        words, kind = left.split(), right.split()
        if kind[0] not in ("cgroup", "cgroup2"):
            continue
        version = 2 if kind[0] == "cgroup2" else 1
        names = frozenset(kind[-1].split(",")) & places.keys() if version == 1 else frozenset()
        place = places.get(next(iter(names), "")) if version == 1 else places.get("")
        if place is not None:
            mount = Path(words[4])
            found.append(Hierarchy(version, names, mount, _inside(mount, words[3], place)))
    return found


def usable_controllers(hierarchies: list[Hierarchy] | None = None) -> frozenset[str]:
    """Return which of CONTROLLERS a kernel started from here could use for groups of its own."""
    for hierarchy in read_hierarchies() if hierarchies is None else hierarchies:
        if hierarchy.version == 2 and os.access(hierarchy.group / "cgroup.procs", os.W_OK):
            has = read_text(hierarchy.group / "cgroup.controllers").split()
            return frozenset(has) & set(CONTROLLERS)
    return frozenset()


def bound_to_version_1(hierarchies: list[Hierarchy] | None = None) -> frozenset[str]:
    """Return which of CONTROLLERS are mounted as version 1: version 2 cannot have those."""
    found = read_hierarchies() if hierarchies is None else hierarchies
    old = [hierarchy.controllers for hierarchy in found if hierarchy.version == 1]
    return frozenset().union(*old) & set(CONTROLLERS)


def _groups(text: str) -> Iterator[tuple[str, str]]:
    """Yield controller and path; version 2 has the controller ""."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _inside(mount: Path, root: str, place: str) -> Path:
    """Return a group's directory; the mount itself if the group is not below what is mounted."""
    path = PurePosixPath(place)
    if not path.is_relative_to(root):
        return mount
    directory = mount / path.relative_to(root)
    return directory if directory.is_dir() else mount


def cpu_quota_millis(hierarchies: list[Hierarchy]) -> int | None:
    """Return the thousandths of a CPU that may be used; None: as many as there are."""
    quotas = [
        quota
        for hierarchy in hierarchies
        for directory in hierarchy.path_to_root()
        for quota in [_quota_millis(hierarchy, directory)]
        if quota is not None
    ]
    return min(quotas, default=None)


def _quota_millis(hierarchy: Hierarchy, directory: Path) -> int | None:
    if hierarchy.version == 2:
        words = read_text(directory / "cpu.max").split()
    elif "cpu" in hierarchy.controllers:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = [read_text(directory / name).strip() for name in names]
    else:
        return None
    if len(words) != 2 or not (words[0].isdecimal() and words[1].isdecimal()):
        return None  # "max", -1, or no such file
    return max(1, int(words[0]) * 1000 // max(1, int(words[1])))


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A limit of a group, and the file that tells how much of it is used."""

    limit_bytes: int
    used: Path
    statistics: Path

    def used_bytes(self) -> int | None:
        """Return what is used, without file pages that can be dropped at once."""
        text = read_text(self.used).strip()
        if not text.isdecimal():
            return None
        idle = 0
        for line in read_text(self.statistics).splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                idle = max(idle, int(value))
        return max(0, int(text) - idle)


def memory_limit(hierarchies: list[Hierarchy]) -> MemoryLimit | None:
    """Return the smallest limit of memory, None if there is none."""
    limits = [
        limit
        for hierarchy in hierarchies
        for directory in hierarchy.path_to_root()
        for limit in [_memory_limit(hierarchy, directory)]
        if limit is not None
    ]
    return min(limits, key=lambda limit: limit.limit_bytes, default=None)


def _memory_limit(hierarchy: Hierarchy, directory: Path) -> MemoryLimit | None:
    if hierarchy.version == 2:
        limit, used = "memory.max", "memory.current"
    elif "memory" in hierarchy.controllers:
        limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
    else:
        return None
    text = read_text(directory / limit).strip()
    if not text.isdecimal() or int(text) >= UNLIMITED:
        return None
    return MemoryLimit(int(text), directory / used, directory / "memory.stat")


def read_text(path: Path) -> str:
    """Return a small file's text; empty if it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
