"""A link without a socket: batches go through the real codec, and nothing else.

It stands where actors/link.py stands in a process. The other end is a ``Switch``, which may be
away (no kernel): then the link tries again, on the loop's (virtual) time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from actors.peer import Peer
from ext.wire import Envelope
from ipc.envelope import decode, encode

_RETRY_S = 0.05


class Switch(Protocol):
    """The kernel's end of all links."""

    def attach(self, link: MemoryLink) -> bytes | None:
        """Return the route of a new connection, or None when no kernel listens."""
        ...

    def detach(self, route: bytes) -> None:
        """A connection is gone."""
        ...

    def take(self, route: bytes, envelopes: list[Envelope]) -> None:
        """Take a batch from a connection."""
        ...


class MemoryLink:
    """See the module head."""

    def __init__(
        self,
        switch: Switch,
        peer: Peer,
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[], None],
    ) -> None:
        self._switch = switch
        self._peer = peer
        self._loop = loop
        self._on_lost = on_lost
        self._route: bytes | None = None
        self._retry: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Connect and say hello, now or as soon as there is a kernel."""
        self._route = self._switch.attach(self)
        if self._route is None:
            self._retry = self._loop.call_later(_RETRY_S, self.open)
            self._on_lost()
        else:
            self._peer.connected(self._transmit, self.cut)

    def close(self) -> None:
        """Disconnect for good."""
        if self._retry is not None:
            self._retry.cancel()
        self._hang_up()
        self._peer.close()

    def alive(self) -> None:
        """The kernel has welcomed us."""

    def cut(self) -> None:
        """The other end is gone; look for another."""
        self._hang_up()
        self._peer.disconnected()
        self._retry = self._loop.call_later(_RETRY_S, self.open)
        self._on_lost()

    def deliver(self, envelopes: list[Envelope]) -> None:
        """Give a batch from the kernel to the peer, at the top of the loop."""
        route = self._route
        self._loop.call_soon(self._receive, route, decode(_joined(envelopes)))

    def _receive(self, route: bytes | None, envelopes: list[Envelope]) -> None:
        if route is not None and route == self._route:
            self._peer.receive(envelopes)

    def _transmit(self, envelopes: list[Envelope]) -> None:
        if self._route is not None:
            self._switch.take(self._route, decode(_joined(envelopes)))

    def _hang_up(self) -> None:
        route, self._route = self._route, None
        if route is not None:
            self._switch.detach(route)


def _joined(envelopes: list[Envelope]) -> list[bytes]:
    """Return the parts as a socket would hand them over: copies."""
    return [bytes(part) for part in encode(envelopes)]
