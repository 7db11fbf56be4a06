"""Replays a workload through the kernel's scheduler and block allocator, on a virtual clock.

The scheduler (kernel/llm/scheduler.py), its policy and the allocator are those of the live kernel;
only the engine is a cost model (bench/lab/engine.py). A step is planned when the one before has
reported; in life one plan is ahead, so a request is seen here up to one step sooner. What comes
during a step is seen by the next.

Two levels: exact, every step planned and reported; fast, where steps in which nothing changes are
taken in one go (bench/lab/fast_forward.py says what nothing means, and what may differ).

Promise: the same workload, policy and model give the same history; no clock, no randomness.
Cost: exact, about what a step costs the kernel (bench/llm_scheduler.py) and 50 us.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.lab.call import Call
from bench.lab.engine import LabEngine
from bench.lab.engine_model import EngineModel
from bench.lab.fast_forward import FastForward
from ipc.llm import Sampling
from kernel.llm.named_policies import NamedPolicies
from kernel.llm.request import Request
from kernel.llm.scheduler import Admission, Scheduler
from kernel.llm.tool_holds import ToolHolds
from kernel.policy.hold_time import HoldTimes

CHANGES = frozenset({"add", "drop", "prefill"})  # fields of a plan that is not of decodes alone
MAX_WAITING = 2_048  # more wait before the door, in the order in which they came


class Workload(Protocol):
    """Calls that come by themselves, and those that come because one has ended."""

    def first(self) -> Iterable[Call]:
        """Return the calls whose arrival is known from the start; a replay begins with it."""
        ...

    def after(self, call: Call, now_ns: int) -> Iterable[Call]:
        """Return the calls that come because one has just ended."""
        ...

    def tools(self, call: Call) -> Sequence[str]:
        """Return the tools that a call ends with calls of."""
        ...


class Recorded:
    """Recorded calls come when they came; none waits for another."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._calls = list(calls)

    def first(self) -> Iterable[Call]:
        """See ``Workload``."""
        return self._calls

    def after(self, call: Call, now_ns: int) -> Iterable[Call]:
        """See ``Workload``."""
        return ()

    def tools(self, call: Call) -> Sequence[str]:
        """See ``Workload``."""
        return ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call. alone_ns: how long it would have taken with nobody else there."""

    call: Call
    planned_ns: int
    first_token_ns: int
    ended_ns: int
    cached_tokens: int
    preemptions: int
    alone_ns: int

    @property
    def completion_ns(self) -> int:
        """From its arrival to its last token."""
        return self.ended_ns - self.call.arrival_ns


@dataclass(frozen=True, slots=True)
class History:
    """What a replay gave. busy_ns: time in steps.  exact, skipped: steps taken either way.

    drained_ns: when nobody waited any more for the first time; None: always somebody did.
    held_back: calls that stood before the door because MAX_WAITING were inside.
    refused: calls whose prompt the engine can never hold.
    """

    outcomes: list[Outcome]
    span_ns: int
    busy_ns: int
    exact: int
    skipped: int
    drained_ns: int | None
    held_back: int
    refused: list[Call]
    preemptions: int


class Replay:
    """See the module head; ``run`` once."""

    def __init__(
        self,
        workload: Workload,
        model: EngineModel,
        policy: str,
        *,
        is_exact: bool = False,
        eviction: str = "lru",
        admission: Admission = "known",
        max_tokens: int | None = None,
        hold_s: float = 0.0,
        hold_times: HoldTimes | None = None,
    ) -> None:
        """max_tokens: that callers allow. None: each call's own length, as far as traces say; what
                    is ordered or admitted by predicted length then knows more than in life.
        hold_s: most that a context is held while its tools are out.  hold_times: learned before.

        Raises: UnknownPolicyError: lists those there are.
        """
        self._workload = workload
        self._model = model
        self._scheduler = Scheduler(
            model.facts(),
            hash_key=bytes(16),
            policy=NamedPolicies(policy, guesses_all=admission == "expected")(),
            max_waiting=MAX_WAITING,
            eviction=eviction,
            admission=admission,
        )
        self._max_tokens = max_tokens
        self._holds = ToolHolds(hold_s, lambda _: self._scheduler, hold_times)
        self._engine = LabEngine(model)
        self._skipper = None if is_exact else FastForward(self._scheduler, self._engine, policy)
        self._coming: list[tuple[int, int, Call]] = []
        self._door: deque[Call] = deque()
        self._calls: dict[int, Call] = {}
        self._outcomes: list[Outcome] = []
        self._refused: list[Call] = []
        self._now_ns = self._busy_ns = 0
        self._exact = self._skipped = self._held_back = 0
        self._drained_ns: int | None = None

    def run(self) -> History:
        """Replay everything, to the end of the last call."""
        for call in self._workload.first():
            self._expect(call)
        while self._coming or self._calls or self._door:
            self._admit()
            if not self._step():
                if not self._coming:
                    break
                self._now_ns = max(self._now_ns, self._coming[0][0])
        assert not self._calls, f"{len(self._calls)} calls are stuck"
        return History(
            self._outcomes,
            self._now_ns,
            self._busy_ns,
            self._exact,
            self._skipped,
            self._drained_ns,
            self._held_back,
            self._refused,
            self._scheduler.statistics().preemptions,
        )

    def _expect(self, call: Call) -> None:
        heapq.heappush(self._coming, (call.arrival_ns, call.number, call))

    def _admit(self) -> None:
        while self._coming and self._coming[0][0] <= self._now_ns:
            self._door.append(heapq.heappop(self._coming)[2])
        while self._door and len(self._calls) < MAX_WAITING:
            self._add(self._door.popleft())
        self._held_back = max(self._held_back, len(self._door))

    def _add(self, call: Call) -> None:
        # The scheduler would end a completion where the context ends; such a call is no fair part
        # of a comparison, and a prompt that does not fit has no answer at all.
        if call.prompt_tokens + call.output_tokens > self._scheduler.limits.max_request_tokens:
            self._refused.append(call)
            return
        most = max(self._max_tokens or 0, call.output_tokens)
        sampling: Sampling = {"max_tokens": most, "seed": 0}
        self._engine.outputs[call.number + 1] = call.output_tokens
        request = Request(
            call.number + 1,
            call.owner,
            call.tokens(),
            sampling=sampling,
            arrival_ns=call.arrival_ns,
            call_site=call.call_site,
            program=call.program,
            priority=call.priority,
            parents=tuple(parent + 1 for parent in call.parents),
        )
        self._calls[request.id] = call
        self._holds.come(f"p{call.program}", self._now_ns)
        self._scheduler.add(request, self._now_ns)

    def _step(self) -> bool:
        """Take one step, or several that are alike; False: there is nothing to do."""
        self._scheduler.expire(self._now_ns)
        plan = self._scheduler.plan(self._now_ns)
        if plan is None:
            return False
        report, step_ns = self._engine.step(plan)
        self._exact += 1
        self._pass(step_ns)
        result = self._scheduler.report(report, self._now_ns)
        for request, _ in result.ended:
            self._end(request)
        if self._drained_ns is None and not self._waits():
            self._drained_ns = self._now_ns
        if self._skipper is not None and not result.ended:
            self._skip(self._skipper, is_plain=CHANGES.isdisjoint(plan))
        return True

    def _waits(self) -> bool:
        return bool(self._door) or self._scheduler.num_waiting > 0

    def _skip(self, skipper: FastForward, *, is_plain: bool) -> None:
        until_ns = self._coming[0][0] if self._coming else None
        steps, time_ns = skipper.take(self._now_ns, until_ns, is_plain=is_plain)
        self._skipped += steps
        self._pass(time_ns)

    def _pass(self, time_ns: int) -> None:
        self._now_ns += time_ns
        self._busy_ns += time_ns

    def _end(self, request: Request) -> None:
        call = self._calls.pop(request.id)
        del self._engine.outputs[request.id]
        self._outcomes.append(
            Outcome(
                call,
                request.first_planned_ns,
                request.first_token_ns,
                self._now_ns,
                request.cached_tokens,
                request.preemptions,
                self._model.alone_ns(call.prompt_tokens, call.output_tokens),
            )
        )
        tools = self._workload.tools(call)
        self._holds.end(request, 0, f"p{call.program}", tools, self._now_ns)
        for following in self._workload.after(call, self._now_ns):
            self._expect(following)
