"""A context that was copied to host memory and back gives the tokens it would have given anyway."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from kernel.llm.policies import fcfs
from kernel.llm.request import Request
from kernel.llm.scheduler import Scheduler
from tests.torch_engine.models import greedy
from tests.torch_engine.scheduler import assembled
from tests.torch_engine.test_architectures import OUTPUT, prompts


class Served:
    """The kernel's scheduler before a tiny model, one step after the other."""

    def __init__(self, name: str) -> None:
        self.engine = assembled(name, host_kv_bytes=1 << 20)
        facts = self.engine.facts | {
            "num_blocks": 24,
            "recompute_ns_per_token": 1000.0,
            "swap_ns_per_block": 1.0,
        }
        self.scheduler = Scheduler(facts, hash_key=bytes(16), policy=fcfs())
        self.requests = 0

    def complete(self, prompt: list[int]) -> Request:
        self.requests += 1
        sampling: Any = {"max_tokens": OUTPUT, "seed": 1, "ignore_stop_ids": True}
        request = Request(self.requests, 1, prompt, sampling=sampling)
        self.scheduler.add(request, self.requests)
        while (plan := self.scheduler.plan(self.requests)) is not None:
            result = self.engine.runner.run(plan)
            self.scheduler.report(self.engine.completions.report(result), self.requests)
        return request


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_tokens_after_a_demotion_are_those_without(name: str) -> None:
    served = Served(name)
    prompt = prompts()[2]
    first = served.complete(prompt)
    served.scheduler.demote(first, chance=1.0)
    for seed in (1, 2, 3):  # the pool is 96 tokens
        served.complete(prompts(seed)[2])

    again = served.complete([*first.ids.tolist(), 5, 6])

    assert served.scheduler.statistics().promoted > 0
    assert again.cached_tokens == (len(first.ids) - 1) // 4 * 4
    assert first.emitted.tolist() == greedy(name, prompt, OUTPUT)
    assert again.emitted.tolist() == greedy(name, [*first.ids.tolist(), 5, 6], OUTPUT)
