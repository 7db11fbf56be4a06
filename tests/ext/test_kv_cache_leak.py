"""Random operations in bulk return the KV-cache allocator to empty.

No oracle here: the histories are long, on caches of a realistic shape, and what must hold is that
nothing is left of them. The short run is part of every test run, the run of 10^6 operations of
`make soak`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import psutil
import pytest

from ext.kv_cache import KVCache
from ext.kv_errors import KVCacheError
from ext.kv_types import Tier
from tests.ext.kv_cases import KEY, ids
from tests.soak import share_of


class Churn:
    """Random calls, as a scheduler with trouble would make them."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.cache = KVCache(
            block_size=16,
            num_device_blocks=400,
            num_host_blocks=150,
            max_requests=48,
            max_tokens_per_request=1024,
            hash_key=KEY,
        )
        self.owners = [self.cache.add_owner(quota=250, floor=20 * i) for i in range(4)]
        self.requests: list[int] = []
        self.pins: list[int] = []
        self.step = 1
        self.refused = 0
        self.calls: list[Callable[[], None]] = [
            self.open, self.open, self.plan, self.plan, self.plan, self.decode, self.decode,
            self.free, self.fork, self.swap, self.preempt, self.rollback, self.pin, self.finish,
        ]  # fmt: skip

    def run(self, operations: int) -> None:
        for _ in range(operations):
            try:
                self.random.choice(self.calls)()
            except KVCacheError:
                self.refused += 1

    def pick(self) -> int:
        return self.random.choice(self.requests) if self.requests else 0

    def open(self) -> None:
        prefix, own = self.random.randrange(300), self.random.randrange(200)
        tokens = np.concatenate(
            [np.arange(prefix), self.random.randrange(9) * 10_000 + np.arange(own)]
        )
        owner = self.random.choice(self.owners)
        self.requests.append(self.cache.open(owner, tokens.astype(np.int32)))

    def plan(self) -> None:
        request = self.pick()
        self.cache.plan(request, self.random.randrange(1, 300))
        state = self.cache.state(request)
        if state.planned <= state.num_tokens and self.random.random() < 0.8:
            self.cache.mark_computed(request, state.planned - state.computed)

    def decode(self) -> None:
        batch = np.array(self.requests[:8], np.int64)
        self.cache.append_many(batch, np.ones(len(batch), np.int32))
        self.cache.plan_many(batch, np.ones(len(batch), np.int32))

    def free(self) -> None:
        request = self.pick()
        self.cache.free(request, last_step=self.random.choice([None, self.step + 1]))
        self.requests.remove(request)

    def fork(self) -> None:
        made = self.cache.fork(
            self.pick(), 2, step=self.step, owner=self.random.choice(self.owners)
        )
        self.requests += made.children.tolist()

    def swap(self) -> None:
        request = self.pick()
        if self.cache.state(request).tier is Tier.HOST:
            self.cache.swap_in(request, step=self.step)
        else:
            self.cache.swap_out(request, step=self.step)

    def preempt(self) -> None:
        self.cache.preempt(self.pick(), last_step=self.step)

    def rollback(self) -> None:
        self.cache.rollback(self.pick(), self.random.randrange(1, 20), last_step=self.step)

    def pin(self) -> None:
        self.pins.append(self.cache.pin(self.pick(), until_ns=self.step + 50))

    def finish(self) -> None:
        self.cache.complete(self.step)
        self.cache.expire_pins(self.step)
        self.step += 1

    def end(self) -> None:
        """Let go of everything."""
        if self.requests:
            self.cache.free_many(np.array(self.requests, np.int64), last_step=self.step)
        self.cache.complete(self.step)
        self.cache.expire_pins(self.step + 50)


def assert_returns_to_empty(churn: Churn) -> None:
    churn.end()
    churn.cache.check_integrity()
    statistics = churn.cache.statistics()
    assert statistics.num_requests == statistics.num_pins == statistics.num_retired == 0
    assert statistics.device.held == statistics.host.held == 0
    for accounts in statistics.owners.values():
        assert all(account.referenced == account.pinned == 0 for account in accounts)
    for tier in Tier:
        churn.cache.reset(tier)
    assert churn.cache.statistics().num_prefixes == 0
    assert churn.cache.statistics().device.free == 400
    assert churn.cache.statistics().host.free == 150
    churn.cache.check_integrity()


@pytest.mark.parametrize("seed", range(3))
def test_random_operations_return_to_empty(seed: int) -> None:
    churn = Churn(seed)

    for _ in range(5):
        churn.run(2_000)
        churn.cache.check_integrity()

    assert churn.refused < 7_000
    assert_returns_to_empty(churn)


@pytest.mark.soak
def test_a_million_random_operations_return_to_empty() -> None:
    churn = Churn(99)

    for _ in range(share_of(100)):
        churn.run(10_000)
        churn.cache.check_integrity()

    assert_returns_to_empty(churn)


def use_a_cache() -> None:
    cache = KVCache(block_size=16, num_device_blocks=4096, hash_key=KEY, max_requests=64)
    owner = cache.add_owner()
    request = cache.open(owner, ids(*range(100)))
    cache.plan(request, 100)
    cache.pin(request)
    cache.free(request, last_step=1)
    cache.check_integrity()


def test_a_cache_gives_its_memory_back() -> None:
    process = psutil.Process()
    for _ in range(50):
        use_a_cache()
    before = process.memory_info().rss

    for _ in range(500):
        use_a_cache()

    assert process.memory_info().rss - before < 16 << 20  # 500 caches hold 250 MiB
