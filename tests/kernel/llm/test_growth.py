"""Admission by what is expected: fewer give way, nobody is held up for ever."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.llm.growth import expected
from kernel.llm.named_policies import HISTORY, NamedPolicies
from kernel.llm.policies import KeyPolicy
from kernel.llm.request import Request
from kernel.policy.calibration import LEVELS
from kernel.policy.estimate import Estimate
from tests.kernel.llm.world import World, prompt


def certain(tokens: int) -> Estimate:
    quantiles = tuple((level, tokens) for level in LEVELS)
    return Estimate(*[float(tokens)] * 3, (tokens,), (1.0,), quantiles, 0)


class Guessing(KeyPolicy):
    """First come first served, and every completion is expected to have this length."""

    def __init__(self, tokens: int | None) -> None:
        super().__init__(lambda _: 0.0)
        self._estimate = None if tokens is None else certain(tokens)

    def estimate(self, job: Request) -> Estimate | None:
        return self._estimate

    def may_preempt(self, waiting: Request, running: Request) -> bool:
        return False


def preemptions(world: World, number: int = 12) -> int:
    """Short prompts and long answers: 2 blocks now, 16 in the end, of 64."""
    for seed in range(number):
        world.add(prompt(6, seed), max_tokens=57)
    world.run()
    world.check_results()
    return world.scheduler.statistics().preemptions


def test_those_who_are_expected_to_grow_are_admitted_fewer_at_a_time() -> None:
    known = preemptions(World(max_running=9, admission="known", policy=Guessing(57)))
    foreseen = preemptions(World(max_running=9, admission="expected", policy=Guessing(57)))

    assert known > 6
    assert foreseen == 0


def test_without_a_guess_admission_is_by_what_is_known() -> None:
    plans = []
    for admission in ("known", "expected"):
        world = World(max_running=9, admission=admission, policy=Guessing(None))  # type: ignore[arg-type]
        preemptions(world)
        plans.append(world.sent)

    assert plans[0] == plans[1]


def test_who_runs_alone_is_admitted_whatever_is_expected() -> None:
    world = World(admission="expected", policy=Guessing(190), num_blocks=20)

    for seed in range(3):
        world.add(prompt(10, seed), max_tokens=60)
    world.run()

    world.check_results()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 50), st.booleans()), max_size=20),
    st.integers(1, 100),
)
def test_whatever_is_guessed_all_end_with_their_own_tokens(
    requests: list[tuple[int, int, bool]], guess: int
) -> None:
    world = World(max_running=6, num_blocks=24, admission="expected", policy=Guessing(guess))
    for seed, (length, most, has_pause) in enumerate(requests):
        world.add(prompt(length, seed), max_tokens=most)
        if has_pause:
            world.step()
    world.run()

    world.check_results()


def test_lengths_that_were_learned_are_expected_of_the_next() -> None:
    policies = NamedPolicies("fcfs", guesses_all=True)
    world = World(policy=policies(), admission="expected")
    for seed in range(HISTORY):
        assert not policies.has_history
        world.add(prompt(9, seed), max_tokens=7)
        world.run()

    request = world.add(prompt(9, HISTORY), max_tokens=60)
    estimate = world.policy.estimate(request)

    assert estimate is not None
    assert 0 < estimate.quantile(0.5) <= 7


def test_a_guess_that_is_outlived_gives_way_to_the_next() -> None:
    """Guesses of 10, 30 and the limit of 50 tokens; 5, 12, 45 and all 50 of which have come."""
    rest = np.array([[40, 20, 0]] * 4)

    assert expected(np.array([45, 38, 5, 0]), rest).tolist() == [5, 18, 5, 0]
