"""Descriptors, but for the edge's socket, and what to call when they can be read.

It has a descriptor of its own, which can be read when any of them can: thousands of pidfds
cost the kernel's loop no more than one. Cost: a system call a ``wait``.
"""

from __future__ import annotations

import select
from collections.abc import Callable


class Watcher:
    """An epoll set with a callback per descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call back whenever the descriptor can be read."""
        self._callbacks[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def want_write(self, descriptor: int, wanted: bool) -> None:
        """Call back also when the descriptor can be written, or no longer."""
        self._epoll.modify(descriptor, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def remove(self, descriptor: int) -> None:
        """Forget the descriptor; to be done before it is closed."""
        del self._callbacks[descriptor]
        self._epoll.unregister(descriptor)

    def fileno(self) -> int:
        """Return the descriptor that can be read when any of the watched ones can."""
        return self._epoll.fileno()

    def wait(self, timeout_s: float | None) -> list[int]:
        """Wait for any descriptor, at most so long; return those that are ready."""
        return [descriptor for descriptor, _ in self._epoll.poll(timeout_s)]

    def dispatch(self, descriptors: list[int]) -> None:
        """Call back for each; one that a callback has removed is left out."""
        for descriptor in descriptors:
            callback = self._callbacks.get(descriptor)
            if callback is not None:
                callback()

    def close(self) -> None:
        """Release the epoll set; the descriptors stay open."""
        self._epoll.close()
