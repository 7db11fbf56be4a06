"""The kernel's socket: batches of envelopes in, batches out, nothing else.

What it is not: it knows no peer. A route is what the ROUTER calls a connection; which actor
that is, is the core's business.

Invariants:
  I1  a message that is not a batch is counted and dropped; it never raises out of ``drain``.
  I2  nothing here waits. What cannot be sent is counted and dropped: whoever numbers the
      envelopes sends them again (ipc/channel.py).
  I3  a ``drain`` takes a bounded number of envelopes and bytes, but always a whole message.

Attachments are not copied: a received one is ZeroMQ's own buffer, and is sent as it is.

Cost: about 2 us to take and 2 us to send a message of one envelope, through ipc/port.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import zmq

from ext.wire import Envelope
from ipc.envelope import bad_frame, encode
from ipc.port import POLLIN, open_port, send_message

MAX_PART_BYTES = 1 << 30
HIGH_WATER_MARK = 16384  # messages per peer; above the window of any peer
DRAIN_ENVELOPES = 64  # about half a millisecond of the core's time, and what an agent is granted
FAREWELL_MS = 300
DRAIN_BYTES = 16 << 20
INPUT, READABLE = 1, 2  # what ``wait`` has found

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
        self._port = open_port(self._socket)

    def wait(self, descriptor: int, timeout_ms: int) -> int:
        """Wait for input or the descriptor; timeout_ms: -1 for ever.

        Returns INPUT | READABLE (the descriptor may be); 0 when the time is over.
        """
        return self._port.wait(descriptor, timeout_ms)

    def has_input(self) -> bool:
        """Say whether a message waits."""
        return bool(self._port.events() & POLLIN)

    def drain(self, receive: Receive) -> int:
        """Hand over what waits, within I3; return the number of messages taken."""
        taken = taken_envelopes = taken_bytes = 0
        take, max_payload = self._port.take, self._max_payload
        while taken_envelopes < DRAIN_ENVELOPES and taken_bytes < DRAIN_BYTES:
            found = take(max_payload)
            if found is None:
                break
            taken += 1
            route, status, envelopes, num_bytes = found
            if status:
                self._count_bad(str(bad_frame(status)))
                taken_envelopes += 1
            else:
                taken_envelopes += len(envelopes)
                taken_bytes += num_bytes
                receive(route, envelopes)
        return taken

    def send(self, route: bytes, batch: list[Envelope]) -> bool:
        """Send a batch; False if that connection is gone or takes no more (I2)."""
        parts = encode(batch)
        if len(parts) == 1:
            problem = self._port.send(route, parts)
        else:
            problem = send_message(self._socket, self._port, [route, *parts])
        return self._count_unsent(problem) if problem else True

    def close(self) -> None:
        """Close the socket; what has not left yet gets a moment to leave."""
        self._port.detach()
        self._context.destroy(linger=FAREWELL_MS)

    def _count_bad(self, problem: str) -> None:
        self.counters["bad_frames"] += 1
        self.last_problem = problem

    def _count_unsent(self, problem: int) -> bool:
        if problem == zmq.EHOSTUNREACH:
            self.counters["unreachable"] += 1
        elif problem == zmq.EAGAIN:
            self.counters["peer_full"] += 1
        else:
            raise zmq.ZMQError(problem)
        return False
