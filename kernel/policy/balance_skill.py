"""Skill match: who declares the skill, and of those who has done it best so far.

Of the replicas that declare the skill (all, if none does or none was asked for) those within
``max_gap`` jobs of the least loaded are candidates. For each a share of successes is drawn from
what is known of it (Thompson sampling), the highest draw is next: a good one gets most jobs, one
that is little known is still tried, one that fails is tried less and less.

Bound: who is chosen has at most ``max_gap`` jobs more than the least loaded with the skill. While
loads allow, the jobs given to a worse replica grow with the logarithm of the jobs in all.
Cost: O(n), one draw a candidate. Deterministic given the source of chance.
Source: Agrawal and Goyal, Analysis of Thompson sampling for the multi-armed bandit problem, 2012.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from ipc.errors import BadPolicyError
from kernel.policy.balance import Demand, Replica

MAX_GAP = 4


class SkillMatch:
    """See the module head."""

    __slots__ = ("_max_gap", "_rng")

    def __init__(self, rng: random.Random, max_gap: int = MAX_GAP) -> None:
        if max_gap < 0:
            raise BadPolicyError(policy="skill", what="max_gap", value=max_gap, needs="at least 0")
        self._rng = rng
        self._max_gap = max_gap

    def choose(self, replicas: Sequence[Replica], demand: Demand, now_ns: int) -> Replica:
        """See kernel.policy.balance.Balancer."""
        skill = demand.skill
        able = [replica for replica in replicas if skill in replica.skills] or replicas
        limit = min(replica.outstanding for replica in able) + self._max_gap
        best, best_draw = able[0], -1.0
        for replica in able:
            if replica.outstanding <= limit:
                draw = replica.scores.sample(skill, self._rng)
                if draw > best_draw:
                    best, best_draw = replica, draw
        return best
