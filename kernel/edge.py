"""The kernel's socket: batches of envelopes in, batches out, nothing else.

What it is not: it knows no peer. A route is what the ROUTER calls a connection; which actor
that is, is the core's business.

Invariants:
  I1  a message that is not a batch is counted and dropped; it never raises out of ``drain``.
  I2  nothing here waits. What cannot be sent is counted and dropped: whoever numbers the
      envelopes sends them again (ipc/channel.py).
  I3  a ``drain`` takes a bounded number of messages and bytes.

Attachments are not copied: a received one is ZeroMQ's own buffer, and is sent as it is.

Cost: about 5 us to take and 5 us to send a message of one envelope (bench: edge).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import zmq

from ext.wire import Envelope
from ipc.envelope import decode, encode
from ipc.errors import BadFrameError

SMALL_BYTES = 1 << 16  # below it a copy is cheaper than sharing a buffer between threads
MAX_PART_BYTES = 1 << 30
HIGH_WATER_MARK = 16384  # messages per peer; above the window of any peer
DRAIN_MESSAGES = 256
DRAIN_BYTES = 16 << 20

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
        descriptor: Any = self._socket.getsockopt(zmq.FD)
        self.descriptor: int = descriptor

    def has_input(self) -> bool:
        """Say whether a message waits.

        To be asked before waiting on the descriptor: that tells of news, not of a state, and
        sending takes such news away too.
        """
        events: Any = self._socket.getsockopt(zmq.EVENTS)
        return bool(events & zmq.POLLIN)

    def drain(self, receive: Receive) -> int:
        """Hand over what waits, within I3; return the number of messages taken."""
        taken = taken_bytes = 0
        while taken < DRAIN_MESSAGES and taken_bytes < DRAIN_BYTES:
            try:
                parts = self._take()
            except zmq.Again:
                break
            taken += 1
            try:
                envelopes = decode(parts[1:], self._max_payload)
            except BadFrameError as error:
                self._count_bad(str(error))
                continue
            taken_bytes += len(parts[2])
            if len(parts) > 3:
                taken_bytes += sum(memoryview(part).nbytes for part in parts[3:])
            receive(parts[0], envelopes)
        return taken

    def send(self, route: bytes, batch: list[Envelope]) -> bool:
        """Send a batch; False if that connection is gone or takes no more (I2)."""
        socket = self._socket
        parts = encode(batch)
        try:
            socket.send(route, zmq.SNDMORE | zmq.NOBLOCK)
        except zmq.ZMQError as error:
            return self._count_unsent(error)
        # once the route is taken, the rest of the message is too
        last = len(parts) - 1
        for i, part in enumerate(parts):
            flags = zmq.SNDMORE if i < last else 0
            socket.send(part, flags, copy=i == 0 or memoryview(part).nbytes < SMALL_BYTES)
        return True

    def close(self) -> None:
        """Close the socket; what has not left yet is dropped."""
        self._context.destroy(linger=0)

    def _take(self) -> list[Any]:
        """Return the parts of one message, the route first. Raises zmq.Again."""
        socket = self._socket
        parts: list[Any] = [socket.recv(zmq.NOBLOCK)]
        while socket.getsockopt(zmq.RCVMORE):
            if len(parts) < 3:
                parts.append(socket.recv())
            else:
                parts.append(_own_if_small(socket.recv(copy=False)))
        return parts

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


def _own_if_small(frame: zmq.Frame) -> bytes | zmq.Frame:
    return frame.bytes if len(frame) < SMALL_BYTES else frame
