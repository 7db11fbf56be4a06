"""The power of two choices: two are drawn by chance, the less loaded of them is next.

Bound: with n replicas and as many jobs the fullest has log log n / log 2 + O(1) jobs with high
probability, where one random choice gives log n / log log n. It looks at two replicas only, so
many balancers that share replicas and know their loads late do not all run to the same one.
Cost: O(1), two draws.
Source: Mitzenmacher, The power of two choices in randomized load balancing, 1996.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from kernel.policy.balance import Demand, Replica, by_load


class TwoChoices:
    """See the module head."""

    __slots__ = ("_rng",)

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def choose(self, replicas: Sequence[Replica], demand: Demand, now_ns: int) -> Replica:
        """See kernel.policy.balance.Balancer."""
        if len(replicas) == 1:
            return replicas[0]
        first, second = self._rng.sample(range(len(replicas)), 2)
        return min(replicas[first], replicas[second], key=by_load)
