"""How many servers a load needs, so that its goals are met.

A goal is a limit on a percentile of the time in the system of an M/M/c queue, or on its mean.
Both fall with each server added, so the first number that meets all goals is the answer.

Cost: O(servers): Erlang B of one server more is one step.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.planning.percentiles import (
    check_share,
    service_time_percentile_s,
    share_slower,
)
from actors.planning.queueing import (
    MAX_SERVERS,
    Load,
    Steady,
    check_positive,
    erlang_b,
    erlang_c_from_b,
    m_m_c_waiting,
    min_stable_servers,
    next_erlang_b,
    six_digits,
)
from ipc.errors import UnreachableGoalError


@dataclass(frozen=True, slots=True)
class Goal:
    """At most `limit_s` for this share of requests; without a share, for the mean.

    Raises:
        BadLoadError: a limit that is not above 0, or no share between 0 and 1.
    """

    limit_s: float
    share: float | None = None

    def __post_init__(self) -> None:
        check_positive(f"{self.name} goal", self.limit_s)
        if self.share is not None:
            check_share(self.share)

    @property
    def name(self) -> str:
        """Return ``mean``, ``p99``, ``p99.9``."""
        return "mean" if self.share is None else f"p{self.share * 100:g}"

    def is_met(self, steady: Steady) -> bool:
        """Say whether a steady state keeps to it."""
        if self.share is None:
            return steady.time_in_system_s <= self.limit_s
        return share_slower(steady, self.limit_s) <= 1 - self.share

    def floor_s(self, load: Load) -> float:
        """Return what it would be if nobody ever waited."""
        if self.share is None:
            return load.service_time_s
        return service_time_percentile_s(load, self.share)


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer, and what fewer servers would do."""

    load: Load
    min_stable: int  # fewest servers that keep up
    needed: int  # fewest that meet the goals
    steady: Steady  # with `needed` servers


def plan_servers(load: Load, goals: list[Goal]) -> Plan:
    """Return the fewest servers that keep up with the load and meet every goal.

    Raises:
        UnreachableGoalError: serving alone takes that long, or too many servers would be needed.
    """
    for goal in goals:
        if goal.floor_s(load) >= goal.limit_s:
            raise _unreachable(goal, load, "servers must be faster")
    servers = least = min_stable_servers(load)
    blocking = erlang_b(load.offered, least)
    while servers <= MAX_SERVERS:
        wait_probability = erlang_c_from_b(blocking, load.offered, servers)
        steady = m_m_c_waiting(load, servers, wait_probability)
        if all(goal.is_met(steady) for goal in goals):
            return Plan(load, least, servers, steady)
        servers += 1
        blocking = next_erlang_b(blocking, load.offered, servers)
    raise _unreachable(goals[0], load, f"more than {MAX_SERVERS} servers would be needed")


def _unreachable(goal: Goal, load: Load, reason: str) -> UnreachableGoalError:
    return UnreachableGoalError(
        goal=goal.name,
        limit_s=goal.limit_s,
        floor_s=six_digits(goal.floor_s(load)),
        reason=reason,
    )
