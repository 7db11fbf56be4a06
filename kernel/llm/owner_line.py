"""Who waits for a slot for the first time, where all requests of an owner have one key.

Two levels: an owner has one place, by that key and the order of their first request; their requests
stand behind it in their order. So when an owner is served, one place moves, however many wait, and
the order is that of a line in which each request stood by itself.

A request that has left the line, be it for a slot or to come back, has a key of its own from then
on: it may be asked for between two changes of the others. Those are named for each change
(``set_owner_key``): they are few.

Invariants:
  I1  an owner with somebody in line has one `entry`, which is in the heap; what else is there is of
      before, and is passed over.
  I2  a task's own key counts once it has been returned from here, or has left.
Cost: O(log owners) where a key changes or who is first of an owner's does, beside the tasks named;
O(1) for the others. The first few: O(count^2 log count), and what of before lies among them.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice

from kernel.llm.task import FRESH, Task

SLACK = 64  # entries of before that the heap may have beside as many as there are places

Entry = tuple[float, int, int]  # key, order of the first, owner


class OwnerPlace:
    """Where an owner stands. apart: their tasks that have left the line, and have not ended."""

    __slots__ = ("apart", "entry", "key", "waiting")

    def __init__(self, key: float) -> None:
        self.key = key
        self.entry: Entry | None = None
        self.waiting: OrderedDict[int, Task] = OrderedDict()  # by order
        self.apart: dict[int, Task] = {}


class OwnerLine:
    """See the module head. tasks: all there are now, in their order, wherever they are."""

    __slots__ = ("_heap", "_num_waiting", "_places")

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self._places: dict[int, OwnerPlace] = {}
        self._heap: list[Entry] = []
        self._num_waiting = 0
        for task in tasks:
            if task.place is FRESH:
                self.add(task)
            else:
                self._place(task).apart[task.order] = task

    def __len__(self) -> int:
        return self._num_waiting

    def add(self, task: Task) -> None:
        """Let a task stand in line; tasks are added in their order."""
        place = self._place(task)
        self._num_waiting += 1
        place.waiting[task.order] = task
        if place.entry is None:
            place.key = task.key
            self._stand(task.account.owner, place)

    def _place(self, task: Task) -> OwnerPlace:
        place = self._places.get(task.account.owner)
        if place is None:
            place = self._places[task.account.owner] = OwnerPlace(task.key)
        return place

    def _stand(self, owner: int, place: OwnerPlace) -> None:
        """Put an owner where the key and the first of those who wait put them, if any does."""
        if not place.waiting:
            place.entry = None
            return
        entry = (place.key, next(iter(place.waiting)), owner)
        if entry == place.entry:
            return
        place.entry = entry
        if len(self._heap) > 2 * len(self._places) + SLACK:
            self._heap = [each.entry for each in self._places.values() if each.entry is not None]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, entry)

    def remove(self, task: Task) -> None:
        """Take a task out of the line."""
        owner = task.account.owner
        place = self._places[owner]
        del place.waiting[task.order]
        self._num_waiting -= 1
        task.key = place.key
        place.apart[task.order] = task
        self._stand(owner, place)

    def forget(self, task: Task) -> None:
        """A task that has left the line has ended."""
        place = self._places[task.account.owner]
        del place.apart[task.order]
        if not place.apart and not place.waiting:
            del self._places[task.account.owner]

    def set_key(self, task: Task, key: float) -> None:
        """Move a task that stands in line, and with it all of its owner's that do."""
        self.set_owner_key(task.account.owner, key)

    def set_owner_key(self, owner: int, key: float) -> list[Task]:
        """Move all of an owner's that wait; return their tasks that have keys of their own."""
        place = self._places.get(owner)
        if place is None:
            return []
        place.key = key
        self._stand(owner, place)
        return list(place.apart.values())

    def head(self) -> Task | None:
        """Return who is next, or None."""
        while self._heap:
            entry = self._heap[0]
            place = self._places.get(entry[2])
            if place is not None and place.entry is entry:
                return _first_of(place)
            heapq.heappop(self._heap)
        return None

    def first(self, count: int) -> list[Task]:
        """Return the first few, in order."""
        found: list[Task] = []
        for place in islice(self._in_order(), count):  # behind so many owners nobody is
            if len(found) >= count and place.key > found[-1].key:
                break
            for task in islice(place.waiting.values(), count):
                task.key = place.key
                found.append(task)
        return sorted(found, key=lambda task: task.rank)[:count]

    def _in_order(self) -> Iterator[OwnerPlace]:
        """Yield the places where somebody waits, the first first."""
        heap = self._heap
        frontier = [(heap[0], 0)] if heap else []
        while frontier:
            entry, at = heapq.heappop(frontier)
            place = self._places.get(entry[2])
            if place is not None and place.entry is entry:
                yield place
            for child in (2 * at + 1, 2 * at + 2):
                if child < len(heap):
                    heapq.heappush(frontier, (heap[child], child))

    def check_integrity(self) -> None:
        """Verify the invariants; for tests. Raises AssertionError."""
        for owner, place in self._places.items():
            orders = list(place.waiting)
            assert orders == sorted(orders)
            assert orders or place.apart
            assert place.entry == ((place.key, orders[0], owner) if orders else None)
            assert sum(entry is place.entry for entry in self._heap) == bool(orders)
        assert self._num_waiting == sum(len(each.waiting) for each in self._places.values())


def _first_of(place: OwnerPlace) -> Task:
    """Return the first who waits there, with the key."""
    task = next(iter(place.waiting.values()))
    task.key = place.key
    return task
