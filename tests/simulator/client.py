"""A virtual client: a session that sends root messages and system calls, and may be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ext.wire import Envelope
from ipc.envelope import join_refs
from ipc.errors import LLMOSError, from_wire
from ipc.ids import new_session_id
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from tests.simulator.kernel_host import TOKEN
from tests.simulator.peer import VirtualPeer
from tests.simulator.plan import MS, S
from tests.simulator.script import Script, refs_of
from tests.simulator.turn import FIRST_CREDIT, VirtualCall
from tests.simulator.violation import demand

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation


class VirtualClient(VirtualPeer):
    """See the module head."""

    role = "client"

    def __init__(self, simulation: Simulation, index: int) -> None:
        session = new_session_id(simulation.world.rng)
        super().__init__(simulation, session, 0)
        self.index = index
        self.token = TOKEN
        self.calls: dict[int, VirtualCall] = {}
        self.tells: dict[int, str] = {}  # correlation -> uid, not yet accepted
        self.held: dict[int, str] = {}
        self.accepted: list[tuple[int, str]] = []  # tells whose await has returned
        self.refused: list[tuple[int, str]] = []
        self._correlation = 0
        self.world.after(10 * S, self._keep_alive)

    @property
    def is_content(self) -> bool:
        """Say whether it waits for nothing."""
        return not self.is_alive or not (self.calls or self.tells or self.held)

    def _keep_alive(self) -> None:
        if self.is_alive:
            if self.is_up:
                self._send_ack()
            self.world.after(10 * S, self._keep_alive)

    # --- what it sends --------------------------------------------------------------------

    def tell(self, actor: int, script: Script, options: dict[str, Any]) -> None:
        """Tell an actor, outside any turn."""
        envelope, uid = self._message(Kind.TELL, actor, script, options)
        self.tells[envelope.correlation] = uid
        self.post(envelope)

    def ask(self, actor: int, script: Script, options: dict[str, Any], count: int = -1) -> None:
        """Ask an actor. count: of the items it shall yield, if it is to be a stream."""
        envelope, uid = self._message(Kind.ASK, actor, script, options)
        if count >= 0:
            envelope.flags |= Flag.STREAM
            envelope.index = FIRST_CREDIT
        self.calls[envelope.correlation] = VirtualCall(
            envelope.correlation, uid, is_stream=count >= 0
        )
        self.post(envelope)
        if options.get("cancel"):
            self.world.after(options["cancel"], self.cancel, envelope.correlation)

    def cancel(self, correlation: int) -> None:
        """No longer wait for an answer."""
        if self.is_alive and self.calls.pop(correlation, None) is not None:
            self.post(Envelope(Kind.CANCEL, self.id, correlation=correlation))

    def system(self, name: str, arguments: dict[str, Any]) -> VirtualCall:
        """Make a system call."""
        self._correlation += 1
        call = VirtualCall(self._correlation, f"c{self.index}.{self._correlation}")
        self.calls[call.correlation] = call
        self.world.note("SYSTEM", self.index, call.correlation, name, arguments.get("actor"))
        body = encode_plain([name, [], arguments])
        self.post(Envelope(Kind.ASK, self.id, 0, body, correlation=call.correlation))
        return call

    def farewell(self) -> None:
        """Leave politely."""
        self.post(Envelope(Kind.BYE, self.id))
        self.world.after(500 * MS, self.die)

    def _message(
        self, kind: Kind, actor: int, script: Script, options: dict[str, Any]
    ) -> tuple[Envelope, str]:
        self._correlation += 1
        uid = f"c{self.index}.{self._correlation}"
        payload = encode_plain(["run", [uid, script, "x" * options.get("pad", 0)], {}])
        refs = refs_of(script)
        flags = Flag.NOWAIT if options.get("nowait") else 0
        if refs:
            payload, flags = join_refs(refs, payload), flags | Flag.HAS_REFS
        envelope = Envelope(
            kind,
            self.id,
            actor,
            payload,
            correlation=self._correlation,
            priority=options.get("priority", 4),
            deadline=options.get("deadline", 0),
            flags=flags,
        )
        if options.get("keyed"):
            envelope.flags |= Flag.KEYED
            envelope.digest = b"%-16s" % options["keyed"].encode()[:16]
            uid += " keyed"  # it may stand for an earlier message
        return envelope, uid

    # --- what it hears --------------------------------------------------------------------

    def welcomed(self, welcome: dict[str, Any], *, is_fresh: bool) -> None:
        """See VirtualPeer. What was held is journaled, and so accepted, in a new epoch."""
        if is_fresh:
            for correlation, uid in self.held.items():
                self.accepted.append((correlation, uid))
            self.held.clear()
            for call in self.calls.values():
                if len(call.items):
                    index, correlation = len(call.items), call.correlation
                    credit = Envelope(Kind.STREAM_CREDIT, self.id, correlation=correlation)
                    credit.index = index
                    self.post(credit)

    def rejected(self, error: LLMOSError) -> None:
        """See VirtualPeer."""
        self.world.note("client", self.index, "rejected", error)
        self.die()

    def covered(self, envelope: Envelope) -> None:
        """See VirtualPeer."""
        uid = self.tells.pop(envelope.correlation, None) if envelope.kind == Kind.TELL else None
        if uid is not None and envelope.correlation not in self.held:
            self.accepted.append((envelope.correlation, uid))

    def handle(self, envelope: Envelope) -> None:
        """See VirtualPeer."""
        correlation = envelope.correlation
        match envelope.kind:
            case Kind.HELD:
                for number in range(correlation, correlation + envelope.message + 1):
                    if number in self.tells:
                        self.held[number] = self.tells.pop(number)
            case Kind.ACCEPTED:
                for number in range(correlation, correlation + envelope.message + 1):
                    uid = self.held.pop(number, None) or self.tells.pop(number, None)
                    if uid is not None:
                        self.accepted.append((number, uid))
            case Kind.REFUSED:
                self._on_refused(envelope)
            case Kind.ITEM if correlation in self.calls:
                self._on_item(self.calls[correlation], envelope)
            case Kind.REPLY | Kind.ERROR:
                self._on_answer(envelope)

    def _on_refused(self, envelope: Envelope) -> None:
        uid = self.tells.pop(envelope.correlation, None)
        if uid is not None:
            self.refused.append((envelope.correlation, uid))
        accepted = next((u for c, u in self.accepted if c == envelope.correlation), None)
        demand(accepted is None, "at least once", f"{accepted} is refused, and was accepted")
        call = self.calls.pop(envelope.correlation, None)
        if call is not None:
            call.fail(from_wire(decode_plain(envelope.payload)))

    def _on_item(self, call: VirtualCall, envelope: Envelope) -> None:
        if envelope.index < len(call.items):
            return
        self.simulation.checker.on_item(self, call, envelope)
        call.items.append(envelope.payload)
        more = Envelope(Kind.STREAM_CREDIT, self.id, correlation=call.correlation, index=1)
        self.post(more)

    def _on_answer(self, envelope: Envelope) -> None:
        call = self.calls.pop(envelope.correlation, None)
        if call is None:
            return
        body = decode_plain(envelope.payload)
        if envelope.kind == Kind.ERROR:
            error = from_wire(body)
            self.simulation.checker.on_error(call, error)
            call.fail(error)
        else:
            self.simulation.checker.on_answer(self, call, envelope, body)
            call.resolve(body)
