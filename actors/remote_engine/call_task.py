"""The task of one call, which is told to end early at most once at a time.

A task that is cancelled closes its connection on the way out. Cancelled a second time while it
does so (its deadline passes, and the kernel's CANCEL comes), it would leave the connection open,
and the endpoint would go on computing: asyncio's ``cancel`` interrupts any await, httpx's own
cleaning up included. So whoever wants a call to end says so here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any


class Why(Enum):
    """Why a call is to end."""

    GONE = 1  # nobody waits for it
    LATE = 2  # its deadline passed
    ENOUGH = 3  # what still comes is not worth waiting for


class CallTask:
    """See the module head."""

    def __init__(self, run: Callable[[CallTask], Coroutine[Any, Any, None]]) -> None:
        self._why: Why | None = None
        self.task = asyncio.get_running_loop().create_task(run(self))

    def stop(self, why: Why) -> None:
        """Cancel the task, unless it is about to end already."""
        if self._why is None and not self.task.done():
            self._why = why
            self.task.cancel()

    def stop_in(self, delay_s: float, why: Why) -> asyncio.TimerHandle:
        """Do so later; the handle is to be cancelled when it is no longer meant."""
        return asyncio.get_running_loop().call_later(delay_s, self.stop, why)

    def goes_on(self, why: Why) -> bool:
        """Say whether a CancelledError came of this; the task then goes on as if it had not."""
        if self._why is not why:
            return False
        self._why = None
        self.task.uncancel()
        return True
