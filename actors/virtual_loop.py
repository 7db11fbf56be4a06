"""An event loop whose time stands still until somebody moves it.

When nothing is ready to run, the loop does not sleep: it asks ``on_idle``, which may make
something ready, move the clock, or stop the loop. So a test never waits.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any

from ipc.clock import ManualClock

OnIdle = Callable[[float | None], None]  # seconds to the loop's next timer, None: it has none


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module head."""

    def __init__(self, clock: ManualClock, on_idle: OnIdle) -> None:
        self._virtual_clock = clock
        self._selector_of_threads = _IdleSelector(on_idle)
        super().__init__(self._selector_of_threads)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual_clock.monotonic_ns() / 1e9

    def wait_for_threads(self) -> None:
        """Block until a thread has scheduled something; may be called from ``on_idle``."""
        self._selector_of_threads.is_blocking = True


class _IdleSelector(selectors.BaseSelector):
    """Polls; where it would wait, it asks instead."""

    def __init__(self, on_idle: OnIdle) -> None:
        self._real = selectors.DefaultSelector()
        self._on_idle = on_idle
        self.is_blocking = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = self._real.select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        self.is_blocking = False
        self._on_idle(timeout)
        return self._real.select(None if self.is_blocking else 0)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()
