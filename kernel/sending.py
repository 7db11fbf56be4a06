"""What peers send outside a commit: asks and tells, their cancellation, and room for tells.

An ask made inside a turn is a recorded call: a retried turn's ask with the same digest gets
the recorded answer or waits for the one under way; nothing is sent twice. A refusal
(REFUSED) leaves nothing behind.

Cost: O(1) an ask; the deadlock search runs only when the receiver's turns all wait.
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.errors import (
    BadFrameError,
    LimitError,
    StorageFullError,
    TurnTooLargeError,
    UsageError,
)
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from kernel.actor_record import ActorRecord, Turn
from kernel.answering import NOTHING, again
from kernel.budget.postage import Postage
from kernel.calls import Call
from kernel.claims import check_deadline
from kernel.delivery import Delivery
from kernel.mailbox import Message, Reservation
from kernel.peers import Session
from kernel.rings import Rings
from kernel.state import Keyed
from kernel.streams import Streams

_IS_SPECIAL = int(Flag.NOWAIT | Flag.KEYED | Flag.HAS_REFS)
FOLLOW = "$follow"  # a repeated ask that waits for the answer of the first with its key


class Sending:
    """See the module head."""

    def __init__(self, delivery: Delivery, streams: Streams, postage: Postage) -> None:
        self.state = delivery.state
        self.delivery = delivery
        self.rings = Rings(delivery)
        self.streams = streams
        self.postage = postage

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
        is_keyed = envelope.flags & Flag.KEYED
        if is_keyed and self._is_repeated(session, envelope):
            return
        receiver = self._open_receiver(session, envelope)
        if is_keyed:
            self._claim_key(envelope, 0)
        message = self.delivery.accept(receiver, envelope)
        if not self.delivery.enqueue_or_wait(receiver, message):
            session.held[message.id] = envelope.correlation

    def client_ask(self, session: Session, envelope: Envelope) -> None:
        """Accept a client's ask, or raise to refuse it."""
        if envelope.flags & Flag.STREAM and envelope.flags & Flag.KEYED:
            raise UsageError(
                reason="a stream cannot have an idempotency key: its items are not kept"
            )
        is_keyed = envelope.flags & Flag.KEYED
        if is_keyed and self._is_repeated(session, envelope):
            return
        receiver = self._open_receiver(session, envelope)
        message = self.delivery.accept(receiver, envelope)
        if is_keyed:
            self._claim_key(envelope, message.id)
        is_stream = bool(envelope.flags & Flag.STREAM)
        self.state.calls.add(Call(message.id, envelope, is_stream=is_stream))
        self.delivery.enqueue_or_wait(receiver, message)
        self._inherit(message, 0)

    def _inherit(self, message: Message, turn: int) -> None:
        """What holds an ask up becomes as urgent as it is."""
        urgency = self.state.urgency
        if message.envelope.priority < urgency.least or urgency.inherited:
            self.delivery.inheritance.on_ask(message, turn)

    def _open_receiver(self, session: Session, envelope: Envelope) -> ActorRecord:
        """Return the receiver after all checks that must leave nothing behind."""
        check_deadline(envelope.deadline)
        if self.state.is_storage_low:
            self.check_storage()
        receiver = self.delivery.find_receiver(session, envelope.receiver)
        envelope.sender = session.id
        envelope.turn = 0
        if envelope.flags & _IS_SPECIAL:
            self._check_special(session, receiver, envelope)
        return receiver

    def _check_special(self, session: Session, receiver: ActorRecord, envelope: Envelope) -> None:
        """Check what only some messages ask for; give the handles that one passes on."""
        state = self.state
        if envelope.flags & Flag.NOWAIT and not receiver.mailbox.is_open_to(envelope.size):
            raise self.delivery.room.full_error(receiver)
        if envelope.flags & Flag.KEYED and len(state.keyed) >= state.config.max_keys:
            limit = state.config.max_keys
            raise LimitError(what="idempotency keys", value=len(state.keyed), limit=limit)
        self.delivery.pass_handles(session, receiver, envelope)

    def _is_repeated(self, session: Session, envelope: Envelope) -> bool:
        """Say whether the key was used before; if so the caller gets what it then stood for."""
        keyed = self.state.keyed.get(envelope.digest)
        if keyed is None:
            return False
        self.state.counters.add("keys_repeated")
        if envelope.kind == Kind.ASK:
            self.follow(session, envelope, keyed)
        return True

    def follow(self, session: Session, envelope: Envelope, keyed: Keyed) -> None:
        """Answer a repeated ask as the first one was, or as soon as that is answered."""
        if keyed.answer is not None or not keyed.call:
            answer = keyed.answer or Envelope(Kind.REPLY, payload=NOTHING)
            self.delivery.answer_at_once(session, envelope, again(answer))
            return
        body = encode_plain([FOLLOW, [], {"key": envelope.digest}])
        waiting = Envelope(Kind.ASK, session.id, 0, body, correlation=envelope.correlation)
        waiting.message = self.state.new_id()
        call = Call(waiting.message, waiting)
        self.state.calls.add(call)
        self.state.followers.setdefault(envelope.digest, []).append(call.id)
        self.state.output.changes.put("message", call.id, (waiting, self.state.wall_ns, 0))

    def _claim_key(self, envelope: Envelope, call: int) -> None:
        expires = self.state.wall_ns + int(self.state.config.key_age_s * 1e9)
        self.state.keyed[envelope.digest] = Keyed(expires, None, call)
        self.state.output.changes.put("keyed", envelope.digest, (expires, None))
        if call:
            self.state.keys_of_calls[call] = envelope.digest

    # --- agents -------------------------------------------------------------------------

    def recorded_call(self, record: ActorRecord, turn: Turn, envelope: Envelope) -> Call | None:
        """Return the record that this call of a retried turn takes, already attached."""
        call = self.state.calls.match(envelope.turn, envelope.digest)
        if call is None:
            return None
        self.delivery.renumber(call, envelope.correlation)
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
        recorded = self.recorded_call(record, turn, envelope)
        if recorded is not None:
            if not recorded.is_finished:  # its receiver may have come to wait
                self.rings.break_or_refuse(record, turn, recorded)
            return
        check_deadline(envelope.deadline)
        self.check_storage()
        self.open_call(record, turn, envelope)
        receiver = self.delivery.find_receiver(record, envelope.receiver)
        if envelope.flags & Flag.NOWAIT and not receiver.mailbox.is_open_to(envelope.size):
            raise self.delivery.room.full_error(receiver)
        if record.account is not None:
            self.postage.check(record, envelope)
        self.delivery.pass_handles(record, receiver, envelope)
        message = self.delivery.accept(receiver, envelope)
        call = Call(message.id, envelope, is_stream=bool(envelope.flags & Flag.STREAM))
        self.state.calls.add(call)
        turn.outstanding.add(call.id)
        self.delivery.count_slots(record)
        if record.account is None:
            self.delivery.enqueue_or_wait(receiver, message)
        else:
            self.postage.send(record, receiver, message)
        if message.pool:
            receiver = self.state.actors[message.receiver]
        self._inherit(message, envelope.turn)
        if message.held or (receiver.open and not receiver.slots):
            self.rings.break_or_refuse(record, turn, call)

    def on_cancel(self, peer: ActorRecord | Session, envelope: Envelope) -> None:
        """An asker no longer waits; or a turn for room, because it has got some otherwise."""
        call = self.state.calls.find(peer.id, envelope.correlation)
        if call is None:
            if isinstance(peer, ActorRecord):
                self._forgo_room(peer, envelope.correlation)
            return
        if isinstance(peer, ActorRecord):
            turn = peer.open.get(call.turn)
            if turn is not None:
                turn.outstanding.discard(call.id)
                self.delivery.count_slots(peer)
                self.state.dirty[peer.id] = None
            if call.is_finished:
                return  # the record stays until the turn's commit: a retry asks again
        if not self.delivery.is_followed(call):
            self.delivery.cancel_call(call)

    def reserve(self, record: ActorRecord, turn: Turn, envelope: Envelope) -> None:
        """Lend a turn room for its tells, or let it wait in line, or raise to refuse it."""
        wish = self._read_wish(record, envelope)
        self.check_storage()
        receiver = self.delivery.find_receiver(record, envelope.receiver)
        mailbox = receiver.mailbox
        has_room = not mailbox.waiting and mailbox.has_room(wish.messages, wish.size)
        if envelope.flags & Flag.NOWAIT and not has_room:
            raise self.delivery.room.full_error(receiver)
        if record.account is not None and not self.postage.reserve(record, turn, envelope, wish):
            return
        if has_room:
            self.delivery.room.grant_credit(receiver, record, wish)
            return
        mailbox.waiting.append(wish)
        turn.reservations.append(receiver.id)
        self.state.counters.add("held_for_room")
        self.delivery.count_slots(record)
        self.delivery.room.recall_credit(receiver)
        self.rings.break_ring(envelope.turn)

    def _forgo_room(self, record: ActorRecord, correlation: int) -> None:
        for turn in record.open.values():
            if turn.budget_waits and correlation in turn.budget_waits:
                self.state.budgets.give_up(turn.budget_waits.pop(correlation))
                self.delivery.count_slots(record)
                return
            for target in turn.reservations:
                receiver = self.state.actors.get(target)
                waiting = receiver.mailbox.waiting if receiver is not None else ()
                for wish in waiting:
                    if (
                        isinstance(wish, Reservation)
                        and wish.turn == turn.message.id
                        and wish.correlation == correlation
                    ):
                        waiting.remove(wish)  # type: ignore[union-attr]
                        turn.reservations.remove(target)
                        if receiver is not None:
                            self.delivery.release_wish(receiver, wish)
                        self.delivery.count_slots(record)
                        self.state.dirty[target] = None
                        return

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
            self.delivery.room.take_back(receiver, record, messages, size)
            self.state.dirty[receiver.id] = None
            if record.paid:
                self.delivery.room.release_paid(record, receiver.id, messages, size)

    # --- rings --------------------------------------------------------------------------


def _two_numbers(envelope: Envelope) -> tuple[int, int]:
    body = decode_plain(envelope.payload)
    if (
        not isinstance(body, list)
        or len(body) != 2
        or not all(isinstance(number, int) and number >= 0 for number in body)
    ):
        raise BadFrameError(reason="room is [messages, bytes], both at least 0")
    return body[0], body[1]
