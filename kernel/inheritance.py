"""Priority inheritance: who holds up an urgent ask is as urgent as the ask, until it is done.

An ask waits for the turns its receiver is busy with, for what stands before it in the mailbox, and
for whatever these wait for in turn: their own asks, LLM calls, room at others. If any of that is
less urgent, others of middling urgency come before it and so hold up the urgent ask: priority
inversion. So it inherits: a turn keeps the priority until it ends, and the calls it makes meanwhile
have it too. It counts wherever priorities do: in the line for slots under the policy ``priority``,
and among LLM requests. Order within a mailbox does not change: what an urgent message stands behind
is hurried along instead.

Tells are waited for by nobody and hand nothing on. Deadlines are not inherited this way.

Invariant: nobody is raised twice to the same priority, so a ring of waits ends the search.
Cost: none where all priorities are equal (one comparison an ask); else O(turns and calls raised).
"""

from __future__ import annotations

from ipc.protocol import Kind
from kernel.actor_record import ActorRecord, Turn
from kernel.mailbox import Message
from kernel.state import KernelState


class Inheritance:
    """See the module head."""

    def __init__(self, state: KernelState) -> None:
        self.state = state

    def on_ask(self, message: Message, turn: int) -> None:
        """An ask has been accepted. turn: of its asker; 0 outside turns."""
        urgency = self.state.urgency
        own = int(message.envelope.priority)
        priority = urgency.of_call(own, turn)
        receiver = self.state.actors.get(message.receiver)
        if receiver is None or message.id not in self.state.messages:
            return
        if priority < own or (message.held and priority < urgency.least):
            self._hurry(receiver, message.id, priority)
        elif priority < urgency.least:
            self._raise(_holders(receiver, priority))

    def on_granted(self, record: ActorRecord, message: Message) -> None:
        """A message's turn begins; more urgent ones may wait behind it. Called if any inherited."""
        urgency = self.state.urgency
        urgency.begin(message.id)
        priority = urgency.at(record.id)
        if priority < urgency.of(message):
            urgency.raise_to(message.id, priority)

    def on_adopted(self, record: ActorRecord) -> None:
        """Turns of an agent that began under another kernel are known again."""
        urgency = self.state.urgency
        asks = [m for m in record.mailbox.queued() if m.envelope.kind == Kind.ASK]
        priority = min((urgency.of(ask) for ask in asks), default=urgency.least)
        if priority < urgency.least:
            self._raise(_holders(record, priority))
        for turn in record.open.values():
            inherited = urgency.inherited.get(turn.message.id)
            if inherited is not None:
                urgency.begin(turn.message.id)
                self._raise(self._below(turn, inherited))

    # --- the search -----------------------------------------------------------------------

    def _hurry(self, receiver: ActorRecord, message: int, priority: int) -> None:
        """An urgent message waits for an agent, and does not stand where its urgency would put it.

        All the agent runs until that is done is as urgent.
        """
        self.state.urgency.raise_to(message, priority, receiver.id)
        self.state.dirty[receiver.id] = None  # it may stand in line for a slot
        self._raise(_holders(receiver, priority))

    def _raise(self, found: list[tuple[Turn, int]]) -> None:
        """Raise these turns, and all they wait for."""
        state = self.state
        while found:
            turn, priority = found.pop()
            number = turn.message.id
            if turn.is_cancelled or state.urgency.of(turn.message) <= priority:
                continue
            state.urgency.raise_to(number, priority)
            state.counters.add("priorities_inherited")
            if state.slots.order is not None:
                state.slots.order.raise_priority(number, priority, state.now_ns)
            found += self._below(turn, priority)

    def _below(self, turn: Turn, priority: int) -> list[tuple[Turn, int]]:
        """Return the turns that hold up this one; what has not begun is hurried along."""
        found: list[tuple[Turn, int]] = []
        for target in turn.reservations:
            receiver = self.state.actors.get(target)
            if receiver is not None:
                found += [(other, priority) for other in receiver.open.values()]  # room is theirs
        for identifier in sorted(turn.outstanding):
            call = self.state.calls.get(identifier)
            if call is None or call.is_finished:
                continue
            message = self.state.messages.get(identifier)
            if message is not None:
                found += self._of_message(message, priority)
            elif call.receiver == 0:
                self.state.llm.urge(identifier, priority)
        return found

    def _of_message(self, message: Message, priority: int) -> list[tuple[Turn, int]]:
        receiver = self.state.actors.get(message.receiver)
        if receiver is None or self.state.urgency.of(message) <= priority:
            return []
        turn = receiver.open.get(message.id)
        if turn is not None:
            return [(turn, priority)]
        self.state.urgency.raise_to(message.id, priority, receiver.id)
        self.state.dirty[receiver.id] = None
        return _holders(receiver, priority)


def _holders(receiver: ActorRecord, priority: int) -> list[tuple[Turn, int]]:
    """Return the turns that keep an actor from beginning another one, if they do."""
    if len(receiver.open) < receiver.concurrency:
        return []
    return [(turn, priority) for turn in receiver.open.values()]
