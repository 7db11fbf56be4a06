"""How long the slowest requests of an M/M/c queue take, first come first served.

The time in the system is the service time, plus with the probability to wait (Erlang C) an
exponential wait of rate `servers x service - arrival`. Its tail is closed, its percentile is found
by bisection to the last digits of a float.

Cost: about sixty evaluations a percentile, O(1) each.
Source: Gross and Harris, Fundamentals of Queueing Theory, section 2.3.
"""

from __future__ import annotations

import math

from actors.planning.queueing import Load, Steady
from ipc.errors import BadLoadError


def check_share(share: float) -> None:
    """Refuse what is no share between 0 and 1, both excluded.

    Raises:
        BadLoadError: it is not.
    """
    if not 0 < share < 1:
        raise BadLoadError(what="percentile", value=share, needs="a share between 0 and 1")


def share_slower(steady: Steady, time_s: float) -> float:
    """Return the share of requests that are in the system of an M/M/c for longer than that."""
    load, servers = steady.load, steady.servers
    served = load.service * time_s
    # The wait's rate over the service's, less one: where both are equal the sum is Erlang(2).
    gap = servers - 1 - load.offered
    return math.exp(-served) + steady.wait_probability * _still_served(served, gap)


def _still_served(served: float, gap: float) -> float:
    """Return (exp(-served) - exp(-(1 + gap) served)) / gap without overflow or lost digits."""
    if gap == 0:
        return served * math.exp(-served)
    # The larger of the two exponentials is taken out.
    slower = min(1.0, 1 + gap)
    return math.exp(-slower * served) * -math.expm1(-abs(gap) * served) / abs(gap)


def share_waiting_longer(steady: Steady, time_s: float) -> float:
    """Return the share of requests that wait for longer than that before their service."""
    load = steady.load
    return steady.wait_probability * math.exp(
        -(steady.servers * load.service - load.arrival) * time_s
    )


def time_in_system_s(steady: Steady, share: float) -> float:
    """Return the time within which that share of requests is done, 0.99 for p99.

    Raises:
        BadLoadError: no share between 0 and 1.
    """
    check_share(share)
    slow = 1 - share
    low, high = 0.0, steady.time_in_system_s
    while share_slower(steady, high) > slow:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        if share_slower(steady, middle) > slow:
            low = middle
        else:
            high = middle
    return high


def waiting_time_s(steady: Steady, share: float) -> float:
    """Return the time within which that share of requests is served or begins to be.

    Raises:
        BadLoadError: no share between 0 and 1.
    """
    check_share(share)
    slow = 1 - share
    if steady.wait_probability <= slow:
        return 0.0
    load = steady.load
    rate = steady.servers * load.service - load.arrival
    return math.log(steady.wait_probability / slow) / rate


def service_time_percentile_s(load: Load, share: float) -> float:
    """Return the percentile of the service time alone: no number of servers does better."""
    return -math.log(1 - share) / load.service
