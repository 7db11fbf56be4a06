"""kernel/slots.py: a bounded number of running turns and the line for them."""

from __future__ import annotations

from kernel.slots import SlotLine


def test_nobody_is_let_on_beyond_the_limit() -> None:
    slots = SlotLine(2)
    slots.used = 2
    slots.line_up(1)
    slots.line_up_answer(10)

    assert slots.take_actor() is None
    assert slots.take_answer() is None
    assert slots.is_contended
    assert not slots.is_free


def test_the_line_is_first_come_first_served() -> None:
    slots = SlotLine(1)
    for actor in (3, 1, 2):
        slots.line_up(actor)

    assert [slots.take_actor() for _ in range(4)] == [3, 1, 2, None]


def test_an_actor_stands_in_line_once_until_it_is_taken() -> None:
    slots = SlotLine(1)
    slots.line_up(1)
    slots.line_up(1)

    assert [slots.take_actor(), slots.take_actor()] == [1, None]
    slots.line_up(1)
    assert slots.take_actor() == 1


def test_answers_have_a_line_of_their_own() -> None:
    slots = SlotLine(1)
    slots.line_up(1)
    slots.line_up_answer(10)
    slots.line_up_answer(11)

    assert [slots.take_answer(), slots.take_answer(), slots.take_answer()] == [10, 11, None]
    assert slots.take_actor() == 1
    assert slots.is_free


def test_it_adds_up_how_long_slots_were_in_use() -> None:
    slots = SlotLine(3)
    slots.change(2, now_ns=100)
    slots.change(-1, now_ns=110)

    assert slots.used == 1
    assert slots.busy_ns(now_ns=115) == 2 * 10 + 5
