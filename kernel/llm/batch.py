"""The requests an engine knows, one row of every array a slot.

Mechanism only: who gets or loses a slot is decided elsewhere. A slot may be given again as soon as
its task has left it, since every plan says first which slots are dropped.

Invariants:
  I1  a slot holds a task, or is free; ``handles`` and ``unplanned`` count only where one is.
  I2  ``wants`` is set where a task's next step is a decode that may be planned.
  I3  arrays of a ``Decodes`` are never changed once made: steps under way share them.

Cost: O(1) array operations a step while the set of decoding slots stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernel.llm.request import Request
from kernel.llm.task import Place, Task
from kernel.llm.token_rows import TokenRows

Objects = NDArray[Any]  # dtype object: Task, Request or None


@dataclass(frozen=True, slots=True)
class Decodes:
    """The slots that decode in a step, ascending, and what stands in them."""

    slots: NDArray[np.int64]
    handles: NDArray[np.int64]
    ones: NDArray[np.int32]
    tasks: Objects
    requests: Objects

    def __len__(self) -> int:
        return len(self.slots)


class Batch:
    """See the module head.

    unplanned: samples a task may still be given steps for; unsampled: that have not come yet.
    """

    def __init__(self, num_slots: int) -> None:
        self.tasks: Objects = np.full(num_slots, None, object)
        self.requests: Objects = np.full(num_slots, None, object)
        self.handles = np.zeros(num_slots, np.int64)
        self.unplanned = np.zeros(num_slots, np.int64)
        self.unsampled = np.zeros(num_slots, np.int64)
        self.keys = np.full(num_slots, -np.inf)
        self.wants = np.zeros(num_slots, np.bool_)
        self.rows = TokenRows(num_slots)
        self.prefilling: dict[int, Task] = {}
        self.num_taken = 0
        self._free = list(range(num_slots - 1, -1, -1))
        self._ones = np.ones(num_slots, np.int32)
        self._decodes: Decodes | None = None
        self.no_decodes = self.decodes()

    @property
    def num_free(self) -> int:
        """Slots nobody has."""
        return len(self._free)

    def enter(self, task: Task) -> int:
        """Give a task a slot, where its prompt (or what must be computed again) comes first."""
        slot = self._free.pop()
        request: Request = task.request
        task.place = Place.SLOT
        task.slot = slot
        self.tasks[slot] = task
        self.requests[slot] = request
        self.handles[slot] = task.handle
        self.keys[slot] = task.key
        self.unsampled[slot] = request.max_tokens - request.num_emitted
        self.unplanned[slot] = min(request.max_tokens, request.allowance) - request.num_emitted
        request.enter_row(self.rows, slot)
        self.prefilling[slot] = task
        self.num_taken += 1
        task.account.running += 1
        return slot

    def leave(self, task: Task) -> int:
        """Take a task out of its slot; its place is the caller's to say."""
        slot = task.slot
        task.request.leave_row()
        self.tasks[slot] = None
        self.requests[slot] = None
        self.keys[slot] = -np.inf
        self.prefilling.pop(slot, None)
        self.stop_decoding(slot)
        self._free.append(slot)
        self.num_taken -= 1
        task.account.running -= 1
        return slot

    def end_prefill(self, task: Task) -> None:
        """All known tokens are planned, and with the last of them a sample: decode from now on."""
        del self.prefilling[task.slot]
        self.unplanned[task.slot] -= 1
        if self.unplanned[task.slot]:
            self.wants[task.slot] = True
            self._decodes = None

    def extend(self, task: Task, samples: int) -> None:
        """Let a task that has a slot be given steps for so many samples more."""
        slot = task.slot
        self.unplanned[slot] += samples
        if slot not in self.prefilling and self.unplanned[slot] > 0 and not self.wants[slot]:
            self.wants[slot] = True
            self._decodes = None

    def stop_decoding(self, slot: int) -> None:
        """Plan no further decode for a slot."""
        if self.wants[slot]:
            self.wants[slot] = False
            self._decodes = None

    def decodes(self, paused: Iterable[int] = ()) -> Decodes:
        """Return who decodes in the next step, but for the paused slots."""
        if not paused and self._decodes is not None:
            return self._decodes
        wanted = self.wants
        if paused:
            wanted = wanted.copy()
            wanted[list(paused)] = False
        slots = wanted.nonzero()[0]
        found = Decodes(
            slots,
            self.handles[slots],
            self._ones[: len(slots)],
            self.tasks[slots],
            self.requests[slots],
        )
        if not paused:
            self._decodes = found
        return found

    def count_planned(self, decodes: Decodes) -> None:
        """A decode of these slots was planned; those without samples left stop."""
        left = self.unplanned[decodes.slots] - 1
        self.unplanned[decodes.slots] = left
        if len(left) and left.min() == 0:
            for slot in decodes.slots[left == 0].tolist():
                self.stop_decoding(slot)

    def running(self) -> list[Task]:
        """Return all tasks that have a slot, by rank."""
        return sorted((task for task in self.tasks if task is not None), key=lambda t: t.rank)

    def tasks_in_turn(self) -> list[Task]:
        """Return whose row is to be emptied before the next tokens are taken."""
        turn = (self.tasks[slot] for slot in self.rows.take_turns())
        return [task for task in turn if task is not None]

    def take_tokens(self, slots: NDArray[np.int64], tokens: NDArray[np.int32], now_ns: int) -> None:
        """Give each of these slots' requests its next token."""
        self.rows.push(slots, tokens, now_ns)
        self.unsampled[slots] -= 1
