"""Whether a kernel runs in a home, for clients; the holding is kernel/host/home.py.

A running kernel holds an exclusive ``flock`` on the pid file, which says its pid.
"""

from __future__ import annotations

import fcntl
import os

from ipc.home import Home


def running_pid(home: Home) -> int | None:
    """Return the pid of the kernel that holds the home; None if none does."""
    try:
        descriptor = os.open(home.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return read_pid(descriptor)
    finally:
        os.close(descriptor)
    return None


def read_pid(descriptor: int) -> int | None:
    """Return what an open pid file says."""
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None
