"""One virtual end of the protocol, for agents and clients: handshake, numbers, marks, resending.

Written for the simulator from the head of ipc/protocol.py, not from the SDK: two writers of
one protocol find each other's mistakes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ext.wire import Envelope
from ipc.channel import Channel
from ipc.errors import LLMOSError, from_wire
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import PROTOCOL_VERSION, Flag, Kind
from tests.simulator.link import Link
from tests.simulator.plan import MS, S

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

RESEND_AT_ONCE = 8  # envelopes; small, so that commits are cut in pieces


class VirtualPeer:
    """See the module head."""

    role = ""

    def __init__(self, simulation: Simulation, identifier: int, incarnation: int) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.id = identifier
        self.incarnation = incarnation
        self.token = ""
        self.channel = Channel(1 << 20, 1 << 40)
        self.epoch: int | None = None
        self.generation: int | None = None
        self.is_alive = True
        self.is_up = False
        self.link: Link | None = None
        self._outbox: list[Envelope] = []
        self._told = 0
        self._progress = 0
        self._attempt = 0
        self._is_ack_due = False
        self._is_resend_due = False

    # --- what subclasses say --------------------------------------------------------------

    def hello_facts(self) -> dict[str, Any]:
        """Return what HELLO says beyond who we are."""
        return {}

    def welcomed(self, welcome: dict[str, Any], *, is_fresh: bool) -> None:
        """The link is up."""

    def rejected(self, error: LLMOSError) -> None:
        """The kernel refused us."""

    def handle(self, envelope: Envelope) -> None:
        """Take the next envelope, in order and once."""

    def covered(self, envelope: Envelope) -> None:
        """The kernel has this one of ours."""

    # --- the link -------------------------------------------------------------------------

    def connect(self) -> None:
        """Make a connection and say hello on it."""
        if not self.is_alive:
            return
        before, self.is_up = self.link, False
        if before is not None:
            before.break_off()
        self._outbox.clear()
        self._attempt += 1
        self.link = Link(self.world, self.simulation.kernel, self, before)
        hello = {
            "role": self.role,
            "protocol": PROTOCOL_VERSION,
            "actor": self.id,
            "incarnation": self.incarnation,
            "token": self.token,
            "generation": self.generation,
            "epoch": self.epoch,
            "taken": self.channel.taken,
            "attempt": self._attempt,
            "sent": self.channel.next_sequence - 1,
            "open": [],
            **self.hello_facts(),
        }
        self.link.to_kernel([Envelope(Kind.HELLO, self.id, 0, encode_plain(hello))])
        self.world.after(S, self._hello_timeout, self._attempt)

    def _hello_timeout(self, attempt: int) -> None:
        if self.is_alive and not self.is_up and attempt == self._attempt:
            self.connect()

    def on_broken(self, link: Link) -> None:
        """See LinkOwner."""
        if self.is_alive and link is self.link:
            self.is_up = False
            self.connect()

    def die(self) -> None:
        """The process is gone at this instant, with all it had."""
        self.is_alive = self.is_up = False
        if self.link is not None:
            self.link.break_off()

    def post(self, envelope: Envelope) -> None:
        """Number an envelope, and send it if the link is up."""
        if not self.is_alive:
            return
        self.channel.number(envelope)
        if self.is_up:
            self._outbox.append(envelope)
            self.world.flush_later(self)
        self._resend_later()

    def flush(self) -> None:
        """Send what this event has posted, in one batch or in several."""
        batch, self._outbox = self._outbox, []
        if not batch or not self.is_up or self.link is None:
            return
        self._told = self.channel.covered
        for envelope in batch:
            envelope.acknowledged = self._told
        while batch:
            cut = len(batch)
            if cut > 1 and self.world.rng.random() < 0.3:
                cut = self.world.rng.randint(1, cut - 1)
            self.link.to_kernel(batch[:cut])
            batch = batch[cut:]

    def take(self, link: Link, batch: list[Envelope]) -> None:
        """See LinkOwner."""
        if not self.is_alive or link is not self.link:
            return
        for envelope in batch:
            if not self.is_alive:
                return
            self._take_one(link, envelope)
        if self.channel.covered > self._told and not self._is_ack_due:
            self._is_ack_due = True
            self.world.after(200 * MS, self._send_ack)

    def _take_one(self, link: Link, envelope: Envelope) -> None:
        if envelope.kind == Kind.WELCOME:
            if not self.is_up:
                self._welcome(link, decode_plain(envelope.payload))
        elif envelope.kind == Kind.REJECT:
            if not self.is_up:
                self.rejected(from_wire(decode_plain(envelope.payload)))
            return
        elif not self.is_up:
            return
        elif envelope.sequence:
            if self.channel.receive(envelope) is None:
                if envelope.sequence <= self.channel.taken:  # our mark was lost: tell it again
                    self._told = min(self._told, envelope.sequence - 1)
                return  # a gap or a repeat: its mark may cover what we have not read yet
            self.channel.cover()
            self.handle(envelope)
            if envelope.flags & Flag.WANT_ACK:
                self._send_ack()
        elif envelope.kind == Kind.ACK:
            if envelope.flags & Flag.WANT_ACK:
                self._send_ack()
            if envelope.message > self.channel.taken:
                return  # likewise
        self._acknowledge(envelope.acknowledged)

    def _welcome(self, link: Link, welcome: dict[str, Any]) -> None:
        is_fresh = not welcome["resumed"]
        if is_fresh:
            self.channel.forget_incoming()
            self._told = 0
        self.epoch, self.generation = welcome["epoch"], welcome["generation"]
        self.is_up = True
        self._acknowledge(welcome["taken"])
        self._outbox[:] = self.channel.unacknowledged()
        self.world.flush_later(self)
        self.welcomed(welcome, is_fresh=is_fresh)
        link.repeat_last(is_resumed=not is_fresh)

    def _acknowledge(self, mark: int) -> None:
        self._progress = max(mark, self._progress)
        for envelope in self.channel.acknowledge(mark):
            self.covered(envelope)

    def _send_ack(self) -> None:
        self._is_ack_due = False
        if self.is_up and self.link is not None:
            self._told = self.channel.covered
            self.link.to_kernel([Envelope(Kind.ACK, acknowledged=self._told)])

    def _resend_later(self) -> None:
        if not self._is_resend_due:
            self._is_resend_due = True
            self.world.after(S, self._resend, self._progress)

    def _resend(self, progress: int) -> None:
        self._is_resend_due = False
        if not self.is_alive or not self.channel.num_kept:
            return
        if self.is_up and progress == self._progress and self.link is not None:
            kept = list(self.channel.unacknowledged())
            for start in range(0, len(kept), RESEND_AT_ONCE):
                self.link.to_kernel(kept[start : start + RESEND_AT_ONCE])
        self._resend_later()
