"""The requests an engine knows, one row of every array a slot.

Mechanism only: who gets or loses a slot is decided elsewhere. A slot may be given again as soon as
its task has left it, since every plan says first which slots are dropped. Numbers stand in
``rows`` (ext/slot_rows.pyx), whose loops are compiled; what is an object stands here.

Invariants:
  I1  a slot holds a task, or is free; its row counts only where one is.
  I2  a row ``wants`` where a task's next step is a decode that may be planned.
  I3  arrays of a ``Decodes``, and the list of ``holders``, are never changed once made: steps under
      way share them.

Cost: O(1) calls a step while the set of decoding slots stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ext.slot_rows import SlotRows
from kernel.llm.task import SLOT, Task

Labels = tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int32]]


@dataclass(slots=True, eq=False)
class Decodes:
    """The slots that decode in a step, ascending, and what stands in them.

    mask: one byte a slot, 1 where it decodes.  labels: see ``Batch.labels``.
    """

    slots: NDArray[np.int64]
    handles: NDArray[np.int64]
    mask: bytes
    labels: Labels | None = None

    def __len__(self) -> int:
        return len(self.slots)


class Batch:
    """See the module head."""

    def __init__(self, num_slots: int) -> None:
        self.tasks: list[Task | None] = [None] * num_slots
        self.rows = SlotRows(num_slots)
        self.prefilling: dict[int, Task] = {}
        self.num_taken = 0
        self.free = list(range(num_slots - 1, -1, -1))  # slots nobody has
        self._holders: list[Task | None] | None = None
        self._ones = np.ones(num_slots, np.int32)
        self._decodes: Decodes | None = None
        self.no_decodes = self.decodes()

    def holders(self) -> list[Task | None]:
        """Return who has each slot now; it stays so while they change (I3)."""
        if self._holders is None:
            self._holders = self.tasks.copy()
        return self._holders

    def enter(self, task: Task, *, is_whole: bool) -> None:
        """Give a task a slot, where what it has ``known`` of tokens is computed first.

        is_whole: all of it in this step, with a sample: it decodes from the next one on.
        """
        slot = self.free.pop()
        task.place = SLOT
        task.slot = slot
        self.tasks[slot] = task
        self._holders = None
        if task.request.enter_row(self.rows, slot, task.handle, task.key, is_whole):
            self._decodes = None
        if not is_whole:
            self.prefilling[slot] = task
        self.num_taken += 1
        task.account.running += 1

    def leave(self, task: Task) -> int:
        """Take a task out of its slot; its place is the caller's to say."""
        slot = task.slot
        if task.request.leave_row():
            self._decodes = None
        self.tasks[slot] = self._holders = None
        if self.prefilling:
            self.prefilling.pop(slot, None)
        self.free.append(slot)
        self.num_taken -= 1
        task.account.running -= 1
        return slot

    def end_prefill(self, task: Task) -> None:
        """All known tokens are planned, and with the last of them a sample: decode from now on."""
        del self.prefilling[task.slot]
        if self.rows.end_prefill(task.slot):
            self._decodes = None

    def extend(self, task: Task, samples: int) -> None:
        """Let a task that has a slot be given steps for so many samples more."""
        is_decoding = task.slot not in self.prefilling
        if self.rows.extend(task.slot, samples, is_decoding):
            self._decodes = None

    def decodes(self, paused: Iterable[int] = ()) -> Decodes:
        """Return who decodes in the next step, but for the paused slots."""
        if not paused and self._decodes is not None:
            return self._decodes
        slots, handles = self.rows.decoding()
        mask = self.rows.wants.tobytes()
        if paused:
            kept = ~np.isin(slots, list(paused))
            slots, handles = slots[kept], handles[kept]
            mask = np.isin(np.arange(len(mask)), slots).tobytes()
        found = Decodes(slots, handles, mask)
        if not paused:
            self._decodes = found
        return found

    def labels(self, decodes: Decodes) -> Labels:
        """Return the ids of requests that decode, 1 where one is streamed, and a 1 for each.

        To be asked first while they are in their slots: in the plan that lets them decode.
        """
        if decodes.labels is None:
            ids, streams = self.rows.labels(decodes.slots)
            decodes.labels = ids, streams, self._ones[: len(ids)]
        return decodes.labels

    def count_planned(self, decodes: Decodes) -> None:
        """A decode of these slots was planned; those without samples left stop."""
        if self.rows.count_planned(decodes.slots):
            self._decodes = None

    def taken(self) -> NDArray[np.int64]:
        """Return the slots that somebody has, ascending."""
        return np.flatnonzero(self.rows.keys > -np.inf)

    def running(self) -> list[Task]:
        """Return all tasks that have a slot, by rank."""
        return sorted((task for task in self.tasks if task is not None), key=lambda t: t.rank)

    def tasks_in_turn(self) -> list[Task]:
        """Return whose row is to be emptied before the next tokens are taken."""
        tasks = self.tasks
        return [task for slot in self.rows.take_turns() if (task := tasks[slot]) is not None]
