"""The selector that deals with one descriptor itself."""

from __future__ import annotations

import asyncio
import os

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
    selector.call_directly(direct, take_direct)
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
    selector.call_directly(pipes[0][0], lambda: take(0))
    loop.run_forever()

    assert sorted(taken) == [0, 1]
    loop.close()
    for reader, writer in pipes:
        os.close(reader)
        os.close(writer)
