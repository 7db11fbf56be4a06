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
  I4  a book restored from a row holds at least what the one that wrote it held: what was booked,
      to the next second, and as reserved all that was open, until ``end_left``.

A row (``to_row``): msgpack of [requests, tokens, reserved]: the windows' bookings by second, in
wall-clock seconds, and the tokens reserved. So a kernel that starts while the clock is set forward
forgets a window too early; set backward, nothing is held longer than a minute.

Cost: O(1) amortised for each request. Memory: what started or ended within the last minute.
That a long request holds its tokens for its own time and a minute is the price of I3: one of
5 s keeps a steady load 8 % below the limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgpack

from ipc.errors import PromptTooLongError
from kernel.llm.sliding_window import SlidingWindow


@dataclass(frozen=True, slots=True)
class Limits:
    """What an endpoint allows; 0: no limit (concurrency has always one)."""

    concurrency: int = 8
    requests_per_minute: int = 0
    tokens_per_minute: int = 0


class LimitBook:
    """Who is open and what is booked; see the module head."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open: dict[int, int] = {}  # request -> tokens reserved
        self._reserved = 0  # their sum
        self._requests = SlidingWindow(limits.requests_per_minute)
        self._tokens = SlidingWindow(limits.tokens_per_minute)
        self._left = 0  # tokens reserved in an earlier kernel
        self.is_unsaved = False  # something was booked or reserved since ``to_row``

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
        """What the open requests may come to, those of an earlier kernel included."""
        return self._reserved + self._left

    @property
    def booked_tokens(self) -> int:
        """What counts against ``tokens_per_minute``, as of the last time passed in."""
        return self._tokens.sum + self.reserved_tokens

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
            and self._tokens.fits(tokens, self.reserved_tokens)
        )

    def room_at(self, tokens: int) -> int | None:
        """Return when ``has_room`` will be true if no request ends; None: only then.

        A time in the past means now.
        """
        if len(self._open) >= self.limits.concurrency:
            return None
        requests_at = self._requests.fits_at(1)
        tokens_at = self._tokens.fits_at(tokens, self.reserved_tokens)
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
        self._touch()

    def end(self, request: int, used_tokens: int | None, now_ns: int) -> None:
        """Book what an open request took. None: it is not known, so all that was reserved."""
        reserved = self._open.pop(request)
        self._reserved -= reserved
        self._tokens.advance(now_ns)
        self._tokens.book(reserved if used_tokens is None else used_tokens, now_ns)
        self._touch()

    # --- over a restart of the kernel -----------------------------------------------------

    def to_row(self, offset_ns: int) -> bytes | None:
        """Return what a next kernel must know; None: nothing. offset_ns: wall clock less ours.

        Cost: O(seconds of the windows in which something was booked), at most 61 each.
        """
        self.is_unsaved = False
        windows = [self._requests.by_second(offset_ns), self._tokens.by_second(offset_ns)]
        if not (any(windows) or self.reserved_tokens):
            return None
        packed: bytes = msgpack.packb([*windows, self.reserved_tokens])
        return packed

    def restore(self, row: bytes, offset_ns: int, now_ns: int) -> None:
        """Take what an earlier kernel had booked, into a book that has nothing yet."""
        requests, tokens, self._left = msgpack.unpackb(row)
        self._requests.restore(requests, offset_ns, now_ns)
        self._tokens.restore(tokens, offset_ns, now_ns)

    def end_left(self, now_ns: int) -> None:
        """What an earlier kernel had open has ended by now; nobody knows what it took."""
        if self._left:
            left, self._left = self._left, 0
            self._tokens.advance(now_ns)
            self._tokens.book(left, now_ns)
            self._touch()

    def _touch(self) -> None:
        if self.limits.requests_per_minute or self.limits.tokens_per_minute:
            self.is_unsaved = True
