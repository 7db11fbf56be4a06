"""The promises of the KV-cache allocator, one by one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ext.kv_cache import KVCache
from ext.kv_errors import OutOfBlocksError, QuotaExceededError
from ext.kv_types import Account, Tier
from tests.ext.kv_cases import computed, handles, ids, new_cache, prompt, visible_state


def test_blocks_of_a_finished_request_are_found_by_the_next_with_the_same_prefix() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    first = computed(cache, owner, prompt(11))
    blocks = cache.block_table(first).tolist()
    assert np.frombuffer(cache.block_bytes(first), np.int32).tolist() == blocks
    cache.free(first)

    second = cache.open(owner, prompt(14))

    assert cache.plan(second, 14) == (8, 6)
    assert cache.block_table(second)[:2].tolist() == blocks[:2]


def test_one_token_is_always_left_to_compute() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    cache.free(computed(cache, owner, prompt(8)))

    again = cache.open(owner, prompt(8))

    assert cache.lookup(again) == (4, 0)
    assert cache.plan(again, 8) == (4, 4)


def test_planned_blocks_are_not_shared_until_their_step_has_reported() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    first, second = (cache.open(owner, prompt(12)) for _ in range(2))
    cache.plan(first, 10)

    assert cache.lookup(second) == (0, 8)
    cache.mark_computed(first, 4)
    assert cache.lookup(second) == (4, 4)
    cache.rollback(first, 6)
    assert cache.lookup(second) == (4, 0)


def test_a_failed_request_publishes_nothing_of_its_step() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    failed = cache.open(owner, prompt(12))
    cache.plan(failed, 12)

    cache.free(failed)

    assert cache.lookup(cache.open(owner, prompt(12))) == (0, 0)
    assert cache.statistics().device.free == 16


def test_different_extra_keys_never_share() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    computed(cache, owner, prompt(12), extra_key=1)

    assert cache.lookup(cache.open(owner, prompt(12), extra_key=2)) == (0, 0)
    assert cache.lookup(cache.open(owner, prompt(12), extra_key=1)) == (8, 0)


@pytest.mark.parametrize("digest_bits", [0, 1, 3])
def test_colliding_digests_never_share_a_block(digest_bits: int) -> None:
    cache = new_cache(digest_bits=digest_bits, num_device_blocks=64)
    owner = cache.add_owner()
    requests = [computed(cache, owner, prompt(9, seed)) for seed in range(7)]

    tables = [cache.block_table(request).tolist() for request in requests]

    assert len({block for table in tables for block in table}) == 21
    same = cache.open(owner, prompt(9, 3))
    assert cache.lookup(same) == (8, 0)
    cache.plan(same, 9)
    assert cache.block_table(same)[:2].tolist() == tables[3][:2]
    cache.check_integrity()


def test_equal_blocks_below_different_parents_are_different_blocks() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    computed(cache, owner, ids(1, 1, 1, 1, 7, 7, 7, 7, 0))

    other = cache.open(owner, ids(2, 2, 2, 2, 7, 7, 7, 7, 0))

    assert cache.lookup(other) == (0, 0)


def test_hashing_as_tokens_arrive_equals_hashing_at_once() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    whole = computed(cache, owner, prompt(23))
    pieces = cache.open(owner, prompt(0))

    for start, stop in ((0, 1), (1, 3), (3, 4), (4, 13), (13, 22)):
        cache.append(pieces, prompt(23)[start:stop])
    cache.append_many(handles(pieces), ids(22))

    assert cache.tokens(pieces).tolist() == cache.tokens(whole).tolist()
    assert cache.lookup(pieces) == (20, 0)
    assert cache.digests(prompt(23)).shape == (5, 2)


def test_eviction_takes_the_oldest_request_first_and_its_tail_before_its_head() -> None:
    cache = new_cache(num_device_blocks=6)
    owner = cache.add_owner()
    for seed in (1, 2):
        cache.free(computed(cache, owner, prompt(12, seed)))

    computed(cache, owner, prompt(8, 3))

    assert cache.lookup(cache.open(owner, prompt(13, 1))) == (4, 0)
    assert cache.lookup(cache.open(owner, prompt(13, 2))) == (12, 0)
    assert cache.statistics().device.evictions == 2


def test_a_policy_may_name_the_blocks_that_go_first() -> None:
    """Two finished requests and a running one; the younger one's blocks are put first."""
    cache = new_cache()
    owner = cache.add_owner()
    running = computed(cache, owner, prompt(4, 9))
    older, younger = (computed(cache, owner, prompt(8, start)) for start in (0, 5))
    named = cache.block_table(younger).tolist()
    held = cache.block_table(running).tolist()
    num_free = cache.statistics().device.free
    cache.free(older)
    cache.free(younger)

    assert cache.evict_first(ids(named[1], held[0], named[0])) == 2
    assert cache.evict_first(ids()) == 0
    cache.check_integrity()
    taker = cache.open(owner, prompt((num_free + 2) * 4, 3))
    cache.plan(taker, (num_free + 2) * 4)

    assert cache.block_table(taker).tolist()[num_free:] == [named[1], named[0]]
    assert cache.lookup(cache.open(owner, prompt(9, 0))) == (8, 0)


def test_a_batch_does_not_evict_the_prefix_it_is_about_to_use() -> None:
    cache = new_cache(num_device_blocks=6)
    owner = cache.add_owner()
    cache.free(computed(cache, owner, prompt(12, 1)))
    big, hit = cache.open(owner, prompt(8, 2)), cache.open(owner, prompt(13, 1))

    planned = cache.plan_many(handles(big, hit), ids(8, 8))

    assert planned.starts.tolist() == [0, 12]
    assert planned.num_tokens.tolist() == [8, 1]
    assert planned.num_new.tolist() == [2, 1]


def test_decode_plans_placeholders_ahead_of_the_tokens_that_fill_them() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    request = computed(cache, owner, prompt(7))

    assert cache.plan(request, 1) == (7, 1)
    assert cache.plan(request, 1) == (8, 1)
    cache.append(request, ids(70, 80))
    cache.mark_computed(request, 2)

    assert len(cache.block_table(request)) == 3
    follower = cache.open(owner, np.append(prompt(7), ids(70, 80)).astype(np.int32))
    assert cache.lookup(follower) == (8, 0)


def test_fork_shares_full_blocks_and_copies_the_partial_one() -> None:
    cache = new_cache()
    owner, other = cache.add_owner(), cache.add_owner()
    parent = computed(cache, owner, prompt(10))
    table = cache.block_table(parent).tolist()

    children, copies = cache.fork(parent, 2, step=1, owner=other)

    tables = [cache.block_table(child).tolist() for child in children.tolist()]
    assert [each[:2] for each in tables] == [table[:2]] * 2
    assert copies.tolist() == [[table[2], each[2]] for each in tables]
    assert cache.account(owner) == Account(3, 1, 0, 0, None, 0)
    assert cache.account(other) == Account(4, 2, 0, 0, None, 0)
    assert cache.equal_shares() == {owner: 2.0, other: 3.0}


def test_the_source_of_a_copy_outlives_its_request_until_the_step_has_reported() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    parent = computed(cache, owner, prompt(10))
    cache.fork(parent, 1, step=5)

    cache.free(parent)

    assert cache.account(owner).referenced == 4
    cache.complete(4)
    assert cache.account(owner).referenced == 4
    cache.complete(5)
    assert cache.account(owner).referenced == 3


def test_blocks_are_released_when_the_last_step_that_touches_them_has_reported() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    request = computed(cache, owner, prompt(6))

    cache.free(request, last_step=3)

    assert cache.statistics().device.held == 2
    assert cache.statistics().num_retired == 1
    cache.complete(3)
    assert (cache.statistics().device.cached, cache.statistics().device.free) == (1, 15)


def test_swapping_moves_every_block_and_back_and_returns_the_copies() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    request = computed(cache, owner, prompt(10))
    device = cache.block_table(request).tolist()

    out = cache.swap_out(request, step=1)

    assert out.tolist() == [[block, i] for i, block in enumerate(device)]
    assert cache.state(request).tier is Tier.HOST
    assert cache.account(owner, Tier.HOST).referenced == 3
    back = cache.swap_in(request, step=2)
    # The full blocks are still cached on the device: only the partial one is copied back.
    assert back.tolist() == [[2, cache.block_table(request)[2]]]
    assert cache.block_table(request)[:2].tolist() == device[:2]


def test_host_blocks_wait_for_the_copies_in_but_device_blocks_are_free_at_once() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    request = computed(cache, owner, prompt(10))

    cache.swap_out(request, step=1)
    assert cache.statistics().device.held == 0
    cache.swap_in(request, step=2)
    assert cache.statistics().host.held == 3
    cache.complete(2)

    assert cache.statistics().host.held == 0
    assert cache.statistics().host.cached == 2


def test_a_pin_keeps_a_prefix_past_its_request_until_its_time() -> None:
    cache = new_cache(num_device_blocks=4)
    owner = cache.add_owner()
    request = computed(cache, owner, prompt(9))
    cache.pin(request, until_ns=100)
    cache.free(request)

    assert cache.account(owner) == Account(2, 2, 2, 0, None, 0)
    assert cache.expire_pins(99) == 0
    with pytest.raises(OutOfBlocksError):
        cache.plan(cache.open(owner, prompt(12, 1)), 12)
    assert cache.expire_pins(100) == 1
    assert cache.account(owner) == Account(0, 0, 0, 2, None, 0)


def test_a_demoted_prefix_is_brought_back_for_a_request_that_begins_with_it() -> None:
    cache = new_cache(num_device_blocks=4)
    owner = cache.add_owner()
    request = computed(cache, owner, prompt(13))
    pin = cache.pin(request)
    cache.free(request)
    out = cache.demote(pin, step=1)
    cache.complete(1)
    cache.free(computed(cache, owner, prompt(16, 1)))

    again = cache.open(owner, prompt(13))
    found = cache.demoted(again)
    back = cache.promote(again, step=2)

    assert (found, out.tolist(), back[:, 0].tolist()) == (3, [[0, 0], [1, 1], [2, 2]], [0, 1, 2])
    assert back[:, 1].tolist() == cache.block_table(again).tolist()
    assert tuple(cache.plan(again, 9)) == (12, 1)
    cache.check_integrity()


def test_host_blocks_of_a_promotion_are_held_until_its_copies_were_made() -> None:
    cache = new_cache(num_host_blocks=2)
    owner = cache.add_owner()
    request = computed(cache, owner, prompt(8))
    pin = cache.pin(request)
    cache.free(request)
    cache.demote(pin, step=1)
    while_copied_out = cache.available(Tier.HOST)
    cache.complete(1)
    cache.reset(Tier.DEVICE)
    cached = cache.available(Tier.HOST)

    cache.promote(cache.open(owner, ids(*prompt(8).tolist(), 1)), step=2)

    assert (while_copied_out, cached, cache.available(Tier.HOST)) == (0, 2, 0)


def test_quota_counts_shared_blocks_whole_and_once_per_owner() -> None:
    cache = new_cache()
    rich, poor = cache.add_owner(), cache.add_owner(quota=3)
    computed(cache, rich, prompt(12))
    cache.plan(cache.open(poor, prompt(12)), 12)
    second = cache.open(poor, prompt(12))

    with pytest.raises(QuotaExceededError) as caught:
        cache.plan(second, 12)

    # The second request shares two of its blocks with the first: only its own tail counts.
    error = caught.value
    assert (error.needed, error.available, error.limit, error.missing) == (1, 0, 3, 1)
    assert cache.account(poor).referenced == 3


def test_a_floor_is_kept_from_others_and_given_to_its_owner() -> None:
    cache = new_cache()
    greedy, modest = cache.add_owner(), cache.add_owner(floor=4)
    request = cache.open(greedy, prompt(52))

    with pytest.raises(OutOfBlocksError) as caught:
        cache.plan(request, 52)

    error = caught.value
    assert (error.needed, error.available, error.reserved, error.missing) == (13, 16, 4, 1)
    cache.plan(request, 48)
    cache.plan(cache.open(modest, prompt(16, 1)), 16)
    assert cache.statistics().device.free == 0


def test_preemption_keeps_tokens_and_finds_its_own_blocks_again() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    request = computed(cache, owner, prompt(11))
    cache.append(request, ids(5))

    cache.preempt(request)

    assert cache.state(request).num_blocks == 0
    assert cache.plan(request, 99) == (8, 4)


def test_reset_voids_a_tier_and_keeps_requests_to_be_computed_again() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    requests = [computed(cache, owner, prompt(10, seed)) for seed in range(2)]
    cache.swap_out(requests[1], step=4)
    pin = cache.pin(requests[0])
    cache.free(requests[0], last_step=4)

    cache.reset(Tier.DEVICE)

    assert cache.statistics().device == dataclasses.replace(
        cache.statistics().device, held=0, cached=0, free=16
    )
    assert cache.state(requests[1]).tier is Tier.HOST
    with pytest.raises(LookupError):
        cache.unpin(pin)
    cache.reset(Tier.HOST)
    assert cache.plan(requests[1], 10) == (0, 10)
    cache.check_integrity()


def test_block_tables_are_read_only_views_of_one_matrix() -> None:
    cache = new_cache()
    request = computed(cache, cache.add_owner(), prompt(10))
    view = cache.block_table(request)

    assert view.dtype == np.int32
    assert np.shares_memory(view, cache.block_tables)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    del cache
    assert view.tolist() == [0, 1, 2]


def test_removing_an_owner_releases_its_pins_and_keeps_its_cached_blocks() -> None:
    cache = new_cache()
    owner, other = cache.add_owner(floor=3), cache.add_owner()
    request = computed(cache, owner, prompt(9))
    cache.pin(request)
    cache.free(request)

    cache.remove_owner(owner)

    assert cache.statistics().num_pins == 0
    assert cache.lookup(cache.open(other, prompt(9))) == (8, 0)
    cache.check_integrity()


def test_two_caches_with_one_key_agree_on_digests_and_others_do_not() -> None:
    one, same = new_cache(), new_cache(num_device_blocks=3)
    other = new_cache(hash_key=b"another 16 bytes")

    assert one.digests(prompt(8)).tolist() == same.digests(prompt(8)).tolist()
    assert one.digests(prompt(8)).tolist() != other.digests(prompt(8)).tolist()
    assert one.digests(prompt(8)).tolist() != one.digests(prompt(8), extra_key=1).tolist()


def test_statistics_count_what_happened() -> None:
    cache: KVCache = new_cache()
    owner = cache.add_owner()
    computed(cache, owner, prompt(12))
    computed(cache, owner, prompt(12))

    statistics = cache.statistics()

    assert (statistics.lookup_tokens, statistics.hit_tokens) == (24, 8)
    assert (statistics.hit_blocks, statistics.miss_blocks) == (2, 2)
    assert statistics.device.held == 4
    assert statistics.owners[owner][0].referenced == 4
    with pytest.raises(dataclasses.FrozenInstanceError):
        statistics.hit_tokens = 0  # type: ignore[misc]
    assert visible_state(cache, []) == visible_state(cache, [])


def test_available_blocks_are_those_free_or_evictable() -> None:
    cache = new_cache()
    owner = cache.add_owner()
    request = computed(cache, owner, prompt(10))

    held = cache.available(), cache.available(Tier.HOST)
    cache.free(request)

    assert held == (13, 8)
    assert cache.available() == 16
