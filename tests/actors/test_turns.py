"""One agent against a scripted kernel: what a turn sends, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors import Actor, ActorRef, receive
from actors.bodies import from_stored, read, to_stored
from ext.wire import Envelope
from ipc.errors import MailboxFullError, UnknownActorError, from_wire, to_wire
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from tests.actors.conftest import Script
from tests.actors.scripted import LIMITS, ME, OTHER, ScriptedKernel, kinds


class Agent(Actor):
    """One handler for each thing a turn can do."""

    @receive
    async def echo(self, text: str) -> str:
        return text

    @receive
    async def fail(self, text: str) -> None:
        self.state["touched"] = True
        await self.ref.tell.echo("never")
        raise ValueError(text)

    @receive
    async def relay(self, other: ActorRef[Any], text: str) -> str:
        answer: str = await other.echo(text)
        return answer

    @receive
    async def tell_many(self, other: ActorRef[Any], count: int) -> None:
        for number in range(count):
            await other.tell.note(number)

    @receive
    async def overtake(self, other: ActorRef[Any]) -> None:
        await other.tell.note(1)
        await other.echo("x")

    @receive
    async def add(self, amount: int) -> int:
        self.state["sum"] = self.state.get("sum", 0) + amount
        return int(self.state["sum"])

    @receive
    async def append(self, item: str) -> None:
        self.state.setdefault("items", []).append(item)

    @receive
    async def patient(self, seconds: float) -> str:
        async with asyncio.timeout(1000):
            await asyncio.sleep(seconds)
        return "rested"

    @receive
    async def both(self, other: ActorRef[Any]) -> list[str]:
        return await asyncio.gather(other.echo("a"), other.echo("b"))

    @receive
    async def leave_task(self, other: ActorRef[Any]) -> str:
        self.task = asyncio.create_task(self._ask_later(other))
        await asyncio.sleep(0)
        return "done"

    async def _ask_later(self, other: ActorRef[Any]) -> None:
        try:
            await other.echo("too late")
        except Exception as error:
            self.outcome = type(error).__name__

    @receive
    def blocking(self, number: int) -> int:
        self.state["number"] = number
        return number + 1

    @receive
    async def who(self) -> list[Any]:
        return [self.sender, self.now.timestamp(), self.random.random()]


@pytest.fixture
def kernel(script: Script) -> ScriptedKernel:
    return script(Agent)


def value(envelope: Envelope) -> Any:
    return read(envelope, lambda identifier: identifier)  # type: ignore[arg-type, return-value]


def test_an_ask_is_answered_in_its_commit(kernel: ScriptedKernel) -> None:
    sent = kernel.ask("echo", "hello")

    assert kinds(sent) == ["COMMIT+REPLY"]
    (commit,) = sent
    assert (commit.turn, commit.index, commit.flags) == (1001, 0, Flag.REPLIES)
    assert value(commit) == "hello"


def test_a_tell_is_committed_without_effects(kernel: ScriptedKernel) -> None:
    (commit,) = kernel.tell("echo", "hello")

    assert (commit.kind, commit.turn, commit.index) == (Kind.COMMIT, 1001, 0)


def test_a_batch_of_grants_is_committed_in_order_in_one_batch(kernel: ScriptedKernel) -> None:
    messages = [kernel.message(Kind.TELL, "echo", str(number)) for number in range(20)]

    sent = kernel.give(*messages)

    assert [envelope.turn for envelope in sent] == [message.message for message in messages]
    assert {envelope.kind for envelope in sent} == {Kind.COMMIT}


def test_a_handler_that_raises_is_rolled_back_and_its_error_told(kernel: ScriptedKernel) -> None:
    (commit,) = kernel.ask("fail", "broken")

    error = from_wire(decode_plain(commit.payload))
    assert commit.flags == Flag.FAILED
    assert (error.type_name, error.handler, error.message) == ("ValueError", "fail", "broken")
    assert "raise ValueError(text)" in error.traceback
    assert "execution.py" not in error.traceback
    assert kernel.runtime.store.values == {}


def test_an_error_of_ours_keeps_its_class(kernel: ScriptedKernel) -> None:
    (ask,) = kernel.ask("relay", kernel.port.make_ref(OTHER), "x")

    (commit,) = kernel.error(ask, UnknownActorError(name="bob", hint=""))

    assert isinstance(from_wire(decode_plain(commit.payload)), UnknownActorError)


def test_an_unknown_handler_is_told_apart(kernel: ScriptedKernel) -> None:
    (commit,) = kernel.tell("nothing")

    error = from_wire(decode_plain(commit.payload))
    assert (commit.flags, error.code, error.handler) == (Flag.FAILED, 102, "nothing")


def test_an_ill_fitting_argument_is_named_and_nothing_runs(kernel: ScriptedKernel) -> None:
    (commit,) = kernel.ask("echo", 5)

    error = from_wire(decode_plain(commit.payload))
    assert error.where == "Agent.echo, argument 'text'"
    assert error.problem == "expected str, got int 5"


def test_a_body_that_is_no_message_fails_the_turn(kernel: ScriptedKernel) -> None:
    junk = Envelope(Kind.TELL, OTHER, ME, encode_plain({"a": 1}), message=4)

    (commit,) = kernel.give(junk)

    assert (commit.turn, commit.flags) == (4, Flag.FAILED)


def test_an_ask_leaves_at_once_with_turn_and_digest(kernel: ScriptedKernel) -> None:
    (ask,) = kernel.ask("relay", kernel.port.make_ref(OTHER), "x")

    assert (ask.kind, ask.receiver, ask.turn) == (Kind.ASK, OTHER, 1001)
    assert len(ask.digest) == 16
    sent = kernel.reply(ask, "answer")
    assert kinds(sent) == ["COMMIT+REPLY"]
    assert value(sent[0]) == "answer"


def test_equal_calls_have_equal_digests_and_other_correlations(kernel: ScriptedKernel) -> None:
    other = kernel.port.make_ref(OTHER)
    (first,) = kernel.ask("relay", other, "x")
    kernel.reply(first, "")

    (second,) = kernel.ask("relay", other, "x")

    assert first.digest == second.digest
    assert first.correlation != second.correlation


def test_concurrent_asks_of_one_turn_share_a_batch(kernel: ScriptedKernel) -> None:
    asks = kernel.ask("both", kernel.port.make_ref(OTHER))

    assert kinds(asks) == ["ASK", "ASK"]
    assert kernel.reply(asks[1], "second") == []
    sent = kernel.reply(asks[0], "first")
    assert value(sent[0]) == ["first", "second"]


def test_deadline_and_priority_are_inherited_by_calls(kernel: ScriptedKernel) -> None:
    other = kernel.port.make_ref(OTHER)

    (ask,) = kernel.ask("relay", other, "x", deadline=2_000_000_000, priority=1, trace=b"t" * 16)

    assert (ask.deadline, ask.priority, ask.trace) == (2_000_000_000, 1, b"t" * 16)


def test_a_tell_waits_for_room_and_leaves_with_the_commit(kernel: ScriptedKernel) -> None:
    (reserve,) = kernel.ask("tell_many", kernel.port.make_ref(OTHER), 1)
    assert (reserve.kind, reserve.receiver, reserve.turn) == (Kind.RESERVE, OTHER, 1001)
    messages, size = decode_plain(reserve.payload)

    sent = kernel.credit(reserve, messages, size)

    assert kinds(sent) == ["COMMIT+REPLY", "TELL"]
    assert (messages, size) == (1, sent[1].size)
    assert value(sent[1]) == ["note", [0], {}]


def test_lent_room_is_used_again_and_returned_on_recall(kernel: ScriptedKernel) -> None:
    other = kernel.port.make_ref(OTHER)
    (reserve,) = kernel.ask("tell_many", other, 3)
    sent = kernel.credit(reserve, 10, 10_000)
    size = sent[1].size
    assert kinds(sent) == ["COMMIT+REPLY", "TELL", "TELL", "TELL"]
    assert kinds(kernel.tell("tell_many", other, 2)) == ["COMMIT", "TELL", "TELL"]

    (back,) = kernel.give(Envelope(Kind.RECALL, receiver=OTHER))

    assert decode_plain(back.payload) == [5, 10_000 - 5 * size]
    assert kinds(kernel.tell("tell_many", other, 1)) == ["RESERVE"]


def test_room_of_a_failed_turn_is_free_again(kernel: ScriptedKernel) -> None:
    other = kernel.port.make_ref(OTHER)
    (reserve,) = kernel.ask("overtake", other)

    (commit,) = kernel.credit(reserve, 1, 1000)

    assert from_wire(decode_plain(commit.payload)).code == 105
    assert kinds(kernel.tell("tell_many", other, 1)) == ["COMMIT", "TELL"]


def test_room_lent_by_the_next_kernel_to_a_turn_that_fails_is_free_again(
    kernel: ScriptedKernel,
) -> None:
    other = kernel.port.make_ref(OTHER)
    kernel.ask("overtake", other)
    kernel.restart()
    reserve = kernel.drain()[-1]

    (commit,) = kernel.credit(reserve, 1, 1000)

    assert (reserve.kind, commit.flags) == (Kind.RESERVE, Flag.FAILED)
    assert kinds(kernel.tell("tell_many", other, 1)) == ["COMMIT", "TELL"]


def test_refused_room_raises_in_the_handler(kernel: ScriptedKernel) -> None:
    (reserve,) = kernel.ask("tell_many", kernel.port.make_ref(OTHER), 1)
    full = MailboxFullError(receiver=OTHER, depth=1, limit=1, used_bytes=1, limit_bytes=1)

    refused = Envelope(
        Kind.REFUSED, payload=encode_plain(to_wire(full)), correlation=reserve.correlation
    )
    (commit,) = kernel.give(refused)

    assert from_wire(decode_plain(commit.payload)).code == 201


def test_tells_to_oneself_need_no_room(kernel: ScriptedKernel) -> None:
    assert kinds(kernel.tell("tell_many", kernel.port.make_ref(ME), 2)) == [
        "COMMIT",
        "TELL",
        "TELL",
    ]


def test_state_is_committed_when_its_bytes_changed(kernel: ScriptedKernel) -> None:
    sent = kernel.ask("add", 5)
    assert kinds(sent) == ["COMMIT+REPLY", "STATE"]
    assert decode_plain(sent[1].payload) == {"sum": to_stored(5)}

    assert kinds(kernel.ask("add", 0)) == ["COMMIT+REPLY"]
    assert value(kernel.ask("add", 1)[0]) == 6


def test_in_place_changes_of_state_count(kernel: ScriptedKernel) -> None:
    kernel.tell("append", "a")

    commit, state = kernel.tell("append", "b")

    assert commit.index == 1
    assert decode_plain(state.payload) == {"items": to_stored(["a", "b"])}


def test_a_turn_has_limits_on_effects(script: Script) -> None:
    kernel = script(Agent, limits={**LIMITS, "turn_messages": 3})

    (commit,) = kernel.tell("tell_many", kernel.port.make_ref(ME), 4)

    error = from_wire(decode_plain(commit.payload))
    assert (error.code, error.value, error.limit) == (109, 4, 3)


def test_a_handler_may_wait_and_use_timeouts(kernel: ScriptedKernel) -> None:
    assert kernel.ask("patient", 5.0) == []

    kernel.run(10)

    assert kinds(kernel.drain()) == ["COMMIT+REPLY"]


def test_the_next_turn_starts_only_when_the_one_before_has_ended(kernel: ScriptedKernel) -> None:
    kernel.ask("patient", 5.0)

    assert kernel.tell("echo", "x") == []

    kernel.run(6)
    assert [e.turn for e in kernel.drain() if e.kind == Kind.COMMIT] == [1001, 1002]


def test_a_cancelled_turn_is_committed_as_cancelled(kernel: ScriptedKernel) -> None:
    (ask,) = kernel.ask("relay", kernel.port.make_ref(OTHER), "x")

    sent = kernel.give(Envelope(Kind.CANCEL, turn=1001))

    assert kinds(sent) == ["CANCEL", "COMMIT"]
    assert sent[0].correlation == ask.correlation
    assert (sent[1].turn, sent[1].flags, sent[1].index) == (1001, Flag.CANCELLED, 0)


def test_a_granted_turn_that_has_not_begun_can_be_cancelled(kernel: ScriptedKernel) -> None:
    kernel.ask("patient", 5.0)
    kernel.tell("echo", "x")

    (commit,) = kernel.give(Envelope(Kind.CANCEL, turn=1002))

    assert (commit.turn, commit.flags) == (1002, Flag.CANCELLED)


def test_asks_unfinished_when_the_handler_returns_are_cancelled(kernel: ScriptedKernel) -> None:
    sent = kernel.ask("leave_task", kernel.port.make_ref(OTHER))

    assert kinds(sent) == ["ASK", "CANCEL", "COMMIT+REPLY"]
    instance = kernel.runtime._execution._instance  # type: ignore[union-attr]
    assert instance.outcome == "TurnClosedError"  # type: ignore[attr-defined]


def test_a_def_handler_runs_in_a_thread_with_the_turn(kernel: ScriptedKernel) -> None:
    sent = kernel.ask("blocking", 3)

    assert value(sent[0]) == 4
    assert decode_plain(sent[1].payload) == {"number": to_stored(3)}


def test_now_and_random_are_fixed_by_the_message(kernel: ScriptedKernel) -> None:
    accepted_ns = 1_700_000_123_000_000_000
    first = kernel.ask("who", message=50, correlation=accepted_ns)
    kernel.run(5)

    again = kernel.ask("who", message=50, correlation=accepted_ns)

    assert value(first[0]) == value(again[0])
    assert value(first[0])[1] == accepted_ns / 1e9


def test_a_refused_commit_voids_turns_and_grants_until_the_state_has_come(
    kernel: ScriptedKernel,
) -> None:
    kernel.ask("add", 1)
    kernel.ask("patient", 5.0)
    kernel.tell("echo", "granted")

    (resume,) = kernel.refuse_commit(1001)
    assert resume.kind == Kind.RESUME
    assert kernel.tell("echo", "granted before the kernel read RESUME") == []
    state = encode_plain({"sum": to_stored(40)})
    sent = kernel.give(Envelope(Kind.STATE, payload=state), kernel.message(Kind.ASK, "add", 2))

    assert kinds(sent) == ["COMMIT+REPLY", "STATE"]
    assert value(sent[0]) == 42


def test_in_a_new_epoch_open_turns_are_reported_and_grants_dropped(
    kernel: ScriptedKernel,
) -> None:
    kernel.give(kernel.message(Kind.TELL, "echo", "uncovered"), covers=False)
    (ask,) = kernel.give(
        kernel.message(Kind.ASK, "relay", kernel.port.make_ref(OTHER), "x"), covers=False
    )
    kernel.give(kernel.message(Kind.TELL, "echo", "granted"), covers=False)

    kernel.restart()

    assert kernel.hello["open"] == [1001, 1002]
    assert kernel.hello["commits"] == [[1001, 1]]
    kernel.drain()
    sent = kernel.reply(ask, "answer")
    assert [e.turn for e in sent if e.kind == Kind.COMMIT] == [1002]


def test_between_hello_and_welcome_no_turn_begins(kernel: ScriptedKernel) -> None:
    kernel.ask("patient", 5.0)
    granted = kernel.message(Kind.ASK, "add", 1)
    kernel.give(granted.copy())
    kernel.die()

    kernel.hear_hello()
    kernel.run(6)  # the open turn ends: there would be room for the next
    kernel.welcome()
    sent = kernel.give(granted.copy())

    assert kernel.hello["open"] == [1001]
    assert [e.turn for e in sent if e.kind == Kind.COMMIT] == [1001, 1002]


def test_a_resumed_link_lets_granted_turns_begin(kernel: ScriptedKernel) -> None:
    kernel.ask("patient", 5.0)
    kernel.tell("echo", "granted")
    kernel.runtime.peer.disconnected()

    kernel.hear_hello()
    kernel.run(6)
    kernel.welcome(resumed=True)

    assert [e.turn for e in kernel.drain() if e.kind == Kind.COMMIT] == [1001, 1002]


def test_a_stop_finishes_the_open_turn_and_says_farewell(kernel: ScriptedKernel) -> None:
    kernel.ask("patient", 5.0)
    kernel.tell("echo", "granted")
    assert kernel.give(Envelope(Kind.STOP, index=5000)) == []

    kernel.run(6)
    sent = kernel.drain()

    assert kinds(sent) == ["COMMIT+REPLY", "BYE"]
    assert kernel.left == []
    kernel.give(Envelope(Kind.RECALL, receiver=OTHER))
    assert kernel.left == ["said farewell"]


def test_state_survives_through_the_welcome(script: Script) -> None:
    kernel = script(Agent)
    kernel.runtime.store.load({"sum": to_stored(10)})

    sent = kernel.ask("add", 1)

    assert from_stored(decode_plain(sent[1].payload)["sum"], kernel.port.make_ref, "sum") == 11
