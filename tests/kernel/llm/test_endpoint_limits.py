"""What may be in use of a remote endpoint, at the edges of its windows."""

from __future__ import annotations

import pytest

from ipc.errors import PromptTooLongError
from kernel.llm.endpoint_limits import WINDOW_NS, LimitBook, Limits

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
