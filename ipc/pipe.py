"""Messages over a stream socket between two processes of ours: u32 length, then msgpack.

Used between the kernel and its zygote. Both ends trust each other; the limit only finds bugs.

Cost: one send and, when messages come alone, one recv each.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any

import msgpack

_LENGTH = struct.Struct("<I")
_CHUNK = 1 << 16
MAX_MESSAGE = 256 << 20


class MessagePipe:
    """One end. Closed by the other end: ``is_closed`` turns true, nothing is raised."""

    def __init__(self, sock: socket.socket) -> None:
        self.is_closed = False
        self._socket = sock
        self._incoming = bytearray()
        self._outgoing = bytearray()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        """Say whether bytes wait for room in the socket."""
        return bool(self._outgoing)

    def send(self, message: Any) -> None:
        """Queue a message and send what the socket takes (all, if it is a blocking one)."""
        body = msgpack.packb(message)
        self._outgoing += _LENGTH.pack(len(body)) + body
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        while self._outgoing and not self.is_closed:
            try:
                sent = self._socket.send(self._outgoing, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self.is_closed = True
                return
            del self._outgoing[:sent]

    def receive(self) -> Iterator[Any]:
        """Read once and yield the messages that are complete.

        Raises ValueError for a length above MAX_MESSAGE.
        """
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.is_closed = True
        self._incoming += data
        yield from self._complete()

    def _complete(self) -> Iterator[Any]:
        while len(self._incoming) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._incoming)
            if length > MAX_MESSAGE:
                raise ValueError(f"a message of {length} bytes is above {MAX_MESSAGE}")
            end = _LENGTH.size + length
            if len(self._incoming) < end:
                return
            body = bytes(self._incoming[_LENGTH.size : end])
            del self._incoming[:end]
            yield msgpack.unpackb(body)

    def close(self) -> None:
        """Close this end."""
        self.is_closed = True
        self._socket.close()
