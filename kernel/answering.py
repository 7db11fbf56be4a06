"""Answers to calls, and the end of calls: finished, cancelled, refused, expired.

Every accepted message ends in exactly one of: a committed turn (kernel/turns.py); for an ask, its
asker told; a dead letter.

Invariant:
  D2  a call is pending exactly while its message is, and else has its answer in the journal.

Cost: O(1) a call.
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.errors import (
    AskCancelledError,
    AskTimeoutError,
    LLMOSError,
    TurnTooLargeError,
    to_wire,
)
from ipc.plain import encode_plain
from ipc.protocol import Flag, Kind
from kernel.acceptance import Acceptance
from kernel.actor_record import ActorRecord, Turn
from kernel.calls import Call
from kernel.mailbox import Message
from kernel.peers import Session
from kernel.state import Keyed, Peer
from kernel.timers import Due

NOTHING = encode_plain(None)
_HAS_REFS = int(Flag.HAS_REFS)


class Answering(Acceptance):
    """See the module head."""

    def dead_letter(self, message: Message, reason: str, error: LLMOSError | None) -> None:
        """Keep the message as a dead letter and end it, with the calls its attempts have made."""
        self.drop_calls(message)
        envelope = message.envelope
        if message.pool:  # whoever sends it again sends it to the pool
            envelope = envelope.copy()
            envelope.receiver = message.pool
        self.letters.keep(envelope, message.receiver, reason, error, message.attempts)
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
        envelope.sequence = 0  # the number it bore was its maker's
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
        if len(turn.outstanding) == 1:
            if slots.order is not None:
                message = turn.message
                priority = self.state.urgency.of(message)
                slots.order.line_up_answer(owner, message, call.id, self.state.now_ns, priority)
                return
            if slots.used >= slots.limit:
                slots.line_up_answer(call.id)
                return
            if self.state.grants is not None:
                self.state.grants.add(turn.message, self.state.wall_ns, is_answer=True)
        self.send_answer(owner, turn, call)

    def line_up_again(self, call_id: int) -> None:
        """The line of those who want a slot is ordered anew: the turn of this call was in it."""
        call = self.state.calls.get(call_id)
        owner = self.state.actors.get(call.owner) if call is not None else None
        if call is not None and owner is not None:
            self._resume(owner, call)

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
                if self.state.grants is not None:
                    self.state.grants.add(turn.message, self.state.wall_ns, is_answer=True)
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
        self.state.llm.end_call(call.id)

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
            self.state.save_request(call)

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
