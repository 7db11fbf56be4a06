"""Server-sent events: bytes in, the data of events out.

Only ``data`` fields matter here; other fields and comments are skipped. Memory: one event of at
most MAX_EVENT bytes, whatever the endpoint sends.

Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream".
"""

from __future__ import annotations

from collections.abc import Iterator

from actors.remote_engine.failure import LieError

MAX_EVENT = 1 << 20  # bytes, a line being part of its event


class SseReader:
    """See the module head."""

    __slots__ = ("_data", "_held", "_is_after_cr", "_line")

    def __init__(self) -> None:
        self._line = bytearray()  # the one that has not ended
        self._data: list[bytes] = []
        self._held = 0  # bytes in _data
        self._is_after_cr = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the data of each event that ends in the chunk.

        Raises:
            LieError: an event is too long, or its data is not UTF-8.
        """
        if self._is_after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the second half of a line end
        self._is_after_cr = chunk.endswith(b"\r") if chunk else self._is_after_cr
        for piece in chunk.splitlines(keepends=True):
            line = piece.rstrip(b"\r\n")
            self._grow(line)
            if len(line) < len(piece):
                whole, self._line = bytes(self._line), bytearray()
                yield from self._take_line(whole)

    def _grow(self, part: bytes) -> None:
        if len(self._line) + len(part) + self._held > MAX_EVENT:
            raise LieError(f"an event of more than {MAX_EVENT} bytes")
        self._line += part

    def _take_line(self, line: bytes) -> Iterator[str]:
        if line.startswith(b"data:") or line == b"data":
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            self._held += len(line)
        elif not line and self._data:
            data, self._data, self._held = b"\n".join(self._data), [], 0
            try:
                yield data.decode()
            except UnicodeDecodeError:
                raise LieError("an event that is not UTF-8") from None
