"""Starting the kernel as a process of its own, and waiting for it to listen or to end.

What it is not: the kernel (kernel/__main__.py). The command line never imports the kernel; it
shares with it the paths (ipc/home.py), how our processes are started (ipc/start.py) and what
its exit status means (ipc/kernel_exit.py).

The kernel writes one line to the descriptor given by ``--ready-fd`` once it listens. A kernel
that ends before has said why on its standard error.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from actors.cli.exits import Exit
from ipc.errors import AskTimeoutError, BadHomeError, DeniedError, KernelUnavailableError
from ipc.home import Home
from ipc.kernel_exit import KernelExit
from ipc.running import running_pid
from ipc.start import own_python

START_TIMEOUT_S = 60.0  # a large journal takes seconds to recover
KERNEL_MODULE = "kernel.__main__"

_EXITS = {
    KernelExit.DONE: Exit.OK,
    KernelExit.USAGE: Exit.USAGE,
    KernelExit.HOME_IN_USE: Exit.OPERATOR,
    KernelExit.BAD_HOME: Exit.OPERATOR,
    KernelExit.BAD_JOURNAL: Exit.OPERATOR,
    KernelExit.JOURNAL_WRITE: Exit.OPERATOR,
    KernelExit.INTERRUPTED: Exit.INTERRUPTED,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``llmos up`` can set on a kernel; None: as its configuration says."""

    config: Path | None = None
    durability: str | None = None

    def words(self) -> list[str]:
        """Return the kernel's options."""
        words = ["--config", str(self.config.absolute())] if self.config else []
        return words + (["--durability", self.durability] if self.durability else [])


@dataclass(frozen=True, slots=True)
class Started:
    """A kernel process, and whether it listens."""

    process: subprocess.Popen[bytes]
    is_ready: bool


@dataclass(frozen=True, slots=True)
class Launched:
    """A kernel process that may not listen yet. ``wait`` is to be called, once."""

    process: subprocess.Popen[bytes]
    ready_fd: int

    def wait(self) -> bool:
        """Wait until it listens; False: it has ended, or takes longer than START_TIMEOUT_S."""
        with os.fdopen(self.ready_fd, "rb", buffering=0) as ready:
            return _has_line(ready, START_TIMEOUT_S)


def start_kernel(
    home: Home,
    settings: Settings | None = None,
    *,
    output: IO[bytes] | int | None = None,
    own_session: bool = False,
) -> Started:
    """Start a kernel and wait until it listens, or has ended.

    output: where its standard output and error go; None: where ours go.
    """
    launched = launch_kernel(home, settings, output=output, own_session=own_session)
    return Started(launched.process, launched.wait())


def launch_kernel(
    home: Home,
    settings: Settings | None = None,
    *,
    output: IO[bytes] | int | None = None,
    own_session: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Launched:
    """Start a kernel, as ``start_kernel``; the caller waits for it.

    environment: what it and all below it have in theirs, beside what is in ours.
    """
    read_fd, write_fd = os.pipe()
    words = ["--home", str(home.state_dir), "--ready-fd", str(write_fd)]
    try:
        process = subprocess.Popen(
            own_python(KERNEL_MODULE, *words, *(settings or Settings()).words()),
            pass_fds=(write_fd,),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            start_new_session=own_session,
            env={**os.environ, **(environment or {})},
        )
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    return Launched(process, read_fd)


def start_in_background(home: Home, settings: Settings) -> Started:
    """Start a kernel that outlives this command; its output goes to ``boot_log``."""
    with open_boot_log(home) as output:
        return start_kernel(home, settings, output=output, own_session=True)


def open_boot_log(home: Home) -> IO[bytes]:
    """Open ``boot_log`` to append; its directories are made for the owner alone.

    Raises:
        BadHomeError: they cannot be made or written.
    """
    try:
        for directory in (home.state_dir, home.logs):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return boot_log(home).open("ab")
    except OSError as error:
        raise BadHomeError(home=str(home.state_dir), problem=str(error)) from None


def boot_log(home: Home) -> Path:
    """Return the file that gets what a background kernel prints beside its log."""
    return home.logs / "boot.log"


def exit_of(status: int) -> Exit:
    """Return our exit code for the exit status of a kernel process."""
    return _EXITS.get(KernelExit(status), Exit.BUG) if status in set(KernelExit) else Exit.FAILED


def stop_kernel(home: Home, timeout_s: float) -> int:
    """Have the kernel of this home stop its agents and end; return its pid once it has.

    By SIGTERM, not by a system call: a kernel that ends may not get its last answer out.
    Raises:
        KernelUnavailableError: none runs there. DeniedError: it is another user's.
        AskTimeoutError: it has not ended yet; it goes on stopping.
    """
    pid = running_pid(home)
    if pid is None:
        raise KernelUnavailableError(home=str(home.state_dir))
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return pid
    try:
        # The descriptor names one process; if the lock is still that pid's, it is the kernel.
        if running_pid(home) == pid:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        readable, _, _ = select.select([descriptor], [], [], timeout_s)
    except PermissionError:
        raise DeniedError(reason=f"kernel process {pid} belongs to another user") from None
    finally:
        os.close(descriptor)
    if not readable:
        raise AskTimeoutError(receiver=f"kernel process {pid}, which is still stopping its agents")
    return pid


def _has_line(ready: IO[bytes], timeout_s: float) -> bool:
    """Say whether a byte comes before the end of the pipe, which is the kernel's end."""
    readable, _, _ = select.select([ready], [], [], timeout_s)
    return bool(readable and ready.read(1))
