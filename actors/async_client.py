"""References from outside: scripts, notebooks and the command line, in async code.

What users call, on one session (actors/session.py). For code without an event loop:
actors/client.py.

Cost: about 15 us of CPU an ask; tells share batches when several are awaited at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from actors import bodies
from actors.calls import FIRST_CREDIT, Items, PendingAsk, Rebuild
from actors.pooling import pool_arguments
from actors.port import rebuilder
from actors.reference import PLAIN, ActorRef, Call, Options, Port, call_body
from actors.session import AnyLink, Session
from actors.spawning import NameClass, make_spec, name_class
from actors.whereabouts import Whereabouts
from ext.waiter import Waiter
from ext.wire import Envelope
from ipc.errors import LLMOSError, UsageError
from ipc.plain import encode_plain
from ipc.protocol import DEFAULT_PRIORITY, KERNEL_ID, Flag, Kind

if TYPE_CHECKING:
    from actors.llm.llm import Llm

A = TypeVar("A")

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


class AsyncClient:
    """A session with a kernel; made by ``aconnect``. It is the Port of its references."""

    def __init__(
        self,
        where: Whereabouts,
        *,
        ref_port: Port | None = None,
        make_link: Callable[[Session], AnyLink] | None = None,
        name_class: NameClass = name_class,
    ) -> None:
        """Make a session that is not connected.

        ref_port: of the references it hands out. make_link, name_class: other than a socket,
        and other than by module and file (actors/testing.py).
        """
        self._session = Session(where, self.make_ref, make_link)
        self.id = self._session.id
        self.loop = self._session.loop
        self.calls = self._session.calls
        self._trace = os.urandom(8)  # what the trace ids of this session begin with
        self._ref_port: Port = ref_port or self
        self._name_class = name_class

    # --- connecting -----------------------------------------------------------------------

    async def open(self, patience_s: float | None = None) -> None:
        """Connect. patience_s: how long to look for a kernel; None: it must be there.

        Raises:
            KernelUnavailableError: nobody listens, or nobody answers.
            HandshakeError: the operator token is wrong.
        """
        await self._session.open(patience_s)

    async def close(self) -> None:
        """End the session: unanswered asks are cancelled, accepted tells stay."""
        await self._session.close()

    def abandon(self) -> None:
        """Leave without a farewell: the kernel keeps the session for a while."""
        self._session.abandon()

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
        self._session.peer.cork()
        try:
            waits = [self.tell(call) for call in calls]
        finally:
            self._session.peer.uncork()
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

    def tell(self, call: Call) -> Waiter:
        """Send a tell; awaiting it returns when the kernel has accepted it."""
        call.is_sent = True
        return self._session.tell(self._envelope(Kind.TELL, call))

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
            text = f"{call.ref.id} {call.method} {options.key}".encode("utf-8", "surrogatepass")
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
        self._session.post(envelope)
        return Items(pending)

    def _send_ask(self, envelope: Envelope, call: Call | None) -> PendingAsk:
        pending = self.calls.add_ask(envelope.correlation, rebuilder(call) if call else None)
        self._session.post(envelope)
        return pending
