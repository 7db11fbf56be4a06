"""What peers send outside a commit: asks and tells, their cancellation, and room for tells.

An ask made inside a turn is a recorded call: a retried turn's ask with the same digest gets
the recorded answer or waits for the one under way; nothing is sent twice. A refusal
(REFUSED) leaves nothing behind.

Cost: O(1) an ask; the deadlock search runs only when the receiver's turns all wait.
"""

from __future__ import annotations

from collections.abc import Iterable

from ext.wire import Envelope
from ipc.errors import (
    BadFrameError,
    DeadlockError,
    LimitError,
    StorageFullError,
    TurnTooLargeError,
)
from ipc.plain import decode_plain
from ipc.protocol import Flag
from kernel.actor_record import ActorRecord, Status, Turn
from kernel.calls import Call
from kernel.deadlock import Wait, find_deadlock
from kernel.delivery import Delivery
from kernel.mailbox import Reservation
from kernel.peers import Session
from kernel.state import Keyed
from kernel.streams import Streams


class Sending:
    """See the module head. It is the WaitGraph of kernel/deadlock.py."""

    def __init__(self, delivery: Delivery, streams: Streams) -> None:
        self.state = delivery.state
        self.delivery = delivery
        self.streams = streams

    def check_storage(self) -> None:
        """Refuse new sends while the disk is nearly full.

        Raises:
            StorageFullError: below the mark; commits and acknowledgements still pass.
        """
        state = self.state
        if state.is_storage_low:
            mark = state.config.free_space_mark_bytes
            raise StorageFullError(free_bytes=state.free_bytes, mark_bytes=mark)

    # --- clients ------------------------------------------------------------------------

    def client_tell(self, session: Session, envelope: Envelope) -> None:
        """Accept a client's tell, or let it wait for room, or raise to refuse it."""
        if self._is_repeated(session, envelope):
            return
        receiver = self._open_receiver(session, envelope)
        self._claim_key(envelope, 0)
        message = self.delivery.accept(receiver, envelope)
        if not self.delivery.enqueue_or_wait(receiver, message):
            session.held[message.id] = envelope.correlation

    def client_ask(self, session: Session, envelope: Envelope) -> None:
        """Accept a client's ask, or raise to refuse it."""
        if self._is_repeated(session, envelope):
            return
        receiver = self._open_receiver(session, envelope)
        message = self.delivery.accept(receiver, envelope)
        self._claim_key(envelope, message.id)
        is_stream = bool(envelope.flags & Flag.STREAM)
        self.state.calls.add(Call(message.id, envelope, is_stream=is_stream))
        self.delivery.enqueue_or_wait(receiver, message)

    def _open_receiver(self, session: Session, envelope: Envelope) -> ActorRecord:
        """Return the receiver after all checks that must leave nothing behind."""
        self.check_storage()
        receiver = self.delivery.find_receiver(session, envelope.receiver)
        mailbox = receiver.mailbox
        if envelope.flags & Flag.NOWAIT and not mailbox.has_room(1, envelope.size):
            raise self.delivery.full_error(receiver)
        envelope.sender = session.id
        envelope.turn = 0
        if envelope.flags & Flag.KEYED and len(self.state.keyed) >= self.state.config.max_keys:
            limit = self.state.config.max_keys
            raise LimitError(what="idempotency keys", value=len(self.state.keyed), limit=limit)
        self.delivery.pass_handles(session, receiver, envelope)
        return receiver

    def _is_repeated(self, session: Session, envelope: Envelope) -> bool:
        """Say whether the key was used before; if so the caller gets what it then stood for."""
        if not envelope.flags & Flag.KEYED:
            return False
        keyed = self.state.keyed.get(envelope.digest)
        if keyed is None:
            return False
        self.state.counters.add("keys_repeated")
        call = self.state.calls.get(keyed.call) if keyed.call else None
        if keyed.answer is not None:
            answer = keyed.answer.copy()
            answer.correlation = envelope.correlation
            answer.flags |= Flag.RECORDED
            answer.message = 0
            self.state.post(session, answer)
        elif call is not None:
            self.state.calls.reattach(call, session.id, envelope.correlation)
        return True

    def _claim_key(self, envelope: Envelope, call: int) -> None:
        if envelope.flags & Flag.KEYED:
            expires = self.state.wall_ns + int(self.state.config.key_age_s * 1e9)
            self.state.keyed[envelope.digest] = Keyed(expires, None, call)
            self.state.output.changes.put("keyed", envelope.digest, (expires, None))
            if call:
                self.state.keys_of_calls[call] = envelope.digest

    # --- agents -------------------------------------------------------------------------

    def recorded_call(self, record: ActorRecord, turn: Turn, envelope: Envelope) -> Call | None:
        """Return the record that this call of a retried turn takes, already attached."""
        call = self.state.calls.match(envelope.turn, envelope.digest, envelope.correlation)
        if call is None:
            return None
        self.state.counters.add("calls_recorded")
        turn.outstanding.add(call.id)
        self.delivery.count_slots(record)
        self.streams.replay(call)
        if call.is_finished:
            self.delivery.send_answer(record, turn, call)
        return call

    def open_call(self, record: ActorRecord, turn: Turn, envelope: Envelope) -> None:
        """Check that the turn may make one more call.

        Raises:
            TurnTooLargeError: it has made as many as a turn may.
        """
        limit = self.state.config.turn_calls
        made = self.state.calls.num_of_turn(envelope.turn)
        if made >= limit:
            raise TurnTooLargeError(value=made + 1, what="calls", limit=limit)
        if self.state.calls.has_unclaimed(envelope.turn):
            self.state.counters.add("turns_diverged")
        envelope.sender = record.id

    def agent_ask(self, record: ActorRecord, turn: Turn, envelope: Envelope) -> None:
        """Send an ask made inside a turn, or raise to refuse it."""
        if self.recorded_call(record, turn, envelope) is not None:
            return
        self.check_storage()
        self.open_call(record, turn, envelope)
        receiver = self.delivery.find_receiver(record, envelope.receiver)
        mailbox = receiver.mailbox
        if envelope.flags & Flag.NOWAIT and not mailbox.has_room(1, envelope.size):
            raise self.delivery.full_error(receiver)
        self.delivery.pass_handles(record, receiver, envelope)
        message = self.delivery.accept(receiver, envelope)
        call = Call(message.id, envelope, is_stream=bool(envelope.flags & Flag.STREAM))
        self.state.calls.add(call)
        turn.outstanding.add(call.id)
        self.delivery.count_slots(record)
        self.delivery.enqueue_or_wait(receiver, message)
        if receiver.open and not receiver.slots:
            self._break_or_refuse(record, turn, receiver, call)

    def on_cancel(self, peer: ActorRecord | Session, envelope: Envelope) -> None:
        """An asker no longer waits."""
        call = self.state.calls.find(peer.id, envelope.correlation)
        if call is None:
            return
        if isinstance(peer, ActorRecord):
            turn = peer.open.get(call.turn)
            if turn is not None:
                turn.outstanding.discard(call.id)
                self.delivery.count_slots(peer)
                self.state.dirty[peer.id] = None
            if call.is_finished:
                return  # the record stays until the turn's commit: a retry asks again
        self.delivery.cancel_call(call)

    def reserve(self, record: ActorRecord, turn: Turn, envelope: Envelope) -> None:
        """Lend a turn room for its tells, or let it wait in line, or raise to refuse it."""
        wish = self._read_wish(record, envelope)
        self.check_storage()
        receiver = self.delivery.find_receiver(record, envelope.receiver)
        mailbox = receiver.mailbox
        if not mailbox.waiting and mailbox.has_room(wish.messages, wish.size):
            self.delivery.grant_credit(receiver, record, wish)
            return
        if envelope.flags & Flag.NOWAIT:
            raise self.delivery.full_error(receiver)
        mailbox.waiting.append(wish)
        turn.reservations.append(receiver.id)
        self.state.counters.add("held_for_room")
        self.delivery.count_slots(record)
        self.delivery.recall_credit(receiver)
        if receiver.open and not receiver.slots:
            self._break_ring(envelope.turn, receiver)

    def _read_wish(self, record: ActorRecord, envelope: Envelope) -> Reservation:
        messages, size = _two_numbers(envelope)
        limit = self.state.config.turn_messages
        if messages > limit:
            raise TurnTooLargeError(value=messages, what="messages", limit=limit)
        return Reservation(record.id, envelope.turn, envelope.correlation, messages, size)

    def on_return(self, record: ActorRecord, envelope: Envelope) -> None:
        """Take unused room back."""
        receiver = self.state.actors.get(envelope.receiver)
        if receiver is not None:
            messages, size = _two_numbers(envelope)
            self.delivery.take_back(receiver, record, messages, size)
            self.state.dirty[receiver.id] = None

    # --- rings --------------------------------------------------------------------------

    def _break_or_refuse(
        self, record: ActorRecord, turn: Turn, receiver: ActorRecord, call: Call
    ) -> None:
        """If this ask closes a ring: break it by admitting over the limit, or refuse the ask."""
        stuck = find_deadlock(self, call.turn)
        if not stuck or self._admit_in_ring(stuck):
            return
        ring = self._name_ring(call.turn, stuck)
        turn.outstanding.discard(call.id)
        self.delivery.count_slots(record)
        self.delivery.cancel_call(call)
        self.state.counters.add("deadlocks")
        raise DeadlockError(ring=ring)

    def _break_ring(self, turn: int, receiver: ActorRecord) -> None:
        """A wait for room has closed a ring: admit over the limit, up to twice the limit."""
        stuck = find_deadlock(self, turn)
        if stuck and not self._admit_in_ring(stuck):
            self._withdraw_reservations(turn)
            raise self.delivery.full_error(receiver)

    def _admit_in_ring(self, stuck: dict[int, list[Wait]]) -> bool:
        for waits in stuck.values():
            for wait in waits:
                receiver = self.state.actors.get(wait.actor)
                if wait.is_room and receiver is not None:
                    waiter = receiver.mailbox.waiting[0] if receiver.mailbox.waiting else None
                    messages = waiter.messages if isinstance(waiter, Reservation) else 1
                    if waiter is not None and receiver.mailbox.has_double_room(messages):
                        self.delivery.admit_waiting(receiver, force=True)
                        return True
        return False

    def _withdraw_reservations(self, turn_id: int) -> None:
        for record in self.state.actors.values():
            mailbox = record.mailbox
            for waiter in list(mailbox.waiting):
                if isinstance(waiter, Reservation) and waiter.turn == turn_id:
                    mailbox.waiting.remove(waiter)
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
        waits = [Wait(receiver, is_room=True) for receiver in open_turn.reservations]
        for call in sorted(open_turn.outstanding):
            asked = self.state.messages.get(call)
            receiver = self.state.actors.get(asked.receiver) if asked is not None else None
            if asked is None or receiver is None:
                return None
            started = call in (item.message.id for item in receiver.running)
            waits.append(Wait(receiver.id, call if started else None, asked.held))
        return waits

    def stuck_candidates(self, actor: int) -> list[int] | None:
        """See kernel.deadlock.WaitGraph."""
        record = self.state.actors.get(actor)
        if record is None or record.status is not Status.RUNNING:
            return None
        running = record.running
        if len(running) < (1 if record.solo else record.concurrency):
            return None
        return [turn.message.id for turn in running]


def _two_numbers(envelope: Envelope) -> tuple[int, int]:
    body = decode_plain(envelope.payload)
    if (
        not isinstance(body, list)
        or len(body) != 2
        or not all(isinstance(number, int) and number >= 0 for number in body)
    ):
        raise BadFrameError(reason="room is [messages, bytes], both at least 0")
    return body[0], body[1]
