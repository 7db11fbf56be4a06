"""Contexts that lose their place and are expected again: copied to the host, and found there."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any

import pytest

from ipc.errors import LimitError
from kernel.llm.demotion import PROBES
from kernel.llm.request import Request
from tests.kernel.llm.world import World, ints, prompt

LATER = 10**9
SMALL: dict[str, Any] = {
    "num_blocks": 32,
    "max_step_tokens": 200,
    "max_running": 1,
    "num_host_blocks": 40,
    "recompute_ns_per_token": 1000.0,
    "swap_ns_per_block": 5.0,
}


def small_world(**facts: Any) -> World:
    return World(**SMALL | facts)


def ended(world: World, seed: int, length: int = 40, owner: int = 1) -> Request:
    """A request that was computed; the blocks of its tokens are cached."""
    request = world.add(prompt(length, seed), max_tokens=1, owner=owner)
    world.run()
    return request


def crowd(world: World, number: int = 5) -> None:
    """Enough work to evict whatever is not held."""
    for seed in range(101, 101 + number):
        world.add(prompt(30, seed), max_tokens=4)
    world.run()


def idle(world: World, seed: int = 0, **options: int) -> None:
    """A context whose time to be held is up."""
    assert world.scheduler.hold(f"p{seed}", ended(world, seed, **options), world.now_ns + 1)
    world.tick()
    world.scheduler.expire(world.now_ns)


def come_back(world: World, seed: int = 0) -> int:
    """A request goes on with a context; returns how many of its 40 tokens it need not compute."""
    again = world.add([*prompt(40, seed), 1], max_tokens=1)
    world.run()
    return again.cached_tokens


def copied(world: World) -> tuple[int, int]:
    found = world.scheduler.statistics()
    return found.demoted, found.promoted


def test_an_idle_context_is_copied_to_the_host_and_back_for_the_next_request() -> None:
    world = small_world()
    idle(world)
    crowd(world)

    assert come_back(world) == 40
    assert copied(world) == (10, 10)
    assert sum(len(ints(plan, "copy_in", 2)) for plan in world.sent) == 10
    world.check_results()


def test_a_hold_that_gives_way_is_found_on_the_host() -> None:
    world = small_world(num_blocks=24)
    assert world.scheduler.hold("p", ended(world, 0), LATER)
    world.add(prompt(80, 1), max_tokens=4)  # 21 blocks of 24
    world.run()

    assert copied(world) == (10, 0)
    assert come_back(world) == 40
    world.check_results()


def test_a_pin_that_gives_way_is_found_on_the_host() -> None:
    world = small_world(num_blocks=24)
    request = ended(world, 0)
    pin = world.scheduler.pin(1, request.ids, request.extra_key, LATER)
    world.add(prompt(80, 1), max_tokens=4)
    world.run()

    assert world.scheduler.take_ended_pins() == [pin]
    assert come_back(world) == 40
    world.check_results()


def test_what_the_device_still_has_is_not_copied_back() -> None:
    world = small_world()
    idle(world)

    assert come_back(world) == 40
    assert copied(world) == (10, 0)


def test_a_context_that_grew_is_copied_from_where_it_grew() -> None:
    world = small_world()
    idle(world, 0)
    crowd(world)
    assert come_back(world) == 40
    longer = world.add([*prompt(40), *range(9)], max_tokens=1)
    world.run()
    world.scheduler.demote(longer, chance=1.0)

    assert copied(world) == (12, 10)


@pytest.mark.parametrize(
    "facts", [{"num_host_blocks": 0}, {"swap_ns_per_block": 2000.0}, {"swap_ns_per_block": 0.0}]
)
def test_nothing_is_copied_where_that_is_not_cheaper(facts: dict[str, Any]) -> None:
    world = small_world(**facts)
    idle(world)
    crowd(world)

    assert come_back(world) == 0
    assert copied(world) == (0, 0)


def test_what_is_unlikely_to_be_needed_again_is_not_copied() -> None:
    """At 5 ns a block of 4 tokens of 2 ns each, out and in, a copy pays from 5/3 on."""
    world = small_world(recompute_ns_per_token=3.0)
    world.scheduler.demote(ended(world, 0), chance=0.7)
    world.scheduler.demote(ended(world, 1), chance=0.72)
    ended(world, 2)

    assert copied(world) == (10, 0)
    crowd(world)
    assert (come_back(world, 0), come_back(world, 1)) == (0, 40)


def test_copies_that_nobody_comes_back_for_are_made_no_more_but_for_a_few() -> None:
    world = small_world(recompute_ns_per_token=5.0)
    for seed in range(1, 41):
        idle(world, seed)

    assert 10 * 40 / PROBES <= copied(world)[0] < 10 * 20
    assert world.scheduler.refill_s == pytest.approx(32 * 4 * 5e-9, rel=0.2)


def test_what_is_on_the_host_counts_to_nobody_and_makes_room_for_who_is_swapped_out() -> None:
    world = small_world(num_blocks=12, max_running=2, num_host_blocks=10)
    for seed in (1, 2):
        idle(world, seed, length=20)
    ended(world, 3, length=4)
    assert copied(world) == (10, 0)
    assert world.scheduler.blocks_of(1) == 0

    for seed in (4, 5):
        world.add(prompt(20, seed), max_tokens=20)
    world.run()

    assert world.scheduler.statistics().preemptions > 0
    assert sum(len(ints(plan, "copy_out", 2)) for plan in world.sent) > 10
    assert any(ints(plan, "copy_in", 2) for plan in world.sent)
    world.check_results()


def test_nothing_of_another_domain_is_found_on_the_host() -> None:
    world = small_world()
    idle(world)
    crowd(world)

    other = world.add([*prompt(40), 1], max_tokens=1, extra_key=1)
    world.run()

    assert other.cached_tokens == 0
    world.check_results()


def test_what_is_on_the_host_is_gone_with_its_engine() -> None:
    world = small_world()
    idle(world)
    crowd(world)
    world.replace_engine()

    assert come_back(world) == 0
    world.check_results()


OFTEN = ["add", "again", "again", "demote", "demote", "crowd", "step", "step", "hold", "expire"]
RARELY = ["pin", "plan", "cancel", "quota", "owner", "engine"]


def take(world: World, what: str, which: int, number: int) -> None:
    """Do something to a world, or nothing where that is not possible."""
    scheduler = world.scheduler
    done = [world.requests[one] for one in world.ends]
    one = done[-1 - number % min(4, len(done))] if done else None
    until = world.now_ns + number
    match what:
        case "add":
            world.add(prompt(number, which), max_tokens=number % 7 + 1, owner=which % 2 + 1)
        case "again" if one is not None and one.num_tokens < 60:
            more = [*one.ids.tolist(), which]
            world.add(more, max_tokens=number % 9 + 1, owner=which % 2 + 1)
        case "hold" if one is not None:
            scheduler.hold(f"p{which}", one, until)
        case "demote" if one is not None:
            scheduler.demote(one, 1.0 if number > 5 else 0.3)
        case "pin" if one is not None:
            with suppress(LimitError):
                scheduler.pin(which % 2 + 1, one.ids, one.extra_key, until)
        case "crowd":
            world.add(prompt(50 + number, 10 + which), max_tokens=1, owner=3)
            world.run()
        case "expire":
            world.now_ns += number
            scheduler.expire(world.now_ns)
        case "cancel" if live := scheduler.live():
            world.cancel(live[number % len(live)])
        case "quota":
            world.set_quota(which % 2 + 1, number % 16 or None)
        case "owner" if not scheduler.live():
            scheduler.remove_owner(which % 2 + 1)
            world.quotas.pop(which % 2 + 1, None)
        case "engine" if not which:
            world.plans.clear()
            world.replace_engine()
        case "plan":
            world.plan(at_most=which % 2 + 1)
        case "step":
            world.step()
    world.scheduler.check_integrity()


@pytest.mark.parametrize("seed", range(25))
def test_whatever_is_demoted_all_end_with_their_own_tokens_and_all_blocks_come_back(
    seed: int,
) -> None:
    world = history(seed)

    world.check_results()


def test_those_histories_copy_to_the_host_and_back() -> None:
    assert sum(history(seed).promoted for seed in range(14)) > 50


class Counting(World):
    """promoted: by all its engines."""

    promoted = 0

    def replace_engine(self) -> None:
        self.promoted += self.scheduler.statistics().promoted
        super().replace_engine()


def history(seed: int) -> Counting:
    """A random history to its end."""
    random = Random(seed)
    world = Counting(
        num_blocks=22,
        max_step_tokens=60,
        num_host_blocks=random.choice([3, 9, 30, 60]),
        recompute_ns_per_token=random.choice([4.0, 1000.0, 1000.0]),
        swap_ns_per_block=5.0,
    )
    for _ in range(80):
        what = random.choice([*OFTEN, *OFTEN, *RARELY])
        take(world, what, random.randrange(6), random.randint(1, 30))
    world.run()
    for which in range(6):
        world.scheduler.release_hold(f"p{which}")
    world.scheduler.expire(LATER)
    world.run()
    world.promoted += world.scheduler.statistics().promoted
    return world
