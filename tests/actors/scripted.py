"""A scripted kernel for one agent: the test says what the kernel sends, and reads the answers.

Time is virtual; ``give`` returns what the agent has sent by the time it is idle.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from actors.actor import Actor
from actors.bodies import encode, fill, to_stored
from actors.host import Identity
from actors.program import Program
from actors.runtime import AgentRuntime
from actors.virtual_loop import VirtualLoop
from ext.wire import Envelope
from ipc import envelope as wire
from ipc.clock import ManualClock
from ipc.errors import LLMOSError, to_wire
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind, Limits

ME = 5
OTHER = 9
LIMITS = Limits(
    window_messages=4096,
    window_bytes=1 << 27,
    turn_messages=64,
    turn_bytes=1 << 20,
    turn_calls=100,
    payload_bytes=1 << 20,
    grace_s=60.0,
)


class ScriptedKernel:
    """See the module head; it is also the Host of the agent."""

    def __init__(self, actor_class: type[Actor], *args: Any, limits: Limits = LIMITS) -> None:
        self.clock = ManualClock()
        self.loop = VirtualLoop(self.clock, self._idle)
        self.limits = limits
        self.left: list[str] = []
        self.sent: list[Envelope] = []
        self.repeats: list[Envelope] = []  # sent again, for want of progress
        self.epoch = 1
        self._sequence = 0
        self._taken = 0
        self._message = 1000
        self._until_ns = 0
        self._threads = 0
        self._pool = ThreadPoolExecutor(2)
        program = Program(actor_class, "test", to_stored([list(args), {}]))
        me = Identity(ME, 1, "token", "me", 77, 1)
        self.runtime = AgentRuntime(me, self, program)
        self.port = self.runtime.port
        self.connect()

    # --- the wire ---------------------------------------------------------------------------

    def connect(self, *, state: dict[str, bytes] | None = None, **changes: Any) -> None:
        """Connect the agent and welcome it."""
        self.hear_hello()
        self.welcome(state=state, **changes)

    def hear_hello(self) -> None:
        """Connect the agent, and do not answer yet."""
        self.runtime.peer.connected(self._take)
        self.hello = decode_plain(self.drain()[0].payload)

    def welcome(self, *, state: dict[str, bytes] | None = None, **changes: Any) -> None:
        """Answer the agent's hello."""
        welcome = {
            "epoch": self.epoch,
            "generation": 1,
            "actor": ME,
            "name": "me",
            "incarnation": 1,
            "taken": self._taken,
            "resumed": False,
            "state": state or {},
            "limits": self.limits,
            **changes,
        }
        self._deliver([Envelope(Kind.WELCOME, 0, ME, encode_plain(welcome))])

    def restart(self) -> None:
        """A new kernel epoch: our numbers begin at 1; the agent says hello again."""
        self.die()
        self.connect()

    def die(self) -> None:
        """The connection is lost; the next one is to a new kernel epoch."""
        self.runtime.peer.disconnected()
        self.epoch += 1
        self._sequence = 0

    def _take(self, envelopes: list[Envelope]) -> None:
        parts = [bytes(part) for part in wire.encode(envelopes)]
        for envelope in wire.decode(parts):
            if envelope.sequence == self._taken + 1:
                self._taken += 1
            elif envelope.sequence:
                self.repeats.append(envelope)
                continue
            self.sent.append(envelope)

    def _deliver(self, envelopes: list[Envelope]) -> None:
        parts = [bytes(part) for part in wire.encode(envelopes)]
        self.loop.call_soon(self.runtime.peer.receive, wire.decode(parts))
        self.run()

    def drain(self) -> list[Envelope]:
        """Return what the agent has sent and the test has not seen."""
        sent, self.sent = self.sent, []
        return [envelope for envelope in sent if envelope.kind != Kind.ACK]

    # --- what the kernel says ---------------------------------------------------------------

    def give(self, *envelopes: Envelope, covers: bool = True) -> list[Envelope]:
        """Send numbered envelopes as one batch; return what the agent says then."""
        for envelope in envelopes:
            self._sequence += 1
            envelope.sequence = self._sequence
            envelope.acknowledged = self._taken if covers else 0
        self._deliver(list(envelopes))
        return self.drain()

    def message(self, kind: Kind, method: str, *args: Any, **fields: Any) -> Envelope:
        """Return a granted message with the next message id."""
        self._message += 1
        kwargs = fields.pop("kwargs", {})
        fields.setdefault("message", self._message)
        fields.setdefault("sender", OTHER)
        envelope = Envelope(kind, receiver=ME, **fields)
        return fill(envelope, encode([method, list(args), kwargs]))

    def ask(self, method: str, *args: Any, **fields: Any) -> list[Envelope]:
        """Grant an ask."""
        return self.give(self.message(Kind.ASK, method, *args, **fields))

    def tell(self, method: str, *args: Any, **fields: Any) -> list[Envelope]:
        """Grant a tell."""
        return self.give(self.message(Kind.TELL, method, *args, **fields))

    def reply(self, call: Envelope, value: Any) -> list[Envelope]:
        """Answer a call of the agent's."""
        return self.give(fill(Envelope(Kind.REPLY, correlation=call.correlation), encode(value)))

    def error(self, call: Envelope, error: LLMOSError) -> list[Envelope]:
        """Answer a call with an error."""
        body = encode_plain(to_wire(error))
        return self.give(Envelope(Kind.ERROR, payload=body, correlation=call.correlation))

    def credit(self, reserve: Envelope, messages: int, size: int) -> list[Envelope]:
        """Lend room."""
        return self.give(
            Envelope(
                Kind.CREDIT,
                receiver=reserve.receiver,
                payload=encode_plain([messages, size]),
                correlation=reserve.correlation,
            )
        )

    def refuse_commit(self, turn: int) -> list[Envelope]:
        """Refuse a commit."""
        from ipc.errors import TurnClosedError

        error = to_wire(TurnClosedError(operation="a commit", actor="me"))
        return self.give(Envelope(Kind.REFUSED, payload=encode_plain(error), turn=turn))

    # --- time and the Host ------------------------------------------------------------------

    def run(self, seconds: float = 0.0) -> None:
        """Run until idle, letting so much virtual time pass."""
        self._until_ns = self.clock.monotonic_ns() + int(seconds * 1e9)
        self.loop.run_forever()

    def _idle(self, timeout_s: float | None) -> None:
        now_ns = self.clock.monotonic_ns()
        due_ns = None if timeout_s is None else now_ns + int(timeout_s * 1e9) + 1
        if self._threads and not self._is_asked():
            self.loop.wait_for_threads()
        elif due_ns is not None and due_ns <= self._until_ns:
            self.clock.advance(due_ns - now_ns)
        else:
            self.clock.advance(max(0, self._until_ns - now_ns))
            self.loop.stop()

    def _is_asked(self) -> bool:
        """Say whether a call waits for the test's answer: a thread may be blocked in it."""
        return any(envelope.kind == Kind.ASK for envelope in self.sent)

    async def run_in_thread(self, function: Callable[[], Any]) -> Any:
        self._threads += 1
        context = contextvars.copy_context()
        try:
            return await self.loop.run_in_executor(self._pool, context.run, function)
        finally:
            self._threads -= 1

    def up(self, grace_s: float) -> None:
        pass

    def turn_begins(self) -> None:
        pass

    def refused(self, error: LLMOSError) -> None:
        self.left.append(type(error).__name__)

    def leave(self, reason: str) -> None:
        self.left.append(reason)

    def close(self) -> None:
        """End the loop."""
        self.runtime.abandon()
        self.runtime.peer.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.run()
        self._pool.shutdown()
        self.loop.close()


def kinds(envelopes: list[Envelope]) -> list[str]:
    """Return the names of the envelopes' kinds; of a commit also whether it carries a reply."""
    return [
        "COMMIT+REPLY" if envelope.flags & Flag.REPLIES else Kind(envelope.kind).name
        for envelope in envelopes
    ]
