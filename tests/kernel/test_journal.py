"""kernel/journal/journal.py on a real file, but for SIGKILL (test_journal_crash.py)."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ext.wire import Envelope
from ipc.errors import (
    BadRecordError,
    JournalCorruptError,
    JournalVersionError,
    JournalWriteError,
)
from kernel.journal.file import FORMAT
from kernel.journal.in_memory import MemoryJournal
from kernel.journal.journal import SqliteJournal
from kernel.records import WriteSet


def open_journal(directory: Path, **options: Any) -> SqliteJournal:
    return SqliteJournal(directory / "journal.db", directory / "payloads", **options)


def envelope(number: int, payload: bytes = b"hello", attachments: tuple[Any, ...] = ()) -> Envelope:
    return Envelope(
        10,
        7,
        1 << 48 | 9,
        payload,
        message=number,
        digest=b"d" * 16,
        attachments=attachments,
    )


def put(journal: SqliteJournal, *rows: tuple[str, Any, tuple[Any, ...] | None]) -> None:
    changes = WriteSet()
    for table, key, row in rows:
        if row is None:
            changes.delete(table, key)
        else:
            changes.put(table, key, row)
    journal.commit(changes)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = open_journal(tmp_path)
    yield journal
    journal.close()


EVERY_TABLE: list[tuple[str, Any, tuple[Any, ...]]] = [
    ("meta", "counter", (1 << 40,)),
    ("actor", 3, (b"row",)),
    ("mark", 1 << 63 | 5, (0, 12)),
    ("mark", 4, (2, 13)),
    ("message", 1 << 48 | 6, (envelope(6), 7, 9)),
    ("retry", 6, (2, 1_700_000_000_000_000_000)),
    ("answer", 8, (envelope(8, b""),)),
    ("item", (8, 0), (envelope(9, b"item"),)),
    ("state", (3, "key"), (b"\x00value",)),
    ("timer", 10, (3, 1_700_000_000_000_000_001, envelope(10))),
    ("handle", (3, 1 << 48 | 4), ()),
    ("dead_letter", 1, (envelope(11, b"x", (b"one", bytearray(b"second"))), b"why")),
    ("keyed", b"k" * 16, (1_700_000_000_000_000_002, None)),
    ("keyed", b"l" * 16, (1_700_000_000_000_000_002, envelope(12))),
]


@pytest.mark.parametrize("durability", ["process", "power", "none"])
def test_what_was_committed_is_loaded_again(tmp_path: Path, durability: str) -> None:
    memory = MemoryJournal()
    journal: Any = memory if durability == "none" else open_journal(tmp_path, durability=durability)
    put(journal, *EVERY_TABLE)
    journal.close()

    if durability == "none":
        memory.reopen()
    else:
        journal = open_journal(tmp_path, durability=durability)
    snapshot = journal.load()
    journal.close()

    for table, key, row in EVERY_TABLE:
        assert snapshot[table][key] == row
    assert journal.epoch == 2


def test_loaded_envelopes_are_new_objects() -> None:
    memory = MemoryJournal()
    kept = envelope(1, b"p", (bytearray(b"abc"),))
    changes = WriteSet()
    changes.put("message", 1, (kept, 1, 0))
    memory.commit(changes)

    kept.sequence = 99
    first, second = (memory.load()["message"][1][0] for _ in range(2))

    assert first is not second
    assert first.sequence == 0


def test_the_last_word_on_a_key_counts(journal: SqliteJournal) -> None:
    put(journal, ("actor", 1, (b"a",)), ("actor", 2, (b"b",)), ("state", (1, "x"), (b"1",)))
    put(journal, ("actor", 1, (b"c",)), ("actor", 2, None), ("state", (1, "x"), None))
    put(journal, ("actor", 9, None))

    snapshot = journal.load()

    assert snapshot["actor"] == {1: (b"c",)}
    assert snapshot["state"] == {}


def test_rows_come_back_in_order_of_their_keys(journal: SqliteJournal) -> None:
    for number in (5, 1, 3):
        put(journal, ("message", number, (envelope(number), 1, 0)))

    assert list(journal.load()["message"]) == [1, 3, 5]


def test_each_opening_is_a_new_epoch_of_the_same_generation(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        journal = open_journal(tmp_path)
        seen.append((journal.generation, journal.epoch))
        journal.close()

    generation = seen[0][0]
    assert seen == [(generation, 1), (generation, 2), (generation, 3)]


def copy_of_running(source: Path, target: Path) -> None:
    """Copy a journal as a kill would leave it."""
    target.mkdir()
    for path in source.glob("journal.db*"):
        (target / path.name).write_bytes(path.read_bytes())


@pytest.mark.parametrize(
    ("durability", "boot", "increase"),
    [("process", "a", 0), ("process", "b", 1), ("power", "b", 0)],
)
def test_only_a_power_loss_at_level_process_ends_the_generation(
    tmp_path: Path, durability: str, boot: str, increase: int
) -> None:
    (tmp_path / "old").mkdir()
    running = open_journal(tmp_path / "old", durability=durability, boot_id="a")
    copy_of_running(tmp_path / "old", tmp_path / "new")

    journal = open_journal(tmp_path / "new", boot_id=boot)
    journal.close()
    running.close()

    assert journal.generation == running.generation + increase


def test_a_clean_close_keeps_the_generation_over_a_reboot(tmp_path: Path) -> None:
    before = open_journal(tmp_path, boot_id="a")
    before.close()

    after = open_journal(tmp_path, boot_id="b")
    after.close()

    assert after.generation == before.generation


def test_large_contents_are_files_that_go_with_their_row(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    big = envelope(1, b"p" * 300_000, (b"a" * 100_000, memoryview(b"b" * 7)))
    put(journal, ("message", 1, (big, 1, 0)), ("message", 2, (envelope(2, b"s"), 1, 0)))
    files = list((tmp_path / "payloads").iterdir())

    assert [path.stat().st_size for path in files] == [300_000 + 16 + 100_007]

    put(journal, ("message", 1, (big, 2, 3)))
    assert list((tmp_path / "payloads").iterdir()) == files
    assert journal.load()["message"][1] == (big, 2, 3)

    put(journal, ("message", 1, None))
    journal.close()
    assert list((tmp_path / "payloads").iterdir()) == []


def test_replacing_a_large_content_removes_the_old_file(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    put(journal, ("answer", 1, (envelope(1, b"p" * 300_000),)))
    put(journal, ("answer", 1, (envelope(1, b"q" * 300_001),)))
    journal.close()

    assert [path.stat().st_size for path in (tmp_path / "payloads").iterdir()] == [300_001]


def test_orphaned_payload_files_are_swept_at_load(tmp_path: Path, journal: SqliteJournal) -> None:
    orphan = tmp_path / "payloads" / f"{77:016x}"
    orphan.write_bytes(b"of a commit that never was")
    (tmp_path / "payloads" / "README").write_text("not ours")

    journal.load()

    assert not orphan.exists()
    assert (tmp_path / "payloads" / "README").exists()


def test_a_missing_payload_file_is_an_error_unless_power_was_lost(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, boot_id="a")
    put(journal, ("message", 1, (envelope(1, b"p" * 300_000), 1, 0)), ("actor", 1, (b"",)))
    next((tmp_path / "payloads").iterdir()).unlink()
    copy_of_running(tmp_path, tmp_path / "rebooted")
    copy_of_running(tmp_path, tmp_path / "killed")
    journal.close()

    killed = open_journal(tmp_path / "killed", boot_id="a")
    with pytest.raises(BadRecordError):
        killed.load()
    killed.close()
    rebooted = open_journal(tmp_path / "rebooted", boot_id="b")
    snapshot = rebooted.load()

    assert (snapshot["message"], snapshot["actor"]) == ({}, {1: (b"",)})
    assert rebooted.num_lost_rows == 1
    assert rebooted.load()["message"] == {}
    rebooted.close()


def test_the_file_shrinks_when_what_it_held_is_done(tmp_path: Path, journal: SqliteJournal) -> None:
    for start in range(0, 20_000, 1000):
        rows = range(start, start + 1000)
        put(journal, *(("message", i + 1, (envelope(i + 1, b"x" * 200), 1, 0)) for i in rows))
    while journal.tend():
        pass
    put(journal, *(("message", i, None) for i in range(1, 20_001)))

    while journal.tend():
        pass
    journal.close()
    full = 20_000 * (200 + 128)

    assert (tmp_path / "journal.db").stat().st_size < full / 4
    journal.__init__(tmp_path / "journal.db", tmp_path / "payloads")  # type: ignore[misc]
    assert journal.load()["message"] == {}


def test_the_wal_begins_anew_under_a_writer_that_never_pauses(
    tmp_path: Path, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.journal.journal._WAL_HARD_BYTES", 1 << 20)
    monkeypatch.setattr("kernel.journal.journal._LOOK_ROWS", 64)
    wal = tmp_path / "journal.db-wal"

    # While the thread is at it the loop cannot do the rest; on a busy machine that takes a while.
    for number in range(1, 10_001):
        put(journal, ("state", (1, "x"), (bytes([number % 256]) * 8000,)))
        if number >= 2000 and wal.stat().st_size < number * 8000 / 2:
            return

    pytest.fail(f"the WAL has grown to {wal.stat().st_size} bytes")


def test_a_newer_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_journal(tmp_path).close()
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("PRAGMA user_version=999")
    connection.close()
    before = (tmp_path / "journal.db").read_bytes()

    with pytest.raises(JournalVersionError) as caught:
        open_journal(tmp_path)

    assert (caught.value.found, caught.value.known) == (999, FORMAT)
    assert (tmp_path / "journal.db").read_bytes() == before


@pytest.mark.parametrize("version", [1, FORMAT])
def test_a_journal_of_an_earlier_program_gets_the_tables_it_lacks(
    tmp_path: Path, version: int
) -> None:
    journal = open_journal(tmp_path)
    put(journal, ("state", (1, "x"), (b"kept",)))
    journal.close()
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("DROP TABLE llm_step")
        connection.execute(f"PRAGMA user_version={version}")
    connection.close()

    journal = open_journal(tmp_path)
    put(journal, ("llm_step", 7, (b"new",)))

    assert journal.load()["state"] == {(1, "x"): (b"kept",)}
    assert journal.load()["llm_step"] == {7: (b"new",)}
    journal.close()


@pytest.mark.parametrize("damage", ["garbage", "truncated", "page"])
def test_a_damaged_journal_is_refused_and_left_alone(tmp_path: Path, damage: str) -> None:
    journal = open_journal(tmp_path)
    put(journal, *(("message", i, (envelope(i, b"x" * 500), 1, 0)) for i in range(1, 500)))
    journal.close()
    path = tmp_path / "journal.db"
    data = bytearray(path.read_bytes())
    match damage:
        case "garbage":
            data[:] = os.urandom(len(data))
        case "truncated":
            del data[len(data) // 2 :]
        case _:
            data[8192 : 8192 + 40_000] = b"\xff" * 40_000
    path.write_bytes(data)

    with pytest.raises(JournalCorruptError):
        open_journal(tmp_path).load()

    assert path.read_bytes() == data


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "journal.db")
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()

    with pytest.raises(JournalCorruptError, match="not a journal of this program"):
        open_journal(tmp_path)


def test_a_flipped_bit_in_a_message_is_a_bad_record(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    put(journal, ("message", 5, (envelope(5, b"y" * 40), 1, 0)))
    journal.close()
    path = tmp_path / "journal.db"
    path.write_bytes(path.read_bytes().replace(b"y" * 40, b"y" * 39 + b"z"))

    journal = open_journal(tmp_path)
    with pytest.raises(BadRecordError) as caught:
        journal.load()
    journal.close()

    assert (caught.value.table, caught.value.key) == ("message", 5)


def test_a_directory_that_is_not_there_is_a_write_error(tmp_path: Path) -> None:
    with pytest.raises(JournalWriteError, match="unable to open"):
        open_journal(tmp_path / "nowhere")


def test_a_full_disk_fails_the_commit_and_stores_nothing_of_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    put(journal, ("actor", 1, (b"kept",)))
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count={pages + 4}")  # SQLITE_FULL beyond it

    with pytest.raises(JournalWriteError, match="full"):
        put(journal, ("actor", 1, (b"lost",)), ("state", (1, "x"), (b"x" * 100_000,)))
    with pytest.raises(JournalWriteError, match="an earlier commit failed"):
        put(journal, ("actor", 2, (b"",)))
    journal.close()

    journal = open_journal(tmp_path)
    assert journal.load()["actor"] == {1: (b"kept",)}
    journal.close()


def test_an_empty_write_set_costs_no_transaction(journal: SqliteJournal) -> None:
    before = journal._connection.total_changes
    journal.commit(WriteSet())

    assert journal._connection.total_changes == before


def test_a_creation_that_was_cut_short_begins_again(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "journal.db")
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()

    journal = open_journal(tmp_path)
    journal.close()

    assert journal.epoch == 1
