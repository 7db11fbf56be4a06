"""What the LLM scheduler promises, one promise a test, on the model engine."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from ipc.errors import BadFrameError, BadPromptError, LlmQueueFullError, PromptTooLongError
from kernel.llm.policies import KeyPolicy, fcfs
from kernel.llm.request import Request
from tests.kernel.llm.storm import Storm
from tests.kernel.llm.world import World, ints
from tests.reference.llm_engine import Nature


def prompt(length: int, seed: int = 0) -> list[int]:
    return [(7 * seed + i) % 50 for i in range(length)]


def added(plan: Any) -> list[int]:
    """The requests that take a slot in a plan."""
    return [new["request"] for new in plan.get("add", [])]


def test_a_long_prompt_is_computed_in_stretches_within_the_steps_budget() -> None:
    world = World(max_step_tokens=10)

    world.add(prompt(25), max_tokens=2)
    world.run()

    assert world.engine.forwards[:3] == [10, 10, 5]
    world.check_results()


def test_decodes_come_first_and_prompts_get_what_is_left() -> None:
    world = World(max_step_tokens=10)
    world.add(prompt(3, 1), max_tokens=20)
    world.add(prompt(3, 2), max_tokens=20)
    for _ in range(3):
        world.step()

    world.add(prompt(30, 3), max_tokens=2)
    world.run()

    stretches = [ints(plan, "prefill", 3) for plan in world.sent if plan["plan"] > 3]
    assert [stretch[2] for plan in stretches for stretch in plan][:3] == [8, 8, 8]
    world.check_results()


def test_one_plan_is_ahead_of_the_step_that_runs_and_no_more() -> None:
    world = World()
    world.add(prompt(5), max_tokens=10)

    world.plan()

    assert [plan["plan"] for plan in world.plans] == [1, 2]
    assert world.scheduler.plan(world.tick()) is None
    assert ints(world.plans[1], "decode_on") == [0]


def test_a_steady_plan_says_nothing_but_its_number() -> None:
    world = World(block_size=64)
    for seed in range(3):
        world.add(prompt(5, seed), max_tokens=30)
    for _ in range(5):
        world.step()

    plan = world.plan()

    assert plan is not None
    assert set(plan) == {"plan"}


def test_a_cached_prefix_is_not_computed_again() -> None:
    world = World()
    world.add(prompt(40), max_tokens=1)
    world.run()
    before = world.engine.computed_tokens

    request = world.add([*prompt(40), 1, 2], max_tokens=1)
    world.run()

    assert request.cached_tokens == 40
    assert world.engine.computed_tokens - before == 2
    assert world.scheduler.statistics().cached_tokens == 40
    world.check_results()


def test_the_last_token_is_computed_even_if_everything_is_cached() -> None:
    world = World()
    world.add(prompt(40), max_tokens=1)
    world.run()

    request = world.add(prompt(40), max_tokens=1)
    world.run()

    assert request.cached_tokens == 36
    world.check_results()


def test_prefixes_are_not_shared_between_trust_domains() -> None:
    world = World()
    world.add(prompt(40), max_tokens=1)
    world.run()

    request = world.add(prompt(40), max_tokens=1, extra_key=9)
    world.run()

    assert request.cached_tokens == 0
    world.check_results()


def test_who_shares_a_prefix_that_is_being_computed_waits_for_that_step() -> None:
    world = World(max_step_tokens=100)
    requests = [world.add([*prompt(40), tail], max_tokens=2) for tail in range(4)]

    world.run()

    assert [request.cached_tokens for request in requests] == [0, 40, 40, 40]
    assert added(world.sent[1]) == []
    world.check_results()


def test_nothing_is_planned_for_a_request_after_its_cancel() -> None:
    world = World(max_running=1)
    running = world.add(prompt(5, 1), max_tokens=50)
    waiting = world.add(prompt(5, 2), max_tokens=50)
    last = world.add(prompt(5, 3), max_tokens=2)
    world.plan()

    world.cancel(running)
    world.cancel(waiting)
    world.run()

    assert [plan["plan"] for plan in world.sent if added(plan) == [waiting.id]] == []
    assert ints(world.sent[2], "drop") == [0]
    assert added(world.sent[2]) == [last.id]
    world.check_results()


def test_blocks_of_a_cancelled_request_come_free_when_its_last_step_has_reported() -> None:
    world = World()
    request = world.add(prompt(20), max_tokens=50)
    world.plan()
    reports = [world.compute(), world.compute()]

    world.cancel(request)
    held = [world.scheduler.statistics().used]
    for report in reports:
        assert report is not None
        world.report(report)
        held.append(world.scheduler.statistics().used)

    assert held == [6, 6, 0]


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


def test_a_completion_ends_where_the_context_does() -> None:
    world = World(max_context=30)

    request = world.add(prompt(20), max_tokens=100)
    world.run()

    assert (request.num_emitted, world.ends[request.id][0]) == (10, "length")
    world.check_results()


def test_a_completion_ends_where_the_pool_does() -> None:
    world = World(num_blocks=8)

    request = world.add(prompt(20), max_tokens=100)
    world.run()

    assert (request.num_tokens, world.ends[request.id][0]) == (33, "length")
    world.check_results()


def test_nothing_is_planned_beyond_the_last_token() -> None:
    world = World()
    world.add(prompt(5), max_tokens=4)

    world.run()

    assert world.engine.forwards == [5, 1, 1, 1]


@pytest.mark.parametrize(
    ("facts", "length", "limit", "what"),
    [
        ({"max_context": 50}, 50, 49, "the model's context"),
        ({"num_blocks": 5}, 21, 20, "the engine's memory"),
    ],
)
def test_a_prompt_that_can_never_fit_is_refused(
    facts: dict[str, int], length: int, limit: int, what: str
) -> None:
    world = World(**facts)

    with pytest.raises(PromptTooLongError) as caught:
        world.add(prompt(length))

    assert caught.value.fields == {"value": length, "limit": limit, "what": what}
    world.scheduler.check(Request(9, 1, prompt(limit), sampling={"max_tokens": 1, "seed": 1}))


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(BadPromptError):
        World().add([])


def test_a_full_queue_refuses_and_keeps_what_it_holds() -> None:
    world = World(max_running=1, waiting=2)
    for seed in range(3):
        world.add(prompt(4, seed))

    with pytest.raises(LlmQueueFullError):
        world.add(prompt(4, 9))

    assert len(world.scheduler.live()) == 3
    world.extra_keys.popitem()
    world.run()
    world.check_results()


def damaged(report: Any, how: str) -> Any:
    damage = copy.deepcopy(report)
    if how == "another plan's":
        damage["plan"] = 7
    elif how == "a row too many":
        damage["tokens"] += bytes(4)
    elif how == "no bytes":
        damage["tokens"] = [1, 2]
    elif how == "no such token":
        damage["tokens"] = np.array([50, 50], "<i4").tobytes()
    elif how == "no token, no end":
        damage["tokens"] = np.array([-1, 1], "<i4").tobytes()
    elif how == "a slot of nobody":
        damage["texts"] = [[3, "a"]]
    elif how == "a slot that is no number":
        damage["ended"] = [{"slot": "0", "reason": "stop", "text": "", "tokens": 1}]
    elif how == "a wrong count":
        damage["ended"] = [{"slot": 0, "reason": "stop", "text": "", "tokens": 9}]
    elif how == "an unknown reason":
        damage["ended"] = [{"slot": 0, "reason": "quota", "text": "", "tokens": 1}]
    elif how == "ended twice":
        damage["ended"] = [{"slot": 0, "reason": "stop", "text": "", "tokens": 1}] * 2
    else:
        damage["failed"] = [{"slot": 0, "error": "none"}]
    return damage


@pytest.mark.parametrize(
    "how",
    [
        "another plan's",
        "a row too many",
        "no bytes",
        "no such token",
        "no token, no end",
        "a slot of nobody",
        "a slot that is no number",
        "a wrong count",
        "an unknown reason",
        "ended twice",
        "a failure without error",
    ],
)
def test_a_report_that_breaks_the_contract_changes_nothing(how: str) -> None:
    world = World()
    requests = [world.add(prompt(5, seed), max_tokens=6) for seed in range(2)]
    world.plan()
    report = world.compute()
    assert report is not None
    before = world.scheduler.statistics()

    with pytest.raises(BadFrameError):
        world.scheduler.report(damaged(report, how), world.tick())

    assert world.scheduler.statistics() == before
    assert [request.num_emitted for request in requests] == [0, 0]
    world.report(report)
    world.run()
    world.check_results()


def test_a_report_of_nothing_is_refused() -> None:
    with pytest.raises(BadFrameError):
        World().scheduler.report({"plan": 1}, 0)


def test_an_engine_that_goes_past_max_tokens_is_refused() -> None:
    world = World()
    world.add(prompt(5), max_tokens=1)
    world.plan()
    report = world.compute()
    assert report is not None

    with pytest.raises(BadFrameError):
        world.scheduler.report({**report, "ended": []}, world.tick())


def test_a_request_that_fails_fails_alone() -> None:
    world = World(nature=Nature(one_in_fails=12))
    for seed in range(12):
        world.add(prompt(10, seed), max_tokens=12)

    world.run()

    how = {end for end, _ in world.ends.values()}
    assert how == {"failed", "length"}
    world.check_results()


def test_requests_go_on_at_another_engine_from_the_tokens_they_have() -> None:
    world = World(max_running=2)
    requests = [world.add(prompt(10, seed), max_tokens=12, stream=True) for seed in range(4)]
    for _ in range(6):
        world.step()
    emitted = [request.num_emitted for request in requests]

    world.replace_engine()
    world.run()

    assert max(emitted) > 0
    assert world.engine.computed_tokens < sum(22 for _ in requests)
    world.check_results()


def test_a_request_that_has_all_it_may_have_at_a_smaller_engine_ends() -> None:
    world = World()
    request = world.add(prompt(10), max_tokens=30)
    for _ in range(15):
        world.step()
    world.facts["max_context"] = 20

    world.replace_engine()

    assert world.ends[request.id][0] == "length"
    assert world.scheduler.live() == []


def test_a_lowered_priority_lets_others_go_first() -> None:
    world = World(max_running=1)
    world.add(prompt(5, 0), max_tokens=20)
    first, second = (world.add(prompt(5, seed), max_tokens=2) for seed in (1, 2))

    world.scheduler.reprioritise(first.id, 7, world.tick())
    world.run()

    assert list(world.ends).index(second.id) < list(world.ends).index(first.id)


def test_a_running_request_whose_priority_is_lowered_gives_way() -> None:
    world = World(max_running=1)
    running = world.add(prompt(5, 0), max_tokens=20)
    waiting = world.add(prompt(5, 1), max_tokens=2)
    world.step()

    world.scheduler.reprioritise(running.id, 7, world.tick())
    world.run()

    assert list(world.ends) == [waiting.id, running.id]
    world.check_results()


def test_a_request_counts_what_it_was_given_and_when() -> None:
    world = World(max_step_tokens=10)
    request = world.add(prompt(25), max_tokens=3)

    world.run()

    assert request.arrival_ns < request.first_planned_ns < request.first_token_ns
    assert request.first_token_ns < request.last_token_ns
    assert (request.cached_tokens, request.preemptions, request.num_emitted) == (0, 0, 3)
    statistics = world.scheduler.statistics()
    assert (statistics.generated, statistics.prompt, statistics.steps) == (3, 25, 5)


def test_logprobs_come_with_the_request_they_are_of() -> None:
    world = World()
    request = world.add(prompt(5), max_tokens=2, logprobs=0)
    world.plan()
    report = world.compute()
    assert report is not None

    result = world.report(report)

    assert [(of, logprobs["id"]) for of, logprobs in result.logprobs] == [
        (request, result.tokens[0])
    ]


def test_an_owner_sees_what_it_holds() -> None:
    world = World(max_running=1, max_step_tokens=100)
    world.add(prompt(10, 1), owner=1, max_tokens=2)
    world.add(prompt(10, 2), owner=2, max_tokens=2)
    world.plan()

    held = world.scheduler.owner_statistics()

    assert (held[1].running, held[1].waiting, held[1].blocks) == (1, 0, 3)
    assert (held[2].running, held[2].waiting, held[2].blocks) == (0, 1, 0)
    assert world.scheduler.blocks_of(1) == 3


def test_a_removed_owner_leaves_nothing_behind() -> None:
    world = World(max_running=1)
    gone = [world.add(prompt(10, seed), owner=1, max_tokens=20) for seed in range(2)]
    stays = world.add(prompt(10, 9), owner=2, max_tokens=2)
    world.step()

    world.cancelled |= {request.id for request in gone}
    world.scheduler.remove_owner(1, world.tick())
    world.run()

    assert list(world.ends) == [stays.id]
    assert 1 not in world.scheduler.owner_statistics()
    world.check_results()


class Learning(KeyPolicy):
    """Notes what it is told; its keys turn round when it is asked to."""

    def __init__(self) -> None:
        super().__init__(lambda job: float(job.id) * self.sign)
        self.sign = 1
        self.told: list[tuple[str, int, int]] = []
        self.changed: list[int] = []

    def rekey(self, now_ns: int) -> list[int]:
        changed, self.changed = self.changed, []
        return changed

    def on_arrival(self, job: Request, now_ns: int) -> None:
        self.told.append(("arrival", job.id, 0))

    def on_service(self, job: Request, tokens: int, now_ns: int) -> None:
        self.told.append(("service", job.id, tokens))

    def on_done(self, job: Request, now_ns: int) -> None:
        self.told.append(("done", job.id, 0))


def test_a_policy_is_told_of_each_token_once_and_not_at_each_step() -> None:
    policy = Learning()
    world = World(policy=policy)
    world.add(prompt(25), max_tokens=150)

    world.run()

    services = [tokens for what, _, tokens in policy.told if what == "service"]
    assert sum(services) == 25 + 150
    assert len(services) <= 4
    assert [policy.told[0][0], policy.told[-1][0]] == ["arrival", "done"]


def test_what_is_computed_again_is_not_told_again() -> None:
    policy = Learning()
    world = World(policy=policy, num_blocks=20, max_step_tokens=100)
    requests = [world.add(prompt(20, seed), max_tokens=40) for seed in range(3)]

    world.run()

    assert world.scheduler.statistics().preemptions > 0
    for request in requests:
        told = [n for what, of, n in policy.told if (what, of) == ("service", request.id)]
        assert sum(told) == 60


def test_a_policy_that_changes_its_mind_changes_who_runs() -> None:
    policy = Learning()
    world = World(policy=policy, max_running=1)
    first, second, third = (world.add(prompt(5, seed), max_tokens=20) for seed in range(3))
    world.step()

    policy.sign = -1
    policy.changed = [first.id, second.id, third.id]
    world.run()

    assert list(world.ends) == [third.id, second.id, first.id]
    assert first.preemptions == 1
    world.check_results()


def test_branches_of_a_long_context_compute_it_once() -> None:
    world = World(block_size=16, num_blocks=300, max_context=4000, max_running=8)
    context = prompt(2000)

    branches = [world.add([*context, branch], max_tokens=4) for branch in range(8)]
    world.run()

    assert world.engine.computed_tokens == 2000 + 8 + 8 * 3
    assert sum(request.cached_tokens for request in branches) == 7 * 2000
    world.check_results()


@pytest.mark.parametrize("seed", range(25))
def test_no_history_changes_a_result_or_keeps_a_block(seed: int) -> None:
    Storm(seed).run(250)


def test_the_histories_reach_what_they_are_for() -> None:
    worlds = [Storm(seed).run(250) for seed in range(25)]

    ends = {how for world in worlds for how, _ in world.ends.values()}
    requests = [request for world in worlds for request in world.requests.values()]
    fields = {field for world in worlds for plan in world.sent for field in plan}
    assert ends == {"stop", "length", "failed", "quota"}
    assert sum(request.preemptions for request in requests) > 100
    assert sum(request.cached_tokens for request in requests) > 1000
    assert fields >= {"drop", "copy_out", "copy_in", "add", "blocks", "prefill", "decode_off"}
