"""The journal: one SQLite file in WAL mode that holds everything not yet done.

What it is not: the layout of a row (kernel/journal/rows.py), contents kept apart from their
rows, in files or shared (kernel/journal/contents.py), opening and refusing files
(kernel/journal/file.py), the thread that checkpoints (kernel/journal/housekeeper.py).

Invariants (tests/kernel/test_journal_crash.py kills a committing process over and over):
  I1  a write set is in the file whole or not at all; what ``commit`` returned for is there
      after SIGKILL, at durability ``power`` after a power loss too.
  I2  a payload file exists before the record that names it and until that is gone.
  I3  the file stays proportional to what is stored: freed pages are given back by ``tend``.
  I4  after a failed commit nothing of the set is stored, and no further commit is taken.

Cost: about 20 us a commit and 3 us a row at NORMAL (bench: journal). Each table touched costs
a page, so sets that touch few are cheap. Owned by the kernel's loop.
"""

from __future__ import annotations

import contextlib
import gc
import sqlite3
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, Literal, NoReturn

from ext.wire import Envelope
from ipc.errors import JournalCorruptError, JournalWriteError
from kernel.journal.contents import DELETE_SQL, PUT_SQL, Contents
from kernel.journal.file import CODECS, connect, explain, mark_clean, open_file
from kernel.journal.housekeeper import Housekeeper
from kernel.journal.payload_files import PayloadFiles
from kernel.journal.rows import TableCodec, is_in_file
from kernel.records import Snapshot, WriteSet

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_LOOK_ROWS = 16384  # rows between two checkpoints
_WAL_HARD_BYTES = 64 << 20  # above it the loop itself checkpoints, so that the WAL can restart
_VACUUM_PAGES = 128  # given back in one step: below a millisecond
_SLACK_PAGES = 512  # freed pages kept for reuse

Rows = dict[Hashable, tuple[Any, ...] | None]
Work = tuple[TableCodec, list[tuple[Any, ...]], list[tuple[Any, ...]], int]  # of one table


class SqliteJournal:
    """Implements kernel.records.Journal on a file. Open from the moment it is made."""

    def __init__(
        self,
        path: Path,
        payloads: Path,
        *,
        durability: Literal["process", "power"] = "process",
        boot_id: str | None = None,
    ) -> None:
        """Open or create the journal.

        payloads: directory of large payloads. boot_id: of the machine, for tests.
        Raises:
            JournalCorruptError, JournalVersionError: nothing was changed.
            JournalWriteError: it cannot be opened or written.
        """
        self.path = path
        try:
            opened = open_file(path, durability=durability, boot_id=boot_id or _read_boot_id())
            self._files = PayloadFiles(payloads, sync=durability == "power")
        except OSError as error:
            raise JournalWriteError(path=str(path), problem=str(error)) from None
        self.generation = opened.generation
        self.epoch = opened.epoch
        self.num_lost_rows = 0  # dropped at load: a power loss took their payload files
        self._lost_rows: list[tuple[str, Hashable]] = []
        self._lost_tail = opened.lost_tail
        self._connection = opened.connection
        self._cursor = opened.connection.cursor()
        self._contents = Contents(opened.connection, self._files)
        self._rows_since_look = 0
        self._is_broken = False
        self._housekeeper = Housekeeper(connect(path, check_same_thread=False), self._files)

    def commit(self, changes: WriteSet) -> None:
        """Make the whole set durable.

        Raises:
            JournalWriteError: nothing of the set was stored; the journal takes no more.
        """
        if self._is_broken:
            raise JournalWriteError(path=str(self.path), problem="an earlier commit failed")
        garbage: list[int] = []
        contents = self._contents
        contents.begin(changes)
        try:
            work = [
                self._prepare(CODECS[name], rows) for name, rows in changes.tables.items() if rows
            ]
            deletes, garbage = contents.finish()
            if work:
                self._write(work, contents.puts, deletes)
                contents.puts.clear()
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        if garbage:
            self._housekeeper.remove(garbage)

    def load(self) -> Snapshot:
        """Return everything stored, and sweep payload files that no row names.

        Raises:
            JournalCorruptError, BadRecordError: it cannot be read.
        """
        try:
            self._contents.begin_load()
            with _without_gc():
                snapshot = {name: self._read(codec) for name, codec in CODECS.items()}
            self._forget_lost_rows()
            self._cursor.executemany(DELETE_SQL, self._contents.sweep())
        except (sqlite3.Error, OSError) as error:
            raise JournalCorruptError(path=str(self.path), problem=str(error)) from None
        return snapshot

    def tend(self) -> bool:
        """Do a small step of upkeep; True: there is more to do. For when the loop is idle.

        Raises:
            JournalWriteError: as for ``commit``.
        """
        try:
            if self._rows_since_look:
                self._look()
            (free_pages,) = self._cursor.execute("PRAGMA freelist_count").fetchone()
            if free_pages <= _SLACK_PAGES:
                return False
            # executescript: ``execute`` stops after the first page
            self._connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        self._rows_since_look += 1  # the pages leave the file with the next checkpoint
        return True

    def size_bytes(self) -> int:
        """Return the bytes used on disk: file, WAL and payload files."""
        files = (self.path, self._wal_path())
        return self._files.size_bytes() + sum(f.stat().st_size for f in files if f.exists())

    def close(self) -> None:
        """Checkpoint everything and release the file."""
        self._housekeeper.close()
        try:
            if not self._is_broken:
                mark_clean(self._connection)
        except sqlite3.Error as error:  # committed sets are in the WAL all the same
            raise explain(self.path, error) from None
        finally:
            self._connection.close()

    def _prepare(self, codec: TableCodec, rows: Rows) -> Work:
        """Encode a table's rows; contents that are kept apart are stored or let go of (I2)."""
        contents = self._contents
        if not codec.has_envelopes:
            puts = codec.insertions(rows, _no_envelope)
        else:
            if not contents.is_empty:
                for key, row in rows.items():
                    contents.drop(codec.name, key, None if row is None else codec.envelope_of(row))
            puts = codec.insertions(rows, contents.blob)
        deletes = codec.deletions(rows) if len(puts) < len(rows) else []
        return codec, puts, deletes, len(rows)

    def _write(
        self, work: list[Work], shared: list[tuple[int, bytes]], unshared: list[tuple[int]]
    ) -> None:
        """Write all in one transaction. shared, unshared: contents that come and that go."""
        cursor = self._cursor
        cursor.execute("BEGIN IMMEDIATE")
        if shared:
            cursor.executemany(PUT_SQL, shared)
        if unshared:
            cursor.executemany(DELETE_SQL, unshared)
        for codec, puts, deletes, num_rows in work:
            if len(puts) == 1:  # half the time of executemany with one row
                cursor.execute(codec.put_sql, puts[0])
            elif puts:
                cursor.executemany(codec.put_sql, puts)
            if len(deletes) == 1:
                cursor.execute(codec.delete_sql, deletes[0])
            elif deletes:
                cursor.executemany(codec.delete_sql, deletes)
            self._rows_since_look += num_rows
        cursor.execute("COMMIT")
        if self._rows_since_look >= _LOOK_ROWS:
            self._look()

    def _look(self) -> None:
        """Have the WAL checkpointed; do it here when the thread cannot keep up.

        The thread never catches up with a writer that does not pause, and the WAL can only
        begin anew when it has: past the hard limit the loop does the (short) rest itself.
        """
        self._rows_since_look = 0
        if self._wal_path().stat().st_size > _WAL_HARD_BYTES:
            self._cursor.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        else:
            self._housekeeper.wake()

    def _read(self, codec: TableCodec) -> dict[Any, tuple[Any, ...]]:
        # A cursor of its own: a bad record leaves it half read, which would hinder ``close``.
        with contextlib.closing(self._connection.execute(codec.load_sql)) as cursor:
            return codec.read(cursor, self._decode)

    def _decode(self, table: str, key: Hashable, blob: bytes) -> Envelope | None:
        """Return a row's envelope; None if a power loss took its file (kernel/journal/file.py)."""
        try:
            return self._contents.decode(table, key, blob)
        except (FileNotFoundError, ValueError) as error:
            if not self._lost_tail or not is_in_file(blob):
                raise ValueError(_explain(error)) from None
            self._lost_rows.append((table, key))
            return None

    def _forget_lost_rows(self) -> None:
        changes = WriteSet()
        for table, key in self._lost_rows:
            changes.delete(table, key)
        self.num_lost_rows += len(self._lost_rows)
        self._lost_rows.clear()
        self.commit(changes)

    def _wal_path(self) -> Path:
        return self.path.with_name(self.path.name + "-wal")

    def _fail(self, error: Exception) -> NoReturn:
        self._is_broken = True
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # closing rolls back too
                self._connection.execute("ROLLBACK")
        raise JournalWriteError(path=str(self.path), problem=str(error)) from None


def _explain(error: FileNotFoundError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"the file with its content is gone: {error.filename}"
    return str(error)


def _no_envelope(table: str, key: Hashable, envelope: Envelope) -> bytes:
    raise AssertionError(f"table {table} holds no envelopes")


def _read_boot_id() -> str:
    return BOOT_ID.read_text().strip()


@contextlib.contextmanager
def _without_gc() -> Iterator[None]:
    """Keep the collector from walking a growing heap again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
