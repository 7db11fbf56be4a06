"""The policies by name, at the schedulers of engines."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ipc.errors import UnknownPolicyError
from kernel.config import KernelConfig
from kernel.llm.named_policies import NAMES, NamedPolicies, policy_by_name
from kernel.llm.policies import Policy
from kernel.llm.request import Request
from tests.kernel.llm.world import World, prompt

SECOND = 1_000_000_000


def told(policies: NamedPolicies) -> int:
    return len(policies.standings)


@pytest.mark.parametrize("name", NAMES)
def test_under_every_policy_all_requests_end_with_their_own_tokens(name: str) -> None:
    policies = NamedPolicies(name)
    world = World(policy=policies(), num_blocks=30)
    numbers = random.Random(name)

    for seed in range(30):
        world.add(
            prompt(numbers.randint(1, 40), seed),
            max_tokens=numbers.randint(1, 60),
            owner=numbers.randint(1, 3),
            program=numbers.randint(0, 4),
            priority=numbers.randint(0, 7),
        )
        world.step()
    world.run()

    world.check_results()
    assert told(policies) == 0


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownPolicyError) as caught:
        policy_by_name("fastest")

    assert caught.value.name == "fastest"
    assert all(name in caught.value.known for name in NAMES)


def test_the_policy_a_kernel_uses_unless_told_otherwise_is_known() -> None:
    assert KernelConfig().llm_policy in NAMES


def test_a_program_served_less_goes_before_one_served_more() -> None:
    world = World(policy=policy_by_name("least_attained"), max_running=1, max_context=400)
    world.add(prompt(30, 0), max_tokens=120, program=1)
    world.run()

    more = world.add(prompt(5, 1), max_tokens=5, program=1)
    less = world.add(prompt(5, 2), max_tokens=5, program=2)
    world.run()

    assert list(world.ends)[1:] == [less.id, more.id]


def test_what_a_program_got_at_one_engine_counts_at_another() -> None:
    policies = NamedPolicies("least_attained")
    one, other = (World(policy=policies(), max_running=1, max_context=400) for _ in range(2))
    one.add(prompt(30, 0), max_tokens=120, program=1)
    one.run()

    more = other.add(prompt(5, 1), max_tokens=5, program=1)
    less = other.add(prompt(5, 2), max_tokens=5, program=2)
    other.run()

    assert list(other.ends) == [less.id, more.id]


def test_round_robin_lets_the_next_in_when_a_quantum_is_used_up() -> None:
    world = World(policy=policy_by_name("round_robin"), max_running=1, max_context=400)
    long = world.add(prompt(5, 0), max_tokens=180)
    short = world.add(prompt(5, 1), max_tokens=10)

    world.run()

    assert list(world.ends) == [short.id, long.id]
    assert long.preemptions == 1


def test_each_engine_is_told_of_its_own_requests_keys() -> None:
    policies = NamedPolicies("least_attained")
    one, other = policies(), policies()
    requests = [Request(n, 1, [1], sampling={"max_tokens": 99, "seed": 1}) for n in (1, 2)]
    for view, request in zip((one, other), requests, strict=True):
        view.on_arrival(request, 0)
        view.on_service(request, 65, 1)  # it falls a level

    assert list(one.rekey(1)) == [1]
    assert list(other.rekey(1)) == [2]
    assert list(one.rekey(1)) == list(other.rekey(1)) == []


def test_each_engine_with_requests_of_an_owner_is_told_of_that_owners_key() -> None:
    policies = NamedPolicies("fair_share")
    one, other, idle = policies(), policies(), policies()
    requests = [Request(n, 7, [1], sampling={"max_tokens": 9, "seed": 1}) for n in (1, 2)]
    for view, request in zip((one, other), requests, strict=True):
        view.on_arrival(request, 0)

    one.on_service(requests[0], 8, 1)

    for view, told in ((one, [(7, 8.0)]), (other, [(7, 8.0)]), (idle, [])):
        assert list(view.rekey(1)) == []
        assert list(view.rekey_owners(1)) == told
        assert list(view.rekey_owners(1)) == []


def test_requests_of_a_lost_engine_are_new_to_the_policy_at_the_next() -> None:
    policies = NamedPolicies("least_attained")
    world = World(policy=policies())
    requests = [world.add(prompt(9, seed), max_tokens=30, program=seed) for seed in range(5)]
    world.step()

    world.scheduler.close(world.tick())
    assert told(policies) == 0
    world.policy = policies()
    world.replace_engine()
    assert told(policies) == len(requests)
    world.run()

    world.check_results()


def test_shortest_remaining_counts_the_completion_and_not_the_prompt() -> None:
    policy = policy_by_name("srpt")
    request = Request(1, 1, prompt(40), sampling={"max_tokens": 30, "seed": 1})
    policy.on_arrival(request, 0)

    policy.on_service(request, 40, 1)
    after_prompt = policy.key(request, 1)
    request.extend(np.zeros(20, np.int32))
    policy.on_service(request, 20, 2)

    assert after_prompt == 30
    assert policy.key(request, 2) == 10
    assert list(policy.rekey(2)) == [1]


@pytest.mark.parametrize("policy", ["priority", "fcfs"])
def test_an_older_request_from_a_dead_engine_preempts_no_equal(policy: str) -> None:
    world = World(policy=policy_by_name(policy), max_running=1)
    world.now_ns = 5 * SECOND
    younger = world.add(prompt(5, 0), max_tokens=20)
    world.step()
    older = returned(world, priority=younger.priority)

    world.run()

    assert list(world.ends) == [younger.id, older.id]
    assert younger.preemptions == 0


def test_an_urgent_request_from_a_dead_engine_preempts_a_less_urgent_one() -> None:
    world = World(policy=policy_by_name("priority"), max_running=1)
    usual = world.add(prompt(5, 0), max_tokens=20)
    world.step()
    urgent = returned(world, priority=usual.priority - 1)

    world.run()

    assert list(world.ends) == [urgent.id, usual.id]
    assert usual.preemptions == 1


def test_age_lets_a_request_wait_first_but_preempt_nobody_more_urgent() -> None:
    world = World(policy=policy_by_name("priority"), max_running=1)
    world.now_ns = 100 * SECOND
    urgent = world.add(prompt(5, 0), max_tokens=20, priority=4)
    world.step()
    aged = returned(world, priority=5)  # 10 s to a priority: it has aged past the other

    world.run()

    assert list(world.ends) == [urgent.id, aged.id]


def returned(world: World, priority: int) -> Request:
    """Add a request that came long before all others, to an engine that died."""
    now_ns, world.now_ns = world.now_ns, 0
    request = world.add(prompt(5, 1), max_tokens=20, priority=priority)
    world.now_ns = now_ns
    return request


def lengths_after(world: World, policy: Policy, ids: list[int]) -> float:
    request = Request(99, 1, ids, sampling={"max_tokens": 100, "seed": 1}, call_site="s")
    policy.on_arrival(request, world.tick())
    key = policy.key(request, world.now_ns)
    policy.on_done(request, world.now_ns)
    return key


def test_shortest_first_learns_from_what_ends_and_not_from_what_is_cancelled() -> None:
    policies = NamedPolicies("sjf")
    world = World(policy=policies())
    cancelled = world.add(prompt(9), max_tokens=50, call_site="s")
    world.step()
    world.cancel(cancelled)
    world.run()
    before = lengths_after(world, policies(), prompt(9))

    ended = world.add(prompt(9, 1), max_tokens=3, call_site="s")
    world.run()
    after = lengths_after(world, policies(), prompt(9))

    assert before == 100  # nothing is known: no more than it may have
    assert after == ended.num_emitted == 3


class Shared:
    """One engine slot, and owners whose requests each take `tokens` steps."""

    def __init__(self, *, tokens: int, plans_ahead: int = 1) -> None:
        self.world = World(
            policy=policy_by_name("fair_share"),
            plans_ahead=plans_ahead,
            max_running=1,
            max_context=400,
            num_blocks=60,
        )
        self.tokens = tokens
        self.num_steps = 0
        self.came: dict[int, int] = {}  # by request: steps
        self.begun: dict[int, int] = {}
        self.given: dict[int, int] = {}  # by owner: tokens

    def add(self, owner: int, tokens: int | None = None) -> Request:
        number = len(self.came)
        request = self.world.add(
            prompt(4, number), max_tokens=tokens or self.tokens, owner=owner, seed=number
        )
        self.came[request.id] = self.num_steps
        return request

    def step(self) -> None:
        before = {request.id: request.num_emitted for request in self.world.requests.values()}
        self.world.step()
        self.num_steps += 1
        for request in self.world.requests.values():
            gained = request.num_emitted - before.get(request.id, 0)
            if gained and request.id not in self.begun:
                self.begun[request.id] = self.num_steps
            self.given[request.owner] = self.given.get(request.owner, 0) + gained


def quiet_waits(*, has_greedy: bool, plans_out: int = 1, plans_ahead: int = 1) -> list[int]:
    """Steps to the first token of an owner that asks for 4 tokens each 20 to 30 steps.

    plans_out: 1: asked when a step has just reported; 2: once all that may be out has been sent.
    """
    shared, numbers = Shared(tokens=40, plans_ahead=plans_ahead), random.Random(2)
    due, mine = 3, []
    if has_greedy:
        for _ in range(50):
            shared.add(2)
    while shared.num_steps < 700:
        if shared.num_steps == due:
            if plans_out == 2:
                shared.world.plan()
            mine.append(shared.add(1, 4))
            due += numbers.randint(20, 30)
        shared.step()
    return sorted(
        shared.begun[each.id] - shared.came[each.id] for each in mine if each.id in shared.begun
    )


def test_an_owner_waits_for_the_steps_already_sent_beside_one_with_50_times_as_much() -> None:
    alone = quiet_waits(has_greedy=False)

    assert len(alone) > 20
    for plans_out in (1, 2):
        beside = quiet_waits(has_greedy=True, plans_out=plans_out)
        assert beside[int(0.99 * len(beside))] <= alone[int(0.99 * len(alone))] + plans_out


def test_an_owner_waits_for_one_step_more_where_no_plan_is_sent_ahead() -> None:
    alone = quiet_waits(has_greedy=False, plans_ahead=0)

    for plans_out in (1, 2):
        beside = quiet_waits(has_greedy=True, plans_out=plans_out, plans_ahead=0)
        assert beside[int(0.99 * len(beside))] <= alone[int(0.99 * len(alone))] + 1


def test_equal_owners_with_work_waiting_get_equal_shares_of_tokens() -> None:
    shared = Shared(tokens=37)
    for _ in range(10):
        for owner in range(1, 7):
            shared.add(owner)

    for _ in range(600):
        shared.step()

    given = list(shared.given.values())
    assert sum(given) ** 2 / (len(given) * sum(each**2 for each in given)) >= 0.98


def test_a_change_of_policy_loses_no_request_and_counts_from_the_next_plan_on() -> None:
    policies = NamedPolicies("fcfs")
    world, numbers = World(policy=policies(), num_blocks=30), random.Random(9)
    for seed in range(20):
        world.add(prompt(numbers.randint(1, 40), seed), max_tokens=numbers.randint(1, 60))
    for _ in range(40):
        policies.use(numbers.choice(NAMES), world.now_ns)
        world.step()
    world.run()

    world.check_results()
    assert told(policies) == 0


def test_the_new_policys_order_is_that_of_those_who_wait_already() -> None:
    policies = NamedPolicies("fcfs")
    world = World(policy=policies(), max_running=1)
    world.add(prompt(5, 0), max_tokens=5, priority=0)
    usual = world.add(prompt(5, 1), max_tokens=5, priority=4)
    urgent = world.add(prompt(5, 2), max_tokens=5, priority=1)
    world.step()

    policies.use("priority", world.now_ns)
    world.run()

    assert list(world.ends)[1:] == [urgent.id, usual.id]
