"""Random histories of a scheduler against the model engine, whose results nothing may change.

Requests come, are cancelled, change priority; reports come late by up to one plan; pools and
quotas are tiny; engines die and their requests go on elsewhere. At the end each request has exactly
the tokens of an undisturbed run, once, and no block is held.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipc.errors import BadFrameError, LimitError, LlmQueueFullError, PromptTooLongError
from kernel.llm.policies import fcfs, priority
from tests.kernel.llm.world import World
from tests.reference.llm_engine import Nature
from tests.trials import trials

OWNERS = st.integers(1, 3)
# Prompts share prefixes often: a few stems, cut anywhere, with a few ends.
STEMS = [[1] * 40, [2, 3] * 20, list(range(40))]
PROMPTS = st.builds(
    lambda stem, cut, tail: STEMS[stem][:cut] + tail,
    st.integers(0, 2),
    st.integers(0, 40),
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
)


class Histories(RuleBasedStateMachine):
    world: World

    @initialize(
        block_size=st.sampled_from([1, 2, 4]),
        num_blocks=st.integers(6, 24),
        num_host_blocks=st.integers(0, 12),
        max_running=st.integers(1, 5),
        max_step_tokens=st.integers(1, 24),
        max_context=st.integers(8, 70),
        recompute=st.sampled_from([0.0, 10.0, 1000.0]),
        ends=st.sampled_from([0, 7]),
        fails=st.sampled_from([0, 0, 23]),
        policy=st.sampled_from([fcfs, priority]),
    )
    def begin(self, ends: int, fails: int, policy: Any, recompute: float, **facts: int) -> None:
        self.world = World(
            policy=policy(),
            nature=Nature(one_in_ends=ends, one_in_fails=fails),
            recompute_ns_per_token=recompute,
            swap_ns_per_block=5.0,
            waiting=12,
            **facts,
        )
        self.reports: list[Any] = []
        self.pins: list[int] = []

    @rule(
        prompt=PROMPTS,
        max_tokens=st.integers(1, 20),
        owner=OWNERS,
        priority=st.integers(0, 7),
        extra_key=st.integers(0, 1),
        family=st.integers(0, 2),
        stream=st.booleans(),
    )
    def add(self, prompt: list[int], **options: Any) -> None:
        try:
            self.world.add(prompt, **options)
        except (PromptTooLongError, LlmQueueFullError):
            self.world.extra_keys.popitem()

    @rule(choice=st.integers(0, 100))
    def cancel(self, choice: int) -> None:
        if live := self.world.scheduler.live():
            self.world.cancel(live[choice % len(live)])

    @rule(choice=st.integers(0, 100), priority=st.integers(0, 7))
    def reprioritise(self, choice: int, priority: int) -> None:
        if live := self.world.scheduler.live():
            request = live[choice % len(live)]
            self.world.scheduler.reprioritise(request.id, priority, self.world.tick())

    @rule()
    def plan(self) -> None:
        self.world.plan()

    @rule()
    def plan_one(self) -> None:
        """One plan only: the next may come before or after the report."""
        self.world.plan(at_most=1)

    @rule()
    def compute(self) -> None:
        if (report := self.world.compute()) is not None:
            self.reports.append(report)

    @rule()
    def report(self) -> None:
        if self.reports:
            self.world.report(self.reports.pop(0))

    @rule(steps=st.integers(1, 5))
    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.plan()
            self.compute()
            self.report()

    @precondition(lambda self: self.reports)
    @rule(how=st.sampled_from(["number", "rows", "token", "slot", "unended"]))
    def report_nonsense(self, how: str) -> None:
        report = copy.deepcopy(self.reports[0])
        if how == "number":
            report["plan"] += 1
        elif how == "rows":
            report["tokens"] += bytes(4)
        elif how == "token":
            if not report["tokens"]:
                return
            report["tokens"] = np.full(len(report["tokens"]) // 4, 50, "<i4").tobytes()
        elif how == "slot":
            report["texts"] = [[99, "text"]]
        else:
            if not report["ended"]:
                return
            report["ended"] = [{**report["ended"][0], "tokens": 1000}]
            if self.is_over(report["ended"][0]["slot"]):
                return
        with pytest.raises(BadFrameError):
            self.world.scheduler.report(report, self.world.tick())

    def is_over(self, slot: int) -> bool:
        flight = self.world.scheduler._shared.flights[0]
        return slot in flight.gone

    @rule(owner=OWNERS, quota=st.none() | st.integers(0, 16))
    def set_quota(self, owner: int, quota: int | None) -> None:
        self.world.set_quota(owner, quota)

    @rule(owner=OWNERS)
    def remove_owner(self, owner: int) -> None:
        for request in self.world.scheduler.live():
            if request.owner == owner:
                self.world.cancelled.add(request.id)
        self.world.scheduler.remove_owner(owner)
        self.world.quotas.pop(owner, None)

    @rule(choice=st.integers(0, 100), owner=OWNERS, ttl=st.integers(0, 200))
    def pin(self, choice: int, owner: int, ttl: int) -> None:
        if not self.world.requests:
            return
        requests = list(self.world.requests.values())
        request = requests[choice % len(requests)]
        until = self.world.now_ns + ttl
        try:
            pin = self.world.scheduler.pin(owner, request.ids, request.extra_key, until)
        except LimitError:
            return
        self.pins.append(pin)

    @rule(choice=st.integers(0, 100))
    def unpin(self, choice: int) -> None:
        if self.pins:
            self.world.scheduler.unpin(self.pins.pop(choice % len(self.pins)))

    @rule()
    def expire(self) -> None:
        self.world.scheduler.expire(self.world.tick())

    @rule()
    def replace_engine(self) -> None:
        self.reports.clear()
        self.pins.clear()
        self.world.replace_engine()

    @invariant()
    def blocks_add_up(self) -> None:
        self.world.scheduler.check_integrity()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        while self.reports or self.world.plans:
            self.compute()
            self.report()
        self.world.run(max_steps=3000)
        for pin in self.pins:
            self.world.scheduler.unpin(pin)
        self.world.check_results()


Histories.TestCase.settings = settings(
    max_examples=trials(100),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestHistories = Histories.TestCase
