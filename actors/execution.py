"""Runs the handler of one message and turns its outcome into a commit.

One of the three boundaries where every exception is caught, those that are no Exception too
(pytest.fail, groups of them): it becomes the COMMIT's error.
SystemExit and KeyboardInterrupt are let through; they end the process, which is a crash.

Cost: a handler without an ``await`` in it is run here and now. Any other is one task a message,
whose first step runs at once (actors/eager.py): 4 us more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
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
from actors.turn import CURRENT, Turn, check_payload
from ext.waiter import Waiter
from ext.wire import Envelope
from ipc.errors import (
    BadFrameError,
    LLMOSError,
    NoHandlerError,
    SchemaError,
    TurnClosedError,
    to_wire,
)
from ipc.plain import encode_plain
from ipc.protocol import ON_CHILD_BUDGET, ON_CHILD_EXIT, ON_DOWN, ON_START, Flag, Kind

_ASK, _COMMIT, _REPLIES = int(Kind.ASK), int(Kind.COMMIT), int(Flag.REPLIES)
_MESSAGE = [str, list, dict]
_ENDS = (SystemExit, KeyboardInterrupt)
_FIRST_WALL_NS = 1 << 60  # no correlation counts so far


class Keeper(Protocol):
    """Who keeps the turns: the runtime (actors/runtime.py)."""

    port: TurnPort
    store: StateStore
    host: Host

    def commit(self, turn: Turn, commit: Envelope, effects: Sequence[Envelope]) -> None:
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
        accepted_ns = envelope.correlation  # the kernel says there when it accepted the message
        turn.now_ns = accepted_ns if accepted_ns >= _FIRST_WALL_NS else self._clock.wall_ns()
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
        except _ENDS:
            raise
        except BaseException as error:
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
        except (*_ENDS, GeneratorExit):  # the latter comes to a task that nobody will run on
            raise
        except BaseException as error:
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
        call = partial(_in_thread, handler.function, self._instance, args, kwargs)
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
        check_payload(envelope, turn.limits)
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
        commit = Envelope(_COMMIT, turn=turn.id)
        if turn.envelope.kind == _ASK:
            self._answer(turn, commit, handler, result)
        state, changes = turn.touched, None
        if state is not None:
            if state.is_stale and turn.is_open and not turn.is_cancelled:
                self._cancel_calls(turn)
                self._keeper.run_again(turn)
                return
            if changes := state.changes():
                body = encode_plain(changes)
                turn.add_effect(Envelope(Kind.STATE, self._port.id, payload=body, turn=turn.id))
        if turn.is_cancelled:
            raise asyncio.CancelledError
        if self._end(turn, commit, turn.effects) and changes:
            self._keeper.store.apply(changes)

    def _answer(self, turn: Turn, commit: Envelope, handler: Handler | None, result: Any) -> None:
        """Have the commit carry the result. A stream's end is an effect: its index counts items."""
        if turn.is_stream:
            end = Envelope(Kind.REPLY, self._port.id, turn.envelope.sender, turn=turn.id)
            end.index = turn.num_items
            bodies.fill(end, bodies.encode(None))
            turn.add_effect(end)
            return
        if handler is not None:
            result = handler.signature.result(result)
        bodies.fill(commit, bodies.encode(result))
        check_payload(commit, turn.limits)
        turn.count_reply(commit.size)
        commit.flags |= _REPLIES

    def _fail(self, turn: Turn, error: LLMOSError) -> None:
        commit = Envelope(Kind.COMMIT, turn=turn.id, flags=Flag.FAILED)
        if turn.is_cancelled:
            commit.flags = Flag.CANCELLED
        else:
            commit.payload = encode_plain(to_wire(error))
        self._end(turn, commit)

    def _end(self, turn: Turn, commit: Envelope, effects: Sequence[Envelope] = ()) -> bool:
        """Commit, unless the turn was given up meanwhile; say whether it did."""
        if turn.is_abandoned or not turn.is_open:
            return False
        if turn.calls:
            self._cancel_calls(turn)
        self._keeper.commit(turn, commit, effects)
        return True

    def _cancel_calls(self, turn: Turn) -> None:
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


def _in_thread(function: Callable[..., Any], instance: Actor, args: Any, kwargs: Any) -> Any:
    """Run a ``def`` handler. No future can hold a StopIteration: it would never be done."""
    try:
        return function(instance, *args, **kwargs)
    except StopIteration as error:
        raise RuntimeError("the handler raised StopIteration") from error


def _message(body: Any) -> Any:
    """Return method, args and kwargs. Raises BadFrameError."""
    if type(body) is list and len(body) <= 4:  # the fourth was for the pool it came through
        message = body[:3]
        if [*map(type, message)] == _MESSAGE:
            return message
    raise BadFrameError(reason="a message is [method, args, kwargs]")
