"""How long a context is worth holding while its program's tool is out, learned from the tools.

When a completion ends with calls of tools its program comes back with their results, and needs the
same context again. Held until then it need not be computed again; held for nothing it is room that
others lack. Holding a share of the pool for a second costs that share of a second of the engine,
and computing it again costs the same share of the time that the whole pool takes to compute. So
both are counted in pools, and for a time t the gain is
    refill_s x P(back within t) - mean(time held until t)
with the distribution of how long the same tools took before. The best t is one of the times seen;
if no time has a gain, nothing is held. With few times for these tools, those of the call site
count, then those of all; at the very first DEFAULT_S.

Promises:
  T1  the same calls in the same order give the same times; no clock, no randomness.
  T2  memory is bounded: TIMES a key, MAX_KEYS keys, MAX_AWAY programs; the oldest leave first.
  T3  who has not come back within LOST_S counts as never: it makes holding dearer for its tools.
Cost: O(TIMES log TIMES) a completion that ends with calls of tools; others look in one dictionary.
Source: the terms are those of Continuum (arXiv 2511.02230) and InferCept (arXiv 2402.01869).
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

TIMES = 64  # kept of a key
ENOUGH = 8  # times that need no others
MAX_KEYS = 512
MAX_AWAY = 10_000
LOST_S = 900.0
DEFAULT_S = 2.0
ALL = ("all", "")

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Away:
    """A program whose tools are out. keys: what its time will be learned for."""

    since_s: float
    keys: tuple[Key, ...]


class HoldTimes:
    """See the module head. who: any name of a program that is the same when it comes back."""

    __slots__ = ("_away", "_times")

    def __init__(self) -> None:
        self._times: OrderedDict[Key, deque[float]] = OrderedDict()
        self._away: OrderedDict[str, Away] = OrderedDict()

    def leave(self, who: str, tools: str, call_site: str, now_s: float) -> None:
        """A program has gone off to its tools. tools: their names, in one text."""
        self._away.pop(who, None)
        keys = (
            (("tools", tools), ("site", call_site), ALL) if call_site else (("tools", tools), ALL)
        )
        self._away[who] = Away(now_s, keys)
        while self._away:
            oldest, away = next(iter(self._away.items()))
            if len(self._away) <= MAX_AWAY and now_s - away.since_s <= LOST_S:
                break
            del self._away[oldest]
            self._learn(away.keys, math.inf)  # T3

    def come_back(self, who: str, now_s: float) -> None:
        """A program asks for something again; if its tools were out it is learned how long."""
        away = self._away.pop(who, None)
        if away is not None:
            self._learn(away.keys, now_s - away.since_s)

    def _learn(self, keys: tuple[Key, ...], time_s: float) -> None:
        for key in keys:
            times = self._times.pop(key, None) or deque(maxlen=TIMES)
            times.append(time_s)
            self._times[key] = times
        while len(self._times) > MAX_KEYS:
            self._times.popitem(last=False)  # T2

    def hold_s(self, tools: str, call_site: str, refill_s: float) -> float:
        """Return how long to hold a context, in seconds; 0: not at all.

        refill_s: the time in which the engine computes as many tokens as its whole pool holds.
        """
        times = self._known(tools, call_site)
        return best_time(times, refill_s) if times else min(DEFAULT_S, refill_s)

    def chance(self, tools: str, call_site: str) -> float:
        """Return how likely it is that a program comes back from these tools; 1 if unknown."""
        times = self._known(tools, call_site)
        return sum(not math.isinf(time_s) for time_s in times) / len(times) if times else 1.0

    def _known(self, tools: str, call_site: str) -> Sequence[float]:
        """Return the times that count for these tools, if there are enough."""
        for key in (("tools", tools), ("site", call_site), ALL):
            times = self._times.get(key, ())
            if len(times) >= ENOUGH:
                return times
        return ()

    def num_times(self) -> dict[Key, int]:
        """Return how many times are known, by key."""
        return {key: len(times) for key, times in self._times.items()}


def best_time(times: Sequence[float], refill_s: float) -> float:
    """Return the time of those seen that gains most; 0 if none gains anything.

    times: seconds until a program was back, infinite where it never was.
    """
    ascending = sorted(times)
    best_s = best_gain = held_before = 0.0
    for index, time_s in enumerate(ascending):
        if math.isinf(time_s):
            break
        back = index + 1
        # Those that come back later are held for all of this time.
        held = held_before + time_s * (len(ascending) - index)
        gain = refill_s * back - held
        if gain > best_gain:
            best_gain, best_s = gain, time_s
        held_before += time_s
    return best_s
