"""A scheduler, the model engine, and what the requests were promised, driven step by step."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import numpy as np

from ipc.engine import Plan, Report
from kernel.llm.policies import Policy, priority
from kernel.llm.request import Request
from kernel.llm.scheduler import Admission, Scheduler
from kernel.llm.step_result import StepResult
from tests.reference.llm_engine import ModelEngine, Nature, expected, text_of

KEY = b"sixteen bytes..."
FACTS: dict[str, Any] = {
    "block_size": 4,
    "num_blocks": 64,
    "max_context": 200,
    "max_running": 4,
    "max_step_tokens": 32,
    "vocab_size": 50,
}


class World:
    """Requests are added by their prompt; `tokens`, `texts` and `ends` are what came of them."""

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        nature: Nature | None = None,
        eviction: str = "lru",
        admission: Admission = "known",
        plans_ahead: int = 1,
        first_request: int = 1,
        **facts: Any,
    ) -> None:
        self.eviction = eviction
        self.admission = admission
        self.plans_ahead = plans_ahead
        self.first_request = first_request
        self.facts = FACTS | facts
        self.nature = nature or Nature()
        self.policy = policy or priority()
        self.extra_keys: dict[int, int] = {}
        self.requests: dict[int, Request] = {}
        self.tokens: dict[int, list[int]] = {}
        self.texts: dict[int, str] = {}
        self.ends: dict[int, tuple[str, str | None]] = {}
        self.cancelled: set[int] = set()
        self.quotas: dict[int, int | None] = {}
        self.now_ns = 0
        self.start()

    def start(self) -> None:
        """A new engine, and a scheduler for it."""
        self.scheduler = Scheduler(
            self.facts,
            hash_key=KEY,
            policy=self.policy,
            max_waiting=self.facts.get("waiting", 64),
            eviction=self.eviction,
            admission=self.admission,
            plans_ahead=self.plans_ahead,
        )
        self.engine = ModelEngine(self.facts, self.nature, self.extra_keys)
        self.plans: deque[Plan] = deque()
        self.sent: list[Plan] = []
        for owner, quota in self.quotas.items():
            self.scheduler.set_quota(owner, quota)

    def replace_engine(self) -> None:
        """The engine dies, with every plan that is out; another takes over."""
        live = self.scheduler.live()
        self.start()
        for request in live:
            self.scheduler.add(request, self.tick())
        self._take(self.scheduler.take_ends())

    def tick(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def add(
        self, prompt: list[int], *, max_tokens: int = 8, owner: int = 1, **options: Any
    ) -> Request:
        number = self.first_request + len(self.requests)
        sampling = {"max_tokens": max_tokens, "seed": options.pop("seed", 3)}
        if "logprobs" in options:
            sampling["logprobs"] = options.pop("logprobs")
        request = Request(
            number, owner, prompt, sampling=sampling, arrival_ns=self.tick(), **options
        )
        self.extra_keys[number] = request.extra_key
        self.scheduler.add(request, self.now_ns)
        self.requests[number] = request
        self.tokens[number] = []
        self.texts[number] = ""
        self._take(self.scheduler.take_ends())
        return request

    def cancel(self, request: Request) -> None:
        self.cancelled.add(request.id)
        self.scheduler.cancel(request.id, self.tick())

    def set_quota(self, owner: int, quota: int | None) -> None:
        self.quotas[owner] = quota
        self.scheduler.set_quota(owner, quota)

    def plan(self, at_most: int = 3) -> Plan | None:
        """Plan as far ahead as may be; returns the last plan made, if any."""
        made = None
        for _ in range(at_most):
            plan = self.scheduler.plan(self.tick())
            if plan is None:
                break
            made = copy.deepcopy(plan)
            self.plans.append(made)
            self.sent.append(made)
            assert len(self.plans) <= 1 + self.plans_ahead
        self._take(self.scheduler.take_ends())
        self.scheduler.check_integrity()
        return made

    def compute(self) -> Report | None:
        """Let the engine carry out its next plan; None: it has none."""
        return self.engine.carry_out(self.plans.popleft()) if self.plans else None

    def report(self, report: Report) -> StepResult:
        result = self.scheduler.report(report, self.tick())
        self.scheduler.check_integrity()
        ids, tokens = result.request_ids.tolist(), result.tokens.tolist()
        for one, token, is_streamed in zip(ids, tokens, result.streams.tolist(), strict=True):
            assert one not in self.cancelled
            assert one not in self.ends
            assert is_streamed == self.requests[one].stream
            self.tokens[one].append(token)
        for request, text in result.texts:
            self.texts[request.id] += text
        for request, end in result.ended:
            assert end["tokens"] == request.num_emitted
            self._end(request, end["reason"], end["text"])
        self._take(result.ended_here)
        for request, _ in result.failed:
            self._end(request, "failed", None)
        return result

    def step(self) -> bool:
        """One plan ahead, one step: returns whether anything was done."""
        self.plan()
        report = self.compute()
        if report is not None:
            self.report(report)
        return report is not None

    def run(self, max_steps: int = 2000) -> int:
        """Until nothing is left to do; returns the number of steps."""
        for steps in range(max_steps):
            if not self.step():
                return steps
        raise AssertionError(f"{len(self.scheduler.live())} requests after {max_steps} steps")

    def check_results(self) -> None:
        """Each request got what an undisturbed run gives, and all blocks are let go."""
        assert self.scheduler.live() == []
        for request in self.requests.values():
            self.check_request(request)
        assert self.scheduler.statistics().used == 0

    def check_request(self, request: Request) -> None:
        prompt = request.ids[: request.num_prompt].tolist()
        wanted, reason = expected(
            self.nature, prompt, request.sampling, request.extra_key, request.max_tokens
        )
        got = self.tokens[request.id]
        assert request.emitted.tolist() == got
        assert got == wanted[: len(got)]
        if request.id in self.cancelled:
            return
        assert request.id in self.ends, f"request {request.id} did not end"
        how, text = self.ends[request.id]
        if how == "quota":
            return
        assert (got, how) == (wanted, reason)
        if request.stream and how != "failed":
            assert self.texts[request.id] == text == text_of(got)

    def _take(self, ended: list[tuple[Request, str]]) -> None:
        """Requests that the scheduler has ended: nobody has said what their tokens spell."""
        for request, reason in ended:
            self._end(request, reason, None)

    def _end(self, request: Request, how: str, text: str | None) -> None:
        assert request.id not in self.ends
        assert request.id not in self.cancelled
        self.ends[request.id] = (how, text)


def ints(plan: Plan, name: str, width: int = 1) -> list[Any]:
    """A field of a plan as numbers, or as rows of numbers."""
    values = np.frombuffer(plan.get(name, b""), "<i4")
    return values.tolist() if width == 1 else values.reshape(-1, width).tolist()


def prompt(length: int, seed: int = 0) -> list[int]:
    return [(7 * seed + i) % 50 for i in range(length)]


def added(plan: Plan) -> list[int]:
    """The requests that take a slot in a plan."""
    return [new["request"] for new in plan.get("add", [])]
