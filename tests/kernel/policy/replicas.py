"""A queue before each of several replicas, on a virtual clock: what a policy makes of it."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence

from kernel.policy.balance import ANY, Balancer, Demand, Replica

MS = 1_000_000


def replicas(count: int) -> list[Replica]:
    return [Replica(number + 1) for number in range(count)]


def mean_wait_ms(
    balancer: Balancer, service_ms: Sequence[float], gap_ms: float, *, jobs: int, seed: int
) -> float:
    """Return the mean time from arrival to the begin of service.

    service_ms: of each replica, which serves one job at a time in order. gap_ms: mean time between
    arrivals, exponential.
    """
    rng = random.Random(seed)
    places = replicas(len(service_ms))
    free_ns = [0] * len(places)
    done: list[tuple[int, int, Replica, int]] = []
    now_ns, waited_ns = 0, 0
    for number in range(jobs):
        now_ns += int(rng.expovariate(1 / gap_ms) * MS)
        while done and done[0][0] <= now_ns:
            ended_ns, _, place, began_ns = heapq.heappop(done)
            place.succeed("", ended_ns - began_ns, ended_ns)
            place.end()
        place = balancer.choose(places, ANY, now_ns)
        place.begin(number + 1)
        index = places.index(place)
        starts_ns = max(now_ns, free_ns[index])
        free_ns[index] = starts_ns + int(service_ms[index] * MS)
        waited_ns += starts_ns - now_ns
        heapq.heappush(done, (free_ns[index], number, place, now_ns))
    return waited_ns / jobs / MS


def choices(balancer: Balancer, places: list[Replica], demands: list[Demand]) -> list[int]:
    """Return who is chosen for each job; none of them ends."""
    chosen = []
    for number, demand in enumerate(demands):
        place = balancer.choose(places, demand, number)
        place.begin(number + 1)
        chosen.append(place.id)
    return chosen
