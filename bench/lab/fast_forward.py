"""Takes steps in which nothing changes in one go, through the scheduler's own parts.

Nothing changes while all that run decode, nobody ends, nobody comes, and no blocks run short: then
every plan is the one before. Nor does it while one prompt goes on besides, and takes all tokens
that are left: then nobody can come in. Such a stretch is appended, planned and marked in the
allocator at once; times come from the cost model's closed form. The rows of tokens take their turns
as in single steps, so the policy is told of the same tokens at the same times.

What may differ from exact steps: a policy whose keys move by themselves is asked for its changes
only at the end of a stretch, so where somebody waits a stretch is at most MAX_ASKED steps long.
Policies with fixed keys give the same history to the nanosecond (tests/lab/test_replay.py), up to
the rounding of times and the order in which blocks of equal age are evicted.

This file alone reaches into the scheduler, since live steps are never taken many at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.lab.engine import LabEngine
from kernel.llm.batch import Decodes
from kernel.llm.scheduler import Scheduler
from kernel.llm.task import Task

FIXED = frozenset({"fcfs", "sjf", "priority", "deadline"})  # keys that stay while a request runs
MAX_STRETCH = 4_096
MAX_ASKED = 8


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps that are alike, `most` at most.

    prompt: who goes on from token `start`, a chunk each step; None: nobody.
    """

    decodes: Decodes
    most: int
    prompt: Task | None = None
    chunk: int = 0
    start: int = 0


class FastForward:
    """See the module head."""

    def __init__(self, scheduler: Scheduler, engine: LabEngine, policy: str) -> None:
        self._scheduler = scheduler
        self._shared = scheduler._shared
        self._engine = engine
        self._asked = MAX_STRETCH if policy in FIXED else MAX_ASKED
        self._told: Decodes | None = None  # equal to these rows of the engine
        self._rows = engine.rows

    def take(self, now_ns: int, until_ns: int | None, *, is_plain: bool) -> tuple[int, int]:
        """Take as many steps as are alike; returns how many, and the time they took.

        until_ns: when the next call comes; a step that has begun before then is finished.
        is_plain: the step before was of decodes alone: whoever waits could not come in.
        """
        stretch = self._alike(now_ns, is_plain)
        if stretch is None:
            return 0, 0
        steps = stretch.most
        if until_ns is not None:
            steps = self._begun_before(until_ns - now_ns, stretch)
        steps = self._with_blocks(stretch, steps)
        if steps <= 0:
            return 0, 0
        self._apply(stretch, steps, now_ns)
        time_ns = self._time_ns(stretch, steps)
        self._engine.skip(steps)
        self._shared.batch.rows.last_ns[self._engine.rows] = now_ns + time_ns
        return steps, time_ns

    def _alike(self, now_ns: int, is_plain: bool) -> Stretch | None:
        """Return the steps that are alike; None: there are none."""
        shared, rows = self._shared, self._engine.rows
        batch, planner = shared.batch, self._scheduler._planner
        if shared.parked or shared.dropped or shared.by_quota or planner.lacks_something:
            return None
        decodes = batch.decodes()
        if len(decodes) + len(batch.prefilling) != batch.num_taken:
            return None  # some wait for their allowance, or for their last token
        if decodes is not self._told or rows is not self._rows:
            if not np.array_equal(rows, decodes.slots):
                return None  # the engine has not been told of all yet
            self._told, self._rows = decodes, rows
        if batch.prefilling:
            return self._with_prompt(decodes, now_ns)
        return self._of_decodes(decodes, now_ns, is_plain)

    def _of_decodes(self, decodes: Decodes, now_ns: int, is_plain: bool) -> Stretch | None:
        """Nobody ends, and whoever waits cannot come in."""
        most = self._before_an_end(decodes)
        if len(self._shared.line):
            if not is_plain or self._gives_way(now_ns):
                return None
            most = min(most, self._asked)
        return Stretch(decodes, most) if most > 0 and len(decodes) else None

    def _with_prompt(self, decodes: Decodes, now_ns: int) -> Stretch | None:
        """One prompt takes all tokens that decodes leave: whoever waits gets none."""
        shared = self._shared
        chunk = shared.limits.max_step_tokens - len(decodes)
        if chunk <= 0:
            return None
        self._scheduler._rekey(now_ns)
        prompt = min(shared.batch.prefilling.values(), key=lambda task: task.rank)
        most = min(self._before_an_end(decodes), (prompt.known - prompt.planned - 1) // chunk)
        if len(shared.line):
            head = shared.line.head()
            if head is None or head.key < prompt.key:
                return None
            most = min(most, self._asked)
        return Stretch(decodes, most, prompt, chunk, prompt.planned) if most > 0 else None

    def _before_an_end(self, decodes: Decodes) -> int:
        """Return how many steps there are before somebody ends who decodes."""
        if not len(decodes):
            return MAX_STRETCH
        planned = int(self._shared.batch.rows.unplanned[decodes.slots].min())
        return min(planned - 1, self._engine.steps_to_end - 1, MAX_STRETCH)

    def _gives_way(self, now_ns: int) -> bool:
        """Say whether somebody who runs may have to make room for the first in line."""
        self._scheduler._rekey(now_ns)
        head, margin = self._shared.line.head(), self._shared.policy.margin
        return head is not None and bool(head.key + margin < self._shared.batch.rows.highest_key())

    def _begun_before(self, time_ns: int, stretch: Stretch) -> int:
        """Return how many of the steps begin before that time has passed."""
        low, high = 0, stretch.most  # of `low` steps the last one begins in time
        if self._time_ns(stretch, high - 1) < time_ns:
            return high
        while low < high:
            middle = (low + high + 1) // 2
            if self._time_ns(stretch, middle - 1) < time_ns:
                low = middle
            else:
                high = middle - 1
        return low

    def _time_ns(self, stretch: Stretch, steps: int) -> int:
        return self._engine.time_ns(steps, stretch.start, stretch.chunk)

    def _with_blocks(self, stretch: Stretch, steps: int) -> int:
        """Return how many of the steps have the blocks they need without anybody giving way."""
        shared, decodes = self._shared, stretch.decodes
        available, size = shared.cache.available(), shared.limits.block_size
        if self._blocks(stretch, steps) + len(decodes) * (steps // size + 1) <= available:
            return steps  # even if each needs as many as it can need
        computed, _ = shared.cache.lookup_many(decodes.handles)
        held = -(-computed // size)
        while steps > 0:
            growth = int((-(-(computed + steps) // size) - held).sum())
            if self._blocks(stretch, steps) + growth <= available:
                break
            steps //= 2
        return steps

    def _blocks(self, stretch: Stretch, steps: int) -> int:
        """Return how many blocks the prompt takes in so many steps."""
        if stretch.prompt is None:
            return 0
        end = stretch.start + steps * stretch.chunk
        return self._shared.limits.blocks_for(end) - stretch.prompt.num_blocks

    def _apply(self, stretch: Stretch, steps: int, now_ns: int) -> None:
        shared = self._shared
        batch, cache = shared.batch, shared.cache
        handles, slots = stretch.decodes.handles, stretch.decodes.slots
        if shared.eviction is not None:
            tokens = len(handles) * steps + stretch.chunk * steps
            blocks = tokens // shared.limits.block_size + len(handles) + 1
            shared.eviction.make_ready(now_ns, blocks)
        self._append(handles, steps)
        counts = np.full(len(stretch.decodes), steps, np.int32)
        cache.plan_many(handles, counts)
        cache.mark_computed_many(handles, counts)
        self._take_turns(stretch, steps, now_ns)
        if stretch.prompt is not None:
            self._compute(stretch.prompt, steps * stretch.chunk)
        batch.rows.unplanned[slots] -= steps
        batch.rows.unsampled[slots] -= steps
        shared.last_number += steps
        shared.complete(shared.last_number)
        shared.generated += steps * len(handles)

    def _append(self, handles: NDArray[np.int64], steps: int) -> None:
        cache = self._shared.cache
        if steps < len(handles):
            tokens = np.zeros(len(handles), np.int32)
            for _ in range(steps):
                cache.append_many(handles, tokens)
            return
        tokens = np.zeros(steps, np.int32)
        for handle in handles.tolist():
            cache.append(handle, tokens)

    def _compute(self, prompt: Task, tokens: int) -> None:
        cache = self._shared.cache
        cache.plan(prompt.handle, tokens)
        cache.mark_computed(prompt.handle, tokens)
        prompt.num_blocks = self._shared.limits.blocks_for(prompt.planned)

    def _take_turns(self, stretch: Stretch, steps: int, now_ns: int) -> None:
        """Give each request its tokens, which are 0 as the rows are, and tell the policy."""
        shared, slots = self._shared, stretch.decodes.slots
        batch = shared.batch
        given = 0  # steps whose tokens are in the rows
        for step in range(1, steps + 1 if len(slots) else 1):  # turns come with tokens only
            if not (tasks := batch.tasks_in_turn()):
                continue
            batch.rows.counts[slots] += step - 1 - given
            given = step - 1
            shared.now_ns = now_ns + self._time_ns(stretch, step)
            self._set_planned(stretch, step)
            for task in tasks:
                shared.tell_service(task)
                if batch.rows.is_due(task.slot):
                    task.request.empty_row()
        batch.rows.counts[slots] += steps - given
        self._set_planned(stretch, steps)

    @staticmethod
    def _set_planned(stretch: Stretch, steps: int) -> None:
        if stretch.prompt is not None:
            stretch.prompt.planned = stretch.start + steps * stretch.chunk
