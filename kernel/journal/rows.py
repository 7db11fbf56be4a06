"""How a write set's rows become SQLite parameters, and back.

What it is not: it opens nothing. An envelope is one blob:

    inline     header (128) | payload | u64 length of each attachment | attachments
    reference  b"LF" | u64 number of a file | header (128)
               b"LS" | u64 id in table ``payload`` | header (128)
               and what is named there holds: payload | u64 lengths | attachments

The header (ipc/envelope.py) begins with b"LO" and tells the lengths; its checksums are
verified when the row is read. Ids are unsigned 64-bit, SQLite's integers signed: keys with
bit 63 set are stored as their two's complement.

Cost: about 0.5 us an envelope each way.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol

from ext.wire import HEADER_SIZE, Envelope, pack, unpack
from ipc.errors import BadRecordError
from kernel.records import Rows, Table

SPILL_BYTES = 256 << 10  # payload and attachments together; above it they get a file

_REFERENCE = struct.Struct("<2sQ")
_INLINE, _IN_FILE, _IN_TABLE = b"LO", b"LF", b"LS"
_NUM_ATTACHMENTS = 7  # offsets in the header, see ipc/envelope.py
_PAYLOAD_LEN = 108
_SIGN = 1 << 63
_WRAP = 1 << 64
_NO_LIMIT = (1 << 32) - 1

Blob = bytes
EncodeEnvelope = Callable[[str, Hashable, Envelope], Blob]
# Returns None when the envelope was lost with the power: the row is left out.
DecodeEnvelope = Callable[[str, Hashable, Blob], Envelope | None]


def is_large(envelope: Envelope) -> bool:
    """Say whether the envelope's content belongs into a file of its own."""
    return len(envelope.payload) > SPILL_BYTES or (
        bool(envelope.attachments) and envelope.size - HEADER_SIZE > SPILL_BYTES
    )


class Holder(Protocol):
    """Whoever holds a content."""

    payload: bytes
    attachments: tuple[Any, ...]


def content_parts(envelope: Holder) -> list[Any]:
    """Return the buffers that follow the header: payload, lengths, attachments."""
    if not envelope.attachments:
        return [envelope.payload]
    sizes = [memoryview(part).nbytes for part in envelope.attachments]
    return [envelope.payload, struct.pack(f"<{len(sizes)}Q", *sizes), *envelope.attachments]


def inline_blob(envelope: Envelope) -> Blob:
    """Return the whole envelope as one blob."""
    blob = pack([envelope])
    if not envelope.attachments:
        return blob
    return b"".join((blob, *content_parts(envelope)[1:]))


def reference_blob(envelope: Envelope, number: int, *, is_file: bool) -> Blob:
    """Return the blob of an envelope whose content is apart, under ``number``."""
    kind = _IN_FILE if is_file else _IN_TABLE
    return _REFERENCE.pack(kind, number) + pack([envelope])[:HEADER_SIZE]


def content_number(blob: Blob) -> tuple[bool, int] | None:
    """Return where the content is: (whether in a file, number); None: in the blob."""
    kind = blob[:2]
    if kind not in (_IN_FILE, _IN_TABLE):
        return None
    if len(blob) < _REFERENCE.size:
        raise ValueError("the reference is cut short")
    return kind == _IN_FILE, int(_REFERENCE.unpack_from(blob)[1])


def is_in_file(blob: Blob) -> bool:
    """Say whether the content is in a file."""
    return blob[:2] == _IN_FILE


def read_envelope(blob: Blob, content: bytes | None = None) -> Envelope:
    """Return the envelope of a blob. content: if it is apart.

    Raises ValueError if the bytes are not an envelope.
    """
    if content is not None:
        blob = blob[_REFERENCE.size :] + content
    if len(blob) < HEADER_SIZE:
        raise ValueError(f"{len(blob)} bytes are not an envelope")
    attachments: list[Any] = []
    if blob[_NUM_ATTACHMENTS]:
        blob, attachments = _split(blob)
    status, envelopes = unpack(blob, attachments, _NO_LIMIT)
    if status:
        raise ValueError(f"not an envelope (status {status})")
    return envelopes[0]


def _split(blob: Blob) -> tuple[bytes, list[Any]]:
    """Return header with payload, and attachments; ValueError if they are cut short."""
    count = blob[_NUM_ATTACHMENTS]
    start = HEADER_SIZE + int.from_bytes(blob[_PAYLOAD_LEN : _PAYLOAD_LEN + 4], "little")
    if len(blob) < start + 8 * count:
        raise ValueError("the attachments are cut short")
    attachments: list[Any] = []
    offset = start + 8 * count
    for size in struct.unpack_from(f"<{count}Q", blob, start):
        attachments.append(blob[offset : offset + size])
        offset += size
    return blob[:start], attachments


class TableCodec:
    """SQL and row conversion of one table.

    has_envelopes: a column of it holds envelopes.
    """

    def __init__(self, table: Table) -> None:
        self.name = table.name
        self._envelope_at = table.envelopes[0] if table.envelopes else None
        self.has_envelopes = self._envelope_at is not None
        keys = [column for column, _ in table.key]
        names = keys + [column for column, _ in table.columns]
        marks = ", ".join("?" * len(names))
        types = ", ".join(f"{column} {kind}" for column, kind in table.key + table.columns)
        self._single = len(keys) == 1
        self._signed = self._single and table.key[0][1] == "INTEGER"
        self.create_sql = f"CREATE TABLE {table.name} ({types}, PRIMARY KEY ({', '.join(keys)}))"
        if not self._signed:  # a single INTEGER key is the rowid itself
            self.create_sql += " WITHOUT ROWID"
        self.put_sql = f"INSERT OR REPLACE INTO {table.name} VALUES ({marks})"
        self.delete_sql = f"DELETE FROM {table.name} WHERE " + " AND ".join(
            f"{column} = ?" for column in keys
        )
        self.load_sql = f"SELECT * FROM {table.name} ORDER BY {', '.join(keys)}"

    def envelope_of(self, row: tuple[Any, ...]) -> Envelope | None:
        """Return the envelope in a row, if there is one."""
        found: Envelope | None = None if self._envelope_at is None else row[self._envelope_at]
        return found

    def deletions(self, rows: dict[Hashable, tuple[Any, ...] | None]) -> list[tuple[Any, ...]]:
        """Return the parameters of ``delete_sql`` for the rows that are gone."""
        if self._signed:
            return [
                (key if key < _SIGN else key - _WRAP,)  # type: ignore[operator]
                for key, row in rows.items()
                if row is None
            ]
        return [self._key(key) for key, row in rows.items() if row is None]

    def insertions(
        self, rows: dict[Hashable, tuple[Any, ...] | None], encode: EncodeEnvelope
    ) -> list[tuple[Any, ...]]:
        """Return the parameters of ``put_sql`` for the rows that are stored."""
        at = self._envelope_at
        if at is None:
            if self._signed:
                return [
                    (key if key < _SIGN else key - _WRAP, *row)  # type: ignore[operator]
                    for key, row in rows.items()
                    if row is not None
                ]
            return [(*self._key(key), *row) for key, row in rows.items() if row is not None]
        if self._signed and at == 0:  # messages and answers: most of all that is stored
            return [
                (
                    key if key < _SIGN else key - _WRAP,  # type: ignore[operator]
                    encode(self.name, key, row[0]),
                    *row[1:],
                )
                for key, row in rows.items()
                if row is not None
            ]
        return [
            (
                *self._key(key),
                *row[:at],
                None if row[at] is None else encode(self.name, key, row[at]),
                *row[at + 1 :],
            )
            for key, row in rows.items()
            if row is not None
        ]

    def read(self, stored: Iterable[tuple[Any, ...]], decode: DecodeEnvelope) -> Rows:
        """Return rows by key, from what ``load_sql`` gave.

        Raises:
            BadRecordError: an envelope does not decode (ValueError of ``decode``).
        """
        rows: Rows = {}
        num_keys = 1 if self._single else 2
        at = self._envelope_at
        for values in stored:
            key: Any = values[0] if self._single else values[:2]
            if self._signed and key < 0:
                key += _WRAP
            row = values[num_keys:]
            if at is not None and (blob := row[at]) is not None:
                envelope = self._decode(key, blob, decode)
                if envelope is None:
                    continue
                row = (*row[:at], envelope, *row[at + 1 :])
            rows[key] = row
        return rows

    def _decode(self, key: Hashable, blob: Blob, decode: DecodeEnvelope) -> Envelope | None:
        try:
            if blob[:2] == _INLINE:  # most of them
                return read_envelope(blob)
            return decode(self.name, key, blob)
        except (ValueError, TypeError) as error:
            raise BadRecordError(table=self.name, key=key, problem=str(error)) from None

    def _key(self, key: Any) -> tuple[Any, ...]:
        """Return the key as SQLite columns, which are also the parameters of ``delete_sql``."""
        if not self._single:
            return key  # type: ignore[no-any-return]
        return (key - _WRAP,) if self._signed and key >= _SIGN else (key,)
