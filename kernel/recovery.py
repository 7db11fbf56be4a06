"""From the journal's rows to the state of a new kernel epoch.

What is rebuilt: actors, mailboxes in their order, calls (pending ones from the messages that
carry them, finished ones from their answers), streams, timers, dead letters, idempotency
keys, marks. What is void: routes, channels, grants, credits, backoffs of restarts.

A recovered actor that had a process is watched and given the adoption window to say hello;
only then is it replaced. Cost: about 5 us a message.
"""

from __future__ import annotations

from typing import Any

from ext.wire import Envelope
from ipc.ids import is_session
from ipc.protocol import Flag, Kind
from kernel.actor_record import ActorRecord, Plan, Status
from kernel.budget.ownership import Ownership
from kernel.budget.postage import Postage
from kernel.calls import Call
from kernel.dead_letters import Letter
from kernel.delivery import Delivery
from kernel.effects import Effects
from kernel.incarnations import Incarnations
from kernel.mailbox import Message
from kernel.output import WatchProcess
from kernel.peers import Session
from kernel.pools.pool import Pool
from kernel.records import Snapshot
from kernel.state import DurableTimer, Keyed, unsigned
from kernel.syscalls import Syscalls
from kernel.timers import Due
from kernel.turns import Turns, is_start


class Recovery:
    """See the module head."""

    def __init__(self, snapshot: Snapshot, delivery: Delivery, postage: Postage) -> None:
        self.rows = snapshot
        self.postage = postage
        self.state = delivery.state
        self.delivery = delivery
        self._unanswered: list[tuple[Call, Envelope]] = []

    def load(self, effects: Effects, turns: Turns) -> None:
        """Rebuild the state; nothing is emitted."""
        rows = self.rows.get("meta", {})
        self.state.counter = self.state.reserved = rows["counter"][0] if "counter" in rows else 0
        for key, (_, sequence) in self.rows.get("mark", {}).items():
            peer = unsigned(key)
            self.state.marks[peer] = sequence
            if is_session(peer):
                channel = self.state.new_channel(sequence)
                session = Session(peer, channel, None, heard_ns=self.state.now_ns)
                self.state.peers.sessions[peer] = session
        self._load_actors(effects)
        self._load_pools()
        self.state.budgets.load(self.rows.get("budget", {}))
        Ownership(self.state).restore()
        self._load_messages()
        self._load_answers()
        self._load_items()
        self.state.calls.restore_order()
        for identifier in self.state.messages:
            self.state.calls.release_claims(identifier)  # until an adopted turn claims them
        self._load_retries(turns)
        self._load_timers()
        for number in sorted(self.rows.get("dead_letter", {})):
            row = self.rows["dead_letter"][number]
            self.state.letters.add(Letter.from_row(number, (row[0], row[1])))
        self._load_keys()
        for identity, (pid, start_time) in self.rows.get("condemned", {}).items():
            self.state.condemned[identity] = (pid, start_time)

    def _load_actors(self, effects: Effects) -> None:
        state = self.state
        for identifier, row in sorted(self.rows.get("actor", {}).items()):
            record = ActorRecord.from_row(identifier, (row[0],), state.new_mailbox(None, None))
            record.mailbox = state.new_mailbox(
                record.spec.get("mailbox_messages"), record.spec.get("mailbox_bytes")
            )
            state.actors[record.id] = record
            state.max_turns += record.concurrency
            state.names.claim(record.name, record.id)
            state.tree.add(record.parent, record.id)
            for topic, (handler, overflow) in list(record.subscriptions.items()):
                effects.subscribe(record, topic, handler, overflow)
        for actor, target in self.rows.get("handle", {}):
            if actor in state.actors:
                state.actors[actor].handles.add(target)
        for (actor, name), (value,) in self.rows.get("state", {}).items():
            if actor in state.actors:
                state.actors[actor].state[name] = value
                state.actors[actor].state_bytes += len(value)

    def _load_pools(self) -> None:
        for identifier, row in sorted(self.rows.get("pool", {}).items()):
            record = self.state.actors.get(identifier)
            if record is None:
                continue
            pool = Pool.from_row(identifier, (row[0],), self.state.new_rng())
            record.pool = self.state.pools[identifier] = pool
            self.state.pools_due[identifier] = None

    def _load_messages(self) -> None:
        state, routed = self.state, self.rows.get("routed", {})
        for identifier, row in sorted(self.rows.get("message", {}).items()):
            envelope, accepted_wall_ns, due_wall_ns = row
            if envelope.receiver == 0:
                is_stream = bool(envelope.flags & Flag.STREAM)
                call = Call(envelope.message, envelope, is_stream=is_stream)
                state.calls.add(call)
                if due_wall_ns:
                    state.timers.set(Due.DEADLINE, call.id, state.to_monotonic(due_wall_ns))
                self._unanswered.append((call, envelope))
                continue
            record = state.actors.get(envelope.receiver)
            if record is None:
                continue
            message = Message(identifier, record.id, envelope)
            message.reserved = envelope.sender in (0, record.id)
            message.accepted_wall_ns = accepted_wall_ns
            state.messages[message.id] = message
            state.urgency.least = max(state.urgency.least, envelope.priority)
            state.counters.add("recovered")
            if due_wall_ns:
                message.due_ns = state.to_monotonic(due_wall_ns)
                state.timers.set(Due.DEADLINE, message.id, message.due_ns)
            if envelope.kind == Kind.ASK:
                self._load_call(message)
            if identifier in routed and self._restore_routed(message, routed[identifier]):
                continue
            if is_start(message):
                message.order = 0
                record.solo.add(message.id)
                record.mailbox.count(message)
                record.mailbox.put_back([message])
            else:
                self._enqueue(record, message)
        for identifier in self.rows.get("unpaid", {}).keys() - self.rows.get("message", {}).keys():
            state.output.changes.delete("unpaid", identifier)  # it was cancelled while it waited

    def _enqueue(self, record: ActorRecord, message: Message) -> None:
        """Put a message into its mailbox, or where the unpaid ones of its sender wait."""
        if message.id in self.rows.get("unpaid", {}):
            sender = self.state.actors.get(message.sender)
            if sender is not None and sender.account is not None:
                self.postage.restore(sender, message)
                return
            self.state.output.changes.delete("unpaid", message.id)
        self.delivery.enqueue_or_wait(record, message)

    def _restore_routed(self, message: Message, row: tuple[Any, ...]) -> bool:
        return self.delivery.routing.restore(message, (row[0], row[1]))

    def _load_call(self, message: Message) -> None:
        envelope = message.envelope
        is_stream = bool(envelope.flags & Flag.STREAM)
        self.state.calls.add(Call(message.id, envelope, is_stream=is_stream))
        if envelope.flags & Flag.KEYED:
            self.state.keys_of_calls[message.id] = envelope.digest

    def _load_answers(self) -> None:
        for identifier, (envelope,) in sorted(self.rows.get("answer", {}).items()):
            asked = Envelope(
                Kind.ASK,
                envelope.receiver,
                envelope.sender,
                message=identifier,
                turn=envelope.turn,
                correlation=envelope.correlation,
                digest=envelope.digest,
            )
            call = Call(identifier, asked)
            call.answer = envelope
            self.state.calls.add(call)

    def _load_items(self) -> None:
        for (identifier, _), (envelope,) in sorted(self.rows.get("item", {}).items()):
            call = self.state.calls.get(identifier)
            if call is not None:
                call.is_stream = True
                call.items.append(envelope)

    def _load_retries(self, turns: Turns) -> None:
        for identifier, (attempts, not_before) in self.rows.get("retry", {}).items():
            message = self.state.messages.get(identifier)
            if message is None:
                continue
            message.attempts = attempts
            record = self.state.actors[message.receiver]
            if not_before > self.state.wall_ns and record.mailbox.remove(message):
                turns.hold_back(record, message, self.state.to_monotonic(not_before))

    def _load_timers(self) -> None:
        for identifier, (actor, due_wall_ns, envelope) in self.rows.get("timer", {}).items():
            timer = DurableTimer(identifier, actor, due_wall_ns, envelope)
            self.state.durable_timers[timer.id] = timer
        for timer in sorted(self.state.durable_timers.values(), key=lambda item: item.due_wall_ns):
            self.state.timers.set(Due.TIMER, timer.id, self.state.to_monotonic(timer.due_wall_ns))

    def _load_keys(self) -> None:
        calls = {digest: call for call, digest in self.state.keys_of_calls.items()}
        for digest, (expires, answer) in self.rows.get("keyed", {}).items():
            keyed = Keyed(expires, answer, calls.get(digest, 0))
            self.state.keyed[digest] = keyed

    # --- the first loop turn ------------------------------------------------------------

    def bring_up(self, incarnations: Incarnations, syscalls: Syscalls) -> None:
        """Adopt living processes, start what is wanted and has none, resume system calls."""
        incarnations.kill_condemned()
        for record in list(self.state.actors.values()):
            if record.has_process:
                self._adopt(record)
                if record.plan is not Plan.NONE and record.status is not Status.STOPPING:
                    incarnations.kill(record)  # as the kernel before this one was about to
            elif record.status in (Status.STOPPED, Status.BACKOFF) and record.is_wanted:
                incarnations.start(record)
        for call, envelope in self._unanswered:
            owner = self.state.peer(call.owner)
            if owner is None or (call.turn and call.turn not in self.state.messages):
                self.delivery.forget_call(call)
            else:
                syscalls.resume(owner, call, envelope)
        self._note_children()

    def _adopt(self, record: ActorRecord) -> None:
        state = self.state
        if record.pid is not None and record.start_time is not None:
            watch = WatchProcess(record.id, record.incarnation, record.pid, record.start_time)
            state.output.commands.append(watch)
            record.is_watched = True
        record.status = Status.STOPPING if record.status is Status.STOPPING else Status.STARTING
        due_ns = state.now_ns + int(state.config.adoption_window_s * 1e9)
        state.timers.set(Due.START_TIMEOUT, (record.id, record.incarnation), due_ns)

    def _note_children(self) -> None:
        """Tie children to the open turns that spawned them; end those whose turn is gone."""
        for record in self.state.actors.values():
            if record.spawn_turn in self.state.messages:
                self.state.spawned.setdefault(record.spawn_turn, []).append(record.id)
            elif record.spawn_turn:
                self.state.doomed[record.id] = "the turn that spawned it never committed"
