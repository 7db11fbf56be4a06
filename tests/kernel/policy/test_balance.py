"""The balancing policies: each one's bound, and what they do with one slow replica of four."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import BadPolicyError, UnknownPolicyError
from kernel.policy.balance import ANY, Demand, Replica
from kernel.policy.balance_ewma import PeakEwma
from kernel.policy.balance_filters import Groups
from kernel.policy.balance_names import BALANCERS, new_balancer
from kernel.policy.balance_prefix import MAX_GAP, PrefixAffinity
from kernel.policy.balance_score import MEMORY, Scores
from kernel.policy.balance_skill import SkillMatch
from tests.kernel.policy.replicas import choices, mean_wait_ms, replicas

ONE_SLOW = (10.0, 10.0, 10.0, 40.0)  # ms a job


def wait_of(name: str) -> float:
    """Return the mean wait at 0.91 of what the slow one can carry under round robin."""
    balancer = new_balancer(name, random.Random(5))
    return mean_wait_ms(balancer, ONE_SLOW, gap_ms=11.0, jobs=4000, seed=11)


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownPolicyError) as caught:
        new_balancer("fastest", random.Random(0))

    assert all(name in str(caught.value) for name in BALANCERS)


def test_with_one_slow_replica_of_four_looking_at_load_waits_less_than_round_robin() -> None:
    waits = {name: round(wait_of(name), 2) for name in BALANCERS}

    assert waits["round_robin"] == 10.48  # exact: one seed gives one history
    assert waits["p2c"] == 1.8
    assert waits["response_time"] < waits["least_outstanding"] < waits["p2c"]


def test_beyond_what_the_slow_replica_can_do_only_round_robin_falls_behind() -> None:
    def wait(name: str) -> float:
        balancer = new_balancer(name, random.Random(5))
        return mean_wait_ms(balancer, ONE_SLOW, gap_ms=6.0, jobs=4000, seed=11)

    assert wait("round_robin") > 500  # its line grows by two thirds of a job every 24 ms
    assert wait("response_time") < 30
    assert wait("p2c") < 30


@given(st.sampled_from(sorted(BALANCERS)), st.integers(1, 6), st.integers(0, 40), st.integers())
def test_every_policy_returns_one_of_the_given_and_changes_none(
    name: str, count: int, jobs: int, seed: int
) -> None:
    balancer, places = new_balancer(name, random.Random(seed)), replicas(count)

    chosen = choices(balancer, places, [ANY] * jobs)

    assert set(chosen) <= {place.id for place in places}
    assert sum(place.outstanding for place in places) == jobs


@given(st.integers(1, 7), st.integers(0, 60))
def test_round_robin_chooses_all_equally_often_up_to_one(count: int, jobs: int) -> None:
    chosen = choices(new_balancer("round_robin", random.Random(0)), replicas(count), [ANY] * jobs)

    counts = [chosen.count(place + 1) for place in range(count)]
    assert max(counts) - min(counts) <= 1


def test_two_choices_keep_the_fullest_near_the_mean() -> None:
    places = replicas(64)

    choices(new_balancer("p2c", random.Random(3)), places, [ANY] * 6400)

    assert max(place.outstanding for place in places) <= 104  # a random choice gives about 125


def test_one_seed_gives_one_history() -> None:
    def history(name: str) -> list[int]:
        return choices(new_balancer(name, random.Random(9)), replicas(5), [ANY] * 50)

    assert all(history(name) == history(name) for name in BALANCERS)


# --- response time ---------------------------------------------------------------------------


def test_bad_news_is_believed_at_once_and_good_news_slowly() -> None:
    average = PeakEwma(decay_ns=1000)
    average.observe(10, 0)

    average.observe(100, 1)
    at_peak = average.value_ns
    average.observe(10, 2)
    just_after = average.value_ns
    average.observe(10, 2002)

    assert at_peak == 100
    assert just_after > 99
    assert average.value_ns < 25


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 10**9)), min_size=1, max_size=50))
def test_the_average_stays_between_the_least_and_the_greatest(seen: list[tuple[int, int]]) -> None:
    average, now_ns = PeakEwma(), 0
    for took_ns, gap_ns in seen:
        now_ns += gap_ns
        average.observe(took_ns, now_ns)

    times = [took_ns for took_ns, _ in seen]
    assert min(times) * 0.999 <= average.value_ns <= max(times)


def test_who_fails_fast_is_not_taken_for_fast() -> None:
    good, bad = replicas(2)
    good.succeed("", 50, 1)
    bad.succeed("", 60, 1)

    bad.fail("", 1, 2)

    assert new_balancer("response_time", random.Random(0)).choose([bad, good], ANY, 3) is good


def test_a_new_replica_is_tried_once_not_flooded() -> None:
    old, new = replicas(2)
    old.succeed("", 10, 1)
    balancer = new_balancer("response_time", random.Random(0))

    chosen = choices(balancer, [old, new], [ANY] * 4)

    assert chosen == [new.id, old.id, new.id, old.id]  # then it counts as slow as the slowest


# --- prefixes --------------------------------------------------------------------------------


def test_the_longest_prefix_wins_while_the_loads_are_near() -> None:
    first, second, third = places = replicas(3)
    demand = Demand(cached={first.id: 100, second.id: 300})
    balancer = PrefixAffinity()

    chosen = choices(balancer, places, [demand] * (MAX_GAP + 1))

    assert chosen == [second.id] * (MAX_GAP + 1)
    assert balancer.choose(places, demand, 99) is first  # the best is too busy: the next best
    assert balancer.choose([third, second], demand, 99) is third


def test_without_a_prefix_the_least_loaded_is_chosen() -> None:
    assert choices(PrefixAffinity(), replicas(3), [ANY] * 6) == [1, 2, 3, 1, 2, 3]


def test_a_gap_below_zero_is_refused() -> None:
    with pytest.raises(BadPolicyError, match="max_gap"):
        PrefixAffinity(max_gap=-1)
    with pytest.raises(BadPolicyError, match="max_gap"):
        SkillMatch(random.Random(0), max_gap=-1)


# --- skills ----------------------------------------------------------------------------------


def test_only_who_declares_the_skill_is_chosen_and_all_if_nobody_does() -> None:
    french, german = Replica(1, frozenset({"french"})), Replica(2, frozenset({"german"}))
    balancer = SkillMatch(random.Random(0))

    chosen = choices(balancer, [french, german], [Demand(skill="german")] * 20)
    unknown = choices(balancer, [french, german], [Demand(skill="latin")] * 60)

    assert chosen == [german.id] * 20
    assert set(unknown) == {french.id, german.id}


def test_who_succeeds_more_often_gets_most_of_the_work() -> None:
    rng, places = random.Random(4), replicas(3)
    odds = {1: 0.5, 2: 0.95, 3: 0.6}
    balancer = SkillMatch(random.Random(8))
    given_to = {1: 0, 2: 0, 3: 0}

    for number in range(400):
        place = balancer.choose(places, ANY, number)
        place.begin(number + 1)
        given_to[place.id] += 1
        if rng.random() < odds[place.id]:
            place.succeed("", 1, number)
        else:
            place.fail("", 1, number)
        place.end()

    assert given_to[2] > 300
    assert min(given_to.values()) >= 1


def test_a_busy_expert_is_passed_over() -> None:
    expert, other = replicas(2)
    for _ in range(50):
        expert.succeed("", 1, 1)
        other.fail("", 1, 1)
    balancer = SkillMatch(random.Random(0), max_gap=2)

    chosen = choices(balancer, [expert, other], [ANY] * 6)

    assert chosen.count(expert.id) == 4
    assert chosen.count(other.id) == 2


def test_scores_forget_so_that_a_change_is_seen() -> None:
    scores = Scores()
    for _ in range(10 * MEMORY):
        scores.add("x", success=True)
    for _ in range(2 * MEMORY):
        scores.add("x", success=False)

    assert scores.mean("x") < 0.25
    assert scores.mean("never asked for") == 0.5


# --- filters ---------------------------------------------------------------------------------


def test_jobs_of_one_affinity_stay_together_while_any_is_unfinished() -> None:
    places, groups = replicas(3), Groups()
    groups.enter("k", 2)
    groups.enter("k", 2)

    while_two = groups.near("k", places)
    groups.leave("k", 2)
    while_one = groups.near("k", places)
    groups.leave("k", 2)

    assert [place.id for place in while_two] == [place.id for place in while_one] == [2]
    assert groups.near("k", places) is places
    assert len(groups) == 0


def test_an_affinity_whose_replica_is_gone_binds_no_more() -> None:
    groups = Groups()
    groups.enter("k", 9)

    assert len(groups.near("k", replicas(2))) == 2


def test_jobs_that_are_to_be_apart_go_to_those_with_the_fewest_of_them() -> None:
    places, groups = replicas(3), Groups()
    groups.enter("vote", 1)
    groups.enter("vote", 3)

    assert [place.id for place in groups.apart("vote", places)] == [2]
    groups.enter("vote", 2)
    assert len(groups.apart("vote", places)) == 3  # nobody can keep it: it gives way


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3)), max_size=30))
def test_a_key_is_remembered_exactly_while_a_job_with_it_is_unfinished(
    jobs: list[tuple[str, int]],
) -> None:
    groups = Groups()
    for key, place in jobs:
        groups.enter(key, place)
    assert len(groups) == len({key for key, _ in jobs})

    for key, place in reversed(jobs):
        groups.leave(key, place)

    assert len(groups) == 0
