"""ipc/channel.py: two ends over a link that loses, repeats and reorders keep I1 to I4."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ext.wire import Envelope
from ipc.channel import Channel

WINDOW = 4
ENDS = st.sampled_from([0, 1])


class End:
    """One end and what the test knows of it. journal: how much of ``received`` is safe."""

    def __init__(self) -> None:
        self.channel = Channel(WINDOW, 1 << 20)
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        self.told = 0  # highest mark that ever left

    def crash(self) -> None:
        """Lose what was not covered; what it sent is kept (the kernel journals it, too)."""
        old, covered = self.channel, self.channel.covered
        self.received = self.received[:covered]
        old.taken = covered


class TwoChannels(RuleBasedStateMachine):
    """Invariants are named as in the head of ipc/channel.py."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = (End(), End())
        self.links: tuple[list[Envelope], list[Envelope]] = ([], [])  # towards end 0, end 1

    def put(self, source: int, envelope: Envelope) -> None:
        """A link carries bytes: what changes at the sender later does not change it."""
        self.ends[source].told = max(self.ends[source].told, envelope.acknowledged)
        self.links[1 - source].append(envelope.copy())

    def arrive(self, to: int, envelope: Envelope) -> None:
        end = self.ends[to]
        if envelope.sequence and end.channel.receive(envelope):
            end.received.append(envelope.payload)
        end.channel.acknowledge(envelope.acknowledged)

    @rule(source=ENDS)
    def send(self, source: int) -> None:
        end = self.ends[source]
        if end.channel.has_room:
            envelope = Envelope(10, payload=b"%d" % len(end.sent))
            end.sent.append(envelope.payload)
            self.put(source, end.channel.number(envelope))

    @rule(to=ENDS, data=st.data())
    def deliver_any(self, to: int, data: st.DataObject) -> None:
        link = self.links[to]
        if link:
            self.arrive(to, link.pop(data.draw(st.integers(0, len(link) - 1))))

    @rule(to=ENDS)
    def deliver_in_order(self, to: int) -> None:
        while self.links[to]:
            self.arrive(to, self.links[to].pop(0))

    @rule(to=ENDS, data=st.data())
    def lose(self, to: int, data: st.DataObject) -> None:
        link = self.links[to]
        if link:
            link.pop(data.draw(st.integers(0, len(link) - 1)))

    @rule(to=ENDS, data=st.data())
    def repeat(self, to: int, data: st.DataObject) -> None:
        link = self.links[to]
        if link:
            link.append(link[data.draw(st.integers(0, len(link) - 1))].copy())

    @rule(end=ENDS)
    def cover(self, end: int) -> None:
        self.ends[end].channel.cover()

    @rule(end=ENDS)
    def tell_mark(self, end: int) -> None:
        self.put(end, Envelope(4, acknowledged=self.ends[end].channel.covered))

    @rule(source=ENDS)
    def resend(self, source: int) -> None:
        for envelope in self.ends[source].channel.unacknowledged():
            self.put(source, envelope)

    @rule(end=ENDS)
    def crash_before_covering(self, end: int) -> None:
        self.ends[end].crash()

    @rule()
    def lose_the_connection(self) -> None:
        self.links[0].clear()
        self.links[1].clear()

    @invariant()
    def i1_numbers_have_no_gaps_and_belong_to_their_envelope(self) -> None:
        for end in self.ends:
            assert end.channel.next_sequence == len(end.sent) + 1
            for envelope in end.channel.unacknowledged():
                assert envelope.payload == end.sent[envelope.sequence - 1]

    @invariant()
    def i2_what_was_taken_is_what_was_sent_in_order(self) -> None:
        for end, other in (self.ends, self.ends[::-1]):
            assert end.received == other.sent[: end.channel.taken]

    @invariant()
    def i3_what_is_not_covered_there_is_kept_here(self) -> None:
        for end, other in (self.ends, self.ends[::-1]):
            kept = [envelope.sequence for envelope in end.channel.unacknowledged()]
            first = len(end.sent) - len(kept) + 1
            assert kept == list(range(first, len(end.sent) + 1))
            assert first - 1 <= other.told

    @invariant()
    def i4_only_what_is_covered_is_told(self) -> None:
        for end in self.ends:
            assert end.told <= end.channel.covered <= end.channel.taken

    @invariant()
    def the_window_bounds_what_is_kept(self) -> None:
        for end in self.ends:
            kept = list(end.channel.unacknowledged())
            assert end.channel.num_kept == len(kept) <= WINDOW
            assert end.channel.kept_bytes == sum(envelope.size for envelope in kept)

    def teardown(self) -> None:
        """Whatever happened, resending once over a link that works delivers everything."""
        self.lose_the_connection()
        for source in (0, 1):
            self.resend(source)
            self.deliver_in_order(1 - source)
            self.cover(1 - source)
            self.tell_mark(1 - source)
            self.deliver_in_order(source)

        for end, other in (self.ends, self.ends[::-1]):
            assert end.received == other.sent
            assert end.channel.num_kept == 0


TestTwoChannels = TwoChannels.TestCase


def numbered(channel: Channel, count: int) -> list[Envelope]:
    return [channel.number(Envelope(10, payload=b"%d" % i)) for i in range(count)]


def test_a_full_window_says_so_by_count_and_by_bytes() -> None:
    by_count, by_bytes = Channel(2, 1 << 20), Channel(100, 200)

    numbered(by_count, 2)
    by_bytes.number(Envelope(10, payload=bytes(72)))

    assert not by_count.has_room
    assert not by_bytes.has_room
    by_count.acknowledge(1)
    by_bytes.acknowledge(1)
    assert by_count.has_room
    assert by_bytes.has_room


def test_acknowledging_returns_what_is_done_oldest_first() -> None:
    channel = Channel(8, 1 << 20)
    numbered(channel, 3)

    assert [envelope.sequence for envelope in channel.acknowledge(2)] == [1, 2]
    assert channel.acknowledge(2) == []
    assert [envelope.sequence for envelope in channel.unacknowledged()] == [3]


def test_a_mark_beyond_what_was_sent_does_no_harm() -> None:
    channel = Channel(8, 1 << 20)
    numbered(channel, 2)

    assert len(channel.acknowledge(2**64 - 1)) == 2
    assert numbered(channel, 1)[0].sequence == 3
    assert channel.num_kept == 1


@pytest.mark.parametrize("sequence", [0, 1, 3, 2**64 - 1])
def test_only_the_next_number_is_taken(sequence: int) -> None:
    channel = Channel(8, 1 << 20, taken=1)

    assert channel.receive(Envelope(10, sequence=sequence)) is None
    assert channel.taken == 1
    assert channel.receive(Envelope(10, sequence=2)) is not None


def test_forgetting_the_other_end_expects_number_one() -> None:
    channel = Channel(8, 1 << 20, taken=7)

    channel.forget_incoming()

    assert (channel.taken, channel.covered) == (0, 0)
    assert channel.receive(Envelope(10, sequence=1)) is not None


def test_a_resent_envelope_carries_the_present_mark() -> None:
    channel = Channel(8, 1 << 20)
    numbered(channel, 1)
    channel.receive(Envelope(10, sequence=1))
    channel.cover()

    assert [envelope.acknowledged for envelope in channel.unacknowledged()] == [1]
