"""Contents that are kept apart from their rows: large ones in files, shared ones once for all.

A content is what an envelope holds: its payload and attachments. Rows share one if their
envelopes hold the very same objects, as the messages of a publish do, or a dead letter and the
message it was.

    it is kept in      when
    its row            it has less than SHARE_BYTES, or no other row of the commit shares it
    table ``payload``  id -> payload | u64 lengths | attachments; several rows share it
    a file             it has more than SPILL_BYTES (kernel/journal/payload_files.py)

Invariants:
  C1  a content is stored before the first record that names it, or with it, and goes with the
      last, or after it.
  C2  how many rows name a content is counted here only; the counts are made anew at load.

Cost: nothing for a small payload; a dictionary entry a row for others.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from ext.wire import HEADER_SIZE, Envelope, pack
from kernel.journal.payload_files import PayloadFiles
from kernel.journal.rows import (
    content_number,
    content_parts,
    inline_blob,
    is_large,
    read_envelope,
    reference_blob,
)
from kernel.records import TABLES, WriteSet

SHARE_BYTES = 2048  # a page of the journal: less than that is as cheap in the row

PUT_SQL = "INSERT INTO payload VALUES (?, ?)"
DELETE_SQL = "DELETE FROM payload WHERE id = ?"

_READ_SQL = "SELECT content FROM payload WHERE id = ?"
_NUMBERS_SQL = "SELECT id FROM payload"
_HOLDING = {name: table.envelopes[0] for name, table in TABLES.items() if table.envelopes}

RowKey = tuple[str, Hashable]
Identity = tuple[int, int]


@dataclass(slots=True, eq=False)
class Content:
    """One content and where it is; it keeps the objects alive, so that their ids stay theirs."""

    number: int
    is_file: bool
    payload: bytes
    attachments: tuple[Any, ...]
    num_rows: int = 0


class Contents:
    """See the module head. Between ``begin`` and ``finish`` lies one commit."""

    def __init__(self, connection: sqlite3.Connection, files: PayloadFiles) -> None:
        self._connection = connection
        self._files = files
        self._of_row: dict[RowKey, Content] = {}
        self._by_identity: dict[Identity, Content] = {}
        self._at_load: dict[tuple[bool, int], Content] = {}
        self._next = max((number for (number,) in connection.execute(_NUMBERS_SQL)), default=0) + 1
        self._changes: WriteSet | None = None
        self._sharers: Counter[Identity] | None = None
        self._loose: list[Content] = []  # have lost a row in this commit
        self.puts: list[tuple[int, bytes]] = []  # parameters of PUT_SQL, for this commit

    @property
    def is_empty(self) -> bool:
        """Say whether no row names a content."""
        return not self._of_row

    # --- a commit -------------------------------------------------------------------------

    def begin(self, changes: WriteSet) -> None:
        """A commit begins."""
        self._changes = changes
        self._sharers = None

    def drop(self, table: str, key: Hashable, envelope: Envelope | None) -> None:
        """A row goes (None) or is put again: let go of what it named, if that is another now."""
        content = self._of_row.get((table, key))
        if content is None:
            return
        if (
            envelope is None
            or envelope.payload is not content.payload
            or envelope.attachments is not content.attachments
        ):
            del self._of_row[table, key]
            content.num_rows -= 1
            self._loose.append(content)

    def blob(self, table: str, key: Hashable, envelope: Envelope) -> bytes:
        """Return what the row holds, storing the content apart if need be. Raises OSError."""
        if len(envelope.payload) < SHARE_BYTES and not envelope.attachments:
            return pack([envelope])
        content = self._of_row.get((table, key))
        if content is None:
            content = self._content_of(envelope)
            if content is None:
                return inline_blob(envelope)
            content.num_rows += 1
            self._of_row[table, key] = content
        return reference_blob(envelope, content.number, is_file=content.is_file)

    def finish(self) -> tuple[list[tuple[int]], list[int]]:
        """Return what nobody names any more: parameters of DELETE_SQL, and numbers of files."""
        rows: list[tuple[int]] = []
        files: list[int] = []
        for content in self._loose:
            identity = _identity(content)
            if content.num_rows or self._by_identity.pop(identity, None) is None:
                continue
            if content.is_file:
                files.append(content.number)
            else:
                rows.append((content.number,))
        self._loose.clear()
        self._changes = None
        return rows, files

    def _content_of(self, envelope: Envelope) -> Content | None:
        """Return where the content is, or None: in the row itself."""
        identity = _identity(envelope)
        content = self._by_identity.get(identity)
        if content is not None:
            return content
        if is_large(envelope):
            number = self._files.write(content_parts(envelope))
            content = Content(number, True, envelope.payload, envelope.attachments)
        elif self._is_shared(envelope, identity):
            number, self._next = self._next, self._next + 1
            self.puts.append((number, b"".join(content_parts(envelope))))
            content = Content(number, False, envelope.payload, envelope.attachments)
        else:
            return None
        self._by_identity[identity] = content
        return content

    def _is_shared(self, envelope: Envelope, identity: Identity) -> bool:
        """Say whether several rows of this commit hold this content."""
        if envelope.size - HEADER_SIZE < SHARE_BYTES:
            return False
        if self._sharers is None:
            self._sharers = Counter(self._identities())
        return self._sharers[identity] > 1

    def _identities(self) -> list[Identity]:
        tables = self._changes.tables if self._changes is not None else {}
        return [
            _identity(row[at])
            for name, at in _HOLDING.items()
            for row in (tables.get(name) or {}).values()
            if row is not None and row[at] is not None
        ]

    # --- load -----------------------------------------------------------------------------

    def begin_load(self) -> None:
        """Forget what rows name; ``decode`` learns it anew."""
        self._of_row.clear()
        self._by_identity.clear()
        self._at_load.clear()

    def decode(self, table: str, key: Hashable, blob: bytes) -> Envelope:
        """Return a row's envelope.

        Raises:
            FileNotFoundError: its file is gone. ValueError: the bytes are not an envelope.
        """
        place = content_number(blob)
        if place is None:
            return read_envelope(blob)
        content = self._at_load.get(place)
        if content is None:
            envelope = read_envelope(blob, self._read(*place))
            content = Content(place[1], place[0], envelope.payload, envelope.attachments)
            self._at_load[place] = content
            self._by_identity[_identity(content)] = content
        else:  # the bytes are the same, and one copy is enough
            envelope = read_envelope(blob, b"".join(content_parts(content)))
            envelope.payload, envelope.attachments = content.payload, content.attachments
        content.num_rows += 1
        self._of_row[table, key] = content
        return envelope

    def sweep(self) -> list[tuple[int]]:
        """Remove files that no row names; return the parameters of DELETE_SQL that do the rest."""
        named = set(self._at_load)
        self._at_load.clear()
        self._files.remove(self._files.numbers() - {n for is_file, n in named if is_file})
        stored = [number for (number,) in self._connection.execute(_NUMBERS_SQL)]
        return [(number,) for number in stored if (False, number) not in named]

    def _read(self, is_file: bool, number: int) -> bytes:
        if is_file:
            return self._files.read(number)
        row = self._connection.execute(_READ_SQL, (number,)).fetchone()
        if row is None:
            raise ValueError(f"its payload {number} is not there")
        return bytes(row[0])


def _identity(holder: Envelope | Content) -> Identity:
    attachments = holder.attachments
    return id(holder.payload), id(attachments) if attachments else 0
