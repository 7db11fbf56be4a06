"""Least outstanding: who has the fewest jobs is next, of equals who was chosen longest ago.

Bound: the loads of two replicas differ by at most one more than they would if all jobs took the
same time; a slow replica gets fewer jobs because it gives them back later. It does not tell a
replica that is slow from one that is busy.
Cost: O(n).
Source: "join the shortest queue": Winston, Optimality of the shortest line discipline, 1977.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel.policy.balance import Demand, Replica, by_load


class LeastOutstanding:
    """See the module head."""

    __slots__ = ()

    def choose(self, replicas: Sequence[Replica], demand: Demand, now_ns: int) -> Replica:
        """See kernel.policy.balance.Balancer."""
        return min(replicas, key=by_load)
