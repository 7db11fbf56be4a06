"""What the journal needs done, but not on the kernel's loop: checkpoints and file removal.

One thread with an SQLite connection of its own. It moves the WAL's pages into the database
(PASSIVE: it never makes the writer wait) and unlinks payload files whose rows are gone.

Concurrency: ``wake`` and ``remove`` may be called from the loop; everything else runs in the
thread. A failure here loses nothing: the WAL only grows, and the next commit on the loop
finds out for itself whether the disk works. It is kept in ``problem``.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque

from kernel.journal.payload_files import PayloadFiles


class Housekeeper:
    """Owns the thread, started when made, and the connection."""

    def __init__(self, connection: sqlite3.Connection, files: PayloadFiles) -> None:
        self.problem: str | None = None
        self._connection = connection
        self._files = files
        self._garbage: deque[int] = deque()  # bounded by the files there are
        self._wake = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Ask for a checkpoint soon."""
        self._wake.set()

    def remove(self, numbers: list[int]) -> None:
        """Have payload files deleted; their rows must be gone from the journal already."""
        self._garbage.extend(numbers)
        self._wake.set()

    def close(self) -> None:
        """Finish what was asked for, and end the thread."""
        self._is_closing = True
        self._wake.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait()
            self._wake.clear()
            is_last = self._is_closing  # read before the work, so that none is left behind
            self._work()

    def _work(self) -> None:
        try:
            while self._garbage:
                self._files.remove([self._garbage.popleft()])
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self.problem = None
        except (OSError, sqlite3.Error) as error:
            self.problem = str(error)
