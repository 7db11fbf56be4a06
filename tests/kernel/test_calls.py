"""kernel/calls.py: which record a retried call takes, and what divergence is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ext.wire import Envelope
from ipc.protocol import Kind
from kernel.calls import Call, CallTable
from tests.trials import trials

OWNER, TURN = 5, 100


def call(identifier: int, digest: bytes = b"a", correlation: int = 0, turn: int = TURN) -> Call:
    envelope = Envelope(
        Kind.ASK,
        OWNER,
        9,
        turn=turn,
        correlation=correlation or identifier,
        digest=digest.ljust(16, b"."),
    )
    return Call(identifier, envelope)


def table_of(*calls: Call) -> CallTable:
    table = CallTable()
    for item in calls:
        table.add(item)
    return table


def match(table: CallTable, digest: bytes) -> int | None:
    found = table.match(TURN, digest.ljust(16, b"."))
    return found.id if found is not None else None


def test_a_first_attempt_matches_nothing() -> None:
    table = table_of(call(1))

    assert match(table, b"a") is None
    assert not table.has_unclaimed(TURN)


def test_a_retried_call_takes_the_lowest_unused_record_with_its_digest() -> None:
    table = table_of(call(1, b"a"), call(2, b"b"), call(3, b"a"))
    table.release_claims(TURN)

    assert [match(table, b"a"), match(table, b"a"), match(table, b"a")] == [1, 3, None]
    assert table.has_unclaimed(TURN)
    assert match(table, b"b") == 2
    assert not table.has_unclaimed(TURN)


def test_records_of_other_turns_are_not_taken() -> None:
    table = table_of(call(1, turn=101))
    table.release_claims(101)

    assert match(table, b"a") is None


def test_a_dropped_record_leaves_no_claim_open() -> None:
    first, second = call(1, b"a"), call(2, b"b")
    table = table_of(first, second)
    table.release_claims(TURN)

    table.drop(first)
    assert table.has_unclaimed(TURN)
    table.drop(second)

    assert not table.has_unclaimed(TURN)
    assert len(table) == 0


def test_a_number_used_anew_is_not_forgotten_with_the_call_that_had_it() -> None:
    old, new = call(1, correlation=7), call(2, correlation=7, turn=200)
    table = table_of(old, new)

    table.drop(old)

    assert table.find(OWNER, 7) is new


def test_a_call_without_a_number_is_found_by_none() -> None:
    item = call(1, correlation=7)
    table = table_of(item)

    table.reattach(item, OWNER, 0)

    assert table.find(OWNER, 7) is None
    assert table.find(OWNER, 0) is None
    assert table.get(1) is item


def test_calls_are_listed_in_the_order_they_were_made() -> None:
    table = table_of(call(3), call(1), call(2))

    assert [item.id for item in table.of_turn(TURN)] == [3, 1, 2]
    assert table.num_of_turn(TURN) == 3
    assert [item.id for item in table.of_owner(OWNER)] == [3, 1, 2]


digests = st.sampled_from([b"a", b"b", b"c"])


@settings(max_examples=trials(300), deadline=None)
@given(st.lists(digests, max_size=8), st.lists(digests, max_size=8))
def test_a_retry_is_matched_like_a_multiset_in_order(
    asked: list[bytes], again: list[bytes]
) -> None:
    table = table_of(*(call(number, digest) for number, digest in enumerate(asked, start=1)))
    table.release_claims(TURN)
    left = list(enumerate(asked, start=1))

    for digest in again:
        expected = next((pair for pair in left if pair[1] == digest), None)
        if expected is not None:
            left.remove(expected)
        assert match(table, digest) == (expected[0] if expected else None)
    assert table.has_unclaimed(TURN) == bool(left)
