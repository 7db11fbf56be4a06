"""What policies are told and asked, and what follows from their answers."""

from __future__ import annotations

from kernel.llm.policies import KeyPolicy
from kernel.llm.request import Request
from tests.kernel.llm.world import World, prompt


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
    assert len(services) < 60
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


def test_a_running_request_gives_way_only_to_a_key_smaller_by_the_policys_margin() -> None:
    policy = KeyPolicy(lambda job: float(job.priority))
    policy.margin = 2.0
    world = World(max_running=1, policy=policy)
    running = world.add(prompt(5, 0), max_tokens=20, priority=4)
    world.step()
    within = world.add(prompt(5, 1), max_tokens=2, priority=2)
    world.step()
    beyond = world.add(prompt(5, 2), max_tokens=2, priority=1)

    world.run()

    assert list(world.ends) == [beyond.id, within.id, running.id]
    assert world.scheduler.statistics().preemptions == 1
    world.check_results()
