"""What is done when blocks or slots are missing: who gives way, and how.

Contexts that are held for programs whose tools are out go first (kernel/llm/holds.py). Then the
lowest gives way: the greatest policy key, then the youngest. Blocks that a step under way holds
back, or the last step of a request, are worth waiting for: then nobody gives way. At its quota an
owner gives way to itself alone: its youngest; the only one it has ends with reason "quota".

Giving way is by recompute (the blocks are dropped, full ones stay cached) or by swap to host
blocks, whichever the engine's own rates say is cheaper. Either way the blocks can be given to
others in the same plan: an engine carries plans out one after another, and copies out come first.

Cost: O(running) for each request that gives way; nothing in a step without a shortage.
"""

from __future__ import annotations

import math

import numpy as np

from ext.kv_errors import BlocksError
from kernel.llm.draft import Draft
from kernel.llm.limits import is_swap_cheaper
from kernel.llm.shared import Shared
from kernel.llm.task import Task


class Relief:
    """See the module head. Its calls come before any step of the draft is planned."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def candidates(self, above: float = -math.inf) -> list[Task]:
        """Return who may give way, the last one first of all: those with steps still to plan.

        above: of those only whose keys are greater.
        """
        batch = self._shared.batch
        found = []
        for slot in np.flatnonzero(batch.rows.keys > above).tolist():
            task = batch.tasks[slot]
            if task is not None and (batch.rows.unplanned[slot] or slot in batch.prefilling):
                found.append(task)
        found.sort(key=lambda task: task.rank)
        return found

    def from_pool(self, refused: Task, draft: Draft) -> bool:
        """Get blocks for a task that lacks some; False: it must wait for a step to report."""
        shared = self._shared
        candidates = self.candidates()
        is_ending = shared.batch.num_taken > len(candidates)
        if shared.flights and (is_ending or shared.is_retiring()):
            return False
        if shared.holds.yield_one():
            return True
        if candidates == [refused] and shared.pins.yield_one():
            return True
        self.preempt(candidates[-1], draft)
        return True

    def from_owner(self, refused: Task, draft: Draft) -> bool:
        """Get blocks for a task at its owner's quota; False: it must wait for a step to report."""
        shared = self._shared
        own = [task for task in self.candidates() if task.account is refused.account]
        is_ending = refused.account.running > len(own)
        if shared.flights and (is_ending or shared.is_retiring(refused.account)):
            return False
        if len(own) == 1:
            if shared.is_under_way(refused):
                return False  # what that samples is still to be had
            shared.end_by_kernel(refused, "quota")
        else:
            self.preempt(max(own, key=lambda task: task.order), draft)
        return True

    def preempt(self, task: Task, draft: Draft) -> None:
        """Take slot and blocks of a task, which waits at its old place from now on."""
        shared = self._shared
        if not self._swap_out(task, draft):
            shared.cache.preempt(task.handle)
            shared.void_steps(task)
        shared.leave_slot(task)
        shared.preemptions += 1
        task.request.preemptions += 1
        task.key = shared.policy.key(task.request, shared.now_ns)
        shared.line.put_back(task)

    def _swap_out(self, task: Task, draft: Draft) -> bool:
        shared = self._shared
        state = shared.cache.state(task.handle)
        if not is_swap_cheaper(
            shared.limits, computed_tokens=state.planned, blocks=state.num_blocks
        ):
            return False
        try:
            draft.copy_out(shared.cache.swap_out(task.handle, step=draft.number))
        except BlocksError:
            return False  # no room on the host
        task.is_on_host = True
        return True
