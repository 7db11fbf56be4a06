"""The ready queue against its oracle: random operations, integrity checked after each."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ext.ready_queue import (
    EmptyQueueError,
    FloatReadyQueue,
    IntReadyQueue,
    LevelError,
    NanKeyError,
    ReadyQueue,
    StaleHandleError,
)
from tests.reference.ready_queue import SlowReadyQueue
from tests.trials import trials

LEVELS = 3
levels = st.integers(0, LEVELS - 1)
items = st.integers(0, 2**64 - 1)
picks = st.integers(0, 2**16)


class Machine(RuleBasedStateMachine):
    """The rules that need no key; handles whose entries have left are in `gone`."""

    queue: ReadyQueue

    def __init__(self) -> None:
        super().__init__()
        self.model = SlowReadyQueue()
        self.gone: list[int] = []

    def a_handle(self, pick: int) -> int:
        return self.model.held[pick % len(self.model.held)].handle

    def has_entries(self) -> bool:
        return bool(self.model.held)

    @rule(level=st.none() | levels)
    def pop(self, level: int | None) -> None:
        take = self.queue.pop if level is None else lambda: self.queue.pop_level(level)
        if not self.model.in_order(level):
            with pytest.raises(EmptyQueueError) as caught:
                take()
            assert caught.value.level == level
            return
        expected = self.model.pop(level)
        assert take() == expected.item
        self.gone.append(expected.handle)

    @rule(count=st.integers(0, 12))
    def pop_many(self, count: int) -> None:
        expected = [self.model.pop() for _ in range(min(count, len(self.model.held)))]
        assert self.queue.pop_many(count).tolist() == [held.item for held in expected]
        self.gone += [held.handle for held in expected]

    @precondition(has_entries)
    @rule(pick=picks)
    def remove(self, pick: int) -> None:
        handle = self.a_handle(pick)
        assert self.queue.remove(handle) == self.model.remove(handle).item
        self.gone.append(handle)

    @rule(forged=st.integers(0, 2**64 - 1), pick=picks)
    def name_a_handle_not_held(self, forged: int, pick: int) -> None:
        for handle in [forged, *self.gone[pick % 7 :: 7]]:
            if self.model.find(handle) is None:
                assert handle not in self.queue
                with pytest.raises(StaleHandleError) as caught:
                    self.queue.remove(handle)
                assert caught.value.handle == handle

    @rule(count=st.integers(0, 12))
    def peek_many(self, count: int) -> None:
        expected = [held.handle for held in self.model.in_order()[:count]]
        assert self.queue.peek_many(count).tolist() == expected
        if expected:
            assert self.queue.peek_item() == self.queue.entry(expected[0]).item

    @invariant()
    def same_order(self) -> None:
        expected = self.model.in_order()
        entries = list(self.queue)
        assert len(self.queue) == len(expected)
        assert [(e.level, e.key, e.handle, e.item) for e in entries] == [
            (h.level, h.key, h.handle, h.item) for h in expected
        ]
        by_arrival = sorted(entries, key=lambda entry: entry.arrival)
        assert [entry.handle for entry in by_arrival] == [held.handle for held in self.model.held]
        assert all(self.queue.entry(entry.handle) == entry for entry in entries)
        assert [self.queue.level_len(level) for level in range(LEVELS)] == [
            len(self.model.in_order(level)) for level in range(LEVELS)
        ]

    @invariant()
    def sound(self) -> None:
        self.queue.check_integrity()


def machine(make: type, keys: st.SearchStrategy, dtype: type) -> type[Machine]:
    class Keyed(Machine):
        @initialize(first_arrival=st.sampled_from([0, 2**32 - 1, 2**32 - 10]))
        def start(self, first_arrival: int) -> None:
            self.queue = make(levels=LEVELS, first_arrival=first_arrival)

        @rule(key=keys, item=items, level=levels)
        def push(self, key: float, item: int, level: int) -> None:
            self.model.push(self.queue.push(key, item, level), key, item, level)

        @rule(pairs=st.lists(st.tuples(keys, items), max_size=24), level=levels)
        def push_many(self, pairs: list, level: int) -> None:
            columns = [key for key, _ in pairs], [item for _, item in pairs]
            handles = self.queue.push_many(
                np.array(columns[0], dtype=dtype), np.array(columns[1], dtype=np.uint64), level
            )
            for handle, (key, item) in zip(handles.tolist(), pairs, strict=True):
                self.model.push(handle, key, item, level)

        @precondition(Machine.has_entries)
        @rule(pick=picks, key=keys)
        def update(self, pick: int, key: float) -> None:
            handle = self.a_handle(pick)
            self.queue.update(handle, key)
            self.model.update(handle, key)

        @precondition(Machine.has_entries)
        @rule(pick=picks, key=keys, level=levels)
        def move(self, pick: int, key: float, level: int) -> None:
            handle = self.a_handle(pick)
            self.queue.move(handle, key, level)
            self.model.update(handle, key, level)

        @precondition(Machine.has_entries)
        @rule(pairs=st.lists(st.tuples(picks, keys), max_size=12), with_stale=st.booleans())
        def update_many(self, pairs: list, with_stale: bool) -> None:
            handles = [self.a_handle(pick) for pick, _ in pairs]
            columns = np.array(handles, dtype=np.uint64), np.array([k for _, k in pairs], dtype)
            if with_stale and self.gone and pairs:
                columns[0][-1] = self.gone[-1]
                with pytest.raises(StaleHandleError):
                    self.queue.update_many(*columns)
                return
            self.queue.update_many(*columns)
            for handle, (_, key) in zip(handles, pairs, strict=True):
                self.model.update(handle, key)

        @rule(key=keys, level=st.integers(LEVELS, 2**32 - 1))
        def name_no_level(self, key: float, level: int) -> None:
            with pytest.raises(LevelError):
                self.queue.push(key, 0, level)
            for handle in [held.handle for held in self.model.held[:1]]:
                with pytest.raises(LevelError):
                    self.queue.move(handle, key, level)

    return Keyed


few_ints = st.integers(-2, 2)  # ties
some_floats = st.sampled_from([0.0, -0.0, 1.5, -1.5, float("inf"), float("-inf"), 5e-324])
IntMachine = machine(IntReadyQueue, few_ints | st.integers(-(2**63), 2**63 - 1), np.int64)
FloatMachine = machine(FloatReadyQueue, some_floats | st.floats(allow_nan=False), np.float64)


class NanMachine(FloatMachine):
    @rule(keys=st.lists(st.floats(), max_size=6))
    def push_many_with_nan(self, keys: list[float]) -> None:
        batch = np.array([*keys, float("nan")])
        with pytest.raises(NanKeyError) as caught:
            self.queue.push_many(batch, np.zeros(len(batch), dtype=np.uint64))
        assert np.isnan(batch[caught.value.index])


TestIntMachine = IntMachine.TestCase
TestFloatMachine = NanMachine.TestCase
TestIntMachine.settings = settings(max_examples=trials(60), stateful_step_count=50, deadline=None)
TestFloatMachine.settings = TestIntMachine.settings
