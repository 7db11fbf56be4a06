"""Messages from acceptance to their mailbox, and out of it when they end; room and handles.

What happens to a message's turn is kernel/turns.py's, what is answered kernel/answering.py's, who
is granted what kernel/delivery.py's.

Invariants:
  D1  a message in ``state.messages`` is in its receiver's queue, in its line of waiters, in its
      ``open`` turns, or unpaid (kernel/budget/postage.py), and in the journal.
  D3  a turn is parked exactly while it waits for calls, for room, or for budget;
      ``record.slots`` counts the unparked ones, ``state.slots.used`` their sum.

Cost: O(1) a message, except where a lane is held back or a mailbox is full.
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.envelope import split_refs
from ipc.errors import (
    ActorDeadError,
    NoCapabilityError,
    UnknownActorError,
)
from ipc.ids import is_session
from ipc.plain import encode_plain
from ipc.protocol import Flag, Kind
from kernel.actor_record import ActorRecord, Turn
from kernel.inheritance import Inheritance
from kernel.letters import Letters
from kernel.mailbox import Message, Reservation
from kernel.peers import Session
from kernel.pools.routing import PoolRouting
from kernel.program import root_trace
from kernel.room import Room
from kernel.state import KernelState, Peer
from kernel.timers import Due

_HAS_REFS = int(Flag.HAS_REFS)


class Acceptance:
    """See the module head."""

    def __init__(self, state: KernelState) -> None:
        self.state = state
        self.room = Room(state)
        self.letters = Letters(state)
        self.inheritance = Inheritance(state)
        self.routing = PoolRouting(state)

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
        self.state.give_handle(holder, target)

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
        if envelope.priority > state.urgency.least:
            state.urgency.least = envelope.priority
        state.output.changes.put_new("message", identifier, (envelope, state.wall_ns, due_wall_ns))
        return message

    def save_message(self, message: Message) -> None:
        """Journal an accepted message whose envelope has changed."""
        self.state.save_message(message)

    def enqueue(self, receiver: ActorRecord, message: Message) -> None:
        """Put an accepted message into the mailbox; its room is taken here."""
        if receiver.pool is not None:
            self.routing.route(receiver, message)
            return
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
        message = self.accept(receiver, envelope, reserved=True)
        envelope.trace = root_trace(message.id)
        self.enqueue(receiver, message)

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
            self.release_wish(receiver, wish)
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

    def release_wish(self, receiver: ActorRecord, wish: Reservation) -> None:
        """Somebody waits for room no more: nor is budget reserved for it."""
        borrower = self.state.actors.get(wish.sender)
        if borrower is not None and borrower.paid:
            self.room.release_paid(borrower, receiver.id, wish.messages, wish.size)

    def withdraw_waits(self, turns: list[Turn]) -> None:
        """Take the reservations of turns that wait no more out of the lines."""
        for turn in turns:
            if turn.budget_waits:
                for standing in turn.budget_waits.values():
                    self.state.budgets.give_up(standing)
                turn.budget_waits = None
            for target in turn.reservations:
                receiver = self.state.actors.get(target)
                if receiver is not None:
                    waiting = receiver.mailbox.waiting
                    for waiter in [w for w in waiting if not isinstance(w, Message)]:
                        if waiter.turn == turn.message.id:
                            waiting.remove(waiter)
                            self.release_wish(receiver, waiter)
                    self.state.dirty[target] = None  # who stood behind them may have room
            turn.reservations.clear()

    def count_slots(self, record: ActorRecord) -> None:
        """Bring the slots that an actor holds in line with its turns (D3)."""
        turns, slots = record.open, self.state.slots
        if slots.order is not None:
            held = slots.order.account(record, self.state.now_ns)
        elif record.concurrency == 1:
            held = 0 if not turns or next(iter(turns.values())).is_parked else 1
        else:
            parked = sum(turn.is_parked for turn in turns.values())
            held = max(0, min(record.concurrency, len(turns)) - parked)
        if record.is_stopped:
            held = 0
        if held != record.slots:
            slots.change(held - record.slots, self.state.now_ns)
            record.slots = held
            if record.solo:
                self.state.dirty[record.id] = None  # while one waits, the next may run

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
        if state.urgency.inherited:
            state.urgency.forget(message.id)
        if message.is_unpaid:
            self._forget_unpaid(message)
        if state.spawned:
            for child in state.spawned.pop(message.id, ()):
                state.doomed[child] = "the turn that spawned it never committed"
        if state.llm.made:
            state.llm.undo(message.id)
        receiver = state.actors.get(message.receiver)
        if receiver is not None:
            if message.pool:
                self.routing.end(message)
            elif not message.held:
                receiver.mailbox.discharge(message)
            if receiver.solo:
                receiver.solo.discard(message.id)
            state.dirty[receiver.id] = None

    def _forget_unpaid(self, message: Message) -> None:
        """An unpaid message ends; its sender may go on if it was the last."""
        self.state.budgets.forget_unpaid(message)
        self.state.output.changes.delete("unpaid", message.id)
        sender = self.state.actors.get(message.sender)
        if sender is not None and sender.id not in self.state.budgets.unpaid:
            sender.suspended.discard("messages")
            self.state.dirty[sender.id] = None

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
