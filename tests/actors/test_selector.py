"""The selector that deals with one descriptor itself."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from actors.selector import LinkSelector


def test_the_direct_descriptor_is_dealt_with_and_the_others_are_the_loops() -> None:
    selector = LinkSelector()
    loop = asyncio.SelectorEventLoop(selector)
    direct, direct_end = os.pipe()
    other, other_end = os.pipe()
    taken: list[str] = []

    def take_direct() -> None:
        os.read(direct, 1)
        taken.append("direct")
        loop.call_soon(taken.append, "soon")
        os.write(other_end, b"x")

    def take_other() -> None:
        os.read(other, 1)
        taken.append("other")
        loop.stop()

    loop.add_reader(direct, take_direct)
    loop.add_reader(other, take_other)
    selector.call_directly(direct, take_direct, loop)
    os.write(direct_end, b"x")
    loop.run_forever()

    assert taken == ["direct", "soon", "other"]
    selector.call_directly(-1, None)
    os.write(direct_end, b"x")
    loop.run_forever()
    assert taken[3:] == ["direct", "soon", "other"]
    loop.close()
    for descriptor in (direct, direct_end, other, other_end):
        os.close(descriptor)


def test_both_ready_at_once_go_through_the_loop() -> None:
    selector = LinkSelector()
    loop = asyncio.SelectorEventLoop(selector)
    pipes = [os.pipe(), os.pipe()]
    taken: list[int] = []

    def take(number: int) -> None:
        os.read(pipes[number][0], 1)
        taken.append(number)
        if len(taken) == 2:
            loop.stop()

    for number, (reader, writer) in enumerate(pipes):
        loop.add_reader(reader, take, number)
        os.write(writer, b"x")
    selector.call_directly(pipes[0][0], lambda: take(0), loop)
    loop.run_forever()

    assert sorted(taken) == [0, 1]
    loop.close()
    for reader, writer in pipes:
        os.close(reader)
        os.close(writer)


class Taps:
    """A loop with a direct descriptor, which does in turn what a test has planned."""

    def __init__(self) -> None:
        self.selector = LinkSelector()
        self.loop = asyncio.SelectorEventLoop(self.selector)
        self.reader, self.writer = os.pipe()
        self.plan: list[Callable[[], object]] = []
        self.rounds = 0  # of the loop
        select = self.selector.select

        def count(timeout: float | None = None) -> object:
            self.rounds += 1
            return select(timeout)

        self.selector.select = count  # type: ignore[method-assign, assignment]
        self.loop.add_reader(self.reader, self.take)
        self.selector.call_directly(self.reader, self.take, self.loop)

    def take(self) -> None:
        """Take one message, and see that the next one comes."""
        os.read(self.reader, 1)
        if len(self.plan) > 1:
            self.tap()
        self.plan.pop(0)()

    def tap(self) -> None:
        os.write(self.writer, b"x")

    def run(self, *plan: Callable[[], object]) -> None:
        """Run the loop through the plan; its last step must stop the loop."""
        self.plan = list(plan)
        self.tap()
        self.loop.run_forever()

    def close(self) -> None:
        self.loop.close()
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def taps() -> Iterator[Taps]:
    made = Taps()
    yield made
    made.close()


def nothing() -> None:
    """Leave the loop nothing to do."""


def test_messages_that_leave_the_loop_nothing_to_do_cost_no_round_of_it(taps: Taps) -> None:
    taps.run(*[nothing] * 50, taps.loop.stop)

    assert taps.rounds == 1


def test_what_a_message_schedules_runs_before_the_next_message_is_waited_for(taps: Taps) -> None:
    seen: list[str] = []

    taps.run(
        lambda: taps.loop.call_soon(seen.append, "soon"),
        lambda: seen.append("next"),
        taps.loop.stop,
    )

    assert seen == ["soon", "next"]


def test_a_timer_set_by_a_message_is_kept_though_messages_go_on_coming(taps: Taps) -> None:
    fired: list[int] = []

    def set_timers() -> None:
        taps.loop.call_later(0, fired.append, 1)

    def go_on() -> None:
        if fired:
            taps.loop.stop()
            taps.plan.clear()
        else:
            taps.plan.append(go_on)
            taps.tap()

    taps.plan = [set_timers, go_on]
    taps.tap()
    taps.loop.run_forever()

    assert fired == [1]


def test_a_timer_set_before_is_kept_though_messages_go_on_coming(taps: Taps) -> None:
    taps.loop.call_later(0.01, taps.loop.stop)

    def go_on() -> None:
        taps.plan.append(go_on)
        taps.tap()

    taps.plan = [go_on]
    taps.tap()
    taps.loop.run_forever()  # returns only because the timer fired

    assert taps.plan


def test_another_thread_is_heard_while_messages_are_waited_for(taps: Taps) -> None:
    taps.plan = [nothing]
    taps.tap()
    thread = threading.Thread(target=taps.loop.call_soon_threadsafe, args=(taps.loop.stop,))
    taps.loop.call_soon(thread.start)
    taps.loop.run_forever()

    thread.join()
    assert not thread.is_alive()


def test_a_loop_without_asyncios_private_parts_is_asked_after_each_message(taps: Taps) -> None:
    taps.selector.call_directly(taps.reader, taps.take, asyncio.AbstractEventLoop())

    taps.run(*[nothing] * 50, taps.loop.stop)

    assert taps.rounds >= 50
