"""Takes steps in which nothing changes in one go, through the scheduler's own parts.

Nothing changes while all that run decode, nobody ends, nobody comes, and no blocks run short: then
every plan is the one before. Such a stretch is appended, planned and marked in the allocator at
once; times come from the cost model's closed form. The rows of tokens take their turns as in single
steps, so the policy is told of the same tokens at the same times.

What may differ from exact steps: a policy whose keys move by themselves is asked for its changes
only at the end of a stretch, so where somebody waits a stretch is at most MAX_ASKED steps long.
Policies with fixed keys give the same history to the nanosecond (tests/lab/test_replay.py), up to
the rounding of times and the order in which blocks of equal age are evicted.

This file alone reaches into the scheduler, since live steps are never taken many at once.
"""

from __future__ import annotations

import numpy as np

from bench.lab.engine import LabEngine
from kernel.llm.scheduler import Scheduler

FIXED = frozenset({"fcfs", "sjf", "priority", "deadline"})  # keys that stay while a request runs
MAX_STRETCH = 4_096
MAX_ASKED = 8


class FastForward:
    """See the module head."""

    def __init__(self, scheduler: Scheduler, engine: LabEngine, policy: str) -> None:
        self._scheduler = scheduler
        self._shared = scheduler._shared
        self._engine = engine
        self._is_fixed = policy in FIXED

    def take(self, now_ns: int, until_ns: int | None, *, is_plain: bool) -> tuple[int, int]:
        """Take as many steps as are alike; returns how many, and the time they took.

        until_ns: when the next call comes; a step that has begun before then is finished.
        is_plain: the step before was of decodes alone: whoever waits could not come in.
        """
        steps = self._alike(now_ns, is_plain)
        if until_ns is not None and steps:
            steps = self._begun_before(until_ns - now_ns, steps)
        if steps:
            steps = self._with_blocks(steps)
        if not steps:
            return 0, 0
        self._apply(steps, now_ns)
        time_ns = self._engine.time_ns(steps)
        self._engine.skip(steps)
        self._shared.batch.rows.last_ns[self._engine.rows] = now_ns + time_ns
        return steps, time_ns

    def _alike(self, now_ns: int, is_plain: bool) -> int:
        """Return how many steps there are before somebody ends, 0 if the next is another one."""
        shared, rows = self._shared, self._engine.rows
        batch = shared.batch
        is_still = not (batch.prefilling or shared.parked or shared.dropped or shared.by_quota)
        decodes = batch.decodes()
        if not is_still or not len(rows) or len(decodes) != batch.num_taken:
            return 0
        if len(rows) != len(decodes) or (rows != decodes.slots).any():
            return 0  # the engine has not been told of all yet
        most = MAX_STRETCH
        if len(shared.line):
            if not is_plain or self._gives_way(now_ns):
                return 0
            most = MAX_STRETCH if self._is_fixed else MAX_ASKED
        left = np.minimum(batch.rows.unplanned[rows], self._engine.left[rows])
        return min(int(left.min()) - 1, most)

    def _gives_way(self, now_ns: int) -> bool:
        """Say whether somebody who runs may have to make room for the first in line."""
        self._scheduler._rekey(now_ns)
        head, margin = self._shared.line.head(), self._shared.policy.margin
        return head is not None and bool(head.key + margin < self._shared.batch.rows.highest_key())

    def _begun_before(self, time_ns: int, steps: int) -> int:
        """Return how many of the steps begin before that time has passed."""
        low, high = 0, steps  # of `low` steps the last one begins in time
        while low < high:
            middle = (low + high + 1) // 2
            if self._engine.time_ns(middle - 1) < time_ns:
                low = middle
            else:
                high = middle - 1
        return low

    def _with_blocks(self, steps: int) -> int:
        """Return how many of the steps have the blocks they need without anybody giving way."""
        shared = self._shared
        size = shared.limits.block_size
        computed, _ = shared.cache.lookup_many(shared.batch.decodes().handles)
        held = -(-computed // size)
        available = shared.cache.available()
        while steps and int((-(-(computed + steps) // size) - held).sum()) > available:
            steps //= 2
        return steps

    def _apply(self, steps: int, now_ns: int) -> None:
        shared = self._shared
        batch, cache = shared.batch, shared.cache
        decodes = batch.decodes()
        handles, slots = decodes.handles, decodes.slots
        if shared.eviction is not None:
            size = shared.limits.block_size
            shared.eviction.make_ready(now_ns, len(handles) * (steps // size + 1))
        tokens = np.zeros(steps, np.int32)
        for handle in handles.tolist():
            cache.append(handle, tokens)
        counts = np.full(len(handles), steps, np.int32)
        cache.plan_many(handles, counts)
        cache.mark_computed_many(handles, counts)
        self._take_turns(slots, steps, now_ns)
        batch.rows.unplanned[slots] -= steps
        batch.rows.unsampled[slots] -= steps
        shared.last_number += steps
        shared.complete(shared.last_number)
        shared.generated += steps * len(handles)

    def _take_turns(self, slots: np.ndarray, steps: int, now_ns: int) -> None:
        """Give each request its tokens, which are 0 as the rows are, and tell the policy."""
        shared = self._shared
        batch = shared.batch
        for step in range(1, steps + 1):
            for task in batch.tasks_in_turn():
                shared.now_ns = now_ns + self._engine.time_ns(step)
                shared.tell_service(task)
                task.request.empty_row()
            batch.rows.counts[slots] += 1
