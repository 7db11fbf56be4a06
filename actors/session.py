"""One session with a kernel from outside: its connection, its calls, its tells.

A session is a random id and a mark (DESIGN 4a). It survives the connection and the kernel: what
was not covered is sent again, answers are waited for. A tell is accepted when the kernel's mark
covers it and it was not told HELD. What users call is in actors/async_client.py.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol

from actors.calls import CallTable
from actors.link import Link
from actors.peer import WELCOME_S, Peer
from actors.reference import ActorRef
from actors.whereabouts import Whereabouts
from ext.waiter import Waiter
from ext.wire import Envelope
from ipc.errors import (
    ChannelBrokenError,
    ClosedError,
    KernelUnavailableError,
    LLMOSError,
    PayloadTooLargeError,
    from_wire,
)
from ipc.ids import new_session_id
from ipc.plain import decode_plain
from ipc.protocol import PROTOCOL_VERSION, Flag, Hello, Kind, Limits, Welcome

BEAT_S = 15.0  # an idle session says that it lives; the kernel forgets it after a minute
FAREWELL_S = 1.0
_TELL = int(Kind.TELL)


class AnyLink(Protocol):
    """What a session needs of its link (actors/link.py)."""

    def open(self) -> None:
        """Connect and say hello, again and again."""
        ...

    def close(self) -> None:
        """Disconnect for good."""
        ...

    def alive(self) -> None:
        """The kernel has welcomed us."""
        ...


class Session:
    """See the module head. It is the listener of its peer."""

    def __init__(
        self,
        where: Whereabouts,
        make_ref: Callable[[int], ActorRef[Any]],
        make_link: Callable[[Session], AnyLink] | None = None,
    ) -> None:
        """Make a session that is not connected. make_link: other than a socket."""
        self.id = new_session_id(random.SystemRandom())
        self.loop = asyncio.get_running_loop()
        self.where = where
        self.peer = Peer(self, self.loop)
        self.calls = CallTable(self.loop, self.id, self.peer.post, make_ref)
        self._make_link = make_link or _socket_link
        self._link: AnyLink | None = None
        self._limits: Limits | None = None
        self._tells: dict[int, Waiter] = {}  # by correlation, until they are accepted
        self._held: set[int] = set()  # those of them that wait for room
        self._ready = Waiter(self.loop)
        self._drained: Waiter | None = None
        self._problem: LLMOSError | None = None
        self._is_patient = False
        self._beat_timer: asyncio.TimerHandle | None = None

    # --- connecting -----------------------------------------------------------------------

    async def open(self, patience_s: float | None = None) -> None:
        """Connect. patience_s: how long to look for a kernel; None: it must be there.

        Raises:
            KernelUnavailableError: nobody listens, or nobody answers.
            HandshakeError: the operator token is wrong.
        """
        self._is_patient = patience_s is not None
        self._link = self._make_link(self)
        self._link.open()
        wait_s = WELCOME_S if patience_s is None else patience_s
        timer = self.loop.call_later(wait_s, self._ready.fail, self._unavailable())
        try:
            await self._ready
        except BaseException:
            self._close_link()
            raise
        finally:
            timer.cancel()
        self._beat()

    async def close(self) -> None:
        """End the session: unanswered asks are cancelled, accepted tells stay."""
        link = self._link
        if link is None or self._problem is not None:
            self._close_link()
            return
        self._problem = ClosedError(what="the connection to the kernel")
        self.peer.post(Envelope(Kind.BYE, self.id, flags=Flag.WANT_ACK))
        if self.peer.is_up and not self.peer.is_drained:
            self._drained = Waiter(self.loop)
            timer = self.loop.call_later(FAREWELL_S, self._drained.resolve, None)
            await self._drained
            timer.cancel()
        self._fail_all(self._problem)
        self._close_link()

    def abandon(self) -> None:
        """Leave without a farewell: the kernel keeps the session for a while."""
        self._problem = ClosedError(what="the connection to the kernel")
        self._close_link()

    # --- sending --------------------------------------------------------------------------

    def post(self, envelope: Envelope) -> None:
        """Send an envelope, now or when the kernel is back. Raises what the session ended with."""
        limit = self._limits["payload_bytes"] if self._limits else len(envelope.payload)
        problem = self._problem
        if len(envelope.payload) > limit:
            problem = PayloadTooLargeError(value=len(envelope.payload), limit=limit)
        if problem is not None:
            self.calls.forget(envelope.correlation)
            self._tells.pop(envelope.correlation, None)
            raise problem
        self.peer.post(envelope)

    def tell(self, envelope: Envelope) -> Waiter:
        """Send a tell; what is returned is done when the kernel has accepted it."""
        envelope.flags |= Flag.WANT_ACK
        wait = self._tells[envelope.correlation] = Waiter(self.loop)
        self.post(envelope)
        return wait

    # --- actors.peer.Listener -------------------------------------------------------------

    def hello(self) -> Hello:
        """Say who we are."""
        return Hello(
            role="client",
            protocol=PROTOCOL_VERSION,
            actor=self.id,
            incarnation=0,
            token=self.where.token,
            generation=None,
            epoch=None,
            taken=0,
            open=[],
        )

    def welcomed(self, welcome: Welcome, *, is_fresh: bool) -> None:
        """The link is up."""
        if self._limits is not None and is_fresh:
            self.calls.lend_again()
            self._accept_held()
        self._limits = welcome["limits"]
        if self._link is not None:
            self._link.alive()
        self._ready.resolve(None)

    def _accept_held(self) -> None:
        """Tells that waited for room are journaled; the new kernel says no more of them."""
        held, self._held = self._held, set()
        for correlation in sorted(held):
            if wait := self._tells.pop(correlation, None):
                wait.resolve(None)

    def rejected(self, error: LLMOSError) -> None:
        """The kernel will not have this session, or not any more."""
        self._problem = error
        self._ready.fail(error)
        self._fail_all(error)
        if self._link is not None:
            self.loop.call_soon(self._close_link)

    def handle(self, envelope: Envelope) -> None:
        """Take what the kernel sends."""
        if envelope.kind == Kind.HELD:
            self._held.update(number for number in _numbers(envelope) if number in self._tells)
        elif envelope.kind == Kind.ACCEPTED:
            for number in _numbers(envelope):
                self._held.discard(number)
                if accepted := self._tells.pop(number, None):
                    accepted.resolve(None)
        elif envelope.kind == Kind.REFUSED and envelope.correlation in self._tells:
            self._held.discard(envelope.correlation)
            refused = self._tells.pop(envelope.correlation)
            refused.fail(from_wire(decode_plain(envelope.payload)))
        else:
            self.calls.take(envelope)

    def covered(self, envelopes: list[Envelope]) -> None:
        """The kernel has these: tells among them are accepted, unless they wait for room."""
        tells, held = self._tells, self._held
        for envelope in envelopes:
            if envelope.kind == _TELL and (number := envelope.correlation) not in held:
                wait = tells.pop(number, None)
                if wait is not None:
                    wait.resolve(None)
        if self._drained is not None and self.peer.is_drained:
            self._drained.resolve(None)

    def settle(self) -> None:
        """Nothing is put off."""

    # --- losing the kernel ----------------------------------------------------------------

    def lost(self) -> None:
        """The connection is gone, or could not be made; the link tries again."""
        if self._limits is None and not self._is_patient:
            self._ready.fail(self._unavailable())
        if self._drained is not None:
            self._drained.resolve(None)

    def broken(self, error: BaseException) -> None:
        """Taking a batch raised: a bug of ours."""
        self.rejected(ChannelBrokenError(reason=f"{type(error).__name__}: {error}"))

    def _unavailable(self) -> KernelUnavailableError:
        return KernelUnavailableError(home=self.where.home)

    def _fail_all(self, error: LLMOSError) -> None:
        self.calls.fail_all(lambda: error)
        for wait in self._tells.values():
            wait.fail(error)
        self._tells.clear()
        self._held.clear()

    def _beat(self) -> None:
        self.peer.beat()
        self._beat_timer = self.loop.call_later(BEAT_S, self._beat)

    def _close_link(self) -> None:
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        link, self._link = self._link, None
        if link is not None:
            link.close()


def _numbers(envelope: Envelope) -> range:
    """Return the tells that HELD or ACCEPTED speaks of."""
    return range(envelope.correlation, envelope.correlation + envelope.message + 1)


def _socket_link(session: Session) -> AnyLink:
    return Link(
        session.where.endpoint,
        session.peer,
        session.loop,
        on_lost=session.lost,
        on_broken=session.broken,
    )
