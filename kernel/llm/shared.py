"""What the parts of a scheduler share: one engine's requests, blocks and steps.

Data, and the few changes that several parts make: a task leaves its slot, a task ends, blocks are
let go. Order of the parts, each may use those before it:
shared < relief, room < giving_way, admission < step_planner | step_reports < scheduler.

Invariants:
  I1  a task is in ``live`` until it is DONE; it is in exactly the one place it names.
  I2  at most two flights; numbers are those of the plans, without gaps.
  I3  a task that left its slot is not given one again before every step that has it has reported.
"""

from __future__ import annotations

from collections import deque

from ext.kv_cache import KVCache
from ipc.llm import FinishReason
from kernel.llm.batch import Batch
from kernel.llm.demotion import Demotion
from kernel.llm.flight import Flight
from kernel.llm.growth import Growth
from kernel.llm.holds import Holds
from kernel.llm.limits import EngineLimits
from kernel.llm.live_eviction import LiveEviction
from kernel.llm.owners import OwnerAccount, OwnerBook
from kernel.llm.pins import PinBook
from kernel.llm.policies import Policy
from kernel.llm.request import Request
from kernel.llm.siblings import Siblings
from kernel.llm.task import AT_QUOTA, DONE, FRESH, RETURNED, SLOT, Task
from kernel.llm.waiting_line import WaitingLine


class Shared:
    """See the module head.

    now_ns: when the call that is being served came.
    dropped: slots left since the last plan, which the next one tells.
    parked: tasks that wait for the next report; by_quota: by owner, for that one's quota.
    ends: ends nobody has been told yet.
    eviction: names cached blocks to give up; None: the least recently used go.
    growth: what those who run are expected to take yet; None: admission counts what is known.
    changes: counts who left a slot or ended, to see whether anything did.
    """

    def __init__(
        self,
        limits: EngineLimits,
        cache: KVCache,
        policy: Policy,
        eviction: LiveEviction | None = None,
        *,
        expects_growth: bool = False,
    ) -> None:
        self.eviction = eviction
        self.limits = limits
        self.cache = cache
        self.policy = policy
        self.owners = OwnerBook(cache)
        self.demotion = Demotion(limits, cache, lambda: self.last_number + 1)
        self.pins = PinBook(cache, self.demotion)
        self.holds = Holds(cache, limits.num_blocks, self.demotion)
        self.batch = Batch(limits.max_running)
        self.growth = Growth(limits, self.batch) if expects_growth else None
        self.siblings = Siblings()
        self.line = WaitingLine()
        self.live: dict[int, Task] = {}
        self.flights: deque[Flight] = deque()
        self.last_number = 0
        self.reported = 0
        self.now_ns = 0
        self.dropped: list[int] = []
        self.parked: list[Task] = []
        self.by_quota: dict[int, WaitingLine] = {}
        self.ends: list[tuple[Request, FinishReason]] = []
        self.changes = 0
        self.generated = 0
        self.prompt = 0
        self.cached_tokens = 0
        self.preemptions = 0
        self._last_step = 0  # the last that holds back blocks of a request that has ended

    @property
    def newest(self) -> int | None:
        """Number of the last plan that has not reported, or None."""
        return self.flights[-1].number if self.flights else None

    def enter_slot(self, task: Task) -> None:
        """Give a task a free slot."""
        self.batch.enter(task, is_whole=task.planned == task.known)
        if task.request.family:
            task.entered = self.last_number + 1
            self.siblings.enter(task)

    def leave_slot(self, task: Task) -> None:
        """Take a task's slot away; the next plan drops it. What its steps sample still counts."""
        self._vacate(task)
        task.last_plan = self.last_number
        for flight in self.flights:
            flight.set_left(task)

    def _vacate(self, task: Task) -> None:
        self.changes += 1
        self.tell_service(task)
        self.dropped.append(self.batch.leave(task))
        if task.request.family:
            self.siblings.leave(task)

    def tell_service(self, task: Task) -> None:
        """Let the policy know of the tokens a running task was given since it was told last."""
        request, prefilling = task.request, self.batch.prefilling
        served = request.num_tokens
        if prefilling and task.slot in prefilling:
            served = task.planned
        if served > task.told:
            self.policy.on_service(request, served - task.told, self.now_ns)
            task.told = served

    def void_steps(self, task: Task) -> None:
        """What the steps under way compute of a task will not be kept."""
        for flight in self.flights:
            flight.set_void(task)

    def end(self, task: Task) -> None:
        """Let go of a task, wherever it is. Its blocks are kept for the steps that have them."""
        self.end_all([task])

    def end_all(self, tasks: list[Task]) -> None:
        """Let go of tasks, as ``end``."""
        newest, by_owner = self.newest, self.line.by_owner
        for flight in self.flights:
            flight.set_gone(tasks)
        for task in tasks:
            self._leave_place(task, newest)
            task.place = DONE
            if by_owner is not None:
                by_owner.forget(task)
            self.policy.on_done(task.request, self.now_ns)
            if self.eviction is not None:
                self.eviction.used(task, self.now_ns)
            self.cache.free(task.handle, last_step=newest)
            task.account.live -= 1
            del self.live[task.request.id]

    def _leave_place(self, task: Task, newest: int | None) -> None:
        """Take a task from where it is. newest: number of the last plan that has not reported."""
        if task.place is SLOT:
            self._vacate(task)
            if newest is not None:
                self._last_step = task.account.last_step = newest
            return
        self.changes += 1
        if task.place in (FRESH, RETURNED):
            self.line.remove(task)
        elif task.place is AT_QUOTA:
            self.by_quota[task.account.owner].remove(task)

    def end_by_kernel(self, task: Task, reason: FinishReason) -> None:
        """End a task for a reason that the engine does not know."""
        self.end(task)
        self.tell_end(task.request, reason)

    def tell_end(self, request: Request, reason: FinishReason) -> None:
        """Let it be known that a request has ended without its engine."""
        self.ends.append((request, reason))

    def complete(self, number: int) -> None:
        """A step has reported: blocks that waited for it are free."""
        self.reported = number
        self.cache.complete(number)

    def is_under_way(self, task: Task) -> bool:
        """Say whether a step that has not reported has the task."""
        return any(flight.holders[task.slot] is task for flight in self.flights)

    def is_leaving(self, task: Task) -> bool:
        """Say whether a step that has not reported has a task that has lost its slot since."""
        return task.last_plan > self.reported

    def is_retiring(self, account: OwnerAccount | None = None) -> bool:
        """Say whether steps under way hold back blocks (of an owner) that will come free."""
        last_step = self._last_step if account is None else account.last_step
        return last_step > self.reported
