"""Marks: how far each peer has been heard, journaled and told.

A mark is written with the loop turn that took what it covers, and told with whatever is sent next;
after ``ACK_EVERY`` envelopes, or ``ACK_DELAY_NS``, by an ACK of its own.

Invariant:
  K1  a peer is told no mark that covers what the next kernel must still be able to refuse.

Cost: one row a peer and loop turn.
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.protocol import Flag, Kind
from kernel.actor_record import ActorRecord
from kernel.state import KernelState, Peer, signed
from kernel.timers import Due

ACK_EVERY = 64  # envelopes taken from one peer before it is told without being asked
ACK_DELAY_NS = 20_000_000

_GRANTS = (int(Kind.ASK), int(Kind.TELL), int(Kind.CREDIT))
_REDELIVERED = int(Flag.REDELIVERED)


class Marks:
    """See the module head."""

    def __init__(self, state: KernelState) -> None:
        self.state = state
        self._later: dict[int, Peer] = {}  # to be told, unless something is sent to them before

    def write(self) -> None:
        """Journal how far each peer has been heard; from here on it may be told so."""
        state = self.state
        touched, state.touched = state.touched, {}
        for identifier, peer in touched.items():
            channel = peer.channel
            if channel is None:
                continue
            covered = channel.covered = _safe_mark(peer, channel.taken)
            row = (peer.incarnation, covered)
            state.output.changes.put("mark", signed(identifier), row)
            if covered - peer.told >= ACK_EVERY:
                self.want_ack(peer)
            if identifier not in self._later:
                if not self._later:
                    state.timers.set(Due.ACK, 0, state.now_ns + ACK_DELAY_NS)
                self._later[identifier] = peer

    def close(self, peer: Peer, batch: list[Envelope]) -> bool:
        """Give the batch its mark; say whether it may leave early: then it tells nothing new."""
        told, resent_to = peer.told, peer.resent_to
        for envelope in batch:
            is_news = envelope.sequence > resent_to or not envelope.sequence
            if is_news:
                envelope.acknowledged = told  # it must not outrun a refusal further on
        if isinstance(peer, ActorRecord) and _all_grants(batch):
            return True
        if is_news and (channel := peer.channel) is not None:
            envelope.acknowledged = peer.told = channel.covered
            self._later.pop(peer.id, None)
        return False

    def want_ack(self, peer: Peer) -> None:
        """Acknowledge at the end of this loop turn, whatever else is sent."""
        if peer.route is not None and peer.route not in self.state.outgoing:
            last = peer.channel.next_sequence - 1 if peer.channel is not None else 0
            ack = Envelope(Kind.ACK, 0, peer.id, message=last)  # a lost refusal stops its mark
            self.state.post_unnumbered(peer.route, ack, peer)

    def send_late(self) -> None:
        """Acknowledge to those to whom nothing was sent in the meantime."""
        later, self._later = self._later, {}
        for peer in later.values():
            if peer.channel is not None and peer.told < peer.channel.covered:
                self.want_ack(peer)


def _safe_mark(peer: Peer, taken: int) -> int:
    """Return how far a peer may forget what it sent.

    The parts of a commit that is still arriving are only in memory, and so is the refusal of
    one: until its agent says RESUME, the next kernel must be able to refuse it again.
    """
    if isinstance(peer, ActorRecord):
        if peer.is_refusing:
            return min(taken, peer.refused_from - 1)
        if peer.commit:
            return int(peer.commit[0].sequence) - 1
    return taken


def _all_grants(batch: list[Envelope]) -> bool:
    """Say whether all that is to be sent to an agent are messages new to it, and room."""
    for envelope in batch:
        if envelope.kind not in _GRANTS or not envelope.sequence:
            return False
        if envelope.flags & _REDELIVERED:
            return False  # which calls the attempt before had made must be forgotten durably
    return True
