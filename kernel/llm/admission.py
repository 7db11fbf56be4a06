"""Who of those that wait gets a slot: strictly in the policy's order, as far as memory allows.

Who does not fit holds up all behind it, so that the large are not starved by the small. Some wait
aside, and hold up nobody: those whose next prefix block is being computed by another (they will
find it cached after that step), and those that wait for their owner's quota.

How much room there is, kernel/llm/room.py says; who gives way first, kernel/llm/giving_way.py.

Where the tokens of a request go on in host memory (kernel/llm/demotion.py), its blocks there are
copied back as it gets its slot; they need the room that computing them would.

Cost: a few microseconds for each request looked at; at most 32 are put aside in one plan.
"""

from __future__ import annotations

from enum import Enum, auto

from ext.kv_errors import BlocksError, OutOfBlocksError, QuotaExceededError
from ipc.engine import NewRequest
from ipc.llm import Sampling
from kernel.llm.draft import WIRE_BYTES, Draft
from kernel.llm.request import Request
from kernel.llm.room import Room
from kernel.llm.shared import Shared
from kernel.llm.siblings import Step
from kernel.llm.task import AT_QUOTA, PARKED, Task
from kernel.llm.waiting_line import WaitingLine


class Verdict(Enum):
    """What became of the first in line."""

    ADMITTED = auto()
    ASIDE = auto()  # look again: at the next one, or at this one if pins have yielded to it
    BLOCKED = auto()  # no room: look no further


ADMITTED, ASIDE, BLOCKED = Verdict  # see kernel/llm/task.py


class Admission:
    """See the module head."""

    def __init__(self, shared: Shared, room: Room) -> None:
        self._shared = shared
        self._room = room

    def admit(self, task: Task, draft: Draft) -> Verdict:
        """Give the first in line a slot and its first stretch, if there is room."""
        shared = self._shared
        if shared.is_leaving(task):
            return BLOCKED
        is_demoted = shared.demotion.is_in_use and self._is_demoted(task)
        if not is_demoted and self._is_plain(task):
            begun = shared.cache.begin(task.handle, draft.budget, self._room.kept())
            if begun is not None:
                self._enter(task, draft, *begun)
                return ADMITTED
        return self._weigh(task, draft, is_demoted=is_demoted)

    def _weigh(self, task: Task, draft: Draft, *, is_demoted: bool) -> Verdict:
        """Admit a task if there is room by all that counts, or say what is to become of it."""
        shared = self._shared
        cached, computing = self._room.look_up(task)
        if computing:
            # A step under way computes what this task would have to compute next.
            shared.line.remove(task)
            task.place = PARKED
            shared.parked.append(task)
            return ASIDE
        needed = self._room.needed(task, cached)
        if task.account.quota is not None and not shared.owners.has_room(task.account, needed):
            return self._at_quota(task)
        if not self._room.fits(needed) or not self._room.will_fit(task, cached, needed):
            return BLOCKED
        try:
            start, count = self._take_blocks(task, draft, is_demoted=is_demoted)
        except QuotaExceededError:
            return self._at_quota(task)
        except OutOfBlocksError:
            # Cached blocks that nobody held were thought to be there for others as well.
            return ASIDE if self._room.pin_yields() else BLOCKED
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
        needed = self._room.needed(task, self._room.look_up(task)[0])
        if self._is_alone(task) or shared.owners.has_room(task.account, needed):
            waiting.remove(task)
            shared.line.put_back(task)

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
