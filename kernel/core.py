"""The kernel's core: a deterministic state machine. Frames, time and process events come in;
frames, journal records and process commands go out (kernel/driver.py is its door).

What it is not: sockets, files, processes (kernel/daemon.py), policy. It does no I/O, reads no
clock and draws randomness only from the given source, so one seed gives one history.

Order within a loop turn: ``begin`` (due timers), ``receive`` and process events as they come,
``finish`` (settle what was left to do, grant messages, write marks: kernel/settling.py,
kernel/marks.py). Everything a loop turn changes is one write set, and its frames leave after that
is committed: the output rule. Its parts are made in kernel/parts.py.

Cost: about 10 us of Python an envelope. Owner: one loop.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ext.wire import Envelope
from ipc.channel import Channel
from ipc.errors import LLMOSError
from ipc.protocol import Flag, Kind
from kernel.actor_record import ActorRecord, Turn
from kernel.config import KernelConfig
from kernel.dead_letters import DeadLetterQueue
from kernel.journal.row_shapes import check_rows
from kernel.output import Output
from kernel.parts import Parts
from kernel.peers import Session
from kernel.records import Snapshot
from kernel.registry import NameTable
from kernel.resources.samples import Samples
from kernel.settings import Settings
from kernel.slots import SlotLine
from kernel.state import KernelState, Peer
from kernel.timers import Due

Take = Callable[[Any, Envelope], None]  # takes an envelope of an agent, or of a client


class Core:
    """See the module head."""

    def __init__(
        self,
        config: KernelConfig,
        snapshot: Snapshot,
        *,
        generation: int,
        epoch: int,
        rng: random.Random,
        operator_token: str,
        monotonic_ns: int,
        wall_ns: int,
        log_path: Callable[[int, str], str | None] = lambda actor, name: None,
        facts: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """Recover from ``snapshot`` (kernel.records.Journal.load).

        log_path: where an agent's output goes, by id and name. facts: what only the driver
        knows, for ``status``: pid, version, durability, journal_bytes, rss_bytes.
        Raises:
            BadRecordError: a row does not fit (kernel/journal/row_shapes.py). Nothing was changed.
            UnknownPolicyError: there is no policy of the name that the configuration gives.
        """
        check_rows(snapshot)
        age_ns = int(config.dead_letter_age_s * 1e9)
        self.state = KernelState(
            config=config,
            rng=rng,
            generation=generation,
            epoch=epoch,
            operator_token=operator_token,
            log_path=log_path,
            now_ns=monotonic_ns,
            wall_ns=wall_ns,
            started_wall_ns=wall_ns,
            names=NameTable(config.access),
            letters=DeadLetterQueue(config.dead_letters, age_ns),
            slots=SlotLine(config.turn_slots),
            settings=Settings(snapshot),
        )
        self._compose(snapshot, facts)
        parts = self.parts
        self.delivery = parts.delivery
        self.turns = parts.turns
        self.sending = parts.sending
        self.streams = parts.streams
        self.syscalls = parts.syscalls
        self.heartbeat = parts.heartbeat
        self.llm = parts.llm
        self.recorded = parts.llm.recorder.told
        self._marks = parts.marks
        self._settle = parts.settling.settle
        self._save_budgets = parts.upkeep.save
        self._on_effect = parts.turns.on_effect
        self._of_agent = self._takes_of_agents(parts)
        self._of_client = self._takes_of_clients(parts)
        parts.recover(snapshot)

    def _compose(self, snapshot: Snapshot, facts: Callable[[], dict[str, Any]]) -> None:
        """Make the parts; tests put other ones in here."""
        self.parts = Parts(self.state, snapshot, facts)

    def _takes_of_agents(self, parts: Parts) -> dict[int, Take]:
        return {
            Kind.COMMIT: parts.turns.on_commit,
            Kind.ASK: self._agent_ask,
            Kind.ITEM: self._agent_item,
            Kind.CANCEL: parts.sending.on_cancel,
            Kind.STREAM_CREDIT: parts.streams.on_credit,
            Kind.RESERVE: self._agent_reserve,
            Kind.RETURN: parts.sending.on_return,
            Kind.RESUME: parts.turns.on_resume,
            Kind.BYE: parts.lifecycle.on_bye,
            Kind.ENGINE: parts.llm.on_engine,
            Kind.PREPARED: parts.llm.on_engine,
            Kind.REPORT: parts.llm.on_engine,
            Kind.PIECE: parts.llm.on_engine,
            Kind.DONE: parts.llm.on_engine,
        }

    def _takes_of_clients(self, parts: Parts) -> dict[int, Take]:
        return {
            Kind.TELL: self._client_tell,
            Kind.ASK: self._client_ask,
            Kind.CANCEL: parts.sending.on_cancel,
            Kind.STREAM_CREDIT: parts.streams.on_credit,
            Kind.BYE: self._client_bye,
        }

    # --- the driver's door --------------------------------------------------------------

    def begin(self, monotonic_ns: int, wall_ns: int) -> None:
        """Open a loop turn; what is due happens here."""
        state = self.state
        state.now_ns, state.wall_ns = monotonic_ns, wall_ns
        if state.timers.is_due(monotonic_ns):
            for kind, key in state.timers.pop_due(monotonic_ns):
                self._on_due(kind, key)

    def receive(self, route: bytes, envelopes: list[Envelope]) -> None:
        """Take one decoded batch from a connection."""
        peer = self.state.peer_at(route)
        for envelope in envelopes:
            if not envelope.sequence:
                self._on_unnumbered(route, envelope)
                peer = self.state.peer_at(route)
            elif peer is None or (channel := peer.channel) is None:
                self.state.counters.add("frames_of_strangers")
            else:
                self._on_numbered(peer, channel, envelope)
                if envelope.kind == _BYE:
                    peer = self.state.peer_at(route)

    def process_started(self, actor: int, incarnation: int, pid: int, start_time: int) -> None:
        """A StartProcess worked."""
        self.parts.incarnations.on_started(actor, incarnation, pid, start_time)

    def process_exited(
        self, actor: int, incarnation: int, reason: str, cpu_ns: int | None = None
    ) -> None:
        """A process is gone, or could not be started."""
        self.parts.run_time.exited(actor, incarnation, cpu_ns)
        self.parts.lifecycle.on_exited(actor, incarnation, reason)

    def process_inspected(
        self, actor: int, incarnation: int, *, is_stopped: bool, wants_cpu: bool, cpu_ns: int
    ) -> None:
        """What a silent agent's process does."""
        self.heartbeat.on_inspected(
            actor, incarnation, is_stopped=is_stopped, wants_cpu=wants_cpu, cpu_ns=cpu_ns
        )

    def storage(self, free_bytes: int) -> None:
        """Take note of how much room the journal's disk has."""
        self.state.free_bytes = free_bytes
        self.state.is_storage_low = free_bytes < self.state.config.free_space_mark_bytes

    def sampled(self, samples: Samples) -> None:
        """Take note of what was seen of the machine and of agents' processes."""
        self.parts.resources.sampled(samples)
        self.parts.run_time.sampled(samples)

    def request_shutdown(self) -> None:
        """Stop all agents in order, then emit Shutdown."""
        self.state.is_shutting_down = True

    def next_due_ns(self) -> int | None:
        """Return when ``begin`` has something to do, or None."""
        return self.state.timers.next_due_ns()

    def statistics(self) -> dict[str, int]:
        """Return the counters."""
        return self.state.statistics()

    def finish(self) -> Output:
        """Close the loop turn and return what it produced."""
        state, marks = self.state, self._marks
        self._settle()
        if state.touched:
            marks.write()
        output = state.output
        output.is_patient = True
        self._save_budgets(output.changes)
        if state.outgoing:
            outgoing, state.outgoing = state.outgoing, {}
            for route, (peer, batch) in outgoing.items():
                if marks.close(peer, batch):
                    output.early.add(route)
                elif len(batch) > 1 or batch[0].kind != _ACK:
                    output.is_patient = False
                output.frames.append((route, batch))
        state.output = Output()
        return output

    # --- inputs -------------------------------------------------------------------------

    def _on_unnumbered(self, route: bytes, envelope: Envelope) -> None:
        if envelope.kind == Kind.HELLO:
            self.parts.handshake.on_hello(route, envelope)
        elif envelope.kind == Kind.TICK:
            self.parts.handshake.on_tick(envelope)
        elif envelope.kind == Kind.ACK:
            peer = self.state.peer_at(route)
            if peer is not None:
                self.heartbeat.heard(peer.id)
                self._on_acknowledged(peer, envelope.acknowledged)
                if envelope.flags & Flag.WANT_ACK:
                    self._marks.want_ack(peer)
        else:
            self.state.counters.add("frames_unexpected")

    def _on_numbered(self, peer: Peer, channel: Channel, envelope: Envelope) -> None:
        if envelope.acknowledged > channel.heard:
            self._on_acknowledged(peer, envelope.acknowledged)
        if channel.receive(envelope) is None:
            self.state.counters.add("frames_repeated")
            self._marks.want_ack(peer)
            return
        self.state.touched[peer.id] = peer
        if envelope.flags & _WANT_ACK:
            self._marks.want_ack(peer)
        if isinstance(peer, ActorRecord):
            if peer.commit:  # its effects follow directly
                self._on_effect(peer, envelope)
                return
            handler = self._of_agent.get(envelope.kind)
        else:
            peer.heard_ns = self.state.now_ns
            handler = self._of_client.get(envelope.kind)
        if handler is None:
            self.state.counters.add("frames_unexpected")
            return
        try:
            handler(peer, envelope)
        except LLMOSError as error:
            self.delivery.refuse(peer, envelope, error)

    def _on_acknowledged(self, peer: Peer, mark: int) -> None:
        if isinstance(peer, Session):
            peer.heard_ns = self.state.now_ns
        self.delivery.acknowledged(peer, mark)

    def _agent_ask(self, record: ActorRecord, envelope: Envelope) -> None:
        turn = self._turn_of(record, envelope)
        if turn is None:
            return  # it is about to hear of it
        if envelope.receiver == 0:
            self.syscalls.on_call(record, turn, envelope)
        else:
            self.sending.agent_ask(record, turn, envelope)

    def _agent_reserve(self, record: ActorRecord, envelope: Envelope) -> None:
        turn = self._turn_of(record, envelope)
        if turn is not None:
            self.sending.reserve(record, turn, envelope)

    def _turn_of(self, record: ActorRecord, envelope: Envelope) -> Turn | None:
        """Return the open turn that an envelope is of, unless it is over for its agent."""
        turn = record.open.get(envelope.turn)
        if turn is None or turn.is_cancelled or record.is_refusing:
            return None
        return None if record.is_stale(turn, envelope.sequence) else turn

    def _agent_item(self, record: ActorRecord, envelope: Envelope) -> None:
        if self._turn_of(record, envelope) is not None:
            self.streams.on_item(record, envelope)

    def _client_tell(self, session: Session, envelope: Envelope) -> None:
        self.sending.client_tell(session, envelope)
        if envelope.message in session.held:
            last = self.delivery.last_unsent(session, Kind.HELD)
            if last is not None and last.correlation + last.message + 1 == envelope.correlation:
                last.message += 1
                return
            held = Envelope(Kind.HELD, 0, session.id, correlation=envelope.correlation)
            held.index = envelope.sequence & 0xFFFFFFFF
            self.state.post(session, held)

    def _client_ask(self, session: Session, envelope: Envelope) -> None:
        if envelope.receiver == 0:
            self.syscalls.on_call(session, None, envelope)
        else:
            self.sending.client_ask(session, envelope)

    def _client_bye(self, session: Session, envelope: Envelope) -> None:
        self.parts.handshake.end_session(session)
        if session.channel is not None:
            session.channel.cover()  # the farewell's ACK tells so; nothing is left to resume

    # --- time ---------------------------------------------------------------------------

    def _on_due(self, kind: Due, key: Any) -> None:
        if kind is Due.DEADLINE:
            self.delivery.expire(key)
        elif kind is Due.TIMER:
            self.parts.effects.fire_timer(key)
        elif kind is Due.BACKOFF:
            actor, sender, priority = key
            record = self.state.actors.get(actor)
            if record is not None:
                record.mailbox.unblock(sender, priority)
                self.state.mark_dirty(actor)
        elif kind is Due.RESTART:
            self.parts.supervision.on_restart_due(key)
        elif kind is Due.START_TIMEOUT:
            self.parts.lifecycle.on_start_timeout(*key)
        elif kind is Due.STOP_TIMEOUT:
            self.parts.lifecycle.on_stop_timeout(*key)
        elif kind is Due.ACK:
            self._marks.send_late()
        elif kind is Due.REMOTE:
            self.llm.on_due(key)
        elif kind is Due.POOL:
            self.parts.pools.on_due(key)
        elif kind is Due.RUN_TIME:
            self.parts.run_time.tick()
        elif kind is Due.SWEEP:
            self.parts.sweep.run()


_ACK = int(Kind.ACK)
_BYE = int(Kind.BYE)
_WANT_ACK = int(Flag.WANT_ACK)
