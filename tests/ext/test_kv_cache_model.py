"""Random histories of the KV-cache allocator against tests/reference/kv_cache.py.

Every call is made on both; answers, refusals, block numbers, accounts, shares and lookups must be
equal after each step, and `check_integrity` must hold. The cache is so small, its tokens so few and
its digests sometimes so short that sharing, eviction, exhaustion and collisions are common.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ext.kv_cache import KVCache
from ext.kv_errors import BlocksError, KVCacheError
from tests.reference.kv_cache import DEVICE, ReferenceKVCache, Refused
from tests.soak import share_of
from tests.trials import trials

DEVICE_BLOCKS, HOST_BLOCKS, MAX_REQUESTS, MAX_TOKENS = 11, 6, 7, 17
TOKENS = st.lists(st.integers(0, 1), max_size=9)
PICK = st.integers(0, 1 << 30)
STEP = st.integers(0, 3)


def ids(values: list[int], kind: type = np.int32) -> np.ndarray:
    return np.array(values, kind)


class KVCacheMachine(RuleBasedStateMachine):
    """Holds the real cache, the oracle, and both handles of everything."""

    @initialize(size=st.sampled_from([1, 2, 3]), bits=st.sampled_from([0, 2, 128]))
    def create(self, size: int, bits: int) -> None:
        self.real = KVCache(
            block_size=size,
            num_device_blocks=DEVICE_BLOCKS,
            num_host_blocks=HOST_BLOCKS,
            max_requests=MAX_REQUESTS,
            max_tokens_per_request=MAX_TOKENS,
            hash_key=bytes(range(16)),
            digest_bits=bits,
        )
        self.model = ReferenceKVCache(size, DEVICE_BLOCKS, HOST_BLOCKS, MAX_REQUESTS, MAX_TOKENS)
        self.owners: dict[int, int] = {}  # oracle's handle -> real handle
        self.requests: dict[int, int] = {}
        self.pins: dict[int, int] = {}
        self.now = 0
        self.new_owner(None, 0)
        self.new_owner(8, 2)
        for pick in range(3):
            self.open(pick, [0, 1, 0, 1, 1, 0, 1][pick:], 0)

    def both(self, real: Callable[[], Any], model: Callable[[], Any]) -> tuple[Any, Any] | None:
        """Call both; None when both refuse, for the same reason."""
        refused = None
        try:
            expected = model()
        except Refused as refusal:
            refused = refusal
        if refused is None:
            return real(), expected
        with pytest.raises(KVCacheError) as caught:
            real()
        assert type(caught.value).__name__ == refused.name
        if isinstance(caught.value, BlocksError):
            assert caught.value.missing == refused.missing
        return None

    def request(self, pick: int) -> tuple[int, int]:
        """Real handle and oracle's handle of some request."""
        handle = list(self.requests)[pick % len(self.requests)]
        return self.requests[handle], handle

    def holder(self, pick: int) -> tuple[int, int]:
        """The same of some request with blocks, if there is one."""
        holding = [model for model in self.requests if self.model.requests[model].blocks]
        if not holding:
            return self.request(pick)
        handle = holding[pick % len(holding)]
        return self.requests[handle], handle

    def owner(self, pick: int) -> tuple[int, int]:
        handle = list(self.owners)[pick % len(self.owners)]
        return self.owners[handle], handle

    def last_step(self, ahead: int) -> tuple[int | None, int]:
        """A step to wait for, or none."""
        step = int(self.model.completed) + ahead if ahead else 0
        return step or None, step

    has_requests = precondition(lambda self: self.requests)

    @precondition(lambda self: len(self.owners) < 4)
    @rule(quota=st.none() | st.integers(0, 14), floor=st.integers(0, 6))
    def new_owner(self, quota: int | None, floor: int) -> None:
        limits = {} if quota is None else {"quota": quota}
        made = self.both(
            lambda: self.real.add_owner(quota=quota, floor=floor),
            lambda: self.model.add_owner(floor=floor, **limits),
        )
        if made:
            self.owners[made[1]] = made[0]

    @rule(pick=PICK, quota=st.integers(0, 14), floor=st.integers(0, 5), tier=st.integers(0, 1))
    def set_limits(self, pick: int, quota: int, floor: int, tier: int) -> None:
        real, model = self.owner(pick)
        self.both(
            lambda: self.real.set_limits(real, quota=quota, floor=floor, tier=tier),
            lambda: self.model.set_limits(model, quota, floor, tier),
        )

    @precondition(lambda self: len(self.owners) > 1)
    @rule(pick=PICK)
    def remove_owner(self, pick: int) -> None:
        real, model = self.owner(pick)
        if self.both(lambda: self.real.remove_owner(real), lambda: self.model.remove_owner(model)):
            del self.owners[model]
            self.forget_pins()

    @rule(pick=PICK, tokens=TOKENS, key=st.integers(0, 1))
    def open(self, pick: int, tokens: list[int], key: int) -> None:
        real, model = self.owner(pick)
        made = self.both(
            lambda: self.real.open(real, ids(tokens), extra_key=key),
            lambda: self.model.open(model, tokens, key),
        )
        if made:
            self.requests[made[1]] = made[0]

    @has_requests
    @rule(pick=PICK, tokens=TOKENS)
    def append(self, pick: int, tokens: list[int]) -> None:
        real, model = self.request(pick)
        self.both(
            lambda: self.real.append(real, ids(tokens)), lambda: self.model.append(model, tokens)
        )

    @has_requests
    @rule(tokens=st.lists(st.integers(0, 1), min_size=MAX_REQUESTS, max_size=MAX_REQUESTS))
    def append_to_all(self, tokens: list[int]) -> None:
        models = list(self.requests)
        tokens = tokens[: len(models)]

        def append_each() -> None:
            for model, token in zip(models, tokens, strict=True):
                self.model.append(model, [token])

        self.both(
            lambda: self.real.append_many(ids(list(self.requests.values()), np.int64), ids(tokens)),
            lambda: self.model.all_or_nothing(append_each),
        )

    @has_requests
    @rule(pick=PICK, keep=st.integers(0, MAX_TOKENS))
    def truncate(self, pick: int, keep: int) -> None:
        real, model = self.request(pick)
        self.both(lambda: self.real.truncate(real, keep), lambda: self.model.truncate(model, keep))

    @has_requests
    @rule(pick=PICK, limit=st.integers(0, 9))
    def plan(self, pick: int, limit: int) -> None:
        real, model = self.request(pick)
        planned = self.both(
            lambda: self.real.plan(real, limit), lambda: self.model.plan_many([model], [limit])
        )
        if planned:
            assert tuple(planned[0]) == planned[1][0]

    @has_requests
    @rule(
        order=st.permutations(range(MAX_REQUESTS)),
        limits=st.lists(st.integers(1, 6), min_size=MAX_REQUESTS, max_size=MAX_REQUESTS),
        count=st.integers(1, MAX_REQUESTS),
    )
    def plan_batch(self, order: list[int], limits: list[int], count: int) -> None:
        models = [list(self.requests)[i] for i in order if i < len(self.requests)][:count]
        reals = ids([self.requests[model] for model in models], np.int64)
        limits = limits[: len(models)]
        planned = self.both(
            lambda: self.real.plan_many(reals, ids(limits)),
            lambda: self.model.plan_many(models, limits),
        )
        if planned:
            batch, expected = planned
            assert list(zip(batch.starts, batch.num_tokens, strict=True)) == expected
            for row, blocks, model in zip(batch.rows, batch.num_blocks, models, strict=True):
                expected_blocks = self.model.requests[model].blocks
                assert list(self.real.block_tables[row, :blocks]) == expected_blocks

    @has_requests
    @rule(order=st.permutations(range(MAX_REQUESTS)), count=st.integers(1, MAX_REQUESTS))
    def plan_decodes(self, order: list[int], count: int) -> None:
        models = [list(self.requests)[i] for i in order if i < len(self.requests)][:count]
        reals = ids([self.requests[model] for model in models], np.int64)
        labels = ids([7 + model for model in models], np.int64)
        had = [len(self.model.requests[model].blocks) for model in models]
        planned = self.both(
            lambda: self.real.plan_decodes(reals, labels),
            lambda: self.model.plan_many(models, [1] * len(models)),
        )
        if planned:
            expected = []
            for model, (start, _), num_blocks in zip(models, planned[1], had, strict=True):
                attached = num_blocks or start // self.model.size  # from the cache: nothing new
                taken = self.model.requests[model].blocks[attached:]
                expected += [part for block in taken for part in (7 + model, block)]
            assert np.frombuffer(planned[0], np.int32).tolist() == expected

    @has_requests
    @rule(pick=PICK, limit=st.integers(1, 9), keep=st.integers(0, 4))
    def begin(self, pick: int, limit: int, keep: int) -> None:
        real, model = self.request(pick)
        request = self.model.requests[model]
        cached, computing = self.model.lookup(model)
        needed = -(-len(request.tokens) // self.model.size) - cached // self.model.size
        is_fit = not computing and needed + keep <= self.model.available(DEVICE)
        begun = self.real.begin(real, limit, keep)
        planned = None
        if is_fit and not request.blocks:
            with contextlib.suppress(Refused):
                planned = self.model.plan_many([model], [limit])[0]
        if planned is None:
            assert begun is None
        else:
            assert begun == (*planned, ids(request.blocks).tobytes())

    @has_requests
    @rule(pick=PICK, share=st.integers(0, 9))
    def mark_computed(self, pick: int, share: int) -> None:
        real, model = self.holder(pick)
        request = self.model.requests[model]
        limit = min(request.planned, len(request.tokens)) - request.computed
        count = share * (limit + 1) // 8  # none, some, all, or one too many
        self.both(
            lambda: self.real.mark_computed(real, count),
            lambda: self.model.mark_computed(model, count),
        )

    @has_requests
    @rule(
        tokens=st.lists(st.integers(0, 1), min_size=MAX_REQUESTS, max_size=MAX_REQUESTS),
        share=st.integers(1, 9),
    )
    def advance(self, tokens: list[int], share: int) -> None:
        """A token for each that has something to be marked, and that marked, as a step reports."""
        models, counts = [], []
        for model, request in self.model.requests.items():
            limit = min(request.planned, len(request.tokens) + 1) - request.computed
            if limit > 0:
                models.append(model)
                counts.append(max(1, share * (limit + 1) // 8))  # some, all, or one too many
        reals = ids([self.requests[model] for model in models], np.int64)

        def advance_each() -> None:
            for model, token, count in zip(models, tokens, counts, strict=False):
                self.model.append(model, [token])
                self.model.mark_computed(model, count)

        self.both(
            lambda: self.real.advance_many(reals, ids(tokens[: len(models)]), ids(counts)),
            lambda: self.model.all_or_nothing(advance_each),
        )

    @has_requests
    @rule(pick=PICK, limit=st.integers(1, MAX_TOKENS))
    def plan_and_compute(self, pick: int, limit: int) -> None:
        self.plan(pick, limit)
        real, model = self.request(pick)
        request = self.model.requests[model]
        count = min(request.planned, len(request.tokens)) - request.computed
        self.both(
            lambda: self.real.mark_computed(real, count),
            lambda: self.model.mark_computed(model, count),
        )

    @has_requests
    @rule(pick=PICK, share=st.integers(0, 9), ahead=STEP)
    def rollback(self, pick: int, share: int, ahead: int) -> None:
        real, model = self.holder(pick)
        request = self.model.requests[model]
        count = share * (request.planned - request.computed + 1) // 8
        last_step, step = self.last_step(ahead)
        self.both(
            lambda: self.real.rollback(real, count, last_step=last_step),
            lambda: self.model.rollback(model, count, step),
        )

    @has_requests
    @rule(pick=PICK, ahead=STEP)
    def preempt(self, pick: int, ahead: int) -> None:
        real, model = self.request(pick)
        last_step, step = self.last_step(ahead)
        self.both(
            lambda: self.real.preempt(real, last_step=last_step),
            lambda: self.model.preempt(model, step),
        )

    @has_requests
    @rule(pick=PICK, ahead=STEP)
    def free(self, pick: int, ahead: int) -> None:
        real, model = self.request(pick)
        last_step, step = self.last_step(ahead)
        self.both(
            lambda: self.real.free(real, last_step=last_step),
            lambda: self.model.free(model, step),
        )
        del self.requests[model]

    @rule(ahead=st.integers(-1, 2))
    def complete(self, ahead: int) -> None:
        step = int(self.model.completed) + ahead
        self.both(lambda: self.real.complete(step), lambda: self.model.complete(step))

    @has_requests
    @rule(pick=PICK, owner=PICK, children=st.integers(0, 3), ahead=STEP)
    def fork(self, pick: int, owner: int, children: int, ahead: int) -> None:
        real, model = self.holder(pick)
        real_owner, model_owner = self.owner(owner)
        step = int(self.model.completed) + ahead
        made = self.both(
            lambda: self.real.fork(real, children, step=step, owner=real_owner),
            lambda: self.model.fork(model, children, step, model_owner),
        )
        if made:
            forked, (handles, copies) = made
            assert [tuple(pair) for pair in forked.copies] == copies
            self.requests.update(zip(handles, map(int, forked.children), strict=True))

    @has_requests
    @rule(pick=PICK, tier=st.integers(0, 1), ahead=STEP)
    def swap(self, pick: int, tier: int, ahead: int) -> None:
        real, model = self.holder(pick)
        step = int(self.model.completed) + ahead
        move = self.real.swap_out if tier else self.real.swap_in
        made = self.both(lambda: move(real, step=step), lambda: self.model.swap(model, tier, step))
        if made:
            assert [tuple(pair) for pair in made[0]] == made[1]

    @has_requests
    @rule(pick=PICK, ttl=st.integers(0, 5))
    def pin(self, pick: int, ttl: int) -> None:
        real, model = self.holder(pick)
        made = self.both(
            lambda: self.real.pin(real, until_ns=self.now + ttl),
            lambda: self.model.all_or_nothing(lambda: self.model.pin(model, self.now + ttl)),
        )
        if made:
            self.pins[made[1]] = made[0]

    @precondition(lambda self: self.pins)
    @rule(pick=PICK, ahead=STEP)
    def demote(self, pick: int, ahead: int) -> None:
        model = list(self.pins)[pick % len(self.pins)]
        step = int(self.model.completed) + ahead
        made = self.both(
            lambda: self.real.demote(self.pins[model], step=step),
            lambda: self.model.demote(model, step),
        )
        if made:
            assert [tuple(pair) for pair in made[0]] == made[1]
        self.forget_pins()

    @has_requests
    @rule(pick=PICK, ahead=STEP)
    def promote(self, pick: int, ahead: int) -> None:
        real, model = self.request(pick)
        assert self.real.demoted(real) == self.model.demoted(model)
        step = int(self.model.completed) + ahead
        made = self.both(
            lambda: self.real.promote(real, step=step), lambda: self.model.promote(model, step)
        )
        if made:
            assert [tuple(pair) for pair in made[0]] == made[1]

    @precondition(lambda self: self.pins)
    @rule(pick=PICK)
    def unpin(self, pick: int) -> None:
        model = list(self.pins)[pick % len(self.pins)]
        self.both(lambda: self.real.unpin(self.pins[model]), lambda: self.model.unpin(model))
        self.forget_pins()

    @rule(elapsed=st.integers(0, 3))
    def expire_pins(self, elapsed: int) -> None:
        self.now += elapsed
        expired = self.both(
            lambda: self.real.expire_pins(self.now), lambda: self.model.expire_pins(self.now)
        )
        assert expired is not None
        assert expired[0] == expired[1]
        self.forget_pins()

    def forget_pins(self) -> None:
        self.pins = {model: real for model, real in self.pins.items() if model in self.model.pins}

    @rule(blocks=st.lists(st.integers(-1, DEVICE_BLOCKS), max_size=6), tier=st.integers(0, 1))
    def evict_first(self, blocks: list[int], tier: int) -> None:
        moved = self.both(
            lambda: self.real.evict_first(ids(blocks), tier=tier),
            lambda: self.model.evict_first(blocks, tier),
        )
        assert moved is None or moved[0] == moved[1]

    @rule(tier=st.integers(0, 1), really=st.integers(0, 7))
    def reset(self, tier: int, really: int) -> None:
        if really == 0:
            self.both(lambda: self.real.reset(tier), lambda: self.model.reset(tier))
            self.forget_pins()

    @invariant()
    def nothing_is_broken(self) -> None:
        if hasattr(self, "real"):
            self.real.check_integrity()

    @invariant()
    def requests_agree(self) -> None:
        for model, real in getattr(self, "requests", {}).items():
            expected = self.model.requests[model]
            state = self.real.state(real)
            assert list(self.real.block_table(real)) == expected.blocks
            assert (state.planned, state.computed) == (expected.planned, expected.computed)
            assert (state.tier, state.owner) == (expected.tier, self.real_owner(expected.owner))
            assert list(self.real.tokens(real)) == expected.tokens
            assert tuple(self.real.lookup(real)) == self.model.lookup(model)

    def real_owner(self, model: int) -> int:
        return self.owners[model]

    @invariant()
    def accounts_agree(self) -> None:
        for tier in range(2 if hasattr(self, "real") else 0):
            shares = self.real.equal_shares(tier)
            for model, real in self.owners.items():
                account = self.real.account(real, tier)
                counts = (account.referenced, account.alone, account.pinned, account.cached)
                assert counts == self.model.account(model, tier)
                assert shares[real] == pytest.approx(float(self.model.equal_shares(tier)[model]))

    @invariant()
    def places_agree(self) -> None:
        if hasattr(self, "real"):
            statistics = self.real.statistics()
            for tier, occupancy in enumerate((statistics.device, statistics.host)):
                assert occupancy.free == len(self.model.free_blocks[tier])
                assert occupancy.cached == len(self.model.cached[tier])
                assert occupancy.evictions == self.model.evictions[tier]
            assert statistics.num_retired == len(self.model.retired)
            assert statistics.num_pins == len(self.model.pins)


class TestKVCacheAgainstReference(KVCacheMachine.TestCase):
    settings = settings(
        max_examples=trials(60),
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def weighted_steps(random: Random) -> dict[str, tuple[int, dict[str, Any]]]:
    """Weight and arguments of each rule: hypothesis alone seldom gets deep into a busy cache."""
    pick, ahead, tier = random.getrandbits(20), random.randrange(4), random.randrange(2)
    tokens = [random.randrange(2) for _ in range(random.randrange(10))]
    limits = [random.randrange(1, 7) for _ in range(MAX_REQUESTS)]
    return {
        "open": (9, {"pick": pick, "tokens": tokens, "key": random.random() < 0.1}),
        "append": (3, {"pick": pick, "tokens": tokens[:3]}),
        "append_to_all": (2, {"tokens": [random.randrange(2) for _ in range(MAX_REQUESTS)]}),
        "truncate": (1, {"pick": pick, "keep": random.randrange(MAX_TOKENS)}),
        "plan": (6, {"pick": pick, "limit": random.randrange(9)}),
        "plan_and_compute": (12, {"pick": pick, "limit": random.randrange(1, 9)}),
        "plan_batch": (
            5,
            {
                "order": random.sample(range(MAX_REQUESTS), MAX_REQUESTS),
                "limits": limits,
                "count": random.randrange(1, 4),
            },
        ),
        "plan_decodes": (
            3,
            {
                "order": random.sample(range(MAX_REQUESTS), MAX_REQUESTS),
                "count": random.randrange(1, 4),
            },
        ),
        "begin": (6, {"pick": pick, "limit": random.randrange(1, 9), "keep": random.randrange(5)}),
        "mark_computed": (9, {"pick": pick, "share": random.randrange(10)}),
        "advance": (
            4,
            {
                "tokens": [random.randrange(2) for _ in range(MAX_REQUESTS)],
                "share": random.randrange(1, 10),
            },
        ),
        "rollback": (3, {"pick": pick, "share": random.randrange(9), "ahead": ahead}),
        "preempt": (3, {"pick": pick, "ahead": ahead}),
        "free": (7, {"pick": pick, "ahead": ahead}),
        "complete": (4, {"ahead": ahead - 1}),
        "fork": (4, {"pick": pick, "owner": pick, "children": ahead, "ahead": ahead}),
        "swap": (6, {"pick": pick, "tier": tier, "ahead": ahead}),
        "pin": (4, {"pick": pick, "ttl": random.randrange(6)}),
        "unpin": (1, {"pick": pick}),
        "demote": (4, {"pick": pick, "ahead": ahead}),
        "promote": (6, {"pick": pick, "ahead": ahead}),
        "expire_pins": (2, {"elapsed": random.randrange(4)}),
        "new_owner": (1, {"quota": random.randrange(15), "floor": random.randrange(4)}),
        "remove_owner": (1, {"pick": pick}),
        "set_limits": (
            1,
            {"pick": pick, "quota": 6 + pick % 9, "floor": random.randrange(4), "tier": tier},
        ),
        "evict_first": (
            4,
            {
                "blocks": random.choices(
                    range(HOST_BLOCKS if tier else DEVICE_BLOCKS), k=random.randrange(5)
                ),
                "tier": tier,
            },
        ),
        "reset": (1, {"tier": tier, "really": random.randrange(4)}),
    }


def is_possible(machine: KVCacheMachine, name: str) -> bool:
    """What the rules' preconditions say."""
    if name in ("unpin", "demote", "remove_owner", "new_owner"):
        return {
            "unpin": bool(machine.pins),
            "demote": bool(machine.pins),
            "remove_owner": len(machine.owners) > 1,
            "new_owner": len(machine.owners) < 4,
        }[name]
    return bool(machine.requests) or name in (
        "open",
        "complete",
        "expire_pins",
        "set_limits",
        "evict_first",
        "reset",
    )


def run_history(seed: int, steps: int) -> None:
    random = Random(seed)
    machine = KVCacheMachine()
    machine.create(size=random.randrange(1, 4), bits=random.choice([0, 2, 128]))
    for _ in range(steps):
        table = weighted_steps(random)
        names = [name for name in table if is_possible(machine, name)]
        name = random.choices(names, [table[name][0] for name in names])[0]
        getattr(machine, name)(**table[name][1])
        machine.nothing_is_broken()
        machine.requests_agree()
        machine.accounts_agree()
        machine.places_agree()


@pytest.mark.parametrize("seed", range(20))
def test_weighted_histories_agree_with_the_reference(seed: int) -> None:
    run_history(seed, steps=120)


@pytest.mark.soak
@pytest.mark.parametrize("first_seed", range(1000, 3000, 100))
def test_many_weighted_histories_agree_with_the_reference(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + share_of(100)):
        run_history(seed, steps=400)
