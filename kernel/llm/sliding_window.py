"""The sum of what was booked within the last minute, exact while the kernel lives.

What it is not: who may book (kernel/llm/endpoint_limits.py). No clock: times are monotonic
nanoseconds passed in, never decreasing.

Beside the exact bookings it keeps their sums by the second, rounded up, which are few and are what
outlives the kernel: a booking comes back from them at most a second too long, never too short.

Cost: O(1) amortised a booking; ``by_second`` O(seconds with bookings), at most 61.
"""

from __future__ import annotations

from collections import deque

WINDOW_NS = 60_000_000_000
SECOND_NS = 1_000_000_000

Seconds = list[list[int]]  # [second in which it has left, amount], in order


class SlidingWindow:
    """See the module head. A limit of 0 books nothing."""

    __slots__ = ("_booked", "_seconds", "limit", "sum")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.sum = 0
        self._booked: deque[tuple[int, int]] = deque()  # (when it leaves, amount), in order
        self._seconds: deque[list[int]] = deque()  # the same, added up

    def advance(self, now_ns: int) -> None:
        """Let go of what is a minute old."""
        while self._booked and self._booked[0][0] <= now_ns:
            self.sum -= self._booked.popleft()[1]
        while self._seconds and self._seconds[0][0] * SECOND_NS <= now_ns:
            self._seconds.popleft()

    def book(self, amount: int, now_ns: int) -> None:
        """Count an amount for a minute from now."""
        if self.limit and amount:
            self._add(now_ns + WINDOW_NS, amount)

    def _add(self, leaves_ns: int, amount: int) -> None:
        self._booked.append((leaves_ns, amount))
        self.sum += amount
        second = -(-leaves_ns // SECOND_NS)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += amount
        else:
            self._seconds.append([second, amount])

    def fits(self, amount: int, held: int = 0) -> bool:
        """Say whether there is room now. held: what else counts, outside the window."""
        return not self.limit or self.sum + held + amount <= self.limit

    def fits_at(self, amount: int, held: int = 0) -> int | None:
        """Return when there will be room if nothing else happens; None: not by waiting."""
        if self.fits(amount, held):
            return 0
        excess = self.sum + held + amount - self.limit
        for leaves_ns, booked in self._booked:
            excess -= booked
            if excess <= 0:
                return leaves_ns
        return None

    def by_second(self, offset_ns: int) -> Seconds:
        """Return what is booked, in seconds of a clock that is offset_ns ahead of ours."""
        return [
            [-(-(second * SECOND_NS + offset_ns) // SECOND_NS), amount]
            for second, amount in self._seconds
        ]

    def restore(self, seconds: Seconds, offset_ns: int, now_ns: int) -> None:
        """Book what another window had booked; nothing stays longer than a minute from now."""
        for second, amount in seconds:
            leaves_ns = min(second * SECOND_NS - offset_ns, now_ns + WINDOW_NS)
            if self.limit and leaves_ns > now_ns:
                self._add(leaves_ns, amount)
