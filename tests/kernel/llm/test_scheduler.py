"""What the LLM scheduler promises, one promise a test, on the model engine."""

from __future__ import annotations

from functools import cache

import pytest

from ipc.errors import BadPromptError, LlmQueueFullError, PromptTooLongError
from kernel.llm.request import Request
from tests.kernel.llm.storm import Storm
from tests.kernel.llm.world import World, added, ints, prompt


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
    world.scheduler.remove_owner(1)
    world.run()

    assert list(world.ends) == [stays.id]
    assert 1 not in world.scheduler.owner_statistics()
    world.check_results()


def test_branches_of_a_long_context_compute_it_once() -> None:
    world = World(block_size=16, num_blocks=300, max_context=4000, max_running=8)
    context = prompt(2000)

    branches = [world.add([*context, branch], max_tokens=4) for branch in range(8)]
    world.run()

    assert world.engine.computed_tokens == 2000 + 8 + 8 * 3
    assert sum(request.cached_tokens for request in branches) == 7 * 2000
    world.check_results()


@cache
def history(seed: int) -> World:
    return Storm(seed).run(250)


@pytest.mark.parametrize("seed", range(25))
def test_no_history_changes_a_result_or_keeps_a_block(seed: int) -> None:
    history(seed).check_results()


def test_the_histories_reach_what_they_are_for() -> None:
    worlds = [history(seed) for seed in range(25)]

    ends = {how for world in worlds for how, _ in world.ends.values()}
    requests = [request for world in worlds for request in world.requests.values()]
    fields = {field for world in worlds for plan in world.sent for field in plan}
    assert ends == {"stop", "length", "failed", "quota"}
    assert sum(request.preemptions for request in requests) > 100
    assert sum(request.cached_tokens for request in requests) > 1000
    assert fields >= {"drop", "copy_out", "copy_in", "add", "blocks", "prefill", "decode_off"}
