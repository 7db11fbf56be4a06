"""Steady states of the queues a server farm is compared to: M/M/1, M/M/c, M/M/c/K, M/G/1.

Pure arithmetic on rates per second; what a percentile of the time is stands in percentiles.py,
how many servers are enough in capacity.py.

Promises:
  Q1  a queue that gets as much as it can serve, or more, has no steady state and gets
      UnstableQueueError, which says how it grows; M/M/c/K always has one, since it refuses.
  Q2  Little's law holds in every answer: number = accepted rate x time, in the system and waiting.
  Q3  no factorial and no power is formed, so thousands of servers neither overflow nor lose digits.
Cost: O(servers + room).
Source: Erlang 1917; Kleinrock, Queueing Systems I, chapters 3 and 5; Gross and Harris,
Fundamentals of Queueing Theory, chapters 2 and 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

from ipc.errors import BadLoadError, UnstableQueueError

LOOK_AHEAD_S = 60.0  # an unstable queue is described by its length after this time
MAX_SERVERS = 10_000_000  # beyond it an answer takes minutes and serves nobody
MAX_ROOM = 1_000_000  # each place is a state of its own, held in memory
MAX_VARIATION = 1e6


@dataclass(frozen=True, slots=True)
class Load:
    """What comes and how fast one server works; both checked.

    arrival: requests per second.  service: requests per second of one busy server.

    Raises:
        BadLoadError: a rate is not a positive, finite number, or MAX_SERVERS could not keep up.
    """

    arrival: float
    service: float

    def __post_init__(self) -> None:
        for what in ("arrival", "service"):
            check_positive(f"{what} rate", getattr(self, what))
        if not self.offered < MAX_SERVERS:
            busy = f"of {self.offered:.4g} busy servers"
            raise BadLoadError(what="a load", value=busy, needs=f"less than {MAX_SERVERS}")

    @property
    def offered(self) -> float:
        """Return the load in erlang: servers that would be busy if there were enough."""
        return self.arrival / self.service

    @property
    def service_time_s(self) -> float:
        """Return the mean time one request is served."""
        return 1 / self.service

    def check_stable(self, servers: int) -> None:
        """Refuse a load that these servers cannot keep up with (Q1).

        Raises:
            UnstableQueueError: arrivals reach the capacity; says how fast the queue grows.
        """
        if self.offered < servers:
            return
        raise UnstableQueueError(
            servers=servers,
            arrival_per_s=six_digits(self.arrival),
            capacity_per_s=six_digits(servers * self.service),
            growth_per_s=six_digits(self.arrival - servers * self.service),
            waiting_after_60s=round(self._waiting_after(LOOK_AHEAD_S, servers)),
            min_servers=min_stable_servers(self),
        )

    def _waiting_after(self, seconds: float, servers: int) -> float:
        """Return how many wait then, if nobody waits now.

        Above capacity the excess piles up; exactly at capacity it is a reflected random walk,
        whose mean grows with the square root of time.
        """
        excess = self.arrival - servers * self.service
        walk = math.sqrt(4 * self.arrival * seconds / math.pi)
        return max(excess * seconds, walk)


@dataclass(frozen=True, slots=True)
class Steady:
    """The long run of one queue. Times in seconds, of the requests that were let in."""

    load: Load
    servers: int
    utilisation: float  # share of time a server is busy
    wait_probability: float  # of a request that was let in
    number_waiting: float
    waiting_time_s: float
    number_in_system: float
    time_in_system_s: float
    refusal_probability: float = 0.0  # of a request that comes: the room was full

    @property
    def accepted(self) -> float:
        """Return the requests per second that are let in."""
        return self.load.arrival * (1 - self.refusal_probability)


def six_digits(value: float) -> float:
    """Return the value as an error's text should show it."""
    return float(f"{value:.6g}")


def check_positive(what: str, value: float) -> None:
    """Refuse what is no positive, finite number.

    Raises:
        BadLoadError: it is not.
    """
    if not (math.isfinite(value) and value > 0):
        raise BadLoadError(what=what, value=value, needs="a number above 0")


def check_servers(servers: int) -> None:
    """Refuse less than one server, and more than an answer could be found for.

    Raises:
        BadLoadError: there is none, or there are too many.
    """
    if not 1 <= servers <= MAX_SERVERS:
        raise BadLoadError(what="servers", value=servers, needs=f"1 to {MAX_SERVERS}")


def min_stable_servers(load: Load) -> int:
    """Return the fewest servers that keep up with the load."""
    return math.floor(load.offered) + 1


def erlang_b(offered: float, servers: int) -> float:
    """Return the share refused by `servers` servers without a waiting room (M/M/c/c)."""
    blocking = 1.0
    for number in range(1, servers + 1):
        blocking = next_erlang_b(blocking, offered, number)
    return blocking


def next_erlang_b(blocking: float, offered: float, servers: int) -> float:
    """Return Erlang B with `servers` servers from that with one server less (Q3)."""
    return offered * blocking / (servers + offered * blocking)


def erlang_c_from_b(blocking: float, offered: float, servers: int) -> float:
    """Return Erlang C, the probability to wait, from Erlang B. The load is below `servers`."""
    return blocking * servers / (servers - offered * (1 - blocking))


def erlang_c(offered: float, servers: int) -> float:
    """Return the probability that a request of M/M/c waits. The load is below `servers`."""
    return erlang_c_from_b(erlang_b(offered, servers), offered, servers)


def m_m_1(load: Load) -> Steady:
    """Return the steady state of one server with exponential service.

    Raises:
        UnstableQueueError: see Q1.
    """
    return m_m_c(load, 1)


def m_m_c(load: Load, servers: int) -> Steady:
    """Return the steady state of `servers` servers with one line and endless room.

    Raises:
        UnstableQueueError: see Q1.
        BadLoadError: no server.
    """
    check_servers(servers)
    load.check_stable(servers)
    return m_m_c_waiting(load, servers, erlang_c(load.offered, servers))


def m_m_c_waiting(load: Load, servers: int, wait_probability: float) -> Steady:
    """Return the steady state of M/M/c whose Erlang C is known."""
    waiting = wait_probability / (servers * load.service - load.arrival)
    return _steady(load, servers, wait_probability, waiting)


def m_g_1(load: Load, variation: float) -> Steady:
    """Return the steady state of one server whose service time is not exponential.

    variation: standard deviation of the service time over its mean; 0 for a constant one, 1 for
               an exponential one.

    Raises:
        UnstableQueueError: see Q1.
        BadLoadError: the variation is negative, no number, or beyond MAX_VARIATION.
    Source: Pollaczek-Khinchine, Kleinrock I, (5.63).
    """
    if not 0 <= variation <= MAX_VARIATION:
        needs = f"0 to {MAX_VARIATION:.0f}"
        raise BadLoadError(what="variation", value=variation, needs=needs)
    load.check_stable(1)
    spread = (1 + variation**2) / 2
    waiting = load.offered * spread * load.service_time_s / (1 - load.offered)
    return _steady(load, 1, load.offered, waiting)


def _steady(load: Load, servers: int, wait_probability: float, waiting_s: float) -> Steady:
    """Complete a queue that refuses nobody by Little's law (Q2)."""
    total = waiting_s + load.service_time_s
    return Steady(
        load,
        servers,
        utilisation=load.offered / servers,
        wait_probability=wait_probability,
        number_waiting=load.arrival * waiting_s,
        waiting_time_s=waiting_s,
        number_in_system=load.arrival * total,
        time_in_system_s=total,
    )


def m_m_c_k(load: Load, servers: int, room: int) -> Steady:
    """Return the steady state of `servers` servers that refuse whom the room does not hold.

    room: requests that fit, those in service included; at least `servers`.

    Raises:
        BadLoadError: no server, less room than servers, or more than MAX_ROOM.
    """
    check_servers(servers)
    if not servers <= room <= MAX_ROOM:
        needs = f"{servers} or more, one a server, and at most {MAX_ROOM}"
        raise BadLoadError(what="room", value=room, needs=needs)
    shares = _shares(load.offered, servers, room)
    refused = shares[room]
    accepted = load.arrival * (1 - refused)
    waiting = math.fsum((n - servers) * shares[n] for n in range(servers, room + 1))
    busy = math.fsum(min(n, servers) * share for n, share in enumerate(shares))
    return Steady(
        load,
        servers,
        utilisation=busy / servers,
        wait_probability=math.fsum(shares[servers:room]) / (1 - refused),
        number_waiting=waiting,
        waiting_time_s=waiting / accepted,
        number_in_system=waiting + busy,
        time_in_system_s=(waiting + busy) / accepted,
        refusal_probability=refused,
    )


def _shares(offered: float, servers: int, room: int) -> list[float]:
    """Return the share of time with n requests in the system, n = 0 .. room.

    In logarithms: each state's weight is the last one's times offered / busy servers, and the
    weights of a thousand servers span more than a float does (Q3).
    """
    steps = (math.log(offered / min(n, servers)) for n in range(1, room + 1))
    logs = list(accumulate(steps, initial=0.0))
    top = max(logs)
    weights = [math.exp(each - top) for each in logs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]
