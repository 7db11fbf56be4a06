"""Several turns at once: isolation of state, and running again what has read old values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors import Actor, ActorRef, receive
from actors.bodies import read, to_stored
from ext.wire import Envelope
from ipc.errors import from_wire
from ipc.plain import decode_plain
from ipc.protocol import Flag, Kind
from tests.actors.conftest import Script
from tests.actors.scripted import OTHER, ScriptedKernel, kinds


class Agent(Actor):
    """Reads state before it waits, writes after."""

    concurrency = 2
    runs = 0

    @receive
    async def slow_add(self, other: ActorRef[Any], key: str) -> int:
        self.runs += 1
        before = self.state.get(key, 0)
        more = await other.amount()
        self.state[key] = before + more
        return int(self.state[key])

    @receive
    async def flow(self, other: ActorRef[Any]) -> AsyncIterator[int]:
        before = self.state.get("sum", 0)
        yield 1
        yield await other.amount()
        yield before + 100

    @receive
    async def count_keys(self, other: ActorRef[Any]) -> int:
        count = len(self.state)
        await other.amount()
        return count


@pytest.fixture
def kernel(script: Script) -> ScriptedKernel:
    return script(Agent)


def value(envelope: Envelope) -> Any:
    return read(envelope, lambda identifier: identifier)  # type: ignore[arg-type, return-value]


def runs(kernel: ScriptedKernel) -> int:
    return kernel.runtime._execution._instance.runs  # type: ignore[union-attr, attr-defined, no-any-return]


def test_two_turns_run_at_once_and_a_third_waits(kernel: ScriptedKernel) -> None:
    other = kernel.port.make_ref(OTHER)

    asks = [kernel.ask("slow_add", other, key) for key in "abc"]

    assert [len(sent) for sent in asks] == [1, 1, 0]


def test_a_turn_that_read_what_another_committed_runs_again_with_its_recorded_calls(
    kernel: ScriptedKernel,
) -> None:
    other = kernel.port.make_ref(OTHER)
    (first,) = kernel.ask("slow_add", other, "sum")
    (second,) = kernel.ask("slow_add", other, "sum")
    kernel.reply(first, 1)

    sent = kernel.reply(second, 10)

    assert kinds(sent) == ["COMMIT+REPLY", "STATE"]
    assert value(sent[0]) == 11
    assert decode_plain(sent[1].payload) == {"sum": to_stored(11)}
    assert runs(kernel) == 3


def test_turns_on_different_keys_do_not_run_again(kernel: ScriptedKernel) -> None:
    other = kernel.port.make_ref(OTHER)
    (first,) = kernel.ask("slow_add", other, "a")
    (second,) = kernel.ask("slow_add", other, "b")

    kernel.reply(first, 1)
    kernel.reply(second, 10)

    assert runs(kernel) == 2


def test_the_set_of_keys_is_read_too(kernel: ScriptedKernel) -> None:
    other = kernel.port.make_ref(OTHER)
    (count,) = kernel.ask("count_keys", other)
    (add,) = kernel.ask("slow_add", other, "a")
    kernel.reply(add, 1)

    sent = kernel.reply(count, 0)

    assert value(sent[0]) == 1


def test_items_of_the_run_before_are_not_sent_again(kernel: ScriptedKernel) -> None:
    other = kernel.port.make_ref(OTHER)
    first, ask = kernel.ask("flow", other, flags=Flag.STREAM, index=2)
    (add,) = kernel.ask("slow_add", other, "sum")
    kernel.reply(add, 5)
    (second,) = kernel.reply(ask, 2)

    sent = kernel.give(Envelope(Kind.STREAM_CREDIT, turn=1001, index=9))

    assert [(e.index, value(e)) for e in (first, second, sent[0])] == [(0, 1), (1, 2), (2, 100)]
    assert from_wire(decode_plain(sent[1].payload)).code == 305


def test_a_turn_waiting_to_run_again_can_be_cancelled(kernel: ScriptedKernel) -> None:
    other = kernel.port.make_ref(OTHER)
    (first,) = kernel.ask("slow_add", other, "sum")
    (second,) = kernel.ask("slow_add", other, "sum")
    kernel.reply(first, 1)

    answer = Envelope(Kind.REPLY, payload=b"\x0a", correlation=second.correlation)
    sent = kernel.give(answer, Envelope(Kind.CANCEL, turn=1002))

    assert [e.turn for e in sent if e.kind == Kind.COMMIT] == [1002]
    assert kinds(sent)[-1] == "COMMIT"
