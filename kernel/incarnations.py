"""Incarnations: an actor's processes, one after the other, and who waits for the next one.

It starts and kills; what an exit means, and whether another start follows, is decided in
kernel/lifecycle.py and kernel/supervision.py.

Invariants:
  L1  an incarnation is journaled before its process is started, and a new one is started
      only when the process of the one before is known to be gone.
  L2  an actor without a process has no route, no channel, no slot, no credit.
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.auth import hash_token
from ipc.errors import LLMOSError
from ipc.plain import encode_plain
from ipc.protocol import Kind
from kernel.actor_record import ActorRecord, Plan, Status
from kernel.delivery import Delivery
from kernel.output import KillProcess, StartProcess
from kernel.timers import Due


class Incarnations:
    """See the module head."""

    def __init__(self, delivery: Delivery) -> None:
        self.state = delivery.state
        self.delivery = delivery

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
        self.answer_starters(record, body)

    def answer_starters(self, record: ActorRecord, body: bytes) -> None:
        """Tell those who wait for the start that it has come about."""
        for identifier in record.start_waiters:
            call = self.state.calls.get(identifier)
            if call is not None:
                owner = self.state.actors.get(call.owner)
                if owner is not None:
                    self.delivery.give_handle(owner, record.id)
                self.delivery.answer(call, body)
        record.start_waiters.clear()

    def refuse_starters(self, record: ActorRecord, error: LLMOSError) -> None:
        """Tell those who wait for the start that it will not come about."""
        for identifier in record.start_waiters:
            call = self.state.calls.get(identifier)
            if call is not None:
                self.delivery.answer_error(call, error)
        record.start_waiters.clear()

    def kill(self, record: ActorRecord) -> None:
        """Ask for SIGKILL of the process tree; ``on_exited`` follows."""
        command = KillProcess(record.id, record.incarnation, record.pid, record.start_time)
        self.state.output.commands.append(command)

    def condemn(self, record: ActorRecord) -> None:
        """Kill the process of an actor that is no more, by the next kernel if this one dies first.

        Nobody else would: it may hang, and the next kernel does not know its actor.
        """
        self.kill(record)
        if record.pid is not None and record.start_time is not None:
            identity, process = (record.id, record.incarnation), (record.pid, record.start_time)
            self.state.condemned[identity] = process
            self.state.output.changes.put("condemned", identity, process)

    def kill_condemned(self) -> None:
        """Kill, as a new kernel, what the one before it may not have come to kill."""
        for identity, process in self.state.condemned.items():
            self.state.output.commands.append(KillProcess(*identity, *process))

    def forget_condemned(self, actor: int, incarnation: int) -> None:
        """A process is gone: if it was condemned, that is done."""
        if self.state.condemned.pop((actor, incarnation), None) is not None:
            self.state.output.changes.delete("condemned", (actor, incarnation))

    def crash(self, record: ActorRecord, reason: str) -> None:
        """End a process that hangs or whose on_start failed; its exit counts as a crash."""
        if record.has_process and record.crash_reason is None:
            record.crash_reason = reason
            self.kill(record)

    def post_stop(self, record: ActorRecord) -> None:
        """Tell the agent to end; it is killed if it has not by then."""
        state, grace_s = self.state, self.state.config.stop_grace_s
        state.post(record, Envelope(Kind.STOP, 0, record.id, index=int(grace_s * 1e3)))
        key = (record.id, record.incarnation)
        state.timers.set(Due.STOP_TIMEOUT, key, state.now_ns + int(grace_s * 1e9))

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
        state.llm.lose(record.id)
        state.note_member(record)
        state.output.changes.delete("mark", record.id)
        self.delivery.room.take_back_all(record)
        if record.account is not None:
            record.is_stopped = False
            state.budgets.run_book.end(record.id, state.wall_ns)
