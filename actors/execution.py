"""Runs the handler of one message and turns its outcome into a commit.

One of the three boundaries where every exception is caught: it becomes the COMMIT's error.
SystemExit and KeyboardInterrupt are let through; they end the process, which is a crash.

Cost: a handler without an ``await`` in it is run here and now. Any other is one task a message,
whose first step runs at once (actors/eager.py): 4 us more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from functools import partial
from typing import Any, Protocol

from actors import bodies
from actors.actor import Actor, ChildExit, Down
from actors.budget import ChildBudget
from actors.driver import Driver
from actors.eager import start_eagerly
from actors.failure import to_error
from actors.handlers import Handler, Style
from actors.host import Host
from actors.port import EVENT, FORWARD, TurnPort
from actors.program import Program
from actors.state import StateStore
from actors.turn import CURRENT, Turn
from actors.waiter import Waiter
from ext.wire import Envelope
from ipc.errors import (
    BadFrameError,
    LLMOSError,
    NoHandlerError,
    PayloadTooLargeError,
    SchemaError,
    TurnClosedError,
    to_wire,
)
from ipc.plain import encode_plain
from ipc.protocol import ON_CHILD_BUDGET, ON_CHILD_EXIT, ON_DOWN, ON_START, Flag, Kind

_FIRST_WALL_NS = 1 << 60  # no correlation counts so far; see ``_accepted_ns``


class Keeper(Protocol):
    """Who keeps the turns: the runtime (actors/runtime.py)."""

    port: TurnPort
    store: StateStore
    host: Host

    def commit(self, turn: Turn, commit: Envelope, effects: list[Envelope]) -> None:
        """Post a turn's commit and its effects."""
        ...

    def run_again(self, turn: Turn) -> None:
        """Run the turn anew: what it read has changed."""
        ...

    def ended(self, turn: Turn) -> None:
        """The turn's handler has ended."""
        ...


class Execution:
    """See the module head."""

    def __init__(self, keeper: Keeper, program: Program, instance: Actor) -> None:
        self._keeper = keeper
        self._port = keeper.port
        self._loop = keeper.host.loop
        self._clock = keeper.host.clock
        self._program = program
        self._handlers = program.handlers
        self._instance = instance
        self.driver = instance if isinstance(instance, Driver) else None

    def run(self, turn: Turn, context: Context) -> None:
        """Start the turn; it may be over when this returns."""
        envelope = turn.envelope
        if envelope.deadline and not turn.deadline_ns:
            turn.deadline_ns = self._clock.monotonic_ns() + envelope.deadline
        turn.now_ns = _accepted_ns(envelope) or self._clock.wall_ns()
        rest = context.run(self._begin, turn)
        if rest is None:
            return
        task = start_eagerly(self._loop, rest, context)
        if not task.done():
            turn.task = task
            if turn.is_cancelled or turn.is_abandoned:
                task.cancel()
        elif not task.cancelled() and (error := task.exception()) is not None:
            raise error

    def _begin(self, turn: Turn) -> Coroutine[Any, Any, None] | None:
        """Read the message and run a handler that never waits; return what needs a task."""
        CURRENT.set(turn)
        method = "?"
        try:
            method, args, kwargs = _message(bodies.read(turn.envelope, self._port.make_ref))
            handler = self._handlers.get(method)
            if handler is None:
                return self._handle(turn, None, method, args, kwargs)
            args, kwargs = handler.signature.bind(args, kwargs)
            if not handler.never_waits or turn.is_stream:
                return self._handle(turn, handler, method, args, kwargs)
            self._succeed(turn, handler, _run(handler.function(self._instance, *args, **kwargs)))
        except asyncio.CancelledError:
            self._end(turn, Envelope(Kind.COMMIT, turn=turn.id, flags=Flag.CANCELLED))
        except Exception as error:
            self._fail(turn, to_error(error, self._port.name, method))
        self._keeper.ended(turn)
        return None

    async def _handle(
        self, turn: Turn, handler: Handler | None, method: str, args: Any, kwargs: Any
    ) -> None:
        try:
            if handler is None:
                result = await self._special(turn, method, args, kwargs)
            else:
                result = await self._invoke(turn, handler, args, kwargs)
            self._succeed(turn, handler, result)
        except asyncio.CancelledError:
            self._end(turn, Envelope(Kind.COMMIT, turn=turn.id, flags=Flag.CANCELLED))
        except Exception as error:
            self._fail(turn, to_error(error, self._port.name, method))
        finally:
            self._keeper.ended(turn)

    async def _invoke(self, turn: Turn, handler: Handler, args: Any, kwargs: Any) -> Any:
        if handler.style is Style.STREAM:
            return await self._produce(turn, handler, args, kwargs)
        if turn.is_stream:
            problem = f"is no stream: await ref.{handler.name}(...)"
            raise SchemaError(where=handler.signature.where, problem=problem)
        if handler.style is Style.COROUTINE:
            return await handler.function(self._instance, *args, **kwargs)
        turn.is_in_thread = True  # cannot be cancelled: it holds its place until it ends
        call = partial(handler.function, self._instance, *args, **kwargs)
        return await self._keeper.host.run_in_thread(call)

    # --- streams --------------------------------------------------------------------------

    async def _produce(self, turn: Turn, handler: Handler, args: Any, kwargs: Any) -> None:
        if turn.envelope.kind == Kind.ASK and not turn.is_stream:
            problem = f"is a stream: async for item in ref.{handler.name}(...)"
            raise SchemaError(where=handler.signature.where, problem=problem)
        items = handler.function(self._instance, *args, **kwargs)
        try:
            async for item in items:
                if turn.is_stream:
                    await self._yield(turn, handler.signature.result(item))
        finally:
            await items.aclose()

    async def _yield(self, turn: Turn, item: Any) -> None:
        envelope = Envelope(Kind.ITEM, self._port.id, turn=turn.id, index=turn.num_items)
        bodies.fill(envelope, bodies.encode(item))
        _check_size(envelope, turn)
        if turn.is_item_sent(envelope.payload):
            turn.num_items += 1
            return
        while turn.credit <= 0:
            turn.credit_waiter = Waiter(self._loop)
            await turn.credit_waiter
        turn.credit -= 1
        turn.num_items += 1
        if not turn.is_open:
            raise TurnClosedError(operation="yield", actor=turn.actor)
        self._port.peer.post(envelope)

    # --- messages that are not the user's handlers ----------------------------------------

    async def _special(self, turn: Turn, method: str, args: list[Any], kwargs: Any) -> Any:
        if turn.envelope.flags & Flag.SYSTEM:
            return await self._hook(method, args)
        if method == EVENT and turn.envelope.kind == Kind.TELL and args:
            handler = self._program.topics.get(args[0])
            if handler is not None:
                args, kwargs = handler.signature.bind(args[1:], kwargs)
                return await self._invoke(turn, handler, args, kwargs)
        if method == FORWARD and turn.envelope.sender == self._port.id:
            ref, name, forwarded, named = args
            return await getattr(ref.tell, name)(*forwarded, **named)
        known = ", ".join(sorted(self._handlers)) or "none"
        raise NoHandlerError(actor=self._port.name, handler=method, known=known)

    async def _hook(self, method: str, args: list[Any]) -> None:
        actor, make_ref = self._instance, self._port.make_ref
        if method == ON_START:
            await actor.on_start()
        elif method == ON_CHILD_EXIT:
            await actor.on_child_exit(ChildExit(make_ref(args[0]), *args[1:4]))
        elif method == ON_CHILD_BUDGET:
            await actor.on_child_budget(ChildBudget(make_ref(args[0]), *args[1:5]))
        elif method == ON_DOWN:
            await actor.on_down(Down(make_ref(args[0]), *args[1:3]))

    async def on_stop(self) -> None:
        """Run the hook of a normal exit; its failure is logged and stops nothing."""
        try:
            await self._instance.on_stop()
        except Exception:
            self._instance.log.exception("on_stop_failed")

    # --- ends -----------------------------------------------------------------------------

    def _succeed(self, turn: Turn, handler: Handler | None, result: Any) -> None:
        effects = turn.effects
        if turn.envelope.kind == Kind.ASK:
            reply = Envelope(Kind.REPLY, self._port.id, turn.envelope.sender, turn=turn.id)
            if turn.is_stream:
                reply.index = turn.num_items
                result = None
            elif handler is not None:
                result = handler.signature.result(result)
            bodies.fill(reply, bodies.encode(result))
            _check_size(reply, turn)
            turn.add_effect(reply)
        if turn.state.is_stale and turn.is_open and not turn.is_cancelled:
            self._cancel_calls(turn)
            self._keeper.run_again(turn)
            return
        changes = turn.state.changes()
        if changes:
            body = encode_plain(changes)
            turn.add_effect(Envelope(Kind.STATE, self._port.id, payload=body, turn=turn.id))
        if turn.is_cancelled:
            raise asyncio.CancelledError
        if self._end(turn, Envelope(Kind.COMMIT, turn=turn.id), effects) and changes:
            self._keeper.store.apply(changes)

    def _fail(self, turn: Turn, error: LLMOSError) -> None:
        commit = Envelope(Kind.COMMIT, turn=turn.id, flags=Flag.FAILED)
        if turn.is_cancelled:
            commit.flags = Flag.CANCELLED
        else:
            commit.payload = encode_plain(to_wire(error))
        self._end(turn, commit)

    def _end(self, turn: Turn, commit: Envelope, effects: list[Envelope] | None = None) -> bool:
        """Commit, unless the turn was given up meanwhile; say whether it did."""
        if turn.is_abandoned or not turn.is_open:
            return False
        self._cancel_calls(turn)
        self._keeper.commit(turn, commit, effects or [])
        return True

    def _cancel_calls(self, turn: Turn) -> None:
        if turn.calls:
            for correlation in list(turn.calls):
                error = TurnClosedError(operation="a call", actor=turn.actor)
                self._port.calls.abandon(correlation, error, tell_kernel=True)


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError(f"{coroutine!r} has no await, and waits")


def _message(body: Any) -> tuple[str, list[Any], dict[str, Any]]:
    if (
        type(body) is list
        and 3 <= len(body) <= 4  # the fourth was for the pool it came through
        and type(body[0]) is str
        and type(body[1]) is list
        and type(body[2]) is dict
    ):
        return body[0], body[1], body[2]
    raise BadFrameError(reason="a message is [method, args, kwargs]")


def _accepted_ns(envelope: Envelope) -> int:
    """Return when the kernel accepted the message; it says so in ``correlation``."""
    return envelope.correlation if envelope.correlation >= _FIRST_WALL_NS else 0


def _check_size(envelope: Envelope, turn: Turn) -> None:
    size, limit = len(envelope.payload), turn.limits["payload_bytes"]
    if size > limit:
        raise PayloadTooLargeError(value=size, limit=limit)
