"""kernel/mailbox.py: the order of messages, the limits, lanes held back. Against a small model."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext.wire import Envelope
from ipc.protocol import Kind
from kernel.mailbox import Mailbox, Message
from tests.trials import trials


def message(number: int, sender: int = 7, priority: int = 4, size: int = 0) -> Message:
    envelope = Envelope(Kind.TELL, sender, 1, b"x" * size, priority=priority)
    return Message(number, 1, envelope)


def filled(*messages: Message, limit: int = 100) -> Mailbox:
    mailbox = Mailbox(limit, 1 << 20)
    for item in messages:
        mailbox.count(item)
        mailbox.put(item)
    return mailbox


def drained(mailbox: Mailbox) -> list[int]:
    taken = []
    while (item := mailbox.next()) is not None:
        taken.append(item.id)
    return taken


def test_urgent_messages_overtake_and_equals_keep_their_order() -> None:
    mailbox = filled(message(1), message(2, priority=0), message(3), message(4, priority=0))

    assert drained(mailbox) == [2, 4, 1, 3]
    assert len(mailbox) == 0


def test_a_message_that_comes_back_takes_its_old_place() -> None:
    first, second, third = message(1), message(2), message(3)
    mailbox = filled(first, second, third)
    assert mailbox.next() is first
    assert mailbox.next() is second

    mailbox.put_back([first, second])

    assert drained(mailbox) == [1, 2, 3]


def test_a_message_that_waited_for_room_does_not_go_behind_later_ones() -> None:
    mailbox = filled(message(2), message(3))

    mailbox.put(message(1))

    mailbox.check_integrity()
    assert drained(mailbox) == [1, 2, 3]


def test_a_lane_held_back_holds_back_no_other() -> None:
    mailbox = filled(message(1, sender=7), message(2, sender=8), message(3, sender=7))

    mailbox.block(7, 4)

    assert drained(mailbox) == [2]
    assert mailbox.is_blocked_only
    mailbox.unblock(7, 4)
    assert drained(mailbox) == [1, 3]


def test_what_comes_for_a_lane_held_back_waits_with_it_in_order() -> None:
    mailbox = filled(message(2))
    mailbox.block(7, 4)

    mailbox.put(message(3))
    mailbox.put_back([message(1)])
    mailbox.unblock(7, 4)

    assert drained(mailbox) == [1, 2, 3]


def test_room_is_counted_until_the_message_has_ended() -> None:
    mailbox = Mailbox(2, 1 << 20)
    one = message(1)
    mailbox.count(one)

    assert mailbox.has_room(1, 10)
    assert not mailbox.has_room(2, 10)
    mailbox.discharge(one)
    assert mailbox.has_room(2, 10)


def test_lent_room_counts_like_used_room() -> None:
    mailbox = Mailbox(2, 1 << 20)
    mailbox.lent_messages = 2

    assert not mailbox.has_room(1, 10)
    assert mailbox.has_double_room(1, 10)


def test_bytes_are_limited_too_but_an_empty_mailbox_takes_any_one_message() -> None:
    mailbox = Mailbox(100, 1024)

    assert mailbox.has_room(1, 5000)
    mailbox.count(message(1, size=100))
    assert not mailbox.has_room(1, 5000)
    assert not mailbox.has_double_room(1, 5000)


def test_who_stands_in_line_is_not_overtaken_by_one_who_would_fit() -> None:
    mailbox = Mailbox(10, 1024)
    mailbox.count(message(1, size=700))
    mailbox.waiting.append(message(2, size=800))

    assert mailbox.has_room(1, 10)
    assert not mailbox.is_open_to(10)


def test_reserved_messages_take_no_room() -> None:
    mailbox = Mailbox(1, 1024)
    system = message(1)
    system.reserved = True

    mailbox.count(system)

    assert (mailbox.used_messages, mailbox.used_bytes) == (0, 0)


@pytest.mark.parametrize("held_back", [False, True])
def test_remove_takes_a_message_out_wherever_it_stands(held_back: bool) -> None:
    target = message(2)
    mailbox = filled(message(1), target, message(3))
    if held_back:
        mailbox.block(7, 4)

    assert mailbox.remove(target)
    assert not mailbox.remove(target)
    mailbox.unblock(7, 4)
    assert drained(mailbox) == [1, 3]


@st.composite
def operations(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    verbs = st.sampled_from(["put", "put", "next", "next", "back", "block", "unblock", "remove"])
    step = st.tuples(verbs, st.integers(0, 2), st.sampled_from([0, 4]))
    return draw(st.lists(step, max_size=60))


class Model:
    """Ten lines of mailbox: a sorted list and a set of lanes held back."""

    def __init__(self) -> None:
        self.queued: list[Message] = []
        self.blocked: set[tuple[int, int]] = set()

    def next(self) -> Message | None:
        free = [m for m in self.queued if (m.sender, m.envelope.priority) not in self.blocked]
        if not free:
            return None
        found = min(free, key=lambda m: (m.envelope.priority, m.order))
        self.queued.remove(found)
        return found


@settings(max_examples=trials(300), deadline=None)
@given(operations())
def test_a_mailbox_does_what_a_sorted_list_does(steps: list[tuple[str, int, int]]) -> None:
    mailbox, model, taken = Mailbox(1000, 1 << 20), Model(), []
    for number, (verb, sender, priority) in enumerate(steps):
        if verb == "put":
            item = message(number + 1, sender, priority)
            mailbox.put(item)
            model.queued.append(item)
        elif verb == "next":
            item = mailbox.next()
            assert item is model.next()
            if item is not None:
                taken.append(item)
        elif verb == "back" and taken:
            back, taken = taken[sender:], taken[:sender]
            mailbox.put_back(back)
            model.queued += back
        elif verb == "block":
            mailbox.block(sender, priority)
            model.blocked.add((sender, priority))
        elif verb == "unblock":
            mailbox.unblock(sender, priority)
            model.blocked.discard((sender, priority))
        elif verb == "remove" and model.queued:
            item = model.queued.pop(sender % len(model.queued))
            assert mailbox.remove(item)
        mailbox.check_integrity()
        assert len(mailbox) == len(model.queued)
        assert set(mailbox.queued()) == set(model.queued)
