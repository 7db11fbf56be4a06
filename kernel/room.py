"""Room in mailboxes, lent to agents before they commit their tells.

Room is taken when a tell is made, so that a commit never waits (DESIGN 4a). Credit counts
against the mailbox that lent it, stays lent after the turn, and is recalled when others wait.
Credits are void in a new kernel epoch. An agent whose messages a budget limits is lent what it
asks for and no more: as much of the budget is reserved with it (``record.paid``,
kernel/budget/postage.py).

Invariant: a mailbox's ``lent_*`` are the sums of what its borrowers hold (``record.lent``).
Cost: O(1), but for ``recall_credit`` and its like, which look at all actors.
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.errors import MailboxFullError
from ipc.plain import encode_plain
from ipc.protocol import Kind
from kernel.actor_record import ActorRecord
from kernel.mailbox import Reservation
from kernel.state import KernelState

PREFETCHED_CREDIT = 256  # tells; lent beyond what was asked, if that is a small part of the rest
_SMALL_PART = 8  # an eighth: many borrowers find some, and a full mailbox lends what it must
_TELL_BYTES = 1024  # room that goes with one of them


class Room:
    """See the module head."""

    def __init__(self, state: KernelState) -> None:
        self.state = state

    def full_error(self, receiver: ActorRecord) -> MailboxFullError:
        """Return the error that says how full the mailbox is."""
        mailbox = receiver.mailbox
        return MailboxFullError(
            receiver=receiver.id,
            depth=mailbox.used_messages + mailbox.lent_messages,
            limit=mailbox.limit_messages,
            used_bytes=mailbox.used_bytes + mailbox.lent_bytes,
            limit_bytes=mailbox.limit_bytes,
        )

    def lend(self, receiver: ActorRecord, borrower: ActorRecord, messages: int, size: int) -> None:
        """Set room aside for tells that the borrower will commit."""
        receiver.mailbox.lent_messages += messages
        receiver.mailbox.lent_bytes += size
        entry = borrower.lent.setdefault(receiver.id, [0, 0])
        entry[0] += messages
        entry[1] += size

    def take_back(
        self, receiver: ActorRecord, borrower: ActorRecord, messages: int, size: int
    ) -> None:
        """Use up or return lent room; never more than was lent."""
        entry = borrower.lent.get(receiver.id)
        if entry is None:
            return
        messages, size = min(messages, entry[0]), min(size, entry[1])
        entry[0] -= messages
        entry[1] -= size
        receiver.mailbox.lent_messages -= messages
        receiver.mailbox.lent_bytes -= size
        if entry == [0, 0]:
            del borrower.lent[receiver.id]

    def take_back_all(self, borrower: ActorRecord) -> None:
        """Return all the room lent to an agent that is gone."""
        for target in list(borrower.lent):
            messages, size = borrower.lent.pop(target)
            receiver = self.state.actors.get(target)
            if receiver is not None:
                receiver.mailbox.lent_messages -= messages
                receiver.mailbox.lent_bytes -= size
                self.state.dirty[target] = None
        for target in list(borrower.paid):
            self.release_paid(borrower, target, *borrower.paid[target])

    def take_paid(self, borrower: ActorRecord, target: int, messages: int, size: int) -> bool:
        """Take so much from what is reserved of a budget for tells; False: it is not there."""
        paid = borrower.paid.get(target)
        if paid is None or paid[0] < messages or paid[1] < size:
            return False
        paid[0] -= messages
        paid[1] -= size
        if paid == [0, 0]:
            del borrower.paid[target]
        return True

    def release_paid(self, borrower: ActorRecord, target: int, messages: int, size: int) -> None:
        """Let go of what is reserved of a budget for tells that are not made, at most so much."""
        paid = borrower.paid.get(target)
        if paid is not None and borrower.account is not None:
            messages, size = min(messages, paid[0]), min(size, paid[1])
            self.take_paid(borrower, target, messages, size)
            amounts = {"messages": messages, "bytes": size}
            self.state.budgets.tree.release(borrower.account, amounts)

    def recall_credit(self, receiver: ActorRecord) -> None:
        """Ask those who hold unused room of a full mailbox to give it back."""
        if not receiver.mailbox.lent_messages:
            return
        for borrower in self.state.actors.values():
            if receiver.id in borrower.lent:
                self.state.post(borrower, Envelope(Kind.RECALL, 0, receiver.id))

    def grant_credit(self, receiver: ActorRecord, borrower: ActorRecord, wish: Reservation) -> None:
        """Lend what was asked, and more while there is plenty: the next tells need not ask."""
        mailbox = receiver.mailbox
        messages, size = wish.messages, wish.size
        free = mailbox.limit_messages - mailbox.used_messages - mailbox.lent_messages - messages
        free_bytes = mailbox.limit_bytes - mailbox.used_bytes - mailbox.lent_bytes - size
        part = min(free, free_bytes // _TELL_BYTES) // _SMALL_PART
        is_limited = borrower.account is not None and borrower.account.limits_sends
        if part > 0 and not mailbox.waiting and not is_limited:
            extra = min(part, PREFETCHED_CREDIT)
            messages, size = messages + extra, size + extra * _TELL_BYTES
        self.lend(receiver, borrower, messages, size)
        body = encode_plain([messages, size])
        credit = Envelope(Kind.CREDIT, 0, receiver.id, body, correlation=wish.correlation)
        self.state.post(borrower, credit)
