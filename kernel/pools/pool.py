"""A pool of agents as the kernel knows it: members, where each message is, what was learned.

A pool is an actor without a process: it has an id, a name, a mailbox and a place in the tree, and
its members are its children. A message that is sent to it is one of a member's from the moment it
has room; which member's is decided once (kernel/pools/routing.py) and journaled.

Invariants:
  P1  ``jobs`` has exactly the messages of the pool that are with a member and have not ended.
  P2  a member's ``replica.outstanding`` is the number of its jobs.
What is journaled (``to_row``): settings, members and their numbers. What was learned, response
times and scores, is of this kernel epoch.
Leaf: it holds what others decide. Cost: O(1) a message, besides the policy's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import msgpack

from kernel.policy.balance import Demand, Replica
from kernel.policy.balance_filters import Groups
from kernel.policy.balance_names import new_balancer
from kernel.pools.scaler import PoolScaler, Scaling


@dataclass(frozen=True, slots=True)
class Hints:
    """What a sender has said of where a message should go; empty: anywhere."""

    affinity: str = ""  # where others with the same are
    apart: str = ""  # where no other with the same is
    skill: str = ""

    def to_row(self) -> bytes:
        """Return the journal's form; nothing for nothing."""
        if self == ANYWHERE:
            return b""
        return bytes(msgpack.packb([self.affinity, self.apart, self.skill]))

    @classmethod
    def from_row(cls, row: bytes) -> Hints:
        """Undo ``to_row``."""
        return cls(*msgpack.unpackb(row)) if row else ANYWHERE


ANYWHERE = Hints()


@dataclass(slots=True)
class Job:
    """One message of the pool at one member."""

    member: Member
    hints: Hints
    began_ns: int


@dataclass(slots=True, eq=False)
class Member:
    """One agent of the pool. ``number``: from 1, never used again."""

    replica: Replica
    number: int
    is_draining: bool = False  # it gets nothing new, and ends when it has nothing to do
    is_gone: bool = False  # it is about to be terminated: nothing may come back to it
    handled: int = 0
    failed: int = 0
    id: int = field(init=False)  # of the actor

    def __post_init__(self) -> None:
        self.id = self.replica.id


@dataclass(slots=True)
class Settings:
    """What a pool was created with; ``minimum`` to ``skills`` as in ipc/syscalls.py."""

    scaling: Scaling
    balance: str
    skills: list[list[str]] = field(default_factory=list)  # member n has the n-th, cyclically

    def skills_of(self, number: int) -> list[str]:
        """Return what member ``number`` (from 1) declares."""
        return self.skills[(number - 1) % len(self.skills)] if self.skills else []


class Pool:
    """See the module head."""

    __slots__ = (
        "_affine",
        "_apart",
        "_turn",
        "balancer",
        "hold_until_ns",
        "id",
        "is_ending",
        "is_up",
        "is_watched",
        "jobs",
        "members",
        "next_number",
        "num_hits",
        "num_holds",
        "num_passed_on",
        "num_routed",
        "num_taken_over",
        "refused",
        "scaler",
        "settings",
    )

    def __init__(self, identifier: int, settings: Settings, rng: random.Random) -> None:
        """Make a pool without members. Raises UnknownPolicyError, which lists the known ones."""
        self.id = identifier
        self.settings = settings
        self.balancer = new_balancer(settings.balance, rng)
        self.scaler = PoolScaler(settings.scaling)
        self.members: dict[int, Member] = {}
        self.jobs: dict[int, Job] = {}
        self.next_number = 1
        self.is_up = False  # as many members as it needs have said hello, once
        self.is_ending = False
        self.is_watched = False  # a timer is set to look at its load
        self.refused: dict[str, Any] | None = None  # why the last start of a member failed
        self.hold_until_ns = 0  # no member is started before
        self.num_holds = 0  # in a row
        self.num_routed = 0
        self.num_taken_over = 0
        self.num_passed_on = 0  # to members that were idle
        self.num_hits = 0  # messages with an affinity that others of it have bound
        self._affine = Groups()
        self._apart = Groups()
        self._turn = 0

    # --- members ------------------------------------------------------------------------

    def add_member(self, actor: int, number: int, *, is_draining: bool = False) -> Member:
        """Take an actor as a member."""
        skills = frozenset(self.settings.skills_of(number))
        member = self.members[actor] = Member(Replica(actor, skills), number, is_draining)
        self.next_number = max(self.next_number, number + 1)
        return member

    def resize(self, scaling: Scaling) -> None:
        """Set other limits; what is wanted by them shows at the next look."""
        self.settings.scaling = self.scaler.scaling = scaling

    # --- messages -----------------------------------------------------------------------

    def bound(self, members: list[Member], hints: Hints) -> Member | None:
        """Return who has unfinished messages of the same affinity, or None if nobody has."""
        replicas = [member.replica for member in members]
        near = self._affine.near(hints.affinity, replicas)
        if near is replicas:
            return None
        self.num_hits += 1
        return self.members[near[0].id]

    def choose(self, members: list[Member], hints: Hints, now_ns: int) -> Member:
        """Return who is to have a message. members: at least one."""
        replicas = [member.replica for member in members]
        apart = self._apart.apart(hints.apart, replicas)
        demand = Demand(skill=hints.skill)
        return self.members[self.balancer.choose(apart, demand, now_ns).id]

    def begin(self, message: int, member: Member, hints: Hints, now_ns: int) -> None:
        """A message is a member's from here on."""
        self._turn += 1
        self.jobs[message] = Job(member, hints, now_ns)
        member.replica.begin(self._turn)
        self._affine.enter(hints.affinity, member.id)
        self._apart.enter(hints.apart, member.id)

    def leave(self, message: int) -> Job | None:
        """A message is a member's no more: it has ended, or goes to another."""
        job = self.jobs.pop(message, None)
        if job is not None:
            job.member.replica.end()
            self._affine.leave(job.hints.affinity, job.member.id)
            self._apart.leave(job.hints.apart, job.member.id)
        return job

    def is_awaited(self, member: Member) -> bool:
        """Say whether a member that has just ended a message is to be looked at now."""
        is_idle = not member.replica.outstanding
        return is_idle and (member.is_draining or len(self.jobs) > len(self.members))

    def succeed(self, message: int, now_ns: int) -> None:
        """A member has committed the message's turn."""
        job = self.jobs.get(message)
        if job is not None:
            job.member.handled += 1
            job.member.replica.succeed(job.hints.skill, now_ns - job.began_ns, now_ns)

    def fail(self, message: int, now_ns: int) -> None:
        """A member's handler has raised."""
        job = self.jobs.get(message)
        if job is not None:
            job.member.failed += 1
            job.member.replica.fail(job.hints.skill, now_ns - job.began_ns, now_ns)

    # --- the journal --------------------------------------------------------------------

    def to_row(self) -> tuple[bytes]:
        """Return the journal row."""
        scaling = self.settings.scaling
        row = {
            "minimum": scaling.minimum,
            "maximum": scaling.maximum,
            "high": scaling.high,
            "low": scaling.low,
            "shrink_after_ns": scaling.shrink_after_ns,
            "balance": self.settings.balance,
            "skills": self.settings.skills,
            "next_number": self.next_number,
            "is_up": self.is_up,
            "members": [[m.id, m.number, m.is_draining] for m in self.members.values()],
        }
        return (msgpack.packb(row),)

    @classmethod
    def from_row(cls, identifier: int, row: tuple[bytes], rng: random.Random) -> Pool:
        """Return the pool a row describes, without its messages."""
        value = msgpack.unpackb(row[0])
        names = ("minimum", "maximum", "high", "low", "shrink_after_ns")
        scaling = Scaling(**{name: value[name] for name in names})
        pool = cls(identifier, Settings(scaling, value["balance"], value["skills"]), rng)
        for actor, number, is_draining in value["members"]:
            pool.add_member(actor, number, is_draining=is_draining)
        pool.next_number, pool.is_up = value["next_number"], value["is_up"]
        return pool
