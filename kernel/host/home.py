"""Make a kernel's directories, and hold them: one kernel per home.

What it is not: where they are (ipc/home.py).

The lock is ``flock`` on the pid file: it goes with the process, however that ends. Directories
are made for the owner alone (0700); one that belongs to somebody else, or that others may
write to, is refused: whoever can write the socket's directory could stand in for the kernel.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from pathlib import Path

from ipc.errors import BadHomeError, HomeInUseError
from ipc.home import Home
from ipc.running import read_pid

_ATTEMPTS = 5
_BETWEEN_S = 0.02


class HomeLock:
    """A held home; ``release`` when the kernel ends."""

    def __init__(self, home: Home, descriptor: int) -> None:
        self.home = home
        self._descriptor = descriptor

    def release(self) -> None:
        """Remove the socket and let go; the pid file stays, empty."""
        self.home.socket.unlink(missing_ok=True)
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def hold_home(home: Home) -> HomeLock:
    """Make the directories, take the lock, and clear what a dead kernel has left.

    Raises:
        HomeInUseError: another kernel holds it; nothing was changed.
        BadHomeError: a directory cannot be made or written, or is not ours alone.
    """
    for directory in (home.state_dir, home.socket_dir, home.logs):
        _make_private(directory)
    try:
        descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadHomeError(home=str(home.state_dir), problem=_words(error)) from None
    try:
        _take(home, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return HomeLock(home, descriptor)


def _take(home: Home, descriptor: int) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if attempt == _ATTEMPTS - 1:
                pid = read_pid(descriptor) or "unknown"
                raise HomeInUseError(home=str(home.state_dir), pid=pid) from None
        time.sleep(_BETWEEN_S)  # it may only be somebody who looks (ipc/running.py)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        home.socket.unlink(missing_ok=True)
    except OSError as error:
        raise BadHomeError(home=str(home.state_dir), problem=_words(error)) from None


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise BadHomeError(home=str(directory), problem=_words(error)) from None
    if not stat.S_ISDIR(status.st_mode):
        raise BadHomeError(home=str(directory), problem="it is not a directory")
    if status.st_uid != os.geteuid():
        raise BadHomeError(home=str(directory), problem=f"it belongs to user {status.st_uid}")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise BadHomeError(home=str(directory), problem="it cannot be written")
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise BadHomeError(home=str(directory), problem="others than its owner may write to it")


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
