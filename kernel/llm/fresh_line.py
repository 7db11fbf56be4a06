"""Who waits for a slot for the first time, each by a key of its own: smallest key first.

Equal keys leave in the order in which they were added. Who comes back is kept elsewhere
(kernel/llm/waiting_line.py); where all requests of an owner have one key, the line is that of
kernel/llm/owner_line.py.

Cost: O(log n) a change; the first few in O(count log count).
"""

from __future__ import annotations

from collections.abc import Iterable

from ext.ready_queue import FloatReadyQueue
from kernel.llm.task import Task


class FreshLine:
    """See the module head. tasks: stand in it from the beginning, in their order."""

    __slots__ = ("_by_order", "_queue")

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self._queue = FloatReadyQueue()
        self._by_order: dict[int, Task] = {}  # their orders are the queue's items
        for task in tasks:
            self.add(task)

    def __len__(self) -> int:
        return len(self._by_order)

    def add(self, task: Task) -> None:
        """Let a task stand in line; tasks are added in their order."""
        task.line_handle = self._queue.push(task.key, task.order)
        self._by_order[task.order] = task

    def remove(self, task: Task) -> None:
        """Take a task out."""
        self._queue.remove(task.line_handle)
        del self._by_order[task.order]

    def set_key(self, task: Task, key: float) -> None:
        """Move a task."""
        self._queue.update(task.line_handle, key)
        task.key = key

    def head(self) -> Task | None:
        """Return who is next, or None."""
        return self._by_order[self._queue.peek_item()] if self._by_order else None

    def first(self, count: int) -> list[Task]:
        """Return the first few, in order."""
        entries = map(self._queue.entry, self._queue.peek_many(count).tolist())
        return [self._by_order[entry.item] for entry in entries]
