"""The effects of one commit: checked as a whole, then applied as a whole.

Effects: tells, publishes, the reply, state, timers, links, monitors, subscriptions.
``check`` raises and changes nothing; ``apply`` does not fail.

Cost: O(effects); a publish costs one message a subscriber; the payload is one object,
which the journal stores once (kernel/journal/contents.py).
"""

from __future__ import annotations

from typing import Any

from ext.wire import Envelope
from ipc.envelope import split_refs
from ipc.errors import BadFrameError, LimitError, NoCapabilityError
from ipc.plain import decode_plain
from ipc.protocol import EFFECTS, WATCH_OPERATIONS, Flag, Kind
from kernel.actor_record import ActorRecord, Turn
from kernel.budget.postage import Postage
from kernel.claims import OVERFLOWS, check_deadline
from kernel.delivery import Delivery
from kernel.state import DurableTimer
from kernel.timers import Due

TIMER_ID_MASK = (1 << 63) - 1


class Effects:
    """See the module head."""

    def __init__(self, delivery: Delivery, postage: Postage) -> None:
        self.state = delivery.state
        self.delivery = delivery
        self.postage = postage

    # --- checks -------------------------------------------------------------------------

    def check(self, record: ActorRecord, effects: list[Envelope]) -> None:
        """Verify that all effects can be applied.

        Raises:
            NoCapabilityError: a tell to, or a link with, an actor it holds no handle of.
            LimitError: its state would be larger than a state may be.
            BadFrameError: an effect that is none, or whose body is not what its kind says.
        """
        growth = 0
        for effect in effects:
            if effect.kind not in EFFECTS:
                raise BadFrameError(reason=f"kind {effect.kind} is not an effect")
            if effect.deadline:
                check_deadline(effect.deadline)
            if effect.flags & Flag.HAS_REFS:
                self.check_refs(record, effect)
            if effect.kind == Kind.TELL:
                self._check_target(record, effect.receiver)
            elif effect.kind == Kind.STATE:
                growth += self._check_state(record, effect)
            elif effect.kind == Kind.PUBLISH:
                _topic_of(effect)
            elif effect.kind == Kind.WATCH:
                self._check_watch(record, effect)
        total = record.state_bytes + growth
        if growth > 0 and total > self.state.config.state_bytes:
            limit = self.state.config.state_bytes
            raise LimitError(what=f"bytes of state of {record.name}", value=total, limit=limit)

    def check_refs(self, record: ActorRecord, effect: Envelope) -> None:
        """Verify that the actor holds the handles that it passes on. Raises as ``check`` does."""
        for target in _refs_of(effect):
            self._check_target(record, target)

    def _check_target(self, record: ActorRecord, target: int) -> None:
        if target != record.id and target not in record.handles:
            raise NoCapabilityError(sender=record.id, receiver=target)

    def _check_state(self, record: ActorRecord, effect: Envelope) -> int:
        body = decode_plain(effect.payload)
        if not isinstance(body, dict) or not all(
            isinstance(key, str) and isinstance(value, bytes | None) for key, value in body.items()
        ):
            raise BadFrameError(reason="state is a map of names to bytes or nil")
        return sum(
            len(value or b"") - len(record.state.get(key, b"")) for key, value in body.items()
        )

    def _check_watch(self, record: ActorRecord, effect: Envelope) -> None:
        body = decode_plain(effect.payload)
        if not isinstance(body, list) or len(body) < 2 or body[0] not in WATCH_OPERATIONS:
            raise BadFrameError(reason="a watch is [operation, ...]")
        if body[0] in ("link", "monitor"):
            self._check_target(record, body[1])
        if body[0] == "subscribe" and (
            len(body) != 4
            or not all(isinstance(part, str) for part in body)
            or body[3] not in OVERFLOWS
        ):
            raise BadFrameError(reason="subscribe takes a topic, a handler and an overflow")
        if not isinstance(body[1], str if body[0].endswith("subscribe") else int):
            raise BadFrameError(reason=f"{body[0]} of a {type(body[1]).__name__}")

    # --- application --------------------------------------------------------------------

    def apply(self, record: ActorRecord, turn: Turn, effects: list[Envelope]) -> Envelope | None:
        """Apply checked effects in order; return the reply among them, if any."""
        reply = None
        for effect in effects:
            effect.sender = record.id
            if effect.kind == Kind.TELL:
                self._tell(record, effect)
            elif effect.kind in (Kind.REPLY, Kind.ERROR):
                reply = effect
            elif effect.kind == Kind.STATE:
                self._write_state(record, decode_plain(effect.payload))
            elif effect.kind == Kind.TIMER:
                self._set_timer(record, effect)
            elif effect.kind == Kind.PUBLISH:
                self._publish(record, effect)
            else:
                self._watch(record, decode_plain(effect.payload))
        return reply

    def _tell(self, record: ActorRecord, envelope: Envelope) -> None:
        receiver = self.state.actors.get(envelope.receiver)
        if receiver is None:
            self._tell_the_dead(envelope)
            return
        self.delivery.pass_handles(record, receiver, envelope)
        is_self = receiver is record
        if not is_self:
            if record.lent.get(receiver.id, (0, 0))[0] < 1:
                self.state.counters.add("admitted_over_limit")  # reserved in an earlier epoch
            self.delivery.room.take_back(receiver, record, 1, envelope.size)
        if receiver.mailbox.waiting:
            self.delivery.admit_before(receiver, envelope)
        message = self.delivery.accept(receiver, envelope, reserved=is_self)
        if record.account is None:
            self.delivery.enqueue(receiver, message)
        else:
            self.postage.send_told(record, receiver, message)

    def _tell_the_dead(self, envelope: Envelope) -> None:
        envelope.message = self.state.new_id()
        self.delivery.letters.keep(envelope, envelope.receiver, "receiver_terminated", None, 0)

    def _write_state(self, record: ActorRecord, values: dict[str, bytes | None]) -> None:
        changes = self.state.output.changes
        for key, value in values.items():
            record.state_bytes += len(value or b"") - len(record.state.get(key, b""))
            if value is None:
                record.state.pop(key, None)
                changes.delete("state", (record.id, key))
            else:
                record.state[key] = value
                changes.put("state", (record.id, key), (value,))

    def _set_timer(self, record: ActorRecord, effect: Envelope) -> None:
        identifier = effect.correlation & TIMER_ID_MASK
        if effect.flags & Flag.CANCELLED:
            timer = self.state.durable_timers.get(identifier)
            if timer is not None and timer.actor == record.id:
                self.drop_timer(timer)
            return
        due_ns = self.state.now_ns + effect.deadline
        message = Envelope(
            Kind.TELL,
            record.id,
            record.id,
            effect.payload,
            flags=effect.flags,
            priority=effect.priority,
            trace=effect.trace,
            attachments=effect.attachments,
        )
        timer = DurableTimer(identifier, record.id, self.state.to_wall(due_ns), message)
        self.state.durable_timers[identifier] = timer
        self.state.timers.set(Due.TIMER, identifier, due_ns)
        row = (record.id, timer.due_wall_ns, message)
        self.state.output.changes.put("timer", identifier, row)

    def drop_timer(self, timer: DurableTimer) -> None:
        """Forget a durable timer."""
        self.state.durable_timers.pop(timer.id, None)
        self.state.timers.cancel(Due.TIMER, timer.id)
        self.state.output.changes.delete("timer", timer.id)

    def fire_timer(self, identifier: int) -> None:
        """A durable timer is due: its message enters the mailbox; it has reserved room."""
        timer = self.state.durable_timers.get(identifier)
        if timer is None:
            return
        self.drop_timer(timer)
        record = self.state.actors.get(timer.actor)
        if record is not None:
            message = self.delivery.accept(record, timer.envelope, reserved=True)
            self.delivery.enqueue(record, message)
            self.state.counters.add("timers_fired")

    def _publish(self, record: ActorRecord, effect: Envelope) -> None:
        topic, payload = _topic_of(effect)
        for subscriber in list(self.state.topics.get(topic, ())):
            receiver = self.state.actors.get(subscriber)
            if receiver is not None:
                self._publish_to(record, receiver, topic, payload, effect)
        self.state.counters.add("publishes")

    def _publish_to(
        self,
        record: ActorRecord,
        receiver: ActorRecord,
        topic: str,
        payload: bytes,
        effect: Envelope,
    ) -> None:
        envelope = Envelope(
            Kind.TELL,
            record.id,
            receiver.id,
            payload,
            flags=effect.flags,
            priority=effect.priority,
            trace=effect.trace,
            attachments=effect.attachments,
        )
        self.delivery.pass_handles(record, receiver, envelope)
        overflow = receiver.subscriptions.get(topic, ("", "wait"))[1]
        if overflow == "dead_letter" and not receiver.mailbox.has_room(1, envelope.size):
            envelope.message = self.state.new_id()
            self.delivery.letters.keep(envelope, receiver.id, "overflow", None, 0)
            return
        message = self.delivery.accept(receiver, envelope)
        if record.account is None:
            self.delivery.enqueue_or_wait(receiver, message)
        else:
            self.postage.send(record, receiver, message)

    def _watch(self, record: ActorRecord, body: list[Any]) -> None:
        operation, target = body[0], body[1]
        other = self.state.actors.get(target) if isinstance(target, int) else None
        if operation == "link":
            self._link(record, target, other)
        elif operation == "unlink":
            record.links.discard(target)
            if other is not None:
                other.links.discard(record.id)
                self.state.save_actor(other)
        elif operation == "monitor":
            self._monitor(record, target, other)
        elif operation == "demonitor" and other is not None:
            other.monitors.discard(record.id)
            self.state.save_actor(other)
        elif operation == "subscribe":
            self.subscribe(record, body[1], body[2], body[3])
        elif operation == "unsubscribe":
            self.unsubscribe(record, body[1])
        self.state.save_actor(record)

    def _link(self, record: ActorRecord, target: int, other: ActorRecord | None) -> None:
        if other is None:
            self.state.doomed[record.id] = f"linked with actor {target}, which is gone"
            return
        record.links.add(other.id)
        other.links.add(record.id)
        self.state.save_actor(other)

    def _monitor(self, record: ActorRecord, target: int, other: ActorRecord | None) -> None:
        if other is None:
            name = self.state.name_of(target)
            self.delivery.tell_from_kernel(record, "$down", target, name, "terminated")
            return
        other.monitors.add(record.id)
        self.state.save_actor(other)

    def subscribe(self, record: ActorRecord, topic: str, handler: str, overflow: str) -> None:
        """Let the actor get what is published under the topic."""
        record.subscriptions[topic] = (handler, overflow)
        self.state.topics.setdefault(topic, {})[record.id] = None

    def unsubscribe(self, record: ActorRecord, topic: str) -> None:
        """Stop that."""
        record.subscriptions.pop(topic, None)
        subscribers = self.state.topics.get(topic, {})
        subscribers.pop(record.id, None)
        if not subscribers:
            self.state.topics.pop(topic, None)


def _refs_of(effect: Envelope) -> tuple[int, ...]:
    """Return the handles that an effect passes on. Raises BadFrameError if they are cut short."""
    if effect.kind == Kind.PUBLISH:
        inner = Envelope(Kind.TELL, payload=_topic_of(effect)[1], flags=effect.flags)
        return split_refs(inner)[0]
    return split_refs(effect)[0]


def _topic_of(effect: Envelope) -> tuple[str, bytes]:
    body = decode_plain(effect.payload)
    if (
        not isinstance(body, list)
        or len(body) != 2
        or not isinstance(body[0], str)
        or not isinstance(body[1], bytes)
    ):
        raise BadFrameError(reason="a publish is [topic, payload bytes]")
    return body[0], body[1]
