"""A request's tokens, at home and in a scheduler's rows."""

from __future__ import annotations

import numpy as np
import pytest

from ext.slot_rows import ROW_TOKENS, SlotRows
from kernel.llm.request import Request


def new_request(num_prompt: int = 5) -> Request:
    return Request(1, 1, range(num_prompt), sampling={"max_tokens": 500, "seed": 1})


def test_tokens_are_appended_after_the_prompt() -> None:
    request = new_request()

    for token in range(300):
        request.append(token)

    assert request.num_prompt == 5
    assert request.num_emitted == 300
    assert request.emitted.tolist() == list(range(300))


def test_ids_seen_before_stay_as_they_were() -> None:
    request = new_request()
    seen = request.ids

    request.extend(np.arange(100, dtype=np.int32))

    assert seen.tolist() == [0, 1, 2, 3, 4]


def test_tokens_in_a_row_are_the_requests() -> None:
    rows, request = SlotRows(3), new_request()
    request.enter_row(rows, 2, handle=1, key=0.0, is_whole=True)

    rows.push(np.array([2]), np.array([7], np.int32), 40)
    rows.push(np.array([0, 2]), np.array([1, 8], np.int32), 50)

    assert request.num_emitted == 2
    assert request.last_token_ns == 50
    assert request.emitted.tolist() == [7, 8]
    assert request.num_emitted == 2


def test_who_leaves_a_row_takes_its_tokens_along() -> None:
    rows, request, next_one = SlotRows(1), new_request(), new_request()
    request.enter_row(rows, 0, handle=1, key=0.0, is_whole=True)
    rows.push(np.array([0]), np.array([7], np.int32), 40)

    request.leave_row()
    next_one.enter_row(rows, 0, handle=2, key=0.0, is_whole=True)
    rows.push(np.array([0]), np.array([9], np.int32), 60)

    assert (request.emitted.tolist(), request.last_token_ns) == ([7], 40)
    assert (next_one.emitted.tolist(), next_one.last_token_ns) == ([9], 60)


@pytest.mark.parametrize("num_rows", [1, 2, ROW_TOKENS - 1, ROW_TOKENS, 3 * ROW_TOKENS + 1])
def test_each_row_takes_its_turn_before_it_is_full(num_rows: int) -> None:
    rows = SlotRows(num_rows)
    requests = [new_request() for _ in range(num_rows)]
    for row, request in enumerate(requests):
        request.enter_row(rows, row, handle=row, key=0.0, is_whole=True)
    all_rows = np.arange(num_rows)

    for token in range(3 * ROW_TOKENS):
        for row in rows.take_turns():
            if rows.is_due(row):
                requests[row].empty_row()
        rows.push(all_rows, np.full(num_rows, token, np.int32), 1)

    assert all(request.emitted.tolist() == [*range(3 * ROW_TOKENS)] for request in requests)


@pytest.mark.parametrize("known", [0, 3])
def test_what_was_emitted_elsewhere_counts(known: int) -> None:
    request = Request(
        1, 1, list(range(5 + known)), num_prompt=5, sampling={"max_tokens": 9, "seed": 1}
    )

    assert (request.num_prompt, request.num_emitted) == (5, known)
