"""System calls: asks to actor 0. The table is in ipc/syscalls.py.

Inside a turn they are recorded calls. One that cannot be answered at once (spawn, stop,
restart, shutdown) leaves its ask in the journal and is carried out again at recovery; each of
them is idempotent, so that does no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ext.wire import Envelope
from ipc.errors import (
    AccessRuleError,
    LLMOSError,
    NameTakenError,
    NoCapabilityError,
    UnknownActorError,
    UnknownCallError,
    UnknownDeadLetterError,
    WrongStateError,
    from_wire,
)
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind, SpawnSpec
from kernel.actor_record import ActorRecord, Status, Turn
from kernel.answering import again
from kernel.calls import Call
from kernel.claims import check_deadline, read_spec
from kernel.dead_letters import Letter
from kernel.lifecycle import Lifecycle, need_process
from kernel.peers import Session
from kernel.reports import Reports
from kernel.sending import FOLLOW, Sending
from kernel.state import Peer
from kernel.termination import Termination
from kernel.timers import Due

Handler = Callable[["Syscalls", Peer, Call, dict[str, Any]], Any]
MoreHandler = Callable[[Peer, Call, dict[str, Any]], Any]
DEFERRED = object()  # the call is answered later


class Syscalls:
    """See the module head."""

    def __init__(
        self,
        sending: Sending,
        lifecycle: Lifecycle,
        termination: Termination,
        reports: Reports,
        more: dict[str, tuple[MoreHandler, bool]],
    ) -> None:
        """more: calls that another part of the core carries out, and whether agents may."""
        self.state = sending.state
        self.delivery = sending.delivery
        self.sending = sending
        self.termination = termination
        self.lifecycle = lifecycle
        self.reports = reports
        self.handlers: dict[str, tuple[MoreHandler, bool]] = {
            name: (partial(function, self), for_agents)
            for name, (function, for_agents) in CALLS.items()
        } | more

    def on_call(self, peer: Peer, turn: Turn | None, envelope: Envelope) -> None:
        """Carry out a system call, or raise to refuse it."""
        if isinstance(peer, ActorRecord):
            assert turn is not None
            if self.sending.recorded_call(peer, turn, envelope) is not None:
                return
            self.sending.open_call(peer, turn, envelope)
        else:
            envelope.sender, envelope.turn = peer.id, 0
        envelope.message = self.state.new_id()
        check_deadline(envelope.deadline)
        call = Call(envelope.message, envelope, is_stream=bool(envelope.flags & Flag.STREAM))
        self.state.calls.add(call)
        if envelope.deadline:
            due_ns = self.state.now_ns + envelope.deadline
            self.state.timers.set(Due.DEADLINE, call.id, due_ns)
        if turn is not None and isinstance(peer, ActorRecord):
            turn.outstanding.add(call.id)
            self.delivery.count_slots(peer)
        self.carry_out(peer, call, envelope)

    def carry_out(self, peer: Peer, call: Call, envelope: Envelope) -> None:
        """Run the call's function; also at recovery, for one that was not answered."""
        try:
            name, arguments = _read(envelope)
            handler, for_agents = self.handlers.get(name, (None, False))
            if handler is None:
                known = ", ".join(sorted(self.handlers))
                raise UnknownCallError(call=name, problem=f"there is none; there are {known}")
            if isinstance(peer, ActorRecord) and not for_agents:
                raise UnknownCallError(call=name, problem="only an operator may make it")
            answer = handler(peer, call, arguments)
        except LLMOSError as error:
            self.delivery.answer_error(call, error)
        except (TypeError, LookupError, ValueError, AttributeError, OverflowError) as error:
            self.state.counters.add("syscalls_misfit")
            problem = UnknownCallError(call="?", problem=f"its arguments do not fit: {error!r}")
            self.delivery.answer_error(call, problem)
        else:
            if answer is not DEFERRED:
                self.delivery.answer(call, encode_plain(answer))
            elif not call.is_finished:
                self.state.save_request(call)

    def resume(self, peer: Peer, call: Call, envelope: Envelope) -> None:
        """Carry a call out again that the kernel before this one had not answered."""
        name, arguments = _read(envelope)
        if name == FOLLOW:
            self._follow_on(call, arguments["key"])
            return
        if isinstance(peer, ActorRecord) and name in ("spawn", "pool_create"):
            child = self._existing_child(call, SpawnSpec(), peer.id)
            if child is None:
                self.delivery.forget_call(call)  # the retried turn makes it anew
                return
        self.carry_out(peer, call, envelope)

    def _follow_on(self, call: Call, key: bytes) -> None:
        keyed = self.state.keyed.get(key)
        if keyed is not None and keyed.answer is not None:
            self.delivery.finish_call(call, again(keyed.answer))
        elif keyed is not None and keyed.call:
            self.state.followers.setdefault(key, []).append(call.id)
        else:
            gone = self.delivery.cancelled_error(
                call.receiver, "the first ask with its key is gone"
            )
            self.delivery.answer_error(call, gone)

    # --- actors -------------------------------------------------------------------------

    def find(self, peer: Peer, actor: int | str) -> ActorRecord:
        """Return the actor that a caller names by id or name.

        Raises:
            UnknownActorError: there is none. NoCapabilityError: an agent without its handle.
        """
        identifier = self.state.names.find(actor) if isinstance(actor, str) else actor
        record = self.state.actors.get(identifier) if identifier is not None else None
        if record is None:
            alike = self.state.names.suggest(str(actor)) if isinstance(actor, str) else []
            hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
            raise UnknownActorError(name=actor, hint=hint)
        if isinstance(peer, ActorRecord) and record.id not in (peer.id, *peer.handles):
            raise NoCapabilityError(sender=peer.id, receiver=record.id)
        return record

    def spawn(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Register and start an actor; answered when it has said hello."""
        spec = read_spec(arguments["spec"])
        parent = peer.id if isinstance(peer, ActorRecord) else 0
        if parent == 0 and arguments.get("parent") is not None:
            parent = self.find(peer, arguments["parent"]).id
        record = self._existing_child(call, spec, parent)
        if record is None:
            self.sending.check_storage()
            targets = self._passed_handles(peer, spec)
            record = self.lifecycle.spawn(spec, parent, spawn_call=call.id, spawn_turn=call.turn)
            for target in targets:
                self.delivery.give_handle(record, target)
            if isinstance(peer, ActorRecord):
                self.state.spawned.setdefault(call.turn, []).append(record.id)
        if isinstance(peer, ActorRecord):
            self.delivery.give_handle(peer, record.id)
        if record.status is Status.RUNNING:
            return {"actor": record.id, "name": record.name}
        if record.status in (Status.FAILED, Status.QUARANTINED) and record.last_error:
            raise from_wire(record.last_error)
        record.start_waiters.append(call.id)
        return DEFERRED

    def _passed_handles(self, peer: Peer, spec: SpawnSpec) -> list[int]:
        """Return the actors that the constructor's arguments refer to.

        Raises:
            NoCapabilityError: the spawning agent holds no handle of one of them.
        """
        targets = [int(target) for target in spec.get("handles", ())]
        if isinstance(peer, ActorRecord):
            for target in targets:
                if target not in (peer.id, *peer.handles):
                    raise NoCapabilityError(sender=peer.id, receiver=target)
        return targets

    def _existing_child(self, call: Call, spec: SpawnSpec, parent: int) -> ActorRecord | None:
        """Return the child this very call has spawned, or a living one that is just like it."""
        for child in self.state.tree.children(parent):
            if self.state.actors[child].spawn_call == call.id:
                return self.state.actors[child]
        name = spec.get("name")
        owner = self.state.names.find(name) if name else None
        if owner is None:
            return None
        record = self.state.actors[owner]
        if record.parent == parent and parent and record.spec == spec:
            return record
        raise NameTakenError(name=name, owner=owner)

    def lookup(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Resolve a name to a handle, if the access rules allow it."""
        name = arguments["name"]
        subject = peer.name if isinstance(peer, ActorRecord) else "client"
        if not self.state.names.may_look_up(subject, str(name)):
            raise AccessRuleError(subject=subject, name=name)
        identifier = self.state.names.find(name) if isinstance(name, str) else name
        if isinstance(name, int) and isinstance(peer, ActorRecord):
            raise UnknownActorError(name=name, hint=": agents look names up, not numbers")
        record = self.find(Session(0, self.state.new_channel(0), None), identifier or name)
        if isinstance(peer, ActorRecord):
            self.delivery.give_handle(peer, record.id)
        return {"actor": record.id, "name": record.name}

    def children(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Return the caller's children, or those of an actor it names."""
        actor = arguments.get("actor")
        parent = self.find(peer, actor).id if actor is not None else peer.id
        if isinstance(peer, Session) and actor is None:
            parent = 0
        found = self.state.tree.children(parent)
        return [self.reports.actor(self.state.actors[child]) for child in found]

    def stop_child(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Terminate a child of the calling agent."""
        record = self.find(peer, arguments["actor"])
        if record.parent != peer.id:
            problem = f"only its parent may stop it, and that is not {self.state.name_of(peer.id)}"
            raise WrongStateError(actor=record.name, state="not your child", problem=problem)
        self.termination.terminate(record, "stopped by its parent", is_abnormal=False)
        return {}

    def kill(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Terminate an actor and all below it."""
        record = self.find(peer, arguments["actor"])
        children = self.state.tree.children(record.id)
        if children and not arguments.get("tree", True):
            names = ", ".join(self.state.name_of(child) for child in children)
            problem = f"it has children ({names}); kill them first, or the whole tree"
            raise WrongStateError(actor=record.name, state="a parent", problem=problem)
        return {"terminated": self.termination.terminate(record, "killed by an operator")}

    def stop(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Stop an actor; its registration, mailbox and state are kept."""
        record = self.find(peer, arguments["actor"])
        need_process(record)
        record.is_wanted = False
        self.lifecycle.stop(record)
        if not record.has_process:
            return {}
        record.stop_waiters.append(call.id)
        return DEFERRED

    def restart(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Replace the process of an actor; past crashes are forgiven."""
        record = self.find(peer, arguments["actor"])
        self.lifecycle.restart(record)
        record.start_waiters.append(call.id)
        return DEFERRED

    # --- reports ------------------------------------------------------------------------

    def ps(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Return all actors."""
        return [self.reports.actor(record) for record in self.state.actors.values()]

    def inspect(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Return all about one actor."""
        return self.reports.detail(self.find(peer, arguments["actor"]))

    def status(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Return the state of the kernel."""
        return self.reports.status()

    def statistics(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Return the counters."""
        return self.state.statistics()

    # --- dead letters -------------------------------------------------------------------

    def dead_letters(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Return dead letters, newest first."""
        actor = arguments.get("actor")
        receiver = self.find(peer, actor).id if actor is not None else None
        letters = self.state.letters.newest(receiver, int(arguments.get("limit", 100)))
        return [letter.describe() for letter in letters]

    def _letter(self, number: Any) -> Letter:
        letter = self.state.letters.letters.get(number)
        if letter is None:
            raise UnknownDeadLetterError(number=number)
        return letter

    def dead_letter(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Return one dead letter with its body."""
        return self._letter(arguments["number"]).describe(with_body=True)

    def retry_letter(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Send a dead letter again; it enters at the tail."""
        letter = self._letter(arguments["number"])
        receiver = self.state.actors.get(letter.envelope.receiver)
        if receiver is None:
            problem = "its receiver was terminated for good; drop the letter"
            raise WrongStateError(actor=letter.receiver_name, state="gone", problem=problem)
        self.delivery.letters.drop(letter.number)
        envelope = letter.envelope.copy()
        envelope.flags &= ~Flag.REDELIVERED
        envelope.kind, envelope.deadline, envelope.digest = Kind.TELL, 0, b""
        message = self.delivery.accept(receiver, envelope)
        self.delivery.enqueue_or_wait(receiver, message)
        return {"message": message.id}

    def drop_letter(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Forget a dead letter."""
        self.delivery.letters.drop(self._letter(arguments["number"]).number)
        return {}

    def shutdown(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Stop all agents in order, then leave."""
        self.state.is_shutting_down = True
        return {}


CALLS: dict[str, tuple[Handler, bool]] = {  # name: (function, agents may call it)
    "spawn": (Syscalls.spawn, True),
    "lookup": (Syscalls.lookup, True),
    "children": (Syscalls.children, True),
    "stop_child": (Syscalls.stop_child, True),
    "kill": (Syscalls.kill, False),
    "stop": (Syscalls.stop, False),
    "restart": (Syscalls.restart, False),
    "ps": (Syscalls.ps, False),
    "inspect": (Syscalls.inspect, False),
    "status": (Syscalls.status, False),
    "statistics": (Syscalls.statistics, False),
    "dead_letters": (Syscalls.dead_letters, False),
    "dead_letter": (Syscalls.dead_letter, False),
    "retry_letter": (Syscalls.retry_letter, False),
    "drop_letter": (Syscalls.drop_letter, False),
    "shutdown": (Syscalls.shutdown, False),
}


def _read(envelope: Envelope) -> tuple[str, dict[str, Any]]:
    body = decode_plain(envelope.payload)
    if (
        not isinstance(body, list)
        or len(body) != 3
        or not isinstance(body[0], str)
        or not isinstance(body[2], dict)
    ):
        raise UnknownCallError(call="?", problem="the body is [name, [], {arguments}]")
    return body[0], body[2]
