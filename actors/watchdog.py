"""Tells the kernel when an agent's event loop stands still within a turn.

A thread that sleeps while no turn is open. Else it asks the loop, once a tick, to run a trivial
callback; if that has not run by the next tick, the loop is stuck, and the kernel gets a TICK
with the time stuck so far, over a connection of the thread's own. Time is counted in the
thread's own ticks, so that time in which the process was stopped does not count.

What it cannot see: a handler that holds the interpreter's lock for ever, since then this
thread does not run either. The kernel notices that (kernel/heartbeat.py).

While the loop is stuck it also looks whether the kernel still listens: an agent that hangs
would else outlive its kernel for ever.

Cost: nothing while idle; a wake-up of two threads a tick (a tenth of the lease) in a turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import zmq

from ext.wire import Envelope
from ipc.envelope import encode

_LONGEST_TICK_S = 5.0
_SHORTEST_TICK_S = 0.05
_IDLE_TICKS = 2
EXIT_ORPHANED = 75


class Watchdog(threading.Thread):
    """See the module head. ``watch`` is called by the loop's thread at the start of a turn."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: zmq.Context[Any],
        endpoint: str,
        make_tick: Callable[[int], Envelope | None],
        *,
        lease_s: float,
        grace_s: float,
    ) -> None:
        """Make the thread. make_tick: the TICK for so many milliseconds; None: no open turn."""
        super().__init__(name="llmos-watchdog", daemon=True)
        self.is_parked = False
        self._loop = loop
        self._context = context
        self._endpoint = endpoint
        self._make_tick = make_tick
        self._tick_s = min(max(lease_s / 10, _SHORTEST_TICK_S), _LONGEST_TICK_S)
        self._grace_s = grace_s
        self._moved = False
        self._ended = False
        self._has_started = False
        self._wake = threading.Event()
        self._socket: zmq.Socket[Any] | None = None

    def watch(self) -> None:
        """A turn has begun: start, or go on."""
        if not self._has_started:
            self._has_started = True
            self.start()
        elif self.is_parked:
            self.is_parked = False
            self._wake.set()

    def end(self) -> None:
        """Leave the thread."""
        self._ended = True
        self._wake.set()
        if self.is_alive():
            self.join(1.0)

    def run(self) -> None:
        """Tick until the process ends."""
        idle = stuck = alone = 0
        self._ask_loop()
        while not self._ended:
            self._wake.wait(self._tick_s)
            stuck = 0 if self._moved else stuck + 1
            tick = self._make_tick(int(stuck * self._tick_s * 1000))
            idle = idle + 1 if tick is None else 0
            if tick is not None and stuck:
                self._tell(tick)
                alone = 0 if self._kernel_listens() else alone + 1
                if alone * self._tick_s >= self._grace_s:
                    os._exit(EXIT_ORPHANED)
            elif idle >= _IDLE_TICKS:
                self._park()
                idle = 0
            if not stuck:
                alone = 0
                self._ask_loop()
        self._hang_up()

    def _park(self) -> None:
        self._hang_up()
        self._wake.clear()
        self.is_parked = True
        if self._make_tick(0) is None and not self._ended:
            self._wake.wait()
        self.is_parked = False
        self._wake.clear()

    def _ask_loop(self) -> None:
        self._moved = False
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
            self._loop.call_soon_threadsafe(self._loop_moves)

    def _loop_moves(self) -> None:
        self._moved = True

    def _tell(self, tick: Envelope) -> None:
        if self._socket is None:
            self._socket = self._context.socket(zmq.DEALER)
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.SNDHWM, 4)
            self._socket.connect(self._endpoint)
        with contextlib.suppress(zmq.Again):
            self._socket.send_multipart(encode([tick]), zmq.NOBLOCK)

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None

    def _kernel_listens(self) -> bool:
        if not self._endpoint.startswith("ipc://"):
            return True
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(self._endpoint.removeprefix("ipc://"))
            except OSError:
                return False
        return True
