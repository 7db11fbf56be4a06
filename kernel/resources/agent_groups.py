"""A control group (version 2) for each incarnation of an agent: killed whole, weighed and limited.

    <the kernel's own group>/llmos-TAG/          TAG: of the kernel's state directory
        ACTOR.INCARNATION/                       the agent puts itself there before it runs
        kernel/                                  this kernel, if it had to make room

A group has two uses. ``discard`` ends all that is in it at once: also a descendant that was forked
without exec, has a session of its own and has outlived the agent. And where the controllers of
CPU, memory and processes have been handed to us (root, or a systemd unit with ``Delegate=yes``),
they are used for weights and limits.

Invariants:
  I1  nothing outside our own directory is changed, but for which controllers are handed down to it
      and, if that needs it, the place of this kernel and of those that started it there.
  I2  a group is removed when it is empty; one that is not yet is tried again (``tidy``).
  I3  nothing here that may wait is called by the kernel's loop: an agent makes its own group
      (``recipe``), and dead agents' groups are a thread's work (kernel/host/launcher.py).
  I4  the groups of the kernel before this one are found by the processes that are still in them.

Cost: entering a group makes the agent wait for a grace period of the operating system, about 10 ms
more where nobody else enters one just then. So without the cpu controller only agents that ask
for a weight, a limit or a reservation get one, unless the configuration says
``control_groups = "all"``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from ipc.control_groups import CONTROLLERS, Hierarchy, read_hierarchies, read_text
from ipc.proc import read_stat
from ipc.start import GroupRecipe

USUAL_WEIGHT = 100  # of a group that nobody has weighed
MAX_WEIGHT = 10_000
_PERIOD_US = 100_000
_MIN_QUOTA_US = 1_000  # the least that cpu.max takes

Identity = tuple[int, int]  # actor, incarnation


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """What a group is made with; None: no limit."""

    weight: int = USUAL_WEIGHT  # 1 to MAX_WEIGHT
    cpu_millis: int | None = None
    memory_bytes: int | None = None
    memory_floor_bytes: int = 0  # not reclaimed while the group uses no more
    processes: int | None = None


class AgentGroups:
    """See the module head; ``open_groups`` makes it."""

    def __init__(self, directory: Path, controllers: frozenset[str], mount: Path) -> None:
        """directory: ours. controllers: that our groups have."""
        self.controllers = controllers
        self._directory = directory
        self._mount = mount
        self._adopted: dict[Identity, Path] = {}
        self._old: set[Path] = set(_groups_in(directory))  # to be removed once they are empty

    def recipe(self, actor: int, incarnation: int, limits: GroupLimits) -> GroupRecipe:
        """Return how the agent's process is to make its group; nothing is done here."""
        files: dict[str, str] = {}
        if "cpu" in self.controllers:
            files["cpu.weight"] = str(limits.weight)
            if limits.cpu_millis is not None:
                quota_us = max(_MIN_QUOTA_US, limits.cpu_millis * _PERIOD_US // 1000)
                files["cpu.max"] = f"{quota_us} {_PERIOD_US}"
        if "memory" in self.controllers:
            if limits.memory_bytes is not None:
                files["memory.max"] = str(limits.memory_bytes)
                files["memory.oom.group"] = "1"
            if limits.memory_floor_bytes:
                files["memory.low"] = str(limits.memory_floor_bytes)
        if "pids" in self.controllers and limits.processes is not None:
            files["pids.max"] = str(limits.processes)
        directory = str(self._path(actor, incarnation))
        return GroupRecipe(directory=directory, files=files)

    def weigh(self, actor: int, incarnation: int, weight: int) -> bool:
        """Set the CPU weight. Returns whether that could be done."""
        if "cpu" not in self.controllers:
            return False
        return _write(self._path(actor, incarnation) / "cpu.weight", str(weight))

    def adopt(self, actor: int, incarnation: int, pid: int) -> None:
        """Find the group of an agent that the kernel before this one has started (I4)."""
        for line in read_text(Path(f"/proc/{pid}/cgroup")).splitlines():
            place = line.removeprefix("0::/")
            if place == line:
                continue
            path = self._mount / place
            is_ours = path.parent.name == self._directory.name
            if is_ours and _identity_of(path) == (actor, incarnation):
                self._adopted[actor, incarnation] = path
                self._old.discard(path)

    def discard(self, actor: int, incarnation: int) -> None:
        """The agent is gone: SIGKILL all that is left in its group, and remove that. May wait."""
        path = self._path(actor, incarnation)
        self._adopted.pop((actor, incarnation), None)
        if path.is_dir():
            _write(path / "cgroup.kill", "1")
            self._old.add(path)

    def tidy(self) -> bool:
        """Remove groups that have become empty; say whether some are left (I2). May wait."""
        for path in list(self._old):
            if _remove(path):
                self._old.discard(path)
        return bool(self._old)

    def close(self) -> None:
        """Remove what is empty; agents that live on keep their groups."""
        self.tidy()
        _remove(self._directory)

    def _path(self, actor: int, incarnation: int) -> Path:
        adopted = self._adopted.get((actor, incarnation))
        return adopted or self._directory / f"{actor}.{incarnation}"


def open_groups(tag: str, hierarchies: list[Hierarchy] | None = None) -> AgentGroups:
    """Find our directory, and hand it the controllers that can be had.

    hierarchies: None: those of this process.
    Raises:
        OSError: there are no control groups of version 2, or they are not ours to change.
    """
    found = read_hierarchies() if hierarchies is None else hierarchies
    for hierarchy in found:
        if hierarchy.version == 2:
            base = hierarchy.group
            if base.name == "kernel" and base.parent.name.startswith("llmos-"):
                base = base.parent.parent  # where a kernel before this one has put us
            return _open_in(base, tag, hierarchy.mount)
    raise FileNotFoundError(errno.ENOENT, "control groups of version 2 are not mounted")


def _open_in(base: Path, tag: str, mount: Path) -> AgentGroups:
    if not os.access(base / "cgroup.procs", os.W_OK):  # who moves a process must own both ends
        raise PermissionError(errno.EACCES, "its own control group may not be changed", str(base))
    directory = base / f"llmos-{tag}"
    has = set(read_text(base / "cgroup.controllers").split())
    wanted = [name for name in CONTROLLERS if name in has]
    if wanted:  # else it is made with the first group in it
        directory.mkdir(exist_ok=True)
    if not _hand_down(base, wanted) and _is_handed_over(base, mount):
        _make_room(base, directory)
        _hand_down(base, wanted)
    _hand_down(directory, wanted)
    enabled = frozenset(read_text(directory / "cgroup.subtree_control").split())
    return AgentGroups(directory, enabled & set(CONTROLLERS), mount)


def _hand_down(directory: Path, controllers: list[str]) -> bool:
    """Let the groups below have these controllers. Returns whether all could be."""
    file = directory / "cgroup.subtree_control"
    missing = set(controllers) - set(read_text(file).split())
    written = [_write(file, f"+{name}") for name in sorted(missing)]  # each is tried
    return all(written)


def _is_handed_over(base: Path, mount: Path) -> bool:
    """Say whether a group is ours to order: a container's own, or a unit with Delegate=yes."""
    if base == mount:
        return True
    for name in ("user.delegate", "trusted.delegate"):  # what systemd marks such units with
        with contextlib.suppress(OSError):
            if os.getxattr(base, name) == b"1":
                return True
    return False


def _make_room(base: Path, directory: Path) -> None:
    """Leave the base: a group with processes of its own hands no controllers down.

    Only this process and those that have started it are moved; if there are others, nobody is.
    """
    present = {int(word) for word in read_text(base / "cgroup.procs").split()}
    if not present or not present <= _self_and_ancestors():
        return
    room = directory / "kernel"
    room.mkdir(exist_ok=True)
    for pid in present:
        _write(room / "cgroup.procs", str(pid))


def _self_and_ancestors() -> set[int]:
    found, pid = set(), os.getpid()
    while pid:
        found.add(pid)
        stat = read_stat(pid)
        pid = stat.parent if stat is not None else 0
    return found


def _groups_in(directory: Path) -> list[Path]:
    return [path for path in directory.glob("*.*") if path.is_dir() and _identity_of(path)[0]]


def _identity_of(path: Path) -> Identity:
    """Return actor and incarnation of a group; zeros for another name."""
    actor, _, incarnation = path.name.partition(".")
    if actor.isdecimal() and incarnation.isdecimal():
        return int(actor), int(incarnation)
    return 0, 0


def _remove(path: Path) -> bool:
    """Remove an empty group; True if it is gone."""
    with contextlib.suppress(FileNotFoundError):
        try:
            path.rmdir()
        except OSError:  # somebody is in it still
            return False
    return True


def _write(file: Path, text: str) -> bool:
    """Write a file of a group; False if it is not there or will not have it."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, text.encode())
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
