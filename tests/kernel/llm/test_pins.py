"""Pins keep what a session will come back to, as long as they may."""

from __future__ import annotations

import numpy as np
import pytest

from ipc.errors import LimitError, PromptTooLongError
from tests.kernel.llm.world import World, prompt


def used_pool(num_blocks: int = 20) -> tuple[World, np.ndarray]:
    """A world whose cache has the blocks of 40 tokens, and these tokens."""
    world = World(num_blocks=num_blocks, max_step_tokens=200)
    request = world.add(prompt(40), max_tokens=1)
    world.run()
    return world, request.ids[:40]


def crowd(world: World) -> None:
    """Enough work to evict whatever is not held."""
    for seed in range(1, 6):
        world.add(prompt(30, seed), max_tokens=4)
    world.run()


@pytest.mark.parametrize(("is_pinned", "cached"), [(True, 40), (False, 0)])
def test_pinned_blocks_outlive_others_work(is_pinned: bool, cached: int) -> None:
    world, ids = used_pool()
    if is_pinned:
        world.scheduler.pin(1, ids, 0, 10**9)

    crowd(world)
    request = world.add([*prompt(40), 1], max_tokens=1)
    world.run()

    assert request.cached_tokens == cached


def test_a_pin_holds_its_blocks_until_unpinned_or_its_time() -> None:
    world, ids = used_pool()
    first = world.scheduler.pin(1, ids, 0, 10**9)
    world.scheduler.pin(1, ids, 0, 500)

    held = [world.scheduler.blocks_of(1)]
    world.scheduler.unpin(first)
    held.append(world.scheduler.blocks_of(1))
    assert world.scheduler.expire(499) == 0
    assert world.scheduler.expire(500) == 1
    held.append(world.scheduler.blocks_of(1))

    assert held == [10, 10, 0]
    world.scheduler.unpin(first)  # long gone, which is fine


def test_a_pin_counts_to_its_owners_quota() -> None:
    world, ids = used_pool()
    world.set_quota(2, 5)

    with pytest.raises(LimitError):
        world.scheduler.pin(2, ids, 0, 10**9)

    assert world.scheduler.blocks_of(2) == 0
    assert world.scheduler.statistics().used == 0


def test_a_pin_of_nothing_cached_holds_nothing() -> None:
    world = World()

    world.scheduler.pin(1, np.arange(40, dtype=np.int32), 0, 10**9)

    assert world.scheduler.blocks_of(1) == 0


def test_a_pin_longer_than_the_context_is_refused() -> None:
    with pytest.raises(PromptTooLongError):
        World().scheduler.pin(1, np.zeros(1000, np.int32), 0, 10**9)


def test_pins_yield_to_a_request_that_could_never_run() -> None:
    world, ids = used_pool(num_blocks=12)
    world.scheduler.pin(1, ids, 0, 10**9)

    world.add(prompt(44, 9), max_tokens=3)
    world.run()

    world.check_results()


def test_pins_go_with_their_owner() -> None:
    world, ids = used_pool()
    pin = world.scheduler.pin(7, ids, 0, 10**9)

    world.scheduler.remove_owner(7)

    assert world.scheduler.statistics().used == 0
    world.scheduler.unpin(pin)
