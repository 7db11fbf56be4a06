"""Long random histories under pressure, by seed: many requests, tiny pools, late reports.

Where the state machine of test_scheduler_model.py finds short histories, this finds deep ones.
"""

from __future__ import annotations

import random
from typing import Any

from ipc.errors import LimitError, LlmQueueFullError, PromptTooLongError
from kernel.llm.policies import fcfs, priority
from kernel.llm.request import Request
from tests.kernel.llm.world import World
from tests.reference.llm_engine import Nature


def new_world(rng: random.Random) -> World:
    block_size = rng.choice([1, 2, 4, 8])
    return World(
        policy=rng.choice([fcfs, priority])(),
        nature=Nature(one_in_ends=rng.choice([0, 0, 9, 30]), one_in_fails=rng.choice([0, 0, 60])),
        block_size=block_size,
        num_blocks=rng.randint(40, 160) // block_size,
        num_host_blocks=rng.choice([0, rng.randint(1, 100) // block_size]),
        max_running=rng.randint(1, 8),
        max_step_tokens=rng.randint(1, 40),
        max_context=rng.randint(20, 120),
        recompute_ns_per_token=rng.choice([0.0, 1.0, 1000.0]),
        swap_ns_per_block=5.0,
        waiting=20,
    )


class Storm:
    """One history."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = new_world(self.rng)
        self.reports: list[Any] = []
        self.pins: list[int] = []
        self.lag = self.rng.choice([0, 1])
        self.stems = [[self.rng.randrange(50) for _ in range(100)] for _ in range(3)]

    def run(self, num_events: int) -> World:
        events = [self.add, self.step, self.cancel, self.reprioritise, self.pin, self.unpin]
        events += [self.hold, self.demote]
        rare = [self.replace_engine, self.set_quota, self.remove_owner]
        for _ in range(num_events):
            event = self.rng.choices(events, [6, 30, 1, 1, 1, 1, 1, 1])[0]
            event()
            if self.rng.random() < 0.01:
                self.rng.choice(rare)()
        self.drain()
        return self.world

    def drain(self) -> None:
        while self.reports or self.world.plans:
            self.compute()
            self.take_report()
        self.world.run(max_steps=20_000)
        for pin in self.pins:
            self.world.scheduler.unpin(pin)
        for number in range(3):
            self.world.scheduler.release_hold(f"p{number}")
        self.world.run()
        self.world.check_results()

    def add(self) -> None:
        rng = self.rng
        number = rng.randrange(3)
        stem = self.stems[number][: rng.randrange(60)]
        prompt = stem + [rng.randrange(4) for _ in range(rng.randint(1, 4))]
        try:
            self.world.add(
                prompt,
                max_tokens=rng.randint(1, 60),
                owner=rng.randint(1, 3),
                priority=rng.choice([0, 4, 4, 4, 7]),
                extra_key=rng.choice([0, 0, 0, 1]),
                stream=rng.random() < 0.5,
                family=rng.choice([0, number + 1]),
            )
        except (PromptTooLongError, LlmQueueFullError):
            self.world.extra_keys.popitem()

    def step(self) -> None:
        self.world.plan(at_most=self.rng.choice([1, 2, 3]))
        self.compute()
        if len(self.reports) > self.lag or self.rng.random() < 0.3:
            self.take_report()

    def compute(self) -> None:
        report = self.world.compute()
        if report is not None:
            self.reports.append(report)

    def take_report(self) -> None:
        if self.reports:
            self.world.report(self.reports.pop(0))

    def cancel(self) -> None:
        if live := self.world.scheduler.live():
            self.world.cancel(self.rng.choice(live))

    def reprioritise(self) -> None:
        if live := self.world.scheduler.live():
            request = self.rng.choice(live)
            self.world.scheduler.reprioritise(request.id, self.rng.randrange(8), self.world.tick())

    def pin(self) -> None:
        if not self.world.requests:
            return
        request = self.rng.choice(list(self.world.requests.values()))
        until = self.world.now_ns + 200
        try:
            pin = self.world.scheduler.pin(
                self.rng.randint(1, 3), request.ids, request.extra_key, until
            )
        except (LimitError, PromptTooLongError):
            return
        self.pins.append(pin)

    def ended(self) -> Request | None:
        ended = [self.world.requests[one] for one in self.world.ends]
        return self.rng.choice(ended) if ended else None

    def hold(self) -> None:
        """Of three programs, which hold again and again, for some steps."""
        if (request := self.ended()) is not None:
            until = self.world.now_ns + self.rng.randrange(60)
            self.world.scheduler.hold(f"p{self.rng.randrange(3)}", request, until)

    def demote(self) -> None:
        if (request := self.ended()) is not None:
            self.world.scheduler.demote(request, self.rng.random())

    def unpin(self) -> None:
        self.world.scheduler.expire(self.world.tick())
        if self.pins:
            self.world.scheduler.unpin(self.pins.pop())

    def replace_engine(self) -> None:
        self.reports.clear()
        self.pins.clear()
        self.world.replace_engine()

    def set_quota(self) -> None:
        quota = self.rng.choice([None, None, self.rng.randrange(self.world.facts["num_blocks"])])
        self.world.set_quota(self.rng.randint(1, 3), quota)

    def remove_owner(self) -> None:
        owner = self.rng.randint(1, 3)
        for request in self.world.scheduler.live():
            if request.owner == owner:
                self.world.cancelled.add(request.id)
        self.world.scheduler.remove_owner(owner)
        self.world.quotas.pop(owner, None)
