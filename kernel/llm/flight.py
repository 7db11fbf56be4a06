"""A plan that was sent and has not reported: what its rows stood for when it was made.

Requests go on living while a step runs: they are cancelled, preempted, given another slot. A report
is about the slots as they were in its plan, so that is kept here, with what has happened since.

Cost: references to the batch's arrays; O(rows changed) to bring in what has happened.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernel.llm.batch import Batch, Decodes, Objects
from kernel.llm.draft import Draft
from kernel.llm.task import Task


class Flight:
    """See the module head.

    holders: by slot, who had it.
    gone: handles of tasks that have ended: nothing of their rows counts.
    left: handles of tasks that live on elsewhere: their tokens count, their slots are not theirs.
    void: handles of tasks whose blocks were given up: nothing of them was computed.
    """

    __slots__ = (
        "gone",
        "handles",
        "holders",
        "left",
        "mark_counts",
        "mark_handles",
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
        self.gone: set[int] = set()
        self.left: set[int] = set()
        self.void: set[int] = set()
        self.num_decodes = len(draft.decodes)
        self._take_rows(draft.decodes, draft.sampled)
        self._take_marks(draft.decodes, draft.stretches)

    def _take_rows(self, decodes: Decodes, sampled: list[Task]) -> None:
        self.slots = decodes.slots
        self.handles = decodes.handles
        self.tasks = decodes.tasks
        self.requests = decodes.requests
        if sampled:
            self.slots = _joined(self.slots, [task.slot for task in sampled])
            self.handles = _joined(self.handles, [task.handle for task in sampled])
            self.tasks = _joined_objects(self.tasks, sampled)
            self.requests = _joined_objects(self.requests, [task.request for task in sampled])

    def _take_marks(self, decodes: Decodes, stretches: list[tuple[Task, int]]) -> None:
        self.mark_handles = decodes.handles
        self.mark_counts = decodes.ones
        if stretches:
            self.mark_handles = _joined(self.mark_handles, [task.handle for task, _ in stretches])
            counts = np.array([count for _, count in stretches], np.int32)
            self.mark_counts = np.concatenate((self.mark_counts, counts))

    @property
    def is_disturbed(self) -> bool:
        """Say whether any row may stand for something else than when the plan was made."""
        return bool(self.gone or self.left or self.void)

    def row_of(self, slot: int) -> int | None:
        """Return the sampled row of a slot, if it has one."""
        found = np.flatnonzero(self.slots == slot)
        return int(found[0]) if len(found) else None


def without(handles: NDArray[np.int64], unwanted: set[int]) -> NDArray[np.bool_]:
    """Return which of the handles are not among the unwanted."""
    keep = np.ones(len(handles), np.bool_)
    for handle in unwanted:
        keep &= handles != handle
    return keep


def _joined(first: NDArray[np.int64], more: list[int]) -> NDArray[np.int64]:
    return np.concatenate((first, np.array(more, np.int64)))


def _joined_objects(first: Objects, more: Sequence[object]) -> Objects:
    joined = np.empty(len(first) + len(more), object)
    joined[: len(first)] = first
    joined[len(first) :] = more
    return joined
