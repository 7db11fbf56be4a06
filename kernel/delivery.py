"""Grants: which messages an actor may have now.

What it is not: who runs first (kernel/slots.py), what a turn's commit means (kernel/turns.py). It
completes the stack that the other parts of the core stand on: acceptance, answers, grants.

Cost: O(1) a message granted.
"""

from __future__ import annotations

from ext.turn_line import Seat
from ipc.protocol import Flag
from kernel.actor_record import ActorRecord, Status, Turn
from kernel.answering import Answering
from kernel.mailbox import Message
from kernel.turn_order import TurnOrder

_REDELIVERED = int(Flag.REDELIVERED)
_STREAM = int(Flag.STREAM)


class Delivery(Answering):
    """See the module head."""

    def pump(self, record: ActorRecord, *, has_slot: bool = False) -> None:
        """Grant the actor what it may have now, or let it stand in line.

        has_slot: a free slot is kept for it: it was the first in line.
        """
        mailbox, slots = record.mailbox, self.state.slots
        if mailbox.waiting:
            self.admit_waiting(record)
        if slots.order is not None:
            self._pump_in_order(record, slots.order)
            return
        if not mailbox.num_queued:
            return
        if record.status is not Status.RUNNING or record.is_refusing or record.channel is None:
            return
        if record.suspended:
            return
        may_hold = self._may_hold(record)
        while mailbox.num_queued and len(record.open) < may_hold:
            if (
                record.slots < record.concurrency
                and (slots.used >= slots.limit or slots.waiting)
                and not has_slot
            ):
                slots.line_up(record.id)
                return
            message = mailbox.next()
            if message is None:
                return
            if 0 < message.due_ns <= self.state.now_ns:  # it has come back from a turn too late
                self.expire(message.id)
                continue
            self._grant(record, message)
            has_slot = False

    def _pump_in_order(self, record: ActorRecord, order: TurnOrder) -> None:
        """Let the actor stand in line with its next message, as the policy wants it, or leave."""
        if not self._line_up(record, order):
            order.leave(record, self.state.now_ns)

    def _line_up(self, record: ActorRecord, order: TurnOrder) -> bool:
        """Let the actor stand in line with its next message; False: it may not have one."""
        while (message := self._next_message(record)) is not None:
            if record.slots < record.concurrency:
                parents = self._parents(message) if order.is_by_path else ()
                priority = self._urgency(record, message)
                order.line_up(record, message, self.state.now_ns, priority, parents)
                return True
            record.mailbox.next()  # behind one that has the slot
            self._grant(record, message)
        return False

    def _parents(self, message: Message) -> tuple[int, ...]:
        """Return the turns that came before the message: its sender's, and what that had asked."""
        turn = int(message.envelope.turn)
        return (turn, *self.state.calls.finished_of(turn, is_to_kernel=False)) if turn else ()

    def _urgency(self, record: ActorRecord, message: Message) -> int:
        """Return how urgent the actor's next turn is: others may wait behind its message."""
        urgency = self.state.urgency
        if not urgency.inherited:
            return int(message.envelope.priority)
        return min(urgency.of(message), urgency.at(record.id))

    def _next_message(self, record: ActorRecord) -> Message | None:
        """Return the message that the actor may be granted next, but for the slot."""
        mailbox = record.mailbox
        if not mailbox.num_queued or record.is_refusing or record.channel is None:
            return None
        if record.status is not Status.RUNNING or record.suspended:
            return None
        if len(record.open) >= self._may_hold(record):
            return None
        while (message := mailbox.peek()) is not None:
            if not 0 < message.due_ns <= self.state.now_ns:
                break
            mailbox.next()  # it has come back from a turn too late
            self.expire(message.id)
        return message

    def grant_next(self, seat: Seat) -> None:
        """A slot is free, and it is the seat's turn."""
        state, order = self.state, self.state.slots.order
        assert order is not None
        if seat.call:
            self.resume_next(seat.call)
            return
        record = state.actors.get(seat.owner)
        message = self._next_message(record) if record is not None else None
        if record is None or message is None or message.id != seat.id:
            order.drop(seat, state.now_ns)
            if record is not None:
                state.dirty[record.id] = None
            return
        record.mailbox.next()
        self._grant(record, message)
        self._line_up(record, order)

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
        slots = self.state.slots
        if slots.waiting or (slots.order is not None and not self._is_roomy(record)):
            return concurrency
        if record.parent in self.state.pools:
            return 2 * concurrency  # what a member has not been granted an idle one can take
        return max(concurrency, self.state.config.turn_quantum)

    def _is_roomy(self, record: ActorRecord) -> bool:
        """Say whether messages may be granted ahead of a slot that nobody else can come to want."""
        return record.concurrency == 1 and self.state.max_turns <= self.state.slots.limit

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
        if state.urgency.inherited:
            self.inheritance.on_granted(record, message)
        record.open[message.id] = Turn(message)
        if record.slots < record.concurrency:
            self.count_slots(record)
        if state.grants is not None:
            state.grants.add(message, state.wall_ns)
        state.post(record, envelope)
