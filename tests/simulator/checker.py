"""Watches what is committed and what arrives, and holds it against DESIGN section 4.

Its witness is the journal: each write set is read as it is committed. Which turns took effect
it learns from the rows of evidence that virtual handlers write (agent.py), not from the
core's word. ``sent`` effects are compared with what was accepted, ``accepted`` messages with
how they ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ext.wire import Envelope
from ipc.envelope import split_refs
from ipc.errors import BadFrameError, KernelBugError, LLMOSError, StreamDivergedError
from ipc.ids import COUNTER_MASK, is_session
from ipc.plain import decode_plain
from ipc.protocol import Flag, Kind
from kernel.core import Core
from kernel.records import WriteSet
from tests.simulator import invariants, picture
from tests.simulator.evidence import Evidence
from tests.simulator.script import sum_of_adds
from tests.simulator.violation import Violation, demand

if TYPE_CHECKING:
    from tests.simulator.agent import VirtualAgent
    from tests.simulator.client import VirtualClient
    from tests.simulator.peer import VirtualPeer
    from tests.simulator.simulation import Simulation
    from tests.simulator.turn import VirtualCall, VirtualTurn

PICTURE_EVERY = 64  # loop turns between comparisons with a core recovered from the journal


@dataclass(slots=True)
class Accepted:
    """A message that the journal has had."""

    id: int
    kind: int
    sender: int
    receiver: int
    priority: int
    turn: int
    uid: str
    adds: dict[str, int]
    is_system: bool
    to: int = 0  # whom it was sent to: its receiver, or that one's pool
    is_moved: bool = False  # a member of a pool has taken it over from another
    is_handed_over: bool = False  # the turn that asks it has been taken over: its asker is another
    end: str = ""
    answers: list[int] = field(default_factory=list)  # kinds


class Checker:
    """See the module head."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.messages: dict[int, Accepted] = {}
        self.by_uid: dict[tuple[int, int, str], list[Accepted]] = {}
        self.evidence = Evidence(self)
        self.sent: dict[int, list[Effect]] = {}  # turn -> what its last COMMIT would send
        self.children: dict[tuple[int, str], int] = {}  # (turn, label) -> what it has spawned
        self._deferred: dict[Any, None] = {}  # messages that are not journaled yet
        self._lost: dict[Any, None] = {}  # messages granted by a kernel that died too early
        self._commits_read: dict[int, None] = {}  # turns whose COMMIT was read in this loop turn
        self._turns = 0
        self._letters_expired = 0
        self._gave_up: set[int] = set()  # peers of which a CANCEL was read

    # --- what goes in ---------------------------------------------------------------------

    def on_epoch(self, core: Core) -> None:
        """A core has recovered: all invariants must hold at once."""
        self._letters_expired = 0
        # Ids of a block that was never committed are given again: nobody can have seen them.
        known = core.state.counter
        self._lost.update({key: None for key in self._deferred if key & COUNTER_MASK <= known})
        self._deferred.clear()
        invariants.check(core)

    def on_input(self, core: Core, route: bytes, envelope: Envelope) -> None:
        """The kernel reads an envelope."""
        if envelope.kind == Kind.COMMIT:
            self._commits_read[envelope.turn] = None
        if envelope.kind == Kind.CANCEL:
            self._gave_up.add(core.state.peers.owners.get(route, 0))

    def on_turn_begun(self, agent: VirtualAgent, turn: VirtualTurn) -> None:
        """A handler begins on a message."""
        is_known = turn.id in self.messages or turn.id in self._deferred or turn.id in self._lost
        demand(
            is_known,
            "the output rule",
            f"agent {agent.id} was given message {turn.id}, which was never journaled",
        )

    def on_commit_sent(
        self, agent: VirtualAgent, turn: VirtualTurn, commit: Envelope, effects: list[Envelope]
    ) -> None:
        """An agent commits."""
        if not commit.flags & (Flag.FAILED | Flag.CANCELLED):
            self.sent[turn.id] = [sent for sent in map(effect_of, effects) if sent is not None]

    def on_answer(
        self, peer: VirtualPeer, call: VirtualCall, envelope: Envelope, body: Any
    ) -> None:
        """A result has reached who asked for it."""
        if isinstance(body, list) and len(body) == 2 and body[0] == "ok":
            uid = call.uid
            demand(
                uid.endswith("keyed") or body[1] == uid,
                "an answer belongs to its ask",
                f"{uid} got {body[1]}",
            )
        if call.is_stream and not call.uid.endswith("keyed"):  # its key keeps the end alone
            demand(
                envelope.index == len(call.items),
                "streams are whole",
                f"{call.uid}: end at {envelope.index}, {len(call.items)} items seen",
            )

    def on_error(self, call: VirtualCall, error: LLMOSError) -> None:
        """An error has reached who asked. Virtual producers always yield the same items."""
        demand(not isinstance(error, StreamDivergedError), "streams are in order", str(error))
        demand(
            not isinstance(error, BadFrameError | KernelBugError), "errors are typed", str(error)
        )

    def on_item(self, peer: VirtualPeer, call: VirtualCall, envelope: Envelope) -> None:
        """An item of a stream has reached the asker."""
        _, index = decode_plain(envelope.payload)
        demand(
            index == envelope.index == len(call.items),
            "streams are in order",
            f"{call.uid}: item {index} as {envelope.index}, {len(call.items)} seen",
        )

    def on_spawned(self, turn: VirtualTurn, label: str, child: int) -> None:
        """A turn has been answered which child it has spawned: every attempt gets the same one."""
        known = self.children.setdefault((turn.id, label), child)
        if known != child:
            detail = f"turn {turn.id} has spawned {known}, and then {child}, as its {label}"
            raise Violation("calls are not repeated", detail)

    def on_fenced(self, agent: VirtualAgent) -> None:
        """An agent was told that it is not the living incarnation."""
        core = self.simulation.kernel.core
        record = core.state.actors.get(agent.id) if core is not None else None
        if record is not None and record.has_process:
            demand(
                record.incarnation != agent.incarnation,
                "fencing",
                f"the living incarnation {agent.incarnation} of {agent.id} was fenced",
            )

    # --- what is committed ----------------------------------------------------------------

    def on_turn(self, core: Core, changes: WriteSet) -> None:
        """A loop turn has ended; its write set waits for a commit, its grants may leave now."""
        known = [key for key in changes.tables.get("message", {}) if key not in self.messages]
        self._deferred.update(dict.fromkeys(known))
        invariants.check(core)

    def read(self, core: Core, sets: list[WriteSet]) -> None:
        """Read the write sets of one or more loop turns, which are committed as one."""
        for changes in sets:
            self._read(core, changes)
        self._letters_expired = core.statistics().get("dead_letters_expired", 0)
        self._deferred.clear()

    def on_commit(self, core: Core) -> None:
        """What was read has been committed, and nothing has left yet."""
        self._turns += 1
        if self._turns % PICTURE_EVERY == 0:
            picture.compare(self.simulation, core)

    def _read(self, core: Core, changes: WriteSet) -> None:
        self.evidence.read(changes)
        for identifier, row in rows_of(changes, "message").items():
            message = self.messages.get(identifier)
            if (
                row is None
                and message is not None
                and self._is_committed_by_the_dead(core, message)
            ):
                self.evidence.allow(message.receiver, message.id)
        self._accept(changes)
        self.evidence.check_effects(core)
        for identifier, row in rows_of(changes, "answer").items():
            if row is not None:
                self._on_answer_row(identifier, row[0])
        self._end(core, changes)

    def _accept(self, changes: WriteSet) -> None:
        for identifier, row in rows_of(changes, "message").items():
            known = self.messages.get(identifier)
            if row is None:
                continue
            if known is not None:
                demand(
                    not known.end,
                    "a message ends once",
                    f"{known} was journaled again after its end",
                )
                known.is_moved |= known.receiver not in (row[0].receiver, known.to)
                known.receiver = row[0].receiver
                known.is_handed_over |= known.sender != row[0].sender
                continue
            message = describe(row[0])
            routed = rows_of(changes, "routed").get(identifier)
            message.to = routed[0] if routed is not None else message.receiver
            demand(message.id not in self._lost, "ids are used once", f"{message}")
            self.messages[message.id] = message
            if message.receiver and not message.is_system:
                self._check_effect_once(message)

    def _check_effect_once(self, message: Accepted) -> None:
        """Each send of one turn is accepted once; a call again only if it did not finish."""
        key = (message.turn or message.sender, message.to, message.uid)
        earlier = self.by_uid.setdefault(key, [])
        allowed = 1 << message.uid.count("x2")  # asks that are alike on purpose
        if not message.turn and not is_session(message.sender):
            allowed = self.evidence.allowed.get((message.sender, message.uid), 0)
        if message.kind == Kind.ASK:
            counted = [m for m in earlier if not m.end or Kind.REPLY in m.answers]
        else:
            counted = [m for m in earlier if m.end != "dead letter"]  # an operator sends it anew
        if len(counted) >= allowed:
            promise = "calls are not repeated" if message.kind == Kind.ASK else "effectively once"
            raise Violation(promise, f"{message} although there was {counted}, allowed {allowed}")
        earlier.append(message)

    def _on_answer_row(self, identifier: int, envelope: Envelope) -> None:
        message = self.messages.get(identifier)
        if message is None:
            return
        if not message.answers:
            message.answers.append(envelope.kind)
        demand(
            message.answers[0] == envelope.kind,
            "an ask is answered once",
            f"{message} is answered with kind {envelope.kind}",
        )

    def _end(self, core: Core, changes: WriteSet) -> None:
        letters = self._read_letters(changes)
        for identifier, row in rows_of(changes, "message").items():
            message = self.messages.get(identifier)
            if row is None and message is not None and not message.end:
                self._end_one(core, message, letters)

    def _read_letters(self, changes: WriteSet) -> set[int]:
        """Return the messages that became dead letters."""
        found: set[int] = set()
        for row in rows_of(changes, "dead_letter").values():
            if row is not None:
                found.add(row[0].message)
                if row[0].message not in self.messages:
                    buried = describe(row[0])  # it was accepted and buried in one loop turn
                    buried.end = "dead letter"
                    self.messages[buried.id] = buried
        return found

    def _end_one(self, core: Core, message: Accepted, letters: set[int]) -> None:
        committed = message.id in self.evidence.fresh
        if committed:
            message.end = "committed"
        elif message.receiver == 0:
            message.end = "system call"
        elif message.kind == Kind.ASK:
            message.end = "told" if message.answers else self._why_cancelled(core, message)
        elif message.id in letters:
            message.end = "dead letter"
        elif message.is_system:
            message.end = "system"
        elif self._is_committed_by_the_dead(core, message):
            message.end = "committed"  # the evidence went with its terminated receiver
        elif core.statistics().get("dead_letters_expired", 0) > self._letters_expired:
            message.end = "dead letter"  # and one too many: it was dropped at once, counted
        else:
            raise Violation(
                "every accepted message ends in one of three ways",
                f"{message} is gone: no commit, no dead letter",
            )
        if message.id in letters:
            demand(not committed, "a message ends in one way", f"{message}: committed and a letter")

    def _is_committed_by_the_dead(self, core: Core, message: Accepted) -> bool:
        """Say whether the receiver committed and was terminated at once, evidence included."""
        gone = message.receiver not in core.state.actors
        return gone and message.id in self._commits_read

    def _why_cancelled(self, core: Core, message: Accepted) -> str:
        """An ask that ended unanswered: its asker must have gone, ended, or given up."""
        state = core.state
        turn = state.messages.get(message.turn)
        is_justified = (
            message.sender in self._gave_up
            or (turn is not None and turn.receiver != message.sender)  # another member asks anew
            or state.peer(message.sender) is None
            or (message.turn and turn is None)
            or state.counters.get("deadlocks")  # it was refused after all
        )
        demand(bool(is_justified), "an asker is told", f"{message} has ended, nobody was told")
        return "cancelled"

    # --- the end --------------------------------------------------------------------------

    def check_rest(self, core: Core) -> None:
        """Everything accepted has ended; every acceptance told was true."""
        picture.compare(self.simulation, core)
        left = [m for m in self.messages.values() if not m.end]
        demand(not left, "every accepted message ends", f"{left[:3]}")
        misfits = core.statistics().get("syscalls_misfit", 0)
        demand(not misfits, "the core does not fail", f"{misfits} system calls have raised")
        self.evidence.check_rest(core)
        for client in self.simulation.clients:
            self._check_acceptances(client)

    def _check_acceptances(self, client: VirtualClient) -> None:
        for correlation, uid in client.accepted:
            if uid.endswith("keyed") or self.simulation.plan.config.dead_letters < 10:
                continue  # it may stand for another, or be a letter that was dropped at once
            if not self._found(client.id, uid):
                raise Violation(
                    "at least once", f"tell {uid} ({correlation}) was accepted and never journaled"
                )
        for correlation, uid in client.refused:
            found = self._found(client.id, uid)
            demand(not found, "a refusal leaves nothing", f"tell {uid} ({correlation}): {found}")

    def _found(self, sender: int, uid: str) -> list[Accepted]:
        return [m for m in self.messages.values() if m.sender == sender and m.uid == uid]


def rows_of(changes: WriteSet, table: str) -> dict[int, Any]:
    """Return what a write set says of a table whose keys are ids."""
    rows: dict[Any, Any] = changes.tables.get(table, {})
    return rows


@dataclass(frozen=True, slots=True)
class Effect:
    """A message that a COMMIT carries: kind of the effect, receiver (0: see the kind), uid."""

    kind: int
    receiver: int
    uid: str


def effect_of(envelope: Envelope) -> Effect | None:
    """Return what an effect sends, or None if it sends nothing."""
    payload = envelope.payload
    if envelope.kind == Kind.PUBLISH:
        payload = decode_plain(payload)[1]
    elif (envelope.kind == Kind.TIMER and envelope.flags & Flag.CANCELLED) or envelope.kind not in (
        Kind.TELL,
        Kind.TIMER,
    ):
        return None
    inner = Envelope(Kind.TELL, 1, envelope.receiver or 1, payload, flags=envelope.flags)
    return Effect(envelope.kind, envelope.receiver, describe(inner).uid)


def describe(envelope: Envelope) -> Accepted:
    """Return what matters of a message, as the scripts made it."""
    is_system = envelope.receiver == 0 or bool(envelope.flags & Flag.SYSTEM)
    uid, adds = "", {}
    if not is_system:
        _, body = split_refs(envelope)
        _, (uid, script, *_), *_ = decode_plain(body)
        adds = sum_of_adds(script)
    return Accepted(
        envelope.message,
        envelope.kind,
        envelope.sender,
        envelope.receiver,
        envelope.priority,
        envelope.turn,
        uid,
        adds,
        is_system,
    )
