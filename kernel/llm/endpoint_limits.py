"""How much of a remote endpoint may be in use: concurrency, requests and tokens a minute.

What it is not: who goes first, and when something is tried again (kernel/llm/remote_queue.py).
Nothing here reads a clock: times are monotonic nanoseconds passed in, never decreasing.

A request is booked when it starts: one request, and as many tokens as it can come to (its
prompt by estimate, its completion by ``max_tokens``). When it has ended, what it really took
stands in place of that.

Invariants, at any instant:
  I1  at most ``concurrency`` requests are open.
  I2  in any window of 60 s at most ``requests_per_minute`` were started, refused ones included.
  I3  in any window of 60 s at most ``tokens_per_minute`` were booked, at whichever instant
      between a request's start and its end the endpoint counts its tokens: they leave the window
      60 s after its end, not after its start. Only a request that took more than was reserved
      for it can break this; the excess is booked too, so that others wait for it.

Cost: O(1) amortised for each request. Memory: what started or ended within the last minute.
That a long request holds its tokens for its own time and a minute is the price of I3: one of
5 s keeps a steady load 8 % below the limit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ipc.errors import PromptTooLongError

WINDOW_NS = 60_000_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What an endpoint allows; 0: no limit (concurrency has always one)."""

    concurrency: int = 8
    requests_per_minute: int = 0
    tokens_per_minute: int = 0


class SlidingWindow:
    """The sum of what was booked within the last minute. A limit of 0 books nothing."""

    __slots__ = ("_booked", "limit", "sum")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.sum = 0
        self._booked: deque[tuple[int, int]] = deque()  # (when it leaves, amount), in order

    def advance(self, now_ns: int) -> None:
        """Let go of what is a minute old."""
        while self._booked and self._booked[0][0] <= now_ns:
            self.sum -= self._booked.popleft()[1]

    def book(self, amount: int, now_ns: int) -> None:
        """Count an amount for a minute from now."""
        if self.limit and amount:
            self._booked.append((now_ns + WINDOW_NS, amount))
            self.sum += amount

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


class LimitBook:
    """Who is open and what is booked; see the module head."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open: dict[int, int] = {}  # request -> tokens reserved
        self._reserved = 0  # their sum
        self._requests = SlidingWindow(limits.requests_per_minute)
        self._tokens = SlidingWindow(limits.tokens_per_minute)

    def __len__(self) -> int:
        """Return how many requests are open."""
        return len(self._open)

    def __contains__(self, request: int) -> bool:
        return request in self._open

    def open_requests(self) -> list[int]:
        """Return the open requests in the order started."""
        return list(self._open)

    @property
    def reserved_tokens(self) -> int:
        """What the open requests may come to."""
        return self._reserved

    @property
    def booked_tokens(self) -> int:
        """What counts against ``tokens_per_minute``, as of the last time passed in."""
        return self._tokens.sum + self._reserved

    def check(self, tokens: int) -> None:
        """Refuse a request that would wait for ever.

        Raises:
            PromptTooLongError: it may come to more tokens than a minute allows.
        """
        limit = self.limits.tokens_per_minute
        if limit and tokens > limit:
            what = "tokens_per_minute (the prompt by estimate, and max_tokens)"
            raise PromptTooLongError(value=tokens, what=what, limit=limit)

    def has_room(self, tokens: int, now_ns: int) -> bool:
        """Say whether a request of so many tokens may start now."""
        self._requests.advance(now_ns)
        self._tokens.advance(now_ns)
        return (
            len(self._open) < self.limits.concurrency
            and self._requests.fits(1)
            and self._tokens.fits(tokens, self._reserved)
        )

    def room_at(self, tokens: int) -> int | None:
        """Return when ``has_room`` will be true if no request ends; None: only then.

        A time in the past means now.
        """
        if len(self._open) >= self.limits.concurrency:
            return None
        requests_at = self._requests.fits_at(1)
        tokens_at = self._tokens.fits_at(tokens, self._reserved)
        if requests_at is None or tokens_at is None:
            return None
        return max(requests_at, tokens_at)

    def start(self, request: int, tokens: int, now_ns: int) -> None:
        """Book a request for which there is room."""
        assert request not in self._open
        assert self.has_room(tokens, now_ns)  # I1, I2, I3
        self._open[request] = tokens
        self._reserved += tokens
        self._requests.book(1, now_ns)

    def end(self, request: int, used_tokens: int | None, now_ns: int) -> None:
        """Book what an open request took. None: it is not known, so all that was reserved."""
        reserved = self._open.pop(request)
        self._reserved -= reserved
        self._tokens.advance(now_ns)
        self._tokens.book(reserved if used_tokens is None else used_tokens, now_ns)
