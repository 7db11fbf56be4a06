"""Turns that wait for each other in a ring: found, let on over a limit, or told so.

An ask that closes a ring is refused with DeadlockError, which names the ring. A ring in which
somebody waits for room is broken by admitting over the limit, up to twice the limit. One that comes
about without a new ask is found by the sweep (kernel/sweep.py): its youngest ask gets the error.

What it is not: the search itself (kernel/deadlock.py), of which it is the WaitGraph.
Cost: O(turns + waits reachable); callers come here only when a receiver's turns all wait, or it is
full. Of an ask that closes no ring by itself, what its turn has asked before is not looked at: a
turn may ask thousands at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from ext.wire import Envelope
from ipc.errors import DeadlockError
from ipc.protocol import Kind
from kernel.actor_record import ActorRecord, Status, Turn
from kernel.calls import Call
from kernel.deadlock import Wait, find_deadlock
from kernel.delivery import Delivery
from kernel.mailbox import Reservation


class Rings:
    """See the module head."""

    def __init__(self, delivery: Delivery) -> None:
        self.state = delivery.state
        self.delivery = delivery

    def break_rings(self, turns: Iterable[int]) -> None:
        """Free turns that have come to wait for each other without an ask that closed a ring.

        So it goes when the last other thing that one of them waited for has come: the youngest
        ask among them then gets DeadlockError, be it a stream that nobody can come to read.
        """
        for turn_id in turns:
            stuck = self._stuck_after_admitting(turn_id)
            calls = [call for waiting in stuck for call in self._asks_of(waiting)]
            if calls:
                self._deny(max(calls), self._name_ring(turn_id, stuck))
            elif stuck:
                self._refuse_reservations(turn_id)

    def _asks_of(self, turn_id: int) -> set[int]:
        """Return the asks of a turn that waits, with its own if what waits is a stream's item."""
        message = self.state.messages[turn_id]
        turn = self.state.actors[message.receiver].open[turn_id]
        return turn.outstanding | {turn_id} if turn.is_starved else turn.outstanding

    def _deny(self, call_id: int, ring: str) -> None:
        call, message = self.state.calls.get(call_id), self.state.messages.get(call_id)
        if call is not None and message is not None:
            self.state.counters.add("deadlocks")
            self.delivery.answer_error(call, DeadlockError(ring=ring))
            self.delivery.cancel_message(message)

    def _refuse_reservations(self, turn_id: int) -> None:
        owner = self.state.actors[self.state.messages[turn_id].receiver]
        for target in list(owner.open[turn_id].reservations):
            receiver = self.state.actors[target]
            error = self.delivery.room.full_error(receiver)
            for waiter in list(receiver.mailbox.waiting):
                if isinstance(waiter, Reservation) and waiter.turn == turn_id:
                    asked = Envelope(Kind.RESERVE, correlation=waiter.correlation)
                    self.delivery.refuse(owner, asked, error)
        self._withdraw_reservations(turn_id)

    def _stuck_after_admitting(self, turn_id: int) -> dict[int, list[Wait]]:
        """Return what is stuck with a turn once nobody more can be let in over the limit."""
        while stuck := find_deadlock(self, turn_id):
            if not self._admit_in_ring(stuck):
                return stuck
        return {}

    def break_or_refuse(self, record: ActorRecord, turn: Turn, call: Call) -> None:
        """If this ask closes a ring: break it by admitting over the limit, or refuse the ask."""
        wait = self._wait_for(call.id)
        if wait is None or not find_deadlock(self, call.turn, only=wait):
            return
        stuck = self._stuck_after_admitting(call.turn)
        if not stuck:
            return
        ring = self._name_ring(call.turn, stuck)
        turn.outstanding.discard(call.id)
        self.delivery.count_slots(record)
        self.delivery.cancel_call(call)
        self.state.counters.add("deadlocks")
        raise DeadlockError(ring=ring)

    def break_ring(self, turn: int) -> None:
        """A wait for room has closed a ring: admit over the limit, up to twice the limit."""
        if self._stuck_after_admitting(turn):
            self._refuse_reservations(turn)

    def _admit_in_ring(self, stuck: dict[int, list[Wait]]) -> bool:
        for waits in stuck.values():
            for wait in waits:
                receiver = self.state.actors.get(wait.actor)
                if wait.is_room and receiver is not None:
                    waiter = receiver.mailbox.waiting[0] if receiver.mailbox.waiting else None
                    messages = waiter.messages if isinstance(waiter, Reservation) else 1
                    if waiter is not None and receiver.mailbox.has_double_room(
                        messages, waiter.size
                    ):
                        self.delivery.admit_waiting(receiver, force=True)
                        return True
        return False

    def _withdraw_reservations(self, turn_id: int) -> None:
        for record in self.state.actors.values():
            mailbox = record.mailbox
            for waiter in list(mailbox.waiting):
                if isinstance(waiter, Reservation) and waiter.turn == turn_id:
                    mailbox.waiting.remove(waiter)
                    self.delivery.release_wish(record, waiter)
        message = self.state.messages.get(turn_id)
        owner = self.state.actors.get(message.receiver) if message is not None else None
        turn = owner.open.get(turn_id) if owner is not None else None
        if owner is not None and turn is not None:
            turn.reservations.clear()
            self.delivery.count_slots(owner)

    def _name_ring(self, start: int, stuck: dict[int, list[Wait]]) -> str:
        """Return "A -> B -> A", following each turn's first wait."""
        names, seen, turn = [], set(), start
        while turn in stuck and turn not in seen:
            seen.add(turn)
            message = self.state.messages[turn]
            names.append(self.state.name_of(message.receiver))
            wait = stuck[turn][0]
            candidates = [wait.turn] if wait.turn is not None else self.stuck_candidates(wait.actor)
            turn = candidates[0] if candidates and candidates[0] is not None else 0
        last = self.state.messages.get(turn)
        if last is not None:
            names.append(self.state.name_of(last.receiver))
        return " -> ".join(names)

    def waits_of(self, turn: int) -> Iterable[Wait] | None:
        """See kernel.deadlock.WaitGraph."""
        message = self.state.messages.get(turn)
        record = self.state.actors.get(message.receiver) if message is not None else None
        open_turn = record.open.get(turn) if record is not None else None
        if open_turn is None or not open_turn.is_parked:
            return None
        if open_turn.budget_waits or record is None or record.is_stopped:
            return None  # a budget can be topped up
        waits = [Wait(receiver, is_room=True) for receiver in open_turn.reservations]
        if open_turn.is_starved:
            taker = self._taker_of(turn)
            if taker is None:
                return None
            waits.append(taker)
        for call in sorted(open_turn.outstanding):
            wait = self._wait_for(call)
            if wait is None:
                return None
            waits.append(wait)
        return waits

    def _wait_for(self, call: int) -> Wait | None:
        """Return what an ask waits for; None if its turn may go on by itself."""
        asked = self.state.messages.get(call)
        receiver = self.state.actors.get(asked.receiver) if asked is not None else None
        if asked is None or receiver is None or asked.is_unpaid:
            return None
        started = call in (item.message.id for item in receiver.running)
        return Wait(receiver.id, call if started else None, asked.held)

    def _taker_of(self, turn: int) -> Wait | None:
        """Return the wait of a stream's producer for who is to take its items; None: a client."""
        call = self.state.calls.get(turn)
        owner = self.state.actors.get(call.owner) if call is not None else None
        if call is None or owner is None:
            return None
        if any(item.message.id == call.turn for item in owner.running):
            return Wait(owner.id, call.turn)
        message = self.state.messages.get(call.turn)
        return Wait(owner.id, is_room=message is not None and message.held)

    def stuck_candidates(self, actor: int) -> list[int] | None:
        """See kernel.deadlock.WaitGraph."""
        record = self.state.actors.get(actor)
        if record is None or record.status is not Status.RUNNING or record.suspended:
            return None
        running = record.running
        if len(running) < record.concurrency:
            return None
        return [turn.message.id for turn in running]

    def room_candidates(self, actor: int) -> list[int] | None:
        """See kernel.deadlock.WaitGraph. Room comes from the actor's turns, or from a lender's."""
        record = self.state.actors.get(actor)
        if record is None:
            return None
        found: list[int] = []
        if record.mailbox.used_messages:
            for owner in self._owners_of(record):
                if owner.status is not Status.RUNNING:
                    return None
                if len(owner.mailbox) and self.stuck_candidates(owner.id) is None:
                    return None  # a queued message can start, and end
                found += [turn.message.id for turn in owner.running]
        if record.mailbox.lent_messages:
            for borrower in self.state.actors.values():
                if borrower.lent.get(actor, (0, 0))[0]:
                    if not borrower.open:
                        return None  # it has been asked to give it back
                    found += [turn.message.id for turn in borrower.running]
        return found or None

    def _owners_of(self, record: ActorRecord) -> list[ActorRecord]:
        """Return who handles what counts against an actor's mailbox: of a pool, its members."""
        if record.pool is None:
            return [record]
        return [self.state.actors[member] for member in record.pool.members]
