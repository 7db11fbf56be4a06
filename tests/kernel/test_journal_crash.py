"""A real process commits numbered sets and is killed; what it had reported must be there."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ext.wire import Envelope
from ipc.start import PACKAGE_ROOT
from kernel.journal.journal import SqliteJournal
from kernel.records import WriteSet

ROWS = 5  # of each set
BIG_EVERY = 7  # every so many sets have a payload in a file, shared by their rows
SHARED_EVERY = 3  # every so many have one in the table of shared payloads
KEPT = 40  # sets; older ones are deleted


def open_journal(directory: Path) -> SqliteJournal:
    return SqliteJournal(directory / "journal.db", directory / "payloads")


def size_of(number: int) -> int:
    if number % BIG_EVERY == 0:
        return 270_000
    return 5_000 if number % SHARED_EVERY == 0 else 50


def numbered_set(number: int) -> WriteSet:
    """Set ``number``: its rows, and the removal of an old set, are to happen together."""
    changes = WriteSet()
    payload = bytes([number % 251]) * size_of(number)
    for row in range(ROWS):
        key = number * ROWS + row
        changes.put("message", key, (Envelope(10, 1, 2, payload, message=key), number, 0))
        if number > KEPT:
            changes.delete("message", key - KEPT * ROWS)
    changes.put("mark", 1, (1, number))
    return changes


def commit_forever(directory: Path) -> None:
    """The child: commit sets, reporting each on stdout once ``commit`` has returned."""
    journal = open_journal(directory)
    number = int(journal.load()["mark"].get(1, (1, 0))[1])
    while True:
        number += 1
        journal.commit(numbered_set(number))
        os.write(1, number.to_bytes(8, "little"))
        if number % 50 == 0:
            journal.tend()


def run_and_kill(directory: Path, after: int) -> int:
    """Let a child commit until it has reported ``after`` sets more; return the last reported."""
    code = (
        f"from tests.kernel.test_journal_crash import *; commit_forever(Path({str(directory)!r}))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=PACKAGE_ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    for _ in range(after):
        child.stdout.read(8)
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read()  # reported before it died
    child.wait()
    child.stdout.close()
    whole = len(rest) // 8 * 8
    return int.from_bytes(rest[whole - 8 : whole], "little") if whole else 0


def check(directory: Path, reported: int) -> int:
    """Assert that sets are there wholly or not at all; return the last one that is there."""
    journal = open_journal(directory)
    snapshot = journal.load()
    (num_shared,) = journal._connection.execute("SELECT count(*) FROM payload").fetchone()
    journal.close()
    last = int(snapshot["mark"][1][1])
    oldest = max(1, last - KEPT + 1)
    keys = range(oldest * ROWS, (last + 1) * ROWS)
    assert last >= reported
    assert list(snapshot["message"]) == list(keys)
    for key, row in snapshot["message"].items():
        number = int(str(key)) // ROWS
        expected = numbered_set(number).tables["message"][key]
        assert expected is not None
        assert row == expected
    sizes = [size_of(number) for number in range(oldest, last + 1)]
    assert len(list((directory / "payloads").iterdir())) == sizes.count(270_000)
    assert num_shared == sizes.count(5_000)
    return last


@pytest.mark.slow
def test_every_set_survives_sigkill_whole_or_not_at_all(tmp_path: Path) -> None:
    moments = random.Random(2)
    last = 0

    for _ in range(12):
        reported = run_and_kill(tmp_path, moments.randrange(1, 120))
        now = check(tmp_path, reported)
        assert now > last
        last = now
