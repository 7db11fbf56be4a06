"""Messages from acceptance to grant, and answers back to their askers.

Every accepted message ends in exactly one of: a committed turn (kernel/turns.py); for an
ask, its asker told; a dead letter. Nothing here decides who runs next (kernel/slots.py) or
what a turn's commit means. Long because grants, answers and cancellation keep D1 to D3 together.

Invariants:
  D1  a message in ``state.messages`` is in its receiver's queue, in its line of waiters,
      or in its ``open`` turns, and in the journal.
  D2  a call is pending exactly while its message is, and else has its answer in the journal.
  D3  a turn is parked exactly while it has outstanding calls or waiting reservations;
      ``record.slots`` counts the unparked ones, ``state.slots.used`` their sum.

Cost: O(1) a message, except where a lane is held back or a mailbox is full.
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.envelope import split_refs
from ipc.errors import (
    ActorDeadError,
    AskCancelledError,
    AskTimeoutError,
    LLMOSError,
    NoCapabilityError,
    TurnTooLargeError,
    UnknownActorError,
    to_wire,
)
from ipc.ids import is_session
from ipc.plain import encode_plain
from ipc.protocol import Flag, Kind
from kernel.actor_record import ActorRecord, Status, Turn
from kernel.calls import Call
from kernel.letters import Letters
from kernel.mailbox import Message, Reservation
from kernel.peers import Session
from kernel.room import Room
from kernel.state import KernelState, Keyed, Peer
from kernel.timers import Due

NOTHING = encode_plain(None)
_HAS_REFS = int(Flag.HAS_REFS)
_REDELIVERED = int(Flag.REDELIVERED)
_STREAM = int(Flag.STREAM)


class Delivery:
    """See the module head."""

    def __init__(self, state: KernelState) -> None:
        self.state = state
        self.room = Room(state)
        self.letters = Letters(state)

    # --- acceptance ---------------------------------------------------------------------

    def find_receiver(self, sender: Peer, receiver: int) -> ActorRecord:
        """Return the actor a peer may send to.

        Raises:
            NoCapabilityError: the agent holds no handle of it.
            ActorDeadError: it was terminated.
            UnknownActorError: there never was such an actor.
        """
        if isinstance(sender, ActorRecord) and not (
            receiver == sender.id or receiver in sender.handles
        ):
            raise NoCapabilityError(sender=sender.id, receiver=receiver)
        record = self.state.actors.get(receiver)
        if record is not None:
            return record
        if 0 < receiver & ((1 << 48) - 1) <= self.state.counter and not is_session(receiver):
            raise ActorDeadError(actor=f"actor {receiver}", reason="it was terminated")
        raise UnknownActorError(name=receiver, hint="")

    def pass_handles(self, sender: Peer | None, receiver: ActorRecord, envelope: Envelope) -> None:
        """Give the receiver the handles that the message passes on.

        sender: None for the kernel itself.
        Raises:
            NoCapabilityError: the sender does not hold one of them; nothing was given.
        """
        if not envelope.flags & _HAS_REFS:
            return
        refs, _ = split_refs(envelope)
        if isinstance(sender, ActorRecord):
            for target in refs:
                if target != sender.id and target not in sender.handles:
                    raise NoCapabilityError(sender=sender.id, receiver=target)
        for target in refs:
            self.give_handle(receiver, target)

    def give_handle(self, holder: ActorRecord, target: int) -> None:
        """Let the holder send to the target from now on, durably."""
        if target != holder.id and target not in holder.handles:
            holder.handles.add(target)
            self.state.output.changes.put("handle", (holder.id, target), ())

    def accept(
        self, receiver: ActorRecord, envelope: Envelope, *, reserved: bool = False
    ) -> Message:
        """Make the envelope a message of the receiver, durable with this loop turn.

        reserved: it has room of its own (system messages, timers, self-sends).
        """
        state = self.state
        identifier = envelope.message = state.new_id()
        message = Message(identifier, receiver.id, envelope)
        message.reserved = reserved or message.sender in (0, receiver.id)
        message.accepted_wall_ns = state.wall_ns
        due_wall_ns = 0
        if envelope.deadline:
            message.due_ns = state.now_ns + envelope.deadline
            state.timers.set(Due.DEADLINE, identifier, message.due_ns)
            due_wall_ns = state.to_wall(message.due_ns)
        state.messages[identifier] = message
        state.output.changes.put_new("message", identifier, (envelope, state.wall_ns, due_wall_ns))
        return message

    def save_message(self, message: Message) -> None:
        """Journal an accepted message whose envelope has changed."""
        due_wall_ns = self.state.to_wall(message.due_ns) if message.due_ns else 0
        row = (message.envelope, message.accepted_wall_ns, due_wall_ns)
        self.state.output.changes.put("message", message.id, row)

    def enqueue(self, receiver: ActorRecord, message: Message) -> None:
        """Put an accepted message into the mailbox; its room is taken here."""
        receiver.mailbox.count(message)
        receiver.mailbox.put(message)
        self.state.dirty[receiver.id] = None

    def enqueue_or_wait(self, receiver: ActorRecord, message: Message) -> bool:
        """Enqueue if there is room, else let the message wait in line; True if enqueued."""
        mailbox = receiver.mailbox
        if message.reserved or (not mailbox.waiting and mailbox.has_room(1, message.size)):
            self.enqueue(receiver, message)
            return True
        message.held = True
        mailbox.waiting.append(message)
        self.room.recall_credit(receiver)
        self.state.counters.add("held_for_room")
        return False

    def tell_from_kernel(self, receiver: ActorRecord, method: str, *arguments: object) -> None:
        """Send one of the kernel's own messages; it has reserved room."""
        body = encode_plain([method, list(arguments), {}])
        envelope = Envelope(Kind.TELL, 0, receiver.id, body, flags=Flag.SYSTEM, priority=0)
        self.enqueue(receiver, self.accept(receiver, envelope, reserved=True))

    # --- room ---------------------------------------------------------------------------

    def admit_waiting(self, receiver: ActorRecord, *, force: bool = False) -> None:
        """Let those in line for room in, first come first served, as far as there is room.

        force: let the first one in over the limit, to break a ring of waiters.
        """
        mailbox = receiver.mailbox
        while mailbox.waiting:
            waiter = mailbox.waiting[0]
            messages = 1 if isinstance(waiter, Message) else waiter.messages
            if not force and not mailbox.has_room(messages, waiter.size):
                return
            if force:
                self.state.counters.add("admitted_over_limit")
            force = False
            mailbox.waiting.popleft()
            if isinstance(waiter, Message):
                self._admit_message(receiver, waiter)
            else:
                self._admit_reservation(receiver, waiter)

    def admit_before(self, receiver: ActorRecord, envelope: Envelope) -> None:
        """Let in what its sender has sent before it and what still waits for room: order."""
        for waiter in list(receiver.mailbox.waiting):
            if (
                isinstance(waiter, Message)
                and waiter.sender == envelope.sender
                and waiter.envelope.priority == envelope.priority
            ):
                self.admit_held(receiver, waiter)

    def admit_held(self, receiver: ActorRecord, message: Message) -> None:
        """Let a message in, whatever room there is."""
        receiver.mailbox.waiting.remove(message)
        self.state.counters.add("admitted_over_limit")
        self._admit_message(receiver, message)

    def _admit_message(self, receiver: ActorRecord, message: Message) -> None:
        message.held = False
        self.enqueue(receiver, message)
        self.accept_held(message)

    def accept_held(self, message: Message) -> None:
        """Tell a client that its tell waits for room no more: it has any, or was buried."""
        session = self.state.peers.sessions.get(message.sender)
        if session is not None:
            correlation = session.held.pop(message.id, None)
            if correlation is None:
                return
            last = self.last_unsent(session, Kind.ACCEPTED)
            if last is not None and last.correlation + last.message + 1 == correlation:
                last.message += 1
            else:
                self.state.post(session, Envelope(Kind.ACCEPTED, 0, correlation=correlation))

    def last_unsent(self, session: Session, kind: int) -> Envelope | None:
        """Return what was posted last in this loop turn, if it is of a kind: it may say more."""
        _, batch = self.state.outgoing.get(session.route or b"", (session, ()))
        last = batch[-1] if batch else None
        if last is None or last.kind != kind or last.sequence <= session.resent_to:
            return None
        return last

    def _admit_reservation(self, receiver: ActorRecord, wish: Reservation) -> None:
        borrower = self.state.actors.get(wish.sender)
        turn = borrower.open.get(wish.turn) if borrower is not None else None
        if borrower is None or turn is None:
            return
        turn.reservations.remove(receiver.id)
        self.count_slots(borrower)
        self.room.grant_credit(receiver, borrower, wish)
        if receiver.mailbox.waiting:  # what the turn then does not use is wanted back
            self.state.post(borrower, Envelope(Kind.RECALL, 0, receiver.id))

    def put_back(self, record: ActorRecord, messages: list[Message]) -> None:
        """Return messages from turns to the mailbox; deadlines that passed meanwhile count now."""
        record.mailbox.put_back(messages)
        for message in messages:
            if 0 < message.due_ns <= self.state.now_ns:
                self.state.timers.set(Due.DEADLINE, message.id, message.due_ns)

    def withdraw_waits(self, turns: list[Turn]) -> None:
        """Take the reservations of turns that wait no more out of the lines."""
        for turn in turns:
            for target in turn.reservations:
                receiver = self.state.actors.get(target)
                if receiver is not None:
                    waiting = receiver.mailbox.waiting
                    for waiter in [w for w in waiting if not isinstance(w, Message)]:
                        if waiter.turn == turn.message.id:
                            waiting.remove(waiter)
                    self.state.dirty[target] = None  # who stood behind them may have room
            turn.reservations.clear()

    # --- grants -------------------------------------------------------------------------

    def count_slots(self, record: ActorRecord) -> None:
        """Bring the slots that an actor holds in line with its turns (D3)."""
        turns = record.open
        if not turns:
            held = 0
        elif record.concurrency == 1:
            held = 0 if next(iter(turns.values())).is_parked else 1
        else:
            parked = sum(turn.is_parked for turn in turns.values())
            held = max(0, min(record.concurrency, len(turns)) - parked)
        if held != record.slots:
            self.state.slots.change(held - record.slots, self.state.now_ns)
            record.slots = held
            if record.solo:
                self.state.dirty[record.id] = None  # while one waits, the next may run

    def pump(self, record: ActorRecord) -> None:
        """Grant the actor what it may have now."""
        mailbox, slots = record.mailbox, self.state.slots
        if mailbox.waiting:
            self.admit_waiting(record)
        if not mailbox.num_queued:
            return
        if record.status is not Status.RUNNING or record.is_refusing or record.channel is None:
            return
        may_hold = self._may_hold(record)
        while mailbox.num_queued and len(record.open) < may_hold:
            if not record.slots and slots.used >= slots.limit:
                slots.line_up(record.id)
                return
            message = mailbox.next()
            if message is None:
                return
            if 0 < message.due_ns <= self.state.now_ns:  # it has come back from a turn too late
                self.expire(message.id)
                continue
            self._grant(record, message)

    def _may_hold(self, record: ActorRecord) -> int:
        """Return how many granted messages the actor may have."""
        if record.solo:  # one at a time; the next also when those before it only wait
            turns = list(record.open.values())
            if turns and turns[0].message.order == 0:
                return 1  # $start runs alone
            return min(record.concurrency, 1 + sum(turn.is_parked for turn in turns))
        parked = len(record.open) - record.slots if record.open else 0
        concurrency = record.concurrency
        if concurrency == 1:
            if record.open and not record.slots:
                return 0  # its one turn waits: what comes now keeps its place by priority
        elif parked >= concurrency:
            return 0
        if self.state.slots.is_contended:
            return concurrency
        return max(concurrency, self.state.config.turn_quantum)

    def _grant(self, record: ActorRecord, message: Message) -> None:
        state = self.state
        envelope = message.envelope.copy()  # the message's own keeps the asker's numbers
        envelope.correlation = message.accepted_wall_ns
        if message.granted or message.attempts:
            envelope.flags |= _REDELIVERED
            self.release_calls(message)
            state.counters.add("redelivered")
        message.granted = True
        if message.due_ns:
            envelope.deadline = max(1, message.due_ns - state.now_ns)
        if envelope.flags & _STREAM:
            call = state.calls.get(message.id)
            if call is not None:
                envelope.index = call.credit
                call.seen_items = 0
        record.open[message.id] = Turn(message)
        if record.slots < record.concurrency:
            self.count_slots(record)
        state.post(record, envelope)

    # --- ends ---------------------------------------------------------------------------

    def end_message(self, message: Message) -> None:
        """Forget a message that has ended; its room is free. It is in no queue any more."""
        state = self.state
        if state.messages.pop(message.id, None) is None:
            return
        changes = state.output.changes
        changes.delete("message", message.id)
        if message.attempts:
            changes.delete("retry", message.id)
        if message.due_ns:
            state.timers.cancel(Due.DEADLINE, message.id)
        if state.spawned:
            for child in state.spawned.pop(message.id, ()):
                state.doomed[child] = "the turn that spawned it never committed"
        if state.llm.made:
            state.llm.undone += state.llm.made.pop(message.id, ())
        receiver = state.actors.get(message.receiver)
        if receiver is not None:
            if not message.held:
                receiver.mailbox.discharge(message)
            if receiver.solo:
                receiver.solo.discard(message.id)
            state.dirty[receiver.id] = None

    def unqueue(self, message: Message) -> None:
        """Take a message that has not been granted out of its queue or line."""
        receiver = self.state.actors.get(message.receiver)
        if receiver is None:
            return
        if message.held:
            if message in receiver.mailbox.waiting:  # not so if the receiver is being ended
                receiver.mailbox.waiting.remove(message)
        else:
            receiver.mailbox.remove(message)

    def dead_letter(self, message: Message, reason: str, error: LLMOSError | None) -> None:
        """Keep the message as a dead letter and end it, with the calls its attempts have made."""
        self.drop_calls(message)
        self.letters.keep(message.envelope, message.receiver, reason, error, message.attempts)
        self.end_message(message)

    # --- answers ------------------------------------------------------------------------

    def answer(self, call: Call, payload: bytes = NOTHING) -> None:
        """Finish a call of the kernel's own with a result."""
        self.finish_call(call, Envelope(Kind.REPLY, 0, payload=payload))

    def answer_error(self, call: Call, error: LLMOSError) -> None:
        """Finish a call with an error."""
        self.finish_call(call, Envelope(Kind.ERROR, 0, payload=encode_plain(to_wire(error))))

    def finish_call(self, call: Call, envelope: Envelope) -> None:
        """Record the answer of a call and send it to who waits for it."""
        if call.answer is not None:
            return
        state = self.state
        envelope.sender = call.receiver
        envelope.receiver = call.owner
        envelope.correlation = call.correlation
        envelope.turn = call.turn
        envelope.digest = call.digest
        envelope.message = call.id
        call.answer = envelope
        state.output.changes.put_new("answer", call.id, (envelope,))
        if call.receiver == 0:
            state.output.changes.delete("message", call.id)
            self._end_request(call)
        if state.keys_of_calls:
            self._finish_key(call, envelope)
        owner = state.peer(call.owner)
        if isinstance(owner, ActorRecord):
            self._resume(owner, call)
        elif isinstance(owner, Session):
            state.post(owner, envelope)
        else:
            state.counters.add("replies_dropped")
            self.forget_call(call)

    def _finish_key(self, call: Call, envelope: Envelope) -> None:
        digest = self.state.keys_of_calls.pop(call.id, None)
        if digest is not None and digest in self.state.keyed:
            expires = self.state.keyed[digest].expires_wall_ns
            self.state.keyed[digest] = Keyed(expires, envelope.copy(), 0)
            self.state.output.changes.put("keyed", digest, (expires, envelope.copy()))
            for follower in self.state.followers.pop(digest, ()):
                other = self.state.calls.get(follower)
                if other is not None:
                    self.finish_call(other, again(envelope))

    def _resume(self, owner: ActorRecord, call: Call) -> None:
        """Deliver a recorded answer to the turn that waits for it, when it has a slot."""
        turn = owner.open.get(call.turn)
        if turn is None or not call.claimed or call.id not in turn.outstanding:
            return
        slots = self.state.slots
        if len(turn.outstanding) == 1 and slots.used >= slots.limit:
            slots.line_up_answer(call.id)
            return
        self.send_answer(owner, turn, call)

    def send_answer(self, owner: ActorRecord, turn: Turn, call: Call) -> None:
        """Send the recorded answer; the turn no longer waits for it."""
        if call.answer is None:
            return
        turn.outstanding.discard(call.id)
        self.count_slots(owner)
        self.state.dirty[owner.id] = None
        answer = call.answer
        if answer.sequence:  # sent before, to an earlier attempt or in an earlier epoch
            answer = call.answer = answer.copy()
            answer.flags |= Flag.RECORDED
        answer.correlation = call.correlation
        if answer.flags & _HAS_REFS and owner.id in self.state.actors:
            self.pass_handles(None, owner, answer)
        self.state.post(owner, answer)

    def resume_next(self, call_id: int) -> None:
        """A slot is free: let the turn that waits for this call go on."""
        call = self.state.calls.get(call_id)
        owner = self.state.actors.get(call.owner) if call is not None else None
        if call is not None and owner is not None:
            turn = owner.open.get(call.turn)
            if turn is not None and call.id in turn.outstanding:
                self.send_answer(owner, turn, call)

    def forget_call(self, call: Call) -> None:
        """Drop a call with its records."""
        changes = self.state.output.changes
        if call.answer is not None:
            changes.delete("answer", call.id)
        elif call.receiver == 0:
            changes.delete("message", call.id)
            self._end_request(call)
        if call.receiver == 0 and call.items:
            changes.delete("llm_stream", call.id)
        for number in range(len(call.items) if call.receiver else 0):
            changes.delete("item", (call.id, number))
        digest = self.state.keys_of_calls.pop(call.id, None)
        if digest is not None:  # it was cancelled: who uses the key again shall not wait for it
            self.state.keyed.pop(digest, None)
            changes.delete("keyed", digest)
        self.state.calls.drop(call)

    def _end_request(self, call: Call) -> None:
        """A call to the kernel has its answer, or nobody waits for it any more."""
        self.state.timers.cancel(Due.DEADLINE, call.id)
        self.state.llm.ended_calls.append(call.id)

    def save_request(self, call: Call) -> None:
        """Journal a call to the kernel that is answered later."""
        due_ns = self.state.timers.due_at(Due.DEADLINE, call.id)
        due_wall_ns = self.state.to_wall(due_ns) if due_ns is not None else 0
        row = (call.request, self.state.wall_ns, due_wall_ns)
        self.state.output.changes.put("message", call.id, row)

    def is_followed(self, call: Call) -> bool:
        """Say whether others wait for the same answer, by its idempotency key."""
        digest = self.state.keys_of_calls.get(call.id)
        return digest is not None and any(
            self.state.calls.get(other) is not None
            for other in self.state.followers.get(digest, ())
        )

    def release_calls(self, message: Message) -> None:
        """A new attempt at the message begins: it has asked nothing yet, under no number."""
        self.state.calls.release_claims(message.id)
        for call in list(self.state.calls.of_turn(message.id)):
            if call.correlation:
                self.renumber(call, 0)

    def renumber(self, call: Call, correlation: int) -> None:
        """Journal by which number the asker's incarnation knows the call; 0: not asked yet."""
        state = self.state
        state.calls.reattach(call, call.owner, correlation)
        message = state.messages.get(call.id)
        if call.answer is not None:
            call.answer = call.answer.copy()
            call.answer.correlation = correlation
            state.output.changes.put("answer", call.id, (call.answer,))
        elif message is not None:
            message.envelope = message.envelope.copy()
            message.envelope.correlation = correlation
            self.save_message(message)
        elif call.request is not None:
            call.request = call.request.copy()
            call.request.correlation = correlation
            self.save_request(call)

    # --- cancellation -------------------------------------------------------------------

    def cancel_call(self, call: Call) -> None:
        """The asker no longer wants the answer: forget the call and stop the work below it."""
        self.forget_call(call)
        message = self.state.messages.get(call.id)
        if message is not None:
            self.cancel_message(message)

    def drop_calls(self, message: Message) -> None:
        """Forget the calls that a message's turn has made; cancel those under way."""
        for call in list(self.state.calls.of_turn(message.id)):
            self.cancel_call(call)

    def cancel_message(self, message: Message) -> None:
        """Stop the work on a message; it has ended from here on, and is not retried."""
        receiver = self.state.actors.get(message.receiver)
        turn = receiver.open.get(message.id) if receiver is not None else None
        self.state.counters.add("cancelled")
        if receiver is None or turn is None:
            self.unqueue(message)
            self.end_message(message)
            self.drop_calls(message)  # of an attempt that crashed
            return
        if turn.is_cancelled:
            return
        turn.is_cancelled = True
        self.end_message(message)
        self.drop_calls(message)
        turn.outstanding.clear()
        self.withdraw_waits([turn])
        self.count_slots(receiver)
        self.state.post(receiver, Envelope(Kind.CANCEL, 0, receiver.id, turn=message.id))

    def expire(self, message_id: int) -> None:
        """A deadline has passed."""
        state = self.state
        call = state.calls.get(message_id)
        message = state.messages.get(message_id)
        if call is not None and not call.is_finished:
            state.counters.add("deadlines_missed")
            self.answer_error(call, AskTimeoutError(receiver=state.name_of(call.receiver)))
            if message is not None:
                self.cancel_message(message)
        elif message is not None and call is None:
            receiver = state.actors.get(message.receiver)
            if receiver is None or message_id not in receiver.open:
                state.counters.add("expired")
                self.unqueue(message)
                self.accept_held(message)
                self.dead_letter(message, "expired", None)

    def refuse(self, peer: Peer, envelope: Envelope, error: LLMOSError) -> None:
        """Tell a peer that what it sent was not taken; nothing of it was applied.

        A refused ask is one that was answered at once: its number is covered from now on, so
        the refusal must outlive this kernel, as must that of a client's tell.
        """
        self.state.counters.add("refused")
        body = encode_plain(to_wire(error))
        if envelope.kind == Kind.ASK and not isinstance(error, TurnTooLargeError):
            self.answer_at_once(peer, envelope, Envelope(Kind.ERROR, payload=body))
            return
        refusal = Envelope(
            Kind.REFUSED,
            0,
            peer.id,
            body,
            correlation=envelope.correlation,
            index=envelope.sequence & 0xFFFFFFFF,
        )
        if envelope.kind == Kind.TELL and isinstance(peer, Session):
            self.answer_at_once(peer, envelope, refusal)
        else:
            self.state.post(peer, refusal)

    def answer_at_once(self, peer: Peer, envelope: Envelope, answer: Envelope) -> None:
        """Answer what a peer has sent without making a message of it; recorded like any answer."""
        envelope.sender, envelope.message = peer.id, self.state.new_id()
        if isinstance(peer, Session):
            envelope.turn = 0
        call = Call(envelope.message, envelope)
        self.state.calls.add(call)
        turn = peer.open.get(call.turn) if isinstance(peer, ActorRecord) else None
        if turn is not None and isinstance(peer, ActorRecord):
            turn.outstanding.add(call.id)
            self.count_slots(peer)
        self.finish_call(call, answer)

    def acknowledged(self, peer: Peer, mark: int) -> None:
        """A peer has taken what was sent to it up to ``mark``; a client's answers are done with."""
        channel = peer.channel
        if channel is None:
            return
        done = channel.acknowledge(min(mark, channel.next_sequence - 1))
        if isinstance(peer, Session):
            for envelope in done:
                if envelope.kind in (Kind.REPLY, Kind.ERROR, Kind.REFUSED):
                    call = self.state.calls.get(envelope.message)
                    if call is not None and call.is_finished:
                        self.forget_call(call)

    def cancelled_error(self, receiver: int, reason: str) -> AskCancelledError:
        """Return the error for an asker whose ask was stopped below it."""
        return AskCancelledError(actor=self.state.name_of(receiver), reason=reason)


def again(answer: Envelope) -> Envelope:
    """Return an answer as one of its own, for another call."""
    return Envelope(
        answer.kind,
        payload=answer.payload,
        index=answer.index,
        flags=answer.flags | Flag.RECORDED,
        attachments=answer.attachments,
    )
