"""A real kernel process in a home of its own, to be killed and started again; its agents too."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from ipc.start import own_python

# A chaos test kills more often than any supervisor puts up with, and waits for no lost agent.
STRUCK = {"restart_intensity": 10_000, "max_attempts": 10_000, "adoption_window_s": 1.0}


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

    def replace(self) -> None:
        """SIGKILL, and start the next one in the same home."""
        self.kill()
        self.start()

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


@contextlib.contextmanager
def running_kernel(folder: Path, **settings: object) -> Iterator[KernelProcess]:
    """A kernel in a home below the folder; nothing of it is left afterwards."""
    process = KernelProcess(folder / "home", **settings)
    process.start()
    try:
        yield process
    finally:
        process.stop()


def kill_agent(client: Any, rng: random.Random, beginning: str = "") -> bool:
    """SIGKILL one of the living agents whose names begin so; False: there is none just now."""
    rows = [row for row in client.system("ps") if row["pid"] and row["name"].startswith(beginning)]
    if rows:
        kill_pid(rng.choice(rows)["pid"])
    return bool(rows)


def wait_until(is_so: Callable[[], Any]) -> None:
    """Ask until it is so; the test's own time limit bounds it."""
    while not is_so():
        time.sleep(0.05)  # polling an outside process: nothing here depends on the order


def wait_until_idle(client: Any) -> None:
    """Wait until no message is pending."""
    wait_until(lambda: not client.system("status")["pending_messages"])
