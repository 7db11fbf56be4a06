"""Which member of a pool gets a message: decided once, journaled with the message.

A message that was sent to a pool counts against the pool's mailbox until it has ended, and waits
in the pool's line while that is full. When it has room it becomes a message of one member, chosen
by the pool's policy among those that run (or, if none does, that are about to), without those
whose own turn asks or that do what it has asked. While there is none at all it stays in the pool's
own mailbox.

Invariants:
  R1  ``message.pool`` is set exactly while the table ``routed`` has the message: from its routing
      to its end. Its receiver is the pool (waiting) or a member (then it is one of ``pool.jobs``).
  R2  a message in the pool's own mailbox holds up those behind it: nothing overtakes it there.
  R3  messages of one affinity are at one member, also while that is restarted or drains.
Cost: one dictionary look-up and the policy's choice, O(members), a message; a plain actor's
messages pay one attribute read.
"""

from __future__ import annotations

import msgpack

from ext.wire import Envelope
from ipc.envelope import split_refs
from ipc.errors import LLMOSError
from ipc.protocol import Kind
from kernel.actor_record import ActorRecord, Status
from kernel.mailbox import Message
from kernel.pools.handover import PoolHandover
from kernel.pools.pool import ANYWHERE, Hints, Member, Pool
from kernel.state import KernelState
from kernel.timers import Due

LOOK_NS = 250_000_000  # between looks at the load of a pool that has any
_HINTED = 4  # parts of a body: method, args, kwargs, hints
_ON_THE_WAY = (Status.STARTING, Status.BACKOFF)


class PoolRouting:
    """See the module head."""

    def __init__(self, state: KernelState) -> None:
        self.state = state
        self.handover = PoolHandover(state)

    # --- in -----------------------------------------------------------------------------

    def route(self, record: ActorRecord, message: Message) -> None:
        """Give a message that has room to a member, or keep it until there is one."""
        pool = record.pool
        assert pool is not None
        message.pool, message.reserved = pool.id, False  # whoever it is from
        record.mailbox.count(message)
        hints = read_hints(message.envelope)
        self.state.output.changes.put_new("routed", message.id, (pool.id, hints.to_row()))
        self.place(record, pool, message, hints)

    def place(self, record: ActorRecord, pool: Pool, message: Message, hints: Hints) -> None:
        """Find a message of the pool its member."""
        member = None if len(record.mailbox) else self._choose(pool, message, hints)
        if member is None:
            self._park(record, message)
            return
        pool.num_routed += 1
        self.assign(pool, member, message, hints)

    def unpark(self, record: ActorRecord, pool: Pool) -> None:
        """Give what waits in the pool's own mailbox to members, as far as there are any."""
        mailbox = record.mailbox
        waiting = mailbox.queued() if self._candidates(pool, None) else []
        for message in waiting:
            mailbox.remove(message)
        for message in waiting:
            self.place(record, pool, message, read_hints(message.envelope))

    def _park(self, record: ActorRecord, message: Message) -> None:
        if message.receiver != record.id:
            self._readdress(message, record.id)
        record.mailbox.put(message)
        self.state.pools_due[record.id] = None

    def _choose(self, pool: Pool, message: Message, hints: Hints) -> Member | None:
        """Return whose the message is to be: of whoever has others of its affinity (R3)."""
        if hints.affinity:
            bound = pool.bound(self._staying(pool), hints)
            if bound is not None:
                return bound
        candidates = self._candidates(pool, message)
        return pool.choose(candidates, hints, self.state.now_ns) if candidates else None

    def _staying(self, pool: Pool) -> list[Member]:
        """Return the members whose messages stay theirs, whatever state they are in."""
        actors = self.state.actors
        members = pool.members.values()
        return [member for member in members if not (member.is_gone or actors[member.id].is_lost)]

    def _candidates(self, pool: Pool, message: Message | None) -> list[Member]:
        """Return the members that may get a message."""
        running, coming = [], []
        for member in pool.members.values():
            actor = self.state.actors[member.id]
            if member.is_draining or member.is_gone:
                continue
            if actor.status is Status.RUNNING:
                running.append(member)
            elif actor.status in _ON_THE_WAY:
                coming.append(member)
        found = running or coming
        if message is None:
            return found
        if message.envelope.kind == Kind.ASK:
            found = self._without_askers(pool, message, found)
        return self._without_asked(message, found)

    def _without_askers(self, pool: Pool, message: Message, found: list[Member]) -> list[Member]:
        """Leave out members whose turns wait, for an ask by a member: it would wait for itself."""
        if message.sender not in pool.members:
            return found
        others = [member for member in found if member.id != message.sender]
        free = [member for member in others if self._can_begin(self.state.actors[member.id])]
        return free or others or found

    def _without_asked(self, message: Message, found: list[Member]) -> list[Member]:
        """Leave out members that do what the message's own turn has asked, when another takes it.

        It would wait there behind its own part, and that part perhaps for it to read on.
        """
        doing = self.handover.doing_for(message.id)
        return [member for member in found if member.id not in doing] or found

    def _can_begin(self, actor: ActorRecord) -> bool:
        parked = sum(turn.is_parked for turn in actor.open.values())
        return parked < actor.concurrency

    def assign(self, pool: Pool, member: Member, message: Message, hints: Hints) -> None:
        """Make a message one of a member's, and put it into its mailbox."""
        pool.begin(message.id, member, hints, self.state.now_ns)
        self._readdress(message, member.id)
        actor = self.state.actors[member.id]
        self._pass_handles(actor, message.envelope)
        actor.mailbox.put(message)
        self.state.dirty[actor.id] = None
        if not pool.is_watched:
            pool.is_watched = True
            self.state.timers.set(Due.POOL, pool.id, self.state.now_ns + LOOK_NS)

    def _readdress(self, message: Message, receiver: int) -> None:
        """Make the message, and the call it carries, one of this receiver; journaled."""
        state = self.state
        before, message.receiver = message.receiver, receiver
        message.envelope = message.envelope.copy()  # a write set may still hold the old one
        message.envelope.receiver = receiver
        state.save_message(message)
        if state.urgency.inherited:
            state.urgency.move(message.id, receiver)
        call = state.calls.get(message.id)
        if call is not None:
            call.receiver = receiver
        self.handover.hand_over(message, before, receiver)

    def _pass_handles(self, actor: ActorRecord, envelope: Envelope) -> None:
        for target in split_refs(envelope)[0]:
            self.state.give_handle(actor, target)

    # --- out ----------------------------------------------------------------------------

    def end(self, message: Message) -> None:
        """A message of a pool has ended: its room in the pool is free."""
        pool = self.state.pools.get(message.pool)
        record = self.state.actors.get(message.pool)
        self.state.output.changes.delete("routed", message.id)
        if record is not None:
            record.mailbox.discharge(message)
            self.state.dirty[record.id] = None
        if pool is not None:
            job = pool.leave(message.id)
            if job is not None and pool.is_awaited(job.member):
                self.state.pools_due[pool.id] = None

    def succeed(self, message: Message) -> None:
        """A member has committed the message's turn."""
        pool = self.state.pools.get(message.pool)
        if pool is not None:
            pool.succeed(message.id, self.state.now_ns)

    def fail(self, message: Message) -> None:
        """A member's handler has raised."""
        pool = self.state.pools.get(message.pool)
        if pool is not None:
            pool.fail(message.id, self.state.now_ns)

    # --- recovery -----------------------------------------------------------------------

    def restore(self, message: Message, row: tuple[int, bytes]) -> bool:
        """Take a message of a pool from the journal; False if it goes to the pool itself."""
        pool, record = self.state.pools.get(row[0]), self.state.actors.get(row[0])
        if pool is None or record is None:
            return False
        message.pool, message.reserved = pool.id, False
        record.mailbox.count(message)
        member = pool.members.get(message.receiver)
        if member is None:
            record.mailbox.put(message)
            self.state.pools_due[pool.id] = None
            return True
        pool.begin(message.id, member, Hints.from_row(row[1]), self.state.now_ns)
        actor = self.state.actors[member.id]
        actor.mailbox.put(message)
        self.state.dirty[actor.id] = None
        return True


def read_hints(envelope: Envelope) -> Hints:
    """Return what a message's sender has said of where it should go; see ipc/protocol.py.

    Whatever the bytes are: what is no hint is none. The arguments are skipped, not decoded.
    """
    try:
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        unpacker.feed(split_refs(envelope)[1])
        if unpacker.read_array_header() != _HINTED:
            return ANYWHERE
        for _ in range(_HINTED - 1):
            unpacker.skip()
        said = unpacker.unpack()
    except (LLMOSError, ValueError, msgpack.UnpackException):
        return ANYWHERE
    if not isinstance(said, dict):
        return ANYWHERE
    words = {name: said.get(name) for name in ("affinity", "apart", "skill")}
    return Hints(**{name: word for name, word in words.items() if isinstance(word, str)})
