"""One turn of a virtual agent: interprets the script of a message, step by step.

The interpreter is a generator that yields what it waits for; the agent may crash, or be
cancelled, at each of those points.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from ext.wire import Envelope
from ipc.envelope import join_refs, split_refs
from ipc.errors import LLMOSError, RemoteError
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from tests.simulator.plan import MS
from tests.simulator.script import Script, Step, refs_of
from tests.simulator.wait import Wait

if TYPE_CHECKING:
    from tests.simulator.agent import VirtualAgent

Steps = Generator[list[Wait], None, None]
FIRST_CREDIT = 4


class HandlerFailed(Exception):
    """The script said so, or an ask it does not catch has failed."""


class VirtualCall(Wait):
    """An ask under way; a stream's items arrive one by one."""

    __slots__ = ("correlation", "is_stream", "items", "lent", "next_item", "uid")

    def __init__(self, correlation: int, uid: str, *, is_stream: bool = False) -> None:
        super().__init__()
        self.correlation = correlation
        self.uid = uid
        self.is_stream = is_stream
        self.items: list[Any] = []
        self.lent = 0  # items, beyond the first credit
        self.next_item: Wait | None = None


class VirtualTurn:
    """See the module head."""

    def __init__(self, agent: VirtualAgent, envelope: Envelope, attempt: int) -> None:
        self.agent = agent
        self.envelope = envelope
        self.id = envelope.message
        self.attempt = attempt
        self.room_epoch = agent.epoch
        self.effects: list[Envelope] = []
        self.adds: list[tuple[str, int]] = []
        self.calls: dict[int, VirtualCall] = {}
        self.taken: dict[int, list[int]] = {}
        self.told: dict[int, None] = {}
        self.credit = envelope.index if envelope.flags & Flag.STREAM else 0
        self.credit_wait: Wait | None = None
        self.num_items = 0
        self.is_open = True
        self.is_cancelled = False
        self.is_stubborn = False
        self.priority = envelope.priority
        now = agent.world.now_ns
        self.deadline_ns = now + envelope.deadline if envelope.deadline else 0
        _, body = split_refs(envelope)
        self.method, arguments, _ = decode_plain(body)
        is_system = bool(envelope.flags & Flag.SYSTEM)
        self.uid: str = f"sys{self.id}" if is_system else arguments[0]
        self.script: Script = [] if is_system else arguments[1]
        self.steps: Steps = self._run()

    # --- the interpreter ------------------------------------------------------------------

    def _run(self) -> Steps:
        for step in self.script:
            if self.agent.world.rng.random() < 0.5:
                yield [self.agent.sleep(self.agent.world.rng.randint(1000, 2 * MS))]
            yield from self._step(step)

    def _step(self, step: Step) -> Steps:
        match step:
            case ["sleep", delay]:
                yield [self.agent.sleep(delay)]
            case ["add", key, amount]:
                self.adds.append((key, amount))
            case ["ask", label, actor, script, options]:
                yield from self._ask_and_wait([(label, actor, script, options)])
            case ["gather", asks]:
                yield from self._ask_and_wait([tuple(ask[1:]) for ask in asks])
            case ["diverge", ask]:
                label = f"{ask[1]}d{self.agent.world.rng.getrandbits(30)}"
                yield from self._ask_and_wait([(label, *ask[2:])])
            case ["abandon", ask]:
                self.ask(*ask[1:])
            case ["give_up", ask, delay]:
                yield from self._give_up(ask, delay)
            case ["tell", label, actor, script, options]:
                yield from self._tell(label, actor, script, options)
            case ["stream", label, actor, count, take]:
                yield from self._read_stream(label, actor, count, take)
            case ["yield", count]:
                yield from self._produce(count)
            case ["spawn", label, facts]:
                yield from self._spawn(label, facts)
            case ["call", label, name, arguments]:
                call = self.system(label, name, arguments)
                yield [call]
            case _:
                self._at_once(step)

    def _at_once(self, step: Step) -> None:
        match step:
            case ["timer", label, delay, script]:
                self._timer(label, delay, script)
            case ["untimer", label]:
                flags = Flag.CANCELLED
                timer = self._timer_id(label)
                self.add_effect(Envelope(Kind.TIMER, self.agent.id, correlation=timer, flags=flags))
            case ["publish", label, topic, script]:
                payload, refs = self.body(f"{self.uid}.{label}", script)
                body = encode_plain([topic, payload])
                self.add_effect(Envelope(Kind.PUBLISH, self.agent.id, payload=body, flags=refs))
            case ["watch", operation]:
                self.add_effect(Envelope(Kind.WATCH, payload=encode_plain(operation)))
            case ["fail"]:
                raise HandlerFailed("as told")
            case ["fail_first", attempts] if self.attempt <= attempts:
                raise HandlerFailed(f"attempt {self.attempt}")
            case ["crash_first", attempts] if self.attempt <= attempts:
                self.agent.simulation.processes.crash(self.agent)
            case ["stubborn"]:
                self.is_stubborn = True

    # --- calls ----------------------------------------------------------------------------

    def body(self, uid: str, script: Script, pad: int = 0) -> tuple[bytes, int]:
        """Return payload and flags of a message that carries a script."""
        body = encode_plain(["run", [uid, script, "x" * pad], {}])
        refs = refs_of(script)  # this turn's own message has brought their handles
        return (join_refs(refs, body), Flag.HAS_REFS) if refs else (body, 0)

    def ask(
        self, label: str, actor: int, script: Script, options: dict[str, Any], credit: int = 0
    ) -> VirtualCall | None:
        """Send an ask; None where the SDK would raise before sending."""
        if actor in self.told:
            return None  # OvertakeError
        self._must_go_on()
        left = self.deadline_ns - self.agent.world.now_ns if self.deadline_ns else 0
        if self.deadline_ns and left <= 0:
            raise HandlerFailed("the deadline has passed")
        own = options.get("deadline", 0)
        deadline = min(left, own) if left and own else left or own
        uid = f"{self.uid}.{label}"
        payload, flags = self.body(uid, script, options.get("pad", 0))
        if options.get("nowait"):
            flags |= Flag.NOWAIT
        if credit:
            flags |= Flag.STREAM
        call = VirtualCall(self.agent.new_correlation(), uid, is_stream=bool(credit))
        envelope = Envelope(
            Kind.ASK,
            self.agent.id,
            actor,
            payload,
            turn=self.id,
            correlation=call.correlation,
            deadline=deadline,
            priority=options.get("priority", self.priority),
            digest=_digest(actor, payload, flags),
            flags=flags,
            index=credit,
        )
        self.start_call(call, envelope)
        return call

    def system(self, label: str, name: str, arguments: dict[str, Any]) -> VirtualCall:
        """Make a system call."""
        self._must_go_on()
        payload = encode_plain([name, [], arguments])
        call = VirtualCall(self.agent.new_correlation(), f"{self.uid}.{label}")
        envelope = Envelope(
            Kind.ASK,
            self.agent.id,
            0,
            payload,
            turn=self.id,
            correlation=call.correlation,
            digest=_digest(0, payload, 0),
        )
        self.start_call(call, envelope)
        return call

    def _must_go_on(self) -> None:
        if self.is_cancelled:
            raise HandlerFailed("cancelled")

    def start_call(self, call: VirtualCall, envelope: Envelope) -> None:
        """Note the call and send it."""
        self.calls[call.correlation] = call
        self.agent.calls[call.correlation] = (self, call)
        self.agent.post(envelope)

    def drop_call(self, call: VirtualCall) -> None:
        """Nobody waits for it any more: tell the kernel."""
        if self.calls.pop(call.correlation, None) is not None:
            self.agent.calls.pop(call.correlation, None)
            cancel = Envelope(Kind.CANCEL, self.agent.id, correlation=call.correlation)
            self.agent.post(cancel)
        call.cancel()

    def _ask_and_wait(self, asks: list[tuple[Any, ...]]) -> Steps:
        calls = [(self.ask(*ask), ask[3]) for ask in asks]
        yield [call for call, _ in calls if call is not None]
        for call, options in calls:
            if call is not None and call.error is not None and not options.get("catch"):
                raise HandlerFailed(f"{call.uid}: {call.error}")

    def _give_up(self, ask: Step, delay: int) -> Steps:
        call = self.ask(*ask[1:])
        if call is None:
            return
        first = Wait()
        call.then(lambda: first.resolve(None))
        self.agent.sleep(delay).then(lambda: first.resolve(None))
        yield [first]
        if not call.is_done:
            self.drop_call(call)

    def _read_stream(self, label: str, actor: int, count: int, take: int) -> Steps:
        call = self.ask(label, actor, [["yield", count]], {}, credit=FIRST_CREDIT)
        if call is None:
            return
        for index in range(take):
            while len(call.items) <= index and not call.is_done:
                call.next_item = Wait()
                item = call.next_item
                call.then(lambda item=item: item.resolve(None))  # type: ignore[misc]
                yield [call.next_item]
            if len(call.items) <= index:
                break
            call.lent += 1
            self.agent.lend_items(call, 1)
        if take < count:
            self.drop_call(call)
            return
        yield [call]
        if call.error is not None:
            raise HandlerFailed(f"{call.uid}: {call.error}")

    def _produce(self, count: int) -> Steps:
        if not self.envelope.flags & Flag.STREAM:
            return
        for index in range(count):
            while self.num_items >= self.credit:
                self.credit_wait = Wait()
                yield [self.credit_wait]
            payload = encode_plain([self.uid, index])
            item = Envelope(Kind.ITEM, self.agent.id, 0, payload, turn=self.id, index=index)
            self.num_items += 1
            self.agent.post(item)

    def _spawn(self, label: str, child: dict[str, Any]) -> Steps:
        spec = self.agent.simulation.spec_of(None, child["facts"], child["restart"])
        call = self.system(label, "spawn", {"spec": spec})
        yield [call]
        if call.error is None:
            actor = call.value["actor"]
            self.agent.simulation.checker.on_spawned(self, label, actor)
            yield from self._ask_and_wait([(f"{label}c", actor, [], {"catch": True})])

    # --- effects --------------------------------------------------------------------------

    def add_effect(self, envelope: Envelope) -> None:
        """Put an effect into the turn."""
        envelope.sender, envelope.turn = self.agent.id, self.id
        self.effects.append(envelope)

    def _tell(self, label: str, actor: int, script: Script, options: dict[str, Any]) -> Steps:
        payload, flags = self.body(f"{self.uid}.{label}", script, options.get("pad", 0))
        envelope = Envelope(
            Kind.TELL,
            self.agent.id,
            actor,
            payload,
            flags=flags,
            priority=options.get("priority", 4),
            deadline=options.get("deadline", 0),
        )
        self._must_go_on()
        if actor != self.agent.id:
            nowait = bool(options.get("nowait"))
            room = self.agent.room.take(self, actor, envelope.size, nowait=nowait)
            yield [room]
            if room.error is not None:
                if options.get("catch"):
                    return
                raise HandlerFailed(f"no room: {room.error}")
        self.told[actor] = None
        self.add_effect(envelope)

    def note_taken(self, receiver: int, size: int) -> None:
        """Room was taken for a tell of this turn; what it took in an epoch before is void."""
        if self.room_epoch != self.agent.epoch:
            self.room_epoch = self.agent.epoch
            self.taken.clear()
        taken = self.taken.setdefault(receiver, [0, 0])
        taken[0] += 1
        taken[1] += size

    def _timer_id(self, label: str) -> int:
        text = f"{self.agent.id}.{self.id}.{label}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1

    def _timer(self, label: str, delay: int, script: Script) -> None:
        payload, flags = self.body(f"{self.uid}.{label}", script)
        timer = Envelope(Kind.TIMER, self.agent.id, self.agent.id, payload, flags=flags)
        timer.correlation, timer.deadline = self._timer_id(label), delay
        self.add_effect(timer)

    def result(self) -> Any:
        """Return what the handler answers."""
        return ["ok", self.uid]


def error_of(problem: Exception) -> LLMOSError:
    """Return the error that travels for a handler that raised."""
    if isinstance(problem, LLMOSError):
        return problem
    return RemoteError(
        type_name="HandlerFailed", actor="", handler="run", message=str(problem), traceback=""
    )


def _digest(receiver: int, payload: bytes, flags: int) -> bytes:
    text = b"%d|%d|" % (receiver, int(flags) & Flag.STREAM) + payload
    return hashlib.blake2b(text, digest_size=16).digest()
