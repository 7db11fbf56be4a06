"""Who gives way to whom, and how: slots, blocks, quotas."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kernel.llm.named_policies import policy_by_name
from kernel.llm.policies import Policy, fcfs, priority
from tests.kernel.llm.world import World, added, prompt


@pytest.mark.parametrize("shortage", [{"max_running": 2}, {"num_blocks": 24, "max_running": 9}])
def test_a_more_urgent_request_starts_in_the_next_plan_of_a_full_engine(
    shortage: dict[str, int],
) -> None:
    world = World(max_step_tokens=100, **shortage)
    for seed in range(3):
        world.add(prompt(28, seed), max_tokens=60, priority=4)
    for _ in range(4):
        world.step()
    world.plan()
    sent = world.scheduler.statistics().steps + 2

    urgent = world.add(prompt(30, 9), max_tokens=4, priority=0)
    world.step()
    world.plan()

    assert [plan["plan"] for plan in world.sent if urgent.id in added(plan)] == [sent + 1]
    world.run()
    world.check_results()


@pytest.mark.parametrize("policy", [priority, lambda: policy_by_name("priority")])
@pytest.mark.parametrize("num_blocks", [900, 300])  # slots are short; blocks too
def test_an_urgent_request_at_a_saturated_engine_starts_within_two_steps(
    policy: Callable[[], Policy], num_blocks: int
) -> None:
    world = World(policy=policy(), max_running=16, max_step_tokens=64, num_blocks=num_blocks)
    for seed in range(32):
        world.add(prompt(30, seed), max_tokens=60, priority=6)
    for _ in range(40):
        world.step()
    while len(world.plans) < 2:  # one runs, one is sent
        world.plan()
    before = world.scheduler.statistics()
    assert before.waiting >= 16

    urgent = world.add(prompt(20, 99), max_tokens=4, priority=0)
    world.step()
    world.step()
    world.step()

    # The two that were out when it came have ended, and the third has given its first token.
    assert world.scheduler.statistics().steps == before.steps + 3
    assert [urgent.id in added(plan) for plan in world.sent[before.steps :][:3]] == [0, 0, 1]
    assert urgent.num_emitted == 1


def test_nobody_gives_way_to_who_must_wait_for_the_tokens_of_a_later_step() -> None:
    world = World(max_running=4, max_step_tokens=64)
    for seed in range(4):
        world.add(prompt(10, seed), max_tokens=60, priority=6)
    for _ in range(4):
        world.step()
    urgent = [world.add(prompt(62, 90 + number), max_tokens=4, priority=0) for number in range(2)]

    world.step()
    after_one = world.scheduler.statistics().preemptions
    world.run()

    assert after_one == 1
    assert all(request.num_emitted == 4 for request in urgent)
    world.check_results()


def test_nobody_gives_way_while_a_running_prompt_takes_all_tokens_of_the_step_first() -> None:
    world = World(max_running=4, max_step_tokens=16, num_blocks=200)
    for seed in range(3):
        world.add(prompt(4, seed), max_tokens=60, priority=6)
    world.step()
    world.add(prompt(60, 80), max_tokens=4, priority=1)
    world.step()
    waiting = world.add(prompt(8, 90), max_tokens=4, priority=2)

    world.step()
    while_it_runs = world.scheduler.statistics().preemptions
    for _ in range(6):
        world.step()
    after = world.scheduler.statistics().preemptions
    world.run()

    assert (while_it_runs, after) == (0, 1)
    assert waiting.num_emitted == 4
    world.check_results()


def test_one_urgent_request_makes_one_give_way() -> None:
    world = World(max_running=3, max_step_tokens=64)
    for seed in range(3):
        world.add(prompt(4, seed), max_tokens=60, priority=6)
    for _ in range(4):
        world.step()
    world.add(prompt(10, 90), max_tokens=4, priority=0)

    for _ in range(3):
        world.step()

    assert world.scheduler.statistics().preemptions == 1
    world.run()
    world.check_results()


def test_nobody_is_preempted_to_let_an_equal_in() -> None:
    world = World(max_running=2)
    requests = [world.add(prompt(10, seed), max_tokens=10, priority=4) for seed in range(5)]

    world.run()

    begun = [request.first_planned_ns for request in requests]
    assert world.scheduler.statistics().preemptions == 0
    assert begun == sorted(begun)
    world.check_results()


def test_under_fcfs_priorities_preempt_nobody() -> None:
    world = World(max_running=1, policy=fcfs())
    world.add(prompt(10, 1), max_tokens=10, priority=7)
    world.step()
    world.add(prompt(10, 2), max_tokens=10, priority=0)

    world.run()

    assert list(world.ends) == [1, 2]
    assert world.scheduler.statistics().preemptions == 0


def test_when_blocks_run_out_the_lowest_gives_way_and_of_equals_the_youngest() -> None:
    world = World(num_blocks=24, max_step_tokens=100)
    first = world.add(prompt(16, 1), max_tokens=40, priority=4)
    low = world.add(prompt(16, 2), max_tokens=40, priority=6)
    young = world.add(prompt(16, 3), max_tokens=40, priority=4)

    world.run()

    assert first.preemptions == 0
    assert low.preemptions >= 1
    assert low.preemptions >= young.preemptions
    assert next(iter(world.ends)) == first.id
    world.check_results()


def test_who_is_preempted_goes_on_before_those_that_came_later() -> None:
    world = World(num_blocks=20, max_step_tokens=100, max_running=2)
    world.add(prompt(20, 1), max_tokens=40)
    preempted = world.add(prompt(20, 2), max_tokens=40)
    later = world.add(prompt(4, 3), max_tokens=4)

    world.run()

    order = [number for plan in world.sent for number in added(plan)]
    assert preempted.preemptions >= 1
    assert order == [1, *[preempted.id] * (preempted.preemptions + 1), later.id]
    world.check_results()


@pytest.mark.parametrize(("recompute_ns", "is_swap"), [(1000.0, True), (0.1, False), (0.0, False)])
def test_blocks_are_swapped_to_the_host_when_that_is_cheaper(
    recompute_ns: float, is_swap: bool
) -> None:
    world = World(
        num_blocks=20,
        num_host_blocks=40,
        max_step_tokens=100,
        recompute_ns_per_token=recompute_ns,
        swap_ns_per_block=5.0,
    )
    for seed in range(2):
        world.add(prompt(20, seed), max_tokens=40)

    world.run()

    assert world.scheduler.statistics().preemptions > 0
    assert any("copy_out" in plan for plan in world.sent) == is_swap
    assert any("copy_in" in plan for plan in world.sent) == is_swap
    world.check_results()


def test_a_full_host_tier_means_recompute() -> None:
    world = World(
        num_blocks=20,
        num_host_blocks=2,
        max_step_tokens=100,
        recompute_ns_per_token=1000.0,
        swap_ns_per_block=5.0,
    )
    for seed in range(2):
        world.add(prompt(20, seed), max_tokens=40)

    world.run()

    assert world.scheduler.statistics().preemptions > 0
    assert not any("copy_out" in plan for plan in world.sent)
    world.check_results()


def test_at_its_quota_an_owner_preempts_its_own_youngest() -> None:
    world = World(max_step_tokens=100)
    world.set_quota(1, 14)
    old = world.add(prompt(12, 1), max_tokens=30, owner=1)
    young = world.add(prompt(12, 2), max_tokens=30, owner=1, priority=0)
    other = world.add(prompt(12, 3), max_tokens=30, owner=2)

    world.run()

    assert (old.preemptions, other.preemptions) == (0, 0)
    assert young.preemptions >= 1
    world.check_results()


def test_alone_at_its_quota_a_request_ends_with_reason_quota() -> None:
    world = World()
    world.set_quota(1, 4)
    request = world.add(prompt(10), max_tokens=50, owner=1)

    world.run()

    assert world.ends[request.id][0] == "quota"
    # 16 tokens have a place; the last of the completion needs none.
    assert request.num_tokens == 17
    world.check_results()


def test_a_prompt_over_its_owners_quota_ends_without_a_step() -> None:
    world = World()
    world.set_quota(1, 2)

    request = world.add(prompt(30), max_tokens=5, owner=1)
    world.plan()

    assert world.ends[request.id][0] == "quota"
    assert world.sent == []


def test_who_waits_for_a_quota_holds_up_nobody_else() -> None:
    world = World(max_running=3, max_step_tokens=100)
    world.set_quota(1, 8)
    for seed in range(40):
        world.add(prompt(20, seed), max_tokens=8, owner=1, priority=0)
    other = world.add(prompt(20, 99), max_tokens=8, owner=2, priority=7)

    for _ in range(12):
        world.step()

    assert other.id in world.ends
    assert len(world.ends) < 5
    world.run()
    world.check_results()


def test_a_large_request_is_not_overtaken_by_small_ones() -> None:
    world = World(num_blocks=20, max_step_tokens=100)
    world.add(prompt(40, 1), max_tokens=20)
    large = world.add(prompt(60, 2), max_tokens=4)
    for seed in range(20):
        world.add(prompt(4, 10 + seed), max_tokens=4)

    world.run()

    assert list(world.ends)[:2] == [1, large.id]
    world.check_results()
