# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""A future whose waiting task goes on where it is resolved, without a turn of the loop.

asyncio's own Future schedules the task for the loop's next turn: 5 to 8 us on the way of each
answer. A Waiter is resolved from the top of the loop (the socket's callback), where no task
runs, so it may step the task there and then. Resolved from inside a task, it schedules.

It is the awaitable that ``Task`` knows by its duck type: ``_asyncio_future_blocking``,
``get_loop``, ``add_done_callback``, ``cancel`` and ``result``. One task may wait for it.
What it is not: a Future for others; it calls back one time, one task. Imports nothing of ours.

Cost: below 0.5 us from the await to the answer; as a Python class it took 120 bytecodes of each
ask (bench/README.md). Owner: the loop's thread.
"""

import asyncio

_current_task = asyncio.current_task


cdef class Waiter:
    """See the module head. ``abandoned`` is for subclasses."""

    cdef public bint _asyncio_future_blocking
    cdef readonly bint is_done
    cdef object _loop
    cdef object _callback    # steps the task that waits; None: nobody does
    cdef object _context     # of that task
    cdef object _value
    cdef object _error

    def __init__(self, loop not None):
        self._loop = loop

    def resolve(self, value):
        """Give the waiting task its value; without effect when it is done already."""
        if not self.is_done:
            self.is_done = True
            self._value = value
            self._go_on()

    def fail(self, error not None):
        """Raise the error in the waiting task; without effect when it is done already."""
        if not self.is_done:
            self.is_done = True
            self._error = error
            self._go_on()

    cdef int _go_on(self) except -1:
        callback, context = self._callback, self._context
        if callback is None:
            return 0
        self._callback = self._context = None
        if context is None or _current_task(self._loop) is not None:
            self._loop.call_soon(callback, self, context=context)
        else:
            context.run(callback, self)
        return 0

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        """Give itself to the task that waits; once it is done, end with the result."""
        if not self.is_done:
            self._asyncio_future_blocking = True
            return self
        if self._error is not None:
            raise self._error
        raise StopIteration(self._value)

    def result(self):
        """Return the value, or raise the error."""
        if self._error is not None:
            raise self._error
        return self._value

    def get_loop(self):
        """Return the loop; asked for by Task."""
        return self._loop

    def add_done_callback(self, callback not None, *, context=None):
        """Called by the Task that waits; it steps the task."""
        if self.is_done:
            self._loop.call_soon(callback, self, context=context)
        else:
            self._callback, self._context = callback, context

    def cancel(self, msg=None):
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

    def abandoned(self):
        """Nobody waits any more; subclasses tell the other side."""
