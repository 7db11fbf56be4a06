"""What is due when: one heap of (due, kind, key), with cancellation.

Mechanism only: what a due entry means is decided by its reader. Times are monotonic
nanoseconds passed in. An entry is named by (kind, key); setting it again moves it.

Invariant: the first entry of the heap is live, so a look at when something is due costs nothing.

Cost: O(log n) to set and to pop; a cancelled entry is dropped when it surfaces or when
more than half of the heap is dead.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from enum import IntEnum


class Due(IntEnum):
    """Kinds of entries; entries due at one instant fire in this order, then as they were set."""

    ADOPTION = 1
    TIMER = 2  # key: timer id
    DEADLINE = 3  # key: message id
    BACKOFF = 4  # key: actor id; a lane may go on
    RESTART = 5  # key: actor id
    START_TIMEOUT = 6  # key: (actor id, incarnation)
    STOP_TIMEOUT = 7  # key: (actor id, incarnation)
    SESSION = 8  # key: session id
    ACK = 9
    SWEEP = 10
    REMOTE = 11  # key: label of a remote model; a call may be let through
    POOL = 12  # key: pool id; its load is to be looked at
    RUN_TIME = 13  # some wall limit is about to be reached


class TimerHeap:
    """See the module head."""

    __slots__ = ("_counter", "_heap", "_live")

    def __init__(self) -> None:
        self._heap: list[tuple[int, Due, int, Hashable]] = []
        self._live: dict[tuple[Due, Hashable], tuple[int, int]] = {}
        self._counter = 0

    def __len__(self) -> int:
        return len(self._live)

    def set(self, kind: Due, key: Hashable, due_ns: int) -> None:
        """Make (kind, key) due at ``due_ns``, in place of when it was due before."""
        self._counter += 1
        self._live[kind, key] = (due_ns, self._counter)
        heapq.heappush(self._heap, (due_ns, kind, self._counter, key))
        if len(self._heap) > 2 * len(self._live) + 64:
            self._compact()
        self._drop_dead()

    def cancel(self, kind: Due, key: Hashable) -> None:
        """Forget (kind, key) if it is set."""
        if self._live.pop((kind, key), None) is not None:
            self._drop_dead()

    def due_at(self, kind: Due, key: Hashable) -> int | None:
        """Return when (kind, key) is due, or None when it is not set."""
        entry = self._live.get((kind, key))
        return entry[0] if entry else None

    def is_due(self, now_ns: int) -> bool:
        """Say whether ``pop_due`` may have something; cheap, for every loop turn."""
        return bool(self._heap) and self._heap[0][0] <= now_ns

    def pop_due(self, now_ns: int) -> Iterator[tuple[Due, Hashable]]:
        """Remove and yield what is due, in order; what is set meanwhile may be among it."""
        while self._heap and self._heap[0][0] <= now_ns:
            _, kind, _, key = heapq.heappop(self._heap)
            del self._live[kind, key]
            self._drop_dead()
            yield kind, key

    def next_due_ns(self) -> int | None:
        """Return when the first entry is due, or None."""
        heap = self._heap
        return heap[0][0] if heap else None

    def _drop_dead(self) -> None:
        """Let a live entry be the first."""
        heap, live = self._heap, self._live
        while heap and live.get((heap[0][1], heap[0][3])) != (heap[0][0], heap[0][2]):
            heapq.heappop(heap)

    def _compact(self) -> None:
        self._heap = [
            (due_ns, kind, counter, key) for (kind, key), (due_ns, counter) in self._live.items()
        ]
        heapq.heapify(self._heap)
