"""Room in other actors' mailboxes, lent by the kernel before a tell is made.

A tell inside a turn takes from what is lent for its receiver; if that is too little, it asks for
what it lacks (RESERVE) and waits for CREDIT. So a commit never waits. What is left over stays
lent for the next turn until the kernel recalls it.

Invariants:
  I1  tells to one receiver take room in the order they were made.
  I2  room taken by a turn that ends without a commit goes back to what is lent.
  I3  in a new kernel epoch nothing is lent; who waits asks again.

Cost: two dict lookups a tell while room is lent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ext.waiter import Waiter
from ext.wire import Envelope
from ipc.errors import LLMOSError
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Kind

if TYPE_CHECKING:
    from actors.calls import CallTable

Taken = dict[int, list[int]]  # receiver -> [messages, bytes]


class _Wait(Waiter):
    """One tell that waits for room."""

    __slots__ = ("correlation", "flags", "receiver", "size", "turn")

    def __init__(self, table: CallTable, receiver: int, size: int, turn: int, flags: int) -> None:
        super().__init__(table.loop)
        self.correlation = 0
        self.receiver = receiver
        self.size = size
        self.turn = turn
        self.flags = flags


class Room:
    """See the module head."""

    def __init__(self, sender: int, calls: CallTable, post: Callable[[Envelope], None]) -> None:
        self.epoch = 0  # counts resets, so that a turn knows whether what it took still counts
        self._sender = sender
        self._calls = calls
        self._post = post
        self._lent: Taken = {}
        self._recalled: set[int] = set()
        self._waiting: dict[int, deque[_Wait]] = {}

    def take_nowait(self, receiver: int, size: int) -> bool:
        """Take room for one message if it is lent and nobody waits before us."""
        lent = self._lent.get(receiver)
        if lent is None or lent[0] < 1 or lent[1] < size or receiver in self._waiting:
            return False
        lent[0] -= 1
        lent[1] -= size
        return True

    async def take(self, receiver: int, size: int, turn: int, *, flags: int = 0) -> int:
        """Take room for one message, waiting for it; return the epoch in which it was taken.

        Raises:
            MailboxFullError: there is none, and NOWAIT or a ring of waiters forbids waiting.
            BudgetExceededError: the agent's budget has none, and NO_BUDGET_WAIT or NOWAIT is set.
        """
        if self.take_nowait(receiver, size):
            return self.epoch
        wait = _Wait(self._calls, receiver, size, turn, flags)
        self._waiting.setdefault(receiver, deque()).append(wait)
        self._reserve(wait)
        try:
            return int(await wait)
        finally:
            self._serve(receiver)

    def credit(self, envelope: Envelope) -> None:
        """The kernel lends room."""
        messages, size = decode_plain(envelope.payload)
        lent = self._lent.setdefault(envelope.receiver, [0, 0])
        lent[0] += messages
        lent[1] += size
        self._recalled.discard(envelope.receiver)
        for wait in self._waiting.get(envelope.receiver, ()):
            if wait.correlation == envelope.correlation:
                wait.correlation = 0  # it has what it stood in line for
        self._serve(envelope.receiver)

    def refuse(self, correlation: int, error: LLMOSError) -> bool:
        """The kernel will not lend room; False if no tell here asked for it."""
        for waits in self._waiting.values():
            for wait in waits:
                if wait.correlation == correlation:
                    wait.correlation = 0
                    wait.fail(error)
                    self._serve(wait.receiver)
                    return True
        return False

    def recall(self, receiver: int) -> None:
        """Others wait for that room: give back what no turn has taken."""
        self._recalled.add(receiver)
        lent = self._lent.pop(receiver, None)
        if lent and any(lent):
            self._return(receiver, lent)

    def give_back(self, taken: Taken, epoch: int) -> None:
        """A turn ends without a commit: what it took is free again."""
        if epoch != self.epoch:
            return
        for receiver, (messages, size) in taken.items():
            if receiver in self._recalled:
                self._return(receiver, [messages, size])
                continue
            lent = self._lent.setdefault(receiver, [0, 0])
            lent[0] += messages
            lent[1] += size
            self._serve(receiver)

    def reset(self) -> None:
        """A new kernel epoch."""
        self.epoch += 1
        self._lent.clear()
        self._recalled.clear()
        for waits in self._waiting.values():
            for wait in waits:
                if not wait.is_done:
                    self._reserve(wait)

    def _reserve(self, wait: _Wait) -> None:
        wait.correlation = self._calls.new_correlation()
        self._post(
            Envelope(
                Kind.RESERVE,
                self._sender,
                wait.receiver,
                encode_plain([1, wait.size]),
                turn=wait.turn,
                correlation=wait.correlation,
                flags=wait.flags,
            )
        )

    def _return(self, receiver: int, amount: list[int]) -> None:
        self._post(Envelope(Kind.RETURN, self._sender, receiver, encode_plain(amount)))

    def _serve(self, receiver: int) -> None:
        """Give room to those who wait, in their order."""
        waits = self._waiting.get(receiver)
        if waits is None:
            return
        lent = self._lent.get(receiver, [0, 0])
        served = []
        while waits and (waits[0].is_done or (lent[0] >= 1 and lent[1] >= waits[0].size)):
            wait = waits.popleft()
            if wait.correlation:  # it stands in the kernel's line no more
                cancel = Envelope(Kind.CANCEL, self._sender, correlation=wait.correlation)
                self._post(cancel)
            if not wait.is_done:
                lent[0] -= 1
                lent[1] -= wait.size
                served.append(wait)
        if not waits:
            del self._waiting[receiver]
        for wait in served:
            wait.resolve(self.epoch)  # runs the handler, which may come back here: so at the end
