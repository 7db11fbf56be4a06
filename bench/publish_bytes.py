"""What a publish to many subscribers costs the journal: bytes on disk and CPU time.

Question: is a payload stored once, however many get it? Goal: at most 2 payloads' worth of bytes
for 100 subscribers and 64 KiB.
Run: python -m bench.publish_bytes [--subscribers 100] [--bytes 65536] [--quick] [--json]

  publish_bytes     bytes that a publish adds to the journal and its WAL, before a checkpoint;
                    floor: the same messages, each with a payload of its own
  publish_cpu_ms    CPU time of the commit; floor: likewise
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from statistics import median
from time import process_time

from bench.report import Measurement, print_json, print_table
from ext.wire import Envelope
from ipc.protocol import Kind
from kernel.journal.journal import SqliteJournal
from kernel.records import WriteSet


def publish(num_subscribers: int, payload: bytes, *, shared: bool) -> WriteSet:
    """Return what a publish adds to the journal. shared: as the core does it."""
    changes = WriteSet()
    for number in range(num_subscribers):
        content = payload if shared else bytes(bytearray(payload))
        envelope = Envelope(Kind.TELL, 1, number + 2, content)
        changes.put("message", number + 1, (envelope, 1, 0))
    return changes


def measure(num_subscribers: int, num_bytes: int, *, shared: bool) -> tuple[int, float]:
    """Return the bytes written and the seconds of CPU time of one publish."""
    with tempfile.TemporaryDirectory(prefix="llmos-bench-") as directory:
        journal = SqliteJournal(Path(directory) / "journal.db", Path(directory) / "payloads")
        before = journal.size_bytes()
        changes = publish(num_subscribers, os.urandom(num_bytes), shared=shared)
        start = process_time()
        journal.commit(changes)
        spent = process_time() - start
        written = journal.size_bytes() - before
        journal.close()
        return written, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", type=int, default=100)
    parser.add_argument("--bytes", type=int, default=65_536, help="of the payload")
    parser.add_argument("--quick", action="store_true", help="once instead of five times")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    runs: dict[bool, list[tuple[int, float]]] = {True: [], False: []}
    for _ in range(1 if options.quick else 5):
        for shared in runs:
            runs[shared].append(measure(options.subscribers, options.bytes, shared=shared))
    written = {shared: median(size for size, _ in seen) for shared, seen in runs.items()}
    spent = {shared: median(s * 1e3 for _, s in seen) for shared, seen in runs.items()}
    measurements = [
        Measurement("publish_bytes", written[True], "bytes", written[False]),
        Measurement("publish_cpu_ms", spent[True], "ms", spent[False]),
    ]
    if options.json:
        print_json(measurements)
    else:
        print_table("a publish in the journal", measurements)


if __name__ == "__main__":
    main()
