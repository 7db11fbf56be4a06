"""SIGTERM and SIGINT of the kernel process, as calls from its loop.

The first SIGTERM or SIGINT asks for an orderly shutdown. A second SIGINT leaves at once:
agents are left running, and wait for a new kernel as long as their grace period says.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType

from kernel.host.watcher import Watcher


class Signals:
    """Handlers for as long as the object is open. Main thread only."""

    def __init__(
        self, watcher: Watcher, *, shutdown: Callable[[], None], leave: Callable[[], None]
    ) -> None:
        self.was_interrupted = False
        self._watcher = watcher
        self._shutdown = shutdown
        self._leave = leave
        self._is_stopping = False
        self._wakeup, self._wakeup_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        watcher.add(self._wakeup, self._drain)
        signal.set_wakeup_fd(self._wakeup_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal closing ends no kernel

    def close(self) -> None:
        """Ignore further signals: the process is about to end."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        self._watcher.remove(self._wakeup)
        os.close(self._wakeup)
        os.close(self._wakeup_end)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._is_stopping:
            self.was_interrupted = True
            self._leave()
        self._is_stopping = True
        self._shutdown()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup, 4096)
