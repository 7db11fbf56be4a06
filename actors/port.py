"""What a turn may do: asks, tells, streams, publishing, timers, watches, system calls.

Calls (ask, stream, system) leave at once, with the digest by which a retried turn finds their
record. Effects (the rest) are put into the turn and leave with its commit. All need an open
turn: TurnClosedError otherwise.

Cost: an ask is one encode, one digest (1 us) and one envelope; a tell one encode.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from actors import bodies
from actors.calls import FIRST_CREDIT, CallTable, Items, Rebuild
from actors.handlers import check_topic, handler_table
from actors.reference import MAX_DEADLINE_S, PLAIN, ActorRef, Call, Options, call_body
from actors.room import Room
from actors.spawning import NameClass, name_class
from actors.turn import Turn, current_turn
from ext.wire import Envelope, digest64
from ipc.clock import Clock
from ipc.errors import OvertakeError, UsageError
from ipc.ids import short
from ipc.payload import call_digest
from ipc.plain import encode_plain
from ipc.protocol import DEFAULT_PRIORITY, KERNEL_ID, Flag, Kind

if TYPE_CHECKING:
    from actors.peer import Peer

EVENT = "$event"  # method of a published message; first argument: the topic
FORWARD = "$forward"  # method of a timer that tells somebody else
_TIMER_BITS = (1 << 63) - 1
_ASK = int(Kind.ASK)


class TurnPort:
    """The Port of an agent; see the module head."""

    def __init__(
        self, actor: int, name: str, peer: Peer, loop: asyncio.AbstractEventLoop, clock: Clock
    ) -> None:
        self.id = actor
        self.name = name
        self.peer = peer
        self.loop = loop
        self.clock = clock
        self.name_class: NameClass = name_class
        self.calls = CallTable(loop, actor, peer.post, self.make_ref)
        self.room = Room(actor, self.calls, peer.post)

    def make_ref(self, identifier: int) -> ActorRef[Any]:
        """Return a reference of this process."""
        return ActorRef(self, identifier)

    # --- the Port of references -----------------------------------------------------------

    def invoke(self, call: Call) -> Any:
        """Return the call: it is sent when it is awaited."""
        return call.__aiter__() if call.verb == "stream" else call

    def ask(self, call: Call) -> Awaitable[Any]:
        """Send an ask; awaiting it gives the answer."""
        turn = current_turn(self.name, "an ask")
        envelope = self._call_envelope(turn, call)
        rebuild = rebuilder(call)
        if turn.records and (recorded := turn.take_record(envelope.digest)) is not None:
            return self.calls.replay_ask(recorded, rebuild)
        turn.check_call(envelope)
        pending = self.calls.add_ask(envelope.correlation, rebuild)
        turn.add_call(envelope, pending)
        self.peer.post(envelope)
        return pending

    def iterate(self, call: Call) -> AsyncIterator[Any]:
        """Send an ask whose answer is items."""
        turn = current_turn(self.name, "a stream")
        envelope = self._call_envelope(turn, call, stream=True)
        rebuild = rebuilder(call)
        if turn.records and (recorded := turn.take_record(envelope.digest)) is not None:
            return Items(self.calls.replay_stream(recorded, rebuild))
        turn.check_call(envelope)
        pending = self.calls.add_stream(envelope.correlation, rebuild)
        turn.add_call(envelope, pending)
        self.peer.post(envelope)
        return Items(pending)

    async def tell(self, call: Call) -> None:
        """Put a tell into the turn, once there is room for it."""
        turn = current_turn(self.name, "a tell")
        receiver, options = call.ref.id, call.options
        self._check_options(options)
        envelope = self._envelope(Kind.TELL, receiver, call_body(call))
        envelope.turn = turn.id
        envelope.trace = turn.envelope.trace
        envelope.priority = DEFAULT_PRIORITY if options.priority is None else options.priority
        if options.deadline is not None:
            envelope.deadline = int(options.deadline * 1e9)
        size = envelope.size
        turn.check_room_for(size)
        if receiver != self.id:
            await self._take_room(turn, receiver, size, options)
        turn.told.add(receiver)
        turn.add_effect(envelope)

    def block(self, call: Awaitable[Any]) -> Any:
        """Await the call from the thread of a ``def`` handler."""
        if self.loop_is_mine():
            raise UsageError(reason="here the call can be awaited: .result() is for threads")
        done: Future[Any] = Future()

        async def wait() -> None:
            try:
                done.set_result(await call)
            except BaseException as error:
                done.set_exception(error)

        context = contextvars.copy_context()
        self.loop.call_soon_threadsafe(lambda: self.loop.create_task(wait()), context=context)
        return done.result()

    def loop_is_mine(self) -> bool:
        """Say whether this thread runs the agent's loop."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    # --- system calls and effects ---------------------------------------------------------

    def system(self, name: str, arguments: dict[str, Any]) -> Awaitable[Any]:
        """Make a system call (ipc/syscalls.py), recorded like any other call."""
        return self.ask_kernel(name, arguments)

    def ask_kernel(
        self,
        name: str,
        arguments: Mapping[str, Any],
        options: Options = PLAIN,
        aside: Mapping[str, Any] | None = None,
    ) -> Awaitable[Any]:
        """Make a system call. aside: further arguments, by which a retry does not go."""
        turn = current_turn(self.name, f"the system call {name}")
        envelope = self._kernel_envelope(turn, name, arguments, options, aside)
        if turn.records and (recorded := turn.take_record(envelope.digest)) is not None:
            return self.calls.replay_ask(recorded, None)
        turn.check_call(envelope)
        pending = self.calls.add_ask(envelope.correlation)
        turn.add_call(envelope, pending)
        self.peer.post(envelope)
        return pending

    def iterate_kernel(
        self,
        name: str,
        arguments: Mapping[str, Any],
        options: Options = PLAIN,
        aside: Mapping[str, Any] | None = None,
    ) -> Items:
        """Make a system call that answers with items; see ``ask_kernel``."""
        turn = current_turn(self.name, f"the system call {name}")
        envelope = self._kernel_envelope(turn, name, arguments, options, aside, stream=True)
        if turn.records and (recorded := turn.take_record(envelope.digest)) is not None:
            return Items(self.calls.replay_stream(recorded, None))
        turn.check_call(envelope)
        pending = self.calls.add_stream(envelope.correlation)
        turn.add_call(envelope, pending)
        self.peer.post(envelope)
        return Items(pending)

    def publish(self, topic: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Put a publish into the turn."""
        turn = current_turn(self.name, "publish")
        check_topic(topic)
        inner = self._envelope(Kind.TELL, 0, [EVENT, [topic, *args], kwargs])
        turn.add_effect(
            Envelope(
                Kind.PUBLISH,
                self.id,
                payload=encode_plain([topic, inner.payload]),
                turn=turn.id,
                trace=turn.envelope.trace,
                flags=inner.flags,
                attachments=inner.attachments,
            )
        )

    def set_timer(self, delay_s: float, body: list[Any]) -> int:
        """Put a durable timer into the turn and return its id, the same in each attempt."""
        turn = current_turn(self.name, "send_after")
        if not 0 <= delay_s <= MAX_DEADLINE_S:
            raise UsageError(reason=f"a delay is 0 s to ten years, not {delay_s!r}")
        envelope = self._envelope(Kind.TIMER, self.id, body)
        turn.num_timers += 1
        text = f"{self.id}:{turn.id}:{turn.num_timers}".encode()
        envelope.correlation = (digest64(text) & _TIMER_BITS) or 1
        envelope.deadline = int(delay_s * 1e9)
        envelope.turn = turn.id
        envelope.trace = turn.envelope.trace
        turn.add_effect(envelope)
        return envelope.correlation

    def cancel_timer(self, timer: int) -> None:
        """Put the cancellation of a timer into the turn."""
        turn = current_turn(self.name, "cancel_timer")
        turn.add_effect(
            Envelope(
                Kind.TIMER,
                self.id,
                self.id,
                turn=turn.id,
                correlation=timer,
                flags=Flag.CANCELLED,
            )
        )

    def watch(self, *operation: Any) -> None:
        """Put a watch (ipc.protocol.WATCH_OPERATIONS) into the turn."""
        turn = current_turn(self.name, operation[0])
        body = encode_plain(list(operation))
        turn.add_effect(Envelope(Kind.WATCH, self.id, payload=body, turn=turn.id))

    # --- parts ----------------------------------------------------------------------------

    def _envelope(self, kind: Kind, receiver: int, body: list[Any]) -> Envelope:
        return bodies.fill(Envelope(kind, self.id, receiver), bodies.encode(body))

    def _check_options(self, options: Options) -> None:
        if options.key is not None:
            raise UsageError(reason="a key is for clients: the calls of a turn are recorded")

    def _call_envelope(self, turn: Turn, call: Call, *, stream: bool = False) -> Envelope:
        receiver, options = call.ref.id, call.options
        if receiver in turn.told:
            raise OvertakeError(receiver=repr(call.ref))
        body = bodies.encode(call_body(call))
        envelope = bodies.fill(Envelope(_ASK, self.id, receiver), body)
        marks = None
        if stream or options is not PLAIN:
            self._check_options(options)
            marks = _marks(options, stream)
        envelope.digest = call_digest(receiver, body.data, body.attachments, marks, refs=body.refs)
        return self._as_call(turn, envelope, options, stream=stream)

    def _kernel_envelope(
        self,
        turn: Turn,
        name: str,
        arguments: Mapping[str, Any],
        options: Options,
        aside: Mapping[str, Any] | None,
        *,
        stream: bool = False,
    ) -> Envelope:
        body = encode_plain([name, [], arguments])
        whole = encode_plain([name, [], {**arguments, **aside}]) if aside else body
        envelope = Envelope(_ASK, self.id, KERNEL_ID, whole)
        marks = None if options is PLAIN and not stream else _marks(options, stream)
        envelope.digest = call_digest(KERNEL_ID, body, options=marks)
        return self._as_call(turn, envelope, options, stream=stream)

    def _as_call(
        self, turn: Turn, envelope: Envelope, options: Options, *, stream: bool
    ) -> Envelope:
        """Give the envelope what every call of a turn has."""
        envelope.turn = turn.id
        envelope.trace = turn.envelope.trace
        envelope.priority = turn.envelope.priority
        if options is not PLAIN:
            envelope.flags |= _wait_flags(options)
            if options.priority is not None:
                envelope.priority = options.priority
        if turn.deadline_ns or options.deadline is not None:
            now = self.clock.monotonic_ns()
            receiver = short(envelope.receiver) if envelope.receiver else "the kernel"
            envelope.deadline = turn.deadline_left(now, options.deadline, receiver)
        if stream:
            envelope.flags |= Flag.STREAM
            envelope.index = FIRST_CREDIT
        envelope.correlation = self.calls.new_correlation()
        return envelope

    async def _take_room(self, turn: Turn, receiver: int, size: int, options: Options) -> None:
        epoch = self.room.epoch
        if not self.room.take_nowait(receiver, size):
            flags = _wait_flags(options)
            epoch = await self.room.take(receiver, size, turn.id, flags=flags)
            if not turn.is_open:
                self.room.give_back({receiver: [1, size]}, epoch)
                current_turn(self.name, "a tell")
        turn.note_tell(receiver, size, epoch)


def rebuilder(call: Call) -> Rebuild | None:
    """Return what rebuilds the answer by the handler's hints, if its class is known here."""
    actor_class: Any = call.ref._actor_class
    if actor_class is None:
        return None
    handler = class_handlers(actor_class).get(call.method)
    return handler.signature.result if handler is not None else None


def class_handlers(actor_class: type) -> dict[str, Any]:
    """Return the handler table of a class, made once."""
    table = actor_class.__dict__.get("__llmos_handlers__")
    if table is None:
        table = handler_table(actor_class)
        # type: the attribute is ours; a subclass makes its own
        actor_class.__llmos_handlers__ = table  # type: ignore[attr-defined]
    return table


def _wait_flags(options: Options) -> int:
    """Return the flags that say what the sender will not wait for."""
    flags = Flag.NOWAIT if options.nowait else 0
    return flags if options.on_budget == "wait" else flags | Flag.NO_BUDGET_WAIT


def _marks(options: Options, stream: bool) -> dict[str, Any]:
    marks = {
        "priority": options.priority,
        "deadline": options.deadline,
        "nowait": options.nowait,
        "stream": stream,
    }
    return marks if options.on_budget == "wait" else {**marks, "on_budget": options.on_budget}
