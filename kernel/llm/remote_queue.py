"""Requests to one remote endpoint that wait: for their turn, for room, or for another attempt.

What it is not: what counts as room (kernel/llm/endpoint_limits.py), what a failure means (the
engine classifies it, the service decides), deadlines (the service cancels). No clock, no I/O:
times are monotonic nanoseconds passed in, never decreasing.

A request is waiting, backing off or open (sent, and not ended). ``retry_later`` makes an open
one back off; its time come, it waits again. If the endpoint said when to come back, that holds
for everybody: who is sent before would be refused as well.

Invariants:
  I1  the limits are never exceeded (LimitBook).
  I2  after ``take_ready`` the first in line has no room, or nobody waits. Nobody overtakes: a
      large request is not starved by small ones that would fit.
  I3  by (priority, policy key, arrival); a key may change only through ``update``.
  I4  ``next_due_ns`` is never later than the first time at which ``take_ready`` would give
      something without any other call before.

Cost: O(log n) for each request and step of its life.
Source: Backoff is exponential with jitter ("equal jitter", Brooker, AWS Architecture Blog, 2015),
drawn from (request, attempt) so that one history gives one schedule.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace

from ext.ready_queue import FloatReadyQueue
from ext.wire import digest64
from kernel.llm.endpoint_limits import LimitBook, Limits

PRIORITIES = 8  # of envelopes: 0 goes first
_UNIT = 1 << 64


@dataclass(frozen=True, slots=True)
class RemoteRequest:
    """What the queue needs to know of a request."""

    id: int
    tokens: int  # it may come to: prompt by estimate, and max_tokens
    priority: int = 4
    accepted_ns: int = 0
    owner: int = 0  # for policies


Key = Callable[[RemoteRequest], float]


def first_come(request: RemoteRequest) -> float:
    """The plain policy: in the order accepted, attempts after a refusal included."""
    return float(request.accepted_ns)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a refused request waits for its next attempt."""

    max_attempts: int = 5
    initial_ns: int = 500_000_000
    max_ns: int = 60_000_000_000

    def delay_ns(self, request: int, attempt: int) -> int:
        """Return the wait after attempt number ``attempt`` (from 1) was refused."""
        ceiling = min(self.max_ns, self.initial_ns << min(attempt - 1, 62))
        drawn = digest64(b"%d:%d" % (request, attempt))
        return ceiling // 2 + (ceiling - ceiling // 2) * drawn // _UNIT


class RemoteQueue:
    """See the module head."""

    def __init__(
        self, limits: Limits, key: Key = first_come, *, backoff: Backoff | None = None
    ) -> None:
        self.book = LimitBook(limits)
        self._key = key
        self._backoff = backoff or Backoff()
        self._requests: dict[int, RemoteRequest] = {}
        self._handles: dict[int, int] = {}  # of those that wait
        self._ready = FloatReadyQueue(levels=PRIORITIES)
        self._due: dict[int, int] = {}  # of those that back off
        self._due_heap: list[tuple[int, int]] = []  # (due, request); stale ones are skipped
        self._closed_until_ns = 0

    def __len__(self) -> int:
        """Return how many requests wait or back off; the open ones are ``len(self.book)``."""
        return len(self._handles) + len(self._due)

    def __contains__(self, request: int) -> bool:
        return request in self._requests

    def add(self, request: RemoteRequest, now_ns: int) -> None:
        """Let a request wait.

        Raises:
            PromptTooLongError: the limits could never let it through. It was not added.
        """
        assert request.id not in self._requests
        self.book.check(request.tokens)
        self._requests[request.id] = request
        self._enqueue(request)

    def update(self, request: int) -> None:
        """Ask the policy anew for the key of a request, if it waits."""
        if (handle := self._handles.get(request)) is not None:
            self._ready.update(handle, self._key(self._requests[request]))

    def raise_priority(self, request: int, priority: int) -> None:
        """Let a request be more urgent; it keeps its place among those of that priority."""
        known = self._requests.get(request)
        if known is None or known.priority <= priority:
            return
        self._requests[request] = known = replace(known, priority=priority)
        if (handle := self._handles.get(request)) is not None:
            self._ready.move(handle, self._key(known), priority)

    def take_ready(self, now_ns: int) -> list[int]:
        """Take those that may be sent now, in order; they are open from now on."""
        self._wake(now_ns)
        taken: list[int] = []
        while now_ns >= self._closed_until_ns and len(self._ready):
            request = self._requests[self._ready.peek().item]
            if not self.book.has_room(request.tokens, now_ns):
                break
            self._ready.pop()
            del self._handles[request.id]
            self.book.start(request.id, request.tokens, now_ns)
            taken.append(request.id)
        return taken

    def settle(self, request: int, used_tokens: int | None, now_ns: int) -> None:
        """An open request has ended. used_tokens: None if that cannot be known."""
        self.book.end(request, used_tokens, now_ns)
        del self._requests[request]

    def retry_later(
        self,
        request: int,
        now_ns: int,
        retry_after_ns: int | None,
        attempt: int,
        *,
        used_tokens: int | None = 0,
    ) -> bool:
        """An open request has failed and is to be tried again; let it back off.

        retry_after_ns: what the endpoint said, kept to within ``Backoff.max_ns``; None: nothing.
        attempt: the number of the one that failed, from 1.
        used_tokens: as in ``settle``; 0 for one that was refused unstarted.
        Returns: False if that was its last attempt. It is then gone, as after ``settle``.
        """
        if attempt >= self._backoff.max_attempts:
            self.settle(request, used_tokens, now_ns)
            return False
        self.book.end(request, used_tokens, now_ns)
        due_ns = now_ns + self._backoff.delay_ns(request, attempt)
        if retry_after_ns is not None:
            due_ns = now_ns + min(max(retry_after_ns, 0), self._backoff.max_ns)
            self._closed_until_ns = max(self._closed_until_ns, due_ns)
        self._due[request] = due_ns
        heapq.heappush(self._due_heap, (due_ns, request))
        return True

    def cancel(self, request: int, now_ns: int) -> bool:
        """Forget a request. Returns: whether it was open, so that the engine must be told.

        What an open one had reserved stays booked, as nobody will say what it took.
        """
        if request in self.book:
            self.settle(request, None, now_ns)
            return True
        if request in self._requests:
            del self._requests[request]
            self._due.pop(request, None)
            if (handle := self._handles.pop(request, None)) is not None:
                self._ready.remove(handle)
        return False

    def end_all(self, now_ns: int) -> list[int]:
        """A new engine knows of no call: end all open ones, return them in the order started.

        What becomes of them is the service's to say; what they had reserved stays booked.
        """
        requests = self.book.open_requests()
        for request in requests:
            self.settle(request, None, now_ns)
        return requests

    def next_due_ns(self) -> int | None:
        """Return when time alone may let somebody through (in the past: now), or None."""
        times = []
        if len(self._ready):
            room_ns = self.book.room_at(self._requests[self._ready.peek().item].tokens)
            if room_ns is not None:
                times.append(max(room_ns, self._closed_until_ns))
        self._drop_stale()
        if self._due_heap:
            times.append(self._due_heap[0][0])
        return min(times, default=None)

    # --- parts ----------------------------------------------------------------------------

    def _enqueue(self, request: RemoteRequest) -> None:
        key, level = self._key(request), request.priority
        self._handles[request.id] = self._ready.push(key, request.id, level)

    def _wake(self, now_ns: int) -> None:
        self._drop_stale()
        while self._due_heap and self._due_heap[0][0] <= now_ns:
            _, request = heapq.heappop(self._due_heap)
            del self._due[request]
            self._enqueue(self._requests[request])
            self._drop_stale()

    def _drop_stale(self) -> None:
        heap = self._due_heap
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
