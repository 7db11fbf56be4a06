"""Keeps pools of agents at their size: starts members, lets idle ones go, moves what the lost had.

A pool is looked at when one of its members has come, gone or changed its state, and every quarter
of a second while it has work or more members than its minimum. How many there should be is
kernel/pools/scaler.py's; this file acts.

Promises:
  K1  only a member without anything to do is let go: it gets no more messages first (it drains).
  K2  members of any state together are never more than the maximum. One that is lost (quarantined,
      stopped by an operator) takes no messages but keeps its place until it is killed or restarted.
  K3  a class that cannot start is not tried faster than every second, then ever slower; the one
      who creates the pool is told, and the pool is gone.
Cost: O(members) a look.
"""

from __future__ import annotations

from ipc.errors import LLMOSError, from_wire
from ipc.plain import encode_plain
from ipc.protocol import SpawnSpec
from kernel.actor_record import ActorRecord, Status
from kernel.calls import Call
from kernel.lifecycle import Lifecycle
from kernel.pools.pool import Member, Pool, Settings
from kernel.pools.routing import LOOK_NS
from kernel.pools.takeover import PoolTakeover
from kernel.timers import Due

HOLD_NS = 1_000_000_000
MAX_HOLD_NS = 60 * HOLD_NS
SKILLS_VARIABLE = "LLMOS_SKILLS"


class PoolKeeper:
    """See the module head."""

    def __init__(self, lifecycle: Lifecycle, takeover: PoolTakeover) -> None:
        self.state = lifecycle.state
        self.delivery = lifecycle.delivery
        self.lifecycle = lifecycle
        self.takeover = takeover

    # --- the life of a pool -------------------------------------------------------------

    def create(
        self,
        spec: SpawnSpec,
        settings: Settings,
        parent: int,
        *,
        spawn_call: int,
        spawn_turn: int,
    ) -> ActorRecord:
        """Register a pool; its members are started at the end of the loop turn.

        Raises:
            NameTakenError, LimitError, UnknownPolicyError: nothing was registered.
        """
        state = self.state
        pool = Pool(0, settings, state.new_rng())
        record = self.lifecycle.register(spec, parent, spawn_call=spawn_call, spawn_turn=spawn_turn)
        record.status, record.pool, pool.id = Status.POOL, pool, record.id
        state.pools[record.id] = pool
        state.save_actor(record)
        self.save(pool)
        state.pools_due[record.id] = None
        state.counters.add("pools_created")
        return record

    def save(self, pool: Pool) -> None:
        """Journal what is durable of a pool."""
        self.state.output.changes.put("pool", pool.id, pool.to_row())

    def on_due(self, identifier: int) -> None:
        """It is time to look at a pool's load."""
        pool = self.state.pools.get(identifier)
        if pool is not None:
            pool.is_watched = False
            self.state.pools_due[identifier] = None

    def settle(self) -> None:
        """Look at the pools that something has happened to."""
        due, self.state.pools_due = self.state.pools_due, {}
        for identifier in due:
            pool, record = self.state.pools.get(identifier), self.state.actors.get(identifier)
            if pool is not None and record is not None and not pool.is_ending:
                self._look(record, pool)

    def _look(self, record: ActorRecord, pool: Pool) -> None:
        if self.state.is_shutting_down:
            return
        self._note_losses(pool)
        if self._is_refused(record, pool):
            return
        self._tell_creators(record, pool)
        self._scale(record, pool)
        self._end_drained(pool)
        self.delivery.routing.unpark(record, pool)
        self.takeover.relieve(pool)
        self._watch(record, pool)

    def _note_losses(self, pool: Pool) -> None:
        for actor in [self.state.actors[identifier] for identifier in pool.members]:
            if not actor.is_lost:
                continue
            if pool.members[actor.id].replica.outstanding:
                self.takeover.evacuate(actor)
            pool.refused = actor.last_error or pool.refused
            if actor.id in self.state.doomed:  # its class cannot be loaded: nor can the next one's
                self.hold(pool)

    # --- creation -----------------------------------------------------------------------

    def _is_refused(self, record: ActorRecord, pool: Pool) -> bool:
        """Say whether the pool cannot come up; then it ends, and who waits for it is told why."""
        if pool.is_up or pool.refused is None:
            return False
        error = from_wire(pool.refused)
        for call in self._creators(record):
            self.delivery.answer_error(call, error)
        self.state.doomed[record.id] = "its members cannot be started"
        return True

    def _tell_creators(self, record: ActorRecord, pool: Pool) -> None:
        """Tell who waits for the pool that it is up, once as many run as it needs."""
        actors = [self.state.actors[member.id] for member in pool.members.values()]
        running = sum(actor.status is Status.RUNNING for actor in actors)
        if not pool.is_up:
            if running < pool.settings.scaling.minimum:
                return
            pool.is_up = True
            self.save(pool)
        body = encode_plain({"actor": record.id, "name": record.name})
        for call in self._creators(record):
            self.delivery.answer(call, body)

    def _creators(self, record: ActorRecord) -> list[Call]:
        """Return the calls that wait for the pool to come up; they are to be answered now."""
        waiting, record.start_waiters = record.start_waiters, []
        return [call for call in map(self.state.calls.get, waiting) if call is not None]

    # --- size ---------------------------------------------------------------------------

    def _scale(self, record: ActorRecord, pool: Pool) -> None:
        taking = self.taking(pool)
        mailbox = record.mailbox
        unfinished = mailbox.used_messages + len(mailbox.waiting)
        wanted = pool.scaler.decide(self.state.now_ns, len(taking), unfinished)
        if wanted <= len(taking) == len(pool.members):
            pool.num_holds, pool.refused = 0, None
        if wanted > len(taking):
            self._grow(record, pool, wanted - len(taking))
        elif wanted < len(taking):
            self._shrink(pool, taking, len(taking) - wanted)

    def taking(self, pool: Pool) -> list[Member]:
        """Return the members that take messages, or will when they are up."""
        actors = self.state.actors
        return [
            member
            for member in pool.members.values()
            if not member.is_draining and not actors[member.id].is_lost
        ]

    def _grow(self, record: ActorRecord, pool: Pool, count: int) -> None:
        """Take members back that were about to go; then start new ones, as far as K2 lets."""
        for member in list(pool.members.values()):
            if count and member.is_draining and member.id not in self.state.doomed:
                member.is_draining = False
                count -= 1
        room = pool.settings.scaling.maximum - len(pool.members)
        if self.state.now_ns >= pool.hold_until_ns:
            for _ in range(min(count, room)):
                if not self._start_member(record, pool):
                    break
        self.save(pool)

    def _start_member(self, record: ActorRecord, pool: Pool) -> bool:
        number = pool.next_number
        while self.state.names.find(f"{record.name}.{number}") is not None:
            number += 1
        try:
            actor = self.lifecycle.spawn(_member_spec(record, pool, number), record.id)
        except LLMOSError as error:
            pool.refused = {"code": error.code, "fields": error.fields}
            self.hold(pool)
            return False
        pool.add_member(actor.id, number)
        for target in actor.spec.get("handles", ()):
            self.delivery.give_handle(actor, int(target))
        self.state.counters.add("pool_members_started")
        return True

    def hold(self, pool: Pool) -> None:
        """Start no member for a while; longer each time (K3)."""
        pool.num_holds += 1
        span_ns = min(HOLD_NS << min(pool.num_holds - 1, 16), MAX_HOLD_NS)
        pool.hold_until_ns = self.state.now_ns + span_ns

    def _shrink(self, pool: Pool, taking: list[Member], count: int) -> None:
        """Let those with the least to do go; of equals the youngest."""
        order = sorted(taking, key=lambda member: (member.replica.outstanding, -member.number))
        for member in order[:count]:
            member.is_draining = True
        self.save(pool)

    def _end_drained(self, pool: Pool) -> None:
        for member in pool.members.values():
            actor = self.state.actors[member.id]
            is_busy = actor.open or len(actor.mailbox) or actor.mailbox.waiting
            if member.is_draining and not is_busy:  # K1
                self.state.doomed[actor.id] = "its pool needs it no more"
                self.state.counters.add("pool_members_ended")

    def _watch(self, record: ActorRecord, pool: Pool) -> None:
        """Look again soon, while there is load or somebody may go."""
        mailbox = record.mailbox
        is_busy = mailbox.used_messages or mailbox.waiting
        is_odd = len(pool.members) != pool.settings.scaling.minimum
        if (is_busy or is_odd) and not pool.is_watched:
            pool.is_watched = True
            due_ns = max(self.state.now_ns + LOOK_NS, pool.hold_until_ns)
            self.state.timers.set(Due.POOL, pool.id, due_ns)


def _member_spec(record: ActorRecord, pool: Pool, number: int) -> SpawnSpec:
    spec = SpawnSpec(**record.spec)
    spec["name"], spec["restart"] = f"{record.name}.{number}", "permanent"
    spec.pop("budget", None)  # the pool's own, which its members share
    skills = pool.settings.skills_of(number)
    if skills:
        spec["environment"] = {**spec.get("environment", {}), SKILLS_VARIABLE: ",".join(skills)}
    return spec
