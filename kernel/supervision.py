"""Supervision at work: restarts with their backoff, groups, quarantine, and who is told.

In OTP's words. How often is too often, who goes along and how long to wait are rules of their own
(kernel/supervisor.py decides, this file acts).

Cost: O(siblings) a crash under one_for_all and rest_for_one, O(1) otherwise.
"""

from __future__ import annotations

from ipc.errors import QuarantinedError
from ipc.protocol import ON_CHILD_EXIT, ON_DOWN
from kernel.actor_record import ActorRecord, Plan, Status
from kernel.incarnations import Incarnations
from kernel.supervisor import Restart, RestartWindow, Strategy, backoff_ns
from kernel.timers import Due


class Supervision:
    """See the module head."""

    def __init__(self, incarnations: Incarnations) -> None:
        self.state = incarnations.state
        self.delivery = incarnations.delivery
        self.incarnations = incarnations
        self._windows: dict[tuple[int, bool], RestartWindow] = {}  # by _window_key

    def supervise(self, record: ActorRecord, reason: str, *, crashed: bool) -> bool:
        """Draw the consequences of an exit that nobody had asked for; False: it stays stopped."""
        kind = Restart(record.spec.get("restart") or "permanent")
        if not kind.wants_restart(crashed=crashed):
            if kind is Restart.TEMPORARY:
                self.state.doomed[record.id] = f"temporary, and it ended: {reason}"
                return True
            self.tell_parent(record, reason, will_restart=False)
            record.is_wanted = False
            return False
        window = self._window(record)
        if not window.admit(self.state.now_ns):
            self._quarantine_group(record, window)
            return True
        self.tell_parent(record, reason, will_restart=True)
        for identifier in self._group(record):
            member = self.state.actors[identifier]
            if member is record:
                self._restart_later(record, window.recent)
            elif member.has_process and member.plan is Plan.NONE:
                member.plan = Plan.RESTART
                self.incarnations.kill(member)
        return True

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

    def forgive(self, record: ActorRecord) -> None:
        """Count no restart of before any more."""
        self._windows.pop(self._window_key(record), None)

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
            self.incarnations.start(record)

    def on_restart_due(self, actor: int) -> None:
        """The backoff of a crashed actor is over."""
        record = self.state.actors.get(actor)
        if record is not None and record.status is Status.BACKOFF:
            self.incarnations.start(record)

    def _quarantine_group(self, record: ActorRecord, window: RestartWindow) -> None:
        for identifier in self._group(record):
            member = self.state.actors[identifier]
            self._quarantine(member, window)

    def _quarantine(self, record: ActorRecord, window: RestartWindow) -> None:
        period_s = window.period_ns / 1e9
        error = QuarantinedError(actor=record.name, restarts=window.intensity, period=period_s)
        if record.has_process and record.channel is not None:
            record.plan = Plan.STOP
            self.incarnations.kill(record)
        record.status = Status.QUARANTINED
        record.last_error = {"code": error.code, "fields": error.fields}
        self.state.timers.cancel(Due.RESTART, record.id)
        self.state.save_actor(record)
        self.state.counters.add("quarantined")
        self.incarnations.refuse_starters(record, error)
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
