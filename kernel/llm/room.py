"""How much room there is for who would come in: what is free, less what is kept for others.

Kept is what admitted prompts will still take, half a block for each running request, and a
hundredth of the pool; and, where lengths are expected (kernel/llm/growth.py), all that those who
run are expected to take. Alone, a request may take everything; holds and pins yield to it.

What it is not: it admits nobody and takes no slot (kernel/llm/admission.py, giving_way.py).
Cost: O(prompts that run) a question, O(1) where none does; ``growth`` is one call of the cache.
"""

from __future__ import annotations

import numpy as np

from kernel.llm.shared import Shared
from kernel.llm.task import Task


class Room:
    """See the module head. All figures are blocks."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._spare = shared.limits.num_blocks // 100

    def look_up(self, task: Task) -> tuple[int, int]:
        """Return how many of its tokens are cached, and how many more a step under way computes."""
        return (0, 0) if task.is_on_host else self._shared.cache.lookup(task.handle)

    def needed(self, task: Task, cached: int) -> int:
        """Return what must be free for all known tokens of a task; cached ones need not be."""
        limits = self._shared.limits
        return limits.blocks_for(task.request.num_tokens) - cached // limits.block_size

    def free(self) -> int:
        """Return what there is for one more; below 0 if more is kept than is there."""
        return self._shared.cache.available() - self.kept()

    def kept(self) -> int:
        """Return what is for others: what admitted prompts will still take, and some for growth."""
        batch = self._shared.batch
        kept = batch.num_taken // 2 + self._spare
        return kept + self._promised() if batch.prefilling else kept

    def _promised(self) -> int:
        """Return what admitted prompts will still take."""
        limits = self._shared.limits
        prefilling = self._shared.batch.prefilling.values()
        return sum(limits.blocks_for(task.known) - task.num_blocks for task in prefilling)

    def growth(self) -> int:
        """Return what the decodes of this step will take."""
        handles = self._shared.batch.decodes().handles
        computed, computing = self._shared.cache.lookup_many(handles)
        return int(np.count_nonzero((computed + computing) % self._shared.limits.block_size == 0))

    def fits(self, needed: int) -> bool:
        """Say whether there is as much, once holds and pins have yielded that may."""
        shared = self._shared
        if shared.batch.num_taken:
            lacking = needed - self.free()
            return lacking <= 0 or self.let_go(lacking) >= lacking
        while shared.cache.available() < needed:
            if not self.pin_yields():
                return False
        return True

    def will_fit(self, task: Task, cached: int, needed: int) -> bool:
        """Say whether there will be room as well for what all who run are expected to take yet."""
        shared, growth = self._shared, self._shared.growth
        if growth is None:
            return True
        if growth.has_refused(task, shared.changes):
            return False
        available = shared.cache.available() + shared.holds.num_blocks
        held = shared.limits.num_blocks - available + self._promised() + needed
        estimate = shared.policy.estimate(task.request)
        return growth.fits(task, estimate, cached, held, shared.changes)

    def let_go(self, lacking: int) -> int:
        """End holds for so many blocks, if they have so many; returns how many came free."""
        holds, cache = self._shared.holds, self._shared.cache
        before = cache.available()
        if not holds or holds.num_blocks < lacking:
            return 0
        while cache.available() - before < lacking and holds.yield_one():
            pass
        return cache.available() - before

    def pin_yields(self) -> bool:
        """Release a hold, or a pin if nothing else could make room for who is first in line."""
        shared = self._shared
        if shared.holds.yield_one():
            return True
        if shared.batch.num_taken or shared.is_retiring():
            return False
        return shared.pins.yield_one()
