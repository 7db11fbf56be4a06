"""What an unfinished turn has made and asked goes with its message to another member of a pool.

Until its commit, all that a turn has made belongs to the turn, not to the member that runs it: its
calls, answered or under way, the children it has spawned, the LLM sessions it has opened. So the
member that begins the turn again finds every record valid: an answer names a child that lives, a
session that is open, and nothing that was done is done, or paid, twice.

    answered calls           their answers are the new member's, under its own numbers
    asks under way           it is their sender now, also in the mailbox they stand in
    calls to the kernel      it is who waits for them; completions go on (kernel/llm/handover.py)
    children of the turn     it is their parent, their accounts are below its account
    sessions of the turn     it owns them (kernel/llm/handover.py)
    handles                  it gets those the old member had

While no member can take the message the pool itself holds its place. All of it is journaled in the
loop turn that moves the message.

What it is not: which message goes where (kernel/pools/routing.py, kernel/pools/takeover.py).
Cost: O(what the turn has made), and O(handles); nothing for a turn that has asked nothing.
"""

from __future__ import annotations

from kernel.actor_record import ActorRecord
from kernel.budget.ownership import Ownership
from kernel.calls import Call
from kernel.mailbox import Message
from kernel.state import KernelState


class PoolHandover:
    """See the module head."""

    def __init__(self, state: KernelState) -> None:
        self.state = state

    def has_begun(self, turn: int) -> bool:
        """Say whether an attempt at the turn has made or asked for anything."""
        state = self.state
        if turn in state.spawned or turn in state.llm.made:
            return True
        return state.calls.num_of_turn(turn) > 0

    def hand_over(self, message: Message, before: int, after: int) -> None:
        """A message's receiver has changed: so does whose all that is which its turn has made."""
        state, turn = self.state, message.id
        if not self.has_begun(turn):
            return
        old, new = state.actors[before], state.actors[after]
        for target in sorted(old.handles):
            state.give_handle(new, target)
        for call in state.calls.of_turn(turn):
            self._give_call(call, new.id)
        for child in state.spawned.get(turn, ()):
            if child in state.actors:  # else it has ended by itself
                self._give_child(state.actors[child], new)
        state.llm.move(turn, new.id)

    def doing_for(self, turn: int) -> list[int]:
        """Return who has the asks of a turn, and those below them: an actor an ask."""
        found: list[int] = []
        turns = [turn] if self.state.calls.num_of_turn(turn) else []
        while turns:
            calls = self.state.calls.of_turn(turns.pop())
            asked = [
                self.state.messages[call.id] for call in calls if call.id in self.state.messages
            ]
            found += [message.receiver for message in asked]
            turns += [message.id for message in asked]
        return found

    def _give_call(self, call: Call, owner: int) -> None:
        """Another receiver of the message waits for this call; journaled."""
        state = self.state
        message = state.messages.get(call.id)
        state.calls.reattach(call, owner, 0)
        if call.answer is not None:
            call.answer = call.answer.copy()
            call.answer.receiver = owner
            state.output.changes.put("answer", call.id, (call.answer,))
        elif message is not None:
            self._change_sender(message, owner)
        elif call.request is not None:
            call.request = call.request.copy()
            call.request.sender, call.request.correlation = owner, 0
            state.save_request(call)

    def _change_sender(self, message: Message, sender: int) -> None:
        """An ask under way is another's from here on, also where it stands in its mailbox."""
        mailbox = self.state.actors[message.receiver].mailbox
        is_queued = not message.held and mailbox.remove(message)
        message.sender = sender
        message.envelope = message.envelope.copy()
        message.envelope.sender = sender
        self.state.save_message(message)
        if is_queued:
            mailbox.put_back([message])

    def _give_child(self, child: ActorRecord, parent: ActorRecord) -> None:
        """A child that no commit has made its member's own gets the new one for a parent."""
        state = self.state
        state.tree.remove(child.parent, child.id)
        state.tree.add(parent.id, child.id)
        child.parent = parent.id
        state.give_handle(child, parent.id)
        if parent.account is not None and child.account is None:
            Ownership(state).ensure(child)
        if child.account is not None:
            state.budgets.tree.move(child.account, parent.account)
        state.save_actor(child)
