"""What `llmos demo` does to its kernel and its agents: start, index, kill, start again.

It behaves as an operator would: a client of the kernel that reads process ids from ``ps`` and
uses SIGKILL. The client stays connected throughout; that the kernel was away is a pause to it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.cli.demo_view import View
from actors.cli.kernel_process import Settings, open_boot_log, start_kernel
from ipc.errors import KernelUnavailableError
from ipc.home import Home
from ipc.start import PACKAGE_ROOT

if TYPE_CHECKING:
    from actors.client import Client

EXAMPLE = Path(PACKAGE_ROOT) / "examples" / "stdlib_index.py"
POLL_S = 0.1
STALL_S = 60.0  # without any progress for so long, the demo has failed
STOP_TIMEOUT_S = 20.0

Progress = dict[str, int]


class StalledError(Exception):
    """The agents made no progress for STALL_S."""


@dataclass(slots=True)
class Kernel:
    """The demo's own kernel process, which is killed and started again."""

    home: Home
    settings: Settings = field(default_factory=Settings)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens; its output goes to the home's boot.log.

        Raises:
            KernelUnavailableError: it ended at once.
        """
        with open_boot_log(self.home) as output:
            started = start_kernel(self.home, self.settings, output=output, own_session=True)
        self.process = started.process
        if not started.is_ready:
            raise KernelUnavailableError(home=str(self.home.state_dir))

    def kill(self) -> int:
        """SIGKILL it; return its pid."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        return self.process.pid

    def stop(self) -> None:
        """Stop it and its agents in order; by force if that takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass(slots=True)
class Run:
    """One indexing of a folder under attack; counters survive the kernel's death here."""

    client: Client
    kernel: Kernel
    view: View
    counters: dict[str, int] = field(default_factory=dict)
    _epoch_counters: dict[str, int] = field(default_factory=dict)
    _advanced_at: float = field(default_factory=time.monotonic)
    _last: Progress = field(default_factory=dict)
    _coordinator: Any = None

    def index(self, root: str, num_files: int) -> Progress:
        """Index the folder, kill a worker and the kernel half-way, and return the totals.

        Raises:
            StalledError: no progress for a minute.
        """
        self.view.say(f"spawn the coordinator, from {EXAMPLE.name}; it spawns four workers")
        coordinator = self.client.spawn(f"{EXAMPLE}:Coordinator", name="index")
        coordinator.start(root)
        # Urgent: else the question waits behind all the counts that wait.
        self._coordinator = coordinator.options(priority=0)
        self._watch_until(lambda seen: seen["files"] * 2 >= num_files)
        self._kill_worker()
        self._watch_until(lambda seen: seen["files"] * 5 >= num_files * 3)
        self._kill_kernel()
        totals = self._watch_until(is_done)
        self._collect()
        return totals

    def _watch_until(self, reached: Callable[[Progress], bool]) -> Progress:
        while True:
            seen: Progress = self._coordinator.progress()
            self._note(seen)
            if reached(seen):
                return seen
            time.sleep(POLL_S)

    def _note(self, seen: Progress) -> None:
        self.view.show(seen["files"])
        if seen != self._last:
            self._last, self._advanced_at = seen, time.monotonic()
        elif time.monotonic() - self._advanced_at > STALL_S:
            raise StalledError(f"no progress for {STALL_S:.0f} s at {seen}")

    def _kill_worker(self) -> None:
        """SIGKILL the worker with the most mail."""
        workers = [info for info in self.client.system("ps") if info["name"] != "index"]
        victim = max(workers, key=lambda info: info["mailbox"])
        os.kill(victim["pid"], signal.SIGKILL)
        self.view.say(
            f"SIGKILL {victim['name']}, process {victim['pid']}, "
            f"with {victim['mailbox']} messages in its mailbox"
        )

    def _kill_kernel(self) -> None:
        self._collect()
        status = self.client.system("status")
        pid = self.kernel.kill()
        self.view.say(
            f"SIGKILL the kernel, process {pid}, with {status['pending_messages']} pending"
        )
        self._epoch_counters = {}
        begin = time.monotonic()
        self.kernel.start()
        elapsed_ms = (time.monotonic() - begin) * 1e3
        assert self.kernel.process is not None
        self.view.say(
            f"start the kernel again: process {self.kernel.process.pid}, {elapsed_ms:.0f} ms"
        )

    def _collect(self) -> None:
        """Add what the present kernel has counted since the last time."""
        now: dict[str, Any] = self.client.system("statistics")
        for name, value in now.items():
            gained = value - self._epoch_counters.get(name, 0)
            self.counters[name] = self.counters.get(name, 0) + gained
        self._epoch_counters = now


def is_done(seen: Progress) -> bool:
    """Say whether every folder was read and every file that was found was counted."""
    return seen["folders"] == 0 and seen["files"] == seen["found"]
