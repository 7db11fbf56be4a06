"""Commits a second of the kernel's journal, beside the same rows written by SQLite alone.

Question: what does the journal add to SQLite? Budget: at least 0.5 of the floor's commits.

A commit is what one message costs in the steady state: a message of 64 B comes, the one before
it goes, and the sender's mark moves. Both at synchronous=NORMAL, WAL, in this process.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

from bench.effort import Effort
from bench.report import Measurement, alternate
from bench.world import Stage
from ext.wire import Envelope
from ipc.protocol import Kind
from kernel.journal.journal import SqliteJournal
from kernel.journal.rows import inline_blob
from kernel.records import WriteSet

NAMES = ("journal_commits_per_s",)
PEER = 7
CHECKPOINT_PAGES = 1000  # SQLite's own default


def measure(stage: Stage, effort: Effort) -> list[Measurement]:
    """Return the figure of NAMES."""
    with ExitStack() as parts:
        directory = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="llmos-bench-")))
        journal = SqliteJournal(directory / "journal.db", directory / "payloads")
        parts.callback(journal.close)
        floor = bare_sqlite(directory / "floor.db")
        parts.callback(floor.close)
        runs: dict[str, Callable[[], float]] = {
            "ours": Commits(lambda number: commit_ours(journal, number), effort.num_commits),
            "floor": Commits(lambda number: commit_bare(floor, number), effort.num_commits),
        }
        medians = alternate(runs, effort.repeats)
    return [Measurement("journal_commits_per_s", medians["ours"], "1/s", medians["floor"])]


class Commits:
    """Commits numbers one by one; goes on counting from run to run."""

    def __init__(self, commit: Callable[[int], None], count: int) -> None:
        self._commit = commit
        self._count = count
        self._done = 0

    def __call__(self) -> float:
        """Return commits a second."""
        commit, first = self._commit, self._done + 1
        self._done += self._count
        start = perf_counter()
        for number in range(first, first + self._count):
            commit(number)
        return self._count / (perf_counter() - start)


def message(number: int) -> Envelope:
    """Return a tell of 64 B."""
    return Envelope(Kind.TELL, PEER, 1, bytes(64), message=number)


def commit_ours(journal: SqliteJournal, number: int) -> None:
    """Commit through the journal."""
    changes = WriteSet()
    changes.put_new("message", number, (message(number), number, 0))
    changes.delete("message", number - 1)
    changes.put("mark", PEER, (1, number))
    journal.commit(changes)


def bare_sqlite(path: Path) -> sqlite3.Connection:
    """Return a connection with two tables like the journal's."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        f"""PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;
        PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};
        CREATE TABLE message (id INTEGER PRIMARY KEY, envelope BLOB,
            accepted INTEGER, deadline INTEGER);
        CREATE TABLE mark (id INTEGER PRIMARY KEY, incarnation INTEGER, sequence INTEGER);"""
    )
    return connection


def commit_bare(connection: sqlite3.Connection, number: int) -> None:
    """Commit the same rows with SQLite alone."""
    blob = inline_blob(message(number))
    connection.execute("BEGIN IMMEDIATE")
    row = (number, blob, number, 0)
    connection.execute("INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?)", row)
    connection.execute("DELETE FROM message WHERE id = ?", (number - 1,))
    connection.execute("INSERT OR REPLACE INTO mark VALUES (?, ?, ?)", (PEER, 1, number))
    connection.execute("COMMIT")
