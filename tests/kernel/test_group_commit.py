"""When changes are committed, and what leaves before and after."""

from __future__ import annotations

from typing import Any

import pytest

from ipc.errors import JournalWriteError
from kernel.group_commit import HOLD_NS, MAX_SETS, GroupCommit
from kernel.memory_journal import MemoryJournal
from kernel.output import Output, Shutdown
from kernel.records import WriteSet


class Stage:
    """A journal and a socket that note in which order they are used."""

    def __init__(self) -> None:
        self.history: list[Any] = []
        self.journal = MemoryJournal()
        self.group = GroupCommit(self, self.emit)  # type: ignore[arg-type]
        self.fails = False

    def commit(self, changes: WriteSet) -> None:
        if self.fails:
            raise JournalWriteError(path="here", problem="full")
        self.journal.commit(changes)
        self.history.append("commit")

    def emit(self, output: Output) -> None:
        self.history.append(output.frames[0][0])

    def add(self, name: bytes, now_ns: int = 0, *, grant: bool = False, busy: bool = False) -> None:
        output = Output(is_deferrable=grant)
        output.changes.put("mark", int.from_bytes(name, "big"), (1, 1))
        output.frames.append((name, []))
        self.group.add(output, now_ns, is_busy=busy)


def test_a_lone_output_is_committed_before_it_leaves() -> None:
    stage = Stage()

    stage.add(b"a")

    assert stage.history == ["commit", b"a"]


def test_grants_leave_first_and_share_the_next_commit() -> None:
    stage = Stage()

    stage.add(b"a", grant=True)
    assert stage.history == [b"a"]
    stage.add(b"b")

    assert stage.history == [b"a", "commit", b"b"]
    assert len(stage.journal.load()["mark"]) == 2


def test_grants_never_overtake_what_is_held() -> None:
    stage = Stage()

    stage.add(b"a", busy=True)
    stage.add(b"b", grant=True, busy=True)
    stage.add(b"c")

    assert stage.history == ["commit", b"a", b"b", b"c"]


def test_nothing_is_held_beyond_its_time_or_number() -> None:
    stage = Stage()

    stage.add(b"a", 0, busy=True)
    stage.add(b"b", HOLD_NS, busy=True)
    assert stage.history == ["commit", b"a", b"b"]
    for number in range(MAX_SETS):
        stage.add(b"%d" % number, HOLD_NS, busy=True)

    assert stage.history.count("commit") == 2


def test_commands_are_not_held() -> None:
    stage = Stage()
    output = Output(commands=[Shutdown()], frames=[(b"a", [])])
    output.changes.put("mark", 1, (1, 1))

    stage.group.add(output, 0, is_busy=True)

    assert stage.history == ["commit", b"a"]


def test_a_failed_commit_lets_nothing_out() -> None:
    stage = Stage()
    stage.add(b"a", busy=True)
    stage.fails = True

    with pytest.raises(JournalWriteError):
        stage.add(b"b")

    assert stage.history == []


def test_what_is_put_and_deleted_between_two_commits_leaves_no_row() -> None:
    stage = Stage()
    put, delete = Output(is_deferrable=True), Output(frames=[(b"x", [])])
    put.changes.put_new("retry", 5, (1, 1))
    put.frames.append((b"p", []))
    delete.changes.delete("retry", 5)

    stage.group.add(put, 0, is_busy=False)
    stage.group.add(delete, 0, is_busy=False)

    assert stage.journal.load()["retry"] == {}
    assert stage.history == [b"p", b"x"]
