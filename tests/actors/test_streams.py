"""Streams from both ends, against a scripted kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors import Actor, ActorRef, receive
from actors.bodies import encode, fill, read
from actors.calls import FIRST_CREDIT
from ext.wire import Envelope
from ipc.errors import ActorDeadError, from_wire
from ipc.plain import decode_plain
from ipc.protocol import Flag, Kind
from tests.actors.conftest import Script
from tests.actors.scripted import OTHER, ScriptedKernel, kinds


class Agent(Actor):
    """Produces and reads streams."""

    closed = False

    @receive
    async def count(self, up_to: int) -> AsyncIterator[int]:
        try:
            for number in range(up_to):
                yield number
        finally:
            self.closed = True

    @receive
    async def wrong(self) -> AsyncIterator[int]:
        yield "text"  # type: ignore[misc]

    @receive
    async def plain(self) -> int:
        return 1

    @receive
    async def read(self, other: ActorRef[Any]) -> list[int]:
        return [item async for item in other.count(3)]

    @receive
    async def read_some(self, other: ActorRef[Any]) -> int:
        total = 0
        async for item in other.count(10):
            total += item
            if item == 1:
                break
        return total


@pytest.fixture
def kernel(script: Script) -> ScriptedKernel:
    return script(Agent)


def value(envelope: Envelope) -> Any:
    return read(envelope, lambda identifier: identifier)  # type: ignore[arg-type, return-value]


def item(call: Envelope, index: int, content: Any) -> Envelope:
    return fill(Envelope(Kind.ITEM, correlation=call.correlation, index=index), encode(content))


def end(call: Envelope, index: int) -> Envelope:
    return fill(Envelope(Kind.REPLY, correlation=call.correlation, index=index), encode(None))


def test_items_are_numbered_and_the_reply_counts_them(kernel: ScriptedKernel) -> None:
    sent = kernel.ask("count", 3, flags=Flag.STREAM, index=10)

    assert kinds(sent) == ["ITEM", "ITEM", "ITEM", "COMMIT", "REPLY"]
    assert [(e.turn, e.index, value(e)) for e in sent[:3]] == [(1001, n, n) for n in range(3)]
    assert sent[4].index == 3


def test_yield_waits_for_credit(kernel: ScriptedKernel) -> None:
    assert kinds(kernel.ask("count", 5, flags=Flag.STREAM, index=2)) == ["ITEM", "ITEM"]

    more = Envelope(Kind.STREAM_CREDIT, turn=1001, index=2)
    assert kinds(kernel.give(more)) == ["ITEM", "ITEM"]
    assert kinds(kernel.give(more.copy())) == ["ITEM", "COMMIT", "REPLY"]


def test_credit_for_a_stream_that_has_not_begun_counts(kernel: ScriptedKernel) -> None:
    kernel.ask("count", 2, flags=Flag.STREAM, index=1)
    kernel.ask("count", 5, flags=Flag.STREAM, index=2)
    kernel.give(Envelope(Kind.STREAM_CREDIT, turn=1002, index=2))

    sent = kernel.give(Envelope(Kind.STREAM_CREDIT, turn=1001, index=1))

    assert [e.index for e in sent if e.kind == Kind.ITEM and e.turn == 1002] == [0, 1, 2, 3]


def test_a_cancelled_producer_is_closed(kernel: ScriptedKernel) -> None:
    kernel.ask("count", 5, flags=Flag.STREAM, index=1)

    (commit,) = kernel.give(Envelope(Kind.CANCEL, turn=1001))

    assert commit.flags == Flag.CANCELLED
    assert kernel.runtime._execution._instance.closed  # type: ignore[union-attr, attr-defined]


def test_items_are_checked_against_the_hint(kernel: ScriptedKernel) -> None:
    (commit,) = kernel.ask("wrong", flags=Flag.STREAM, index=10)

    assert from_wire(decode_plain(commit.payload)).code == 101


@pytest.mark.parametrize(("method", "flags"), [("plain", Flag.STREAM), ("count", 0)])
def test_stream_and_plain_handlers_cannot_be_confused(
    kernel: ScriptedKernel, method: str, flags: int
) -> None:
    args = () if method == "plain" else (1,)

    (commit,) = kernel.ask(method, *args, flags=flags, index=1)

    assert from_wire(decode_plain(commit.payload)).code == 101


def test_a_told_stream_runs_to_its_end_without_items(kernel: ScriptedKernel) -> None:
    assert kinds(kernel.tell("count", 3)) == ["COMMIT"]


def test_a_reader_gets_the_items_in_order(kernel: ScriptedKernel) -> None:
    (ask,) = kernel.ask("read", kernel.port.make_ref(OTHER))
    assert (ask.flags & Flag.STREAM, ask.index) == (Flag.STREAM, FIRST_CREDIT)

    assert kernel.give(item(ask, 0, 7), item(ask, 1, 8)) == []
    sent = kernel.give(item(ask, 2, 9), end(ask, 3))

    assert value(sent[0]) == [7, 8, 9]


def test_items_that_come_again_in_a_new_epoch_are_dropped(kernel: ScriptedKernel) -> None:
    (ask,) = kernel.ask("read", kernel.port.make_ref(OTHER))
    kernel.give(item(ask, 0, 7))

    kernel.restart()
    kernel.drain()
    sent = kernel.give(item(ask, 0, 7), item(ask, 1, 8), end(ask, 2))

    assert value(sent[0]) == [7, 8]


def test_leaving_the_loop_early_cancels_the_ask(kernel: ScriptedKernel) -> None:
    (ask,) = kernel.ask("read_some", kernel.port.make_ref(OTHER))

    sent = kernel.give(*(item(ask, number, number) for number in range(4)))

    assert kinds(sent) == ["CANCEL", "COMMIT+REPLY"]
    assert sent[0].correlation == ask.correlation


def test_a_reader_lends_more_when_half_is_used(kernel: ScriptedKernel) -> None:
    (ask,) = kernel.ask("read", kernel.port.make_ref(OTHER))

    sent = kernel.give(*(item(ask, number, number) for number in range(FIRST_CREDIT // 2)))

    assert [(e.kind, e.index) for e in sent] == [(Kind.STREAM_CREDIT, FIRST_CREDIT // 2)]


def test_an_error_comes_after_the_items(kernel: ScriptedKernel) -> None:
    (ask,) = kernel.ask("read", kernel.port.make_ref(OTHER))
    kernel.give(item(ask, 0, 7))

    (commit,) = kernel.error(ask, ActorDeadError(actor="bob", reason="killed"))

    assert isinstance(from_wire(decode_plain(commit.payload)), ActorDeadError)
