"""The kernel's core: a deterministic state machine. Frames, time and process events come in;
frames, journal records and process commands go out (kernel/driver.py is its door).

What it is not: sockets, files, processes (kernel/daemon.py), policy. It does no I/O, reads no
clock and draws randomness only from the given source, so one seed gives one history.

Order within a loop turn: ``begin`` (due timers), ``receive`` and process events as they come,
``finish`` (settle what was left to do, grant messages, write marks). Everything a loop turn
changes is one write set, and its frames leave after that is committed: the output rule.

Cost: about 10 us of Python an envelope. Owner: one loop.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ext.wire import Envelope
from ipc.errors import LLMOSError
from ipc.protocol import Flag, Kind
from kernel.actor_record import ActorRecord, Turn
from kernel.budget.budget_calls import BudgetCalls
from kernel.budget.counted_calls import CountedCalls
from kernel.budget.postage import Postage
from kernel.budget.run_time import RunTime
from kernel.budget.upkeep import BudgetUpkeep
from kernel.config import KernelConfig
from kernel.dead_letters import DeadLetterQueue
from kernel.delivery import Delivery
from kernel.effects import Effects
from kernel.handshake import Handshake
from kernel.heartbeat import Heartbeat
from kernel.lifecycle import Lifecycle
from kernel.llm.drains import Drains
from kernel.llm.named_policies import NamedPolicies
from kernel.llm.service import LlmService
from kernel.output import Output
from kernel.peers import Session
from kernel.policy.policy_names import POLICIES, check_name
from kernel.policy_calls import PolicyCalls
from kernel.pool_calls import PoolCalls
from kernel.pool_keeper import PoolKeeper
from kernel.pool_takeover import PoolTakeover
from kernel.records import Snapshot
from kernel.recovery import Recovery
from kernel.registry import NameTable
from kernel.reports import Reports
from kernel.resources.resource_calls import ResourceCalls
from kernel.resources.samples import Samples
from kernel.sending import Sending
from kernel.settings import Settings
from kernel.slots import SlotLine
from kernel.state import KernelState, Peer, signed
from kernel.streams import Streams
from kernel.syscalls import DEFERRED, Syscalls
from kernel.termination import Termination
from kernel.timers import Due
from kernel.turn_order import TurnOrder
from kernel.turns import Turns

Take = Callable[[Any, Envelope], None]  # takes an envelope of an agent, or of a client

ACK_EVERY = 64  # envelopes taken from one peer before it is told without being asked
ACK_DELAY_NS = 20_000_000
SWEEP_NS = 1_000_000_000  # resend to peers without progress; expire sessions, keys, letters


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
        knows, for ``status``: version, durability, journal_bytes, rss_bytes.
        Raises:
            UnknownPolicyError: there is no policy of the name that the configuration gives.
        """
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
        turn_policy, llm_policy = (self._policy(key) for key in ("turn_policy", "llm_policy"))
        self.state.slots.set_policy(turn_policy)
        self._compose(snapshot, facts, llm_policy)
        self._progress: dict[int, tuple[int, int]] = {}
        self._ack_later: dict[int, Peer] = {}
        self._parked: dict[int, None] = {}  # turns that waited at the last sweep
        recovery = Recovery(snapshot, self.delivery, self.postage)
        recovery.load(self.effects, self.turns)
        self.llm.load(snapshot)
        self.resources.load(snapshot)
        recovery.bring_up(self.lifecycle, self.syscalls)
        self.run_time.adopt()
        self.llm.forget_unclaimed()
        self.state.timers.set(Due.SWEEP, 0, monotonic_ns + SWEEP_NS)

    def _policy(self, key: str) -> str:
        """Return the policy that was set, or else the configured one.

        Raises:
            UnknownPolicyError: there is none of the name that the configuration gives.
        """
        configured = str(getattr(self.state.config, key))
        check_name(configured)
        chosen = self.state.settings.get(key) or configured
        if chosen in POLICIES:
            return chosen
        self.state.counters.add("settings_ignored")  # set by a kernel that knew more policies
        return configured

    def _compose(
        self, rows: Snapshot, facts: Callable[[], dict[str, Any]], llm_policy: str
    ) -> None:
        self.delivery = Delivery(self.state)
        self.postage = Postage(self.delivery)
        self.streams = Streams(self.delivery)
        self.sending = Sending(self.delivery, self.streams, self.postage)
        self.effects = Effects(self.delivery, self.postage)
        self.turns = Turns(self.delivery, self.effects)
        self.lifecycle = Lifecycle(self.delivery, self.turns)
        self.run_time = RunTime(self.lifecycle)
        self.upkeep = BudgetUpkeep(self.run_time)
        takeover = PoolTakeover(self.delivery)
        self.pools = PoolKeeper(self.lifecycle, takeover)
        self.termination = Termination(
            self.delivery, self.turns, self.effects, self.lifecycle, takeover
        )
        self.heartbeat = Heartbeat(self.state)
        self.handshake = Handshake(self.lifecycle, self.streams, self.effects, self.heartbeat)
        policies = NamedPolicies(llm_policy)
        self.llm = LlmService(self.sending, self.lifecycle, policies, DEFERRED)
        reports = Reports(self.state, facts)
        pool_calls = PoolCalls(self.sending, self.termination, self.pools, DEFERRED)
        self.policy_calls = PolicyCalls(self.delivery, self.llm)
        more = self.llm.calls() | pool_calls.calls() | self.policy_calls.calls()
        more |= BudgetCalls(self.run_time).calls()
        self.recorded = self.llm.recorder.told
        self.resources = ResourceCalls(self.state, Drains(self.llm.fleet), facts)
        more |= self.resources.calls()
        counted = CountedCalls(self.delivery, rows, DEFERRED)
        self.syscalls = Syscalls(self.sending, self.termination, reports, counted.wrap(more))
        self._of_agent: dict[int, Take] = {
            Kind.COMMIT: self.turns.on_commit,
            Kind.ASK: self._agent_ask,
            Kind.ITEM: self._agent_item,
            Kind.CANCEL: self.sending.on_cancel,
            Kind.STREAM_CREDIT: self.streams.on_credit,
            Kind.RESERVE: self._agent_reserve,
            Kind.RETURN: self.sending.on_return,
            Kind.RESUME: self.turns.on_resume,
            Kind.BYE: self.lifecycle.on_bye,
            Kind.ENGINE: self.llm.on_engine,
            Kind.PREPARED: self.llm.on_engine,
            Kind.REPORT: self.llm.on_engine,
            Kind.PIECE: self.llm.on_engine,
            Kind.DONE: self.llm.on_engine,
        }
        self._of_client: dict[int, Take] = {
            Kind.TELL: self._client_tell,
            Kind.ASK: self._client_ask,
            Kind.CANCEL: self.sending.on_cancel,
            Kind.STREAM_CREDIT: self.streams.on_credit,
            Kind.BYE: self._client_bye,
        }

    # --- the driver's door --------------------------------------------------------------

    def begin(self, monotonic_ns: int, wall_ns: int) -> None:
        """Open a loop turn; what is due happens here."""
        self.state.now_ns, self.state.wall_ns = monotonic_ns, wall_ns
        if self.state.timers.is_due(monotonic_ns):
            for kind, key in self.state.timers.pop_due(monotonic_ns):
                self._on_due(kind, key)

    def receive(self, route: bytes, envelopes: list[Envelope]) -> None:
        """Take one decoded batch from a connection."""
        peer = self._peer_at(route)
        for envelope in envelopes:
            if not envelope.sequence:
                self._on_unnumbered(route, envelope)
                peer = self._peer_at(route)
            elif peer is None or peer.channel is None:
                self.state.counters.add("frames_of_strangers")
            else:
                self._on_numbered(peer, envelope)
                if envelope.kind == _BYE:
                    peer = self._peer_at(route)

    def _peer_at(self, route: bytes) -> Peer | None:
        """Return who has proved to be at the other end of a connection."""
        owner = self.state.peers.owner(route)
        return self.state.peer(owner) if owner is not None else None

    def process_started(self, actor: int, incarnation: int, pid: int, start_time: int) -> None:
        """A StartProcess worked."""
        self.lifecycle.on_started(actor, incarnation, pid, start_time)

    def process_exited(
        self, actor: int, incarnation: int, reason: str, cpu_ns: int | None = None
    ) -> None:
        """A process is gone, or could not be started."""
        self.run_time.exited(actor, incarnation, cpu_ns)
        self.lifecycle.on_exited(actor, incarnation, reason)

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
        self.resources.sampled(samples)
        self.run_time.sampled(samples)

    def request_shutdown(self) -> None:
        """Stop all agents in order, then emit Shutdown."""
        self.state.is_shutting_down = True

    def next_due_ns(self) -> int | None:
        """Return when ``begin`` has something to do, or None."""
        return self.state.timers.next_due_ns()

    def finish(self) -> Output:
        """Close the loop turn and return what it produced."""
        state = self.state
        self._settle()
        self._mark()
        self.upkeep.save(state.output.changes)
        output = state.output
        output.is_patient = True
        for route, (peer, batch) in state.outgoing.items():
            is_early = self._close_batch(peer, batch)
            if is_early:
                output.early.add(route)
            elif len(batch) > 1 or batch[0].kind != _ACK:
                output.is_patient = False
            output.frames.append((route, batch))
        state.outgoing = {}
        state.output = Output()
        return output

    def _close_batch(self, peer: Peer, batch: list[Envelope]) -> bool:
        """Give the batch its mark; say whether it may leave early: then it tells nothing new."""
        is_early = isinstance(peer, ActorRecord) and _all_grants(batch)
        for envelope in batch:
            if not 0 < envelope.sequence <= peer.resent_to:
                envelope.acknowledged = peer.told  # it must not outrun a refusal further on
        is_news = not 0 < batch[-1].sequence <= peer.resent_to
        if peer.channel is not None and is_news and not is_early:
            batch[-1].acknowledged = peer.told = peer.channel.covered
            self._ack_later.pop(peer.id, None)
        return is_early

    # --- inputs -------------------------------------------------------------------------

    def _on_unnumbered(self, route: bytes, envelope: Envelope) -> None:
        if envelope.kind == Kind.HELLO:
            self.handshake.on_hello(route, envelope)
        elif envelope.kind == Kind.TICK:
            self.handshake.on_tick(envelope)
        elif envelope.kind == Kind.ACK:
            peer = self._peer_at(route)
            if peer is not None:
                self.heartbeat.heard(peer.id)
                self._on_acknowledged(peer, envelope.acknowledged)
                if envelope.flags & Flag.WANT_ACK:
                    self._want_ack(peer)
        else:
            self.state.counters.add("frames_unexpected")

    def _on_numbered(self, peer: Peer, envelope: Envelope) -> None:
        channel = peer.channel
        assert channel is not None
        if envelope.acknowledged > channel.heard:
            self._on_acknowledged(peer, envelope.acknowledged)
        if channel.receive(envelope) is None:
            self.state.counters.add("frames_repeated")
            self._want_ack(peer)
            return
        self.state.touched[peer.id] = peer
        if envelope.flags & _WANT_ACK:
            self._want_ack(peer)
        if isinstance(peer, ActorRecord):
            if peer.commit:  # its effects follow directly
                self.turns.on_effect(peer, envelope)
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
        self.handshake.end_session(session)
        if session.channel is not None:
            session.channel.cover()  # the farewell's ACK tells so; nothing is left to resume

    # --- time ---------------------------------------------------------------------------

    def _on_due(self, kind: Due, key: Any) -> None:
        if kind is Due.DEADLINE:
            self.delivery.expire(key)
        elif kind is Due.TIMER:
            self.effects.fire_timer(key)
        elif kind is Due.BACKOFF:
            actor, sender, priority = key
            record = self.state.actors.get(actor)
            if record is not None:
                record.mailbox.unblock(sender, priority)
                self.state.mark_dirty(actor)
        elif kind is Due.RESTART:
            self.lifecycle.on_restart_due(key)
        elif kind is Due.START_TIMEOUT:
            self.lifecycle.on_start_timeout(*key)
        elif kind is Due.STOP_TIMEOUT:
            self.lifecycle.on_stop_timeout(*key)
        elif kind is Due.ACK:
            self._send_late_acks()
        elif kind is Due.REMOTE:
            self.llm.on_due(key)
        elif kind is Due.POOL:
            self.pools.on_due(key)
        elif kind is Due.RUN_TIME:
            self.run_time.tick()
        elif kind is Due.SWEEP:
            self._sweep()

    def _sweep(self) -> None:
        """Once a second: resend where nothing moved; forget what is too old."""
        state = self.state
        state.timers.set(Due.SWEEP, 0, state.now_ns + SWEEP_NS)
        self.handshake.expire_sessions()
        self.heartbeat.sweep()
        self.delivery.letters.expire()
        self._break_old_rings()
        self.llm.tick()
        self.run_time.tick()
        progress: dict[int, tuple[int, int]] = {}
        peers: list[Peer] = [*state.actors.values(), *state.peers.sessions.values()]
        for peer in peers:
            channel = peer.channel
            if channel is None or not channel.num_kept or peer.route is None:
                continue
            if isinstance(peer, ActorRecord) and peer.is_stopped:
                continue  # it stands still for want of budget
            now = (state.epoch, channel.next_sequence - channel.num_kept)
            progress[peer.id] = now
            if self._progress.get(peer.id) == now:
                peer.resent_to = channel.next_sequence - 1
                for envelope in channel.kept_as_sent():
                    state.post_unnumbered(peer.route, envelope, peer)
                state.counters.add("resends")
        self._progress = progress
        old = [key for key, keyed in state.keyed.items() if keyed.expires_wall_ns < state.wall_ns]
        for digest in old:
            del state.keyed[digest]
            state.output.changes.delete("keyed", digest)

    def _break_old_rings(self) -> None:
        """Look for rings among turns that have waited since the last sweep."""
        parked: dict[int, None] = {}
        for record in self.state.actors.values():
            for identifier, turn in record.open.items():
                if turn.is_parked:
                    parked[identifier] = None
        self.sending.break_rings([turn for turn in parked if turn in self._parked])
        self._parked = parked

    # --- the end of a loop turn ---------------------------------------------------------

    def _settle(self) -> None:
        """Do what was left to do, until nothing is: terminations, crashes, grants, answers."""
        state = self.state
        while state.doomed or state.crashed or state.dirty or self._is_unsettled():
            if state.pools_due:
                self.pools.settle()
            while state.doomed:
                actor, reason = next(iter(state.doomed.items()))
                del state.doomed[actor]
                record = state.actors.get(actor)
                if record is not None:
                    self.termination.terminate(record, reason)
            while state.crashed:
                actor, reason = state.crashed.popitem()
                record = state.actors.get(actor)
                if record is not None:
                    self.lifecycle.crash(record, reason)
            if self.llm.is_unsettled:
                self.llm.settle()
            if self.upkeep.accounts:
                self.upkeep.settle()
            self._pump_dirty()
        self.llm.plan()
        if state.is_shutting_down:
            self.lifecycle.shut_down()

    def _is_unsettled(self) -> bool:
        if self.state.pools_due or (self.upkeep.accounts and self.upkeep.is_unsettled):
            return True
        return self.llm.is_unsettled or self._line_moves()

    def _pump_dirty(self) -> None:
        state = self.state
        while state.dirty:
            dirty, state.dirty = state.dirty, {}
            for actor in dirty:
                record = state.actors.get(actor)
                if record is not None:
                    self.delivery.pump(record)

    def _line_moves(self) -> bool:
        """Let those in line for a slot go on; say whether any could."""
        slots, moved = self.state.slots, False
        if slots.order is not None:
            return self._order_moves(slots.order)
        if not slots.waiting:
            return False
        while (call := slots.take_answer()) is not None:
            self.delivery.resume_next(call)
            moved = True
        while (actor := slots.take_actor()) is not None:
            record = self.state.actors.get(actor)
            if record is not None:
                self.delivery.pump(record, has_slot=True)
            moved = True
        return moved

    def _order_moves(self, order: TurnOrder) -> bool:
        """As ``_line_moves``, where a policy orders the line."""
        slots, moved = self.state.slots, False
        order.settle(self.state.now_ns)
        while slots.used < slots.limit and (seat := order.take(self.state.now_ns)) is not None:
            self.delivery.grant_next(seat)
            moved = True
        return moved

    # --- marks --------------------------------------------------------------------------

    def _mark(self) -> None:
        """Journal how far each peer has been heard; from here on it may be told so."""
        state = self.state
        put = state.output.changes.put
        for identifier, peer in state.touched.items():
            channel = peer.channel
            if channel is None:
                continue
            covered = channel.covered = _safe_mark(peer, channel.taken)
            put("mark", signed(identifier), (peer.incarnation, covered))
            if covered - peer.told >= ACK_EVERY:
                self._want_ack(peer)
            if identifier not in self._ack_later:
                if not self._ack_later:
                    state.timers.set(Due.ACK, 0, state.now_ns + ACK_DELAY_NS)
                self._ack_later[identifier] = peer
        state.touched = {}

    def _want_ack(self, peer: Peer) -> None:
        """Acknowledge at the end of this loop turn, whatever else is sent."""
        if peer.route is not None and peer.route not in self.state.outgoing:
            last = peer.channel.next_sequence - 1 if peer.channel is not None else 0
            ack = Envelope(Kind.ACK, 0, peer.id, message=last)  # a lost refusal stops its mark
            self.state.post_unnumbered(peer.route, ack, peer)

    def _send_late_acks(self) -> None:
        later, self._ack_later = self._ack_later, {}
        for peer in later.values():
            if peer.channel is not None and peer.told < peer.channel.covered:
                self._want_ack(peer)

    def statistics(self) -> dict[str, int]:
        """Return the counters."""
        return self.state.statistics()


def _safe_mark(peer: Peer, taken: int) -> int:
    """Return how far a peer may forget what it sent.

    The parts of a commit that is still arriving are only in memory, and so is the refusal of
    one: until its agent says RESUME, the next kernel must be able to refuse it again.
    """
    if isinstance(peer, ActorRecord):
        if peer.is_refusing:
            return min(taken, peer.refused_from - 1)
        if peer.commit:
            return int(peer.commit[0].sequence) - 1
    return taken


def _all_grants(batch: list[Envelope]) -> bool:
    """Say whether all that is to be sent to an agent are messages new to it, and room."""
    for envelope in batch:
        if envelope.kind not in _GRANTS or not envelope.sequence:
            return False
        if envelope.flags & _REDELIVERED:
            return False  # which calls the attempt before had made must be forgotten durably
    return True


_ACK = int(Kind.ACK)
_BYE = int(Kind.BYE)
_WANT_ACK = int(Flag.WANT_ACK)
_GRANTS = (int(Kind.ASK), int(Kind.TELL), int(Kind.CREDIT))
_REDELIVERED = int(Flag.REDELIVERED)
