"""Eight bugs, each put in by exchanging a part of the core or its driver. None of this ships.

Each is a way in which kernels of this kind have lost or repeated messages; the simulator must
find every one of them (tests/kernel/test_simulation.py says within how many seeds).
"""

from __future__ import annotations

from typing import Any

from ext.wire import Envelope
from ipc.envelope import decode
from ipc.protocol import Kind
from kernel.actor_record import ActorRecord, Status, Turn
from kernel.core import Core
from kernel.mailbox import Mailbox, Message
from kernel.output import Output
from kernel.pools.pool import Member, Pool
from kernel.records import WriteSet
from kernel.state import KernelState
from tests.simulator.kernel_host import KernelHost, Killed
from tests.simulator.simulation import Parts


class AckingHost(KernelHost):
    """Acknowledges what it reads before the loop turn that journals it."""

    def _turn(self, epoch: int) -> None:
        if epoch == self.epoch and self.core is not None:
            for event, facts in self._inbox:
                if event == "frames":
                    self._acknowledge(self.core, *facts)
        super()._turn(epoch)

    def _acknowledge(self, core: Core, route: bytes, parts: list[Any]) -> None:
        peer = core.state.peer_at(route)
        channel = peer.channel if peer is not None else None
        batch, link = decode(parts), self._routes.get(route)
        if channel is None or link is None:
            return
        if batch[-1].sequence == channel.taken + len(batch):
            link.to_peer([Envelope(Kind.ACK, acknowledged=batch[-1].sequence)])


class ForgetfulCore(Core):
    """Recovers without the marks: what peers send again is taken for new."""

    def __init__(self, config: Any, snapshot: Any, **rest: Any) -> None:
        rows = dict(snapshot)
        rows["mark"] = {key: (row[0], 0) for key, row in rows.get("mark", {}).items()}
        super().__init__(config, rows, **rest)


class TailMailbox(Mailbox):
    """Puts a message that comes back behind those that came after it."""

    __slots__ = ()

    def put_back(self, messages: list[Message]) -> None:
        """Append instead of going back to the old place."""
        for message in messages:
            self.num_queued += 1
            self._lanes[message.envelope.priority].append(message)
            self._first = 0

    def check_integrity(self) -> None:
        """Say nothing: the promise itself must be seen broken."""


class TailCore(Core):
    """A core whose mailboxes forget their order after a retry."""

    def _compose(self, *rest: Any) -> None:
        self.state.__class__ = _TailState
        super()._compose(*rest)


class _TailState(KernelState):
    """Makes such mailboxes; no fields of its own, so that a living state can become one."""

    __slots__ = ()

    def new_mailbox(self, messages: int | None, size: int | None) -> Mailbox:
        """See KernelState."""
        config = self.config
        return TailMailbox(messages or config.mailbox_messages, size or config.mailbox_bytes)


class EmittingHost(KernelHost):
    """Sends first and commits then: what a killed kernel has said may never have been."""

    def settle(self, core: Core, output: Output) -> None:
        """Emit, then commit."""
        phase, self._phase = self._phase, None
        changes, output.changes = output.changes, WriteSet()
        self.emit(output)
        if phase is not None:
            self._die("after emission")
            raise Killed
        rest = Output()
        rest.changes = changes
        super().settle(core, rest)


class HoardingCore(Core):
    """Keeps what a terminated actor had reserved."""

    def _compose(self, *rest: Any) -> None:
        super()._compose(*rest)
        self.state.inventory.release = lambda holder: None  # type: ignore[method-assign]


class TwiceCore(Core):
    """Applies the effects of every commit a second time."""

    def _compose(self, *rest: Any) -> None:
        super()._compose(*rest)
        effects = self.parts.effects
        apply = effects.apply

        def apply_twice(record: ActorRecord, turn: Turn, effects: list[Envelope]) -> Any:
            copies = [effect.copy() for effect in effects]
            reply = apply(record, turn, effects)
            apply(record, turn, copies)
            return reply

        effects.apply = apply_twice  # type: ignore[method-assign]


class EagerCore(Core):
    """Gives an idle member of a pool what a busy one has begun, which lives, and may commit it."""

    def _compose(self, *rest: Any) -> None:
        super()._compose(*rest)
        relieve, apply = self.parts.pools.takeover.relieve, self.parts.turns._apply

        def take_what_runs(pool: Pool) -> None:
            relieve(pool)
            for idle in [m for m in pool.members.values() if not m.replica.outstanding]:
                if self.state.actors[idle.id].status is Status.RUNNING:
                    self._take_begun(pool, idle)

        def apply_anybodys(record: ActorRecord, commit: Envelope, effects: list[Envelope]) -> None:
            message = self.state.messages.get(commit.turn)
            if message is not None and message.pool and message.receiver != record.id:
                self.state.actors[message.receiver].open.pop(message.id, None)
                record.open[message.id] = Turn(message)
            apply(record, commit, effects)

        self.parts.pools.takeover.relieve = take_what_runs  # type: ignore[method-assign]
        self.parts.turns._apply = apply_anybodys  # type: ignore[method-assign]

    def _take_begun(self, pool: Pool, idle: Member) -> None:
        for member in pool.members:
            record = self.state.actors[member]
            for turn in [turn for turn in record.open.values() if turn.message.id in pool.jobs][:1]:
                del record.open[turn.message.id]
                self.parts.delivery.count_slots(record)
                job = pool.leave(turn.message.id)
                assert job is not None
                self.parts.delivery.routing.assign(pool, idle, turn.message, job.hints)
                return


class AmnesicCore(Core):
    """Forgets what a turn had asked when another member of its pool takes it over."""

    def _compose(self, *rest: Any) -> None:
        super()._compose(*rest)
        takeover = self.parts.pools.takeover
        takeover._begin_anew = takeover.delivery.drop_calls  # type: ignore[method-assign]


PLANTED: dict[str, Parts] = {
    "acknowledge before commit": Parts(host=AckingHost),
    "forget the dedup mark at recovery": Parts(make_core=ForgetfulCore),
    "deliver out of order after a retry": Parts(make_core=TailCore),
    "emit before commit": Parts(host=EmittingHost),
    "apply a commit twice": Parts(make_core=TwiceCore),
    "keep reservations of the terminated": Parts(make_core=HoardingCore),
    "take over from a member that lives": Parts(make_core=EagerCore),
    "take over without the recorded calls": Parts(make_core=AmnesicCore),
}
