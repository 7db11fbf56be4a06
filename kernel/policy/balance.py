"""What a balancing policy is told and asked: which of several replicas takes the next job.

A replica is whatever does the work: a member of a pool of agents, an engine of a model. Mechanism
(who is a replica, what becomes of the job) is elsewhere; here are choices. A policy holds no
clock and no source of chance of its own: both come in, so one seed gives one history.

Invariants:
  B1  ``outstanding`` is the number of jobs begun and not ended.
  B2  a policy returns one of the replicas it was given, and changes none of them.
Cost: of each policy, in its head; n is the number of replicas. Pure, leaf.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kernel.policy.balance_ewma import PeakEwma
from kernel.policy.balance_score import Scores


@dataclass(slots=True, eq=False)
class Replica:
    """One of those who can do the job, and what is known of its past."""

    id: int
    skills: frozenset[str] = frozenset()
    outstanding: int = 0
    turn: int = 0  # number of the last choice that fell on it; ties go to the lowest
    response: PeakEwma = field(default_factory=PeakEwma)
    scores: Scores = field(default_factory=Scores)

    def begin(self, turn: int) -> None:
        """A job was given to it. turn: a number that grows with each choice."""
        self.outstanding += 1
        self.turn = turn

    def end(self) -> None:
        """A job has left it, however it ended."""
        self.outstanding -= 1

    def succeed(self, skill: str, took_ns: float, now_ns: int) -> None:
        """A job was done. took_ns: from ``begin``, or per unit of work; the same for all."""
        self.response.observe(took_ns, now_ns)
        self.scores.add(skill, success=True)

    def fail(self, skill: str, took_ns: float, now_ns: int) -> None:
        """A job failed. To fail fast is not to be fast: its time counts only if it is worse."""
        if took_ns > self.response.value_ns:
            self.response.observe(took_ns, now_ns)
        self.scores.add(skill, success=False)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a policy may know of the job.

    cached: replica id -> units (tokens) of the job's beginning that are at hand there.
    """

    skill: str = ""
    cached: Mapping[int, int] = field(default_factory=dict)


ANY = Demand()


class Balancer(Protocol):
    """A policy; what it remembers is its own."""

    def choose(self, replicas: Sequence[Replica], demand: Demand, now_ns: int) -> Replica:
        """Return who takes the job. replicas: at least one."""
        ...


def by_load(replica: Replica) -> tuple[int, int]:
    """Order by jobs outstanding; of equals the one that has waited longest for one."""
    return (replica.outstanding, replica.turn)
