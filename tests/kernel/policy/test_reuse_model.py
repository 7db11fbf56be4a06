"""The reuse model against returns with known hazards, and its index against all stopping ages."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.policy.reuse_fit import (
    ROUNDS,
    SLICE_AGES,
    SLICE_RECORDS,
    finished,
    fit,
    gittins,
)
from kernel.policy.reuse_model import FIT_EVERY, ReuseModel
from kernel.policy.reuse_traits import (
    EDGES,
    NUM_AGES,
    NUM_CELLS,
    WIDTHS,
    Floats,
    add_time_at_risk,
    age_of,
    ages_of,
    cell_of,
    times_at_risk,
)

TALKER, GONE = cell_of(50, 0, None, 10), cell_of(500, 0, None, 10)


def value(model: ReuseModel, cell: int, age_s: float) -> float:
    return float(model.value(np.array([cell]), np.array([age_s]))[0])


def taught(gap_s, number: int = 3000) -> ReuseModel:  # type: ignore[no-untyped-def]
    """Programs a second apart: those with short answers return once after gap_s(), others never."""
    events = []
    for program in range(number):
        events.append((float(program), f"p{program}", TALKER if program % 2 else GONE))
        if program % 2:
            events.append((program + gap_s(), f"p{program}", GONE))
    model = ReuseModel()
    for at_s, name, cell in sorted(events):
        model.use(name, at_s, cell)
        model.work()
    model.fit(float(number))
    return model


def test_a_memoryless_return_is_worth_its_rate_at_any_age() -> None:
    numbers = random.Random(1)
    model = taught(lambda: numbers.expovariate(1 / 40))

    for age_s in (0.0, 20.0, 60.0):
        assert value(model, TALKER, age_s) == pytest.approx(1 / 40, rel=0.25)


def test_who_returns_after_a_minute_is_worth_more_the_nearer_it_is() -> None:
    numbers = random.Random(2)
    model = taught(lambda: numbers.uniform(55, 65))

    fresh, near, late = (value(model, TALKER, age_s) for age_s in (0.0, 50.0, 200.0))

    assert fresh == pytest.approx(1 / 60, rel=0.3)
    assert near > 3 * fresh
    assert late < fresh / 3


def test_who_never_returns_is_worth_little() -> None:
    numbers = random.Random(3)
    model = taught(lambda: numbers.expovariate(1 / 40))

    assert value(model, GONE, 10.0) < value(model, TALKER, 10.0) / 20


def test_before_anything_is_known_the_oldest_is_worth_least() -> None:
    values = ReuseModel().value(np.zeros(NUM_AGES, np.int64), EDGES[:-1])

    assert (np.diff(values) < 0).all()


def test_a_fit_fades_what_was_counted_and_counts_those_still_away() -> None:
    numbers = random.Random(4)
    model = taught(lambda: numbers.expovariate(1 / 40), number=600)
    before = value(model, TALKER, 5.0)
    for program in range(2000):
        model.use(f"q{program}", 600.0 + program, TALKER)
        model.work()

    assert value(model, TALKER, 5.0) < before / 3


def everything(model: ReuseModel) -> Floats:
    cells = np.repeat(np.arange(NUM_CELLS), NUM_AGES)
    return model.value(cells, np.tile(EDGES[:-1], NUM_CELLS))


def test_a_fit_in_slices_comes_to_what_one_at_once_does_whatever_happens_meanwhile() -> None:
    sliced, whole = ReuseModel(), ReuseModel()
    for program in range(FIT_EVERY):
        for model in (sliced, whole):
            model.use(f"p{program % 200}", float(program), TALKER if program % 3 else GONE)
    whole.fit(float(FIT_EVERY - 1))
    before = everything(sliced)

    slices = 0
    while np.array_equal(everything(sliced), before):
        sliced.work()
        sliced.use("meanwhile", 1000.0 + slices, TALKER)
        slices += 1

    assert np.array_equal(everything(sliced), everything(whole))
    assert slices > NUM_AGES // SLICE_AGES + 2 * ROUNDS


def test_who_is_away_is_counted_a_bounded_number_at_a_time() -> None:
    """As many slices more as it takes; none looks at more than SLICE_RECORDS of them."""
    none, many = (
        sum(
            1
            for _ in fit(
                *np.zeros((2, NUM_CELLS, NUM_AGES)), np.zeros(number, int), np.zeros(number)
            )
        )
        for number in (0, 10 * SLICE_RECORDS)
    )

    assert many == none + 10


def test_ended_programs_return_no_more() -> None:
    model = ReuseModel()
    model.use("a", 0.0, TALKER)
    model.end("a", 5.0, has_returned=False)
    model.use("a", 9.0, TALKER)

    assert model.num_returns == 0


def test_the_index_is_the_best_ratio_over_all_stopping_ages() -> None:
    hazards = np.random.default_rng(0).exponential(0.01, (3, NUM_AGES))
    index = finished(gittins(hazards))

    for row, start in ((0, 0), (1, 7), (2, NUM_AGES - 1)):
        best, away, chance, held = 0.0, 1.0, 0.0, 0.0
        for age in range(start, NUM_AGES):
            hazard = hazards[row, age]
            leaves = -np.expm1(-hazard * WIDTHS[age])
            chance += away * leaves
            held += away * leaves / hazard
            away *= 1 - leaves
            best = max(best, chance / held)
        assert index[row, start] == pytest.approx(best)


@given(st.floats(-5, 1e6))
def test_one_age_counts_as_it_does_among_many(age_s: float) -> None:
    row = np.zeros(NUM_AGES)
    add_time_at_risk(row, age_s)

    assert age_of(age_s) == ages_of(np.array([age_s]))[0]
    assert row == pytest.approx(times_at_risk(np.array([age_s]))[0])


def test_ages_and_traits_fall_into_their_classes() -> None:
    assert ages_of(np.array([0.0, 0.1, 0.125, 1e9])).tolist() == [0, 0, 1, NUM_AGES - 1]
    cells = {
        cell_of(answer, turn, gap, size)
        for answer in (0, 20, 150, 300, 500, 1000)
        for turn in range(9)
        for gap in (None, 0.0, 5.0, 20.0, 40.0, 90.0, 200.0, 500.0, 5000.0)
        for size in (1, 5, 20, 100)
    }
    assert cells <= set(range(NUM_CELLS))
    assert len(cells) == 6 * 7 * 9 * 4
