"""The ready queue gives back what it takes: every byte of its own is counted by tracemalloc."""

import random
import tracemalloc

import pytest

from ext.ready_queue import IntReadyQueue
from tests.soak import share_of


def churn(operations: int) -> None:
    """Random operations on one queue, then back to empty."""
    choose = random.Random(5)
    queue, held = IntReadyQueue(levels=4), {}
    for step in range(operations):
        action = choose.random()
        if (action < 0.4 and len(held) < 2000) or not held:
            held[step] = queue.push(choose.randrange(1000), step, choose.randrange(4))
        elif action < 0.6:
            del held[queue.pop()]
        elif action < 0.8:
            queue.update(next(reversed(held.values())), choose.randrange(1000))
        else:
            item = next(iter(held))
            assert queue.remove(held.pop(item)) == item
    assert set(queue.pop_many(len(held)).tolist()) == set(held)
    queue.check_integrity()
    assert len(queue) == 0
    assert queue.capacity <= 4096  # 2000 at most were held: released slots are used again


def traced_growth(operations: int) -> int:
    """Bytes the queue's allocations have left behind, in tracemalloc's exact count."""
    churn(1000)  # what Python caches at first use
    tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot()
        churn(operations)
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    here = tracemalloc.Filter(True, __file__)
    changes = after.filter_traces([here]).compare_to(before.filter_traces([here]), "filename")
    return sum(change.size_diff for change in changes)


def test_random_operations_return_to_empty_and_leave_no_memory_behind() -> None:
    assert traced_growth(20_000) < 4096


@pytest.mark.soak
def test_a_million_random_operations_leave_no_memory_behind() -> None:
    assert traced_growth(share_of(1_000_000)) < 4096
