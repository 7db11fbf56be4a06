"""kernel/timers.py: what is due comes in order, once, and not when it was cancelled."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.timers import Due, TimerHeap
from tests.trials import trials


def due(heap: TimerHeap, now_ns: int) -> list[tuple[Due, object]]:
    return list(heap.pop_due(now_ns))


def test_entries_fire_in_order_of_time_then_kind_then_setting() -> None:
    heap = TimerHeap()
    heap.set(Due.DEADLINE, 1, 10)
    heap.set(Due.TIMER, 2, 10)
    heap.set(Due.TIMER, 3, 10)
    heap.set(Due.SWEEP, 0, 5)

    assert due(heap, 10) == [(Due.SWEEP, 0), (Due.TIMER, 2), (Due.TIMER, 3), (Due.DEADLINE, 1)]


def test_nothing_fires_before_its_time_and_nothing_twice() -> None:
    heap = TimerHeap()
    heap.set(Due.TIMER, 1, 10)

    assert due(heap, 9) == []
    assert due(heap, 10) == [(Due.TIMER, 1)]
    assert due(heap, 11) == []
    assert len(heap) == 0


def test_setting_again_moves_an_entry() -> None:
    heap = TimerHeap()
    heap.set(Due.TIMER, 1, 10)

    heap.set(Due.TIMER, 1, 20)

    assert due(heap, 10) == []
    assert heap.due_at(Due.TIMER, 1) == 20
    assert due(heap, 20) == [(Due.TIMER, 1)]


def test_a_cancelled_entry_does_not_fire_and_wakes_nobody() -> None:
    heap = TimerHeap()
    heap.set(Due.TIMER, 1, 10)
    heap.set(Due.TIMER, 2, 30)

    heap.cancel(Due.TIMER, 1)

    assert heap.next_due_ns() == 30
    assert due(heap, 40) == [(Due.TIMER, 2)]
    assert heap.next_due_ns() is None


def test_what_is_set_while_firing_may_fire_in_the_same_sweep() -> None:
    heap = TimerHeap()
    heap.set(Due.TIMER, 1, 10)
    fired = []

    for kind, key in heap.pop_due(10):
        fired.append(key)
        if key == 1:
            heap.set(kind, 2, 5)

    assert fired == [1, 2]


def test_cancelled_entries_do_not_pile_up() -> None:
    heap = TimerHeap()

    for number in range(10_000):
        heap.set(Due.DEADLINE, number, number)
        heap.cancel(Due.DEADLINE, number)

    assert len(heap._heap) < 200


step = st.tuples(
    st.sampled_from(["set", "set", "cancel", "pop"]),
    st.sampled_from([Due.TIMER, Due.DEADLINE]),
    st.integers(0, 5),
    st.integers(0, 50),
)


@settings(max_examples=trials(300), deadline=None)
@given(st.lists(step, max_size=60))
def test_the_heap_does_what_a_dict_does(steps: list[tuple[str, Due, int, int]]) -> None:
    heap, model, now = TimerHeap(), {}, 0
    for count, (verb, kind, key, time) in enumerate(steps):
        if verb == "set":
            heap.set(kind, key, time)
            model[kind, key] = (time, kind, count)
        elif verb == "cancel":
            heap.cancel(kind, key)
            model.pop((kind, key), None)
        else:
            now = max(now, time)
            expected = sorted((v, k) for k, v in model.items() if v[0] <= now)
            assert due(heap, now) == [k for _, k in expected]
            for _, k in expected:
                del model[k]
        assert heap.next_due_ns() == min((v[0] for v in model.values()), default=None)
        assert len(heap) == len(model)
