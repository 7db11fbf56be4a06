"""What messages cost their sender: one message and its bytes, for each receiver.

The sender pays: asks when they are accepted, tells and publishes with the commit. For a tell the
amount is reserved together with the room for it (kernel/room.py), so that a turn waits where it
tells, not where it commits. What was not reserved (self-sends, publishes, tells of an earlier
kernel epoch) is paid at the commit if there is enough, else the message is accepted *unpaid*: it
waits, durably and in order, until its sender can pay. So a commit never fails for its budget, and
nothing is sent beyond it. Replies, items, timers and the kernel's own messages are free.

Invariants:
  B1  an unpaid message is in ``budgets.unpaid`` of its sender, in no mailbox, and in the journal
      with a row in ``unpaid``.
  B2  of one sender nobody overtakes an unpaid message; while it has any, it is granted nothing.
  B3  ``record.paid`` is what is reserved for tells to each receiver; its sum is in ``reserved``.

Cost: nothing for actors without an account; else O(depth) a message.
"""

from __future__ import annotations

from collections import deque
from functools import partial

from ext.wire import Envelope
from ipc.errors import ActorDeadError
from ipc.protocol import Flag, Kind
from kernel.actor_record import ActorRecord, Turn
from kernel.budget.accounts import Shortage
from kernel.delivery import Delivery
from kernel.mailbox import Message, Reservation

_REFUSES = int(Flag.NOWAIT | Flag.NO_BUDGET_WAIT)
UNPAID = "messages"  # why an actor with unpaid messages stands still


class Postage:
    """See the module head."""

    def __init__(self, delivery: Delivery) -> None:
        self.state = delivery.state
        self.budgets = delivery.state.budgets
        self.delivery = delivery

    # --- messages -------------------------------------------------------------------------

    def check(self, record: ActorRecord, envelope: Envelope) -> None:
        """Refuse an ask that would wait for budget, if its sender says so.

        Raises:
            BudgetExceededError: nothing was sent.
        """
        account = record.account
        if account is None or not envelope.flags & _REFUSES:
            return
        earlier = self.budgets.unpaid.get(record.id, ())
        size = envelope.size + sum(message.size for message in earlier)
        shortage = self.budgets.tree.shortage(account, _cost(1 + len(earlier), size))
        if shortage is not None:
            raise shortage.error()

    def send(self, record: ActorRecord, receiver: ActorRecord, message: Message) -> None:
        """Pay for an accepted message and enqueue it, or let it wait for its sender's budget."""
        if self._pay(record, message):
            self.delivery.enqueue_or_wait(receiver, message)

    def send_told(self, record: ActorRecord, receiver: ActorRecord, message: Message) -> None:
        """Do so with a tell of a commit, whose room was given back just now.

        What was reserved for it is used.
        """
        paid = record.paid.get(receiver.id)
        if paid is not None and self.delivery.room.take_paid(record, receiver.id, 1, message.size):
            assert record.account is not None
            if record.id not in self.budgets.unpaid:
                self.budgets.settle(record.account, _cost(1, message.size))
                self.delivery.enqueue(receiver, message)
                return
            self.budgets.tree.release(record.account, _cost(1, message.size))
        if self._pay(record, message):
            self.delivery.enqueue(receiver, message)
        else:
            self.state.dirty[receiver.id] = None  # others wait for that room

    def _pay(self, record: ActorRecord, message: Message) -> bool:
        """Charge a message, or let it wait behind its sender's others."""
        assert record.account is not None
        if record.id in self.budgets.unpaid:
            self._hold(record, message)
            return False
        cost = _cost(1, message.size)
        shortage = self.budgets.charge(record.account, cost, message.id)
        if shortage is not None:
            self._hold(record, message)
            self._stand(record, message, shortage)
        return shortage is None

    def _hold(self, record: ActorRecord, message: Message) -> None:
        message.held = message.is_unpaid = True
        self.budgets.unpaid.setdefault(record.id, deque()).append(message)
        self.state.output.changes.put("unpaid", message.id, ())
        self.state.counters.add("held_for_budget")
        record.suspended.add(UNPAID)

    def _stand(self, record: ActorRecord, message: Message, shortage: Shortage) -> None:
        assert record.account is not None
        attempt = partial(self._pay_waiting, record)
        waiter = self.budgets.wait(record.account, message.id, attempt, shortage)
        self.budgets.unpaid_waiters[record.id] = waiter
        self.recall(shortage)

    def _pay_waiting(self, record: ActorRecord) -> Shortage | None:
        """Send what was unpaid, in order, as far as the budget goes."""
        account, waiter = record.account, self.budgets.unpaid_waiters.pop(record.id)
        while account is not None and (line := self.budgets.unpaid.get(record.id)):
            message = line[0]
            shortage = self.budgets.charge(account, _cost(1, message.size), message.id)
            if shortage is not None:
                waiter.number = message.id
                self.budgets.unpaid_waiters[record.id] = waiter
                return shortage
            self.budgets.forget_unpaid(message)
            self._send_paid(message)
        self.resume(record)
        return None

    def _send_paid(self, message: Message) -> None:
        message.held = False
        self.state.output.changes.delete("unpaid", message.id)
        receiver = self.state.actors.get(message.receiver)
        if receiver is not None:
            self.delivery.enqueue_or_wait(receiver, message)

    def resume(self, record: ActorRecord) -> None:
        """No message of the actor is unpaid any more: it may be granted messages again."""
        if record.id not in self.budgets.unpaid:
            record.suspended.discard(UNPAID)
            self.state.dirty[record.id] = None

    def restore(self, record: ActorRecord, message: Message) -> None:
        """Take a message that the kernel before this one held unpaid; it is tried when it woke."""
        self._hold(record, message)
        if record.id not in self.budgets.unpaid_waiters and record.account is not None:
            needs = _cost(1, message.size)
            shortage = self.budgets.tree.shortage(record.account, needs)
            if shortage is None:  # the first loop turn pays it
                shortage = Shortage(record.account, "messages", 1)
                self.budgets.tree.freed[record.account.id, "messages"] = None
            self._stand(record, message, shortage)

    # --- room for tells -------------------------------------------------------------------

    def reserve(
        self, record: ActorRecord, turn: Turn, envelope: Envelope, wish: Reservation
    ) -> bool:
        """Reserve for a turn's tells; False: it waits, and ``admit`` goes on with it later.

        Raises:
            BudgetExceededError: it is not to wait. Nothing was reserved.
        """
        assert record.account is not None
        if not record.account.limits_sends:
            return True  # it pays with the commit
        needs = _cost(wish.messages, wish.size)
        number = self.state.new_id()
        shortage = self.budgets.take(record.account, needs, number)
        if shortage is None:
            self._note_paid(record, envelope.receiver, wish)
            return True
        if envelope.flags & _REFUSES:
            raise shortage.error()
        attempt = partial(self._reserve_waiting, record, turn, envelope, wish, number)
        waiter = self.budgets.wait(record.account, number, attempt, shortage)
        turn.budget_waits = turn.budget_waits or {}
        turn.budget_waits[wish.correlation] = waiter
        self.state.counters.add("held_for_budget")
        self.delivery.count_slots(record)
        self.recall(shortage)
        return False

    def _reserve_waiting(
        self,
        record: ActorRecord,
        turn: Turn,
        envelope: Envelope,
        wish: Reservation,
        number: int,
    ) -> Shortage | None:
        assert record.account is not None
        receiver = self.state.actors.get(envelope.receiver)
        if receiver is not None:
            needs = _cost(wish.messages, wish.size)
            shortage = self.budgets.take(record.account, needs, number)
            if shortage is not None:
                return shortage
        if turn.budget_waits:
            turn.budget_waits.pop(wish.correlation, None)
        self.delivery.count_slots(record)
        self.state.dirty[record.id] = None
        if receiver is None:
            name = self.state.name_of(envelope.receiver)
            gone = ActorDeadError(actor=name, reason="it was terminated")
            self.delivery.refuse(record, envelope, gone)
            return None
        self._note_paid(record, receiver.id, wish)
        self.admit(record, turn, receiver, wish)
        return None

    def _note_paid(self, record: ActorRecord, receiver: int, wish: Reservation) -> None:
        paid = record.paid.setdefault(receiver, [0, 0])
        paid[0] += wish.messages
        paid[1] += wish.size

    def admit(
        self, record: ActorRecord, turn: Turn, receiver: ActorRecord, wish: Reservation
    ) -> None:
        """Lend the room, or let the turn wait for that too; its budget is reserved."""
        mailbox = receiver.mailbox
        if not mailbox.waiting and mailbox.has_room(wish.messages, wish.size):
            self.delivery.room.grant_credit(receiver, record, wish)
            return
        mailbox.waiting.append(wish)
        turn.reservations.append(receiver.id)
        self.state.counters.add("held_for_room")
        self.delivery.count_slots(record)
        self.delivery.room.recall_credit(receiver)

    def recall(self, shortage: Shortage) -> None:
        """Ask for what is reserved for tells that were not made: others wait for it."""
        if shortage.resource not in ("messages", "bytes"):
            return
        for record in self.state.actors.values():
            account = record.account
            if record.paid and account is not None and shortage.account in account.path():
                for receiver in record.paid:
                    self.state.post(record, Envelope(Kind.RECALL, 0, receiver))


def _cost(messages: int, size: int) -> dict[str, int]:
    return {"messages": messages, "bytes": size}
