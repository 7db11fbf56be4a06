"""Who waits for a slot, or for a quota, by the policy: smallest key first, then first come.

New tasks stand in a line of their own: each by its key (kernel/llm/fresh_line.py), or by that of
their owner (kernel/llm/owner_line.py). A task that comes back (preempted, or parked for a while)
keeps the place its arrival gave it, which a queue that stamps arrivals itself cannot know: such
tasks stand in a short sorted list beside it.

Cost: O(log n); for those that came back O(their number), which is small.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from kernel.llm.fresh_line import FreshLine
from kernel.llm.owner_line import OwnerLine
from kernel.llm.task import FRESH, RETURNED, Place, Task


class WaitingLine:
    """See the module head.

    by_owner: the line of the new ones, while all of an owner's have one key; else None.
    """

    __slots__ = ("_fresh", "_returned", "by_owner")

    def __init__(self) -> None:
        self._fresh: FreshLine | OwnerLine = FreshLine()
        self.by_owner: OwnerLine | None = None
        self._returned: list[tuple[float, int, Task]] = []

    def __len__(self) -> int:
        return len(self._fresh) + len(self._returned)

    def add(self, task: Task) -> None:
        """Let a new task stand in line; tasks are added in their order."""
        task.place = FRESH
        self._fresh.add(task)

    def put_back(self, task: Task, place: Place = RETURNED) -> None:
        """Let a task stand where its key and its arrival put it."""
        task.place = place
        insort(self._returned, (task.key, task.order, task))

    def remove(self, task: Task) -> None:
        """Take a task out; its place is the caller's to say."""
        if task.place is FRESH:
            self._fresh.remove(task)
        else:
            del self._returned[self._index(task)]

    def set_key(self, task: Task, key: float) -> None:
        """Move a task that stands in line."""
        if task.place is FRESH:
            self._fresh.set_key(task, key)
        else:
            del self._returned[self._index(task)]
            task.key = key
            insort(self._returned, (key, task.order, task))

    def sort(self, tasks: Iterable[Task], *, by_owner: bool) -> None:
        """Let the new ones stand each by its own key, or by that of their owner, from now on.

        tasks: all there are, in their order, wherever they are.
        """
        if by_owner:
            self._fresh = self.by_owner = OwnerLine(tasks)
        else:
            self.by_owner = None
            self._fresh = FreshLine(task for task in tasks if task.place is FRESH)

    def head(self) -> Task | None:
        """Return who is next, or None."""
        fresh = self._fresh.head()
        if not self._returned:
            return fresh
        returned = self._returned[0][2]
        return returned if fresh is None or returned.rank < fresh.rank else fresh

    def first(self, count: int) -> list[Task]:
        """Return the first few, in order."""
        returned = [task for _, _, task in self._returned[:count]]
        return sorted(self._fresh.first(count) + returned, key=lambda task: task.rank)[:count]

    def _index(self, task: Task) -> int:
        # Orders are unique: two entries never come to be compared by their tasks.
        return bisect_left(self._returned, (task.key, task.order))
