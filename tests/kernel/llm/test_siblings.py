"""What forks share inside a block is copied from one that runs, and from nobody else."""

from __future__ import annotations

import numpy as np

from tests.kernel.llm.world import World

COMMON = [7, 8, 9, 10, 11, 12]  # blocks have four tokens: one whole, and half of another


def copies(world: World) -> list[list[int]]:
    """Return the copies planned so far: source, target."""
    pairs = [np.frombuffer(plan.get("copy", b""), "<i4").reshape(-1, 2) for plan in world.sent]
    return np.concatenate(pairs).tolist()


def prefilled(world: World, number: int) -> int:
    request = world.requests[number]
    return request.num_prompt - request.cached_tokens


def test_a_block_that_a_running_sibling_has_begun_is_copied() -> None:
    world = World()
    world.add([*COMMON, 20], max_tokens=20, family=1)
    world.step()
    world.step()

    world.add([*COMMON, 30], family=1)
    world.run()

    assert len(copies(world)) == 1
    assert [prefilled(world, number) for number in (1, 2)] == [7, 1]
    world.check_results()


def test_no_block_of_another_family_is_copied() -> None:
    world = World()
    world.add([*COMMON, 20], max_tokens=20, family=1)
    world.step()
    world.step()

    for family in (0, 2):
        world.add([*COMMON, 30], family=family)
    world.run()

    assert copies(world) == []
    world.check_results()


def test_other_weights_or_another_beginning_are_never_copied() -> None:
    world = World()
    world.add([*COMMON, 20], max_tokens=20, family=1)
    world.step()
    world.step()

    world.add([*COMMON, 30], family=1, extra_key=1)
    world.add([6, *COMMON[1:], 30], family=1)
    world.run()

    assert copies(world) == []
    world.check_results()


def test_what_has_not_been_reported_is_computed_again() -> None:
    world = World()
    world.add([*COMMON, 20], family=1)
    world.add([*COMMON[:3], 30], family=1)  # in the same plan
    world.run()

    assert copies(world) == []
    world.check_results()


def test_a_sibling_that_has_ended_is_not_copied_from() -> None:
    world = World()
    world.add([*COMMON, 20], max_tokens=1, family=1)
    world.run()

    world.add([*COMMON, 30], family=1)
    world.run()

    assert copies(world) == []
    assert prefilled(world, 2) == 3  # its whole block is found by content
    world.check_results()
