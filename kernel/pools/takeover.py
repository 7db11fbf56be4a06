"""Messages of a pool that go from one member to another: of one that is gone, or too busy.

A member of a pool is gone for good: what it had of the pool's messages goes to the others.

In the order of acceptance, each to its own place in its new mailbox, and counted. A turn that was
under way there has left nothing behind; another member begins it again, and all that it had made
and asked goes with it (kernel/pools/handover.py): nothing is asked or paid twice. Only what waits
for the old member's budget, and so has not begun, is forgotten, and asked anew; and, where nobody
else is left to take the turn, what the new member itself was doing for it.

A member that is idle while others have messages waiting takes some of those over too: messages
that no process has seen yet, so nothing is begun twice. That makes new members useful at once.

What it is not: crashes. Those are the supervisor's, and the messages stay with the member.
Invariant: the pool's room, the message's attempts and its deadline stay as they are.
Cost: O(messages), plus the policy's choice for each.
"""

from __future__ import annotations

from kernel.actor_record import ActorRecord, Status
from kernel.calls import Call
from kernel.delivery import Delivery
from kernel.mailbox import Message
from kernel.pools.pool import Hints, Member, Pool
from kernel.timers import Due


class PoolTakeover:
    """See the module head."""

    def __init__(self, delivery: Delivery) -> None:
        self.state = delivery.state
        self.delivery = delivery

    def evacuate(self, record: ActorRecord) -> None:
        """Give the pool's messages that an actor has to the other members of its pool."""
        pool = self.state.pools.get(record.parent)
        if pool is None or pool.is_ending or record.id not in pool.members:
            return
        messages = self._take_open(record) + self._take_queued(record)
        moving = [(message, pool.leave(message.id)) for message in messages]
        for message, job in sorted(moving, key=lambda pair: pair[0].order):
            assert job is not None  # P1
            if message.id in self.state.messages:  # else ended out of the way of one before it
                self._move(record, pool, message, job.hints)
        self.delivery.count_slots(record)
        self.state.dirty[record.id] = None

    def relieve(self, pool: Pool) -> None:
        """Give each idle member half of what the busiest other has and was not granted yet.

        Messages with an affinity or an ``apart`` stay, and those whose lane is held back.
        """
        if len(pool.jobs) <= len(pool.members):
            return
        for idle in pool.members.values():
            actor = self.state.actors[idle.id]
            if idle.replica.outstanding or idle.is_draining or actor.status is not Status.RUNNING:
                continue
            waiting = max(map(self._movable, pool.members), key=len)
            able = [message for message in waiting if _may_have(pool, message, idle)]
            for message in able[: (len(able) + 1) // 2]:
                self._pass_on(pool, message, idle)

    def _movable(self, actor: int) -> list[Message]:
        record = self.state.actors[actor]
        if record.status is not Status.RUNNING:
            return []  # it may have begun some under an earlier kernel, and has not said so yet
        return [message for message in record.mailbox.free() if self._is_unseen(message)]

    def _is_unseen(self, message: Message) -> bool:
        if not message.pool or message.granted or message.attempts:
            return False
        # Under an earlier kernel a process that is gone by now may have begun it.
        return not self.delivery.routing.handover.has_begun(message.id)

    def _pass_on(self, pool: Pool, message: Message, idle: Member) -> None:
        """Move a message that no process has seen."""
        self.state.actors[message.receiver].mailbox.remove(message)
        self.state.dirty[message.receiver] = None  # it may have stood in line for a slot with it
        job = pool.leave(message.id)
        assert job is not None  # P1
        pool.num_passed_on += 1
        self.delivery.routing.assign(pool, idle, message, job.hints)

    def _take_open(self, record: ActorRecord) -> list[Message]:
        turns = [turn for turn in record.open.values() if turn.message.pool]
        for turn in turns:
            del record.open[turn.message.id]
        self.delivery.withdraw_waits(turns)
        return [turn.message for turn in turns if not turn.is_cancelled]

    def _take_queued(self, record: ActorRecord) -> list[Message]:
        messages = [message for message in record.mailbox.queued() if message.pool]
        for message in messages:
            record.mailbox.remove(message)
        return messages

    def _move(self, record: ActorRecord, pool: Pool, message: Message, hints: Hints) -> None:
        record.solo.discard(message.id)
        self._begin_anew(message)
        pool.num_taken_over += 1
        self.state.counters.add("pool_taken_over")
        message.granted = True  # it may have been begun: its next grant says so
        if 0 < message.due_ns <= self.state.now_ns:  # it passed while the turn ran
            self.state.timers.set(Due.DEADLINE, message.id, message.due_ns)
        self.delivery.routing.place(self.state.actors[pool.id], pool, message, hints)
        self._clear_the_way(message)

    def _clear_the_way(self, message: Message) -> None:
        """End what a turn had asked where it would wait behind that; it asks the others anew."""
        receiver = self.state.actors[message.receiver]
        if receiver.pool is not None:
            return  # nobody has it yet
        doing_for = self.delivery.routing.handover.doing_for
        if doing_for(message.id).count(receiver.id) < receiver.concurrency:
            return
        for call in list(self.state.calls.of_turn(message.id)):
            asked = self.state.messages.get(call.id)
            if asked is not None and receiver.id in (asked.receiver, *doing_for(call.id)):
                self.delivery.cancel_call(call)

    def _begin_anew(self, message: Message) -> None:
        """Prepare the calls that the last attempt has made for one by another member."""
        self.delivery.release_calls(message)
        for call in list(self.state.calls.of_turn(message.id)):
            if not call.is_finished and self._has_not_begun(call):
                self.delivery.cancel_call(call)

    def _has_not_begun(self, call: Call) -> bool:
        """Say whether a call waits for its asker's budget: the new member asks it anew."""
        if call.id in self.state.budgets.held_calls:
            return True
        message = self.state.messages.get(call.id)
        return call.request is None and (message is None or message.is_unpaid)


def _may_have(pool: Pool, message: Message, member: Member) -> bool:
    """Say whether a message may be any member's that has its skill."""
    hints = pool.jobs[message.id].hints
    if hints.affinity or hints.apart:
        return False
    return not hints.skill or hints.skill in member.replica.skills
