"""Calls on their way: who waits for which answer, and the items of streams.

What it is not: the turn a call belongs to (actors/turn.py) or the numbering (actors/peer.py).
A call is known by its correlation, unique in this incarnation or session.

An asker lends a stream ``FIRST_CREDIT`` items and lends more when half is used, so that a
producer never runs further ahead. Leaving the loop over a stream early cancels the ask.

Cost: a dict entry a call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from actors import bodies
from actors.bodies import MakeRef
from ext.waiter import Waiter
from ext.wire import Envelope
from ipc.errors import ClosedError, LLMOSError, from_wire
from ipc.plain import decode_plain
from ipc.protocol import Kind

FIRST_CREDIT = 64  # items
_REPLY, _ITEM = int(Kind.REPLY), int(Kind.ITEM)
Rebuild = Callable[[Any], Any]


class PendingAsk(Waiter):
    """An ask that has no answer yet."""

    __slots__ = ("answer", "correlation", "keeps", "on_end", "rebuild", "table")

    def __init__(self, table: CallTable, correlation: int, rebuild: Rebuild | None) -> None:
        Waiter.__init__(self, table.loop)  # super() costs as much as all of the rest
        self.table = table
        self.correlation = correlation
        self.rebuild = rebuild  # applies the hints of the answering handler, if they are known
        self.on_end: Callable[[int], Any] | None = None
        self.keeps = False
        self.answer: Envelope | None = None

    def keep_answer(self) -> None:
        """Keep the envelope of the answer, to be read again."""
        self.keeps = True

    def abandoned(self) -> None:
        self.table.cancel(self.correlation)

    def finish(self, envelope: Envelope) -> None:
        """Take the answer."""
        if self.keeps:
            self.answer = envelope
        try:
            if envelope.kind != _REPLY:
                raise from_wire(decode_plain(envelope.payload))
            value = bodies.read(envelope, self.table.make_ref)
            if self.rebuild is not None:
                value = self.rebuild(value)
        except LLMOSError as error:
            self.fail(error)
        else:
            self.resolve(value)


class PendingStream:
    """A stream that is being read: items that have come, and whether the end is known."""

    __slots__ = (
        "_error",
        "_is_ended",
        "_items",
        "_reader",
        "answer",
        "correlation",
        "credit",
        "end",
        "kept",
        "lent",
        "on_end",
        "rebuild",
        "received",
        "table",
    )

    def __init__(self, table: CallTable, correlation: int, rebuild: Rebuild | None) -> None:
        self.table = table
        self.correlation = correlation
        self.rebuild = rebuild
        self.on_end: Callable[[int], Any] | None = None
        self.received = 0
        self.credit = FIRST_CREDIT  # items that may still come
        self.lent = FIRST_CREDIT  # in all
        self.kept: list[Envelope] | None = None  # the items' envelopes, to be read again
        self.answer: Envelope | None = None
        self.end: Envelope | None = None  # the REPLY after the last item
        self._items: deque[Any] = deque()
        self._is_ended = False
        self._error: BaseException | None = None
        self._reader: Waiter | None = None

    def take(self, envelope: Envelope) -> None:
        """Take an item; one that has come before (a new kernel epoch) is dropped."""
        if envelope.index != self.received or self._is_ended:
            return
        self.received += 1
        self.credit -= 1
        if self.kept is not None:
            self.kept.append(envelope)
        try:
            value = bodies.read(envelope, self.table.make_ref)
            self._items.append(value if self.rebuild is None else self.rebuild(value))
        except LLMOSError as error:
            self.fail(error)
            self.table.cancel(self.correlation)
        self._wake()

    def keep_answer(self) -> None:
        """Keep the envelopes, to be read again."""
        self.kept = []

    def finish(self, envelope: Envelope) -> None:
        """Take the end."""
        if self.kept is not None:
            self.answer = envelope
        if envelope.kind == Kind.REPLY:
            self.end = envelope
        else:
            self.fail(from_wire(decode_plain(envelope.payload)))
        self._is_ended = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """End with an error, after the items that have come."""
        if not self._is_ended:
            self._is_ended = True
            self._error = error
            self._wake()

    async def next(self) -> Any:
        """Return the next item. Raises StopAsyncIteration at the end."""
        while not self._items:
            if self._is_ended:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                raise StopAsyncIteration
            self._reader = Waiter(self.table.loop)
            await self._reader
        item = self._items.popleft()
        self._lend_more()
        return item

    def _lend_more(self) -> None:
        unread = len(self._items)
        if not self._is_ended and unread + self.credit <= FIRST_CREDIT // 2:
            more = FIRST_CREDIT - unread - self.credit
            self.credit += more
            self.lent += more
            self.table.lend(self.correlation, more)

    def _wake(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.resolve(None)

    @property
    def is_ended(self) -> bool:
        """Say whether no further item can come."""
        return self._is_ended


class Items(AsyncIterator[Any]):
    """What ``async for`` iterates over. When it is dropped before the end, the ask is cancelled."""

    __slots__ = ("_stream",)

    def __init__(self, stream: PendingStream) -> None:
        self._stream = stream

    def __aiter__(self) -> Items:
        return self

    async def __anext__(self) -> Any:
        return await self._stream.next()

    async def aclose(self) -> None:
        """Leave early: the producer is told to stop."""
        self._leave()

    def result(self) -> Any:
        """Return what the producer said after its last item; None before the end."""
        end = self._stream.end
        return None if end is None else bodies.read(end, self._stream.table.make_ref)

    def _leave(self) -> None:
        stream = self._stream
        if not stream.is_ended:
            stream.fail(ClosedError(what="the stream"))
            stream.table.cancel(stream.correlation)

    def __del__(self) -> None:
        # The garbage collector may run in any thread; calls belong to the loop's.
        loop = self._stream.table.loop
        if asyncio._get_running_loop() is loop:
            self._leave()
        elif not self._stream.is_ended and not loop.is_closed():
            loop.call_soon_threadsafe(Items(self._stream)._leave)


Pending = PendingAsk | PendingStream


class CallTable:
    """All calls of this process that have no answer yet, by correlation."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sender: int,
        post: Callable[[Envelope], None],
        make_ref: MakeRef,
    ) -> None:
        self.loop = loop
        self.make_ref = make_ref
        self._sender = sender
        self._post = post
        self._pending: dict[int, Pending] = {}
        self._last = 0

    def new_correlation(self) -> int:
        """Return a number that nothing else of this incarnation has."""
        self._last += 1
        return self._last

    def add_ask(self, correlation: int, rebuild: Rebuild | None = None) -> PendingAsk:
        """Register an ask that is about to be posted."""
        call = self._pending[correlation] = PendingAsk(self, correlation, rebuild)
        return call

    def add_stream(self, correlation: int, rebuild: Rebuild | None = None) -> PendingStream:
        """Register a stream that is about to be posted."""
        call = self._pending[correlation] = PendingStream(self, correlation, rebuild)
        return call

    def replay_ask(self, recorded: Pending, rebuild: Rebuild | None) -> PendingAsk:
        """Return an ask that is answered already, with the answer of an equal one."""
        call = PendingAsk(self, 0, rebuild)
        if recorded.answer is not None:
            call.finish(recorded.answer)
        return call

    def replay_stream(self, recorded: Pending, rebuild: Rebuild | None) -> PendingStream:
        """Return a stream that has ended already, with the items of an equal one."""
        call = PendingStream(self, 0, rebuild)
        for item in getattr(recorded, "kept", None) or []:
            call.take(item)
        if recorded.answer is not None:
            call.finish(recorded.answer)
        return call

    def forget(self, correlation: int) -> None:
        """Take back a call that was not posted after all."""
        self._pending.pop(correlation, None)

    def take(self, envelope: Envelope) -> bool:
        """Take REPLY, ERROR, REFUSED or ITEM; False when nobody waits for it."""
        if envelope.kind == _ITEM:
            return self._take_item(envelope)
        call = self._remove(envelope.correlation)
        if call is None:
            return False
        call.finish(envelope)
        return True

    def _take_item(self, envelope: Envelope) -> bool:
        call = self._pending.get(envelope.correlation)
        if isinstance(call, PendingStream):
            call.take(envelope)
        return call is not None

    def cancel(self, correlation: int) -> None:
        """Tell the kernel that nobody waits any more; does nothing if the answer is there."""
        if self._remove(correlation) is not None:
            self._post(Envelope(Kind.CANCEL, self._sender, correlation=correlation))

    def abandon(self, correlation: int, error: LLMOSError, *, tell_kernel: bool) -> None:
        """End a call from this side."""
        call = self._remove(correlation)
        if call is None:
            return
        if tell_kernel:
            self._post(Envelope(Kind.CANCEL, self._sender, correlation=correlation))
        call.fail(error)

    def lend(self, correlation: int, items: int) -> None:
        """Let a stream send so many further items."""
        self._post(Envelope(Kind.STREAM_CREDIT, self._sender, correlation=correlation, index=items))

    def lend_again(self) -> None:
        """In a new kernel epoch: streams are known there with their first credit only."""
        for call in self._pending.values():
            if isinstance(call, PendingStream) and call.lent > FIRST_CREDIT:
                self.lend(call.correlation, call.lent - FIRST_CREDIT)

    def fail_all(self, make_error: Callable[[], LLMOSError]) -> None:
        """End every call."""
        for correlation in list(self._pending):
            self.abandon(correlation, make_error(), tell_kernel=False)

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, correlation: int) -> bool:
        return correlation in self._pending

    def _remove(self, correlation: int) -> Pending | None:
        call = self._pending.pop(correlation, None)
        if call is not None and call.on_end is not None:
            call.on_end(correlation)
        return call
