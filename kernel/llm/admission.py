"""Who of those that wait gets a slot: strictly in the policy's order, as far as memory allows.

Who does not fit holds up all behind it, so that the large are not starved by the small. Some wait
aside, and hold up nobody: those whose next prefix block is being computed by another (they will
find it cached after that step), and those that wait for their owner's quota.

Room is kept for growth: what admitted prompts will still take, half a block for each running
request, and a hundredth of the pool; and, where lengths are expected (kernel/llm/growth.py), all
that those who run are expected to take. Alone, a request may take everything; pins yield to it.

Where the tokens of a request go on in host memory (kernel/llm/demotion.py), its blocks there are
copied back as it gets its slot; they need the room that computing them would.

Cost: a few microseconds for each request looked at; at most 32 are put aside in one plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

import numpy as np

from ext.kv_errors import BlocksError, OutOfBlocksError, QuotaExceededError
from ipc.engine import NewRequest
from ipc.llm import Sampling
from kernel.llm.draft import WIRE_BYTES, Draft
from kernel.llm.relief import Relief
from kernel.llm.request import Request
from kernel.llm.shared import Shared
from kernel.llm.siblings import Step
from kernel.llm.task import AT_QUOTA, PARKED, Task
from kernel.llm.waiting_line import WaitingLine

MAX_URGENT = 8  # requests that others give way to in one plan


class Verdict(Enum):
    """What became of the first in line."""

    ADMITTED = auto()
    ASIDE = auto()  # look again: at the next one, or at this one if pins have yielded to it
    BLOCKED = auto()  # no room: look no further


ADMITTED, ASIDE, BLOCKED = Verdict  # see kernel/llm/task.py


class Admission:
    """See the module head."""

    def __init__(self, shared: Shared, relief: Relief) -> None:
        self._shared = shared
        self._relief = relief
        self._spare = shared.limits.num_blocks // 100  # blocks

    def make_way(self, draft: Draft) -> None:
        """Let lower ones give way to those that wait with a smaller key and would not fit.

        Among those only whom the policy lets be preempted for it: never to admit an equal. Nobody
        gives way to one that has to wait for the tokens of a later step anyway, be it that the
        prompts of smaller keys that run take all of this one.
        """
        shared = self._shared
        head = shared.line.head()
        margin = shared.policy.margin
        if head is None or head.key + margin >= shared.batch.rows.highest_key():
            return
        if self._is_under_way(head):
            return
        lower: list[Task] | None = None
        slots = len(shared.batch.free)
        decoding = len(shared.batch.decodes())
        room = self._room() - decoding  # each takes a block at most
        tokens = draft.budget - decoding
        if shared.batch.prefilling:
            ahead = self._tokens_ahead(head)
            if ahead and ahead >= tokens:
                return
            tokens -= ahead
        for task in self._urgent(head):
            if self._is_under_way(task):
                return
            cached, computing = self._look_up(task)
            if computing:
                if tokens > 0:
                    continue  # it stands aside for the next
                return
            needed = self._needed(task, cached)
            if room < needed and decoding:
                room += decoding - self._growth()
                decoding = 0
            if room < needed:
                room += self._let_go(needed - room)
            chosen: list[Task] = []
            gained = 0
            if lower is None and not (slots and room >= needed):
                lower = self._relief.candidates(head.key + margin)
            for victim in reversed(lower or ()):
                is_enough = slots + len(chosen) and room + gained >= needed
                if is_enough or victim.key <= task.key + margin:
                    break
                if shared.policy.may_preempt(task.request, victim.request):
                    chosen.append(victim)
                    gained += shared.cache.state(victim.handle).num_blocks
            if not slots + len(chosen) or room + gained < needed:
                return
            for victim in chosen:
                assert lower is not None
                lower.remove(victim)
                self._relief.preempt(victim, draft)
            slots += len(chosen) - 1
            room += gained - needed
            tokens -= task.request.num_tokens - cached
            if tokens <= 0:
                return

    def _tokens_ahead(self, task: Task) -> int:
        """Return how many tokens go to prompts that run before one that waits gets any."""
        running = self._shared.batch.prefilling.values()
        return sum(each.known - each.planned for each in running if each.key <= task.key)

    def _urgent(self, head: Task) -> Iterator[Task]:
        """Yield those to make way for: mostly the first takes all tokens there are."""
        yield head
        yield from (each for each in self._shared.line.first(MAX_URGENT) if each is not head)

    def admit(self, task: Task, draft: Draft) -> Verdict:
        """Give the first in line a slot and its first stretch, if there is room."""
        shared = self._shared
        if self._is_under_way(task):
            return BLOCKED
        is_demoted = shared.demotion.is_in_use and self._is_demoted(task)
        if not is_demoted and self._is_plain(task):
            begun = shared.cache.begin(task.handle, draft.budget, self._kept())
            if begun is not None:
                self._enter(task, draft, *begun)
                return ADMITTED
        return self._weigh(task, draft, is_demoted=is_demoted)

    def _weigh(self, task: Task, draft: Draft, *, is_demoted: bool) -> Verdict:
        """Admit a task if there is room by all that counts, or say what is to become of it."""
        shared = self._shared
        cached, computing = self._look_up(task)
        if computing:
            # A step under way computes what this task would have to compute next.
            shared.line.remove(task)
            task.place = PARKED
            shared.parked.append(task)
            return ASIDE
        needed = self._needed(task, cached)
        if task.account.quota is not None and not shared.owners.has_room(task.account, needed):
            return self._at_quota(task)
        if not self._fits(needed) or not self._will_fit(task, cached, needed):
            return BLOCKED
        try:
            start, count = self._take_blocks(task, draft, is_demoted=is_demoted)
        except QuotaExceededError:
            return self._at_quota(task)
        except OutOfBlocksError:
            # Cached blocks that nobody held were thought to be there for others as well.
            return ASIDE if self._pin_yields() else BLOCKED
        self._enter(task, draft, start, count, shared.cache.block_bytes(task.handle))
        return ADMITTED

    def _is_plain(self, task: Task) -> bool:
        """Say whether room for what it knows is all it needs; who is alone may take all."""
        shared = self._shared
        is_free = task.account.quota is None and shared.growth is None
        return is_free and not task.is_on_host and shared.batch.num_taken > 0

    def _is_demoted(self, task: Task) -> bool:
        """Say whether what is cached of a task goes on in host memory, where some once went."""
        return not task.is_on_host and self._shared.cache.demoted(task.handle) > 0

    def unpark(self) -> None:
        """Let those that waited for a step, or for a quota with room now, stand in line again."""
        shared = self._shared
        if shared.parked:
            for task in shared.parked:
                if task.place is PARKED:
                    shared.line.put_back(task)
            shared.parked.clear()
        if shared.by_quota:
            for owner in list(shared.by_quota):
                self._unpark_owner(owner)

    def _unpark_owner(self, owner: int) -> None:
        shared = self._shared
        waiting = shared.by_quota[owner]
        task = waiting.head()
        if task is None:
            del shared.by_quota[owner]
            return
        needed = self._needed(task, self._look_up(task)[0])
        if self._is_alone(task) or shared.owners.has_room(task.account, needed):
            waiting.remove(task)
            shared.line.put_back(task)

    def _is_under_way(self, task: Task) -> bool:
        """Say whether a step that has not reported has a task that has lost its slot since."""
        return task.last_plan > self._shared.reported

    def _look_up(self, task: Task) -> tuple[int, int]:
        """Return how many of its tokens are cached, and how many more a step under way computes."""
        return (0, 0) if task.is_on_host else self._shared.cache.lookup(task.handle)

    def _at_quota(self, task: Task) -> Verdict:
        shared = self._shared
        if self._is_alone(task):
            shared.end_by_kernel(task, "quota")
        else:
            shared.line.remove(task)
            waiting = shared.by_quota.setdefault(task.account.owner, WaitingLine())
            waiting.put_back(task, AT_QUOTA)
        return ASIDE

    def _is_alone(self, task: Task) -> bool:
        """Say whether nothing its owner has at the engine will ever make room for the task."""
        return task.account.running == 0 and not self._shared.is_retiring(task.account)

    def _needed(self, task: Task, cached: int) -> int:
        """Blocks that must be free for all known tokens of a task; cached ones need not be."""
        limits = self._shared.limits
        return limits.blocks_for(task.request.num_tokens) - cached // limits.block_size

    def _room(self) -> int:
        return self._shared.cache.available() - self._kept()

    def _kept(self) -> int:
        """Blocks for others: what admitted prompts will still take, and some for growth."""
        batch = self._shared.batch
        kept = batch.num_taken // 2 + self._spare
        return kept + self._promised() if batch.prefilling else kept

    def _promised(self) -> int:
        """Blocks that admitted prompts will still take."""
        limits = self._shared.limits
        prefilling = self._shared.batch.prefilling.values()
        return sum(limits.blocks_for(task.known) - task.num_blocks for task in prefilling)

    def _growth(self) -> int:
        """Blocks that the decodes of this step will take."""
        handles = self._shared.batch.decodes().handles
        computed, computing = self._shared.cache.lookup_many(handles)
        return int(np.count_nonzero((computed + computing) % self._shared.limits.block_size == 0))

    def _fits(self, needed: int) -> bool:
        shared = self._shared
        if shared.batch.num_taken:
            lacking = needed - self._room()
            return lacking <= 0 or self._let_go(lacking) >= lacking
        while shared.cache.available() < needed:
            if not self._pin_yields():
                return False
        return True

    def _let_go(self, lacking: int) -> int:
        """End holds for so many blocks, if they have so many; returns how many came free."""
        holds, cache = self._shared.holds, self._shared.cache
        before = cache.available()
        if not holds or holds.num_blocks < lacking:
            return 0
        while cache.available() - before < lacking and holds.yield_one():
            pass
        return cache.available() - before

    def _will_fit(self, task: Task, cached: int, needed: int) -> bool:
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

    def _pin_yields(self) -> bool:
        """Release a hold, or a pin if nothing else could make room for who is first in line."""
        shared = self._shared
        if shared.holds.yield_one():
            return True
        if shared.batch.num_taken or shared.is_retiring():
            return False
        return shared.pins.yield_one()

    def _take_blocks(self, task: Task, draft: Draft, *, is_demoted: bool) -> tuple[int, int]:
        """Take the blocks of the first stretch; returns its start and its tokens."""
        cache = self._shared.cache
        if task.is_on_host:
            draft.copy_in(cache.swap_in(task.handle, step=draft.number))
            task.is_on_host = False
        elif is_demoted:
            pairs = cache.promote(task.handle, step=draft.number)
            self._shared.demotion.found(len(pairs))
            draft.copy_in(pairs)
        else:
            return cache.plan(task.handle, draft.budget)
        try:
            return cache.plan(task.handle, draft.budget)
        except BlocksError:
            return cache.state(task.handle).planned, 0  # it is in, and goes on when there is room

    def _enter(self, task: Task, draft: Draft, start: int, count: int, blocks: bytes) -> None:
        """Let a task whose blocks are taken have a slot. blocks: all it has, as int32."""
        shared = self._shared
        request = task.request
        shared.line.remove(task)
        task.known = request.num_tokens
        task.planned = start + count
        if request.family and count:
            copied = self._copy_tail(task, draft, start, count)
            start, count = start + copied, count - copied
        shared.enter_slot(task)
        if shared.growth is not None:
            shared.growth.enter(task, shared.policy.estimate(request), start)
        task.num_blocks = len(blocks) // WIRE_BYTES
        draft.begin(task, new_request(task, blocks, start), start, count)
        task.told = task.told or start
        if not request.first_planned_ns:
            self._account(request, start)

    def _copy_tail(self, task: Task, draft: Draft, start: int, count: int) -> int:
        """Have a block that was begun by a sibling copied; returns how many tokens that spares.

        At least one token is left to compute, and the block is not full by it, so nothing is shared
        that the step has not reported.
        """
        shared = self._shared
        size = shared.limits.block_size
        most = min(count, size) - 1
        if start % size or most < 1:
            return 0
        step = Step(draft.number, size)
        tail = shared.siblings.tail_for(shared.cache, task, start, most, step)
        if tail is None:
            return 0
        draft.copy(tail.source, tail.target)
        shared.cache.mark_computed(task.handle, tail.num_tokens)
        return tail.num_tokens

    def _account(self, request: Request, cached: int) -> None:
        shared = self._shared
        num_prompt = request.num_prompt
        if cached > num_prompt:
            cached = num_prompt
        request.first_planned_ns = shared.now_ns
        request.cached_tokens = cached
        shared.prompt += num_prompt
        shared.cached_tokens += cached


def new_request(task: Task, blocks: bytes, computed: int) -> NewRequest:
    """Return what an engine must know of a request that takes a slot."""
    request = task.request
    sampling: Sampling = request.sampling
    if sampling["max_tokens"] != request.max_tokens:
        sampling = {**sampling, "max_tokens": request.max_tokens}
    return {
        "slot": task.slot,
        "request": request.id,
        "ids": request.ids.tobytes(),
        "num_prompt": request.num_prompt,
        "sampling": sampling,
        "stream": request.stream,
        "sent_chars": request.sent_chars,
        "blocks": blocks,
        "computed": computed,
        "has_tools": request.has_tools,
    }
