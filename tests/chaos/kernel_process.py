"""A real kernel process in a home of its own, to be killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import psutil

from ipc.start import own_python


class KernelProcess:
    """Starts ``python -m kernel``; ``kill`` is SIGKILL."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.home = home
        self.environment = os.environ | {
            f"LLMOS_{key.upper()}": str(value) for key, value in settings.items()
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when the kernel listens."""
        reader, writer = os.pipe()
        command = own_python("kernel.__main__", "--home", str(self.home), "--ready-fd", str(writer))
        with (self.home.parent / "kernel.out").open("ab") as output:
            self.process = subprocess.Popen(
                command, pass_fds=[writer], stdout=output, stderr=output, env=self.environment
            )
        os.close(writer)
        with os.fdopen(reader) as ready:
            if not ready.readline():
                text = (self.home.parent / "kernel.out").read_text()
                raise RuntimeError(f"the kernel did not start:\n{text}")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM: stop all agents in order; then make sure nothing of this home is left."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for left in self.agents():
            left.kill()

    def agents(self) -> list[psutil.Process]:
        """Return the agent processes that have this home's log files open."""
        logs = str(self.home / "logs")
        found = []
        for process in psutil.process_iter():
            try:
                target = os.readlink(f"/proc/{process.pid}/fd/1")
            except OSError:
                continue
            if target.startswith(logs):
                found.append(process)
        return found


def kill_pid(pid: int) -> None:
    """SIGKILL a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
