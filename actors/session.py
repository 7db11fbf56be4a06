"""References from outside: scripts, notebooks and the command line, in async code.

A session is a random id and a mark (DESIGN 4a). It survives the connection and the kernel: what
was not covered is sent again, answers are waited for. A tell is accepted when the kernel's mark
covers it and it was not told HELD. For code without an event loop: actors/client.py.

Cost: about 15 us of CPU an ask; tells share batches when several are awaited at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from actors import bodies
from actors.calls import FIRST_CREDIT, CallTable, Items, PendingAsk, Rebuild
from actors.link import Link
from actors.peer import WELCOME_S, Peer
from actors.pooling import pool_arguments
from actors.port import rebuilder
from actors.reference import PLAIN, ActorRef, Call, Options, Port, call_body
from actors.spawning import NameClass, make_spec, name_class
from actors.waiter import Waiter
from actors.whereabouts import Whereabouts
from ext.wire import Envelope
from ipc.errors import (
    ChannelBrokenError,
    ClosedError,
    KernelUnavailableError,
    LLMOSError,
    PayloadTooLargeError,
    UsageError,
    from_wire,
)
from ipc.ids import new_session_id
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import (
    DEFAULT_PRIORITY,
    KERNEL_ID,
    PROTOCOL_VERSION,
    Flag,
    Hello,
    Kind,
    Limits,
    Welcome,
)

if TYPE_CHECKING:
    from actors.llm.llm import Llm

A = TypeVar("A")

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


class AsyncClient:
    """A session with a kernel; made by ``aconnect``. It is the Port of its references."""

    def __init__(
        self,
        where: Whereabouts,
        *,
        ref_port: Port | None = None,
        make_link: Callable[[AsyncClient], AnyLink] | None = None,
        name_class: NameClass = name_class,
    ) -> None:
        """Make a session that is not connected.

        ref_port: of the references it hands out. make_link, name_class: other than a socket,
        and other than by module and file (actors/testing.py).
        """
        self.id = new_session_id(random.SystemRandom())
        self._trace = os.urandom(8)  # what the trace ids of this session begin with
        self.loop = asyncio.get_running_loop()
        self.where = where
        self._ref_port: Port = ref_port or self
        self.peer = Peer(self, self.loop)
        self.calls = CallTable(self.loop, self.id, self.peer.post, self.make_ref)
        self._make_link = make_link or _socket_link
        self._name_class = name_class
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

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # --- what users call ------------------------------------------------------------------

    @overload
    async def lookup(self, name: str | int) -> ActorRef[Any]: ...
    @overload
    async def lookup(self, name: str | int, actor_class: type[A]) -> ActorRef[A]: ...
    async def lookup(self, name: str | int, actor_class: type[Any] | None = None) -> ActorRef[Any]:
        """Return a reference by name or id. Raises UnknownActorError."""
        found = await self.system("lookup", name=name)
        port = self._ref_port
        return ActorRef(port, found["actor"], name=found["name"], actor_class=actor_class)

    @overload
    async def spawn(self, target: type[A], *args: Any, **rest: Any) -> ActorRef[A]: ...
    @overload
    async def spawn(self, target: str, *args: Any, **rest: Any) -> ActorRef[Any]: ...
    async def spawn(self, target: type[Any] | str, *args: Any, **rest: Any) -> ActorRef[Any]:
        """Start an actor and return when it is up.

        target: a class, "module:Class" or "path/to/file.py:Class". rest: the options of
            ``SpawnOptions`` (name, restart, ...), else the constructor's own arguments.
        Raises:
            BadSpecError: its class cannot be loaded. NameTakenError. SchemaError.
        """
        parent = rest.pop("parent", None)
        options = {key: rest.pop(key) for key in SPAWN_OPTIONS & rest.keys()}
        spec = make_spec(target, args, rest, naming=self._name_class, **options)
        arguments: dict[str, Any] = {"spec": spec}
        if parent is not None:
            arguments["parent"] = parent.id if isinstance(parent, ActorRef) else parent
        born = await self.system("spawn", **arguments)
        actor_class = target if isinstance(target, type) else None
        return ActorRef(self._ref_port, born["actor"], name=born["name"], actor_class=actor_class)

    @overload
    async def spawn_pool(self, target: type[A], *args: Any, **rest: Any) -> ActorRef[A]: ...
    @overload
    async def spawn_pool(self, target: str, *args: Any, **rest: Any) -> ActorRef[Any]: ...
    async def spawn_pool(self, target: type[Any] | str, *args: Any, **rest: Any) -> ActorRef[Any]:
        """Start a pool of actors and return when its minimum is up; see ``Actor.spawn_pool``."""
        arguments = pool_arguments(target, args, rest, self._name_class)
        born = await self.system("pool_create", **arguments)
        actor_class = target if isinstance(target, type) else None
        return ActorRef(self._ref_port, born["actor"], name=born["name"], actor_class=actor_class)

    async def system(self, call: str, /, **arguments: Any) -> Any:
        """Make a system call (ipc/syscalls.py) and return its answer."""
        return await self.ask_kernel(call, arguments)

    @cached_property
    def llm(self) -> Llm:
        """Language models; see ``Llm``."""
        # Imported here: it costs a tenth of a short command's time.
        from actors.llm.llm import Llm

        return Llm(self)

    async def tell_all(self, calls: Iterable[Call]) -> None:
        """Send tells together; return when all are accepted.

        Raises what the first refused one was refused with; the others are sent all the same.
        """
        self.peer.cork()
        try:
            waits = [self._send_tell(call) for call in calls]
        finally:
            self.peer.uncork()
        problem: LLMOSError | None = None
        for wait in waits:
            try:
                if not wait.is_done:
                    await wait
                wait.result()
            except LLMOSError as error:
                problem = problem or error
        if problem is not None:
            raise problem

    # --- the Port of references -----------------------------------------------------------

    def make_ref(self, identifier: int) -> ActorRef[Any]:
        """Return a reference of this session."""
        return ActorRef(self._ref_port, identifier)

    def invoke(self, call: Call) -> Any:
        """Return the call: it is sent when it is awaited."""
        return call.__aiter__() if call.verb == "stream" else call

    def ask(self, call: Call) -> Awaitable[Any]:
        """Send an ask; awaiting it gives the answer."""
        return self._send_ask(self._envelope(Kind.ASK, call), call)

    def iterate(self, call: Call) -> AsyncIterator[Any]:
        """Send an ask whose answer is items."""
        return self._send_stream(self._envelope(Kind.ASK, call), rebuilder(call))

    def tell(self, call: Call) -> Awaitable[None]:
        """Send a tell; awaiting it returns when the kernel has accepted it."""
        return self._send_tell(call)

    def block(self, call: Awaitable[Any]) -> Any:
        """Refuse: an async client's calls are awaited."""
        raise UsageError(reason="await the call, or use connect() where there is no event loop")

    def ask_kernel(
        self,
        name: str,
        arguments: Mapping[str, Any],
        options: Options = PLAIN,
        aside: Mapping[str, Any] | None = None,
    ) -> Awaitable[Any]:
        """Make a system call; awaiting it gives the answer. aside: further arguments."""
        envelope = self._kernel_envelope(name, {**arguments, **(aside or {})}, options)
        return self._send_ask(envelope, None)

    def iterate_kernel(
        self,
        name: str,
        arguments: Mapping[str, Any],
        options: Options = PLAIN,
        aside: Mapping[str, Any] | None = None,
    ) -> Items:
        """Make a system call that answers with items."""
        envelope = self._kernel_envelope(name, {**arguments, **(aside or {})}, options)
        return self._send_stream(envelope, None)

    # --- sending --------------------------------------------------------------------------

    def _envelope(self, kind: Kind, call: Call) -> Envelope:
        options = call.options
        envelope = bodies.fill(
            Envelope(kind, self.id, call.ref.id),
            bodies.encode(call_body(call)),
        )
        self._mark(envelope, options)
        if options.nowait:
            envelope.flags |= Flag.NOWAIT
        if options.key is not None:
            envelope.flags |= Flag.KEYED
            text = f"{call.ref.id} {call.method} {options.key}".encode()
            envelope.digest = hashlib.blake2b(text, digest_size=16).digest()
        return envelope

    def _kernel_envelope(self, name: str, arguments: dict[str, Any], options: Options) -> Envelope:
        payload = encode_plain([name, [], arguments])
        envelope = Envelope(Kind.ASK, self.id, KERNEL_ID, payload)
        self._mark(envelope, options)
        return envelope

    def _mark(self, envelope: Envelope, options: Options) -> None:
        envelope.correlation = self.calls.new_correlation()
        envelope.trace = self._trace + envelope.correlation.to_bytes(8, "little")
        envelope.priority = DEFAULT_PRIORITY if options.priority is None else options.priority
        if options.deadline is not None:
            envelope.deadline = int(options.deadline * 1e9)

    def _send_stream(self, envelope: Envelope, rebuild: Rebuild | None) -> Items:
        envelope.flags |= Flag.STREAM
        envelope.index = FIRST_CREDIT
        pending = self.calls.add_stream(envelope.correlation, rebuild)
        self._post(envelope)
        return Items(pending)

    def _send_ask(self, envelope: Envelope, call: Call | None) -> PendingAsk:
        pending = self.calls.add_ask(envelope.correlation, rebuilder(call) if call else None)
        self._post(envelope)
        return pending

    def _send_tell(self, call: Call) -> Waiter:
        call.is_sent = True
        envelope = self._envelope(Kind.TELL, call)
        envelope.flags |= Flag.WANT_ACK
        wait = self._tells[envelope.correlation] = Waiter(self.loop)
        self._post(envelope)
        return wait

    def _post(self, envelope: Envelope) -> None:
        limit = self._limits["payload_bytes"] if self._limits else len(envelope.payload)
        problem = self._problem
        if len(envelope.payload) > limit:
            problem = PayloadTooLargeError(value=len(envelope.payload), limit=limit)
        if problem is not None:
            self.calls.forget(envelope.correlation)
            self._tells.pop(envelope.correlation, None)
            raise problem
        self.peer.post(envelope)

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


def _socket_link(client: AsyncClient) -> AnyLink:
    return Link(
        client.where.endpoint,
        client.peer,
        client.loop,
        on_lost=client.lost,
        on_broken=client.broken,
    )


SPAWN_OPTIONS = frozenset(
    {
        "cwd",
        "environment",
        "mailbox_bytes",
        "mailbox_messages",
        "max_attempts",
        "weight",
        "name",
        "priority",
        "restart",
        "budget",
        "reserve",
        "cpu_limit",
        "rlimits",
    }
)
