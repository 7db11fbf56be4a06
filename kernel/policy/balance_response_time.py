"""Least response time: who would answer first, judged by the peak average of its past.

The cost of a replica is (jobs outstanding + 1) times its response time, as an average that
believes bad news at once (kernel/policy/balance_ewma.py). One that has answered nothing yet is
tried while it has nothing to do; then it counts as slow as the slowest, so that a new replica
that hangs is not flooded.

Behaviour: of replicas with different speeds each gets jobs in proportion to its speed; one whose
times rise k-fold gets about a k-th of its jobs from the next answer on.
Cost: O(n).
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel.policy.balance import Demand, Replica


class LeastResponseTime:
    """See the module head."""

    __slots__ = ()

    def choose(self, replicas: Sequence[Replica], demand: Demand, now_ns: int) -> Replica:
        """See kernel.policy.balance.Balancer."""
        slowest_ns = max(replica.response.value_ns for replica in replicas) or 1.0
        return min(replicas, key=lambda replica: (_cost(replica, slowest_ns), replica.turn))


def _cost(replica: Replica, slowest_ns: float) -> float:
    known_ns = replica.response.value_ns
    if known_ns:
        return known_ns * (replica.outstanding + 1)
    return slowest_ns * (replica.outstanding + 1) if replica.outstanding else 0.0
