"""Restart accounting, in the words of OTP: strategy, intensity, period, restart kinds.

Pure bookkeeping: it decides, kernel/supervision.py acts. Time and randomness come in.
Source: Erlang/OTP supervisor behaviour, "Restart intensity and period".
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from enum import Enum


class Restart(Enum):
    """Which exits bring an actor back."""

    PERMANENT = "permanent"  # any exit
    TRANSIENT = "transient"  # a crash
    TEMPORARY = "temporary"  # none: the actor is terminated

    def wants_restart(self, *, crashed: bool) -> bool:
        """Say whether an exit of this kind calls for a restart."""
        return self is Restart.PERMANENT or (self is Restart.TRANSIENT and crashed)


class Strategy(Enum):
    """Which siblings share a restart."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"

    def group(self, crashed: int, siblings: list[int]) -> list[int]:
        """Return who restarts, in start order, the crashed one among them.

        siblings: all children of the supervisor, in the order they were started.
        """
        if self is Strategy.ONE_FOR_ALL:
            return list(siblings)
        if self is Strategy.REST_FOR_ONE:
            return siblings[siblings.index(crashed) :]
        return [crashed]


@dataclass(slots=True)
class RestartWindow:
    """Allows at most ``intensity`` restarts in any ``period_ns`` nanoseconds."""

    intensity: int
    period_ns: int
    _restarts: deque[int] = field(default_factory=deque)

    def admit(self, now_ns: int) -> bool:
        """Record a restart at ``now_ns``; False means: give up.

        now_ns: monotonic, never decreasing between calls.
        """
        while self._restarts and self._restarts[0] <= now_ns - self.period_ns:
            self._restarts.popleft()
        self._restarts.append(now_ns)
        return len(self._restarts) <= self.intensity

    @property
    def recent(self) -> int:
        """Return the restarts counted at the last ``admit``."""
        return len(self._restarts)

    def clear(self) -> None:
        """Forgive all restarts (an operator restarted the actor)."""
        self._restarts.clear()


def backoff_ns(
    attempt: int, initial_s: float, maximum_s: float, jitter: float, rng: random.Random
) -> int:
    """Return the delay before the ``attempt``-th try again (from 1), exponential with jitter.

    jitter: share of the delay by which it may be shorter or longer, so that what failed
    together does not come back together.
    """
    delay_s = min(maximum_s, initial_s * 2.0 ** min(attempt - 1, 62))
    return int(delay_s * (1 + jitter * (2 * rng.random() - 1)) * 1e9)
