"""Time as a parameter: the one interface through which anything reads a clock.

Durations run on the monotonic clock; what is journaled is wall-clock nanoseconds.
The core never reads a clock: its driver passes ``now`` in.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Reads time in nanoseconds."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never go back."""
        ...

    def wall_ns(self) -> int:
        """Return nanoseconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's clocks."""

    monotonic_ns = staticmethod(time.monotonic_ns)
    wall_ns = staticmethod(time.time_ns)


class ManualClock:
    """A clock that moves when told; both readings move together."""

    def __init__(self, start_ns: int = 1_000_000_000) -> None:
        self._now_ns = start_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    def wall_ns(self) -> int:
        return self._now_ns + 1_700_000_000_000_000_000

    def advance(self, delta_ns: int) -> None:
        """Move forward. Raises ValueError for a negative step."""
        if delta_ns < 0:
            raise ValueError("time does not go back")
        self._now_ns += delta_ns
