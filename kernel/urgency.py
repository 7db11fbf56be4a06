"""How urgent work is: the priority it was sent with, or a more urgent one it has inherited.

Leaf: plain look-ups. Who inherits from whom is kernel/inheritance.py. Volatile: what was inherited
is found anew as turns are adopted by the next kernel.

Cost: O(1), but ``at`` is linear in the raised messages that wait at one agent. Nothing is kept
while nobody has inherited anything.
"""

from __future__ import annotations

from kernel.mailbox import PRIORITIES, Message

LEAST = PRIORITIES - 1  # the number of the least urgent priority


class Urgency:
    """See the module head. A smaller number is more urgent.

    least: the least urgent priority of any message so far: nothing more urgent can be in its way
    if it is not above.
    """

    __slots__ = ("_waiting", "_where", "inherited", "least")

    def __init__(self) -> None:
        self.least = 0
        self.inherited: dict[int, int] = {}  # by message
        self._waiting: dict[int, dict[int, int]] = {}  # by actor: raised messages it has not begun
        self._where: dict[int, int] = {}  # by such a message: that actor

    @property
    def is_empty(self) -> bool:
        """Say whether nothing is kept."""
        return not (self.inherited or self._waiting or self._where)

    def of(self, message: Message) -> int:
        """Return how urgent a message is, or the turn that handles it."""
        own = int(message.envelope.priority)
        return min(own, self.inherited.get(message.id, own)) if self.inherited else own

    def of_call(self, priority: int, turn: int) -> int:
        """Return how urgent a call is that a turn makes. turn: 0 outside turns."""
        return min(priority, self.inherited.get(turn, priority)) if self.inherited else priority

    def at(self, actor: int) -> int:
        """Return how urgent the raised messages are that wait for the actor; LEAST if none do."""
        waiting = self._waiting.get(actor)
        return min(waiting.values()) if waiting else LEAST

    def raise_to(self, message: int, priority: int, actor: int = 0) -> None:
        """Let a message inherit a priority. actor: it waits for that one to begin it; 0: begun."""
        self.inherited[message] = priority
        if actor:
            self._waiting.setdefault(actor, {})[message] = priority
            self._where[message] = actor

    def begin(self, message: int) -> None:
        """A message waits no more: its turn begins, or it has ended."""
        actor = self._where.pop(message, 0)
        if actor:
            waiting = self._waiting[actor]
            del waiting[message]
            if not waiting:
                del self._waiting[actor]

    def move(self, message: int, actor: int) -> None:
        """A message waits for another actor from here on: a member of the pool it was sent to."""
        priority = self.inherited.get(message)
        if priority is not None:
            self.begin(message)
            self.raise_to(message, priority, actor)

    def forget(self, message: int) -> None:
        """A message has ended."""
        if self.inherited.pop(message, None) is not None:
            self.begin(message)
