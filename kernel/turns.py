"""Commits: a turn's effects and the end of its message, applied as one record or not at all.

A commit is taken if its incarnation is current (kernel/handshake.py), its number is next
(ipc/channel.py) and its turn is open here. It is checked as a whole before anything of it is
applied. A refused commit refuses those sent after it until the agent says RESUME.

How a turn can end: committed; failed (the handler raised: an ask is answered, a tell is tried
again with backoff, then dead-lettered); cancelled; crashed (``requeue_after_crash``).

Cost: O(effects).
"""

from __future__ import annotations

from typing import Any

from ext.wire import Envelope
from ipc.errors import (
    AttemptsExhaustedError,
    BadFrameError,
    LLMOSError,
    NoHandlerError,
    RemoteError,
    TurnClosedError,
    TurnTooLargeError,
    from_wire,
)
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import ON_START, Flag, Kind
from kernel.actor_record import ActorRecord, Turn
from kernel.answering import NOTHING
from kernel.delivery import Delivery
from kernel.effects import Effects
from kernel.mailbox import Message
from kernel.supervisor import backoff_ns
from kernel.timers import Due

_NOT_COMMITTED = int(Flag.FAILED | Flag.CANCELLED)
_HAS_REFS = int(Flag.HAS_REFS)
_REPLIES = int(Flag.REPLIES)


class Turns:
    """See the module head."""

    def __init__(self, delivery: Delivery, effects: Effects) -> None:
        self.state = delivery.state
        self.delivery = delivery
        self.effects = effects

    # --- commits ------------------------------------------------------------------------

    def on_commit(self, record: ActorRecord, envelope: Envelope) -> None:
        """Begin to take a commit; with effects to come, wait for them."""
        if envelope.index:
            record.commit = [envelope]
        else:
            self._apply(record, envelope, [])

    def on_effect(self, record: ActorRecord, envelope: Envelope) -> None:
        """Take one more effect of the commit that is arriving."""
        record.commit.append(envelope)
        if len(record.commit) > record.commit[0].index:
            commit, *effects = record.commit
            record.commit = []
            self._apply(record, commit, effects)

    def _apply(self, record: ActorRecord, commit: Envelope, effects: list[Envelope]) -> None:
        turn = record.open.get(commit.turn)
        if record.is_refusing:
            return
        if turn is None or record.is_stale(turn, commit.sequence):
            self._refuse(record, commit, None)
        elif turn.is_cancelled:
            self._close(record, turn)
            if not commit.flags & Flag.CANCELLED:
                self._refuse(record, commit, None)
        elif commit.flags & _NOT_COMMITTED:
            self._fail(record, turn, _error_of(commit))
            if self._has_overtaken(record, turn.message):
                self._refuse_after(record, commit)
        else:
            self._commit(record, turn, commit, effects)

    def _commit(
        self, record: ActorRecord, turn: Turn, commit: Envelope, effects: list[Envelope]
    ) -> None:
        if effects or commit.flags & _REPLIES:
            try:
                self._check(record, commit, effects)
            except LLMOSError as error:
                self._fail(record, turn, error)
                self._refuse(record, commit, error)
                return
        state, message = self.state, turn.message
        if state.calls.has_unclaimed(message.id):
            state.counters.add("turns_diverged")
        reply = self.effects.apply(record, turn, effects) if effects else None
        call = state.calls.get(message.id)
        if call is not None:
            self.delivery.finish_call(call, reply or _reply_of(commit))
        if state.spawned:
            for child in state.spawned.pop(message.id, ()):
                self._adopt_child(child)
        if state.llm.made:
            state.llm.keep(message.id)
        if message.pool:
            self.delivery.routing.succeed(message)
        record.handled += 1
        state.counters.add("turns_committed")
        self._close(record, turn)
        self.end_turn(message)

    def _adopt_child(self, child: int) -> None:
        """The spawning turn has committed: the child no longer depends on it."""
        record = self.state.actors.get(child)
        if record is not None:
            record.spawn_call = record.spawn_turn = 0
            self.state.save_actor(record)

    def _check(self, record: ActorRecord, commit: Envelope, effects: list[Envelope]) -> None:
        """Verify that the commit can be applied as a whole; see ``Effects.check``."""
        config, size = self.state.config, commit.size
        if commit.flags & _HAS_REFS:
            self.effects.check_refs(record, commit)
        if effects:
            if len(effects) > config.turn_messages:
                limit = config.turn_messages
                raise TurnTooLargeError(value=len(effects), what="effects", limit=limit)
            size += sum(effect.size for effect in effects)
        if size > config.turn_bytes:
            raise TurnTooLargeError(value=size, what="bytes of effects", limit=config.turn_bytes)
        if effects:
            self.effects.check(record, effects)

    def _close(self, record: ActorRecord, turn: Turn) -> None:
        """The agent is done with the turn: its slot is free, and it waits for nothing."""
        if turn.reservations or turn.budget_waits:
            self.delivery.withdraw_waits([turn])
        record.open.pop(turn.message.id, None)
        if record.solo:
            record.solo.discard(turn.message.id)
        self.delivery.count_slots(record)
        self.state.dirty[record.id] = None

    def end_turn(self, message: Message) -> None:
        """Forget a message and the calls its turn has made; what is still under way stops."""
        if self.state.calls.num_of_turn(message.id):
            self.delivery.drop_calls(message)
        self.delivery.end_message(message)

    # --- refusals -----------------------------------------------------------------------

    def _refuse(self, record: ActorRecord, commit: Envelope, error: LLMOSError | None) -> None:
        """Refuse a commit and all that follow until RESUME: they may build on its state."""
        record.refused_from = commit.sequence
        reason = error or TurnClosedError(operation="a commit", actor=record.name)
        self._start_refusing(record, commit, reason)

    def _has_overtaken(self, record: ActorRecord, failed: Message) -> bool:
        """Say whether the agent holds messages that a tell in backoff ought to hold back."""
        return (
            record.concurrency == 1
            and failed.id in self.state.messages
            and any(_is_behind(turn.message, failed) for turn in record.open.values())
        )

    def refuse_adopted(self, record: ActorRecord) -> None:
        """Refuse turns of an adopted agent if one of them has overtaken a message in backoff.

        The kernel before this one was about to; what it had refused is sent again.
        """
        early = [turn for turn in record.open.values() if record.mailbox.has_before(turn.message)]
        if early and record.concurrency == 1 and record.channel is not None:
            record.refused_from = record.channel.covered + 1
            reason = TurnClosedError(operation="a turn after a failed one", actor=record.name)
            commit = Envelope(Kind.COMMIT, turn=early[0].message.id)
            self._start_refusing(record, commit, reason)

    def _refuse_after(self, record: ActorRecord, commit: Envelope) -> None:
        """Take back what the agent was granted: it may be about to run what must wait."""
        record.refused_from = commit.sequence + 1  # the failure itself has been taken
        reason = TurnClosedError(operation="a turn after a failed one", actor=record.name)
        self._start_refusing(record, commit, reason)

    def _start_refusing(self, record: ActorRecord, commit: Envelope, reason: LLMOSError) -> None:
        record.is_refusing = True
        self.state.counters.add("commits_refused")
        body = encode_plain({"code": reason.code, "fields": reason.fields})
        self.state.post(record, Envelope(Kind.REFUSED, 0, record.id, body, turn=commit.turn))

    def on_resume(self, record: ActorRecord, envelope: Envelope) -> None:
        """Take RESUME. The agent has dropped its turns and the room they took: all comes again.

        The turns do not count as attempts.
        """
        record.is_refusing = False
        record.commit = []
        self.put_back(record, list(record.open.values()))
        self.delivery.room.take_back_all(record)
        body = encode_plain(record.state)
        self.state.post(record, Envelope(Kind.STATE, 0, record.id, body))

    def put_back(self, record: ActorRecord, turns: list[Turn], *, again: bool = True) -> None:
        """Return granted messages to the mailbox; cancelled ones have ended already.

        again: the agent has dropped them, and will begin anew.
        """
        for turn in turns:
            record.open.pop(turn.message.id, None)
        self.delivery.withdraw_waits(turns)
        back = [turn.message for turn in turns if not turn.is_cancelled]
        for message in back if again else ():
            self.delivery.release_calls(message)
        self.delivery.put_back(record, back)
        self.delivery.count_slots(record)
        self.state.dirty[record.id] = None

    # --- failures -----------------------------------------------------------------------

    def _fail(self, record: ActorRecord, turn: Turn, error: LLMOSError) -> None:
        """The handler raised: the turn is rolled back."""
        message = turn.message
        record.failures += 1
        record.last_error = {"code": error.code, "fields": error.fields}
        self.state.counters.add("turns_failed")
        if message.pool:
            self.delivery.routing.fail(message)
        self.delivery.withdraw_waits([turn])
        self._close(record, turn)
        if is_start(message):
            self.state.crashed[record.id] = f"on_start failed: {error.args[0]}"
            self.end_turn(message)
        elif self.state.calls.get(message.id) is not None:
            self._fail_ask(message, error)
        else:
            self._fail_tell(record, message, error)

    def _fail_ask(self, message: Message, error: LLMOSError) -> None:
        call = self.state.calls.get(message.id)
        if call is not None:
            self.delivery.answer_error(call, error)
        self.end_turn(message)

    def _fail_tell(self, record: ActorRecord, message: Message, error: LLMOSError) -> None:
        message.attempts += 1
        is_hopeless = isinstance(error, NoHandlerError)
        if is_hopeless or message.attempts >= self._max_attempts(record):
            self._bury(message, "no_handler" if is_hopeless else "max_attempts", error)
            return
        self._drop_recorded_errors(message)
        config = self.state.config
        delay_ns = backoff_ns(
            message.attempts,
            config.backoff_initial_s,
            config.backoff_max_s,
            config.backoff_jitter,
            self.state.rng,
        )
        due_ns = self.state.now_ns + delay_ns
        row = (message.attempts, self.state.to_wall(due_ns))
        self.state.output.changes.put("retry", message.id, row)
        self.hold_back(record, message, due_ns)
        self.state.counters.add("retries")

    def hold_back(self, record: ActorRecord, message: Message, due_ns: int) -> None:
        """Put a message back and hold its lane until ``due_ns``."""
        priority = message.envelope.priority
        self.delivery.put_back(record, [message])
        record.mailbox.block(message.sender, priority)
        self.state.timers.set(Due.BACKOFF, (record.id, message.sender, priority), due_ns)

    def _drop_recorded_errors(self, message: Message) -> None:
        """A handler that raised is tried anew: errors it was answered are not replayed."""
        for call in list(self.state.calls.of_turn(message.id)):
            if call.answer is not None and call.answer.kind == Kind.ERROR:
                self.delivery.forget_call(call)

    def _bury(self, message: Message, reason: str, error: LLMOSError | None) -> None:
        if is_start(message):
            self.end_turn(message)  # of no use to anybody: each incarnation gets its own
        else:
            self.delivery.dead_letter(message, reason, error)

    def _max_attempts(self, record: ActorRecord) -> int:
        return record.spec.get("max_attempts") or self.state.config.max_attempts

    # --- crashes ------------------------------------------------------------------------

    def requeue_after_crash(self, record: ActorRecord, *, is_own_crash: bool) -> None:
        """An agent's process is gone: its messages come again, one at a time if several ran.

        Only turns that may have begun count an attempt, and only for the agent's own crash.
        """
        running = [turn for turn in record.running if not turn.is_cancelled]
        turns = list(record.open.values())
        record.open.clear()
        record.commit = []
        record.is_refusing = False
        self.delivery.withdraw_waits(turns)
        back = [turn.message for turn in turns if not turn.is_cancelled]
        given_up: set[int] = set()
        if is_own_crash:
            for turn in running:
                turn.message.attempts += 1
                if turn.message.attempts >= self._max_attempts(record):
                    given_up.add(turn.message.id)
                else:
                    row = (turn.message.attempts, 0)
                    self.state.output.changes.put("retry", turn.message.id, row)
        kept = [message for message in back if message.id not in given_up]
        for message in kept:
            self.delivery.release_calls(message)
        self.delivery.put_back(record, kept)
        if len(running) > 1:
            record.solo = {turn.message.id for turn in running} - given_up
        self.delivery.count_slots(record)
        for turn in running:
            # One that another of them had asked has ended with that one.
            if turn.message.id in given_up and turn.message.id in self.state.messages:
                self._exhaust(record, turn)
        self._forget_numbers(record)

    def _forget_numbers(self, record: ActorRecord) -> None:
        """The calls of its turns were numbered by an incarnation that is gone."""
        for message in record.mailbox.queued():
            self.delivery.release_calls(message)

    def _exhaust(self, record: ActorRecord, turn: Turn) -> None:
        """The message has killed its receiver as often as it may."""
        message = turn.message
        error = AttemptsExhaustedError(actor=record.name, attempts=message.attempts)
        call = self.state.calls.get(message.id)
        if call is not None:
            self.delivery.answer_error(call, error)
            self.end_turn(message)
        else:
            self._bury(message, "max_attempts", error)


def _reply_of(commit: Envelope) -> Envelope:
    """Return the reply that the commit carries; nothing if it has none."""
    if not commit.flags & _REPLIES:
        return Envelope(Kind.REPLY, payload=NOTHING)
    reply = commit.copy()
    reply.kind, reply.flags, reply.index = Kind.REPLY, commit.flags & _HAS_REFS, 0
    return reply


def _is_behind(message: Message, failed: Message) -> bool:
    """Say whether a message is of the same lane, and after another."""
    return (
        message.sender == failed.sender
        and message.envelope.priority == failed.envelope.priority
        and message.order > failed.order
    )


def is_start(message: Message) -> bool:
    """Say whether this is the kernel's own ``$start``."""
    return message.sender == 0 and ON_START.encode() in message.envelope.payload[:16]


def _error_of(commit: Envelope) -> LLMOSError:
    """Return the error of a failed commit, whatever the bytes are."""
    if commit.flags & Flag.CANCELLED:
        return RemoteError(
            type_name="CancelledError",
            actor="",
            handler="",
            message="cancelled itself",
            traceback="",
        )
    try:
        body: Any = decode_plain(commit.payload)
        return from_wire(body)
    except (LLMOSError, TypeError, AttributeError, ValueError) as error:
        return BadFrameError(reason=f"a failed commit without a readable error: {error}")
