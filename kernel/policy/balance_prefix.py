"""Prefix affinity: who has most of the job's beginning at hand, unless it is far too busy.

Bound: who is chosen has at most ``max_gap`` jobs more than the least loaded; within that, nobody
who was passed over has more of the prefix at hand. Of those with equally much the least loaded.
Cost: O(n), besides what it costs to say what is cached where.
Source: the rule "longest match while the load allows" of SGLang's router and of Preble (ICLR 2025).
"""

from __future__ import annotations

from collections.abc import Sequence

from ipc.errors import BadPolicyError
from kernel.policy.balance import Demand, Replica, by_load

MAX_GAP = 8  # jobs more than the least loaded that a good prefix is worth


class PrefixAffinity:
    """See the module head."""

    __slots__ = ("_max_gap",)

    def __init__(self, max_gap: int = MAX_GAP) -> None:
        if max_gap < 0:
            raise BadPolicyError(policy="prefix", what="max_gap", value=max_gap, needs="at least 0")
        self._max_gap = max_gap

    def choose(self, replicas: Sequence[Replica], demand: Demand, now_ns: int) -> Replica:
        """See kernel.policy.balance.Balancer."""
        limit = min(replica.outstanding for replica in replicas) + self._max_gap
        near = [replica for replica in replicas if replica.outstanding <= limit]
        cached = demand.cached
        return min(near, key=lambda replica: (-cached.get(replica.id, 0), *by_load(replica)))
