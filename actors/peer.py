"""One end of the link to the kernel: handshake, numbers, acknowledgements, resending.

Sans-I/O: whoever owns the connection gives ``connected`` a function that transmits, and feeds
``receive``. The listener (an agent's runtime, or a client) gets what arrives, once and in order.

Envelopes posted in one loop turn leave as one batch. One posted while nothing else is ready to
run in this turn of the loop leaves at once, without waiting for the turn to end.

Invariants:
  I1  nothing is transmitted between ``connected`` and WELCOME but HELLO; what is posted then is
      numbered, kept, and sent after WELCOME.
  I2  beyond the window the envelopes wait here, in order, without a number.
  I3  in a new kernel epoch the kernel's numbers begin at 1; ours go on (same incarnation).

Cost: about 2 us an envelope each way; one timer a second while something is unacknowledged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sized
from typing import Any, Protocol, cast

from ext.wire import Envelope
from ipc.channel import Channel
from ipc.errors import LLMOSError, from_wire
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Hello, Kind, Welcome

RESEND_S = 1.0  # without progress of the kernel's mark
WELCOME_S = 15.0  # a kernel may take seconds to recover; beyond this the hello is taken for lost
LAZY_ACK_S = 0.2  # an acknowledgement waits that long for an envelope to ride on
_FIRST_WINDOW = 1024
_RESEND_AT_ONCE = 256  # envelopes
_WANT_ACK = int(Flag.WANT_ACK)
_ALWAYS_BUSY = (None,)

Transmit = Callable[[list[Envelope]], None]


class Listener(Protocol):
    """Who owns a peer."""

    def hello(self) -> Hello:
        """Return what to say of ourselves, but for generation, epoch and taken."""
        ...

    def welcomed(self, welcome: Welcome, *, is_fresh: bool) -> None:
        """The link is up. is_fresh: first time, or a new kernel epoch."""
        ...

    def rejected(self, error: LLMOSError) -> None:
        """The kernel refused the handshake."""
        ...

    def handle(self, envelope: Envelope) -> None:
        """Take the next envelope."""
        ...

    def covered(self, envelopes: list[Envelope]) -> None:
        """The kernel has these of ours, oldest first."""
        ...

    def settle(self) -> None:
        """A batch has been taken: do what was put off to its end."""
        ...


class Peer:
    """See the module head."""

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        self.channel = Channel(_FIRST_WINDOW, 1 << 30)
        self.epoch: int | None = None
        self.generation: int | None = None
        self.is_up = False
        self._listener = listener
        self._loop = loop
        # What asyncio will run in this turn of the loop; private to it, so its absence is fine.
        self._ready: Sized = cast(Sized, getattr(loop, "_ready", _ALWAYS_BUSY))
        self._transmit: Transmit | None = None
        self._outbox: list[Envelope] = []
        self._overflow: deque[Envelope] = deque()
        self._corks = 0
        self._attempt = 0  # connections made
        self._is_flush_due = False
        self._told = 0  # the mark we have told the kernel
        self._progress_seen = 0  # the kernel's mark when we last looked
        self._resend_timer: asyncio.TimerHandle | None = None
        self._ack_timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._welcome_timer: asyncio.TimerHandle | None = None

    def connected(self, transmit: Transmit, give_up: Callable[[], None] | None = None) -> None:
        """A connection is there: say hello on it.

        give_up: called if the hello is not answered within ``WELCOME_S``; a connection says hello
            once, so another one must be made.
        """
        self._expect_welcome(give_up)
        self.is_up = False
        self._outbox.clear()
        self._transmit = transmit
        hello = self._listener.hello()
        hello["generation"], hello["epoch"] = self.generation, self.epoch
        hello["taken"] = self.channel.taken
        self._attempt += 1
        hello["attempt"] = self._attempt
        hello["sent"] = self.channel.next_sequence - 1
        payload = encode_plain(cast("dict[str, Any]", hello))
        transmit([Envelope(Kind.HELLO, hello["actor"], 0, payload)])

    def disconnected(self) -> None:
        """The connection is gone; what is posted from now on waits for the next."""
        self._expect_welcome(None)
        self.is_up = False
        self._transmit = None
        self._outbox.clear()

    def post(self, envelope: Envelope) -> None:
        """Number the envelope and send it, now or as soon as the link and the window allow."""
        if self._overflow or not self.channel.offer(envelope):
            self._overflow.append(envelope)
        elif self.is_up:
            self._outbox.append(envelope)
            if not self._corks:
                self._wake()
        if self._resend_timer is None:
            self._arm_resend()

    def post_all(self, envelopes: list[Envelope]) -> None:
        """Post several that belong together: they leave as one batch. The list becomes ours."""
        num_offered = 0 if self._overflow else self.channel.offer_all(envelopes)
        if num_offered < len(envelopes):
            self._overflow.extend(envelopes[num_offered:])
            del envelopes[num_offered:]
        if self.is_up:
            self._outbox += envelopes
        if self._outbox and not self._corks:
            self._wake()
        if self._resend_timer is None:
            self._arm_resend()

    def receive(self, envelopes: list[Envelope]) -> None:
        """Take one decoded batch from the connection."""
        channel = self.channel
        listener = self._listener
        asked = flags = mark = 0  # the mark: of envelopes before which nothing is missing
        self._corks += 1
        try:
            for envelope in envelopes:
                if not envelope.sequence:
                    self._unnumbered(envelope)
                    asked |= envelope.flags
                    if envelope.message > channel.taken:
                        continue
                elif not self.is_up:
                    continue
                elif channel.take(envelope):
                    flags |= envelope.flags
                    listener.handle(envelope)
                else:
                    self._note_dropped(envelope)
                    continue
                if envelope.acknowledged > mark:
                    mark = envelope.acknowledged
            # After the whole batch: what it says of our envelopes (HELD, REFUSED) comes first.
            if mark > channel.heard and self.is_up:
                self._acknowledge(mark)
            listener.settle()
        finally:
            self._corks -= 1
        if self._outbox and not self._corks:
            self.flush()
        if asked & _WANT_ACK:  # whether we are alive: said by the loop itself, and now
            self._send_ack()
        elif channel.covered > self._told:
            self._owe_ack(at_once=bool(flags & _WANT_ACK))

    def flush(self) -> None:
        """Send what is in the outbox."""
        if not self._outbox or self._transmit is None:
            return
        batch, self._outbox = self._outbox, []
        batch[-1].acknowledged = self._told = self.channel.covered
        self._transmit(batch)

    def cork(self) -> None:
        """Hold envelopes back until ``uncork``: they leave as one batch."""
        self._corks += 1

    def uncork(self) -> None:
        """Let go what was held back."""
        self._corks -= 1
        if not self._corks:
            self.flush()

    def beat(self) -> None:
        """Tell the kernel that we are here, though there is nothing to say."""
        self._send_ack()

    @property
    def is_greeting(self) -> bool:
        """Say whether the kernel has been told where we stand, and has not answered yet."""
        return self._transmit is not None and not self.is_up

    @property
    def is_drained(self) -> bool:
        """Say whether the kernel has everything we posted."""
        return not self.channel.num_kept and not self._overflow

    def keeps(self, kind: Kind) -> bool:
        """Say whether an envelope of this kind is on its way: the kernel may not have it."""
        kept = (*self.channel.unacknowledged(), *self._overflow)
        return any(envelope.kind == kind for envelope in kept)

    def close(self) -> None:
        """Stop the timers and forget the connection."""
        self.disconnected()
        for timer in (self._resend_timer, self._ack_timer):
            if timer is not None:
                timer.cancel()
        self._resend_timer = self._ack_timer = None
        self._is_closed = True

    def _wake(self) -> None:
        if not self._ready:
            self.flush()
        elif not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush_due)

    def _flush_due(self) -> None:
        self._is_flush_due = False
        self.flush()

    def _note_dropped(self, envelope: Envelope) -> None:
        """A gap or a repeat; who sends again has not heard that we have it: tell it again."""
        if envelope.sequence <= self.channel.taken:
            self._told = min(self._told, envelope.sequence - 1)

    def _expect_welcome(self, give_up: Callable[[], None] | None) -> None:
        """Begin to wait for the answer to a hello; give_up=None: it has come, or cannot come."""
        if self._welcome_timer is not None:
            self._welcome_timer.cancel()
            self._welcome_timer = None
        if give_up is not None:
            self._welcome_timer = self._loop.call_later(WELCOME_S, give_up)

    def _unnumbered(self, envelope: Envelope) -> None:
        if envelope.kind in (Kind.WELCOME, Kind.REJECT):
            self._expect_welcome(None)
        if envelope.kind == Kind.WELCOME:
            self._welcome(cast(Welcome, decode_plain(envelope.payload)))
        elif envelope.kind == Kind.REJECT:
            self._listener.rejected(from_wire(decode_plain(envelope.payload)))

    def _welcome(self, welcome: Welcome) -> None:
        limits, channel = welcome["limits"], self.channel
        channel.window, channel.window_bytes = limits["window_messages"], limits["window_bytes"]
        is_fresh = not welcome["resumed"]
        if is_fresh:
            channel.forget_incoming()
            self._told = 0
        self.epoch, self.generation = welcome["epoch"], welcome["generation"]
        # A lower mark than the one we know: the kernel has something to say of what lies between.
        self._acknowledge(max(welcome["taken"], channel.heard))
        self.is_up = True
        self._outbox[:] = channel.unacknowledged()
        self._listener.welcomed(welcome, is_fresh=is_fresh)

    def _acknowledge(self, mark: int) -> None:
        done = self.channel.acknowledge(mark)
        if done:
            self._listener.covered(done)
        if self._overflow:
            self._number_waiting()

    def _number_waiting(self) -> None:
        while self._overflow and self.channel.offer(self._overflow[0]):
            envelope = self._overflow.popleft()
            if self.is_up:
                self._outbox.append(envelope)

    def _arm_resend(self) -> None:
        if self._is_closed:  # a driver's work may end after it; nobody waits for that
            return
        self._progress_seen = self.channel.heard
        self._resend_timer = self._loop.call_later(RESEND_S, self._check_progress)

    def _check_progress(self) -> None:
        self._resend_timer = None
        if not self.channel.num_kept:
            return
        if self.is_up and self.channel.heard == self._progress_seen and self._transmit is not None:
            self.flush()
            self._transmit(list(self.channel.unacknowledged())[:_RESEND_AT_ONCE])
        self._arm_resend()

    def _owe_ack(self, *, at_once: bool) -> None:
        if at_once or self.channel.covered - self._told > self.channel.window // 4:
            self._send_ack()
        elif self._ack_timer is None:
            self._ack_timer = self._loop.call_later(LAZY_ACK_S, self._send_owed_ack)

    def _send_owed_ack(self) -> None:
        self._ack_timer = None
        if self.channel.covered > self._told:
            self._send_ack()

    def _send_ack(self) -> None:
        if self.is_up and self._transmit is not None:
            self._told = self.channel.covered
            self._transmit([Envelope(Kind.ACK, acknowledged=self._told)])
