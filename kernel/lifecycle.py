"""The life of actors: spawn, exit, stop and restart on request, shutdown.

What happens when a process is gone depends on its ``plan`` (it was being stopped, restarted)
or else on how it ended: a farewell (BYE) was journaled, or it crashed. Processes themselves are
in kernel/incarnations.py, which has the invariants L1 and L2; what a crash leads to is in
kernel/supervision.py, the end of an actor for good in kernel/termination.py.
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.errors import (
    LimitError,
    NameTakenError,
    WrongStateError,
)
from ipc.errors import from_wire as error_from_wire
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, SpawnSpec
from kernel.actor_record import ActorRecord, Plan, Status
from kernel.incarnations import Incarnations
from kernel.output import Shutdown
from kernel.resources.shares import is_weighted
from kernel.supervision import Supervision
from kernel.timers import Due
from kernel.turns import Turns


class Lifecycle:
    """See the module head."""

    def __init__(self, incarnations: Incarnations, supervision: Supervision, turns: Turns) -> None:
        self.state = incarnations.state
        self.delivery = incarnations.delivery
        self.incarnations = incarnations
        self.supervision = supervision
        self.turns = turns
        self._told_to_leave = False

    # --- start --------------------------------------------------------------------------

    def spawn(
        self, spec: SpawnSpec, parent: int, *, spawn_call: int = 0, spawn_turn: int = 0
    ) -> ActorRecord:
        """Register a new actor and start its process.

        Raises:
            NameTakenError, LimitError, InfeasibleBudgetError, ReservationError,
            UnknownResourceError: nothing was registered.
        """
        inventory, reserved = self.state.inventory, spec.get("reserve", {})
        inventory.check(reserved)
        record = self.register(spec, parent, spawn_call=spawn_call, spawn_turn=spawn_turn)
        inventory.reserve(record.id, reserved)
        if is_weighted(spec):
            self.state.weighted[record.id] = None
        self.state.counters.add("spawns")
        self.incarnations.start(record)
        return record

    def register(
        self, spec: SpawnSpec, parent: int, *, spawn_call: int = 0, spawn_turn: int = 0
    ) -> ActorRecord:
        """Give a new actor its id, its name and its place in the tree; not journaled yet.

        Raises:
            NameTakenError, LimitError, InfeasibleBudgetError: nothing was registered.
        """
        state = self.state
        name = spec.get("name")
        owner = state.names.find(name) if name else None
        if name and owner is not None:
            raise NameTakenError(name=name, owner=owner)
        if len(state.actors) >= state.config.max_actors:
            limit = state.config.max_actors
            raise LimitError(what="actors", value=len(state.actors), limit=limit)
        identifier = state.new_id()
        name = name or f"{spec['qualname'].rpartition('.')[2].lower()}-{identifier & 0xFFFFFFFF}"
        above = state.actors.get(parent)
        account = above.account if above is not None else None
        record = ActorRecord(
            id=identifier,
            name=name,
            spec=spec,
            parent=parent,
            account=state.budgets.open(identifier, name, account, spec.get("budget", {})),
            mailbox=state.new_mailbox(spec.get("mailbox_messages"), spec.get("mailbox_bytes")),
            spawn_call=spawn_call,
            spawn_turn=spawn_turn,
        )
        state.actors[identifier] = record
        state.max_turns += record.concurrency
        state.names.claim(record.name, identifier)
        state.tree.add(parent, identifier)
        if parent:
            self.delivery.give_handle(record, parent)
        return record

    def on_start_timeout(self, actor: int, incarnation: int) -> None:
        """No hello came: of a fresh process, or of one that was to be adopted."""
        record = self.state.actors.get(actor)
        if record is None or record.incarnation != incarnation or record.channel is not None:
            return
        if record.is_stopped:
            return  # its time begins anew when it goes on
        record.crash_reason = "it did not say hello in time"
        if record.pid is None:
            self.on_exited(actor, incarnation, record.crash_reason)
        else:
            self.incarnations.kill(record)

    # --- exit ---------------------------------------------------------------------------

    def on_bye(self, record: ActorRecord, envelope: Envelope) -> None:
        """The agent says farewell; its exit will be a normal one."""
        record.said_bye = True
        if envelope.flags & Flag.FAILED:
            error = error_from_wire(decode_plain(envelope.payload))
            self.state.llm.not_loaded[record.id] = error
            record.status = Status.FAILED
            record.last_error = {"code": error.code, "fields": error.fields}
            record.failures += 1
            self.state.timers.cancel(Due.START_TIMEOUT, (record.id, record.incarnation))
            self.state.note_member(record)
            self.incarnations.refuse_starters(record, error)
            self.supervision.tell_parent(record, "failed", will_restart=False)
            self.supervision.tell_monitors(record, "failed")
            if record.incarnation == 1:  # it never worked: its spawner was told, its name is free
                self.state.doomed[record.id] = "its class could not be loaded"
        self.state.save_actor(record)

    def on_exited(self, actor: int, incarnation: int, reason: str) -> None:
        """A process is gone: fence it, give its messages back, and decide what comes next."""
        state = self.state
        self.incarnations.forget_condemned(actor, incarnation)
        record = state.actors.get(actor)
        if record is None or record.incarnation != incarnation:
            return
        if not record.has_process and record.pid is None and record.channel is None:
            return
        reason = record.crash_reason or reason
        crashed = not record.said_bye
        self.incarnations.detach(record)
        is_own_crash = crashed and record.plan is Plan.NONE
        self.turns.requeue_after_crash(record, is_own_crash=is_own_crash)
        if is_own_crash:
            record.failures += 1
            record.last_error = {"code": 0, "fields": {"reason": reason}}
            state.counters.add("crashes")
        self._next_life(record, reason, crashed=crashed)
        if state.is_shutting_down:
            self.advance_shutdown()

    def _next_life(self, record: ActorRecord, reason: str, *, crashed: bool) -> None:
        self._answer_stoppers(record)
        if record.plan is Plan.RESTART:
            self.incarnations.start(record)
        elif record.status is Status.QUARANTINED:
            record.plan = Plan.NONE
            self.state.save_actor(record)
        elif record.plan is Plan.STOP or self.state.is_shutting_down:
            self._stopped(record)
        elif record.status is Status.FAILED:
            self.state.save_actor(record)
        elif not self.supervision.supervise(record, reason, crashed=crashed):
            self._stopped(record)

    def _stopped(self, record: ActorRecord) -> None:
        record.status = Status.STOPPED
        record.plan = Plan.NONE
        self.state.save_actor(record)
        self.state.note_member(record)
        self._answer_stoppers(record)
        if not self.state.is_shutting_down:
            problem = "it was stopped before it had said hello"
            error = WrongStateError(actor=record.name, state="stopped", problem=problem)
            self.incarnations.refuse_starters(record, error)

    def _answer_stoppers(self, record: ActorRecord) -> None:
        for identifier in record.stop_waiters:
            call = self.state.calls.get(identifier)
            if call is not None:
                self.delivery.answer(call, encode_plain({}))
        record.stop_waiters.clear()

    # --- stop and restart on request ----------------------------------------------------

    def stop(self, record: ActorRecord, plan: Plan = Plan.STOP) -> None:
        """Let the agent finish its turns and end; kill it after the grace period."""
        state = self.state
        need_process(record)
        if self._is_lingering(record):
            self._end_lingering(record, plan)
            return
        if not record.has_process:
            state.timers.cancel(Due.RESTART, record.id)
            if record.status is Status.BACKOFF or plan is Plan.STOP:
                self._stopped(record)
            return
        record.plan = plan
        if record.status is Status.STOPPING:
            pass  # it has been told; what comes afterwards may have changed
        elif record.channel is None or record.is_stopped:
            self.incarnations.kill(record)
        else:
            record.status = Status.STOPPING
            self.incarnations.post_stop(record)
        state.save_actor(record)

    def _is_lingering(self, record: ActorRecord) -> bool:
        """Say whether a failed or quarantined actor's process is not known to be gone (L1)."""
        return not record.has_process and (record.pid is not None or record.channel is not None)

    def _end_lingering(self, record: ActorRecord, plan: Plan) -> None:
        record.plan = plan
        self.incarnations.kill(record)
        self.state.save_actor(record)

    def on_stop_timeout(self, actor: int, incarnation: int) -> None:
        """The agent did not end in time."""
        record = self.state.actors.get(actor)
        if record is not None and record.incarnation == incarnation and record.has_process:
            self.incarnations.kill(record)

    def restart(self, record: ActorRecord) -> None:
        """Replace the process; past restarts are forgiven."""
        need_process(record)
        self.supervision.forgive(record)
        if record.has_process or self._is_lingering(record):
            self.stop(record, Plan.RESTART)
        else:
            self.state.timers.cancel(Due.RESTART, record.id)
            self.incarnations.start(record)

    # --- shutdown -----------------------------------------------------------------------

    def shut_down(self) -> None:
        """Stop all agents, children before parents and in reverse order; then leave."""
        self.state.is_shutting_down = True
        self.advance_shutdown()

    def advance_shutdown(self) -> None:
        """Stop whoever is next; say Shutdown when nobody is left."""
        self._stop_last_of(0)
        if not self._told_to_leave and not any(
            record.has_process or record.pid is not None for record in self.state.actors.values()
        ):
            self._told_to_leave = True
            self.state.output.commands.append(Shutdown())

    def _stop_last_of(self, parent: int) -> bool:
        """Stop the last living child of each supervisor; False when none is left here."""
        for child in reversed(self.state.tree.children(parent)):
            record = self.state.actors[child]
            if self._stop_last_of(child):
                return True
            if record.has_process:
                self.stop(record)
                if record.has_process:
                    return True
        return False


def need_process(record: ActorRecord) -> None:
    """Raise WrongStateError for a pool: there is no process to stop or to replace."""
    if record.pool is not None:
        problem = "it has no process of its own; name a member, resize it or remove it"
        raise WrongStateError(actor=record.name, state="a pool", problem=problem)
