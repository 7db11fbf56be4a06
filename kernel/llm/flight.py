"""A plan that was sent and has not reported: what its rows stood for when it was made.

Requests go on living while a step runs: they are cancelled, preempted, given another slot. A report
is about the slots as they were in its plan, so that is kept here, with what has happened since.

Cost: references to the batch's arrays and to the list of who held the slots, which is copied when
that has changed since the step before; O(1) to bring in what has happened to a task. Who is in no
row and no stretch of the step disturbs nothing.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from ext.slot_rows import SlotRows
from kernel.llm.batch import Batch
from kernel.llm.draft import Draft
from kernel.llm.task import Task

NOBODY: frozenset[int] = frozenset()


class Flight:
    """See the module head. Rows: first decodes, then sampled prompts.

    holders: who had each slot when the plan was made.
    slots, handles, ids, streams: of the rows.  mark_slots, mark_handles, mark_counts: of what is
    computed: the decodes, then all stretches of prompts.  sampled: the prompts' tasks.
    is_sampled: a byte a slot, 1 where it has a row.
    gone, left, void: slots of holders in this step of whom, since it was planned,
    gone: one has ended: nothing of his row counts.
    left: one lives on elsewhere: his token counts, the slot is not his.
    void: one's blocks were given up: nothing of his was computed.
    """

    __slots__ = (
        "_computed",
        "gone",
        "handles",
        "holders",
        "ids",
        "is_sampled",
        "left",
        "mark_counts",
        "mark_handles",
        "mark_slots",
        "num_decodes",
        "number",
        "sampled",
        "slots",
        "streams",
        "void",
    )

    def __init__(self, draft: Draft, batch: Batch) -> None:
        self.number = draft.number
        self.sampled = draft.sampled
        self.gone = self.left = self.void = NOBODY
        self.holders = batch.holders()
        decodes = draft.decodes
        self.num_decodes = len(decodes.slots)
        self.slots = self.mark_slots = decodes.slots
        self.handles = self.mark_handles = decodes.handles
        self._computed: bytes | bytearray = decodes.mask
        self.is_sampled: bytes | bytearray = decodes.mask
        if slots := draft.slots:
            self._add_prompts(draft, slots, batch.rows)
        else:
            self.ids, self.streams, self.mark_counts = batch.labels(decodes)

    def _add_prompts(self, draft: Draft, slots: list[int], rows: SlotRows) -> None:
        decodes = self.slots
        whole = rows.with_prompts(decodes, slots, draft.counts)
        self.mark_slots, self.mark_handles, _, _, self.mark_counts, self._computed = whole
        if len(draft.sampled) < len(slots):  # some stop before the last known token
            slots = [task.slot for task in draft.sampled]
            whole = rows.with_prompts(decodes, slots, [1] * len(slots))
        self.slots, self.handles, self.ids, self.streams, _, self.is_sampled = whole

    @property
    def is_disturbed(self) -> bool:
        """Say whether something has happened to who is in this step."""
        return bool(self.gone or self.left or self.void)

    def set_gone(self, tasks: list[Task]) -> None:
        """The tasks have ended."""
        if gone := [task.slot for task in tasks if self._has(task)]:
            self.gone |= set(gone)

    def set_left(self, task: Task) -> None:
        """The task has left its slot."""
        if self._has(task):
            self.left |= {task.slot}

    def set_void(self, task: Task) -> None:
        """The task's blocks were given up."""
        if self._has(task):
            self.void |= {task.slot}

    def _has(self, task: Task) -> bool:
        # While a task is in a flight it is given no other slot: shared.py, I3.
        return bool(self._computed[task.slot]) and self.holders[task.slot] is task

    def rows_of(self, slots: Collection[int]) -> NDArray[np.bool_]:
        """Return which rows are of these slots."""
        return np.isin(self.slots, list(slots))

    def row_of(self, slot: int) -> int | None:
        """Return the sampled row of a slot, if it has one. Cost: a scan of the rows."""
        return int((self.slots == slot).argmax()) if self.is_sampled[slot] else None
