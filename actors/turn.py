"""One turn: a message being handled, and what its handler has done so far.

Nothing in here leaves the process before the turn's commit: effects are envelopes in a list,
state is an overlay. Calls leave at once and are only counted here, so that what is unfinished
can be cancelled when the handler returns.

The current turn is a context variable: tasks that a handler starts inherit it, and get
TurnClosedError when they outlive it.

Cost: one object a message; effects are checked against the turn's limits as they are made.
"""

from __future__ import annotations

import random
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from actors.state import StateStore, TurnState
from ext.wire import Envelope, digest64
from ipc.errors import (
    AskTimeoutError,
    PayloadTooLargeError,
    StreamDivergedError,
    TurnClosedError,
    TurnTooLargeError,
)
from ipc.protocol import Flag, Kind, Limits

if TYPE_CHECKING:
    import asyncio

    from actors.calls import Pending
    from actors.room import Taken
    from ext.waiter import Waiter

CURRENT: ContextVar[Turn | None] = ContextVar("llmos_turn", default=None)

_SECOND_NS = 1_000_000_000


class Turn:
    """See the module head."""

    # What most turns never change stands in the class: an instance costs 1 us less.
    deadline_ns = 0  # monotonic; 0 = none
    now_ns = 0  # wall clock, the same in each attempt
    is_open = True
    is_cancelled = False  # by the kernel: the commit will say so
    is_abandoned = False  # refused: there will be no commit
    is_in_thread = False  # a ``def`` handler: it cannot be cancelled
    is_stream = False  # the asker reads items
    task: asyncio.Task[Any] | None = None
    num_calls = 0
    credit_waiter: Waiter | None = None
    num_items = 0
    num_timers = 0
    # With concurrency: calls made so far, for a run again in this process (state was stale).
    made: dict[bytes, list[Pending]] | None = None
    records: dict[bytes, list[Pending]] | None = None
    # Likewise the digests of the items sent in this run, and in the run before; see ``track``.
    items: list[int]
    items_before: list[int]
    touched: TurnState | None = None  # the overlay, once ``self.state`` was asked for
    _size = 0
    _random: random.Random | None = None

    def __init__(
        self, envelope: Envelope, store: StateStore, limits: Limits, actor: str, room_epoch: int
    ) -> None:
        self.id = envelope.message
        self.envelope = envelope
        self.actor = actor  # its name, for errors
        self.limits = limits
        self.credit = envelope.index  # items the asker still takes
        self.room_epoch = room_epoch
        self.effects: list[Envelope] = []
        self.told: set[int] = set()
        self.taken: Taken = {}
        self.calls: dict[int, Pending] = {}
        self._store = store
        if envelope.flags & Flag.STREAM and envelope.kind == Kind.ASK:
            self.is_stream = True

    def track(self) -> None:
        """Note what is read, asked and yielded: with concurrency the turn may be run again here."""
        self.made, self.items, self.items_before = {}, [], []

    @property
    def state(self) -> TurnState:
        """``self.state``: the turn's overlay, made when it is first asked for."""
        if self.touched is None:
            self.touched = TurnState(self._store, tracks_reads=self.made is not None)
        return self.touched

    def cancel(self) -> None:
        """The kernel wants the turn stopped; the handler sees CancelledError."""
        self.is_cancelled = True
        if self.task is not None and not self.is_in_thread:
            self.task.cancel()

    def abandon(self) -> None:
        """There will be no commit: stop the handler without a word to the kernel."""
        self.is_abandoned = True
        if self.task is not None and not self.is_in_thread:
            self.task.cancel()

    def add_effect(self, envelope: Envelope) -> None:
        """Add an effect to the commit.

        Raises:
            TurnTooLargeError: the turn would be above its limits; the effect is not in it.
        """
        self._size = self.check_room_for(envelope.size)
        self.effects.append(envelope)

    def count_reply(self, size: int) -> None:
        """Count the reply that the commit carries. Raises as ``add_effect``."""
        self._size = self.check_room_for(size)

    def check_room_for(self, size: int) -> int:
        """Return the turn's bytes with an effect of so many more.

        Raises:
            TurnTooLargeError: it would be above the limits of a turn.
        """
        effects, limits, size = self.effects, self.limits, self._size + size
        if len(effects) >= limits["turn_messages"]:
            value, limit = len(effects) + 1, limits["turn_messages"]
            raise TurnTooLargeError(what="effects", value=value, limit=limit)
        if size > limits["turn_bytes"]:
            raise TurnTooLargeError(what="bytes", value=size, limit=limits["turn_bytes"])
        return size

    def note_tell(self, receiver: int, size: int, room_epoch: int) -> None:
        """Remember the room that a tell has taken; what was taken in an epoch before is void."""
        if room_epoch != self.room_epoch:
            self.room_epoch = room_epoch
            self.taken.clear()
        taken = self.taken.setdefault(receiver, [0, 0])
        taken[0] += 1
        taken[1] += size

    def add_call(self, envelope: Envelope, pending: Pending) -> None:
        """Note a call that leaves; it is cancelled if it has no answer when the handler returns."""
        calls = self.calls
        calls[envelope.correlation] = pending
        pending.on_end = calls.pop
        if self.made is not None:
            pending.keep_answer()
            self.made.setdefault(envelope.digest, []).append(pending)

    def take_record(self, digest: bytes) -> Pending | None:
        """Return an answered call of the run before with this digest, each once."""
        records = (self.records or {}).get(digest, [])
        while records:
            pending = records.pop(0)
            if pending.answer is not None:
                return pending
        return None

    def is_item_sent(self, payload: bytes) -> bool:
        """Say whether the run before has sent this item already; note it otherwise.

        Raises:
            StreamDivergedError: the run before has sent another item in this place.
        """
        if self.made is None:
            return False
        digest, number = digest64(payload), self.num_items
        self.items.append(digest)
        if number >= len(self.items_before):
            return False
        if self.items_before[number] != digest:
            raise StreamDivergedError(index=number, actor=self.actor)
        return True

    def check_call(self, envelope: Envelope) -> None:
        """Count one more recorded call, which is about to leave.

        Raises:
            PayloadTooLargeError, TurnTooLargeError: it must not leave.
        """
        check_payload(envelope, self.limits)
        self.num_calls += 1
        limit = self.limits["turn_calls"]
        if self.num_calls > limit:
            raise TurnTooLargeError(what="calls", value=self.num_calls, limit=limit)

    def deadline_left(self, now_ns: int, own_s: float | None, receiver: object) -> int:
        """Return the nanoseconds a call may take: its own or the inherited, whichever ends first.

        Raises:
            AskTimeoutError: the inherited deadline has passed; nothing was sent.
        """
        own = int(own_s * _SECOND_NS) if own_s is not None else 0
        if not self.deadline_ns:
            return own
        left = self.deadline_ns - now_ns
        if left <= 0:
            raise AskTimeoutError(receiver=receiver)
        return min(own, left) if own else left

    @property
    def random(self) -> random.Random:
        """Random numbers that are the same in each attempt at this turn."""
        if self._random is None:
            self._random = random.Random(self.id)
        return self._random


def check_payload(envelope: Envelope, limits: Limits) -> None:
    """Raise PayloadTooLargeError if the envelope's payload is above the limit."""
    size, limit = len(envelope.payload), limits["payload_bytes"]
    if size > limit:
        raise PayloadTooLargeError(value=size, limit=limit)


def current_turn(actor: str, operation: str) -> Turn:
    """Return the open turn this code runs in.

    Raises:
        TurnClosedError: there is none, or it has ended.
    """
    turn = CURRENT.get()
    if turn is None or not turn.is_open:
        raise TurnClosedError(operation=operation, actor=actor)
    return turn
