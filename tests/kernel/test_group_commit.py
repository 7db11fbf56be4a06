"""When changes are committed, and what leaves before and after."""

from __future__ import annotations

from typing import Any

import pytest

from ipc.errors import JournalWriteError
from kernel.host.group_commit import ACK_HOLD_NS, HOLD_NS, MAX_SETS, GroupCommit
from kernel.journal.in_memory import MemoryJournal
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
        self.history += [route for route, _ in output.frames]

    def add(
        self,
        name: bytes,
        now_ns: int = 0,
        *,
        grant: bytes = b"",
        busy: bool = False,
        patient: bool = False,
    ) -> None:
        """Add an output with a frame for a route, if it has a name, and a grant for another."""
        output = Output()
        output.is_patient = patient
        output.changes.put("mark", int.from_bytes(name or grant, "big"), (1, 1))
        output.frames += [(route, []) for route in (name, grant) if route]
        output.early.update([grant] if grant else [])
        self.group.add(output, now_ns, is_busy=lambda: busy)


def output_to(route: bytes, *, is_early: bool = False) -> Output:
    """Return an output with a frame for a route."""
    output = Output()
    output.frames = [(route, [])]
    output.early = {route} if is_early else set()
    return output


def test_a_lone_output_is_committed_before_it_leaves() -> None:
    stage = Stage()

    stage.add(b"a")

    assert stage.history == ["commit", b"a"]


def test_grants_leave_first_and_share_the_next_commit() -> None:
    stage = Stage()

    stage.add(b"", grant=b"a")
    assert stage.history == [b"a"]
    stage.add(b"b")

    assert stage.history == [b"a", "commit", b"b"]
    assert len(stage.journal.load()["mark"]) == 2


def test_grants_leave_while_what_came_with_them_is_held() -> None:
    stage = Stage()

    stage.add(b"a", grant=b"b", busy=True)
    stage.add(b"c", grant=b"d", busy=True)
    assert stage.history == [b"b", b"d"]
    stage.add(b"e")

    assert stage.history == [b"b", b"d", "commit", b"a", b"c", b"e"]


def test_grants_never_overtake_what_is_held_for_the_same_route() -> None:
    stage = Stage()

    stage.add(b"a", busy=True)
    stage.add(b"b", grant=b"a", busy=True)
    stage.add(b"c")

    assert stage.history == ["commit", b"a", b"b", b"a", b"c"]


def test_grants_with_ids_of_a_new_block_wait_until_it_is_committed() -> None:
    stage = Stage()
    opening = output_to(b"a", is_early=True)
    opening.changes.put("meta", "counter", (1,))

    stage.group.add(opening, 0, is_busy=lambda: True)
    stage.add(b"", grant=b"b", busy=True)
    assert stage.history == []
    stage.add(b"c")

    assert stage.history == ["commit", b"a", b"b", b"c"]


def test_acknowledgements_are_held_longer_than_answers_but_only_while_input_waits() -> None:
    stage = Stage()

    stage.add(b"a", 0, busy=True, patient=True)
    stage.add(b"b", HOLD_NS, busy=True, patient=True)
    assert stage.history == []
    stage.add(b"c", ACK_HOLD_NS, busy=True, patient=True)
    assert stage.history == ["commit", b"a", b"b", b"c"]
    stage.add(b"d", ACK_HOLD_NS, patient=True)

    assert stage.history[4:] == ["commit", b"d"]


def test_an_answer_does_not_wait_for_the_acknowledgements_before_it() -> None:
    stage = Stage()

    stage.add(b"a", 0, busy=True, patient=True)
    stage.add(b"b", HOLD_NS, busy=True)
    stage.add(b"c", 2 * HOLD_NS, busy=True, patient=True)

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
    output = output_to(b"a")
    output.commands = [Shutdown()]
    output.changes.put("mark", 1, (1, 1))

    stage.group.add(output, 0, is_busy=lambda: True)

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
    put, delete = output_to(b"p", is_early=True), output_to(b"x")
    put.changes.put_new("retry", 5, (1, 1))
    delete.changes.delete("retry", 5)

    stage.group.add(put, 0, is_busy=lambda: False)
    stage.group.add(delete, 0, is_busy=lambda: False)

    assert stage.journal.load()["retry"] == {}
    assert stage.history == [b"p", b"x"]
