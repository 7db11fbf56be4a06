"""A virtual agent process: granted messages in, turns run, commits out (ipc/protocol.py).

Its scripted handlers write, besides what their script says, one row of evidence per commit:
``n`` counts the commits of the actor, and ``d<n mod 256>`` names the message of commit ``n``.
So the journal tells which turns took effect, in which order, each how often.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ext.wire import Envelope
from ipc.errors import BadSpecError, FencedError, LLMOSError, from_wire, to_wire
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from kernel.output import StartProcess
from tests.simulator.peer import VirtualPeer
from tests.simulator.plan import MS
from tests.simulator.room import Room
from tests.simulator.turn import HandlerFailed, VirtualCall, VirtualTurn, error_of
from tests.simulator.violation import demand
from tests.simulator.wait import Wait

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

EVIDENCE = 256  # rows of evidence kept per actor
BYE_FAILED = Flag.FAILED | Flag.WANT_ACK


class VirtualAgent(VirtualPeer):
    """See the module head."""

    role = "agent"

    def __init__(self, simulation: Simulation, command: StartProcess, pid: int) -> None:
        super().__init__(simulation, command.actor, command.incarnation)
        self.token = command.token
        self.pid = pid
        self.facts: dict[str, Any] = decode_plain(command.spec["arguments"])
        self.concurrency: int = self.facts["concurrency"]
        self.state: dict[str, bytes] = {}
        self.queue: deque[Envelope] = deque()
        self.open: dict[int, VirtualTurn] = {}
        self.uncovered: dict[int, Envelope] = {}  # turn -> its commit
        self.calls: dict[int, tuple[VirtualTurn, VirtualCall]] = {}
        self.room = Room(self)
        self._correlation = 0
        self._awaits_state = False
        self._is_stopping = False
        self._said_bye = False
        self._is_new = True
        self.is_seized = False
        self.is_loadable = not self.world.chance(simulation.plan.start_failures)

    def new_correlation(self) -> int:
        """Return a number for a call or reservation, of this incarnation."""
        self._correlation += 1
        return self._correlation

    def hang(self) -> None:
        """The event loop stands still in a turn; the watchdog's thread says so."""
        if self.link is None or not self.open or not self.is_alive:
            return
        tick = Envelope(Kind.TICK, self.id, 0, self.token.encode(), message=self.incarnation)
        tick.turn, tick.index = next(iter(self.open)), 60_000
        self.link.to_kernel([tick])

    def seize(self) -> None:
        """The whole process stands still in a turn, its watchdog too; it lives on."""
        if self.open and self.is_alive:
            self.world.note("SEIZED", self.id, self.incarnation)
            self.is_seized, self.is_alive = True, False

    def die(self) -> None:
        """See VirtualPeer."""
        super().die()
        self.is_seized = False

    def sleep(self, delay_ns: int) -> Wait:
        """Return a wait that is done after a while."""
        wait = Wait()
        self.world.after(delay_ns, wait.resolve, None)
        return wait

    def lend_items(self, call: VirtualCall, count: int) -> None:
        """Take further items of a stream."""
        kind, correlation = Kind.STREAM_CREDIT, call.correlation
        self.post(Envelope(kind, self.id, correlation=correlation, index=count))

    # --- the link -------------------------------------------------------------------------

    def hello_facts(self) -> dict[str, Any]:
        """See VirtualPeer."""
        facts = self.facts
        if not self.is_loadable:
            return {"pid": self.pid, "start_time": self.pid}
        return {
            "open": [*self.uncovered, *self.open],
            "commits": [[turn, commit.sequence] for turn, commit in self.uncovered.items()],
            "pid": self.pid,
            "start_time": self.pid,
            "declares": {
                "hooks": facts["hooks"],
                "concurrency": self.concurrency,
                "subscriptions": [[topic, "run", "wait"] for topic in facts["topics"]],
                "strategy": facts["strategy"],
            },
        }

    def welcomed(self, welcome: dict[str, Any], *, is_fresh: bool) -> None:
        """See VirtualPeer."""
        self.world.after(0, self._settle)
        if not is_fresh:
            return
        self.queue.clear()
        if not self.is_loadable:
            self._say_why()
            return
        if self._is_new:
            self._is_new = False
            self.state = dict(welcome["state"])
        self.room.reset()
        for _, call in self.calls.values():
            if call.lent:
                self.lend_items(call, call.lent)
        if self._awaits_state and not self._is_resume_kept():
            self.post(Envelope(Kind.RESUME, self.id))

    def _say_why(self) -> None:
        if not self._said_bye:
            self._said_bye = True
            error = BadSpecError(target="virtual", problem="not today", traceback="")
            body = encode_plain(to_wire(error))
            self.post(Envelope(Kind.BYE, self.id, 0, body, flags=BYE_FAILED))

    def _is_resume_kept(self) -> bool:
        return any(kept.kind == Kind.RESUME for kept in self.channel.unacknowledged())

    def rejected(self, error: LLMOSError) -> None:
        """See VirtualPeer."""
        demand(isinstance(error, FencedError), "fencing", f"agent {self.id} rejected: {error}")
        self.simulation.checker.on_fenced(self)
        self.simulation.processes.crash(self, "exit 1")

    def covered(self, envelope: Envelope) -> None:
        """See VirtualPeer."""
        if envelope.kind == Kind.COMMIT and self.uncovered.get(envelope.turn) is envelope:
            del self.uncovered[envelope.turn]
        if envelope.kind == Kind.BYE:
            self.simulation.processes.crash(self, "exit 0")

    def handle(self, envelope: Envelope) -> None:
        """See VirtualPeer."""
        self.world.note(
            "A<",
            self.id,
            self.incarnation,
            envelope.kind,
            "m",
            envelope.message,
            "t",
            envelope.turn,
            "c",
            envelope.correlation,
        )
        match envelope.kind:
            case Kind.TELL | Kind.ASK:
                self._on_message(envelope)
            case Kind.REPLY | Kind.ERROR | Kind.ITEM:
                self._on_answer(envelope)
            case Kind.CANCEL:
                self._on_cancel(envelope.turn)
            case Kind.STREAM_CREDIT:
                self._on_stream_credit(envelope)
            case Kind.REFUSED:
                self._on_refused(envelope)
            case Kind.STATE:
                self.state = decode_plain(envelope.payload)
                self._awaits_state = False
                self.room.reset()
            case Kind.CREDIT:
                self.room.credit(envelope)
            case Kind.RECALL:
                self.room.recall(envelope.receiver)
            case Kind.STOP:
                self._is_stopping = True
                self.queue.clear()
                self._settle()

    # --- turns ----------------------------------------------------------------------------

    def _on_message(self, envelope: Envelope) -> None:
        if self._awaits_state or self._is_stopping or not self.is_loadable:
            return
        self.queue.append(envelope)
        self.world.after(self.world.rng.choice([0, 100_000, MS]), self._settle)

    def _settle(self) -> None:
        """Start what may start."""
        if not self.is_alive or self._awaits_state or not self.is_up:
            return  # what begins after HELLO is not in its list of open turns
        while self.queue and len(self.open) < self.concurrency and not self._is_stopping:
            envelope = self.queue.popleft()
            attempt = self.simulation.attempts.get(envelope.message, 0) + 1
            self.simulation.attempts[envelope.message] = attempt
            turn = VirtualTurn(self, envelope, attempt)
            self.simulation.checker.on_turn_begun(self, turn)
            self.open[turn.id] = turn
            self.advance(turn)
            if not self.is_alive:
                return
        if self._is_stopping and not self.open and not self._said_bye:
            self._said_bye = True
            self.post(Envelope(Kind.BYE, self.id, flags=Flag.WANT_ACK))

    def advance(self, turn: VirtualTurn) -> None:
        """Run a turn until it waits, ends, or its process is gone."""
        while self.is_alive and turn.is_open:
            try:
                waits = [wait for wait in next(turn.steps) if not wait.is_done]
            except StopIteration:
                self._commit(turn)
                return
            except HandlerFailed as problem:
                self._fail(turn, problem)
                return
            if waits:
                self._await_all(turn, waits)
                return

    def _await_all(self, turn: VirtualTurn, waits: list[Wait]) -> None:
        left = [len(waits)]

        def one_done() -> None:
            left[0] -= 1
            if not left[0] and turn.is_open and self.is_alive:
                self.world.after(self.world.rng.choice([0, 10_000]), self.advance, turn)

        for wait in waits:
            wait.then(one_done)

    def _commit(self, turn: VirtualTurn) -> None:
        if turn.is_cancelled and not turn.is_stubborn:
            return
        changes = self._evidence(turn)
        effects = [*turn.effects]
        for effect in effects:
            effect.turn = turn.id
        body = encode_plain(changes)
        effects.append(Envelope(Kind.STATE, self.id, payload=body, turn=turn.id))
        if turn.envelope.kind == Kind.ASK:
            reply = Envelope(Kind.REPLY, self.id, turn.envelope.sender, turn=turn.id)
            reply.payload, reply.index = encode_plain(turn.result()), turn.num_items
            effects.append(reply)
        self.state.update(changes)
        self._end(turn, self._commit_of(turn, effects), effects)

    def _commit_of(self, turn: VirtualTurn, effects: list[Envelope]) -> Envelope:
        """Return the commit; it may carry the reply itself, which is then no effect."""
        commit = Envelope(Kind.COMMIT, self.id, turn=turn.id)
        if effects[-1].kind == Kind.REPLY and not turn.num_items and self.world.chance(0.5):
            commit.payload, commit.flags = effects.pop().payload, Flag.REPLIES
        commit.index = len(effects)
        return commit

    def _evidence(self, turn: VirtualTurn) -> dict[str, bytes]:
        number = decode_plain(self.state["n"]) + 1 if "n" in self.state else 1
        changes = {
            "n": encode_plain(number),
            f"d{number % EVIDENCE}": encode_plain([number, turn.id]),
        }
        for key, amount in turn.adds:
            before = changes.get(key) or self.state.get(key)
            changes[key] = encode_plain((decode_plain(before) if before else 0) + amount)
        return changes

    def _fail(self, turn: VirtualTurn, problem: Exception) -> None:
        commit = Envelope(Kind.COMMIT, self.id, turn=turn.id, flags=Flag.FAILED)
        commit.payload = encode_plain(to_wire(error_of(problem)))
        self.room.give_back(turn)
        self._end(turn, commit, [])

    def _end(self, turn: VirtualTurn, commit: Envelope, effects: list[Envelope]) -> None:
        self._close(turn, tell_kernel=True)
        self.uncovered.pop(turn.id, None)
        self.uncovered[turn.id] = commit
        self.simulation.checker.on_commit_sent(self, turn, commit, effects)
        self.post(commit)
        for effect in effects:
            self.post(effect)
        self.world.after(0, self._settle)

    def _close(self, turn: VirtualTurn, *, tell_kernel: bool) -> None:
        turn.is_open = False
        self.open.pop(turn.id, None)
        self.room.forget_turn(turn)
        for call in list(turn.calls.values()):
            if tell_kernel:
                turn.drop_call(call)
            else:
                self.calls.pop(call.correlation, None)
                call.cancel()
        turn.steps.close()

    # --- what the kernel says -------------------------------------------------------------

    def _on_answer(self, envelope: Envelope) -> None:
        turn, call = self.calls.get(envelope.correlation, (None, None))
        if turn is None or call is None:
            return
        if envelope.kind == Kind.ITEM:
            self._on_item(call, envelope)
            return
        turn.calls.pop(call.correlation, None)
        self.calls.pop(call.correlation, None)
        body = decode_plain(envelope.payload)
        if envelope.kind == Kind.ERROR:
            error = from_wire(body)
            self.simulation.checker.on_error(call, error)
            call.fail(error)
            return
        self.simulation.checker.on_answer(self, call, envelope, body)
        call.resolve(body)

    def _on_item(self, call: VirtualCall, envelope: Envelope) -> None:
        if envelope.index < len(call.items):
            return  # read again after a new kernel epoch
        self.simulation.checker.on_item(self, call, envelope)
        call.items.append(envelope.payload)
        if call.next_item is not None:
            call.next_item.resolve(None)

    def _on_cancel(self, turn_id: int) -> None:
        turn = self.open.get(turn_id)
        if turn is not None:
            turn.is_cancelled = True
            if turn.is_stubborn:
                self._wake_up(turn)
            else:
                self._end_cancelled(turn)
            return
        for queued in self.queue:
            if queued.message == turn_id:
                self.queue.remove(queued)
                commit = Envelope(Kind.COMMIT, self.id, turn=turn_id, flags=Flag.CANCELLED)
                self.uncovered[turn_id] = commit
                self.post(commit)
                return

    def _wake_up(self, turn: VirtualTurn) -> None:
        """A handler that cannot be stopped waits for nothing any more; its commit is refused."""
        for call in list(turn.calls.values()):
            turn.calls.pop(call.correlation, None)
            self.calls.pop(call.correlation, None)
            call.fail(HandlerFailed("cancelled"))
        self.room.fail_turn(turn)
        if turn.credit_wait is not None:
            turn.credit += 1 << 20
            turn.credit_wait.resolve(None)

    def _end_cancelled(self, turn: VirtualTurn) -> None:
        self.room.give_back(turn)
        commit = Envelope(Kind.COMMIT, self.id, turn=turn.id, flags=Flag.CANCELLED)
        self._end(turn, commit, [])

    def _on_stream_credit(self, envelope: Envelope) -> None:
        turn = self.open.get(envelope.turn)
        if turn is not None:
            turn.credit += envelope.index
            if turn.credit_wait is not None:
                turn.credit_wait.resolve(None)
            return
        for queued in self.queue:
            if queued.message == envelope.turn:
                queued.index += envelope.index

    def _on_refused(self, envelope: Envelope) -> None:
        error = from_wire(decode_plain(envelope.payload))
        if envelope.correlation:
            turn, call = self.calls.pop(envelope.correlation, (None, None))
            if turn is not None and call is not None:
                turn.calls.pop(call.correlation, None)
                call.fail(error)
            else:
                self.room.refuse(envelope.correlation, error)
        elif not self._awaits_state:
            self._drop_everything(envelope.turn)
            self.post(Envelope(Kind.RESUME, self.id))

    def _drop_everything(self, refused: int) -> None:
        """A commit was refused: what was built on it never was."""
        self._awaits_state = True
        self.queue.clear()
        order = list(self.uncovered)
        if refused in order:
            for turn_id in order[order.index(refused) :]:
                del self.uncovered[turn_id]
        for turn in list(self.open.values()):
            self.room.give_back(turn)
            self._close(turn, tell_kernel=False)
