"""Writes recorded traffic into a file, on a thread of its own, off the kernel's loop.

The file is JSON lines in the lab's format (bench/lab/trace.py), gzipped if its name ends in .gz:
each batch is a whole gzip member, so a file whose kernel was killed is good up to the last batch.

Promises:
  T1  no call here waits for the disk but `close`, and that at most CLOSE_S.
  T2  at most MAX_WAITING requests wait to be written; what comes beyond is counted as dropped.
  T3  an existing file is never written to. After a problem nothing more is written.
Concurrency: the loop calls everything; the thread shares with it one bounded queue and numbers
that only the thread writes.
Cost: a queue operation a request for the loop; an idle thread while nothing is recorded: none.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread

from kernel.traffic import TraceReport, Traffic

MAX_WAITING = 4_096
CLOSE_S = 2.0
BATCH = 512
MODE = "xb"  # T3


class TraceFile:
    """See the module head. One file at a time; it may be started again when it has ended."""

    def __init__(self) -> None:
        self._queue: Queue[Traffic | None] = Queue(MAX_WAITING)
        self._thread: Thread | None = None
        self._written = 0
        self._dropped = 0
        self._problem = ""
        self._is_open = False
        self._told: TraceReport | None = None

    def start(self, path: str) -> None:
        """Begin a file; whether that works is told later."""
        self.close()
        self._queue = Queue(MAX_WAITING)
        self._written = self._dropped = 0
        self._problem, self._told, self._is_open = "", None, True
        self._thread = Thread(target=self._run, args=(Path(path), self._queue), daemon=True)
        self._thread.start()

    def write(self, traffic: Traffic) -> None:
        """Have a request written, if there is room (T2)."""
        try:
            self._queue.put_nowait(traffic)
        except Full:
            self._dropped += 1

    def stop(self) -> None:
        """Have the file end after what waits."""
        try:
            self._queue.put_nowait(None)
        except Full:
            # The end must be told: the newest that can still be taken out makes room for it.
            self._make_room()
            self._queue.put_nowait(None)

    def _make_room(self) -> None:
        try:
            self._queue.get_nowait()
            self._dropped += 1
        except Empty:
            pass  # the thread has made it

    def close(self) -> None:
        """End the file and wait for that, but not for ever (T1)."""
        if self._thread is not None:
            self.stop()
            self._thread.join(CLOSE_S)
            self._thread = None

    def last_report(self) -> TraceReport:
        """Return how the file does, or did."""
        return TraceReport(self._written, self._dropped, self._is_open, self._problem)

    def take_report(self) -> TraceReport | None:
        """Return how the file does, if that has changed since it was asked last."""
        report = self.last_report()
        if self._thread is None or report == self._told:
            return None
        self._told = report
        return report

    # --- on the thread ------------------------------------------------------------------

    def _run(self, path: Path, queue: Queue[Traffic | None]) -> None:
        try:
            with path.open(MODE) as file:
                while rows := take_batch(queue):
                    lines = "".join(line_of(row) for row in rows if row is not None).encode()
                    if lines:
                        file.write(gzip.compress(lines, 6) if path.suffix == ".gz" else lines)
                        file.flush()
                    self._written += sum(row is not None for row in rows)
                    if rows[-1] is None:
                        break
        except OSError as problem:
            self._problem = f"{problem.strerror or problem}: {path}"
        finally:
            self._is_open = False


def take_batch(queue: Queue[Traffic | None]) -> list[Traffic | None]:
    """Wait for something, and take what else is there; a None is always the last."""
    rows = [queue.get()]
    while rows[-1] is not None and len(rows) < BATCH:
        try:
            rows.append(queue.get_nowait())
        except Empty:
            break
    return rows


def line_of(traffic: Traffic) -> str:
    """Return a request as a line of the lab's format."""
    row = {
        "arrival_ns": traffic.arrival_ns,
        "ended_ns": traffic.ended_ns,
        "program": traffic.program,
        "owner": traffic.owner,
        "call_site": traffic.call_site,
        "priority": traffic.priority,
        "prompt_tokens": traffic.prompt_tokens,
        "output_tokens": traffic.output_tokens,
        "outcome": traffic.outcome,
        "prefix": [[group, traffic.group_tokens] for group in traffic.groups],
    }
    return json.dumps(row, separators=(",", ":")) + "\n"
