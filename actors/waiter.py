"""A future whose waiting task goes on where it is resolved, without a turn of the loop.

asyncio's own Future schedules the task for the loop's next turn: 5 to 8 us on the way of each
answer. A Waiter is resolved from the top of the loop (the socket's callback), where no task
runs, so it may step the task there and then. Resolved from inside a task, it schedules.

It is the awaitable that ``Task`` knows by its duck type: ``_asyncio_future_blocking``,
``get_loop``, ``add_done_callback``, ``cancel`` and ``result``. One task may wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


class Waiter:
    """See the module head."""

    __slots__ = (
        "_asyncio_future_blocking",
        "_callback",
        "_context",
        "_error",
        "_loop",
        "_value",
        "is_done",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._callback: Callable[[Any], Any] | None = None
        self._context: Context | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        self.is_done = False

    def resolve(self, value: Any) -> None:
        """Give the waiting task its value; without effect when it is done already."""
        if not self.is_done:
            self.is_done = True
            self._value = value
            self._go_on()

    def fail(self, error: BaseException) -> None:
        """Raise the error in the waiting task; without effect when it is done already."""
        if not self.is_done:
            self.is_done = True
            self._error = error
            self._go_on()

    def _go_on(self) -> None:
        callback, context = self._callback, self._context
        if callback is None:
            return
        self._callback = self._context = None
        if context is None or asyncio.current_task(self._loop) is not None:
            self._loop.call_soon(callback, self, context=context)
        else:
            context.run(callback, self)

    def __await__(self) -> Generator[Any, None, Any]:
        if not self.is_done:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def result(self) -> Any:
        """Return the value, or raise the error."""
        if self._error is not None:
            raise self._error
        return self._value

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop; asked for by Task."""
        return self._loop

    def add_done_callback(
        self, callback: Callable[[Any], Any], *, context: Context | None = None
    ) -> None:
        """Called by the Task that waits; it steps the task."""
        if self.is_done:
            self._loop.call_soon(callback, self, context=context)
        else:
            self._callback, self._context = callback, context

    def cancel(self, msg: Any = None) -> bool:
        """The waiting task is being cancelled; called by Task."""
        if self.is_done:
            return False
        self.is_done = True
        self._error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self.abandoned()
        if self._callback is not None:
            self._loop.call_soon(self._callback, self, context=self._context)
            self._callback = self._context = None
        return True

    def abandoned(self) -> None:
        """Nobody waits any more; subclasses tell the other side."""
