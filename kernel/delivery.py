"""Grants: which messages an actor may have now.

What it is not: who runs first (kernel/slots.py), what a turn's commit means (kernel/turns.py). It
completes the stack that the other parts of the core stand on: acceptance, answers, grants.

Cost: O(1) a message granted.
"""

from __future__ import annotations

from ipc.protocol import Flag
from kernel.actor_record import ActorRecord, Status, Turn
from kernel.answering import Answering
from kernel.mailbox import Message

_REDELIVERED = int(Flag.REDELIVERED)
_STREAM = int(Flag.STREAM)


class Delivery(Answering):
    """See the module head."""

    def pump(self, record: ActorRecord) -> None:
        """Grant the actor what it may have now."""
        mailbox, slots = record.mailbox, self.state.slots
        if mailbox.waiting:
            self.admit_waiting(record)
        if not mailbox.num_queued:
            return
        if record.status is not Status.RUNNING or record.is_refusing or record.channel is None:
            return
        if record.suspended:
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
