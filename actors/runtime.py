"""An agent without its process: messages in, turns run, commits out.

Sans-I/O: the Host gives it a loop, a clock and threads, and moves envelopes (actors/peer.py).
A process does that with a socket (actors/process.py), a test in memory (actors/testing.py).

Turns start in the order granted, up to the class's ``concurrency``, the next as soon as the
commit before it is posted. A commit that is refused voids all turns and grants here; the kernel
sends state and messages again.

Invariants:
  I1  at most ``concurrency`` handlers run, those of given-up turns included, until they end.
  I2  every granted message is answered by exactly one COMMIT, or was dropped for a reason the
      kernel knows: a refusal, a new epoch (unstarted ones), a stop.
  I3  ``hello`` reports each turn begun whose commit the kernel may not have; none begins
      between it and the kernel's answer.

Cost: see bench; about 25 us of CPU for an ask that does nothing, the socket included.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from actors.driver import Driver
from actors.execution import Execution
from actors.host import Host, Identity
from actors.peer import Peer
from actors.port import TurnPort
from actors.program import Program
from actors.state import StateStore
from actors.turn import Turn
from ext.wire import Envelope
from ipc.errors import BadSpecError, LLMOSError, TurnClosedError, from_wire, to_wire
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import PROTOCOL_VERSION, Flag, Hello, Kind, Limits, Welcome

_FLUSH_AFTER_NS = 500_000  # finished turns do not wait longer than this for a batch to end
_LOOK_EVERY = 4  # turns between two looks at the clock
_COMMIT = int(Kind.COMMIT)
_NO_EFFECTS = Flag.FAILED | Flag.CANCELLED
_YIELD_AFTER_NS = 5_000_000  # then other callbacks of the loop get their turn


class AgentRuntime:
    """See the module head."""

    def __init__(self, identity: Identity, host: Host, program: Program | LLMOSError) -> None:
        """Make a runtime. program: the loaded class, or why it could not be loaded."""
        self.identity = identity
        self.host = host
        self.peer = Peer(self, host.loop)
        self.port = TurnPort(identity.actor, identity.name, self.peer, host.loop, host.clock)
        self.store = StateStore(self.port.make_ref)
        self.limits: Limits | None = None
        self._program: Program | LLMOSError = program
        self._execution: Execution | None = self._instantiate()
        self._concurrency = 1
        self._queue: deque[Envelope] = deque()
        self._open: dict[int, Turn] = {}
        self._uncovered: dict[int, Envelope] = {}  # commits that the kernel may not have
        self.num_running = 0
        self._context = contextvars.copy_context()
        self._is_settling = False
        self._is_pump_due = False
        self._awaits_state = False
        self._is_stopping = False
        self._said_bye = False
        self._actions: dict[int, Callable[[Envelope], Any]] = {
            Kind.TELL: self._on_message,
            Kind.ASK: self._on_message,
            Kind.REPLY: self.port.calls.take,
            Kind.ERROR: self.port.calls.take,
            Kind.ITEM: self.port.calls.take,
            Kind.CANCEL: self._on_cancel,
            Kind.STREAM_CREDIT: self._on_stream_credit,
            Kind.REFUSED: self._on_refused,
            Kind.STATE: self._on_state,
            Kind.CREDIT: self.port.room.credit,
            Kind.RECALL: self._on_recall,
            Kind.STOP: self._on_stop,
        }

    def _instantiate(self) -> Execution | None:
        """Make the instance; failing, there is no program, and HELLO declares none."""
        program = self._program
        if not isinstance(program, Program):
            return None
        try:
            return Execution(self, program, program.instantiate(self.port))
        except BadSpecError as error:
            self._program = error
            return None

    # --- the link -------------------------------------------------------------------------

    def hello(self) -> Hello:
        """See actors.peer.Listener."""
        me, program = self.identity, self._program
        hello = Hello(
            role="agent",
            protocol=PROTOCOL_VERSION,
            actor=me.actor,
            incarnation=me.incarnation,
            token=me.token,
            generation=None,
            epoch=None,
            taken=0,
            open=[*self._uncovered, *self._open],
            pid=me.pid,
            start_time=me.start_time,
            commits=[[turn, commit.sequence] for turn, commit in self._uncovered.items()],
        )
        if isinstance(program, Program):
            hello["declares"] = program.declares()
        return hello

    def welcomed(self, welcome: Welcome, *, is_fresh: bool) -> None:
        """See actors.peer.Listener."""
        is_first = self.limits is None
        self.limits = welcome["limits"]
        self.host.up(self.limits["grace_s"])
        if is_first:
            self._begin(welcome)
        elif is_fresh:
            self._queue.clear()
            self.port.room.reset()
            self.port.calls.lend_again()
            if self._awaits_state and not self.peer.keeps(Kind.RESUME):
                self.peer.post(Envelope(Kind.RESUME, self.identity.actor))
        if (is_first or is_fresh) and self._driver is not None:
            self._driver.linked()

    @property
    def _driver(self) -> Driver | None:
        return self._execution.driver if self._execution is not None else None

    def rejected(self, error: LLMOSError) -> None:
        """See actors.peer.Listener. A fenced agent must end at once."""
        self.host.refused(error)

    def handle(self, envelope: Envelope) -> None:
        """See actors.peer.Listener."""
        action = self._actions.get(envelope.kind)
        if action is not None:
            action(envelope)
        elif (driver := self._driver) is not None:
            driver.take(envelope)

    def covered(self, envelopes: list[Envelope]) -> None:
        """See actors.peer.Listener."""
        uncovered = self._uncovered
        if uncovered:
            for envelope in envelopes:
                if envelope.kind == _COMMIT and uncovered.get(envelope.turn) is envelope:
                    del uncovered[envelope.turn]
        if self._said_bye and self.peer.is_drained:
            self.host.leave("said farewell")

    def settle(self) -> None:
        """Start what may start; called at the end of each batch, from the top of the loop."""
        if self._is_settling:
            return
        if self._queue and self._execution is not None:
            self._is_settling = True
            try:
                self._start_turns(self._queue)
            finally:
                self._is_settling = False
        if self._is_stopping and not self.num_running and not self._said_bye:
            self._say_bye()

    def _start_turns(self, queue: deque[Envelope]) -> None:
        started_ns = flushed_ns = num_started = 0
        while self.num_running < self._concurrency:
            if self._is_stopping or self._awaits_state or self.peer.is_greeting:
                return  # I3: what begins after HELLO would be granted again, and run twice
            self._start(queue.popleft())
            if not queue:
                return
            num_started += 1
            if num_started % _LOOK_EVERY == 1:
                now = self.host.clock.monotonic_ns()
                started_ns, flushed_ns = started_ns or now, flushed_ns or now
                if now - flushed_ns > _FLUSH_AFTER_NS:
                    self.peer.flush()
                    flushed_ns = now
                if now - started_ns > _YIELD_AFTER_NS:
                    self._pump_later()
                    return

    # --- what the kernel says -------------------------------------------------------------

    def _begin(self, welcome: Welcome) -> None:
        if isinstance(self._program, Program):
            self.store.load(welcome["state"])
            self._concurrency = self._program.actor_class.concurrency
        else:
            self._bye(self._program)

    def _on_message(self, envelope: Envelope) -> None:
        if not self._awaits_state:
            self._queue.append(envelope)

    def _on_cancel(self, envelope: Envelope) -> None:
        if not envelope.turn and (driver := self._driver) is not None:
            driver.take(envelope)  # of a call of the driver's, not of a turn
            return
        turn = self._open.get(envelope.turn)
        if turn is not None:
            turn.cancel()
            return
        for queued in self._queue:
            if queued.message == envelope.turn:
                self._queue.remove(queued)
                self._post_commit(Envelope(Kind.COMMIT, turn=envelope.turn, flags=Flag.CANCELLED))
                return

    def _on_stream_credit(self, envelope: Envelope) -> None:
        turn = self._open.get(envelope.turn)
        if turn is not None:
            turn.credit += envelope.index
            if turn.credit_waiter is not None:
                turn.credit_waiter.resolve(None)
            return
        for queued in self._queue:
            if queued.message == envelope.turn:
                queued.index += envelope.index  # the turn begins with all that was lent

    def _on_recall(self, envelope: Envelope) -> None:
        self.port.room.recall(envelope.receiver)

    def _on_refused(self, envelope: Envelope) -> None:
        if envelope.correlation:
            if not self.port.calls.take(envelope):
                error = from_wire(decode_plain(envelope.payload))
                self.port.room.refuse(envelope.correlation, error)
        elif not self._awaits_state:
            self._drop_everything(envelope.turn)
            self.peer.post(Envelope(Kind.RESUME, self.identity.actor))

    def _drop_everything(self, refused: int) -> None:
        """A commit was refused: what was built on it never was."""
        self._awaits_state = True
        self._queue.clear()
        committed = list(self._uncovered)
        if refused in self._uncovered:
            for turn_id in committed[committed.index(refused) :]:
                del self._uncovered[turn_id]
        for turn in list(self._open.values()):
            self.close(turn)
            pending = list(turn.calls.values())
            for call in pending:
                self.port.calls.forget(call.correlation)  # they run on; a retry finds them
            turn.abandon()
            for call in pending:
                call.fail(TurnClosedError(operation="a call", actor=self.identity.name))

    def _on_state(self, envelope: Envelope) -> None:
        self.store.load(decode_plain(envelope.payload))
        self._awaits_state = False
        self.port.room.reset()  # what dropped turns had taken is free again

    def _on_stop(self, envelope: Envelope) -> None:
        self._is_stopping = True
        self._queue.clear()

    # --- turns ----------------------------------------------------------------------------

    def _start(self, envelope: Envelope) -> None:
        assert self.limits is not None
        turn = Turn(envelope, self.store, self.limits, self.identity.name, self.port.room.epoch)
        if self._concurrency > 1:
            turn.track()
        self._uncovered.pop(turn.id, None)  # it comes again, so the kernel has that commit
        self._open[turn.id] = turn
        self.num_running += 1
        if self.num_running == 1:
            self.host.turn_begins()
        assert self._execution is not None
        self._execution.run(turn, self._context.copy())

    def _run_again(self, turn: Turn) -> None:
        assert self._execution is not None
        if turn.is_abandoned:
            self.ended(turn)
            return
        self._execution.run(turn, self._context.copy())

    def run_again(self, turn: Turn) -> None:
        """A concurrent turn has committed what this one read: run it anew, soon."""
        assert self.limits is not None
        self.close(turn)
        self.port.room.give_back(turn.taken, turn.room_epoch)
        epoch = self.port.room.epoch
        again = Turn(turn.envelope, self.store, self.limits, self.identity.name, epoch)
        again.track()
        again.records, again.items_before = turn.made, turn.items
        again.deadline_ns = turn.deadline_ns
        again.credit = turn.credit
        self._open[again.id] = again
        self.num_running += 1
        self.host.loop.call_soon(self._run_again, again)

    def close(self, turn: Turn) -> None:
        """The turn is over: from now on ``self.*`` is refused in it."""
        turn.is_open = False
        if self._open.get(turn.id) is turn:
            del self._open[turn.id]

    def commit(self, turn: Turn, commit: Envelope, effects: Sequence[Envelope]) -> None:
        """Post a turn's commit and its effects."""
        self.close(turn)
        if commit.flags & _NO_EFFECTS:
            self.port.room.give_back(turn.taken, turn.room_epoch)
        self._post_commit(commit, effects)

    def _post_commit(self, commit: Envelope, effects: Sequence[Envelope] = ()) -> None:
        commit.sender = self.port.id
        commit.index = len(effects)
        self._uncovered[commit.turn] = commit
        self.peer.post_all([commit, *effects])

    def ended(self, turn: Turn) -> None:
        """The turn's handler has ended; another may start."""
        self.num_running -= 1
        if not self._is_settling and (self._queue or self._is_stopping):
            self._pump_later()

    def _pump_later(self) -> None:
        # Turns start from the top of the loop (actors/eager.py), never from inside a task.
        if not self._is_pump_due:
            self._is_pump_due = True
            self.host.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pump_due = False
        self.peer.cork()
        try:
            self.settle()
        finally:
            self.peer.uncork()

    def abandon(self) -> None:
        """Give up everything without a word: the process is gone (tests)."""
        for turn in list(self._open.values()):
            self.close(turn)
            turn.abandon()
        self._queue.clear()

    def open_turn_id(self) -> int:
        """Return the id of a turn that is open, or 0; may be called from any thread."""
        try:
            return next(iter(self._open), 0)
        except RuntimeError:  # the loop's thread has just begun or ended a turn: it moves
            return 0

    # --- the end --------------------------------------------------------------------------

    def _say_bye(self) -> None:
        self._said_bye = True
        if self._execution is None:
            self._bye(None)
            return
        task = self.host.loop.create_task(self._execution.on_stop())
        task.add_done_callback(lambda _: self._bye(None))

    def _bye(self, error: LLMOSError | None) -> None:
        self._said_bye = True
        bye = Envelope(Kind.BYE, self.identity.actor, flags=Flag.WANT_ACK)
        if error is not None:
            bye.flags |= Flag.FAILED
            bye.payload = encode_plain(to_wire(error))
        self.peer.post(bye)
