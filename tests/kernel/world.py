"""A core with scripted peers, for tests that state one promise each.

``World`` is the driver: it opens loop turns, commits to a MemoryJournal, and hands frames to
``ScriptedAgent`` and ``ScriptedClient``, which keep what they got and say what a test tells
them to. Unlike tests/simulator nothing here is random.
"""

from __future__ import annotations

import random
from typing import Any

from ext.wire import Envelope
from ipc.channel import Channel
from ipc.envelope import decode, encode
from ipc.ids import new_session_id
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import PROTOCOL_VERSION, Flag, Kind
from kernel.config import KernelConfig
from kernel.core import Core
from kernel.journal.in_memory import MemoryJournal
from kernel.output import (
    ContinueProcess,
    InspectProcess,
    KillProcess,
    LimitCpu,
    Notice,
    Output,
    RecordTraffic,
    Shutdown,
    StartProcess,
    StartRecording,
    StopProcess,
    StopRecording,
    WatchProcess,
    WeighProcess,
)

SECOND = 1_000_000_000
TOKEN = "operator"


def body(method: str, /, *args: Any, **kwargs: Any) -> bytes:
    return encode_plain([method, list(args), kwargs])


class Peer:
    """What agents and clients share: a route, a channel, what has arrived."""

    def __init__(self, world: World, identifier: int) -> None:
        self.world = world
        self.id = identifier
        self.route = b""
        self.channel = Channel(10_000, 1 << 30)
        self.epoch: int | None = None
        self.generation: int | None = None
        self.got: list[Envelope] = []
        self.welcome: dict[str, Any] = {}
        self.rejected: dict[str, Any] | None = None
        self.correlation = 0
        self.num_asked = 0  # whether it is alive
        self.is_lively = False  # answers that

    def connect(self) -> None:
        self.world.routes.pop(self.route, None)
        self.route = self.world.new_route()
        self.world.routes[self.route] = self
        self.world.turn(self.route, [self.hello()])

    def hello(self) -> Envelope:
        raise NotImplementedError

    def hello_body(self, **more: Any) -> bytes:
        facts = {
            "protocol": PROTOCOL_VERSION,
            "actor": self.id,
            "generation": self.generation,
            "epoch": self.epoch,
            "taken": self.channel.taken,
            "open": [],
        }
        return encode_plain(facts | more)

    def take(self, batch: list[Envelope]) -> None:
        for envelope in batch:
            if envelope.kind == Kind.WELCOME:
                self._on_welcome(decode_plain(envelope.payload))
            elif envelope.kind == Kind.REJECT:
                self.rejected = decode_plain(envelope.payload)
            elif envelope.kind == Kind.ACK and envelope.flags & Flag.WANT_ACK:
                self.num_asked += 1
                if self.is_lively:
                    ack = Envelope(Kind.ACK, self.id, acknowledged=self.channel.covered)
                    self.world.later.append((self.route, [ack]))
            elif envelope.sequence and self.channel.receive(envelope) is not None:
                self.channel.cover()
                self.got.append(envelope)
            self.channel.acknowledge(envelope.acknowledged)

    def _on_welcome(self, welcome: dict[str, Any]) -> None:
        self.welcome = welcome
        if self.epoch not in (None, welcome["epoch"]):
            self.channel.forget_incoming()
        self.epoch, self.generation = welcome["epoch"], welcome["generation"]
        self.channel.acknowledge(welcome["taken"])
        self.world.later.append((self.route, list(self.channel.unacknowledged())))

    def send(self, *envelopes: Envelope) -> None:
        numbered = [self.channel.number(envelope) for envelope in envelopes]
        self.world.turn(self.route, numbered)

    def acknowledge(self) -> None:
        ack = Envelope(Kind.ACK, self.id, acknowledged=self.channel.covered)
        self.world.turn(self.route, [ack])

    def last(self, kind: Kind) -> Envelope:
        return [envelope for envelope in self.got if envelope.kind == kind][-1]

    def kinds(self) -> list[Kind]:
        return [Kind(envelope.kind) for envelope in self.got]

    def answer(self, correlation: int) -> Any:
        """Return the result of a call, or the error's wire form."""
        for envelope in self.got:
            kinds = (Kind.REPLY, Kind.ERROR, Kind.REFUSED)
            if envelope.kind in kinds and envelope.correlation == correlation:
                return decode_plain(envelope.payload)
        return None

    def next_correlation(self) -> int:
        self.correlation += 1
        return self.correlation


class ScriptedClient(Peer):
    """A session; connected at once."""

    def hello(self) -> Envelope:
        payload = self.hello_body(role="client", incarnation=0, token=TOKEN)
        return Envelope(Kind.HELLO, self.id, 0, payload)

    def tell(self, receiver: int, method: str, *args: Any, **fields: Any) -> int:
        correlation = self.next_correlation()
        payload = body(method, *args)
        self.send(
            Envelope(Kind.TELL, self.id, receiver, payload, correlation=correlation, **fields)
        )
        return correlation

    def ask(self, receiver: int, method: str, *args: Any, **fields: Any) -> int:
        correlation = self.next_correlation()
        payload = body(method, *args)
        self.send(Envelope(Kind.ASK, self.id, receiver, payload, correlation=correlation, **fields))
        return correlation

    def system(self, name: str, /, **arguments: Any) -> Any:
        """Make a system call that is answered at once, and return its answer."""
        return self.answer(self.ask_system(name, **arguments))

    def ask_system(self, name: str, /, **arguments: Any) -> int:
        """Make a system call and return its correlation."""
        correlation = self.next_correlation()
        payload = body(name, **arguments)
        self.send(Envelope(Kind.ASK, self.id, 0, payload, correlation=correlation))
        return correlation


class ScriptedAgent(Peer):
    """One incarnation of an agent; a restart makes the world hold a new one."""

    def __init__(self, world: World, command: StartProcess, declares: dict[str, Any]) -> None:
        super().__init__(world, command.actor)
        self.incarnation = command.incarnation
        self.token = command.token
        self.name = command.name
        self.declares = declares
        self.open: list[int] = []

    def hello(self) -> Envelope:
        payload = self.hello_body(
            role="agent",
            incarnation=self.incarnation,
            token=self.token,
            open=self.open,
            declares=self.declares,
        )
        return Envelope(Kind.HELLO, self.id, 0, payload)

    @property
    def granted(self) -> list[Envelope]:
        return [e for e in self.got if e.kind in (Kind.TELL, Kind.ASK)]

    def turn_of(self, method: str) -> int:
        """Return the turn of the last granted message with this method."""
        named = [e for e in self.granted if decode_plain(e.payload)[0] == method]
        return named[-1].message

    def methods(self) -> list[str]:
        return [decode_plain(envelope.payload)[0] for envelope in self.granted]

    def commit(self, turn: int, *effects: Envelope, reply: Any = None) -> None:
        everything = [*effects, Envelope(Kind.REPLY, self.id, payload=encode_plain(reply))]
        self.send(Envelope(Kind.COMMIT, self.id, turn=turn, index=len(everything)), *everything)

    def fail(self, turn: int, error: Any) -> None:
        payload = encode_plain({"code": error.code, "fields": error.fields})
        commit = Envelope(Kind.COMMIT, self.id, 0, payload, turn=turn, flags=Flag.FAILED)
        self.send(commit)

    def ask(self, turn: int, receiver: int, method: str, *args: Any, **fields: Any) -> int:
        correlation = self.next_correlation()
        payload = body(method, *args)
        digest = fields.pop("digest", (method.encode() + bytes(16))[:16])
        self.send(
            Envelope(
                Kind.ASK,
                self.id,
                receiver,
                payload,
                turn=turn,
                correlation=correlation,
                digest=digest,
                **fields,
            )
        )
        return correlation

    def system(self, turn: int, name: str, /, **arguments: Any) -> int:
        correlation = self.next_correlation()
        self.send(
            Envelope(
                Kind.ASK,
                self.id,
                0,
                body(name, **arguments),
                turn=turn,
                correlation=correlation,
                digest=(name.encode() + bytes(16))[:16],
            )
        )
        return correlation

    def lookup(self, turn: int, name: str) -> Any:
        return self.answer(self.system(turn, "lookup", name=name))

    def told(self, receiver: int, method: str, *args: Any, **fields: Any) -> Envelope:
        """Return a tell effect."""
        return Envelope(Kind.TELL, self.id, receiver, body(method, *args), **fields)

    def state(self, **values: Any) -> Envelope:
        return Envelope(Kind.STATE, self.id, 0, encode_plain(values))

    def crash(self) -> None:
        """The process is killed; nothing more comes from it."""
        self.world.routes.pop(self.route, None)
        self.world.exited(self.id, self.incarnation)


class World:
    """See the module head."""

    def __init__(self, **config: Any) -> None:
        self.config = KernelConfig(**({"session_grace_s": 1e6} | config))
        self.journal = MemoryJournal()
        self.now_ns = SECOND
        self.routes: dict[bytes, Peer] = {}
        self.agents: dict[int, ScriptedAgent] = {}
        self.commands: list[Any] = []
        self.later: list[tuple[bytes, list[Envelope]]] = []
        self.declares: dict[str, dict[str, Any]] = {}
        self.starting: list[StartProcess] = []
        self.holds_starts = False
        self.doing = ("asleep", 0.0)
        self.has_left = False
        self._num_routes = 0
        self.core = self._new_core()
        self.client = ScriptedClient(self, new_session_id(random.Random(7)))
        self.client.connect()

    def _new_core(self) -> Core:
        return Core(
            self.config,
            self.journal.load(),
            generation=1,
            epoch=self.journal.epoch,
            rng=random.Random(self.journal.epoch),
            operator_token=TOKEN,
            monotonic_ns=self.now_ns,
            wall_ns=self.now_ns,
        )

    def new_route(self) -> bytes:
        self._num_routes += 1
        return self._num_routes.to_bytes(4, "big")

    def turn(self, route: bytes = b"", batch: list[Envelope] | None = None) -> None:
        """Run one loop turn, and what follows from it."""
        self.now_ns += 1000
        self.core.begin(self.now_ns, self.now_ns)
        if batch:
            self.core.receive(route, decode(encode(batch)))
        self.emit(self.core.finish())
        while self.later:
            waiting, self.later = self.later, []
            for peer_route, envelopes in waiting:
                if envelopes:
                    self.turn(peer_route, envelopes)

    def emit(self, output: Output) -> None:
        self.journal.commit(output.changes)
        for route, batch in output.frames:
            peer = self.routes.get(route)
            if peer is not None:
                peer.take(decode(encode(batch)))
        for command in output.commands:
            self._run(command)

    def _run(self, command: Any) -> None:
        self.commands.append(command)
        if isinstance(command, StartProcess):
            self.starting.append(command)
            if not self.holds_starts:
                self.start_processes()
        elif isinstance(command, KillProcess):
            agent = self.agents.get(command.actor)
            if agent is not None and agent.incarnation == command.incarnation:
                self.routes.pop(agent.route, None)
                self.exited(command.actor, command.incarnation)
        elif isinstance(command, Shutdown):
            self.has_left = True
        elif isinstance(command, InspectProcess):
            self.inspected(command)
        else:
            known = WatchProcess | WeighProcess | Notice | StopProcess | ContinueProcess | LimitCpu
            recording = StartRecording | RecordTraffic | StopRecording
            assert isinstance(command, known | recording)

    def start_processes(self) -> None:
        waiting, self.starting = self.starting, []
        for command in waiting:
            agent = ScriptedAgent(self, command, self.declares.get(command.name, {}))
            self.agents[command.actor] = agent
            self.core.process_started(command.actor, command.incarnation, 1000, command.incarnation)
            agent.connect()

    def exited(self, actor: int, incarnation: int, reason: str = "signal 9") -> None:
        self.now_ns += 1000
        self.core.begin(self.now_ns, self.now_ns)
        self.core.process_exited(actor, incarnation, reason)
        self.emit(self.core.finish())

    def inspected(self, command: InspectProcess) -> None:
        """Say what the process does: nothing, or what ``doing`` says, with its share of a CPU."""
        state, share = self.doing
        self.core.begin(self.now_ns, self.now_ns)
        self.core.process_inspected(
            command.actor,
            command.incarnation,
            is_stopped=state == "stopped",
            wants_cpu=state == "wants cpu",
            cpu_ns=int(self.now_ns * share),
        )
        self.emit(self.core.finish())

    def spawn(self, name: str, *, parent: int | None = None, **spec: Any) -> ScriptedAgent:
        """Spawn an actor for the client and return its first incarnation."""
        self.declares[name] = spec.pop("declares", {})
        spec = {"qualname": "Scripted", "module": "tests", "name": name} | spec
        arguments = {"spec": spec} | ({"parent": parent} if parent else {})
        answer = self.client.system("spawn", **arguments)
        if answer is None:
            answer = self.client.answer(self.client.correlation)
        return self.agents[answer["actor"]]

    def agent(self, identifier: int) -> ScriptedAgent:
        """Return the present incarnation."""
        return self.agents[identifier]

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at each thing that is due."""
        end_ns = self.now_ns + int(seconds * SECOND)
        while (due_ns := self.core.next_due_ns()) is not None and due_ns <= end_ns:
            self.now_ns = max(self.now_ns, due_ns)
            self.turn()
        self.now_ns = max(self.now_ns, end_ns)
        self.turn()

    def kill_kernel(self) -> None:
        """SIGKILL the kernel and start the next; peers are not connected to it yet."""
        self.journal.reopen()
        self.routes.clear()
        self.later.clear()
        self.core = self._new_core()
        self.turn()

    def introduce(self, agent: ScriptedAgent, *others: Peer) -> None:
        """Give the agent handles of others, as an operator can by sending it references."""
        record = self.core.state.actors[agent.id]
        for other in others:
            self.core.delivery.give_handle(record, other.id)

    def pending(self) -> int:
        return len(self.core.state.messages)
