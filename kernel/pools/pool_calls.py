"""System calls about pools of agents: create, list, show, resize, remove. See ipc/syscalls.py.

What callers say is checked here, as a whole and before anything is done. Cost: O(members) a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ipc.errors import (
    NameTakenError,
    NoCapabilityError,
    UnknownActorError,
    UnknownCallError,
    WrongStateError,
)
from ipc.protocol import SpawnSpec
from ipc.syscalls import PoolDetail, PoolInfo, PoolMember
from kernel.actor_record import ActorRecord, Status
from kernel.calls import Call
from kernel.claims import read_spec
from kernel.pools.keeper import PoolKeeper
from kernel.pools.pool import Member, Pool, Settings
from kernel.pools.scaler import SECOND_NS, Scaling
from kernel.sending import Sending
from kernel.state import Peer
from kernel.termination import Termination

MAX_MEMBERS = 4096
MAX_SKILLS = 256
Handler = Callable[[Peer, Call, dict[str, Any]], Any]
_SCALING = ("minimum", "maximum", "high", "low", "shrink_after_s")


class PoolCalls:
    """See the module head."""

    def __init__(
        self, sending: Sending, termination: Termination, keeper: PoolKeeper, deferred: object
    ) -> None:
        """deferred: what a handler returns whose call is answered later."""
        self.state = sending.state
        self.delivery = sending.delivery
        self.sending = sending
        self.termination = termination
        self.keeper = keeper
        self._deferred = deferred

    def calls(self) -> dict[str, tuple[Handler, bool]]:
        """Return the functions by name, and whether agents may call them."""
        return {
            "pool_create": (self.create, True),
            "pools": (self.list_all, False),
            "pool": (self.show, True),
            "pool_resize": (self.resize, True),
            "pool_remove": (self.remove, True),
        }

    # --- create -------------------------------------------------------------------------

    def create(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Make a pool; answered when as many members as it needs have said hello."""
        spec = read_spec(arguments["spec"])
        settings = _read_settings(arguments)
        parent = peer.id if isinstance(peer, ActorRecord) else 0
        record = self._existing(call, spec, settings, parent)
        if record is None:
            self.sending.check_storage()
            self._check_handles(peer, spec)
            record = self.keeper.create(
                spec, settings, parent, spawn_call=call.id, spawn_turn=call.turn
            )
            if isinstance(peer, ActorRecord):
                self.state.spawned.setdefault(call.turn, []).append(record.id)
        if isinstance(peer, ActorRecord):
            self.delivery.give_handle(peer, record.id)
        record.start_waiters.append(call.id)
        self.state.pools_due[record.id] = None
        return self._deferred

    def _existing(
        self, call: Call, spec: SpawnSpec, settings: Settings, parent: int
    ) -> ActorRecord | None:
        """Return the pool this very call has made, or a child of the caller's just like it.

        Raises:
            NameTakenError: the name is another's.
        """
        for child in self.state.tree.children(parent):
            if self.state.actors[child].spawn_call == call.id:
                return self.state.actors[child]
        name = spec.get("name")
        owner = self.state.names.find(name) if name else None
        if owner is None:
            return None
        record = self.state.actors[owner]
        is_like = record.pool is not None and record.pool.settings == settings
        if parent and record.parent == parent and is_like and record.spec == spec:
            return record
        raise NameTakenError(name=name, owner=owner)

    def _check_handles(self, peer: Peer, spec: SpawnSpec) -> None:
        if isinstance(peer, ActorRecord):
            for target in spec.get("handles", ()):
                if target not in (peer.id, *peer.handles):
                    raise NoCapabilityError(sender=peer.id, receiver=target)

    # --- the others -----------------------------------------------------------------------

    def list_all(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Return all pools."""
        return [self._info(self.state.actors[pool.id], pool) for pool in self.state.pools.values()]

    def show(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Return all about one pool."""
        record, pool = self._find(peer, arguments["pool"])
        members = [self._member(member) for member in pool.members.values()]
        return PoolDetail(**self._info(record, pool), member_list=members)

    def resize(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """Set other limits; members come and go by themselves."""
        record, pool = self._find_own(peer, arguments["pool"])
        given = {key: value for key, value in arguments.items() if key != "pool"}
        pool.resize(_read_scaling(given, pool.settings.scaling))
        self.keeper.save(pool)
        self.state.pools_due[pool.id] = None
        return self._info(record, pool)

    def remove(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> Any:
        """End a pool with its members; refused while it has work, unless forced."""
        record, _ = self._find_own(peer, arguments["pool"])
        unfinished = record.mailbox.used_messages + len(record.mailbox.waiting)
        if unfinished and not arguments.get("force", False):
            problem = f"{unfinished} messages are unfinished; wait for them, or force it"
            raise WrongStateError(actor=record.name, state="busy", problem=problem)
        is_abnormal = not isinstance(peer, ActorRecord)
        reason = "its pool was removed"
        return {"terminated": self.termination.terminate(record, reason, is_abnormal=is_abnormal)}

    # --- parts ----------------------------------------------------------------------------

    def _find(self, peer: Peer, key: Any) -> tuple[ActorRecord, Pool]:
        identifier = self.state.names.find(key) if isinstance(key, str) else int(key)
        record = self.state.actors.get(identifier) if identifier is not None else None
        if record is None or record.pool is None:
            known = ", ".join(self.state.name_of(pool) for pool in self.state.pools) or "none"
            raise UnknownActorError(name=key, hint=f" that is a pool; pools are: {known}")
        if isinstance(peer, ActorRecord) and record.id not in peer.handles:
            raise NoCapabilityError(sender=peer.id, receiver=record.id)
        return record, record.pool

    def _find_own(self, peer: Peer, key: Any) -> tuple[ActorRecord, Pool]:
        record, pool = self._find(peer, key)
        if isinstance(peer, ActorRecord) and record.parent != peer.id:
            problem = "only who created it may change it"
            raise WrongStateError(actor=record.name, state="not your pool", problem=problem)
        return record, pool

    def _info(self, record: ActorRecord, pool: Pool) -> PoolInfo:
        actors = [self.state.actors[member] for member in pool.members]
        scaling = pool.settings.scaling
        return PoolInfo(
            actor=record.id,
            name=record.name,
            target=record.spec.get("target", ""),
            parent=record.parent or None,
            balance=pool.settings.balance,
            minimum=scaling.minimum,
            maximum=scaling.maximum,
            members=len(actors),
            running=sum(actor.status is Status.RUNNING for actor in actors),
            draining=sum(member.is_draining for member in pool.members.values()),
            lost=sum(actor.is_lost for actor in actors),
            unfinished=record.mailbox.used_messages,
            waiting=len(record.mailbox.waiting),
            routed=pool.num_routed,
            taken_over=pool.num_taken_over,
            passed_on=pool.num_passed_on,
            kept_together=pool.num_hits,
        )

    def _member(self, member: Member) -> PoolMember:
        actor, replica = self.state.actors[member.id], member.replica
        response_ns = replica.response.value_ns
        return PoolMember(
            actor=actor.id,
            name=actor.name,
            state="draining" if member.is_draining else str(actor.status.value),
            outstanding=replica.outstanding,
            response_ms=response_ns / 1e6 if response_ns else None,
            handled=member.handled,
            failed=member.failed,
            restarts=actor.restarts,
            skills=sorted(replica.skills),
            scores=replica.scores.means(),
        )


def _read_settings(arguments: dict[str, Any]) -> Settings:
    skills = arguments.get("skills") or []
    groups = [skills] if all(isinstance(skill, str) for skill in skills) and skills else skills
    is_right = len(groups) <= MAX_SKILLS and all(
        isinstance(group, list) and all(isinstance(skill, str) for skill in group)
        for group in groups
    )
    if not is_right:
        problem = "skills is a list of words, or one such list a member"
        raise UnknownCallError(call="pool_create", problem=problem)
    limits = {key: value for key, value in arguments.items() if value is not None}
    limits.setdefault("minimum", 1)
    limits.setdefault("maximum", limits["minimum"])
    scaling = _read_scaling(limits, Scaling(1, 1))
    return Settings(scaling, str(arguments.get("balance") or "least_outstanding"), groups)


def _read_scaling(arguments: dict[str, Any], before: Scaling) -> Scaling:
    """Return the limits with what was given changed.

    Raises:
        UnknownCallError: something else was given, or no number. BadPolicyError: out of range.
    """
    given = {key: arguments[key] for key in _SCALING if arguments.get(key) is not None}
    if any(
        isinstance(value, bool) or not isinstance(value, int | float) for value in given.values()
    ):
        raise UnknownCallError(call="pool", problem=f"{', '.join(_SCALING)} are numbers")
    if max(given.get("minimum", 0), given.get("maximum", 0)) > MAX_MEMBERS:
        raise UnknownCallError(call="pool", problem=f"a pool has at most {MAX_MEMBERS} members")
    shrink_after_s = given.pop("shrink_after_s", None)
    if shrink_after_s is not None:
        if not 0 <= shrink_after_s < 1e6:
            raise UnknownCallError(call="pool", problem="shrink_after_s is 0 to a million seconds")
        given["shrink_after_ns"] = int(shrink_after_s * SECOND_NS)
    for key in ("minimum", "maximum"):
        if key in given:
            given[key] = int(given[key])
    return replace(before, **given)
