"""Bad input to the KV-cache allocator: a typed error, and nothing has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ext import kv_errors as errors
from ext.kv_cache import MAX_BLOCK_SIZE, KVCache
from tests.ext.kv_cases import computed, handles, ids, new_cache, prompt, visible_state


class Scene:
    """A cache in use: two owners, a computed, a waiting and a swapped-out request, a pin."""

    def __init__(self) -> None:
        self.cache: KVCache = new_cache(instance=1)
        self.owner = self.cache.add_owner(quota=12)
        self.other = self.cache.add_owner(quota=2, floor=1)
        self.running = computed(self.cache, self.owner, prompt(10))
        self.waiting = self.cache.open(self.owner, prompt(9, 1))
        self.swapped = computed(self.cache, self.owner, prompt(6, 2))
        self.cache.swap_out(self.swapped, step=3)
        self.cache.complete(3)
        self.pin = self.cache.pin(self.running)
        self.greedy = self.cache.open(self.owner, prompt(60, 4))
        self.poor = self.cache.open(self.other, prompt(12, 5))
        self.requests = [self.running, self.waiting, self.swapped, self.greedy, self.poor]


def foreign_request() -> int:
    cache = new_cache(instance=2)
    return cache.open(cache.add_owner(), prompt(3))


def freed_request(scene: Scene) -> int:
    request = scene.cache.open(scene.owner, prompt(3))
    scene.cache.free(request)
    return request


REQUEST_CALLS: dict[str, Callable[[KVCache, int], Any]] = {
    "plan": lambda cache, r: cache.plan(r, 1),
    "plan_many": lambda cache, r: cache.plan_many(handles(r), ids(1)),
    "mark_computed": lambda cache, r: cache.mark_computed(r, 1),
    "rollback": lambda cache, r: cache.rollback(r, 1),
    "append": lambda cache, r: cache.append(r, ids(1)),
    "append_many": lambda cache, r: cache.append_many(handles(r), ids(1)),
    "advance_many": lambda cache, r: cache.advance_many(handles(r), ids(1), ids(1)),
    "truncate": lambda cache, r: cache.truncate(r, 1),
    "tokens": lambda cache, r: cache.tokens(r),
    "state": lambda cache, r: cache.state(r),
    "block_table": lambda cache, r: cache.block_table(r),
    "lookup": lambda cache, r: cache.lookup(r),
    "lookup_many": lambda cache, r: cache.lookup_many(handles(r)),
    "preempt": lambda cache, r: cache.preempt(r),
    "free": lambda cache, r: cache.free(r),
    "free_many": lambda cache, r: cache.free_many(handles(r)),
    "fork": lambda cache, r: cache.fork(r, 1, step=9),
    "swap_out": lambda cache, r: cache.swap_out(r, step=9),
    "swap_in": lambda cache, r: cache.swap_in(r, step=9),
    "pin": lambda cache, r: cache.pin(r),
    "demoted": lambda cache, r: cache.demoted(r),
    "promote": lambda cache, r: cache.promote(r, step=9),
}


@pytest.mark.parametrize("call", REQUEST_CALLS.values(), ids=REQUEST_CALLS)
@pytest.mark.parametrize("kind", ["freed", "foreign", "owner", "pin", "zero", "negative", "huge"])
def test_a_handle_that_is_no_open_request_is_refused(
    call: Callable[[KVCache, int], Any], kind: str
) -> None:
    scene = Scene()
    handle = {
        "freed": freed_request(scene),
        "foreign": foreign_request(),
        "owner": scene.owner,
        "pin": scene.pin,
        "zero": 0,
        "negative": -1,
        "huge": 2**63 - 1,
    }[kind]
    before = visible_state(scene.cache, scene.requests)

    with pytest.raises(errors.UnknownRequestError) as caught:
        call(scene.cache, handle)

    assert caught.value.handle == handle
    assert visible_state(scene.cache, scene.requests) == before


REFUSED_CALLS: dict[str, tuple[type[Exception], Callable[[Scene], Any]]] = {
    "plan nothing": (errors.CountError, lambda s: s.cache.plan(s.running, 0)),
    "plan less": (errors.CountError, lambda s: s.cache.plan(s.running, -5)),
    "plan on host": (errors.WrongTierError, lambda s: s.cache.plan(s.swapped, 1)),
    "plan too long": (errors.RequestTooLongError, lambda s: s.cache.plan(s.running, 55)),
    "plan over quota": (errors.QuotaExceededError, lambda s: s.cache.plan(s.poor, 12)),
    "plan out of blocks": (
        errors.OutOfBlocksError,
        lambda s: (s.cache.set_limits(s.owner), s.cache.plan(s.greedy, 60)),
    ),
    "compute too much": (errors.CountError, lambda s: s.cache.mark_computed(s.running, 1)),
    "compute nothing": (errors.CountError, lambda s: s.cache.mark_computed(s.running, 0)),
    "roll back computed": (errors.CountError, lambda s: s.cache.rollback(s.running, 1)),
    "append too much": (
        errors.RequestTooLongError,
        lambda s: s.cache.append(s.running, prompt(55)),
    ),
    "open too long": (errors.RequestTooLongError, lambda s: s.cache.open(s.owner, prompt(65))),
    "open with a stranger": (
        errors.UnknownOwnerError,
        lambda s: s.cache.open(s.running, prompt(3)),
    ),
    "truncate planned": (errors.CountError, lambda s: s.cache.truncate(s.running, 9)),
    "truncate to more": (errors.CountError, lambda s: s.cache.truncate(s.running, 11)),
    "truncate below zero": (errors.CountError, lambda s: s.cache.truncate(s.waiting, -1)),
    "tokens past the end": (errors.CountError, lambda s: s.cache.tokens(s.running, 0, 11)),
    "tokens backwards": (errors.CountError, lambda s: s.cache.tokens(s.running, 5, 4)),
    "step back": (errors.StepError, lambda s: s.cache.complete(2)),
    "free at step zero": (errors.CountError, lambda s: s.cache.free(s.running, last_step=0)),
    "fork no child": (errors.CountError, lambda s: s.cache.fork(s.running, 0, step=9)),
    "fork less": (errors.CountError, lambda s: s.cache.fork(s.running, -2, step=9)),
    "fork too many": (errors.TooManyRequestsError, lambda s: s.cache.fork(s.running, 4, step=9)),
    "fork on host": (errors.WrongTierError, lambda s: s.cache.fork(s.swapped, 1, step=9)),
    "fork in the past": (errors.StepError, lambda s: s.cache.fork(s.running, 1, step=3)),
    "fork over quota": (
        errors.QuotaExceededError,
        lambda s: s.cache.fork(s.running, 1, step=9, owner=s.other),
    ),
    "fork to a stranger": (
        errors.UnknownOwnerError,
        lambda s: s.cache.fork(s.running, 1, step=9, owner=7),
    ),
    "swap out twice": (errors.WrongTierError, lambda s: s.cache.swap_out(s.swapped, step=9)),
    "swap in the running": (errors.WrongTierError, lambda s: s.cache.swap_in(s.running, step=9)),
    "swap out nothing": (errors.WrongTierError, lambda s: s.cache.swap_out(s.waiting, step=9)),
    "swap in the past": (errors.StepError, lambda s: s.cache.swap_out(s.running, step=3)),
    "swap over host quota": (
        errors.QuotaExceededError,
        lambda s: (
            s.cache.set_limits(s.owner, quota=4, tier=1),
            s.cache.swap_out(s.running, step=9),
        ),
    ),
    "unpin a request": (errors.UnknownPinError, lambda s: s.cache.unpin(s.running)),
    "demote a request": (
        errors.UnknownPinError,
        lambda s: s.cache.demote(s.running, step=9),
    ),
    "demote in a step that has reported": (
        errors.StepError,
        lambda s: s.cache.demote(s.pin, step=3),
    ),
    "demote beyond the host quota": (
        errors.QuotaExceededError,
        lambda s: (
            s.cache.set_limits(s.owner, quota=3, tier=1),
            s.cache.demote(s.pin, step=9),
        ),
    ),
    "promote in a step that has reported": (
        errors.StepError,
        lambda s: s.cache.promote(s.waiting, step=3),
    ),
    "floor above quota": (
        errors.QuotaContradictionError,
        lambda s: s.cache.set_limits(s.owner, quota=3, floor=4),
    ),
    "floors above capacity": (
        errors.QuotaContradictionError,
        lambda s: s.cache.set_limits(s.owner, floor=16),
    ),
    "contradictory owner": (
        errors.QuotaContradictionError,
        lambda s: s.cache.add_owner(host_quota=1, host_floor=2),
    ),
    "negative quota": (errors.CountError, lambda s: s.cache.add_owner(quota=-1)),
    "negative floor": (errors.CountError, lambda s: s.cache.set_limits(s.owner, floor=-1)),
    "remove a busy owner": (errors.OwnerBusyError, lambda s: s.cache.remove_owner(s.owner)),
    "unknown tier": (ValueError, lambda s: s.cache.reset(2)),
    "put no block first": (errors.CountError, lambda s: s.cache.evict_first(ids(0, -1))),
    "put a block of nowhere first": (
        errors.CountError,
        lambda s: s.cache.evict_first(ids(1 << 20)),
    ),
    "arrays that do not pair": (
        errors.CountError,
        lambda s: s.cache.plan_many(handles(s.running), ids(1, 1)),
    ),
    "wrong dtype": (
        ValueError,
        lambda s: s.cache.open(s.owner, np.zeros(3, np.int64)),  # type: ignore[arg-type]
    ),
    "not contiguous": (ValueError, lambda s: s.cache.open(s.owner, prompt(8)[::2])),
    "no tokens at all": (TypeError, lambda s: s.cache.open(s.owner, None)),
}


@pytest.mark.parametrize(("error", "call"), REFUSED_CALLS.values(), ids=REFUSED_CALLS)
def test_a_refused_call_changes_nothing(
    error: type[Exception], call: Callable[[Scene], Any]
) -> None:
    scene = Scene()
    before = visible_state(scene.cache, scene.requests)

    with pytest.raises(error):
        call(scene)

    limits = {"quota": 12}  # some calls set a limit first
    scene.cache.set_limits(scene.owner, **limits)
    scene.cache.set_limits(scene.owner, tier=1)
    assert visible_state(scene.cache, scene.requests) == before


BATCH_CALLS: dict[str, Callable[[KVCache, Any], Any]] = {
    "plan_many": lambda cache, batch: cache.plan_many(batch, np.ones(len(batch), np.int32)),
    "append_many": lambda cache, batch: cache.append_many(batch, np.ones(len(batch), np.int32)),
    "advance_many": lambda cache, batch: cache.advance_many(
        batch, np.ones(len(batch), np.int32), np.ones(len(batch), np.int32)
    ),
    "lookup_many": lambda cache, batch: cache.lookup_many(batch),
    "free_many": lambda cache, batch: cache.free_many(batch),
    "mark_computed_many": lambda cache, batch: cache.mark_computed_many(
        batch, np.ones(len(batch), np.int32)
    ),
    "rollback_many": lambda cache, batch: cache.rollback_many(batch, np.ones(len(batch), np.int32)),
}


@pytest.mark.parametrize("call", BATCH_CALLS.values(), ids=BATCH_CALLS)
@pytest.mark.parametrize("bad", ["repeated", "unknown"])
def test_a_bad_handle_in_a_batch_refuses_the_whole_batch(
    call: Callable[[KVCache, Any], Any], bad: str
) -> None:
    scene = Scene()
    last = scene.running if bad == "repeated" else foreign_request()
    before = visible_state(scene.cache, scene.requests)

    with pytest.raises((errors.RepeatedRequestError, errors.UnknownRequestError)) as caught:
        call(scene.cache, handles(scene.running, scene.waiting, last))

    assert caught.value.index == 2
    assert visible_state(scene.cache, scene.requests) == before


def test_exhaustion_in_the_middle_of_a_batch_undoes_all_of_it_the_eviction_order_included() -> None:
    cache = new_cache(num_device_blocks=8, max_requests=16)
    owner = cache.add_owner()
    for seed in range(3):
        cache.free(computed(cache, owner, prompt(8, seed)))
    hit, small = cache.open(owner, prompt(9, 0)), cache.open(owner, prompt(4, 7))
    large = cache.open(owner, prompt(24, 8))
    before = visible_state(cache, [hit, small, large])

    with pytest.raises(errors.OutOfBlocksError) as caught:
        cache.plan_many(handles(hit, small, large), ids(9, 4, 24))

    assert (caught.value.index, caught.value.request) == (2, large)
    assert (caught.value.needed, caught.value.available, caught.value.missing) == (6, 4, 2)
    assert visible_state(cache, [hit, small, large]) == before
    cache.plan(cache.open(owner, prompt(12, 9)), 12)  # two free, then the oldest: seed 0's tail
    found = [cache.lookup(cache.open(owner, prompt(9, seed))) for seed in range(3)]
    assert found == [(4, 0), (8, 0), (8, 0)]


def test_a_decode_batch_over_the_quota_of_one_owner_plans_nothing() -> None:
    cache = new_cache()
    rich, poor = cache.add_owner(), cache.add_owner(quota=2)
    requests = [computed(cache, who, prompt(8, who % 97)) for who in (rich, poor)]
    before = visible_state(cache, requests)

    with pytest.raises(errors.QuotaExceededError) as caught:
        cache.plan_many(handles(*requests), ids(1, 1))

    assert (caught.value.owner, caught.value.index) == (poor, 1)
    assert visible_state(cache, requests) == before


@pytest.mark.parametrize(
    "settings",
    [
        {"block_size": 0},
        {"block_size": -4},
        {"block_size": MAX_BLOCK_SIZE + 1},
        {"num_device_blocks": 0},
        {"num_device_blocks": -1},
        {"num_host_blocks": -1},
        {"num_device_blocks": 1 << 30, "num_host_blocks": 1},
        {"max_requests": 0},
        {"max_requests": (1 << 24) + 1},
        {"max_tokens_per_request": 0},
        {"hash_key": b"short"},
        {"instance": -1},
        {"instance": 1 << 13},
        {"digest_bits": 129},
    ],
)
def test_a_cache_of_impossible_size_is_not_made(settings: dict[str, Any]) -> None:
    with pytest.raises(errors.CountError):
        new_cache(**settings)


def test_a_cache_is_set_up_once() -> None:
    cache = new_cache()

    with pytest.raises(RuntimeError, match="once"):
        cache.__init__(block_size=4, num_device_blocks=4, hash_key=bytes(16))  # type: ignore[misc]

    cache.check_integrity()
