"""The ready queue's promises one by one; random histories: test_ready_queue_model.py."""

import numpy as np
import pytest

from ext.ready_queue import (
    EmptyQueueError,
    Entry,
    FloatReadyQueue,
    IntReadyQueue,
    LevelError,
    NanKeyError,
    ReadyQueue,
    StaleHandleError,
)

NAN = float("nan")
BYTES_PER_ENTRY = 36  # stated at the head of ready_queue.pyx


def column(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def keys_of(queue: ReadyQueue) -> list[float]:
    return [entry.key for entry in queue]


def test_lowest_key_leaves_first_and_equal_keys_leave_by_arrival() -> None:
    queue = IntReadyQueue()
    for item, key in enumerate([5, 1, 5, -(2**63), 1, 2**63 - 1]):
        queue.push(key, item)

    assert [queue.pop() for _ in range(6)] == [3, 1, 4, 0, 2, 5]


def test_a_lower_level_leaves_first_whatever_its_keys() -> None:
    queue = IntReadyQueue(levels=64)
    queue.push(1, 10, 63)
    queue.push(9, 11, 2)

    assert queue.peek_level(63).item == 10
    assert queue.pop_many(2).tolist() == [11, 10]


def test_update_keeps_the_arrival_and_a_new_push_goes_behind_its_equals() -> None:
    queue = IntReadyQueue()
    first = queue.push(7, 1)
    queue.push(3, 2)

    queue.update(first, 3)
    queue.push(3, 3)

    assert queue.pop_many(3).tolist() == [1, 2, 3]


def test_move_changes_level_and_key_and_keeps_handle_and_arrival() -> None:
    queue = FloatReadyQueue(levels=2)
    handle = queue.push(1.0, 5, 0)

    queue.move(handle, 2.0, 1)

    assert queue.entry(handle) == Entry(key=2.0, arrival=0, handle=handle, item=5, level=1)
    assert (queue.level_len(0), queue.level_len(1)) == (0, 1)


def test_doubles_leave_in_the_order_of_numbers_with_minus_zero_equal_to_zero() -> None:
    queue = FloatReadyQueue()
    keys = [0.0, float("inf"), -1e-308, 5e-324, -0.0, -float("inf"), 1e300, -2.5]
    for item, key in enumerate(keys):
        queue.push(key, item)

    assert keys_of(queue) == sorted(keys)
    assert [entry.item for entry in queue if entry.key == 0] == [0, 4]


def test_items_are_any_64_bits_and_come_back_as_given() -> None:
    queue = IntReadyQueue()
    queue.push(0, 2**64 - 1)

    assert queue.pop() == 2**64 - 1
    for item in (-1, 2**64):
        with pytest.raises(OverflowError):
            queue.push(0, item)
    assert len(queue) == 0


def test_empty_queue_and_empty_level_say_so() -> None:
    queue = IntReadyQueue(levels=2)
    queue.push(0, 1, level=0)

    with pytest.raises(EmptyQueueError) as caught:
        queue.pop_level(1)
    queue.pop()

    assert caught.value.level == 1
    for take in (queue.pop, queue.pop_entry, queue.peek, queue.peek_item, queue.peek_key):
        with pytest.raises(EmptyQueueError):
            take()
    assert queue.pop_many(3).tolist() == []


def test_a_stale_handle_is_refused_though_its_slot_is_in_use_again() -> None:
    queue = IntReadyQueue()
    stale = queue.push(1, 1)
    queue.pop()
    held = queue.push(2, 2)

    assert held & 0xFFFFFFFF == stale & 0xFFFFFFFF
    assert stale not in queue
    for use in (queue.remove, queue.entry, lambda handle: queue.update(handle, 0)):
        with pytest.raises(StaleHandleError) as caught:
            use(stale)
        assert caught.value.handle == stale
    assert keys_of(queue) == [2]


def test_a_guessed_handle_of_a_free_slot_is_refused() -> None:
    queue = IntReadyQueue()
    handle = queue.push(1, 1)
    queue.pop()

    for guess in (handle + 2**32, 0, 1, 2**64 - 1, -1, 2**64):
        assert guess not in queue
    with pytest.raises(StaleHandleError):
        queue.update(handle + 2**32, 5)
    queue.check_integrity()


def test_nan_is_refused_by_every_door_and_nothing_changes() -> None:
    queue = FloatReadyQueue(levels=2)
    handle = queue.push(1.0, 1)
    before = list(queue)

    for offer in (
        lambda: queue.push(NAN, 2),
        lambda: queue.update(handle, NAN),
        lambda: queue.move(handle, NAN, 1),
        lambda: queue.push_many(np.array([0.0, NAN]), column(2, 3)),
        lambda: queue.update_many(column(handle, handle), np.array([0.0, NAN])),
    ):
        with pytest.raises(NanKeyError) as caught:
            offer()
        assert caught.value.index in (None, 1)

    assert list(queue) == before


def test_a_level_the_queue_does_not_have_is_refused_and_nothing_changes() -> None:
    queue = IntReadyQueue(levels=2)
    handle = queue.push(1, 1)
    before = list(queue)

    for offer in (
        lambda: queue.push(0, 1, 2),
        lambda: queue.move(handle, 0, 2),
        lambda: queue.pop_level(2),
        lambda: queue.peek_level(2),
        lambda: queue.level_len(2),
        lambda: queue.push_many(np.array([1]), column(1), 2),
    ):
        with pytest.raises(LevelError) as caught:
            offer()
        assert (caught.value.level, caught.value.levels) == (2, 2)

    assert list(queue) == before


@pytest.mark.parametrize("levels", [0, -1, 65])
def test_a_queue_with_no_or_too_many_levels_is_not_made(levels: int) -> None:
    with pytest.raises(ValueError, match="levels must be in"):
        IntReadyQueue(levels=levels)


def test_a_batch_with_one_stale_handle_changes_nothing() -> None:
    queue = IntReadyQueue()
    handles = queue.push_many(np.arange(4), column(0, 1, 2, 3))
    queue.pop()

    with pytest.raises(StaleHandleError) as caught:
        queue.update_many(handles[::-1].copy(), np.arange(4))

    assert (caught.value.handle, caught.value.index) == (handles[0], 3)
    assert keys_of(queue) == [1, 2, 3]


def test_batches_of_unequal_columns_wrong_types_or_negative_counts_are_refused() -> None:
    queue = IntReadyQueue()

    for offer in (
        lambda: queue.push_many(np.arange(3), column(1)),
        lambda: queue.update_many(column(1), np.arange(2)),
        lambda: queue.push_many(np.zeros(1), column(1)),
        lambda: queue.push_many(np.arange(4)[::2], column(1, 2)),
        lambda: queue.pop_many(-1),
        lambda: queue.peek_many(-1),
    ):
        with pytest.raises(ValueError, match=r"keys for|handles for|Buffer|contiguous|negative"):
            offer()
    with pytest.raises(TypeError):
        queue.push_many(None, column(1))

    assert len(queue) == 0


def test_batch_doors_do_what_single_doors_do_one_after_the_other() -> None:
    shuffle = np.random.default_rng(3)
    keys, items = shuffle.integers(-9, 9, 500), np.arange(500, dtype=np.uint64)
    single, batch = IntReadyQueue(), IntReadyQueue()

    handles = batch.push_many(keys, items)
    assert [single.push(*pair) for pair in zip(keys.tolist(), items.tolist(), strict=True)] == (
        handles.tolist()
    )
    chosen, others = shuffle.choice(handles, 300), shuffle.integers(-9, 9, 300)
    batch.update_many(chosen, others)
    for handle, key in zip(chosen.tolist(), others.tolist(), strict=True):
        single.update(handle, key)

    assert list(single) == list(batch)
    assert [single.pop() for _ in range(500)] == batch.pop_many(501).tolist()


def test_iteration_takes_nothing_and_notices_a_change() -> None:
    queue = IntReadyQueue()
    queue.push_many(np.arange(50)[::-1].copy(), np.arange(50, dtype=np.uint64))
    walk = iter(queue)

    assert keys_of(queue) == list(range(50))
    assert queue.peek_many(3).tolist() == [entry.handle for entry in queue][:3]
    assert next(walk).key == 0
    queue.pop()
    with pytest.raises(RuntimeError, match="changed"):
        next(walk)


def test_order_holds_when_arrivals_are_numbered_anew() -> None:
    queue = IntReadyQueue(levels=2, first_arrival=2**32 - 3)
    handles = [queue.push(0, item, item % 2) for item in range(7)]

    queue.check_integrity()

    assert all(handle in queue for handle in handles)
    assert [queue.pop() for _ in range(7)] == [0, 2, 4, 6, 1, 3, 5]


def test_an_entry_takes_the_stated_memory() -> None:
    queue = IntReadyQueue()
    empty = queue.nbytes
    queue.push_many(np.zeros(4096, dtype=np.int64), np.zeros(4096, dtype=np.uint64))

    assert queue.capacity == 4096
    assert queue.nbytes - empty == pytest.approx(4096 * BYTES_PER_ENTRY, rel=0.01)


def test_the_common_part_alone_has_no_keys() -> None:
    assert not hasattr(ReadyQueue(), "push")
