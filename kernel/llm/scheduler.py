"""The scheduler of one engine: which requests compute which tokens in its next step.

What it is not: it does no I/O, keeps no time and writes no journal; the service that owns it does
(and calls ``cancel`` when a deadline passes). It is for one engine incarnation: when the engine
dies, ``close`` the scheduler, make a new one and ``add`` the ``live()`` requests to it.

    add -> waiting -> (plan) -> running -> (report) -> ended
                  ^------------- preempted

Call ``plan`` whenever something was added or reported, until it gives None, and then ``take_ends``:
requests that the scheduler itself has ended. Send what ``plan`` gives, and bring each report.

Invariants:
  I1  no plan has a request after its ``cancel``; a token is given to a request exactly once.
  I2  a request's tokens do not depend on the others: only when they come does.
  I3  as long as plans are asked for and reported, each request of the smallest key is reached:
      nobody overtakes in the line, who is preempted keeps the place of his arrival.
  I4  blocks of a request that has ended come free when the last step that has it has reported.

Cost: bench/llm_scheduler.py. Concurrency: one event loop owns it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ext.kv_cache import KVCache
from ipc.engine import EngineFacts, Plan, Report
from ipc.errors import BadPromptError, LlmQueueFullError, PromptTooLongError
from ipc.llm import FinishReason
from kernel.llm.batch import Decodes
from kernel.llm.flight import Flight
from kernel.llm.limits import limits_of
from kernel.llm.live_eviction import LiveEviction
from kernel.llm.owners import OwnerStatistics
from kernel.llm.policies import Policy
from kernel.llm.request import Request
from kernel.llm.shared import Shared
from kernel.llm.step_planner import StepPlanner
from kernel.llm.step_reports import StepReports
from kernel.llm.step_result import SchedulerStatistics, StepResult
from kernel.llm.task import AT_QUOTA, FRESH, RETURNED, SLOT, Task

Admission = Literal["known", "expected"]


class Scheduler:
    """See the module head.

    hash_key: 16 secret bytes of this kernel.  instance: tells the blocks of engines apart.
    max_waiting: requests that may wait beside those that run.  model: named in errors.
    eviction: which cached blocks go first, by name (kernel/policy/eviction_names.py).
    admission: "known" admits while there is room for the tokens that are there; "expected", while
               there will be for those that are expected, by the policy's guesses.
    plans_ahead: plans that may be out beside the one that is computed: 1, or 0 if the engine is to
                 wait for each, so that who comes in a step is in the next.
    """

    def __init__(
        self,
        facts: EngineFacts,
        *,
        hash_key: bytes,
        policy: Policy,
        instance: int = 0,
        max_waiting: int = 4096,
        model: str = "",
        eviction: str = "lru",
        admission: Admission = "known",
        plans_ahead: int = 1,
    ) -> None:
        limits = limits_of(facts)
        self._max_flights = 1 + plans_ahead
        self._max_live = max_waiting + limits.max_running
        cache = KVCache(
            block_size=limits.block_size,
            num_device_blocks=limits.num_blocks,
            hash_key=hash_key,
            num_host_blocks=limits.num_host_blocks,
            max_requests=self._max_live + 1,  # one more to make a pin
            max_tokens_per_request=limits.max_context + 1,
            instance=instance,
        )
        self.limits = limits
        self._model = model
        by_policy = None if eviction == "lru" else LiveEviction(eviction, limits, cache)
        self._shared = Shared(
            limits, cache, policy, by_policy, expects_growth=admission == "expected"
        )
        self._planner = StepPlanner(self._shared)
        self._reports = StepReports(self._shared)
        self._orders = 0
        self._told: Decodes | None = None  # whom the engine takes to decode

    # Requests

    def check(self, request: Request) -> None:
        """Say whether the request can ever run here.

        Raises:
            BadPromptError: it has no tokens.
            PromptTooLongError: the context or all blocks together cannot hold its prompt.
        """
        if not request.num_prompt:
            raise BadPromptError(problem="it has no tokens")
        limit = self.limits.max_request_tokens - 1  # at least one token comes after it
        if request.num_prompt > limit:
            is_context = self.limits.max_context <= self.limits.max_request_tokens
            what = "the model's context" if is_context else "the engine's memory"
            raise PromptTooLongError(value=request.num_prompt, limit=limit, what=what)

    def add(self, request: Request, now_ns: int) -> None:
        """Let a request wait for its turn, with what it has emitted elsewhere.

        Raises:
            LlmQueueFullError: as many are here as may be. Nothing was queued.
            BadPromptError, PromptTooLongError: as ``check``.
        """
        shared = self._shared
        shared.now_ns = now_ns
        self.check(request)
        assert request.id not in shared.live, f"request {request.id} is here already"
        if len(shared.live) >= self._max_live:
            raise LlmQueueFullError(value=len(shared.live), limit=self._max_live, model=self._model)
        request.leave_row()  # of the scheduler it was in before
        room = self.limits.max_request_tokens - request.num_prompt
        request.max_tokens = min(request.sampling["max_tokens"], room)
        if request.num_emitted >= request.max_tokens:
            shared.tell_end(request, "length")
            return
        account = shared.owners.open(request.owner)
        handle = shared.cache.open(account.handle, request.ids, extra_key=request.extra_key)
        self._orders += 1
        task = Task(request, account, handle, self._orders)
        shared.policy.on_arrival(request, now_ns)
        task.key = shared.policy.key(request, now_ns)
        task.told = request.num_tokens if request.num_emitted else 0  # the rest is of elsewhere
        account.live += 1
        shared.live[request.id] = task
        shared.line.add(task)

    def cancel(self, request_id: int, now_ns: int) -> None:
        """Plan nothing more for a request. One that has ended already is not there any more."""
        self._shared.now_ns = now_ns
        task = self._shared.live.get(request_id)
        if task is not None:
            self._shared.end(task)

    def extend(self, request_id: int, allowance: int) -> None:
        """Let a request be given more tokens than so far; see ``Request.allowance``.

        Without it a request whose allowance is planned is planned no further. It keeps its slot:
        once the last of these tokens has come, extend or cancel it before the next ``plan``.
        """
        task = self._shared.live.get(request_id)
        if task is None:
            return
        request = task.request
        before, request.allowance = request.allowance, allowance
        samples = min(request.max_tokens, allowance) - min(request.max_tokens, before)
        if task.place is SLOT and samples > 0:
            self._shared.batch.extend(task, samples)

    def reprioritise(self, request_id: int, priority: int, now_ns: int) -> None:
        """Change a request's priority, from now on."""
        task = self._shared.live.get(request_id)
        if task is not None:
            task.request.priority = priority
            self._set_key(task, self._shared.policy.key(task.request, now_ns))

    def live(self) -> list[Request]:
        """Return all requests it has, in the order of arrival."""
        tasks = sorted(self._shared.live.values(), key=lambda task: task.order)
        return [task.request for task in tasks]

    def close(self, now_ns: int) -> None:
        """The engine is gone: its policy, which may outlive it, forgets all requests it has."""
        for task in self._shared.live.values():
            self._shared.policy.on_done(task.request, now_ns)

    # Steps

    def plan(self, now_ns: int) -> Plan | None:
        """Return the next step; None: there is nothing to do, or all plans are out that may be."""
        shared = self._shared
        if len(shared.flights) >= self._max_flights:
            return None
        shared.now_ns = now_ns
        self._rekey(now_ns)
        if shared.eviction is not None:
            shared.eviction.make_ready(now_ns)
        number = shared.last_number + 1
        draft = self._planner.plan(number)
        if draft.is_empty:
            return None
        for pairs in shared.demotion.take_copies():
            draft.copy_out(pairs)
        plan = draft.to_plan(shared.dropped, self._changes(draft.decodes), reset=number == 1)
        shared.dropped = []
        shared.last_number = number
        shared.flights.append(Flight(draft, shared.batch))
        return plan

    def _changes(self, decodes: Decodes) -> tuple[bytes, bytes]:
        """Return which slots decode no more, and which do that did not, as of the last plan.

        Slots that were dropped since are in neither: dropping says it.
        """
        if decodes is self._told:
            return b"", b""
        self._told = decodes
        return self._shared.batch.rows.changes(decodes.slots)

    def report(self, report: Report, now_ns: int) -> StepResult:
        """Take the report of the oldest plan that is out.

        Raises:
            BadFrameError: it breaks the contract; nothing was changed. Replace the engine.
        """
        self._shared.now_ns = now_ns
        return self._reports.take(report)

    def take_ends(self) -> list[tuple[Request, FinishReason]]:
        """Return requests that the scheduler itself has ended since the last report, and why."""
        ends, self._shared.ends = self._shared.ends, []
        return ends

    # Owners and pins

    def set_quota(self, owner: int, blocks: int | None) -> None:
        """Bound the blocks an owner may hold; what it has above stays until let go."""
        self._shared.owners.set_quota(self._shared.owners.open(owner), blocks)

    def remove_owner(self, owner: int) -> None:
        """Cancel what an owner has here, and release its pins."""
        self._shared.holds.release_owner(owner)
        account = self._shared.owners.find(owner)
        if account is None:
            return
        for task in [task for task in self._shared.live.values() if task.account is account]:
            self._shared.end(task)
        self._shared.owners.remove(account)

    def blocks_of(self, owner: int) -> int:
        """Return the device blocks an owner holds, each once."""
        account = self._shared.owners.find(owner)
        return 0 if account is None else self._shared.owners.blocks(account)

    def pin(self, owner: int, ids: NDArray[np.int32], extra_key: int, until_ns: int) -> int:
        """Keep the cached blocks of a session's tokens; returns the pin.

        Raises:
            LimitError: the owner's quota or the pool has no room. Nothing was pinned.
            PromptTooLongError: more tokens than the context.
        """
        account = self._shared.owners.open(owner)
        return self._shared.pins.add(account, ids, extra_key=extra_key, until_ns=until_ns)

    def unpin(self, pin: int) -> None:
        """Release a pin; one that has ended by itself is not there any more."""
        self._shared.pins.remove(pin)

    def pinned_blocks(self, pin: int) -> int:
        """Return how many blocks a pin holds; 0 if it has ended."""
        return self._shared.pins.tokens(pin) // self.limits.block_size

    def take_ended_pins(self) -> list[int]:
        """Return pins that have ended by themselves since the last call: expired, or given up."""
        book = self._shared.pins
        ended, book.ended = book.ended, []
        return ended

    def hold(self, who: str, request: Request, until_ns: int) -> bool:
        """Keep the blocks of a request that has ended, until then or until they are needed.

        who: names the program; one hold each. Returns: False if there is no room within the share.
        """
        holds = self._shared.holds
        return holds.add(who, request.owner, request.ids, request.extra_key, until_ns)

    def demote(self, request: Request, chance: float) -> None:
        """Keep a copy of a request that has ended on the host, where that pays.

        chance: how likely it is that it is needed again.
        """
        self._shared.demotion.keep(request.ids, request.extra_key, chance)

    @property
    def refill_s(self) -> float:
        """Return what it takes to bring back all that the pool holds, if it is let go; 0: unknown.

        It is computed again, or copied back where it is found on the host.
        """
        return self._shared.demotion.refill_s

    def extend_hold(self, who: str, until_ns: int) -> None:
        """Let a hold last until then, if there still is one."""
        self._shared.holds.extend(who, until_ns)

    def release_hold(self, who: str) -> None:
        """Let go of a hold, if there still is one."""
        self._shared.holds.release(who)

    def expire(self, now_ns: int) -> int:
        """Release the pins and holds whose time has come; returns how many pins."""
        self._shared.holds.expire(now_ns)
        return self._shared.pins.expire(now_ns)

    # Reports

    @property
    def num_waiting(self) -> int:
        """Return how many have no slot."""
        return len(self._shared.live) - self._shared.batch.num_taken

    def statistics(self) -> SchedulerStatistics:
        """Return counters and occupancy."""
        shared = self._shared
        cache = shared.cache.statistics()
        device = cache.device
        return SchedulerStatistics(
            waiting=self.num_waiting,
            running=shared.batch.num_taken,
            blocks=device.capacity,
            used=device.held,
            cached=device.cached,
            generated=shared.generated,
            prompt=shared.prompt,
            cached_tokens=shared.cached_tokens,
            steps=shared.reported,
            preemptions=shared.preemptions,
            demoted=cache.demote_copies,
            promoted=cache.promote_copies,
        )

    def owner_statistics(self) -> dict[int, OwnerStatistics]:
        """Return what each owner has here. Cost: O(owners)."""
        book = self._shared.owners
        return {
            account.owner: OwnerStatistics(
                account.live - account.running, account.running, book.blocks(account)
            )
            for account in book
        }

    def check_integrity(self) -> None:
        """Recount the block table; raises ext.kv_errors.IntegrityError. For tests."""
        self._shared.cache.check_integrity()

    def _rekey(self, now_ns: int) -> None:
        shared = self._shared
        policy, line = shared.policy, shared.line
        if policy.is_by_owner is (line.by_owner is None):
            tasks = sorted(shared.live.values(), key=lambda task: task.order)
            line.sort(tasks, by_owner=policy.is_by_owner)
        for request_id in policy.rekey(now_ns):
            task = shared.live.get(request_id)
            if task is not None:
                self._set_key(task, policy.key(task.request, now_ns))
        if line.by_owner is not None:
            for owner, key in policy.rekey_owners(now_ns):
                for task in line.by_owner.set_owner_key(owner, key):
                    self._set_key(task, key)

    def _set_key(self, task: Task, key: float) -> None:
        if task.place in (FRESH, RETURNED):
            self._shared.line.set_key(task, key)
            return
        if task.place is AT_QUOTA:
            self._shared.by_quota[task.account.owner].set_key(task, key)
            return
        task.key = key
        if task.place is SLOT:
            self._shared.batch.rows.keys[task.slot] = key
