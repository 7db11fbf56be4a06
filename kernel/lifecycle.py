"""The life of actors: spawn, start, exit, restart, stop, quarantine.

What happens when a process is gone depends on its ``plan`` (it was being stopped, restarted)
or else on how it ended: a farewell (BYE) was journaled, or it crashed. Supervision is in
OTP's words (kernel/supervisor.py decides, this file acts). The end of an actor for good is in
kernel/termination.py.

Invariants:
  L1  an incarnation is journaled before its process is started, and a new one is started
      only when the process of the one before is known to be gone.
  L2  an actor without a process has no route, no channel, no slot, no credit.
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.auth import hash_token
from ipc.errors import (
    LimitError,
    LLMOSError,
    NameTakenError,
    QuarantinedError,
    WrongStateError,
)
from ipc.errors import from_wire as error_from_wire
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import ON_CHILD_EXIT, ON_DOWN, Flag, Kind, SpawnSpec
from kernel.actor_record import ActorRecord, Plan, Status
from kernel.delivery import Delivery
from kernel.output import KillProcess, Shutdown, StartProcess
from kernel.resources.shares import is_weighted
from kernel.supervisor import Restart, RestartWindow, Strategy, backoff_ns
from kernel.timers import Due
from kernel.turns import Turns


class Lifecycle:
    """See the module head."""

    def __init__(self, delivery: Delivery, turns: Turns) -> None:
        self.state = delivery.state
        self.delivery = delivery
        self.turns = turns
        self._windows: dict[tuple[int, bool], RestartWindow] = {}  # by _window_key
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
        self.start(record)
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

    def start(self, record: ActorRecord) -> None:
        """Start a new incarnation (L1: there is no process of an older one)."""
        state = self.state
        if record.account is not None and self._hold_start(record):
            return
        token = f"{state.rng.getrandbits(256):064x}"
        record.incarnation += 1
        record.token_hash = hash_token(token)
        record.status = Status.STARTING
        record.plan = Plan.NONE
        record.said_bye = False
        record.is_wanted = True
        record.is_watched = True
        record.attempt = record.sent_before = 0
        record.pid = record.start_time = None
        state.save_actor(record)
        state.output.changes.delete("mark", record.id)
        due_ns = state.now_ns + int(state.config.start_timeout_s * 1e9)
        state.timers.set(Due.START_TIMEOUT, (record.id, record.incarnation), due_ns)
        command = StartProcess(record.id, record.incarnation, token, record.name, record.spec)
        state.output.commands.append(command)
        state.counters.add("starts")

    def _hold_start(self, record: ActorRecord) -> bool:
        """Start nothing for an actor that has no CPU or wall time left; it is started later."""
        assert record.account is not None
        resource = self.state.budgets.run_book.missing(record.account)
        if resource is None:
            return False
        record.status, record.plan, record.is_wanted = Status.BACKOFF, Plan.NONE, True
        record.suspended.add(resource)
        self.state.budgets.held_starts[record.id] = None
        self.state.save_actor(record)
        return True

    def on_started(self, actor: int, incarnation: int, pid: int, start_time: int) -> None:
        """The process exists; it has not said hello yet."""
        record = self.state.actors.get(actor)
        if record is not None and record.incarnation == incarnation and record.has_process:
            record.pid, record.start_time = pid, start_time
            record.started_wall_ns = self.state.wall_ns
            if record.account is not None:
                budgets = self.state.budgets
                budgets.run_book.begin(actor, incarnation, self.state.wall_ns, is_new=True)
                budgets.begun[actor] = None
            self.state.save_actor(record)

    def on_up(self, record: ActorRecord) -> None:
        """The incarnation has said its first hello."""
        state = self.state
        state.timers.cancel(Due.START_TIMEOUT, (record.id, record.incarnation))
        self.state.note_member(record)
        facts = {"actor": record.id, "name": record.name, "incarnation": record.incarnation}
        body = encode_plain(facts)
        self._answer_starters(record, body)

    def _answer_starters(self, record: ActorRecord, body: bytes) -> None:
        for identifier in record.start_waiters:
            call = self.state.calls.get(identifier)
            if call is not None:
                owner = self.state.actors.get(call.owner)
                if owner is not None:
                    self.delivery.give_handle(owner, record.id)
                self.delivery.answer(call, body)
        record.start_waiters.clear()

    def _refuse_starters(self, record: ActorRecord, error: LLMOSError) -> None:
        for identifier in record.start_waiters:
            call = self.state.calls.get(identifier)
            if call is not None:
                self.delivery.answer_error(call, error)
        record.start_waiters.clear()

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
            self.kill_process(record)

    # --- exit ---------------------------------------------------------------------------

    def kill_process(self, record: ActorRecord) -> None:
        """Ask for SIGKILL of the process tree; ``on_exited`` follows."""
        command = KillProcess(record.id, record.incarnation, record.pid, record.start_time)
        self.state.output.commands.append(command)

    def crash(self, record: ActorRecord, reason: str) -> None:
        """End a process that hangs or whose on_start failed; its exit counts as a crash."""
        if record.has_process and record.crash_reason is None:
            record.crash_reason = reason
            self.kill_process(record)

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
            self._refuse_starters(record, error)
            self.tell_parent(record, "failed", will_restart=False)
            self.tell_monitors(record, "failed")
            if record.incarnation == 1:  # it never worked: its spawner was told, its name is free
                self.state.doomed[record.id] = "its class could not be loaded"
        self.state.save_actor(record)

    def on_exited(self, actor: int, incarnation: int, reason: str) -> None:
        """A process is gone: fence it, give its messages back, and decide what comes next."""
        state = self.state
        record = state.actors.get(actor)
        if record is None or record.incarnation != incarnation:
            return
        if not record.has_process and record.pid is None and record.channel is None:
            return
        reason = record.crash_reason or reason
        crashed = not record.said_bye
        self.detach(record)
        is_own_crash = crashed and record.plan is Plan.NONE
        self.turns.requeue_after_crash(record, is_own_crash=is_own_crash)
        if is_own_crash:
            record.failures += 1
            record.last_error = {"code": 0, "fields": {"reason": reason}}
            state.counters.add("crashes")
        self._next_life(record, reason, crashed=crashed)
        if state.is_shutting_down:
            self.advance_shutdown()

    def detach(self, record: ActorRecord) -> None:
        """Take from an actor all that a process has (L2)."""
        state = self.state
        state.timers.cancel(Due.START_TIMEOUT, (record.id, record.incarnation))
        state.timers.cancel(Due.STOP_TIMEOUT, (record.id, record.incarnation))
        state.peers.unbind(record.route)
        record.route = None
        record.channel = None
        record.pid = record.start_time = None
        record.crash_reason = None
        record.handled = 0
        state.touched.pop(record.id, None)
        state.llm.lost_processes.append(record.id)
        state.note_member(record)
        state.output.changes.delete("mark", record.id)
        self.delivery.room.take_back_all(record)
        if record.account is not None:
            record.is_stopped = False
            state.budgets.run_book.end(record.id, state.wall_ns)

    def _next_life(self, record: ActorRecord, reason: str, *, crashed: bool) -> None:
        self._answer_stoppers(record)
        if record.plan is Plan.RESTART:
            self.start(record)
        elif record.status is Status.QUARANTINED:
            record.plan = Plan.NONE
            self.state.save_actor(record)
        elif record.plan is Plan.STOP or self.state.is_shutting_down:
            self._stopped(record)
        elif record.status is Status.FAILED:
            self.state.save_actor(record)
        else:
            self._supervise(record, reason, crashed=crashed)

    def _stopped(self, record: ActorRecord) -> None:
        record.status = Status.STOPPED
        record.plan = Plan.NONE
        self.state.save_actor(record)
        self.state.note_member(record)
        self._answer_stoppers(record)
        if not self.state.is_shutting_down:
            problem = "it was stopped before it had said hello"
            error = WrongStateError(actor=record.name, state="stopped", problem=problem)
            self._refuse_starters(record, error)

    def _answer_stoppers(self, record: ActorRecord) -> None:
        for identifier in record.stop_waiters:
            call = self.state.calls.get(identifier)
            if call is not None:
                self.delivery.answer(call, encode_plain({}))
        record.stop_waiters.clear()

    # --- supervision --------------------------------------------------------------------

    def _supervise(self, record: ActorRecord, reason: str, *, crashed: bool) -> None:
        kind = Restart(record.spec.get("restart") or "permanent")
        if not kind.wants_restart(crashed=crashed):
            if kind is Restart.TEMPORARY:
                self.state.doomed[record.id] = f"temporary, and it ended: {reason}"
            else:
                self.tell_parent(record, reason, will_restart=False)
                record.is_wanted = False
                self._stopped(record)
            return
        window = self._window(record)
        if not window.admit(self.state.now_ns):
            self._quarantine_group(record, window)
            return
        self.tell_parent(record, reason, will_restart=True)
        for identifier in self._group(record):
            member = self.state.actors[identifier]
            if member is record:
                self._restart_later(record, window.recent)
            elif member.has_process and member.plan is Plan.NONE:
                member.plan = Plan.RESTART
                self.kill_process(member)

    def _group(self, record: ActorRecord) -> list[int]:
        siblings = self.state.tree.children(record.parent)
        parent = self.state.actors.get(record.parent)
        name = parent.declares.get("strategy", "one_for_one") if parent else "one_for_one"
        return Strategy(name).group(record.id, siblings)

    def _window(self, record: ActorRecord) -> RestartWindow:
        """Return what counts this actor's restarts: its supervisor's window, or its own."""
        key = self._window_key(record)
        if key not in self._windows:
            config, (supervisor, is_shared) = self.state.config, key
            declares = self.state.actors[supervisor].declares if is_shared else {}
            intensity = declares.get("intensity", config.restart_intensity)
            period_s = declares.get("period_s", config.restart_period_s)
            self._windows[key] = RestartWindow(intensity, int(period_s * 1e9))
        return self._windows[key]

    def _window_key(self, record: ActorRecord) -> tuple[int, bool]:
        """Return (supervisor, True) for what its children share, (actor, False) for its own.

        One member of a pool that keeps crashing shall not take the others along.
        """
        parent = self.state.actors.get(record.parent)
        if parent is None or parent.pool is not None:
            return (record.id, False)
        return (parent.id, True)

    def forget_windows(self, record: ActorRecord) -> None:
        """Drop the restart counts of an actor that is gone, and of its children."""
        for is_shared in (False, True):
            self._windows.pop((record.id, is_shared), None)

    def _restart_later(self, record: ActorRecord, recent: int) -> None:
        """Restart at once after a first crash, with growing delays after further ones."""
        record.restarts += 1
        record.status = Status.BACKOFF
        config, delay_ns = self.state.config, 0
        if recent > 1:
            delay_ns = backoff_ns(
                recent - 1,
                config.backoff_initial_s,
                config.backoff_max_s,
                config.backoff_jitter,
                self.state.rng,
            )
        self.state.save_actor(record)
        self.state.counters.add("restarts")
        if delay_ns:
            self.state.timers.set(Due.RESTART, record.id, self.state.now_ns + delay_ns)
        else:
            self.start(record)

    def on_restart_due(self, actor: int) -> None:
        """The backoff of a crashed actor is over."""
        record = self.state.actors.get(actor)
        if record is not None and record.status is Status.BACKOFF:
            self.start(record)

    def _quarantine_group(self, record: ActorRecord, window: RestartWindow) -> None:
        for identifier in self._group(record):
            member = self.state.actors[identifier]
            self._quarantine(member, window)

    def _quarantine(self, record: ActorRecord, window: RestartWindow) -> None:
        period_s = window.period_ns / 1e9
        error = QuarantinedError(actor=record.name, restarts=window.intensity, period=period_s)
        if record.has_process and record.channel is not None:
            record.plan = Plan.STOP
            self.kill_process(record)
        record.status = Status.QUARANTINED
        record.last_error = {"code": error.code, "fields": error.fields}
        self.state.timers.cancel(Due.RESTART, record.id)
        self.state.save_actor(record)
        self.state.counters.add("quarantined")
        self._refuse_starters(record, error)
        self.tell_parent(record, "quarantined", will_restart=False)
        self.tell_monitors(record, "quarantined")

    def tell_parent(self, record: ActorRecord, reason: str, *, will_restart: bool) -> None:
        """Tell the parent, if it has a hook for it, how a child has ended."""
        parent = self.state.actors.get(record.parent)
        if parent is not None and parent.has_hook("on_child_exit"):
            facts = (record.id, record.name, reason, will_restart)
            self.delivery.tell_from_kernel(parent, ON_CHILD_EXIT, *facts)

    def tell_monitors(self, record: ActorRecord, reason: str) -> None:
        """Tell those who monitor the actor that it is gone or held back."""
        for watcher in sorted(record.monitors):
            other = self.state.actors.get(watcher)
            if other is not None:
                self.delivery.tell_from_kernel(other, ON_DOWN, record.id, record.name, reason)

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
            self.kill_process(record)
        else:
            record.status = Status.STOPPING
            self.post_stop(record)
        state.save_actor(record)

    def _is_lingering(self, record: ActorRecord) -> bool:
        """Say whether a failed or quarantined actor's process is not known to be gone (L1)."""
        return not record.has_process and (record.pid is not None or record.channel is not None)

    def _end_lingering(self, record: ActorRecord, plan: Plan) -> None:
        record.plan = plan
        self.kill_process(record)
        self.state.save_actor(record)

    def post_stop(self, record: ActorRecord) -> None:
        """Tell the agent to end; it is killed if it has not by then."""
        state, grace_s = self.state, self.state.config.stop_grace_s
        state.post(record, Envelope(Kind.STOP, 0, record.id, index=int(grace_s * 1e3)))
        key = (record.id, record.incarnation)
        state.timers.set(Due.STOP_TIMEOUT, key, state.now_ns + int(grace_s * 1e9))

    def on_stop_timeout(self, actor: int, incarnation: int) -> None:
        """The agent did not end in time."""
        record = self.state.actors.get(actor)
        if record is not None and record.incarnation == incarnation and record.has_process:
            self.kill_process(record)

    def restart(self, record: ActorRecord) -> None:
        """Replace the process; past restarts are forgiven."""
        need_process(record)
        self._windows.pop(self._window_key(record), None)
        if record.has_process or self._is_lingering(record):
            self.stop(record, Plan.RESTART)
        else:
            self.state.timers.cancel(Due.RESTART, record.id)
            self.start(record)

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
