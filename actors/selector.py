"""An epoll selector that takes the kernel's messages itself, without asyncio's detour.

asyncio turns each readable descriptor into a Handle, queues it and runs it in a context of its
own. For the one descriptor that nearly every wake-up of an agent is about, that costs more than
receiving the message; so ``select`` calls the link's function directly when only it is ready.
If that leaves the loop nothing to do, ``select`` waits again by itself: a round of the loop with
nothing to run costs as much as reading the message does.

Invariants:
  I1  what the link's function schedules (``call_soon``, a timer, ``stop``) is dealt with by the
      loop before anything is waited for again, and a timer is never kept waiting beyond its time.
  I2  news of any other descriptor goes to the loop at once.

Cost: about 6 us less a wake-up, and 4 us where the loop has nothing to do (bench/README.md,
ask_rtt_64B). Owner: one event loop.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from time import monotonic
from typing import Any


class LinkSelector(selectors.EpollSelector):
    """See the module head."""

    def __init__(self) -> None:
        super().__init__()
        self._direct = -1
        self._action: Callable[[], None] | None = None
        self._loop: Any = None

    def call_directly(
        self,
        descriptor: int,
        action: Callable[[], None] | None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Call ``action`` from now on when ``descriptor`` is readable; None: no longer.

        The descriptor stays registered with the loop, whose reader must do the same.
        ``action`` must not raise. loop: the one that this is the selector of.
        """
        self._direct, self._action = descriptor, action
        is_known = all(hasattr(loop, name) for name in _PRIVATE)
        self._loop = loop if is_known else None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, except what was dealt with here."""
        action, direct, loop = self._action, self._direct, self._loop
        if action is None:
            return super().select(timeout)
        poll = self._selector.poll  # type: ignore[attr-defined]
        most = len(self._fd_to_key)  # type: ignore[attr-defined]
        num_timers = len(loop._scheduled) if loop is not None else 0
        end_s = monotonic() + timeout if timeout else 0.0
        while True:
            try:
                events = poll(timeout, most)
            except InterruptedError:
                return []
            if len(events) != 1 or events[0][0] != direct:
                return self._keyed(events)
            action()
            if loop is None or loop._ready or loop._stopping or action is not self._action:
                return []
            if len(loop._scheduled) != num_timers:  # only the loop takes timers out
                return []
            if timeout is not None and (timeout := end_s - monotonic()) <= 0.0:
                return []

    def _keyed(self, events: list[tuple[int, int]]) -> list[tuple[selectors.SelectorKey, int]]:
        found = []
        for descriptor, bits in events:
            key = self._fd_to_key.get(descriptor)  # type: ignore[attr-defined]
            if key is not None:
                readable = selectors.EVENT_READ if bits & ~_WRITABLE else 0
                writable = selectors.EVENT_WRITE if bits & ~_READABLE else 0
                found.append((key, (readable | writable) & key.events))
        return found


# Of asyncio's loops: what it runs next, its timers, whether it is about to stop. A loop without
# them is simply asked after each message.
_PRIVATE = ("_ready", "_scheduled", "_stopping")
_READABLE, _WRITABLE = 1, 4  # select.EPOLLIN, EPOLLOUT: an error counts as both
