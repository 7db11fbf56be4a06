"""A plan that was sent and has not reported: what its rows stood for when it was made.

Requests go on living while a step runs: they are cancelled, preempted, given another slot. A report
is about the slots as they were in its plan, so that is kept here, with what has happened since.

Cost: references to the batch's arrays, and what is new for each prompt; O(1) to bring in what has
happened to a task. Who is in no row and no stretch of the step disturbs nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ext.slot_rows import SlotRows
from kernel.llm.batch import Batch
from kernel.llm.draft import Draft
from kernel.llm.task import Task


class Flight:
    """See the module head. Rows: first decodes, then sampled prompts.

    slots, handles, ids, streams: of the rows.  mark_slots, mark_handles, mark_counts: of what is
    computed: the decodes, then all stretches of prompts.  sampled: the prompts' tasks.
    gone, left, void: slots of holders in this step of whom, since it was planned,
    gone: one has ended: nothing of his row counts.
    left: one lives on elsewhere: his token counts, the slot is not his.
    void: one's blocks were given up: nothing of his was computed.
    """

    __slots__ = (
        "_decodes",
        "_former",
        "_rows",
        "_stretches",
        "_tasks",
        "gone",
        "handles",
        "ids",
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
        self.gone: set[int] = set()
        self.left: set[int] = set()
        self.void: set[int] = set()
        self._tasks = batch.tasks
        self._former: dict[int, Task | None] = {}  # of slots whose holder has changed since
        decodes = self._decodes = draft.decodes
        self.num_decodes = len(decodes)
        self._stretches: set[int] = set()  # of prompts whose stretch has no row
        self._rows: dict[int, int] = {}  # of prompts, by slot
        self.slots = self.mark_slots = decodes.slots
        self.handles = self.mark_handles = decodes.handles
        self.ids = decodes.ids
        self.streams = decodes.streams
        self.mark_counts = decodes.ones
        if draft.sampled:
            self._add_rows(batch.rows)
        if draft.stretches:
            self._add_marks(draft, batch.rows)

    def _add_rows(self, rows: SlotRows) -> None:
        prompts = [task.slot for task in self.sampled]
        self._rows = {slot: self.num_decodes + at for at, slot in enumerate(prompts)}
        whole = rows.with_prompts(self.slots, prompts)
        self.slots, self.handles, self.ids, self.streams = whole

    def _add_marks(self, draft: Draft, rows: SlotRows) -> None:
        num_decodes, num_stretches = self.num_decodes, len(draft.stretches)
        counts = np.ones(num_decodes + num_stretches, np.int32)
        counts[num_decodes:] = [count for _, count in draft.stretches]
        self.mark_counts = counts
        if len(draft.sampled) == num_stretches:  # every stretch has a row
            self.mark_slots, self.mark_handles = self.slots, self.handles
            return
        # Some stop before the last known token.
        stretches = [task.slot for task, _ in draft.stretches]
        self._stretches.update(stretches)
        self.mark_slots, self.mark_handles, _, _ = rows.with_prompts(self.mark_slots, stretches)

    def holder(self, slot: int) -> Task | None:
        """Return who had a slot when the plan was made."""
        return self._former[slot] if slot in self._former else self._tasks[slot]

    def note_change(self, slot: int) -> None:
        """The slot is about to be left or taken."""
        if slot not in self._former:
            self._former[slot] = self._tasks[slot]

    @property
    def num_slots(self) -> int:
        """Slots of the engine."""
        return len(self._tasks)

    @property
    def is_disturbed(self) -> bool:
        """Say whether something has happened to who is in this step."""
        return bool(self.gone or self.left or self.void)

    def set_gone(self, task: Task) -> None:
        """The task has ended."""
        if self._has(task):
            self.gone.add(task.slot)

    def set_left(self, task: Task) -> None:
        """The task has left its slot."""
        if self._has(task):
            self.left.add(task.slot)

    def set_void(self, task: Task) -> None:
        """The task's blocks were given up."""
        if self._has(task):
            self.void.add(task.slot)

    def _has(self, task: Task) -> bool:
        # While a task is in a flight it is given no other slot: shared.py, I3.
        slot = task.slot
        if not (self._decodes.mask[slot] or slot in self._rows or slot in self._stretches):
            return False
        return self.holder(slot) is task

    def rows_of(self, slots: set[int]) -> NDArray[np.bool_]:
        """Return which rows are of these slots."""
        return np.isin(self.slots, list(slots))

    def row_of(self, slot: int) -> int | None:
        """Return the sampled row of a slot, if it has one. Cost: a scan of some bytes."""
        if self._decodes.mask[slot]:
            return self._decodes.mask.count(1, 0, slot)
        return self._rows.get(slot)
