"""ext/write_set.pyx against plain dicts: what is said last holds, a new row leaves no trace."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext.write_set import WriteSet
from tests.trials import trials

TABLES = ("message", "answer")

said = st.tuples(
    st.sampled_from(["put", "put_new", "delete", "delete"]),
    st.sampled_from(TABLES),
    st.integers(0, 4),
    st.integers(0, 99),
)


class Model:
    """A journal of dicts, written by each set as it comes."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[int, tuple[int]]] = {table: {} for table in TABLES}

    def say(self, verb: str, table: str, key: int, value: int) -> None:
        if verb == "delete":
            self.stored[table].pop(key, None)
        else:
            self.stored[table][key] = (value,)


def commit(changes: WriteSet, stored: dict[str, dict[Any, Any]]) -> None:
    for table, rows in changes.tables.items():
        for key, row in rows.items():
            if row is None:
                stored[table].pop(key, None)
            else:
                stored[table][key] = row


@settings(max_examples=trials(300), deadline=None)
@given(st.lists(st.lists(said, max_size=8), max_size=6))
def test_sets_absorbed_one_by_one_say_what_each_in_turn_would_have(sets: list[list[Any]]) -> None:
    model, whole = Model(), WriteSet()
    for steps in sets:
        changes = WriteSet()
        for verb, table, key, value in steps:
            is_new = key not in model.stored[table]
            model.say(verb, table, key, value)
            if verb == "delete":
                changes.delete(table, key)
            elif verb == "put_new" and is_new:
                changes.put_new(table, key, (value,))
            else:
                changes.put(table, key, (value,))
        assert changes.num_deleted == sum(step[0] == "delete" for step in steps)
        whole.absorb(changes)

    stored: dict[str, dict[Any, Any]] = {table: {} for table in TABLES}
    commit(whole, stored)

    assert stored == model.stored
    assert bool(whole) == any(whole.tables.values())


def test_a_new_row_that_is_deleted_leaves_no_trace() -> None:
    changes = WriteSet()
    changes.put_new("message", 1, (2,))
    assert (changes.num_new, bool(changes)) == (1, True)

    changes.delete("message", 1)

    assert (changes.num_new, bool(changes), changes.num_deleted) == (0, False, 1)


def test_a_new_row_deleted_by_a_later_set_leaves_no_trace() -> None:
    first, second, third = WriteSet(), WriteSet(), WriteSet()
    first.put_new("message", 1, (2,))
    second.put_new("message", 2, (2,))
    third.delete("message", 1)
    third.delete("message", 2)
    third.delete("message", 3)

    first.absorb(second)
    first.absorb(third)

    assert first.tables["message"] == {3: None}


def test_a_set_that_reserves_ids_says_so() -> None:
    changes = WriteSet()
    assert not changes.opens_ids

    changes.put("meta", "counter", (1,))

    assert changes.opens_ids


def test_a_row_is_a_tuple_and_a_table_has_a_name() -> None:
    changes = WriteSet()
    with pytest.raises(TypeError):
        changes.put("message", 1, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        changes.put(None, 1, ())  # type: ignore[arg-type]
    assert not changes
