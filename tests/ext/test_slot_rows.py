"""ext/slot_rows.pyx against the same written with Python's own lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext.slot_rows import AT_LIMIT, NOT_ALL_TOKENS, ROW_TOKENS, SlotRows
from tests.trials import trials

NUM_SLOTS = 5
VOCAB = 50
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(0, NUM_SLOTS - 1), st.integers(1, 6)),
        st.tuples(st.just("leave"), st.integers(0, NUM_SLOTS - 1), st.just(0)),
        st.tuples(st.just("decode"), st.integers(0, 1 << NUM_SLOTS), st.integers(0, VOCAB - 1)),
    ),
    max_size=60,
)


class Model:
    """One dictionary a taken slot."""

    def __init__(self) -> None:
        self.slots: dict[int, dict[str, Any]] = {}
        self.told: set[int] = set()

    def wanted(self) -> list[int]:
        return sorted(slot for slot, one in self.slots.items() if one["unplanned"] > 0)


def int64(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)


def decode(rows: SlotRows, model: Model, token: int, now_ns: int) -> None:
    """Plan a decode of all that are wanted, tell the engine, and take its tokens."""
    slots, handles = rows.decoding()
    ids, streams = rows.labels(slots)
    wanted = model.wanted()
    assert slots.tolist() == wanted
    assert handles.tolist() == [model.slots[slot]["handle"] for slot in wanted]
    assert ids.tolist() == [model.slots[slot]["id"] for slot in wanted]
    assert streams.tolist() == [model.slots[slot]["id"] % 2 for slot in wanted]
    off, on = (np.frombuffer(part, np.int32).tolist() for part in rows.changes(slots))
    assert off == sorted(model.told - set(wanted))
    assert on == sorted(set(wanted) - model.told)
    model.told = set(wanted)
    limited = [slot for slot in wanted if model.slots[slot]["unplanned"] == 1]
    assert rows.count_planned(slots) == len(limited)
    tokens = np.full(len(wanted), token, np.int32)
    assert rows.check(slots, tokens, VOCAB) == (AT_LIMIT if limited else 0)
    assert rows.at_limit(slots) == limited
    rows.push(slots, tokens, now_ns)
    for slot in wanted:
        model.slots[slot]["unplanned"] -= 1
        model.slots[slot]["tokens"].append(token)
        model.slots[slot]["last_ns"] = now_ns


@settings(deadline=None, max_examples=trials(100))
@given(steps=STEPS)
def test_rows_are_what_a_dictionary_a_slot_would_be(steps: list[tuple[str, int, int]]) -> None:
    rows, model = SlotRows(NUM_SLOTS), Model()

    for number, (what, slot, value) in enumerate(steps, 1):
        if what == "enter" and slot not in model.slots:
            rows.enter(
                slot, number, number % 2 == 1, 100 + number, float(value), value + 1, value + 1
            )
            assert rows.end_prefill(slot)
            rows.push(int64([slot]), np.array([0], np.int32), number)  # the prompt's sample
            known = {"id": number, "handle": 100 + number, "unplanned": value, "tokens": [0]}
            model.slots[slot] = known | {"key": float(value), "last_ns": number}
        elif what == "leave" and slot in model.slots:
            assert rows.leave(slot) == (model.slots.pop(slot)["unplanned"] > 0)
            model.told.discard(slot)
        elif what == "decode":
            decode(rows, model, value, number)
        keys = [one["key"] for one in model.slots.values()]
        assert rows.highest_key() == max(keys, default=-np.inf)
        for taken, one in model.slots.items():
            assert rows.counts[taken] == len(one["tokens"])
            assert rows.last_ns[taken] == one["last_ns"]


def test_who_has_no_steps_left_for_now_decodes_no_more_until_there_are() -> None:
    rows = SlotRows(2)
    rows.enter(0, 1, False, 1, 0.0, 9, 2)

    assert rows.end_prefill(0)
    assert rows.count_planned(rows.decoding()[0]) == 1
    assert rows.decoding()[0].tolist() == []
    assert rows.check(int64([0]), np.array([1], np.int32), VOCAB) == 0  # it is not at its limit
    assert not rows.extend(0, 3, False)  # its tokens are computed again: no decode yet
    assert rows.extend(0, 1, True)
    assert not rows.extend(0, 1, True)
    assert rows.decoding()[0].tolist() == [0]


def test_a_row_is_taken_behind_what_was_there_before() -> None:
    rows = SlotRows(2)
    rows.enter(1, 7, False, 1, 0.0, 9, 9)
    rows.push(int64([1]), np.array([5], np.int32), 1)
    rows.push(int64([1]), np.array([6], np.int32), 2)
    before = np.array([1, 2, 3, 99], np.int32)

    joined = rows.take(1, before, 3)

    assert joined.tolist() == [1, 2, 3, 5, 6]
    assert before.tolist() == [1, 2, 3, 99]
    assert rows.counts[1] == 0
    assert rows.take(1, before, 0).tolist() == []


@pytest.mark.parametrize("num_slots", [1, 7, 255, 256, 700])
def test_turns_come_before_any_row_is_full(num_slots: int) -> None:
    rows, slots = SlotRows(num_slots), np.arange(num_slots)
    empty = np.zeros(0, np.int32)
    tokens = np.zeros(num_slots, np.int32)

    for step in range(2 * ROW_TOKENS + 5):
        for slot in rows.take_turns():
            if rows.is_due(slot):
                rows.take(slot, empty, 0)
        rows.push(slots, tokens, step)

    assert rows.counts.max() <= ROW_TOKENS


def test_a_full_row_is_not_written_over() -> None:
    rows = SlotRows(1)
    for number in range(ROW_TOKENS):
        rows.push(int64([0]), np.array([number], np.int32), 1)

    with pytest.raises(IndexError):
        rows.push(int64([0]), np.array([1], np.int32), 1)

    assert rows.take(0, np.zeros(0, np.int32), 0).tolist() == list(range(ROW_TOKENS))


@pytest.mark.parametrize("token", [-1, VOCAB, 2**31 - 1])
def test_what_is_no_token_is_seen(token: int) -> None:
    rows = SlotRows(2)
    rows.enter(0, 1, False, 1, 0.0, 5, 5)

    assert rows.check(int64([0]), np.array([token], np.int32), VOCAB) == NOT_ALL_TOKENS


def test_prompts_come_after_the_decodes() -> None:
    rows = SlotRows(4)
    for slot in range(4):
        rows.enter(slot, 10 + slot, slot == 3, 20 + slot, 0.0, 5, 5)

    slots, handles, ids, streams, counts, mask = rows.with_prompts(int64([1]), [3, 0], [9, 7])

    assert slots.tolist() == [1, 3, 0]
    assert handles.tolist() == [21, 23, 20]
    assert (ids.dtype, ids.tolist()) == (np.uint64, [11, 13, 10])
    assert streams.tolist() == [0, 1, 0]
    assert (counts.dtype, counts.tolist()) == (np.int32, [1, 9, 7])
    assert mask == bytes([1, 1, 0, 1])


def test_who_enters_whole_decodes_from_the_next_step_on() -> None:
    rows = SlotRows(3)

    assert not rows.enter(0, 1, False, 1, 0.0, 5, 5)
    assert rows.enter(1, 2, False, 2, 0.0, 5, 5, True)
    assert not rows.enter(2, 3, False, 3, 0.0, 1, 1, True)  # its prompt's sample is its last

    assert rows.decoding()[0].tolist() == [1]
    assert rows.unplanned.tolist() == [5, 4, 0]


def test_bad_input_is_refused() -> None:
    rows, none = SlotRows(2), np.zeros(0, np.int32)

    for wrong in (-1, 2):
        with pytest.raises(IndexError):
            rows.enter(wrong, 1, False, 1, 0.0, 1, 1)
        with pytest.raises(IndexError):
            rows.push(int64([wrong]), np.array([1], np.int32), 1)
        with pytest.raises(IndexError):
            rows.with_prompts(int64([]), [wrong], [1])
        with pytest.raises(IndexError):
            rows.labels(int64([wrong]))
        with pytest.raises(IndexError):
            rows.check(int64([wrong]), np.array([1], np.int32), VOCAB)
        with pytest.raises(IndexError):
            rows.count_planned(int64([wrong]))
    with pytest.raises(ValueError, match="ascending"):
        rows.changes(int64([1, 0]))
    with pytest.raises(ValueError, match="1 counts for 2 prompts"):
        rows.with_prompts(int64([]), [0, 1], [1])
    with pytest.raises(ValueError, match="0 numbers, not 1"):
        rows.take(0, none, 1)
    with pytest.raises(ValueError, match="1 slots"):
        rows.check(int64([0]), none, VOCAB)
    with pytest.raises(ValueError, match="a slot at least"):
        SlotRows(0)
