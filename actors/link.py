"""The socket of one peer, watched by the event loop; connecting, losing, connecting again.

A DEALER socket here makes one connection at most: libzmq would reconnect it silently, and the
kernel would see a stranger. A monitor tells when the connection is lost; then the socket is
replaced and the peer says hello again.

The loop watches the socket's descriptor, which tells of news, not of a state. So it is drained
until it is empty, and after each send outside of a drain it is asked whether something came
meanwhile (sending takes the news away too).

A forked child must not use the channel: its sends raise ClosedError.

Cost: about 10 us a message in, 8 us a message out (one envelope, 64 bytes).
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable
from typing import Any

import zmq

from actors.peer import Peer
from actors.selector import LinkSelector
from ext.wire import Envelope
from ipc.envelope import decode, encode
from ipc.errors import BadFrameError, ClosedError
from ipc.port import POLLIN, Port, open_port, send_message

_RETRY_S = (0.02, 0.05, 0.1, 0.2, 0.5)  # between attempts to connect; the last one repeats
_DRAIN_MESSAGES = 16  # in one go; each brings up to as many envelopes as an agent is granted
_BATCH = 64  # envelopes a message: the kernel takes turns between peers by messages
_LOST = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_MONITORED = _LOST | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH


class Link:
    """See the module head. Owner: the loop's thread."""

    def __init__(
        self,
        endpoint: str,
        peer: Peer,
        loop: asyncio.AbstractEventLoop,
        *,
        on_lost: Callable[[], None],
        on_broken: Callable[[BaseException], None],
        selector: LinkSelector | None = None,
    ) -> None:
        """Make a link; ``open`` connects it.

        on_lost: the connection is gone, or could not be made; it is tried again by itself.
        on_broken: taking a batch raised: a bug. Nothing further is taken.
        selector: of the loop, if it can take the link's news directly.
        """
        self.context: zmq.Context[Any] = zmq.Context()
        self._endpoint = endpoint
        self._peer = peer
        self._loop = loop
        self._selector = selector
        self._on_lost = on_lost
        self._on_broken = on_broken
        self._socket: zmq.Socket[Any] | None = None
        self._port: Port | None = None
        self._monitor: zmq.Socket[Any] | None = None
        self._descriptors: list[int] = []
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None
        self._is_draining = False
        self._is_drain_due = False
        self._is_forked = False
        itself = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forbid(itself))

    def open(self) -> None:
        """Connect and say hello. Both go on by themselves until ``close``."""
        self._retry = None
        self._socket = socket = self.context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, 0),  # the channel's window is the bound
            (zmq.RCVHWM, 0),
            (zmq.RECONNECT_IVL, -1),
        ):
            socket.setsockopt(option, value)
        self._monitor = socket.get_monitor_socket(_MONITORED)
        self._watch(self._monitor, self._monitored)
        socket.connect(self._endpoint)
        self._port = open_port(socket)
        self._watch(socket, self._readable)
        if self._selector is not None:
            self._selector.call_directly(self._descriptors[-1], self._readable, self._loop)
        self._peer.connected(self._transmit, self._lost)
        # Both descriptors tell of news only after somebody has found nothing.
        self._drain_if_news()
        self._monitored()

    def close(self) -> None:
        """Disconnect for good."""
        if self._retry is not None:
            self._retry.cancel()
        self._drop()
        self._peer.close()
        self.context.destroy(linger=0)

    def alive(self) -> None:
        """The kernel has welcomed us: the next loss is a first one."""
        self._failures = 0

    def _watch(self, socket: zmq.Socket[Any], action: Callable[[], None]) -> None:
        descriptor: Any = socket.getsockopt(zmq.FD)
        self._descriptors.append(descriptor)
        self._loop.add_reader(descriptor, action)

    def _drop(self) -> None:
        for descriptor in self._descriptors:
            self._loop.remove_reader(descriptor)
        if self._selector is not None:
            self._selector.call_directly(-1, None)
        self._descriptors.clear()
        if self._port is not None:
            self._port.detach()
            self._port = None
        if self._socket is not None:
            self._socket.disable_monitor()
            self._socket.close(linger=0)
        if self._monitor is not None:
            self._monitor.close(linger=0)
        self._socket = self._monitor = None
        self._peer.disconnected()

    # --- out ------------------------------------------------------------------------------

    def _transmit(self, envelopes: list[Envelope]) -> None:
        if self._is_forked:
            raise ClosedError(what="the channel to the kernel, in a forked child,")
        socket, port = self._socket, self._port
        if socket is None or port is None:
            return  # kept by the channel, and sent after the next welcome
        # refused only when the connection is gone, and its monitor is about to say so: as above
        send_message(socket, port, encode(envelopes[:_BATCH]))
        for start in range(_BATCH, len(envelopes), _BATCH):
            send_message(socket, port, encode(envelopes[start : start + _BATCH]))
        if not self._is_draining:
            self._drain_if_news()

    def _drain_if_news(self) -> None:
        port = self._port
        if port is not None and not self._is_drain_due and port.events() & POLLIN:
            self._drain_later()

    def _drain_later(self) -> None:
        self._is_drain_due = True
        self._loop.call_soon(self._drain_due)

    def _drain_due(self) -> None:
        self._is_drain_due = False
        self._readable()

    # --- in -------------------------------------------------------------------------------

    def _readable(self) -> None:
        """Take what waits, message by message, up to a bound.

        The last look comes after the last send, which may have taken the news away.
        """
        port = self._port
        if port is None or self._is_draining:
            return
        self._is_draining = True
        try:
            for _ in range(_DRAIN_MESSAGES):
                parts = port.receive()  # of a port that was dropped: None
                if parts is None:
                    return
                self._peer.receive(decode(parts))
            self._drain_later()  # let the loop do other things in between
        except BadFrameError:
            self._lost()
        except Exception as error:
            self._on_broken(error)
        finally:
            self._is_draining = False

    # --- connections ----------------------------------------------------------------------

    def _monitored(self) -> None:
        monitor = self._monitor
        while monitor is not None and monitor is self._monitor:
            try:
                event = monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if int.from_bytes(event[0][:2], "little") & _MONITORED:
                self._lost()

    def _lost(self) -> None:
        if self._socket is None:
            return
        self._drop()
        delay_s = _RETRY_S[min(self._failures, len(_RETRY_S) - 1)]
        self._failures += 1
        self._retry = self._loop.call_later(delay_s, self.open)
        self._on_lost()


def _forbid(link: weakref.ref[Link]) -> None:
    itself = link()
    if itself is not None:
        itself._is_forked = True
