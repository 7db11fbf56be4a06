"""The journal without a disk: durability ``none``, tests and the simulator.

What it is not: it survives no process. It keeps packed bytes, never the objects it was
given, so that whoever loads gets fresh envelopes, as from a file.

Cost: about 1 us a row.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ext.wire import Envelope
from kernel.journal.rows import inline_blob, read_envelope
from kernel.records import TABLES, Rows, Snapshot, WriteSet


class MemoryJournal:
    """A journal whose content lives as long as this object. Implements kernel.records.Journal."""

    def __init__(self, generation: int = 1) -> None:
        """generation: another one for each process, or peers would resume what is lost."""
        self.generation = generation
        self.epoch = 1
        self._tables: dict[str, Rows] = {name: {} for name in TABLES}

    def reopen(self) -> None:
        """Begin a new kernel epoch, as opening the file again would."""
        self.epoch += 1

    def commit(self, changes: WriteSet) -> None:
        """Apply the whole set; nothing is applied if a row cannot be packed."""
        packed = {
            name: {key: None if row is None else _pack(name, row) for key, row in rows.items()}
            for name, rows in changes.tables.items()
        }
        for name, rows in packed.items():
            _apply(self._tables[name], rows)

    def load(self) -> Snapshot:
        """Return everything stored, with envelopes of its own, in order of the keys."""
        return {
            name: {key: _unpack(name, rows[key]) for key in sorted(rows)}
            for name, rows in self._tables.items()
        }

    def tend(self) -> bool:
        """Nothing needs tending."""
        return False

    def size_bytes(self) -> int:
        """Return 0: no disk is used."""
        return 0

    def close(self) -> None:
        """Keep everything, for ``reopen``."""


def _apply(table: Rows, rows: dict[Hashable, tuple[Any, ...] | None]) -> None:
    for key, row in rows.items():
        if row is None:
            table.pop(key, None)
        else:
            table[key] = row


def _pack(name: str, row: tuple[Any, ...]) -> tuple[Any, ...]:
    if not TABLES[name].envelopes:
        return row
    return tuple(inline_blob(value) if isinstance(value, Envelope) else value for value in row)


def _unpack(name: str, row: tuple[Any, ...]) -> tuple[Any, ...]:
    if not (at := TABLES[name].envelopes) or row[at[0]] is None:
        return row
    return tuple(read_envelope(value) if i == at[0] else value for i, value in enumerate(row))
