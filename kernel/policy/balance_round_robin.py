"""Round robin: who was chosen longest ago is next.

Bound: while the replicas stay the same, any two were chosen equally often, up to one. It looks
at no load: behind a replica that is k times slower than the others waits a growing line as soon
as its share, 1/n of all jobs, is more than it can do.
Cost: O(n).
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel.policy.balance import Demand, Replica


class RoundRobin:
    """See the module head."""

    __slots__ = ()

    def choose(self, replicas: Sequence[Replica], demand: Demand, now_ns: int) -> Replica:
        """See kernel.policy.balance.Balancer."""
        return min(replicas, key=lambda replica: replica.turn)
