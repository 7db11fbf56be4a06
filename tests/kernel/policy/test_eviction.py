"""What every eviction policy promises, and what each is for."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.block_replay import (
    Chained,
    loop_requests,
    replay_blocks,
    replay_optimum,
    scan_requests,
    shifting_requests,
)
from ipc.errors import UnknownPolicyError
from kernel.policy.eviction import EvictionPolicy, Use
from kernel.policy.eviction_due import Due
from kernel.policy.eviction_guard import Guarded
from kernel.policy.eviction_lfu import LFU
from kernel.policy.eviction_lru import LRU
from kernel.policy.eviction_names import EVICTION_POLICIES, new_eviction_policy
from kernel.policy.eviction_s3_fifo import S3FIFO

NAMES = sorted(EVICTION_POLICIES)
NOTHING: frozenset[int] = frozenset()


def use(policy: EvictionPolicy, at_s: float, program: str, *chain: int, answer: int = 50) -> None:
    policy.used(Use(at_s, program, chain, 0, answer))


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(1, 6), st.integers(0, 9)),
    max_size=60,
)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(steps=STEPS)
def test_it_gives_up_what_is_cached_and_not_in_use(
    name: str, steps: list[tuple[int, int, int, int]]
) -> None:
    """Chains 10 p, 10 p + 1 ... of four programs, with heads that all share."""
    policy, cached = new_eviction_policy(name, 12), set[int]()
    for number, (program, head, length, count) in enumerate(steps):
        chain = (*range(head), *range(10 * (program + 1), 10 * (program + 1) + length))
        use(policy, float(number), f"p{program}", *chain)
        cached |= set(chain)
        keep = set(chain[:2])
        gone = policy.evict(count, keep, float(number))
        assert len(gone) == len(set(gone)) == min(count, len(cached - keep))
        assert set(gone) <= cached - keep
        cached -= set(gone)
        lost = [block for block in sorted(cached) if block % 7 == 0][:1]
        policy.forget(lost)
        cached -= set(lost)

    assert set(policy.evict(99, NOTHING, 99.0)) == cached


@pytest.mark.parametrize("name", NAMES)
def test_the_same_uses_give_up_the_same_blocks(name: str) -> None:
    requests = shifting_requests(shared=False, number=400)

    first, second = (replay_blocks(requests, new_eviction_policy(name, 90), 90) for _ in range(2))

    assert first == second


def test_an_unknown_policy_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(UnknownPolicyError) as caught:
        new_eviction_policy("mru", 10)

    assert caught.value.known == ", ".join(NAMES)


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 8))
def test_lru_gives_up_the_longest_unused(blocks: list[int], capacity: int) -> None:
    policy, expected = LRU(), list[int]()
    for number, block in enumerate(blocks):
        expected = [*[other for other in expected if other != block], block]
        use(policy, number, "p", block)
        if len(expected) > capacity:
            assert policy.evict(1, NOTHING, number) == [expected.pop(0)]


@pytest.mark.parametrize("name", NAMES)
def test_of_one_chain_the_deepest_block_goes_first(name: str) -> None:
    policy = new_eviction_policy(name, 5)
    use(policy, 0, "p", 1, 2, 3, 4, 5)

    assert policy.evict(3, NOTHING, 1.0) == [5, 4, 3]


def test_lfu_keeps_the_popular_until_their_fame_has_aged() -> None:
    policy = LFU()
    for number in range(5):
        use(policy, number, "p", 1)
    for number in range(10, 60):
        use(policy, number, "p", number)
        if number < 14:
            assert policy.evict(1, NOTHING, number) == [number]
        elif 1 in policy.evict(1, {number}, number):
            return
    pytest.fail("block 1 never aged")


@pytest.mark.parametrize("policy", [S3FIFO(), Due()])
def test_a_scan_does_not_flush_what_is_used_again(policy: EvictionPolicy) -> None:
    hot = replay_blocks(scan_requests(shared=False), policy, 400)

    assert (
        hot.second_half > 1.8 * replay_blocks(scan_requests(shared=False), LRU(), 400).second_half
    )


def conversation_trace(number: int = 2500) -> list[Chained]:
    """Programs that come back after a minute or never; which kind it is shows in the answer."""
    numbers, found = random.Random(5), list[Chained]()
    for program in range(number // 2):
        start, returns = program * 2.0, program % 2 == 0
        for turn in range(2 if returns else 1):
            chain = (0, *range(1000 + program * 10, 1000 + program * 10 + 5 + turn))
            at_s, answer = start + turn * numbers.uniform(55, 65), 400 if returns else 30
            found.append(Chained(at_s, f"p{program}", chain, 512 * len(chain) + 1, answer))
    return sorted(found, key=lambda each: each.arrival_s)


def test_due_keeps_those_who_will_be_back() -> None:
    """Room for 40 programs; those who return are 30 at a time, with the others 60."""
    requests = conversation_trace()

    due = replay_blocks(requests, Due(), 200).second_half

    assert due > 2 * replay_blocks(requests, LRU(), 200).second_half
    assert due > 0.9 * replay_optimum(requests, 200).second_half


def test_due_keeps_what_all_programs_share() -> None:
    policy = Due()
    for program in range(50):
        use(policy, program, f"p{program}", 7, 1000 + program)

    gone = policy.evict(50, NOTHING, 50.0)

    assert 7 not in gone


def test_due_gives_up_a_branch_left_aside_first() -> None:
    policy = Due()
    use(policy, 0, "a", 1, 2, 3)
    use(policy, 1, "b", 4, 5)
    use(policy, 2, "a", 1, 8, 9)

    assert policy.evict(2, NOTHING, 3.0) == [3, 2]


def test_due_remembers_a_bounded_number_of_ghosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernel.policy.eviction_due.MIN_GHOSTS", 10)
    policy = Due()
    for number in range(500):
        use(policy, number, f"p{number}", number)
        policy.evict(len(policy) - 5, NOTHING, number)

    assert len(policy._ghosts) <= 10 + 4 * 6


TRACES = {
    "loop": lambda **how: loop_requests(rounds=12, **how),
    "scan": lambda **how: scan_requests(number=1500, **how),
    "shifting": lambda **how: shifting_requests(number=2000, **how),
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("capacity", [100, 1100])
def test_due_is_nowhere_below_lru(trace: str, shared: bool, capacity: int) -> None:
    requests = TRACES[trace](shared=shared)

    due = replay_blocks(requests, new_eviction_policy("due", capacity), capacity).whole

    assert due >= 0.98 * replay_blocks(requests, LRU(), capacity).whole


class Perverse(LRU):
    """Gives up what was used last."""

    def evict(self, count, keep, now_s):  # type: ignore[no-untyped-def]
        gone = [block for block in reversed(self._order) if block not in keep][:count]
        self.forget(gone)
        return gone


def test_the_guard_holds_a_bad_policy_to_lru() -> None:
    requests = shifting_requests(shared=False)
    lru = replay_blocks(requests, LRU(), 800).whole

    assert replay_blocks(requests, Perverse(), 800).whole < 0.9 * lru
    assert replay_blocks(requests, Guarded(Perverse(), 800), 800).whole > 0.97 * lru


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(1, 5))
def test_no_policy_beats_the_optimum_on_single_blocks(blocks: list[int], capacity: int) -> None:
    """Belady's choice is optimal where chains are one block long."""
    requests = [Chained(float(n), f"p{b}", (b,), 513, 9) for n, b in enumerate(blocks)]
    best = replay_optimum(requests, capacity).whole

    for name in NAMES:
        policy = new_eviction_policy(name, capacity)
        assert replay_blocks(requests, policy, capacity).whole <= best
