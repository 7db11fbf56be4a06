"""The state overlay, against a dict that is copied for each turn."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.bodies import from_stored, to_stored
from actors.reference import ActorRef
from actors.state import StateStore, TurnState
from ipc.errors import BadRecordError, NotEncodableError, SchemaError


def make_ref(identifier: int) -> ActorRef[Any]:
    return ActorRef(None, identifier)  # type: ignore[arg-type]


KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.one_of(st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=3))


class StateMachine(RuleBasedStateMachine):
    """Turns on one store, each ending in a commit or without one."""

    def __init__(self) -> None:
        super().__init__()
        self.store = StateStore(make_ref)
        self.model: dict[str, Any] = {}
        self.begin()

    def begin(self) -> None:
        self.turn = TurnState(self.store)
        self.private = copy.deepcopy(self.model)

    @rule(key=KEYS, value=VALUES)
    def write(self, key: str, value: Any) -> None:
        self.turn[key] = copy.deepcopy(value)
        self.private[key] = copy.deepcopy(value)

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        assert self.turn.get(key) == self.private.get(key)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self.turn.pop(key, None) == self.private.pop(key, None)

    @rule(key=KEYS)
    def change_in_place(self, key: str) -> None:
        if isinstance(self.private.get(key), list):
            self.turn[key].append(1)
            self.private[key].append(1)

    @rule()
    def commit(self) -> None:
        changes = self.turn.changes()
        assert all(self.store.values.get(key) != data for key, data in changes.items())
        self.store.apply(changes)
        self.model = self.private
        self.begin()

    @rule()
    def drop(self) -> None:
        self.begin()

    @invariant()
    def same_content(self) -> None:
        assert set(self.turn) == set(self.private)
        assert len(self.turn) == len(self.private)
        stored = {key: from_stored(data, make_ref, key) for key, data in self.store.values.items()}
        assert stored == self.model


TestStateMachine = StateMachine.TestCase


def test_a_value_that_is_only_read_is_not_stored_again() -> None:
    store = StateStore(make_ref)
    store.load({"n": to_stored(1), "list": to_stored([1])})
    turn = TurnState(store)

    assert (turn["n"], turn["list"]) == (1, [1])

    assert turn.changes() == {}


def test_references_and_arrays_can_be_stored() -> None:
    value = {"ref": make_ref(7), "array": np.arange(5000), "blob": b"x" * 100_000}

    found = from_stored(to_stored(value), make_ref, "key")

    assert found["ref"] == make_ref(7)
    assert np.array_equal(found["array"], value["array"])
    assert found["blob"] == value["blob"]


def test_a_cut_value_is_a_bad_record() -> None:
    data = to_stored([make_ref(7)])

    with pytest.raises(BadRecordError):
        from_stored(data[:5], make_ref, "key")


def test_what_cannot_be_encoded_is_told_at_the_commit() -> None:
    turn = TurnState(StateStore(make_ref))
    turn["file"] = object()

    with pytest.raises(NotEncodableError):
        turn.changes()


@pytest.mark.parametrize("key", ["", 1, None])
def test_a_key_is_a_non_empty_string(key: Any) -> None:
    with pytest.raises(SchemaError):
        TurnState(StateStore(make_ref))[key] = 1


def test_a_stale_read_is_noticed_only_for_keys_that_were_read() -> None:
    store = StateStore(make_ref)
    one, other = TurnState(store, tracks_reads=True), TurnState(store, tracks_reads=True)
    one.get("a")
    other.get("b")

    store.apply({"a": to_stored(1)})

    assert (one.is_stale, other.is_stale) == (True, False)


def test_an_endless_value_is_refused_with_where_it_is_from() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(NotEncodableError, match="contains itself"):
        to_stored(endless)
