"""The peer's end of the link, against a model of the kernel's end that loses and repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.peer import RESEND_S, WELCOME_S, Peer
from actors.virtual_loop import VirtualLoop
from ext.wire import Envelope
from ipc.channel import Channel
from ipc.clock import ManualClock
from ipc.errors import LLMOSError, UsageError, to_wire
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Hello, Kind, Welcome
from tests.actors.scripted import LIMITS


class Owner:
    """A listener that writes everything down."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.covered_: list[int] = []
        self.refused: list[int] = []
        self.fresh: list[bool] = []
        self.rejections: list[LLMOSError] = []

    def hello(self) -> Hello:
        return Hello(
            role="agent",
            protocol=1,
            actor=5,
            incarnation=1,
            token="t",
            generation=None,
            epoch=None,
            taken=0,
            open=[],
        )

    def welcomed(self, welcome: Welcome, *, is_fresh: bool) -> None:
        self.fresh.append(is_fresh)

    def rejected(self, error: LLMOSError) -> None:
        self.rejections.append(error)

    def handle(self, envelope: Envelope) -> None:
        said = self.refused if envelope.kind == Kind.REFUSED else self.taken
        said.append(envelope.index)

    def covered(self, envelopes: list[Envelope]) -> None:
        self.covered_ += [envelope.index for envelope in envelopes]

    def settle(self) -> None:
        pass


class Rig:
    """A peer on a virtual loop."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.loop = VirtualLoop(self.clock, self._idle)
        self.owner = Owner()
        self.peer = Peer(self.owner, self.loop)
        self.out: list[Envelope] = []
        self._until_ns = 0

    def connect(self, **welcome: Any) -> dict[str, Any]:
        self.peer.connected(self._transmit)
        hello: dict[str, Any] = decode_plain(self.out.pop().payload)
        self.welcome(**welcome)
        return hello

    def welcome(self, **welcome: Any) -> None:
        facts = {"epoch": 1, "generation": 3, "taken": 0, "resumed": False, "state": {}}
        body = {**facts, "limits": LIMITS, **welcome}
        self.peer.receive([Envelope(Kind.WELCOME, payload=encode_plain(body))])

    def _transmit(self, envelopes: list[Envelope]) -> None:
        self.out += [envelope.copy() for envelope in envelopes]

    def run(self, seconds: float = 0.0) -> list[Envelope]:
        self._until_ns = self.clock.monotonic_ns() + int(seconds * 1e9)
        self.loop.run_forever()
        out, self.out = self.out, []
        return out

    def _idle(self, timeout_s: float | None) -> None:
        now_ns = self.clock.monotonic_ns()
        due_ns = None if timeout_s is None else now_ns + int(timeout_s * 1e9) + 1
        if due_ns is not None and due_ns <= self._until_ns:
            self.clock.advance(due_ns - now_ns)
        else:
            self.clock.advance(max(0, self._until_ns - now_ns))
            self.loop.stop()

    def close(self) -> None:
        self.peer.close()
        self.loop.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def tell(index: int, *, sequence: int = 0, acknowledged: int = 0, flags: int = 0) -> Envelope:
    return Envelope(
        Kind.TELL, index=index, sequence=sequence, acknowledged=acknowledged, flags=flags
    )


def test_what_is_posted_before_the_welcome_leaves_after_it_in_order(rig: Rig) -> None:
    rig.peer.post(tell(1))
    rig.peer.post(tell(2))

    rig.connect()
    rig.peer.post(tell(3))

    assert [(e.index, e.sequence) for e in rig.run()] == [(1, 1), (2, 2), (3, 3)]


def test_a_reconnection_tells_what_was_taken_and_resends_what_was_not(rig: Rig) -> None:
    rig.connect()
    for index in range(1, 4):
        rig.peer.post(tell(index))
    rig.peer.receive([tell(50, sequence=1)])
    rig.run()

    hello = rig.connect(resumed=True, taken=1)

    assert (hello["epoch"], hello["generation"], hello["taken"]) == (1, 3, 1)
    assert [e.index for e in rig.run()] == [2, 3]
    assert rig.owner.fresh == [True, False]


def test_repeats_and_gaps_from_the_kernel_are_dropped(rig: Rig) -> None:
    rig.connect()

    for sequence in (1, 1, 3, 2, 2):
        rig.peer.receive([tell(sequence, sequence=sequence)])

    assert rig.owner.taken == [1, 2]


def test_a_new_epoch_begins_the_kernels_numbers_at_one(rig: Rig) -> None:
    rig.connect()
    rig.peer.receive([tell(7, sequence=1)])
    rig.run()

    rig.connect(epoch=2)
    rig.peer.receive([tell(8, sequence=1)])

    assert rig.owner.taken == [7, 8]


def test_no_progress_for_a_second_sends_again(rig: Rig) -> None:
    rig.connect()
    rig.peer.post(tell(1))
    assert len(rig.run()) == 1

    assert [e.index for e in rig.run(RESEND_S * 1.5)] == [1]
    rig.peer.receive([Envelope(Kind.ACK, acknowledged=1)])
    assert rig.run(RESEND_S * 3) == []


def test_a_mark_behind_a_gap_is_not_believed(rig: Rig) -> None:
    rig.connect()
    for index in (1, 2):
        rig.peer.post(tell(index))
    rig.run()

    rig.peer.receive([tell(8, sequence=2, acknowledged=2)])  # number 1 was lost: a refusal?
    assert rig.owner.covered_ == []
    rig.peer.receive([tell(7, sequence=1, acknowledged=1), tell(8, sequence=2, acknowledged=2)])

    assert rig.owner.covered_ == [1, 2]


def test_an_acknowledgement_sent_behind_something_lost_is_not_believed(rig: Rig) -> None:
    rig.connect()
    rig.peer.post(tell(1))
    rig.run()

    rig.peer.receive([Envelope(Kind.ACK, acknowledged=1, message=1)])
    assert rig.owner.covered_ == []
    rig.peer.receive([tell(7, sequence=1), Envelope(Kind.ACK, acknowledged=1, message=1)])

    assert rig.owner.covered_ == [1]


def test_a_wanted_acknowledgement_is_given_at_once_another_lazily(rig: Rig) -> None:
    rig.connect()

    rig.peer.receive([tell(1, sequence=1)])
    assert rig.run() == []
    assert [e.acknowledged for e in rig.run(1)] == [1]

    rig.peer.receive([tell(2, sequence=2, flags=Flag.WANT_ACK)])
    assert [e.acknowledged for e in rig.run()] == [2]


def test_a_repeat_is_acknowledged_again(rig: Rig) -> None:
    rig.connect()
    rig.peer.receive([tell(1, sequence=1), tell(2, sequence=2)])
    assert [e.acknowledged for e in rig.run(1)] == [2]  # and this is lost

    rig.peer.receive([tell(1, sequence=1), tell(2, sequence=2)])

    assert [e.acknowledged for e in rig.run(1)] == [2]
    assert rig.owner.taken == [1, 2]


def test_an_acknowledgement_rides_on_what_leaves_anyway(rig: Rig) -> None:
    rig.connect()
    rig.peer.receive([tell(1, sequence=1)])

    rig.peer.post(tell(9))

    assert [e.acknowledged for e in rig.run(0.5)] == [1]


def test_beyond_the_window_envelopes_wait_in_order(rig: Rig) -> None:
    rig.connect(limits={**LIMITS, "window_messages": 2})
    for index in range(1, 6):
        rig.peer.post(tell(index))
    assert [e.index for e in rig.run()] == [1, 2]

    rig.peer.receive([Envelope(Kind.ACK, acknowledged=2)])

    assert [e.index for e in rig.run()] == [3, 4]
    assert rig.owner.covered_ == [1, 2]


def test_a_rejection_reaches_the_owner(rig: Rig) -> None:
    rig.peer.connected(rig._transmit)

    body = encode_plain(to_wire(UsageError(reason="no")))
    rig.peer.receive([Envelope(Kind.REJECT, payload=body)])

    assert isinstance(rig.owner.rejections[0], UsageError)


def test_a_mark_below_the_one_known_takes_nothing_back(rig: Rig) -> None:
    rig.connect()
    for index in range(1, 4):
        rig.peer.post(tell(index))
    rig.peer.receive([Envelope(Kind.ACK, acknowledged=2)])
    rig.run()

    rig.connect(epoch=2, taken=0)

    assert [(e.index, e.sequence) for e in rig.run()] == [(3, 3)]


def test_a_hello_that_is_not_answered_is_given_up(rig: Rig) -> None:
    given_up: list[int] = []
    rig.peer.connected(rig._transmit, lambda: given_up.append(1))

    rig.run(WELCOME_S - 1)
    assert given_up == []
    rig.run(2)

    assert given_up == [1]


def test_a_hello_that_is_answered_is_not_given_up(rig: Rig) -> None:
    given_up: list[int] = []
    rig.peer.connected(rig._transmit, lambda: given_up.append(1))
    rig.welcome()

    rig.run(2 * WELCOME_S)

    assert given_up == []


def test_envelopes_posted_while_others_are_ready_share_a_batch(rig: Rig) -> None:
    rig.connect()
    batches: list[int] = []
    rig.peer._transmit = lambda envelopes: batches.append(len(envelopes))

    async def post(index: int) -> None:
        rig.peer.post(tell(index))

    async def everybody() -> None:
        await asyncio.gather(*(post(index) for index in range(10)))

    task = rig.loop.create_task(everybody())
    rig.run()

    assert task.done()
    assert sum(batches) == 10
    assert len(batches) <= 2


def is_refused(index: int) -> bool:
    """Say whether the kernel refuses what has this index."""
    return index % 2 == 1


class LinkMachine(RuleBasedStateMachine):
    """Both directions over connections that lose and repeat; the kernel refuses, and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        self.kernel = Channel(1 << 20, 1 << 40)
        self.epoch = 1
        self.journaled: list[int] = []
        self.refused: dict[int, int] = {}  # index -> number, of those whose refusal is not heard
        self.sent = self.told = 0
        self.connected = False
        self.in_flight: list[Envelope] = []
        self.reconnect()

    def teardown(self) -> None:
        self.rig.close()

    @rule()
    def reconnect(self) -> None:
        self.lose_the_connection()
        self.rig.peer.connected(self.rig._transmit)
        hello = decode_plain(self.rig.out.pop().payload)
        resumed = hello["epoch"] == self.epoch
        if resumed:
            self.hear(hello["taken"])
        first_unheard = min(self.refused.values(), default=1 << 60)
        welcome = {
            "epoch": self.epoch,
            "generation": 1,
            "taken": min(self.kernel.covered, first_unheard - 1),
            "resumed": resumed,
            "state": {},
            "limits": LIMITS,
        }
        self.rig.peer.receive([Envelope(Kind.WELCOME, payload=encode_plain(welcome))])
        self.connected = True
        if not resumed:
            for index in self.refused:
                self.kernel.number(Envelope(Kind.REFUSED, index=index)).acknowledged = 0
        self.in_flight += [envelope.copy() for envelope in self.kernel.kept_as_sent()]

    def hear(self, mark: int) -> None:
        """The peer has taken what the kernel has sent up to here."""
        for envelope in self.kernel.acknowledge(mark):
            if envelope.kind == Kind.REFUSED:
                del self.refused[envelope.index]

    @rule()
    def restart_kernel(self) -> None:
        taken = self.kernel.taken
        self.kernel = Channel(1 << 20, 1 << 40, taken=taken)
        self.epoch += 1
        self.lose_the_connection()
        self.connected = False
        self.rig.peer.disconnected()

    def lose_the_connection(self) -> None:
        """Lose what is on its way, in both directions: nothing of it reaches another connection."""
        self.in_flight.clear()
        self.rig.out.clear()

    @rule()
    def post(self) -> None:
        self.sent += 1
        self.rig.peer.post(tell(self.sent))

    @rule()
    def say(self) -> None:
        if self.connected:
            self.told += 1
            self.in_flight.append(self.kernel.number(tell(self.told)).copy())

    @rule(count=st.integers(1, 5), repeat=st.booleans())
    def deliver(self, count: int, repeat: bool) -> None:
        batch = self.in_flight[:count]
        self.in_flight = batch + self.in_flight[count:] if repeat else self.in_flight[count:]
        self.rig.peer.receive([envelope.copy() for envelope in batch])

    @rule(kind=st.sampled_from([Kind.REFUSED, Kind.TELL, Kind.ACK]))
    def lose(self, kind: Kind) -> None:
        """Lose all of a kind that is on its way, in the midst of the connection."""
        self.in_flight = [envelope for envelope in self.in_flight if envelope.kind != kind]

    @rule()
    def be_refused(self) -> None:
        self.post()
        self.post()
        self.journal(lost=False)

    @rule(lost=st.booleans())
    def journal(self, lost: bool) -> None:
        for envelope in self.rig.run():
            if lost or not self.connected:
                continue
            if envelope.sequence and self.kernel.receive(envelope) is not None:
                self.journaled.append(envelope.index)
                if is_refused(envelope.index):
                    self.refused[envelope.index] = envelope.sequence
                    refusal = Envelope(Kind.REFUSED, index=envelope.index)
                    self.in_flight.append(self.kernel.number(refusal).copy())
            self.hear(envelope.acknowledged)
        self.kernel.cover()
        if self.connected:
            last = self.kernel.next_sequence - 1
            ack = Envelope(Kind.ACK, acknowledged=self.kernel.covered, message=last)
            self.in_flight.append(ack)

    @invariant()
    def nothing_is_lost_repeated_or_out_of_order(self) -> None:
        assert self.journaled == list(range(1, len(self.journaled) + 1))
        taken = self.rig.owner.taken
        assert taken == sorted(set(taken))
        done = self.rig.owner.covered_
        assert done == list(range(1, len(done) + 1))
        assert len(done) <= len(self.journaled)

    @invariant()
    def nothing_refused_is_taken_for_accepted(self) -> None:
        owner = self.rig.owner
        assert {index for index in owner.covered_ if is_refused(index)} <= set(owner.refused)

    def settle(self) -> None:
        self.reconnect()
        for _ in range(3):
            self.journal(lost=False)
            self.deliver(count=10_000, repeat=False)
        assert self.journaled == list(range(1, self.sent + 1))
        assert self.rig.peer.is_drained

    @rule()
    def everything_arrives_in_the_end(self) -> None:
        self.settle()


TestLinkMachine = LinkMachine.TestCase
TestLinkMachine.settings = settings(deadline=None)
