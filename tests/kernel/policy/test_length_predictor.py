"""What the length predictor promises, on calls with a known answer."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.policy import length_predictor as module
from kernel.policy.calibration import LEVELS, Accuracy
from kernel.policy.estimate import Estimate
from kernel.policy.length_predictor import CallFeatures, LengthPredictor, history_class
from kernel.policy.neighbours import HALF_LIFE, LEAST, NEAR, NEW, Neighbours

LENGTHS = st.integers(1, 4000)


def taught(calls: list[tuple[CallFeatures, int]]) -> LengthPredictor:
    predictor = LengthPredictor()
    for call, output_tokens in calls:
        predictor.learn(call, output_tokens, predictor.predict(call))
    return predictor


def call(program: str = "p", site: str = "s", prompt: int = 100, **fields: int) -> CallFeatures:
    return CallFeatures(program, site, prompt, **fields)


def mixed_calls(number: int, seed: int = 1) -> list[tuple[CallFeatures, int]]:
    numbers = random.Random(seed)
    return [
        (
            call(f"p{numbers.randrange(20)}", f"s{numbers.randrange(5)}", numbers.randint(1, 9000)),
            numbers.randint(1, 900),
        )
        for _ in range(number)
    ]


def test_before_anything_ended_there_is_a_guess() -> None:
    assert LengthPredictor().predict(call()).mean == module.FIRST_GUESS


def test_prompts_of_a_length_are_told_apart() -> None:
    calls = [(call(f"p{n}", "", 100 if n % 2 else 3000), 20 if n % 2 else 700) for n in range(600)]

    predictor = taught(calls)

    assert predictor.predict(call("new", "", 100)).mean == pytest.approx(20)
    assert predictor.predict(call("new", "", 3000)).mean == pytest.approx(700)


def test_call_sites_are_told_apart() -> None:
    calls = [(call(f"p{n}", "ab"[n % 2]), (30, 600)[n % 2]) for n in range(600)]

    predictor = taught(calls)

    assert predictor.predict(call("new", "a")).mean < 100
    assert predictor.predict(call("new", "b")).mean > 400


def test_a_programs_own_outputs_outweigh_the_crowd() -> None:
    crowd = [(call(f"p{n}"), 30) for n in range(300)]

    predictor = taught([*crowd, *[(call("talker"), 1000)] * 3])

    assert predictor.predict(call("talker")).mean > 700
    assert predictor.predict(call("new")).mean < 100
    predictor.forget_program("talker")
    assert predictor.predict(call("talker")).mean < 100


def test_no_guess_is_above_the_calls_limit() -> None:
    predictor = taught([(call(), 1000)] * 10)

    estimate = predictor.predict(call(max_tokens=64))

    assert (estimate.quantile(0.99), estimate.lengths[-1]) == (64, 64)
    assert estimate.mean == pytest.approx(64)


@pytest.mark.parametrize("seed", [1, 2])
def test_quantiles_cover_what_they_say_within_five_points(seed: int) -> None:
    """Programs with habits, and lengths that double half-way: both need the calibration."""
    numbers = random.Random(seed)
    predictor, below = LengthPredictor(), [0] * len(LEVELS)
    for number in range(6000):
        program = numbers.randrange(200)
        habit = 50 + program * (1 if number < 3000 else 2)
        output = max(1, round(habit * numbers.lognormvariate(0, 0.5)))
        which = call(f"p{program}", "", numbers.randint(10, 5000))
        estimate = predictor.predict(which)
        predictor.learn(which, output, estimate)
        if number >= 1000:
            for index, (_, limit) in enumerate(estimate.quantiles):
                below[index] += output <= limit

    for level, count in zip(LEVELS, below, strict=True):
        assert count / 5000 == pytest.approx(level, abs=0.05)
    assert predictor.report().coverage[0.9] == pytest.approx(0.9, abs=0.05)


def test_guesses_worse_than_a_coin_become_one_constant() -> None:
    """Each program does the opposite of what it did last: shortest-first on it would be wrong."""
    calls = [(call(f"p{n % 50}", "", 100), 1000 if (n // 50 + n) % 2 else 10) for n in range(3000)]

    predictor = taught(calls)

    assert predictor.report().skill < 0
    assert not predictor.is_trusted
    assert len({predictor.predict(which).key for which, _ in calls[:50]}) == 1


def test_the_report_measures_error_bias_and_order() -> None:
    accuracy = Accuracy()
    for number in range(5000):
        guess, quantiles = 90.0 + number % 2, tuple((level, 100) for level in LEVELS)
        accuracy.learn(guess, guess + 20, quantiles, 100 + number % 2)

    report = accuracy.report()

    assert (report.absolute_error, report.bias) == (pytest.approx(10), pytest.approx(10))
    assert report.mean_tokens == pytest.approx(100.5, abs=0.01)
    assert report.skill == pytest.approx(1)
    assert report.coverage[0.5] == pytest.approx(0.5, abs=0.01)


def test_the_same_calls_give_the_same_guesses_after_a_snapshot_too() -> None:
    before, after = mixed_calls(900), mixed_calls(300, seed=2)

    first, second = (
        taught(before),
        LengthPredictor.restored(json.loads(json.dumps(taught(before).snapshot()))),
    )

    for which, output_tokens in after:
        assert first.predict(which) == second.predict(which)
        first.learn(which, output_tokens, first.predict(which))
        second.learn(which, output_tokens, second.predict(which))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PROGRAMS", 10)
    monkeypatch.setattr(module, "MAX_SITES", 4)

    snapshot = taught(mixed_calls(2000)).snapshot()

    assert (len(snapshot["programs"]), len(snapshot["sites"])) == (10, 4)
    assert all(len(recent) <= module.RECENT for _, recent in snapshot["programs"])
    assert len(taught([(call(f"p{n}"), 5) for n in range(5000)]).snapshot()["all"]) == 512


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), LENGTHS), max_size=80), st.integers(0, 300))
def test_neighbours_are_those_a_sorted_list_gives(
    entries: list[tuple[int, int]], prompt: int
) -> None:
    neighbours, kept = Neighbours(limit=3, per_octave=1), []
    for number, (tokens, output) in enumerate(entries):
        neighbours.add(tokens, output, number // 2)
        kept.append((tokens, number, output))
        band = [entry for entry in kept if (entry[0] + 1).bit_length() == (tokens + 1).bit_length()]
        if len(band) > 3:
            kept.remove(band[0])
    kept.sort()
    below = sum(entry[0] < prompt for entry in kept)
    equal = sum(entry[0] == prompt for entry in kept)
    first = max(0, min((2 * below + equal - 8) // 2, len(kept) - 8))

    assert len(neighbours) == len(kept)
    found = neighbours.nearest(prompt, 8, 1e6, len(entries))
    assert [output for output, _ in found] == [entry[2] for entry in kept[first : first + 8]]
    assert [weight > 1 for _, weight in found] == [
        entry[0] == prompt for entry in kept[first : first + 8]
    ]


def test_of_many_calls_of_one_length_the_newest_count() -> None:
    neighbours = Neighbours(limit=100, per_octave=1)
    for output in range(50):
        neighbours.add(70, output, 0)

    assert [output for output, _ in neighbours.nearest(70, 8, 0.0, 0)] == list(range(42, 50))


def test_what_was_learned_long_ago_counts_less() -> None:
    neighbours = Neighbours(limit=9000, per_octave=1)
    neighbours.add(70, 1, 0)
    neighbours.add(70, 2, HALF_LIFE)

    weights = dict(neighbours.nearest(70, 9000, 0.0, HALF_LIFE))

    assert weights[1] == pytest.approx(weights[2] / 2, rel=0.1)


def test_the_nearer_a_prompt_in_length_the_more_it_counts() -> None:
    neighbours = Neighbours(limit=100, per_octave=1)
    for prompt in range(60, 81):
        neighbours.add(prompt, prompt, 0)

    weights = dict(neighbours.nearest(70, 100, 0.0, 0))

    for distance in range(1, 11):
        expected = pytest.approx(weights[70] / (1 + distance / NEAR))
        assert (weights[70 - distance], weights[70 + distance]) == (expected, expected)


def test_calls_of_a_rare_length_count_more_each_than_those_of_a_common_one() -> None:
    neighbours = Neighbours(limit=100, per_octave=1)
    for prompt, number in ((50, 1), (70, 20)):
        for output in range(number):
            neighbours.add(prompt, output, 0)

    rare, common = neighbours.nearest(50, 1, 60.0, 0), neighbours.nearest(70, 20, 60.0, 0)

    assert rare[0][1] > 10 * max(weight for _, weight in common)
    assert sum(weight for _, weight in common) == pytest.approx((60 + 20) * (1 + LEAST), rel=0.01)


def test_that_a_rare_length_came_again_tells_while_it_is_new_though_nothing_ends() -> None:
    crowd = [(call(f"p{n}", "", 1000 + n % 50), 400) for n in range(400)]
    predictor = taught([*crowd, (call("asks", "", 1100), 20)])
    again = call("again", "", 1100)

    new = predictor.predict(again).key
    for _ in range(10 * NEW):
        predictor.predict(crowd[0][0])

    assert new < 200
    assert predictor.predict(again).key > 300


def test_one_call_far_longer_than_the_rest_moves_the_guess_less_than_the_mean() -> None:
    predictor = taught([*[(call(f"p{n}"), 100) for n in range(50)], (call("long"), 4000)])

    estimate = predictor.predict(call("new"))

    assert 100 < estimate.key == estimate.guess < 0.9 * estimate.mean


@settings(deadline=None)
@given(st.lists(LENGTHS, min_size=1, max_size=40), st.integers(0, 4000), st.floats(0.01, 0.99))
def test_what_remains_is_the_mean_of_what_is_longer(
    lengths: list[int], generated: int, level: float
) -> None:
    lengths.sort()
    cumulative = tuple(float(number) for number in range(1, len(lengths) + 1))
    estimate = Estimate(0, 0, 0, tuple(lengths), cumulative, (), 0)
    longer = [length - generated for length in lengths if length > generated]
    expected = sum(longer) / len(longer) if longer else max(1, generated)

    assert estimate.remaining(generated) == pytest.approx(expected)
    quantile = estimate.quantile(level)
    assert sum(length <= quantile for length in lengths) >= level * len(lengths) - 1e-9
    assert sum(length < quantile for length in lengths) < level * len(lengths) + 1e-9


def test_history_is_counted_in_doublings() -> None:
    assert [history_class(number) for number in range(9)] == [0, 1, 2, 2, 3, 3, 3, 3, 3]
