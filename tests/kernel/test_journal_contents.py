"""kernel/journal/contents.py through the journal: what several rows hold is stored once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import kernel.journal.contents
from ext.wire import Envelope
from ipc.errors import BadRecordError
from ipc.plain import encode_plain
from ipc.protocol import Kind
from kernel.journal.contents import SHARE_BYTES
from kernel.journal.in_memory import MemoryJournal
from kernel.journal.journal import SqliteJournal
from kernel.journal.rows import SPILL_BYTES, content_number
from kernel.records import TABLES, WriteSet
from tests.kernel.world import World, body
from tests.simulator.kernel_host import KernelHost
from tests.simulator.simulation import Parts, run_seed

HISTORIES = 6

Row = tuple[str, int, tuple[Any, ...] | None]


def open_journal(directory: Path) -> SqliteJournal:
    return SqliteJournal(directory / "journal.db", directory / "payloads")


def commit(journal: SqliteJournal, *rows: Row) -> None:
    changes = WriteSet()
    for table, key, row in rows:
        if row is None:
            changes.delete(table, key)
        else:
            changes.put(table, key, row)
    journal.commit(changes)


def messages(count: int, payload: bytes, attachments: tuple[Any, ...] = ()) -> list[Row]:
    """Return the rows of a publish to so many subscribers."""
    return [
        ("message", n, (Envelope(Kind.TELL, 7, n, payload, attachments=attachments), 1, 0))
        for n in range(1, count + 1)
    ]


def shared_of(journal: SqliteJournal) -> list[int]:
    """Return the sizes of what is shared."""
    rows = journal._connection.execute("SELECT length(content) FROM payload ORDER BY id")
    return [size for (size,) in rows]


def stored_of(journal: SqliteJournal) -> set[int]:
    return {number for (number,) in journal._connection.execute("SELECT id FROM payload")}


def named_of(journal: SqliteJournal) -> set[int]:
    """Return the ids of the shared contents that rows name."""
    places = []
    for table in TABLES.values():
        for at in table.envelopes:
            sql = f"SELECT {table.columns[at][0]} FROM {table.name}"
            blobs = [blob for (blob,) in journal._connection.execute(sql) if blob is not None]
            places += [place for blob in blobs if (place := content_number(blob))]
    return {number for is_file, number in places if not is_file}


def files_of(journal: SqliteJournal) -> list[int]:
    """Return the sizes of the files, once those that are to go have gone."""
    garbage = journal._housekeeper._garbage
    while garbage:
        os.sched_yield()
    named = {c.number for c in journal._contents._by_identity.values() if c.is_file}
    return [journal._files.path(number).stat().st_size for number in named]


def test_what_many_rows_of_a_commit_hold_is_stored_once(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    rows = messages(100, b"p" * 65_536, (b"a" * 100,))

    commit(journal, *rows)
    written = journal.size_bytes()
    journal.close()

    journal = open_journal(tmp_path)
    loaded = journal.load()["message"]
    assert shared_of(journal) == [65_536 + 8 + 100]
    assert written < 3 * 65_536
    assert list(loaded.values()) == [row for _, _, row in rows]
    assert len({id(envelope.payload) for envelope, _, _ in loaded.values()}) == 1
    journal.close()


def test_a_shared_content_goes_with_the_last_of_its_rows(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    commit(journal, *messages(3, b"p" * SHARE_BYTES))

    commit(journal, ("message", 1, None), ("message", 3, None))
    assert shared_of(journal) == [SHARE_BYTES]
    assert list(journal.load()["message"]) == [2]

    commit(journal, ("message", 2, None))
    assert shared_of(journal) == []
    journal.close()


def test_a_row_alone_or_small_holds_its_content_itself(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)

    commit(journal, *messages(1, b"p" * SPILL_BYTES))
    commit(journal, *messages(9, b"p" * (SHARE_BYTES - 1)))

    assert shared_of(journal) == []
    assert files_of(journal) == []
    journal.close()


def test_a_dead_letter_shares_with_the_message_it_was(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    rows = messages(2, b"p" * SHARE_BYTES)
    commit(journal, *rows)
    _, _, row = rows[0]
    assert row is not None

    commit(journal, ("message", 1, None), ("message", 2, None))
    commit(journal, *messages(2, b"q" * SHARE_BYTES))
    commit(journal, *rows)
    commit(
        journal,
        ("message", 1, None),
        ("message", 2, None),
        ("dead_letter", 9, (row[0].copy(), b"")),
    )

    assert shared_of(journal) == [SHARE_BYTES]
    assert journal.load()["dead_letter"] == {9: (row[0], b"")}
    journal.close()


def test_a_large_content_is_one_file_for_all_its_rows(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    rows = messages(5, b"p", (b"a" * SPILL_BYTES,))
    commit(journal, *rows)
    journal.close()

    journal = open_journal(tmp_path)
    assert journal.load()["message"] == {key: row for _, key, row in rows}
    assert files_of(journal) == [1 + 8 + SPILL_BYTES]
    commit(journal, *(("message", n, None) for n in range(2, 6)))
    assert len(files_of(journal)) == 1
    commit(journal, ("message", 1, None))
    assert files_of(journal) == []
    journal.close()


def test_a_reference_to_nothing_is_a_bad_record(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    commit(journal, *messages(2, b"p" * SHARE_BYTES))
    journal._connection.execute("DELETE FROM payload")

    with pytest.raises(BadRecordError, match="payload 1 is not there"):
        journal.load()
    journal.close()


def test_a_journal_made_before_contents_were_shared_is_read(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    rows = messages(1, b"p" * SHARE_BYTES)
    commit(journal, *rows)
    journal.close()
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("DROP TABLE payload")
    connection.close()

    journal = open_journal(tmp_path)

    assert journal.load()["message"] == {key: row for _, key, row in rows}
    commit(journal, *messages(2, b"q" * SHARE_BYTES))
    assert shared_of(journal) == [SHARE_BYTES]
    journal.close()


class ContentsMachine(RuleBasedStateMachine):
    """Random commits of rows that share contents, and openings, against a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="llmos-contents-"))
        self.journal = open_journal(self.directory)
        self.model: dict[tuple[str, int], tuple[Any, ...]] = {}
        sizes = (10, SHARE_BYTES, SHARE_BYTES + 1, SPILL_BYTES + 1)
        self.pool = [bytes([n]) * size for n, size in enumerate(sizes)]

    def row_of(self, table: str, which: int) -> tuple[Any, ...]:
        envelope = Envelope(Kind.TELL, 7, 8, self.pool[which])
        return (envelope, 1, 0) if table == "message" else (envelope, b"")

    @rule(
        puts=st.dictionaries(
            st.tuples(st.sampled_from(["message", "dead_letter"]), st.integers(1, 8)),
            st.none() | st.integers(0, 3),
            min_size=1,
        )
    )
    def commit(self, puts: dict[tuple[str, int], int | None]) -> None:
        rows: list[Row] = []
        for (table, key), which in puts.items():
            row = None if which is None else self.row_of(table, which)
            rows.append((table, key, row))
            if row is None:
                self.model.pop((table, key), None)
            else:
                self.model[table, key] = row
        commit(self.journal, *rows)

    @rule()
    def open_again(self) -> None:
        num_files = len(files_of(self.journal))
        self.journal.close()
        assert len(list((self.directory / "payloads").iterdir())) == num_files
        self.journal = open_journal(self.directory)
        snapshot = self.journal.load()
        found = {
            (table, key): row
            for table in ("message", "dead_letter")
            for key, row in snapshot[table].items()
        }
        assert found == self.model
        rows = [row[0].payload for row in found.values()]
        self.pool = [next((r for r in rows if r == p), p) for p in self.pool]

    @invariant()
    def what_is_kept_is_what_rows_name(self) -> None:
        held = {row[0].payload for row in self.model.values()}
        assert stored_of(self.journal) == named_of(self.journal)
        assert len(files_of(self.journal)) == sum(len(p) > SPILL_BYTES for p in held)
        assert len(shared_of(self.journal)) <= sum(len(p) >= SHARE_BYTES for p in held)

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.directory)


TestContents = ContentsMachine.TestCase
TestContents.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)


# --- the kernel on it --------------------------------------------------------------------------


class OnDisk(MemoryJournal):
    """A journal in memory beside one in a file; each kernel epoch recovers from the file."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self.file = open_journal(directory)
        self._recovered: Any = None

    def commit(self, changes: WriteSet) -> None:
        super().commit(changes)
        self.file.commit(changes)

    def reopen(self) -> None:
        super().reopen()
        self.file.close()
        self.file = open_journal(self.directory)
        self._recovered = self.file.load()

    def load(self) -> Any:
        """Return what the file held when it was opened, once; else what memory holds."""
        snapshot, self._recovered = self._recovered, None
        return super().load() if snapshot is None else snapshot


def everything_of(journal: MemoryJournal) -> WriteSet:
    changes = WriteSet()
    for table, rows in journal.load().items():
        for key, row in rows.items():
            changes.put(table, key, row)
    return changes


def test_a_publish_is_stored_once_and_reaches_everybody_after_a_crash(tmp_path: Path) -> None:
    world, journal = World(), OnDisk(tmp_path)
    journal.commit(everything_of(world.journal))
    world.journal = journal
    declares = {"subscriptions": [["news", "hear", "wait"]]}
    subscribers = [world.spawn(f"s{n}", declares=declares) for n in range(20)]
    writer = world.spawn("writer")
    world.client.ask(writer.id, "write")
    inner = body("$event", "news", b"n" * 50_000)
    publish = Envelope(Kind.PUBLISH, writer.id, payload=encode_plain(["news", inner]))

    writer.commit(writer.turn_of("write"), publish)
    stored = shared_of(journal.file)
    world.kill_kernel()
    for subscriber in subscribers:
        subscriber.connect()

    assert stored == [len(inner)]
    assert all(s.granted[-1].payload == inner for s in subscribers)
    for subscriber in subscribers:
        subscriber.commit(subscriber.granted[-1].message)
    assert shared_of(journal.file) == []
    journal.file.close()


def test_histories_with_faults_keep_their_promises_on_shared_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.journal.contents, "SHARE_BYTES", 1)
    journals: list[OnDisk] = []
    most = 0

    class Host(KernelHost):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.journal = OnDisk(tmp_path / str(len(journals)))
            journals.append(self.journal)

        def commit(self, changes: WriteSet) -> None:
            nonlocal most
            super().commit(changes)
            most = max(most, len(journals[-1].file._contents._of_row))

    for index, seed in enumerate(range(4000, 4000 + HISTORIES)):
        (tmp_path / str(index)).mkdir()
        run_seed(seed, Parts(host=Host))
        assert stored_of(journals[-1].file) == named_of(journals[-1].file)
        journals[-1].file.close()
    assert most > 1
