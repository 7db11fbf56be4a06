"""Contexts held while tools are out: kept for those who come back, never in anybody's way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.llm.request import Request
from tests.kernel.llm.world import World, added, prompt

LATER = 10**9


def ended(world: World, seed: int, length: int = 40, owner: int = 1) -> Request:
    """A request that was computed; the blocks of its tokens are cached."""
    request = world.add(prompt(length, seed), max_tokens=1, owner=owner)
    world.run()
    return request


def crowd(world: World) -> None:
    """Enough work to evict whatever is not held."""
    for seed in range(101, 106):
        world.add(prompt(30, seed), max_tokens=4)
    world.run()


@pytest.mark.parametrize(("is_held", "cached"), [(True, 40), (False, 0)])
def test_a_held_context_is_found_again(is_held: bool, cached: int) -> None:
    world = World(num_blocks=32, max_step_tokens=200, max_running=1)
    request = ended(world, 0)
    if is_held:
        assert world.scheduler.hold("p", request, LATER)

    crowd(world)
    again = world.add([*prompt(40), 1], max_tokens=1)
    world.run()

    assert again.cached_tokens == cached


def test_holds_go_before_anybody_waits_or_gives_way() -> None:
    """13 of 28 blocks are held; without holds the two that come have room for all they take."""
    plans = []
    for is_held in (False, True):
        world = World(num_blocks=28, max_step_tokens=200)
        first = ended(world, 0, length=52)
        if is_held:
            assert world.scheduler.hold("p", first, LATER)
            assert world.scheduler.statistics().used == 13
        begun = len(world.sent)
        for seed in (1, 2):
            world.add(prompt(30, seed), max_tokens=20)
        world.run()
        assert world.scheduler.statistics().preemptions == 0
        plans.append([added(plan) for plan in world.sent[begun:]])
        world.scheduler.release_hold("p")
        world.check_results()

    assert plans[0] == plans[1]


def test_holds_have_at_most_their_share_of_the_pool_and_the_one_that_ends_first_goes() -> None:
    world = World(num_blocks=48, max_step_tokens=200)  # of which 24 may be held
    for seed in (1, 2, 3):
        assert world.scheduler.hold(f"p{seed}", ended(world, seed), LATER + seed)

    assert world.scheduler.statistics().used == 20
    assert not world.scheduler.hold("short", ended(world, 4), LATER)
    crowd(world)
    assert world.add([*prompt(40, 2), 1], max_tokens=1).id
    world.run()
    assert world.requests[len(world.requests)].cached_tokens == 40


def test_a_hold_ends_with_its_time_its_owner_and_its_successor() -> None:
    world = World(num_blocks=64, max_step_tokens=200)
    used = []
    for owner in (1, 2):
        assert world.scheduler.hold(f"p{owner}", ended(world, owner, owner=owner), 100 * owner)
    used.append(world.scheduler.statistics().used)
    world.scheduler.expire(100)
    used.append(world.scheduler.statistics().used)
    world.scheduler.hold("p2", ended(world, 5, length=20, owner=2), 900)
    used.append(world.scheduler.statistics().used)
    world.scheduler.extend_hold("p2", 2000)
    world.scheduler.expire(1000)
    used.append(world.scheduler.statistics().used)
    world.scheduler.remove_owner(2)
    used.append(world.scheduler.statistics().used)

    assert used == [20, 10, 5, 5, 0]


def test_a_hold_counts_to_nobodys_quota() -> None:
    world = World(num_blocks=64, max_step_tokens=200)
    world.set_quota(1, 11)
    assert world.scheduler.hold("p", ended(world, 0), LATER)

    assert world.scheduler.blocks_of(1) == 0
    assert ended(world, 1).num_emitted == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "hold", "extend", "release", "expire", "step", "owner"]),
        st.integers(0, 5),
        st.integers(1, 45),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=40)
@given(STEPS)
def test_whatever_is_held_and_let_go_all_blocks_come_back(
    steps: list[tuple[str, int, int]],
) -> None:
    world = World(num_blocks=30, max_step_tokens=60)
    for what, which, number in steps:
        who, done = f"p{which}", [world.requests[one] for one in world.ends]
        match what:
            case "add":
                world.add(prompt(number, which), max_tokens=number % 7 + 1, owner=which % 2 + 1)
            case "hold" if done:
                world.scheduler.hold(who, done[number % len(done)], world.now_ns + number)
            case "extend":
                world.scheduler.extend_hold(who, world.now_ns + 10 * number)
            case "release":
                world.scheduler.release_hold(who)
            case "expire":
                world.scheduler.expire(world.now_ns)
            case "owner" if not world.scheduler.live():
                world.scheduler.remove_owner(which % 2 + 1)
            case "step":
                world.step()
        world.scheduler.check_integrity()
    world.run()
    for which in range(6):
        world.scheduler.release_hold(f"p{which}")

    world.check_results()
