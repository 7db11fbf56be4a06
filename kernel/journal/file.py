"""Open the journal's SQLite file: create it, or refuse what is damaged or newer.

    application_id   0x4C4C4D4F, b"LLMO"
    user_version     FORMAT; a higher one is refused, a lower one gets the tables it lacks
    tables           those of kernel.records.TABLES; ``meta`` holds format, generation, epoch
    journal_file     name TEXT -> value TEXT: boot_id, is_clean, durability of the last opening
    payload          id INTEGER -> content BLOB, shared by rows (kernel/journal/contents.py)

A ``generation`` is a history that peers can resume. It ends when committed sets may be
missing: the file was open at durability ``process`` when another boot of the machine ran.
The ``epoch`` counts openings.

Cost: SQLite's quick_check, one read of the file (about 60 ms for 100,000 messages).
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ipc.errors import JournalCorruptError, JournalVersionError, JournalWriteError
from kernel.journal.rows import TableCodec
from kernel.records import TABLES

FORMAT = 2  # 2: tables of models and LLM requests
APPLICATION_ID = 0x4C4C4D4F
PAGE_BYTES = 2048  # a commit of three small rows costs 26 us, with 4096 31, with 8192 39
WAL_LIMIT_BYTES = 32 << 20  # the WAL file is cut to this when it begins anew

CODECS = {name: TableCodec(table) for name, table in TABLES.items()}

_OWN_TABLES = {
    "journal_file": "CREATE TABLE journal_file (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "payload": "CREATE TABLE payload (id INTEGER PRIMARY KEY, content BLOB)",
}
_CREATE = {name: codec.create_sql for name, codec in CODECS.items()} | _OWN_TABLES
_OLDEST = {"meta", "actor", "mark", "message", "answer", "state", "journal_file"}  # in any format
_PUT_OWN = "INSERT OR REPLACE INTO journal_file VALUES (?, ?)"
_PUT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_UNREADABLE = ("not a database", "malformed", "corrupt", "no such table", "no such column")


@dataclass(frozen=True, slots=True)
class Opened:
    """An open journal file, and which opening of which history it is."""

    connection: sqlite3.Connection
    generation: int
    epoch: int
    lost_tail: bool  # committed sets may be missing: the generation is a new one


def connect(path: Path, *, check_same_thread: bool = True) -> sqlite3.Connection:
    """Return a connection; all of a process may write one after the other, no other process.

    unix-excl takes the file's locks once, and keeps the WAL's index in memory: measured, a
    commit costs 21 us instead of 27.
    """
    return sqlite3.connect(
        f"file:{quote(str(path))}?vfs=unix-excl",
        uri=True,
        isolation_level=None,
        timeout=1.0,
        check_same_thread=check_same_thread,
    )


def open_file(path: Path, *, durability: str, boot_id: str) -> Opened:
    """Open or create the file and journal the new epoch.

    durability: "process" or "power".
    Raises:
        JournalCorruptError, JournalVersionError: the file is left as it is.
        JournalWriteError: the file cannot be opened, made or written.
    """
    connection = None
    try:
        connection = connect(path)
        if _is_empty(path, connection):
            _create(connection)
        _check(path, connection)
        _configure(connection)
        opened = _begin_epoch(connection, durability, boot_id)
        connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'power' else 'NORMAL'}")
        return opened
    except (sqlite3.Error, JournalCorruptError, JournalVersionError) as error:
        if connection is not None:
            connection.close()
        raise explain(path, error) from None


def explain(path: Path, error: Exception) -> Exception:
    """Return the typed error for what SQLite raised; others as they are."""
    if not isinstance(error, sqlite3.Error):
        return error
    if any(word in str(error) for word in _UNREADABLE):
        return JournalCorruptError(path=str(path), problem=str(error))
    return JournalWriteError(path=str(path), problem=str(error))


def mark_clean(connection: sqlite3.Connection) -> None:
    """Say that everything committed is on the disk; the last write before closing."""
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(_PUT_OWN, ("is_clean", "1"))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _is_empty(path: Path, connection: sqlite3.Connection) -> bool:
    """Say whether nothing was ever stored: a new file, or a creation that was cut short."""
    if path.stat().st_size == 0:
        return True
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return tables == 0 and _pragma(connection, "application_id") == 0


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # only possible before the first table
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("BEGIN IMMEDIATE")
    for sql in _CREATE.values():
        connection.execute(sql)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute("COMMIT")


def _check(path: Path, connection: sqlite3.Connection) -> None:
    if _pragma(connection, "application_id") != APPLICATION_ID:
        problem = "it is an SQLite file, but not a journal of this program"
        raise JournalCorruptError(path=str(path), problem=problem)
    found = _pragma(connection, "user_version")
    if found > FORMAT:
        raise JournalVersionError(path=str(path), found=found, known=FORMAT)
    (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise JournalCorruptError(path=str(path), problem=str(answer))
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not there >= _OLDEST:
        problem = f"no such table: {', '.join(sorted(_OLDEST - there))}"
        raise JournalCorruptError(path=str(path), problem=problem)
    missing = [sql for name, sql in _CREATE.items() if name not in there]
    if found < FORMAT or missing:
        _upgrade(connection, missing)


def _upgrade(connection: sqlite3.Connection, missing: list[str]) -> None:
    """Add the tables that an earlier file has not; nothing stored changes."""
    connection.execute("BEGIN IMMEDIATE")
    for sql in missing:
        connection.execute(sql)
    connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute("COMMIT")


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")  # the housekeeper's work
    connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA cache_size=-8192")  # KiB
    connection.execute("PRAGMA synchronous=FULL")  # until the epoch is on the disk


def _begin_epoch(connection: sqlite3.Connection, durability: str, boot_id: str) -> Opened:
    own = dict(connection.execute("SELECT name, value FROM journal_file"))
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    lost_tail = (
        own.get("is_clean") == "0"
        and own.get("durability") == "process"
        and own.get("boot_id") != boot_id
    )
    # a new file does not begin at 1: it may stand where another was, which peers remember
    generation = int(meta.get("generation", time.time())) + lost_tail
    epoch = int(meta.get("epoch", 0)) + 1
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        _PUT_OWN, [("is_clean", "0"), ("durability", durability), ("boot_id", boot_id)]
    )
    connection.executemany(
        _PUT_META, [("format", FORMAT), ("generation", generation), ("epoch", epoch)]
    )
    connection.execute("COMMIT")
    return Opened(connection, generation, epoch, lost_tail)
