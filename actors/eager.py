"""Starts a coroutine as a Task whose first step runs at once.

A handler that never waits is finished when this returns: no turn of the loop is spent on it,
yet ``asyncio.current_task``, ``timeout`` and ``TaskGroup`` work in it, because it is a Task.
Python 3.12 has eager tasks. On 3.11 the Task's one call of ``loop.call_soon`` is caught and the
step it would have scheduled is run here: the very code asyncio would run, only sooner.

Must be called from the top of the loop, where no task runs (Python 3.11). Cost: 2 us.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

if sys.version_info >= (3, 12):

    def start_eagerly(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], context: Context
    ) -> asyncio.Task[Any]:
        """Return the task, finished already if the coroutine did not wait."""
        return asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)

else:

    def start_eagerly(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], context: Context
    ) -> asyncio.Task[Any]:
        """Return the task, finished already if the coroutine did not wait."""
        steps: list[Any] = []
        loop.call_soon = lambda step, *, context=None: steps.append(step)  # type: ignore
        try:
            task = asyncio.Task(coroutine, loop=loop, context=context)
        finally:
            del loop.call_soon
        context.run(steps[0])
        return task
