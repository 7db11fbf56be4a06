"""A plan that was sent and has not reported: what its rows stood for when it was made.

Requests go on living while a step runs: they are cancelled, preempted, given another slot. A report
is about the slots as they were in its plan, so that is kept here, with what has happened since.

Cost: references to the batch's arrays; O(1) to bring in what has happened to a task.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernel.llm.batch import Batch, Objects
from kernel.llm.draft import Draft
from kernel.llm.task import Task


class Flight:
    """See the module head. Arrays in order of rows: first decodes, then sampled prompts.

    holders, gone, left, void: by slot: who had it, and of him whether
    gone: he has ended: nothing of his row counts.
    left: he lives on elsewhere: his token counts, the slot is not his.
    void: his blocks were given up: nothing of his was computed.
    """

    __slots__ = (
        "_rows",
        "gone",
        "handles",
        "holders",
        "is_disturbed",
        "left",
        "mark_counts",
        "mark_handles",
        "mark_slots",
        "num_decodes",
        "number",
        "requests",
        "slots",
        "tasks",
        "void",
    )

    def __init__(self, draft: Draft, batch: Batch) -> None:
        self.number = draft.number
        self.holders: Objects = batch.tasks.copy()
        self.gone, self.left, self.void = np.zeros((3, len(self.holders)), np.bool_)
        self.is_disturbed = False
        self._rows: NDArray[np.int64] | None = None
        decodes = draft.decodes
        self.num_decodes = len(decodes)
        self.slots = self.mark_slots = decodes.slots
        self.handles = self.mark_handles = decodes.handles
        self.mark_counts = decodes.ones
        self.tasks = decodes.tasks
        self.requests = decodes.requests
        if draft.sampled:
            self._add_rows([task.slot for task in draft.sampled], batch)
        if draft.stretches:
            self._add_marks(draft, batch)

    def _add_rows(self, slots: list[int], batch: Batch) -> None:
        self.slots = np.concatenate((self.slots, np.array(slots, np.int64)))
        self.handles = batch.handles[self.slots]
        self.tasks = batch.tasks[self.slots]
        self.requests = batch.requests[self.slots]

    def _add_marks(self, draft: Draft, batch: Batch) -> None:
        counts = np.array([count for _, count in draft.stretches], np.int32)
        self.mark_counts = np.concatenate((self.mark_counts, counts))
        slots = np.array([task.slot for task, _ in draft.stretches], np.int64)
        self.mark_slots = np.concatenate((self.mark_slots, slots))
        self.mark_handles = batch.handles[self.mark_slots]

    def set_gone(self, task: Task) -> None:
        """The task has ended."""
        self._set(self.gone, task)

    def set_left(self, task: Task) -> None:
        """The task has left its slot."""
        self._set(self.left, task)

    def set_void(self, task: Task) -> None:
        """The task's blocks were given up."""
        self._set(self.void, task)

    def _set(self, what: NDArray[np.bool_], task: Task) -> None:
        # While a task is in a flight it is given no other slot: shared.py, I3.
        if self.holders[task.slot] is task:
            what[task.slot] = self.is_disturbed = True

    def row_of(self, slot: int) -> int | None:
        """Return the sampled row of a slot, if it has one. Cost: O(1) after the first time."""
        if self._rows is None:
            self._rows = np.full(len(self.holders), len(self.slots), np.int64)
            self._rows[self.slots] = np.arange(len(self.slots))
        row = int(self._rows[slot])
        return row if row < len(self.slots) else None
