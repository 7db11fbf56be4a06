"""The kernel's socket: batches of envelopes in, batches out, nothing else.

What it is not: it knows no peer. A route is what the ROUTER calls a connection; which actor
that is, is the core's business.

Invariants:
  I1  a message that is not a batch is counted and dropped; it never raises out of ``drain``.
  I2  nothing here waits. What cannot be sent is counted and dropped: whoever numbers the
      envelopes sends them again (ipc/channel.py).
  I3  a ``drain`` takes a bounded number of messages and bytes.

Attachments are not copied: a received one is ZeroMQ's own buffer, and is sent as it is.

Cost: about 3 us to take and 2 us to send a message of one envelope (bench: edge). Where pyzmq
has several ways the cheapest is used, which is why this does not look like its manual:
getsockopt costs 1.6 us, ``Again`` 3.7 us, ``zmq.Socket.send`` 1 us more than the backend's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import zmq
from zmq.backend import zmq_poll

from ext.wire import Envelope
from ipc.envelope import decode, encode
from ipc.errors import BadFrameError

SMALL_BYTES = 1 << 16  # below it a copy is cheaper than sharing a buffer between threads
MAX_PART_BYTES = 1 << 30
HIGH_WATER_MARK = 16384  # messages per peer; above the window of any peer
DRAIN_MESSAGES = 256
DRAIN_BYTES = 16 << 20

# plain integers: combining pyzmq's flag enums costs 1 us each time
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.SNDMORE)
_MORE_NOBLOCK = int(zmq.SNDMORE | zmq.NOBLOCK)
_IN = int(zmq.POLLIN)

Receive = Callable[[bytes, list[Envelope]], None]


class Edge:
    """A ROUTER socket bound to one endpoint."""

    def __init__(self, endpoint: str, *, max_payload: int) -> None:
        """Bind. max_payload: bytes of one envelope's payload. Raises zmq.ZMQError."""
        self.counters: Counter[str] = Counter()
        self.last_problem: str | None = None
        self._max_payload = max_payload
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError:
            self._context.destroy(linger=0)
            raise
        self._poll_item = (self._socket, _IN)
        self._send: Callable[..., Any] = zmq.backend.Socket.send.__get__(self._socket)

    def wait(self, descriptor: int, timeout_ms: int) -> tuple[bool, bool]:
        """Wait for input or the descriptor; timeout_ms: -1 for ever.

        Returns: whether there is input, whether the descriptor can be read.
        """
        has_input = is_readable = False
        ready: Any = zmq_poll([self._poll_item, (descriptor, _IN)], timeout_ms)
        for what, _ in ready:
            if what is self._socket:
                has_input = True
            else:
                is_readable = True
        return has_input, is_readable

    def has_input(self) -> bool:
        """Say whether a message waits."""
        return bool(zmq_poll([self._poll_item], 0))

    def drain(self, receive: Receive) -> int:
        """Hand over what waits, within I3; return the number of messages taken."""
        taken = taken_bytes = 0
        while taken < DRAIN_MESSAGES and taken_bytes < DRAIN_BYTES and self.has_input():
            taken += 1
            route, parts = self._take()
            try:
                envelopes = decode(parts, self._max_payload)
            except BadFrameError as error:
                self._count_bad(str(error))
                continue
            taken_bytes += len(parts[1])
            if len(parts) > 2:
                taken_bytes += sum(memoryview(part).nbytes for part in parts[2:])
            receive(route, envelopes)
        return taken

    def send(self, route: bytes, batch: list[Envelope]) -> bool:
        """Send a batch; False if that connection is gone or takes no more (I2)."""
        send = self._send
        parts = encode(batch)
        try:
            send(route, _MORE_NOBLOCK)
        except zmq.ZMQError as error:
            return self._count_unsent(error)
        # once the route is taken, the rest of the message is too
        last = len(parts) - 1
        for i, part in enumerate(parts):
            if len(part) < SMALL_BYTES:  # bytes, but for attachments
                send(part, _MORE if i < last else 0)
            else:
                send(part, _MORE if i < last else 0, False)
        return True

    def close(self) -> None:
        """Close the socket; what has not left yet is dropped."""
        self._context.destroy(linger=0)

    def _take(self) -> tuple[bytes, list[Any]]:
        """Return route and parts of one message; there must be one.

        A frame, unlike bytes, tells whether more follow; after a route something always does.
        """
        receive = self._socket.recv
        route = receive(_NOBLOCK)
        frame = receive(0, False)
        parts: list[Any] = [frame.bytes]
        while frame.more:
            frame = receive(0, False)
            is_shared = len(parts) >= 2 and len(frame) >= SMALL_BYTES
            parts.append(frame if is_shared else frame.bytes)
        return route, parts

    def _count_bad(self, problem: str) -> None:
        self.counters["bad_frames"] += 1
        self.last_problem = problem

    def _count_unsent(self, error: zmq.ZMQError) -> bool:
        if error.errno == zmq.EHOSTUNREACH:
            self.counters["unreachable"] += 1
        elif error.errno == zmq.EAGAIN:
            self.counters["peer_full"] += 1
        else:
            raise error
        return False
