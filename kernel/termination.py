"""The end of an actor for good: everything it had is reclaimed in one record.

Its process tree is killed, the calls below it are cancelled, tells in its mailbox become
dead letters (``receiver_terminated``), asks are answered with ActorDeadError, its state,
timers, handles, subscriptions and mark are deleted, its name is free, its id is retired.
Its children end before it, those linked with it end too, those who monitor it are told.

Cost: O(what it had), plus O(actors) to take back the room that others had borrowed of it.
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.errors import ActorDeadError
from ipc.plain import encode_plain
from ipc.protocol import Kind
from kernel.actor_record import ActorRecord
from kernel.budget.accounts import Account
from kernel.delivery import Delivery
from kernel.effects import Effects
from kernel.incarnations import Incarnations
from kernel.mailbox import Message, Reservation
from kernel.pools.takeover import PoolTakeover
from kernel.supervision import Supervision
from kernel.timers import Due
from kernel.turns import Turns


class Termination:
    """See the module head."""

    def __init__(
        self,
        delivery: Delivery,
        turns: Turns,
        effects: Effects,
        incarnations: Incarnations,
        supervision: Supervision,
        takeover: PoolTakeover,
    ) -> None:
        self.state = delivery.state
        self.delivery = delivery
        self.turns = turns
        self.effects = effects
        self.incarnations = incarnations
        self.supervision = supervision
        self.takeover = takeover

    def terminate(self, record: ActorRecord, reason: str, *, is_abnormal: bool = True) -> list[str]:
        """End the actor and all below it; return their names, the last children first."""
        ended = []
        if record.pool is not None:
            record.pool.is_ending = True
        elif record.parent in self.state.pools:
            self._leave_pool(record)
        for child in reversed(self.state.tree.children(record.id)):
            other = self.state.actors.get(child)
            if other is not None:
                ended += self.terminate(other, f"its parent {record.name} was terminated")
        if record.id not in self.state.actors:
            return ended  # a link among the children has ended it already
        self._end(record, reason)
        self.supervision.tell_parent(record, reason, will_restart=False)
        if is_abnormal:
            for linked in sorted(record.links):
                if linked in self.state.actors:
                    self.state.doomed[linked] = f"linked with {record.name}, which was terminated"
        return [*ended, record.name]

    def _leave_pool(self, record: ActorRecord) -> None:
        """Let the others of its pool take over while all that it has made is still there."""
        pool = self.state.pools[record.parent]
        member = pool.members.get(record.id)
        if member is None or pool.is_ending:
            return
        member.is_gone = True
        self.takeover.evacuate(record)
        del pool.members[record.id]
        self.state.output.changes.put("pool", pool.id, pool.to_row())
        self.state.pools_due[pool.id] = None

    def _end(self, record: ActorRecord, reason: str) -> None:
        state = self.state
        if record.has_process or record.pid is not None:
            self.incarnations.condemn(record)
        self.incarnations.detach(record)
        self._end_mail(record, reason)
        self._return_room(record)
        self._forget(record)
        self.supervision.tell_monitors(record, reason)
        self._tell_callers(record, reason)
        state.counters.add("terminations")

    def _end_mail(self, record: ActorRecord, reason: str) -> None:
        turns = list(record.open.values())
        record.open.clear()
        self.delivery.count_slots(record)
        waiting = list(record.mailbox.waiting)
        record.mailbox.waiting.clear()
        messages = [turn.message for turn in turns if not turn.is_cancelled]
        messages += record.mailbox.queued()
        messages += [waiter for waiter in waiting if isinstance(waiter, Message)]
        messages += self.state.budgets.unpaid_to(record.id)
        self.delivery.withdraw_waits(turns)
        error = ActorDeadError(actor=record.name, reason=reason)
        for message in messages:
            if message.id not in self.state.messages:
                continue  # an ask of its own, which ended with the turn that had made it
            self.delivery.drop_calls(message)
            call = self.state.calls.get(message.id)
            if call is not None:
                self.delivery.answer_error(call, error)
                self.delivery.end_message(message)
            elif message.sender == 0:
                self.delivery.end_message(message)
            else:
                self.delivery.accept_held(message)
                self.delivery.dead_letter(message, "receiver_terminated", error)
        for waiter in waiting:
            if not isinstance(waiter, Message):
                self._refuse_waiter(waiter, record, error)
        self._bury_unpaid(record, error)

    def _bury_unpaid(self, record: ActorRecord, error: ActorDeadError) -> None:
        """Nobody will pay for what the actor has sent beyond its budget."""
        for message in list(self.state.budgets.unpaid.get(record.id, ())):
            call = self.state.calls.get(message.id)
            if call is not None:
                self.delivery.cancel_call(call)
            else:
                self.delivery.dead_letter(message, "unpaid", error)

    def _refuse_waiter(
        self, waiter: Reservation, record: ActorRecord, error: ActorDeadError
    ) -> None:
        borrower = self.state.actors.get(waiter.sender)
        turn = borrower.open.get(waiter.turn) if borrower is not None else None
        if borrower is None or turn is None or record.id not in turn.reservations:
            return  # gone, or cancelled with an ask of the one that is being ended
        turn.reservations.remove(record.id)
        self.delivery.room.release_paid(borrower, record.id, waiter.messages, waiter.size)
        self.delivery.count_slots(borrower)
        asked = Envelope(Kind.RESERVE, correlation=waiter.correlation)
        self.delivery.refuse(borrower, asked, error)

    def _return_room(self, record: ActorRecord) -> None:
        for other in self.state.actors.values():
            other.lent.pop(record.id, None)
            if record.id in other.paid:
                self.delivery.room.release_paid(other, record.id, *other.paid[record.id])

    def _forget(self, record: ActorRecord) -> None:
        state, changes = self.state, self.state.output.changes
        state.inventory.release(record.id)
        state.weighted.pop(record.id, None)
        for key in record.state:
            changes.delete("state", (record.id, key))
        for target in sorted(record.handles):
            changes.delete("handle", (record.id, target))
        for timer in [t for t in state.durable_timers.values() if t.actor == record.id]:
            self.effects.drop_timer(timer)
        for topic in list(record.subscriptions):
            self.effects.unsubscribe(record, topic)
        for linked in sorted(record.links):
            other = state.actors.get(linked)
            if other is not None:
                other.links.discard(record.id)
                state.save_actor(other)
        state.timers.cancel(Due.RESTART, record.id)
        self.supervision.forget_windows(record)
        state.names.release(record.name)
        state.tree.remove(record.parent, record.id)
        state.dirty.pop(record.id, None)
        state.doomed.pop(record.id, None)
        state.crashed.pop(record.id, None)
        if state.pools.pop(record.id, None) is not None:
            changes.delete("pool", record.id)
        state.pools_due.pop(record.id, None)
        del state.actors[record.id]
        state.max_turns -= record.concurrency
        state.llm.depart(record.id)
        changes.delete("actor", record.id)
        if record.account is not None:
            self._close_account(record, record.account)

    def _close_account(self, record: ActorRecord, account: Account) -> None:
        budgets = self.state.budgets
        waiter = budgets.stopped.pop(record.id, None)
        if waiter is not None:
            budgets.give_up(waiter)
        budgets.tree.close(account)

    def _tell_callers(self, record: ActorRecord, reason: str) -> None:
        error = ActorDeadError(actor=record.name, reason=reason)
        for identifier in record.start_waiters:
            call = self.state.calls.get(identifier)
            if call is not None:
                self.delivery.answer_error(call, error)
        for identifier in record.stop_waiters:
            call = self.state.calls.get(identifier)
            if call is not None:
                self.delivery.answer(call, encode_plain({}))
