"""Completions of agents with a budget: reserved before they are computed, settled after.

A local completion reserves its prompt and a slice of tokens, and the next slice shortly before that
one is used up. If there is no more, it pauses at the slice's end: it leaves its engine with all its
tokens, waits, and goes on from there when it is topped up, with the tokens it would have had. A
call to an endpoint reserves all it may come to, and is settled by what the endpoint counts.

What is used is charged in the write set that journals it: tokens as they are journaled (the rest is
reserved until then), a remote call with its answer. So the next kernel charges nothing twice:

    tokens that were journaled              charged; not again
    tokens that were computed, then lost    were reserved; they are computed, and charged, anew
    a remote call that may have been sent   its reservation is in its row; reserved before all else

What nobody can know was spent (a call in doubt, or cancelled on its way) counts as spent in full.

Invariants:
  M1  a request is planned no further than ``request.allowance``, all of which is reserved.
  M2  a job that waits for budget is in its line, in no engine, and holds no blocks.

Cost: nothing for owners without an account; else about 3 us a job and step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ipc.llm import LlmInput
from ipc.protocol import Flag
from kernel.budget.accounts import Account, Shortage
from kernel.llm.call_cost import Amounts, local_cost, remote_bound, spent
from kernel.llm.engines import Engine
from kernel.llm.job import Job, Phase
from kernel.llm.meter import Meter
from kernel.llm.request import NO_LIMIT
from kernel.llm.token_log import Saved, TokenLog
from kernel.state import KernelState

SLICE = 64  # tokens reserved at a time
EARLY = 8  # tokens before a slice's end at which the next is asked for: plans are made ahead

_REFUSES = int(Flag.NO_BUDGET_WAIT | Flag.NOWAIT)
_GIVEN_BACK = ("kv_blocks",)  # held, never spent


class Metering:
    """See the module head.

    resume: brings a job that has waited to an engine. yield_pin: lets a pin go that stands against
    it; False: none does.
    """

    def __init__(
        self,
        state: KernelState,
        log: TokenLog,
        *,
        yield_pin: Callable[[Shortage], bool],
        resume: Callable[[Job], None],
        fail: Callable[[Job, Shortage], None],
    ) -> None:
        self.state = state
        self.budgets = state.budgets
        self.log = log
        self._yield_pin = yield_pin
        self._resume = resume
        self._fail = fail
        self._restored: dict[int, tuple[Account, Amounts]] = {}

    # --- before ---------------------------------------------------------------------------

    def admit(self, job: Job, engine: Engine, given: LlmInput | None) -> bool:
        """Reserve what the job needs to begin or go on; False: it waits for budget.

        given: of a remote call, all it says.
        Raises:
            BudgetExceededError: it is not to wait.
        """
        meter = self._meter_of(job)
        if meter is None:
            return True
        if given is None:
            assert engine.scheduler is not None
            assert job.request is not None
            meter.block_size = engine.scheduler.limits.block_size
            has_any = meter.allowance > job.request.num_emitted
            shortage = None if has_any else self._grow(job, meter)
            job.request.allowance = meter.allowance
        else:
            meter.bound = remote_bound(job.model.spec, given, job.sampling["max_tokens"])
            shortage = self._reserve_call(job, meter)
        if shortage is not None:
            self._stand(job, meter, shortage)
        return shortage is None

    def admit_again(self, job: Job) -> bool:
        """Reserve for another attempt at a remote call, as ``admit``."""
        meter = self._meter_of(job) if job.meter is not None else None
        shortage = self._reserve_call(job, meter) if meter is not None else None
        if meter is not None and shortage is not None:
            self._stand(job, meter, shortage)
        return shortage is None

    def _meter_of(self, job: Job) -> Meter | None:
        """Return a job's meter; one that has nothing reserved is its present owner's."""
        meter = job.meter
        if meter is None:
            return self._open(job)
        if not any(meter.reserved.values()):
            owner = self.state.actors.get(job.owner)
            if owner is None or owner.account is None:
                job.meter = None
                if job.request is not None:
                    job.request.allowance = NO_LIMIT
                return None
            meter.account = owner.account
        return meter

    def _open(self, job: Job) -> Meter | None:
        owner = self.state.actors.get(job.owner)
        if owner is None or owner.account is None or job.request is None:
            return None
        meter = job.meter = Meter(owner.account)
        if emitted := job.request.num_emitted:  # journaled, and charged, by an earlier kernel
            meter.charged = spent(job.model.spec, job.request.num_prompt, emitted)
            meter.allowance = emitted
        return meter

    def _reserve_call(self, job: Job, meter: Meter) -> Shortage | None:
        if meter.reserved:
            return None
        shortage = self.budgets.take(meter.account, meter.bound, job.id)
        if shortage is None:
            meter.reserved = dict(meter.bound)
        return shortage

    def _grow(self, job: Job, meter: Meter) -> Shortage | None:
        """Reserve the next slice, or as much of it as there is; pins yield if it is nothing."""
        shortage = self._grow_some(job, meter)
        while shortage is not None and shortage.resource == "kv_blocks":
            if not self._yield_pin(shortage):
                break
            shortage = self._grow_some(job, meter)
        return shortage

    def _grow_some(self, job: Job, meter: Meter) -> Shortage | None:
        """Reserve the next slice, or as much of it as there is; at least one token."""
        assert job.request is not None
        had, most = meter.allowance, job.sampling["max_tokens"]
        if had >= most:
            return None
        least, want = had + 1, min(had + SLICE, most)
        shortage = self._reserve_to(job, meter, want)
        if shortage is None or want == least:
            return shortage
        while least < want:  # the most tokens that there is budget for
            middle = (least + want + 1) // 2
            if self.budgets.tree.shortage(meter.account, self._needs(job, meter, middle)) is None:
                least = middle
            else:
                want = middle - 1
        return self._reserve_to(job, meter, least)

    def _reserve_to(self, job: Job, meter: Meter, tokens: int) -> Shortage | None:
        needs = self._needs(job, meter, tokens)
        shortage = self.budgets.take(meter.account, needs, job.id)
        if shortage is None:
            for resource, amount in needs.items():
                meter.reserved[resource] = meter.reserved.get(resource, 0) + amount
            meter.allowance = tokens
        return shortage

    def _needs(self, job: Job, meter: Meter, tokens: int) -> Amounts:
        """Return what more is to be reserved until the completion has so many tokens."""
        assert job.request is not None
        total = local_cost(job.model.spec, meter.block_size, job.request.num_prompt, tokens)
        needs = {}
        for resource, amount in total.items():
            more = amount - meter.reserved.get(resource, 0) - meter.charged.get(resource, 0)
            if more > 0:
                needs[resource] = more
        return needs

    # --- waiting --------------------------------------------------------------------------

    def _stand(self, job: Job, meter: Meter, shortage: Shortage) -> None:
        if job.call.request is not None and job.call.request.flags & _REFUSES:
            raise shortage.error()
        job.phase, job.engine = Phase.BUDGET, 0
        self._give_back(meter, _GIVEN_BACK)
        attempt = partial(self._try_again, job, meter)
        meter.waiter = self.budgets.wait(meter.account, job.id, attempt, shortage)
        self.state.counters.add("llm_held_for_budget")

    def _try_again(self, job: Job, meter: Meter) -> Shortage | None:
        shortage = self._reserve_call(job, meter) if meter.bound else self._grow(job, meter)
        if shortage is None:
            meter.waiter = None
            self._resume(job)
        return shortage

    def leave(self, job: Job) -> None:
        """A job waits for this budget no more: its owner has changed."""
        if job.meter is not None and job.meter.waiter is not None:
            self.budgets.give_up(job.meter.waiter)
            job.meter.waiter = None

    def after_step(self, engine: Engine) -> None:
        """A step has reported: charge what is journaled, reserve what comes next, or pause."""
        for job in list(engine.metered.values()):
            meter, request = job.meter, job.request
            if meter is None or request is None or job.id not in engine.jobs:
                engine.metered.pop(job.id, None)
                continue
            emitted = request.num_emitted
            saved = emitted if job.call.is_stream else self.log.num_folded(job.id)
            if saved:
                self._charge(job, meter, saved)
            if meter.allowance - emitted <= EARLY:
                self._go_on(engine, job, meter, emitted)

    def _go_on(self, engine: Engine, job: Job, meter: Meter, emitted: int) -> None:
        if meter.allowance >= job.sampling["max_tokens"]:
            return
        shortage = self._grow(job, meter)
        assert engine.scheduler is not None
        if shortage is None:
            engine.scheduler.extend(job.id, meter.allowance)
        elif meter.allowance == emitted:
            self._pause(engine, job, meter, shortage)

    def _pause(self, engine: Engine, job: Job, meter: Meter, shortage: Shortage) -> None:
        """Nothing more is reserved, and all of it has come: wait outside the engine."""
        assert engine.scheduler is not None
        assert job.request is not None
        engine.scheduler.cancel(job.id, self.state.now_ns)
        engine.jobs.pop(job.id)
        engine.metered.pop(job.id)
        self.log.fold(job.id, job.request.emitted)
        self._charge(job, meter, job.request.num_emitted)
        if job.call.request is not None and job.call.request.flags & _REFUSES:
            self._fail(job, shortage)
        else:
            self._stand(job, meter, shortage)

    # --- after ----------------------------------------------------------------------------

    def _charge(self, job: Job, meter: Meter, tokens: int) -> None:
        """Charge a completion's tokens so far; they were reserved."""
        assert job.request is not None
        total = spent(job.model.spec, job.request.num_prompt, tokens)
        if meter.charged and total["tokens"] <= meter.charged["tokens"]:
            return
        for resource, amount in total.items():
            more = amount - meter.charged.get(resource, 0)
            if more > 0:
                self.budgets.tree.settle(meter.account, resource, more, more)
                meter.reserved[resource] -= more
        meter.charged = total

    def settle_call(self, job: Job, prompt: int, completion: int) -> None:
        """An endpoint has said what a call has taken; beyond what was reserved it is overrun."""
        meter = job.meter
        if meter is None:
            return
        tree, reserved = self.budgets.tree, meter.reserved
        meter.reserved = {}
        taken = spent(job.model.spec, prompt, completion)
        for resource, amount in taken.items():  # first: an account that closes ends when settled
            over = amount - reserved.get(resource, 0)
            if over > 0 and tree.spend(meter.account, resource, over):
                self.state.counters.add("budget_overruns")
        for resource, amount in taken.items():
            held = reserved.get(resource, 0)
            tree.settle(meter.account, resource, held, min(held, amount))

    def charge_attempt(self, job: Job) -> None:
        """Nobody can know what a call has taken: all that was reserved counts as spent."""
        meter = job.meter
        if meter is not None:
            reserved, meter.reserved = meter.reserved, {}
            self.budgets.settle(meter.account, reserved)

    def release(self, job: Job) -> None:
        """A call has taken nothing, for certain."""
        if job.meter is not None:
            self._give_back(job.meter, tuple(job.meter.reserved))

    def close(self, job: Job) -> None:
        """A job has ended, in whichever way: charge what it has taken, let go of the rest."""
        meter, request = job.meter, job.request
        if meter is None:
            return
        if meter.waiter is not None:
            self.budgets.give_up(meter.waiter)
        if meter.bound:
            if job.phase is Phase.SENT or job.is_sent_before:
                self.charge_attempt(job)
        elif request is not None and (request.first_planned_ns or request.num_emitted):
            self._charge(job, meter, request.num_emitted)
        self.release(job)
        job.meter = None

    def _give_back(self, meter: Meter, resources: tuple[str, ...]) -> None:
        for resource in resources:
            amount = meter.reserved.pop(resource, 0)
            if amount:
                self.budgets.tree.settle(meter.account, resource, amount, 0)

    # --- recovery -------------------------------------------------------------------------

    def load(self, saved: dict[int, Saved]) -> None:
        """Reserve again what remote calls had that may have been sent, before anybody else."""
        for call_id, found in saved.items():
            held = found.facts.get("held")
            call = self.state.calls.get(call_id)
            owner = self.state.actors.get(call.owner) if call is not None else None
            if held and found.facts["sent"] and owner is not None and owner.account is not None:
                self.budgets.tree.reserve(owner.account, held)
                self._restored[call_id] = (owner.account, held)

    def restore(self, job: Job) -> None:
        """Give a recovered remote call its reservation."""
        account, held = self._restored.pop(job.id, (None, {}))
        if account is not None:
            job.meter = Meter(account, bound=held, reserved=dict(held))

    def settle_unclaimed(self) -> None:
        """Calls whose callers are gone may have been sent all the same: they count as spent."""
        for account, held in self._restored.values():
            self.budgets.settle(account, held)
        self._restored.clear()
