"""What may be in use of a remote endpoint, at the edges of its windows."""

from __future__ import annotations

import pytest

from ipc.errors import PromptTooLongError
from kernel.llm.endpoint_limits import LimitBook, Limits
from kernel.llm.sliding_window import WINDOW_NS

SECOND = 1_000_000_000


def test_a_request_leaves_its_window_after_exactly_a_minute() -> None:
    book = LimitBook(Limits(requests_per_minute=1))
    book.start(1, 10, 0)
    book.end(1, 10, 0)

    assert not book.has_room(10, WINDOW_NS - 1)
    assert book.room_at(10) == WINDOW_NS
    assert book.has_room(10, WINDOW_NS)


def test_tokens_count_until_a_minute_after_the_end_of_their_request() -> None:
    book = LimitBook(Limits(tokens_per_minute=100))
    book.start(1, 100, 0)

    assert not book.has_room(1, 5 * WINDOW_NS)
    assert book.room_at(1) is None  # only its end can make room
    book.end(1, 100, 5 * WINDOW_NS)
    assert book.room_at(1) == 6 * WINDOW_NS
    assert book.has_room(100, 6 * WINDOW_NS)


def test_what_was_reserved_and_not_used_is_free_at_once() -> None:
    book = LimitBook(Limits(tokens_per_minute=100))
    book.start(1, 100, 0)
    book.end(1, 30, SECOND)

    assert book.booked_tokens == 30
    assert book.has_room(70, SECOND)
    assert not book.has_room(71, SECOND)


def test_usage_that_is_not_known_counts_as_all_that_was_reserved() -> None:
    book = LimitBook(Limits(tokens_per_minute=100))
    book.start(1, 60, 0)
    book.end(1, None, SECOND)

    assert book.booked_tokens == 60


def test_what_a_request_took_beyond_its_reservation_makes_others_wait() -> None:
    book = LimitBook(Limits(tokens_per_minute=100))
    book.start(1, 50, 0)
    book.end(1, 150, SECOND)

    assert not book.has_room(1, 2 * SECOND)
    assert book.room_at(1) == SECOND + WINDOW_NS


def test_a_request_that_could_never_start_is_refused() -> None:
    book = LimitBook(Limits(tokens_per_minute=100))

    with pytest.raises(PromptTooLongError) as caught:
        book.check(101)

    assert (caught.value.value, caught.value.limit) == (101, 100)
    book.check(100)


def test_without_limits_a_minute_only_the_concurrency_counts_and_nothing_is_kept() -> None:
    book = LimitBook(Limits(concurrency=2))
    for request in range(1000):
        assert book.has_room(10**9, request)
        book.start(request, 10**9, request)
        book.end(request, 10**9, request)
    book.start(1, 1, 1000)
    book.start(2, 1, 1000)

    assert not book.has_room(1, 1000)
    assert book.room_at(1) is None
    assert book.booked_tokens == 2


def written_and_read(book: LimitBook, offset_ns: int, now_ns: int, new_offset_ns: int) -> LimitBook:
    """Return the book of a next kernel, whose clock is another one."""
    row = book.to_row(offset_ns)
    assert row is not None
    again = LimitBook(book.limits)
    again.restore(row, new_offset_ns, now_ns)
    return again


def test_a_next_kernel_on_another_clock_knows_what_was_booked() -> None:
    book = LimitBook(Limits(requests_per_minute=2, tokens_per_minute=100))
    book.start(1, 80, SECOND)
    book.end(1, 70, 2 * SECOND)

    # 10 s after the end on the wall clock; the machine has started anew, its clock is at 5 s.
    again = written_and_read(book, 1000 * SECOND, 5 * SECOND, 1007 * SECOND)

    assert again.booked_tokens == 70
    assert again.has_room(30, 5 * SECOND)
    assert not again.has_room(31, 5 * SECOND)
    assert again.room_at(31) == 55 * SECOND  # a minute after the end, 1062 s on the wall clock


def test_what_was_open_counts_whole_until_a_minute_after_it_can_have_ended() -> None:
    book = LimitBook(Limits(tokens_per_minute=100))
    book.start(1, 80, 0)

    again = written_and_read(book, 0, 500 * SECOND, 0)

    assert not again.has_room(21, 500 * SECOND)
    assert again.room_at(21) is None  # its engine may still be at it
    again.end_left(500 * SECOND)
    assert again.room_at(21) == 560 * SECOND
    assert len(again) == 0


def test_a_wall_clock_that_was_set_back_holds_nothing_for_longer_than_a_minute() -> None:
    book = LimitBook(Limits(requests_per_minute=1))
    book.start(1, 1, 0)
    book.end(1, 1, 0)

    again = written_and_read(book, 10_000 * SECOND, 0, 0)

    assert not again.has_room(1, 0)
    assert again.room_at(1) == WINDOW_NS


def test_without_limits_a_minute_nothing_is_to_be_saved() -> None:
    book = LimitBook(Limits(concurrency=2))
    book.start(1, 10, 0)
    book.end(1, 10, 0)

    assert not book.is_unsaved
    assert book.to_row(0) is None
