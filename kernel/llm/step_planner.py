"""One step: the decodes first, then prompts by rank, those that run and those that wait merged.

Order within a plan, which is what keeps it simple: who gives way does so before anything is
planned; then all decodes are planned at once; what is left of the token budget goes to prompts. A
prompt that finds no blocks then is left out of this step and is given way to in the next.

Cost: bench/llm_scheduler.py; a steady step of decodes is one call of the KV cache and a few array
operations, whatever the number of requests.
"""

from __future__ import annotations

from ext.kv_errors import OutOfBlocksError, QuotaExceededError
from kernel.llm.admission import ADMITTED, ASIDE, Admission
from kernel.llm.batch import Decodes
from kernel.llm.draft import Draft
from kernel.llm.giving_way import GivingWay
from kernel.llm.relief import Relief
from kernel.llm.room import Room
from kernel.llm.shared import Shared
from kernel.llm.task import SLOT, Task

MAX_ASIDE = 32  # waiting requests put aside in one plan


class StepPlanner:
    """See the module head."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._relief = Relief(shared)
        room = Room(shared)
        self._giving_way = GivingWay(shared, self._relief, room)
        self._admission = Admission(shared, room)
        self._lacks_blocks: Task | None = None
        self._lacks_quota: Task | None = None

    @property
    def lacks_something(self) -> bool:
        """Say whether a prompt found no blocks in the last step; the next one helps it."""
        return self._lacks_blocks is not None or self._lacks_quota is not None

    def plan(self, number: int) -> Draft:
        """Return the next step, which may be empty."""
        shared = self._shared
        while True:
            changes = shared.changes
            draft = Draft(number, shared.limits.max_step_tokens, shared.batch.no_decodes)
            self._admission.unpark()
            self._make_room(draft)
            self._giving_way.make_way(draft)
            self._plan_decodes(draft)
            self._plan_prompts(draft)
            # Without a step under way no report would ever bring us here again: go on as long as
            # somebody gives way or ends, or has found that he lacks blocks.
            has_more = changes != shared.changes or self._lacks_blocks or self._lacks_quota
            if not draft.is_empty or shared.flights or not has_more:
                return draft

    def _make_room(self, draft: Draft) -> None:
        """Help the prompts that found no blocks in the step before."""
        lacks_quota, lacks_blocks = self._lacks_quota, self._lacks_blocks
        self._lacks_quota = self._lacks_blocks = None
        if lacks_quota is not None and lacks_quota.place is SLOT:
            self._relief.from_owner(lacks_quota, draft)
        elif lacks_blocks is not None and lacks_blocks.place is SLOT:
            self._relief.from_pool(lacks_blocks, draft)

    def _plan_decodes(self, draft: Draft) -> None:
        shared = self._shared
        paused: set[int] = set()
        while len(decodes := shared.batch.decodes(paused)):
            try:
                blocks = shared.cache.plan_decodes(decodes.handles, decodes.slots)
            except QuotaExceededError as error:
                refused = self._at(decodes, error.index)
                if not self._relief.from_owner(refused, draft):
                    paused.add(refused.slot)
            except OutOfBlocksError as error:
                refused = self._at(decodes, error.index)
                if not self._relief.from_pool(refused, draft):
                    paused.add(self._lowest_growing(decodes).slot)
            else:
                draft.decode(decodes, blocks)
                shared.batch.count_planned(decodes)
                return

    def _lowest_growing(self, decodes: Decodes) -> Task:
        """Return the last in rank of those that need a block for their next token."""
        computed, computing = self._shared.cache.lookup_many(decodes.handles)
        is_growing = (computed + computing) % self._shared.limits.block_size == 0
        growing = [self._at(decodes, row) for row in is_growing.nonzero()[0].tolist()]
        return max(growing, key=lambda task: task.rank)

    def _at(self, decodes: Decodes, row: int) -> Task:
        task = self._shared.batch.tasks[int(decodes.slots[row])]
        assert task is not None
        return task

    def _plan_prompts(self, draft: Draft) -> None:
        batch, head, admit = self._shared.batch, self._shared.line.head, self._admission.admit
        running = sorted(batch.prefilling.values(), key=lambda task: task.rank)[::-1]
        aside = 0
        is_open = True  # the line may still be looked at
        while draft.budget > 0:
            waiting = head() if is_open and batch.free else None
            if running and (waiting is None or running[-1].key <= waiting.key):
                self._go_on(running.pop(), draft)
            elif waiting is None:
                return
            elif (verdict := admit(waiting, draft)) is not ADMITTED:
                aside += 1
                is_open = verdict is ASIDE and aside < MAX_ASIDE

    def _go_on(self, task: Task, draft: Draft) -> None:
        """Plan the next stretch of a prompt."""
        cache = self._shared.cache
        try:
            start, count = cache.plan(task.handle, min(draft.budget, task.known - task.planned))
        except QuotaExceededError:
            self._lacks_quota = self._lacks_quota or task
            return
        except OutOfBlocksError:
            self._lacks_blocks = self._lacks_blocks or task
            return
        table = cache.block_table(task.handle)
        draft.append_blocks(task.slot, table[task.num_blocks :])
        task.num_blocks = len(table)
        task.planned = start + count
        draft.prefill(task, start, count)
        if task.planned == task.known:
            draft.sample(task)
            self._shared.batch.end_prefill(task)
