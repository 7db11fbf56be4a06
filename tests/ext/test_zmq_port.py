"""ext/zmq_port.pyx: whole messages in and out, nothing copied that is large, nothing waits."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from ext.zmq_port import NAMES, SMALL, Part, bind
from ipc.port import open_port

ROOT = Path(__file__).resolve().parent.parent.parent
READABLE, WRITABLE = 1, 2
DESCRIPTOR = 2
SOON_MS = 10_000
MIB = 1 << 20


class Pair:
    """Two connected sockets, a port on each, and a descriptor that is not readable."""

    def __init__(self, kind: int = zmq.PAIR, *, high_water_mark: int = 1000) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.sockets = [self.context.socket(kind), self.context.socket(kind)]
        for socket in self.sockets:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.SNDHWM, high_water_mark)
            socket.setsockopt(zmq.RCVHWM, high_water_mark)
        self.sockets[0].bind("inproc://pair")
        self.sockets[1].connect("inproc://pair")
        self.ours, self.theirs = map(open_port, self.sockets)
        self.never, self.writer = os.pipe()

    def receive(self) -> list[bytes]:
        assert self.theirs.wait(self.never, SOON_MS) == READABLE
        parts = self.theirs.receive()
        assert parts is not None
        return [bytes(part) for part in parts]

    def close(self) -> None:
        self.ours.detach()
        self.theirs.detach()
        for socket in self.sockets:
            socket.close(linger=0)
        self.context.term()
        os.close(self.never)
        os.close(self.writer)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


SIZES = st.sampled_from([0, 1, 29, 30, 33, 100, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL])


@given(st.lists(st.lists(SIZES, min_size=1, max_size=5), min_size=1, max_size=4))
def test_messages_arrive_whole_and_in_order(messages: list[list[int]]) -> None:
    pair = Pair()
    sent = [[os.urandom(size) for size in sizes] for sizes in messages]

    for first, *rest in sent:
        assert pair.ours.send(first, rest) == 0

    assert [pair.receive() for _ in sent] == sent
    assert pair.theirs.receive() is None
    pair.close()


def test_small_parts_are_bytes_and_large_ones_are_read_only_buffers(pair: Pair) -> None:
    large = os.urandom(SMALL + 1)
    pair.ours.send(b"x" * SMALL, [large])
    assert pair.theirs.wait(pair.never, SOON_MS) == READABLE

    small, part = pair.theirs.receive() or []

    assert type(small) is bytes
    assert type(part) is Part
    assert len(part) == len(large)
    view = memoryview(part)
    assert view.readonly
    assert view == large


def test_a_large_part_outlives_its_socket() -> None:
    pair = Pair()
    pair.ours.send(b"\x05" * MIB)
    assert pair.theirs.wait(pair.never, SOON_MS) == READABLE
    (part,) = pair.theirs.receive() or []

    array = np.frombuffer(part, np.uint8)
    pair.close()
    del part

    assert int(array.sum()) == 5 * MIB


def test_large_parts_are_given_back(pair: Pair) -> None:
    def pass_on(count: int) -> None:
        for _ in range(count):
            pair.ours.send(b"x" * MIB)
            assert len(pair.receive()[0]) == MIB

    pass_on(20)
    before = psutil.Process().memory_info().rss
    pass_on(200)

    assert psutil.Process().memory_info().rss - before < 50 * MIB


def test_anything_with_a_contiguous_buffer_can_be_sent(pair: Pair) -> None:
    array = np.arange(4, dtype=np.int32)

    pair.ours.send(bytearray(b"a"), [memoryview(b"bc")[1:], array])

    assert pair.receive() == [b"a", b"c", array.tobytes()]


@pytest.mark.parametrize("wrong", ["text", None, np.zeros(4)[::2]])
def test_a_part_that_is_no_buffer_leaves_nothing_half_sent(pair: Pair, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError, BufferError)):
        pair.ours.send(b"first", [b"second", wrong])

    assert pair.ours.send(b"whole") == 0
    assert pair.receive() == [b"whole"]


def test_nothing_waits_where_nobody_takes() -> None:
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    port = open_port(socket)

    assert port.receive() is None
    assert port.events() == 0
    assert port.send(b"first", [b"second"]) == errno.EAGAIN
    port.detach()
    socket.close(linger=0)
    context.term()


def test_a_router_says_that_it_does_not_know_the_route() -> None:
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    port = open_port(socket)

    assert port.send(b"nobody", [b"x"]) == zmq.EHOSTUNREACH
    port.detach()
    socket.close(linger=0)
    context.term()


def test_a_full_pipe_refuses_whole_messages() -> None:
    pair = Pair(high_water_mark=2)
    sent = 0
    while pair.ours.send(b"%d" % sent, [b"tail"]) == 0:
        sent += 1

    assert 0 < sent < 100
    assert not pair.ours.events() & WRITABLE
    assert [pair.receive() for _ in range(sent)] == [[b"%d" % n, b"tail"] for n in range(sent)]
    assert pair.theirs.receive() is None
    pair.close()


def test_events_tell_what_can_be_done(pair: Pair) -> None:
    assert pair.theirs.events() == WRITABLE

    pair.ours.send(b"x")
    assert pair.theirs.wait(pair.never, SOON_MS) == READABLE

    assert pair.theirs.events() == READABLE | WRITABLE


def test_a_wait_ends_with_its_time(pair: Pair) -> None:
    assert pair.theirs.wait(pair.never, 0) == 0
    assert pair.theirs.wait(pair.never, 5) == 0


def test_a_wait_sees_the_descriptor_the_socket_and_both(pair: Pair) -> None:
    os.write(pair.writer, b"!")
    assert pair.theirs.wait(pair.never, SOON_MS) == DESCRIPTOR

    pair.ours.send(b"x")
    while not pair.theirs.events() & READABLE:
        pass

    assert pair.theirs.wait(pair.never, SOON_MS) == READABLE | DESCRIPTOR


def test_a_wait_sees_a_message_whose_news_was_read_before(pair: Pair) -> None:
    pair.ours.send(b"x")
    while not pair.theirs.events() & READABLE:  # takes the descriptor's news away
        pass

    assert [pair.theirs.wait(pair.never, -1) for _ in range(3)] == [READABLE] * 3


def test_a_detached_port_has_nothing_and_sends_nothing(pair: Pair) -> None:
    pair.ours.send(b"x")
    pair.theirs.detach()

    assert pair.theirs.receive() is None
    assert pair.theirs.events() == 0
    assert pair.theirs.wait(pair.never, -1) == 0
    assert pair.theirs.send(b"y") == errno.EAGAIN


def test_an_address_that_lacks_is_named_and_the_rest_stays_as_it_was(pair: Pair) -> None:
    with pytest.raises(KeyError, match="zmq_errno"):
        bind({name: 1 for name in NAMES if name != "zmq_errno"})

    pair.ours.send(b"x")
    assert pair.receive() == [b"x"]


def test_a_port_before_bind_is_refused() -> None:
    program = "from ext.zmq_port import Port\nPort(1)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert "RuntimeError: ext.zmq_port.bind has not been called" in done.stderr
