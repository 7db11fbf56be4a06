"""One actor's pending messages: ordered, bounded, with a line of those who wait for room.

Mechanism only: who runs next is decided in kernel/slots.py, what survives a crash in the
journal. A message counts against the limits from acceptance until its turn has committed.

Invariants (``check_integrity``):
  I1  messages of one (sender, priority) lane leave ``next`` in the order of ``order``.
  I2  a lower priority number leaves first; within one, the lower ``order``.
  I3  used + lent <= limit, except by reserved traffic and counted overrides (``force``).
  I4  a lane that is held back holds back no other lane.

Cost: put and next are O(1) while no lane is held back. Owner: the core's loop.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections import deque
from dataclasses import dataclass

from ext.wire import Envelope

PRIORITIES = 8


class Message:
    """An accepted message. ``order`` is its place; an operator's retry gets a new one."""

    __slots__ = (
        "accepted_wall_ns",
        "attempts",
        "due_ns",
        "envelope",
        "granted",
        "held",
        "id",
        "is_unpaid",
        "order",
        "pool",
        "receiver",
        "reserved",
        "sender",
        "size",
    )

    def __init__(self, identifier: int, receiver: int, envelope: Envelope) -> None:
        self.id = identifier
        self.order = identifier
        self.receiver = receiver
        self.sender = envelope.sender
        self.envelope = envelope
        self.size = envelope.size
        self.attempts = 0
        self.due_ns = 0  # monotonic; 0 = no deadline
        self.accepted_wall_ns = 0
        self.held = False  # waits for room, or is unpaid: in no mailbox
        self.is_unpaid = False  # waits for its sender's budget (kernel/budget/postage.py)
        self.reserved = False  # came through room of its own: not counted against the limit
        self.granted = False  # has been sent to an agent before
        self.pool = 0  # the pool it was sent to, while it is one of its messages


@dataclass(slots=True)
class Reservation:
    """An agent's turn that waits for room for tells it has not committed yet."""

    sender: int
    turn: int
    correlation: int
    messages: int
    size: int


Waiter = Message | Reservation


class Mailbox:
    """See the module head."""

    __slots__ = (
        "_blocked",
        "_first",
        "_lanes",
        "lent_bytes",
        "lent_messages",
        "limit_bytes",
        "limit_messages",
        "num_queued",
        "used_bytes",
        "used_messages",
        "waiting",
    )

    def __init__(self, limit_messages: int, limit_bytes: int) -> None:
        self.limit_messages = limit_messages
        self.limit_bytes = limit_bytes
        self.used_messages = 0
        self.used_bytes = 0
        self.lent_messages = 0
        self.lent_bytes = 0
        self.waiting: deque[Waiter] = deque()
        self._lanes: list[deque[Message]] = [deque() for _ in range(PRIORITIES)]
        self._first = PRIORITIES  # no lane below it holds anything
        self._blocked: dict[tuple[int, int], list[Message]] = {}
        self.num_queued = 0  # neither granted nor waiting for room

    def __len__(self) -> int:
        """Return the number of messages queued (neither granted nor waiting for room)."""
        return self.num_queued

    @property
    def is_blocked_only(self) -> bool:
        """Say whether all that is queued stands in lanes that are held back."""
        return self.num_queued > 0 and not any(self._lanes)

    def has_room(self, messages: int, size: int) -> bool:
        """Say whether that much fits within the limits; an empty mailbox takes any one message."""
        if self.used_messages + self.lent_messages == 0 and messages == 1:
            return True
        return (
            self.used_messages + self.lent_messages + messages <= self.limit_messages
            and self.used_bytes + self.lent_bytes + size <= self.limit_bytes
        )

    def is_open_to(self, size: int) -> bool:
        """Say whether one message of this size would enter at once, without standing in line."""
        return not self.waiting and self.has_room(1, size)

    def has_double_room(self, messages: int, size: int) -> bool:
        """Say whether that much stays within twice the limits (breaking a ring of waiters)."""
        return (
            self.used_messages + self.lent_messages + messages <= 2 * self.limit_messages
            and self.used_bytes + self.lent_bytes + size <= 2 * self.limit_bytes
        )

    def count(self, message: Message) -> None:
        """Charge the message to the mailbox until ``discharge``."""
        if not message.reserved:
            self.used_messages += 1
            self.used_bytes += message.size

    def discharge(self, message: Message) -> None:
        """The message has ended: its room is free."""
        if not message.reserved:
            self.used_messages -= 1
            self.used_bytes -= message.size

    def put(self, message: Message) -> None:
        """Append to the tail of its lane; one that had to wait for room takes its own place."""
        priority = message.envelope.priority
        queue = self._lanes[priority]
        if (self._blocked and (message.sender, priority) in self._blocked) or (
            queue and queue[-1].order > message.order
        ):
            self.put_back([message])
            return
        self.num_queued += 1
        queue.append(message)
        if priority < self._first:
            self._first = priority

    def put_back(self, messages: list[Message]) -> None:
        """Return granted messages to their places (a crash, a refused commit)."""
        self.num_queued += len(messages)
        for message in sorted(messages, key=lambda item: item.order, reverse=True):
            lane = (message.sender, message.envelope.priority)
            if lane in self._blocked:
                insort(self._blocked[lane], message, key=lambda item: item.order)
            else:
                self._merge(message.envelope.priority, [message])

    def next(self) -> Message | None:
        """Remove and return the next message, or None when nothing may start."""
        lanes = self._lanes
        for first in range(self._first, PRIORITIES):
            if lanes[first]:
                self._first = first
                self.num_queued -= 1
                return lanes[first].popleft()
        self._first = PRIORITIES
        return None

    def peek(self) -> Message | None:
        """Return what ``next`` would return, and leave it there."""
        for lane in self._lanes[self._first :]:
            if lane:
                return lane[0]
        return None

    def block(self, sender: int, priority: int) -> None:
        """Hold the (sender, priority) lane back until ``unblock``."""
        if (sender, priority) in self._blocked:
            return
        lane = self._lanes[priority]
        held = [message for message in lane if message.sender == sender]
        if held:
            self._lanes[priority] = deque(item for item in lane if item.sender != sender)
        self._blocked[sender, priority] = held

    def unblock(self, sender: int, priority: int) -> None:
        """Let the lane go on, each of its messages at its own place."""
        held = self._blocked.pop((sender, priority), [])
        self._merge(priority, held)

    def has_before(self, message: Message) -> bool:
        """Say whether an earlier message of the same lane is queued that it must not overtake.

        One that a member of a pool takes over comes after those that it had begun already.
        """
        lane = (message.sender, message.envelope.priority)
        for item in self._blocked.get(lane, self._lanes[lane[1]]):
            if item.order >= message.order:
                return False
            if item.sender == message.sender and (item.attempts or not message.pool):
                return True
        return False

    def remove(self, message: Message) -> bool:
        """Take a queued message out; False when it is not queued."""
        lane = (message.sender, message.envelope.priority)
        queue = self._blocked.get(lane, self._lanes[message.envelope.priority])
        try:
            queue.remove(message)
        except ValueError:
            return False
        self.num_queued -= 1
        return True

    def queued(self) -> list[Message]:
        """Return all queued messages in order, those held back included."""
        everything = [message for lane in self._lanes for message in lane]
        everything += [message for held in self._blocked.values() for message in held]
        return sorted(everything, key=lambda item: (item.envelope.priority, item.order))

    def free(self) -> list[Message]:
        """Return the queued messages that no lane holds back, in order."""
        return [message for lane in self._lanes for message in lane]

    def _merge(self, priority: int, messages: list[Message]) -> None:
        lane = self._lanes[priority]
        if not messages:
            return
        self._first = min(self._first, priority)
        if not lane or messages[-1].order < lane[0].order:
            lane.extendleft(reversed(messages))
            return
        merged = heapq.merge(messages, lane, key=lambda item: item.order)
        self._lanes[priority] = deque(merged)

    def check_integrity(self) -> None:
        """Verify the invariants; for tests. Raises AssertionError."""
        for lane in self._lanes:
            orders = [message.order for message in lane]
            assert orders == sorted(orders), "I1/I2"
            assert not any((m.sender, m.envelope.priority) in self._blocked for m in lane), "I4"
        assert not any(self._lanes[: self._first])
        held = sum(len(messages) for messages in self._blocked.values())
        assert self.num_queued == sum(map(len, self._lanes)) + held
        assert min(self.used_messages, self.used_bytes, self.lent_messages, self.lent_bytes) >= 0
