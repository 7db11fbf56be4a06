"""Who waits for a slot, or for a quota, by the policy: smallest key first, then first come.

New tasks stand in the ready queue, which orders equal keys by arrival. A task that comes back
(preempted, or parked for a while) keeps the place its arrival gave it, which a queue that stamps
arrivals itself cannot know: such tasks stand in a short sorted list beside it.

Cost: O(log n); for those that came back O(their number), which is small.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from ext.ready_queue import FloatReadyQueue
from kernel.llm.task import FRESH, RETURNED, Place, Task


class WaitingLine:
    """See the module head."""

    __slots__ = ("_by_order", "_fresh", "_returned")

    def __init__(self) -> None:
        self._fresh = FloatReadyQueue()
        self._by_order: dict[int, Task] = {}  # the fresh ones; their orders are the queue's items
        self._returned: list[tuple[float, int, Task]] = []

    def __len__(self) -> int:
        return len(self._fresh) + len(self._returned)

    def add(self, task: Task) -> None:
        """Let a new task stand in line; tasks are added in their order."""
        task.place = FRESH
        task.line_handle = self._fresh.push(task.key, task.order)
        self._by_order[task.order] = task

    def put_back(self, task: Task, place: Place = RETURNED) -> None:
        """Let a task stand where its key and its arrival put it."""
        task.place = place
        insort(self._returned, (task.key, task.order, task))

    def remove(self, task: Task) -> None:
        """Take a task out; its place is the caller's to say."""
        if task.place is FRESH:
            self._fresh.remove(task.line_handle)
            del self._by_order[task.order]
        else:
            del self._returned[self._index(task)]

    def set_key(self, task: Task, key: float) -> None:
        """Move a task that stands in line."""
        if task.place is FRESH:
            self._fresh.update(task.line_handle, key)
            task.key = key
        else:
            del self._returned[self._index(task)]
            task.key = key
            insort(self._returned, (key, task.order, task))

    def head(self) -> Task | None:
        """Return who is next, or None."""
        fresh = self._by_order[self._fresh.peek_item()] if self._by_order else None
        if not self._returned:
            return fresh
        returned = self._returned[0][2]
        return returned if fresh is None or returned.rank < fresh.rank else fresh

    def first(self, count: int) -> list[Task]:
        """Return the first few, in order."""
        entries = map(self._fresh.entry, self._fresh.peek_many(count).tolist())
        fresh = [self._by_order[entry.item] for entry in entries]
        returned = [task for _, _, task in self._returned[:count]]
        return sorted(fresh + returned, key=lambda task: task.rank)[:count]

    def _index(self, task: Task) -> int:
        # Orders are unique: two entries never come to be compared by their tasks.
        return bisect_left(self._returned, (task.key, task.order))
