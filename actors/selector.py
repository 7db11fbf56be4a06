"""An epoll selector that takes the kernel's messages itself, without asyncio's detour.

asyncio turns each readable descriptor into a Handle, queues it and runs it in a context of its
own. For the one descriptor that nearly every wake-up of an agent is about, that costs more than
receiving the message; so ``select`` calls the link's function directly when only it is ready.
What that function schedules with ``call_soon`` runs in the same round of the loop.

Cost: about 6 us less a wake-up (bench/README.md, ask_rtt_64B). Owner: one event loop.
"""

from __future__ import annotations

import math
import selectors
from collections.abc import Callable


class LinkSelector(selectors.EpollSelector):
    """See the module head."""

    def __init__(self) -> None:
        super().__init__()
        self._direct = -1
        self._action: Callable[[], None] | None = None

    def call_directly(self, descriptor: int, action: Callable[[], None] | None) -> None:
        """Call ``action`` from now on when ``descriptor`` is readable; None: no longer.

        The descriptor stays registered with the loop, whose reader must do the same.
        ``action`` must not raise.
        """
        self._direct, self._action = descriptor, action

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, except what was dealt with here."""
        if self._action is None:
            return super().select(timeout)
        if timeout is None:
            wait_s = -1.0
        else:
            wait_s = math.ceil(timeout * 1e3) * 1e-3 if timeout > 0 else 0.0
        try:
            events = self._selector.poll(wait_s, max(len(self._fd_to_key), 1))  # type: ignore[attr-defined]
        except InterruptedError:
            return []
        if len(events) == 1 and events[0][0] == self._direct:
            self._action()
            return []
        found = []
        for descriptor, bits in events:
            key = self._fd_to_key.get(descriptor)  # type: ignore[attr-defined]
            if key is not None:
                readable = selectors.EVENT_READ if bits & ~_WRITABLE else 0
                writable = selectors.EVENT_WRITE if bits & ~_READABLE else 0
                found.append((key, (readable | writable) & key.events))
        return found


_READABLE, _WRITABLE = 1, 4  # select.EPOLLIN, EPOLLOUT: an error counts as both
