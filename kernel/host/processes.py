"""Watch and kill processes, never one that only has the same pid.

Invariants:
  I1  a signal goes through a pidfd whose process was compared with the start time after the
      pidfd was opened: a reused pid is never hit.
  I2  ``kill_tree`` stops before it kills: a stopped process forks no more, so that a pass
      which finds nobody new has found everybody.

What a tree is: the process and its descendants (agents are subreapers, so that a child that
"daemonised" still is one). After the root's death what is left is found by its session and
by the marker in its environment (``sweep``): that scan of /proc costs about 20 us a process
and runs in a thread.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ipc.proc import all_pids, child_pids, read_stat

_MAX_PASSES = 64


@dataclass(frozen=True, slots=True)
class Death:
    """A root process that has ended, whose leftovers are to be found."""

    session: int | None  # None: not known to be its session (the pid may be another's by now)
    died_ticks: int  # clock ticks since boot; leftovers are older
    marker: str  # NAME=value in the environment of everything it executed


def open_process(pid: int, start_time: int) -> int | None:
    """Return a pidfd of exactly that process; None if it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    stat = read_stat(pid)
    if stat is None or not stat.is_alive or stat.start_time != start_time:
        os.close(descriptor)
        return None
    return descriptor


def kill_tree(pid: int, start_time: int) -> bool:
    """SIGKILL a process and all its descendants. Returns whether it was still there."""
    return signal_tree(pid, start_time, signal.SIGKILL)


def signal_tree(pid: int, start_time: int, number: signal.Signals) -> bool:
    """Send a signal to a process and all its descendants. Returns whether it was still there.

    All are stopped first, so that no child escapes; then it goes out, to the youngest first.
    """
    root = open_process(pid, start_time)
    if root is None:
        return False
    tree = {pid: root}
    try:
        _send(root, signal.SIGSTOP)
        for _ in range(_MAX_PASSES):  # I2
            if not _stop_children(tree):
                break
        if number is not signal.SIGSTOP:
            for descriptor in reversed(tree.values()):
                _send(descriptor, number)
    finally:
        for descriptor in tree.values():
            os.close(descriptor)
    return True


def limit_cpu(pid: int, start_time: int, cpu_s: int | None) -> None:
    """Set the CPU time at which a process gets SIGXCPU; None, or more than it may have: never."""
    descriptor = open_process(pid, start_time)
    if descriptor is None:
        return
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_CPU)
        soft = hard if cpu_s is None else cpu_s
        if hard != resource.RLIM_INFINITY:  # at the hard limit it would be SIGKILL
            soft = min(soft, hard - 1) if soft != resource.RLIM_INFINITY else hard - 1
        resource.prlimit(pid, resource.RLIMIT_CPU, (soft, hard))
    except (ProcessLookupError, PermissionError):  # it has just ended
        return
    finally:
        os.close(descriptor)


def sweep(deaths: Sequence[Death], spare: frozenset[int] = frozenset()) -> int:
    """SIGKILL what dead roots have left behind. Returns how many were found.

    spare: pids never to be touched, whatever they look like.
    """
    killed: set[int] = set()  # on a busy machine one may take several passes to die
    for _ in range(_MAX_PASSES):
        found = {pid for pid in all_pids() if pid not in spare and _kill_leftover(pid, deaths)}
        if not found:
            break
        killed |= found
    return len(killed)


def boot_ticks() -> int:
    """Return the clock ticks since boot, as start times count them."""
    uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    return int(uptime_s * os.sysconf("SC_CLK_TCK"))


def _stop_children(tree: dict[int, int]) -> int:
    """Stop and add to ``tree`` those children that are not in it; return how many."""
    added = 0
    for parent in list(tree):
        for pid in child_pids(parent):
            if pid in tree:
                continue
            descriptor = _open_child(pid, parent)
            if descriptor is not None:
                _send(descriptor, signal.SIGSTOP)
                tree[pid] = descriptor
                added += 1
    return added


def _open_child(pid: int, parent: int) -> int | None:
    """Return a pidfd if the process is a living child of a process we have stopped."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    stat = read_stat(pid)
    if stat is not None and stat.is_alive and stat.parent == parent:
        return descriptor
    os.close(descriptor)
    return None


def _kill_leftover(pid: int, deaths: Sequence[Death]) -> bool:
    if not _is_leftover(pid, deaths):
        return False
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not _is_leftover(pid, deaths):  # I1: ask again, now that the pid is held
            return False
        _send(descriptor, signal.SIGKILL)
        return True
    finally:
        os.close(descriptor)


def _is_leftover(pid: int, deaths: Sequence[Death]) -> bool:
    stat = read_stat(pid)
    if stat is None or not stat.is_alive:
        return False
    if any(stat.session == d.session and stat.start_time <= d.died_ticks for d in deaths):
        return True
    environment = _environment(pid)
    return bool(environment) and any(d.marker.encode() in environment for d in deaths)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return []


def _send(descriptor: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)
