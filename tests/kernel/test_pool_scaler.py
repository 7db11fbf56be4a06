"""How many members a pool should have: bounds, hysteresis, cool-down, on a clock of the test's."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import BadPolicyError
from kernel.pools.scaler import PoolScaler, Scaling

S = 1_000_000_000
LIMITS = Scaling(2, 8, high=2.0, low=0.5, grow_after_ns=S, shrink_after_ns=10 * S, cool_down_ns=S)


def test_it_grows_only_when_the_load_lasts_and_to_what_the_load_needs() -> None:
    scaler = PoolScaler(LIMITS)

    answers = [scaler.decide(second * S, 3, 9) for second in range(2)]

    assert answers == [3, 5]  # 9 unfinished at 2 each need 5 members


def test_a_short_peak_changes_nothing() -> None:
    scaler = PoolScaler(LIMITS)

    answers = [
        scaler.decide(at_ns, 3, load)
        for at_ns, load in ((0, 50), (S - 1, 50), (S, 3), (S + 1, 50), (2 * S, 50))
    ]

    assert answers == [3] * 5


def test_it_grows_at_most_to_twice_its_size_and_never_above_the_maximum() -> None:
    scaler = PoolScaler(LIMITS)
    scaler.decide(0, 3, 1000)
    assert scaler.decide(S, 3, 1000) == 6

    scaler.decide(2 * S, 6, 1000)
    assert scaler.decide(3 * S, 6, 1000) == 8


def test_it_loses_one_member_when_the_others_have_long_been_enough() -> None:
    scaler = PoolScaler(LIMITS)

    answers = [scaler.decide(second * S, 5, 1) for second in range(11)]

    assert answers == [5] * 10 + [4]


def test_nothing_changes_in_the_cool_down_after_a_change() -> None:
    calm = Scaling(1, 8, grow_after_ns=0, cool_down_ns=5 * S)
    scaler = PoolScaler(calm)
    assert scaler.decide(0, 1, 100) == 2

    answers = [scaler.decide(second * S, 2, 100) for second in range(1, 6)]

    assert answers == [2, 2, 2, 2, 4]


@given(st.integers(1, 20), st.integers(0, 20), st.integers(0, 40), st.lists(st.integers(0, 1000)))
def test_the_answer_is_within_the_limits_whatever_the_load(
    minimum: int, more: int, members: int, loads: list[int]
) -> None:
    scaler = PoolScaler(Scaling(minimum, minimum + more, grow_after_ns=0, cool_down_ns=0))
    for second, load in enumerate(loads):
        members = scaler.decide(second * S, members, load)
        assert minimum <= members <= minimum + more


@given(st.integers(0, 100), st.integers(1, 16))
def test_under_constant_load_it_settles(load: int, members: int) -> None:
    scaler = PoolScaler(Scaling(1, 16, shrink_after_ns=S))
    sizes = []
    for tick in range(400):
        members = scaler.decide(tick * S // 4, members, load)
        sizes.append(members)

    changes = sum(before != after for before, after in itertools.pairwise(sizes))
    assert changes <= 16
    assert len(set(sizes[-40:])) == 1
    assert sizes[-1] >= min(16, math.ceil(load / 2.0))


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"minimum": 0, "maximum": 1}, "minimum"),
        ({"minimum": 4, "maximum": 3}, "maximum"),
        ({"minimum": 1, "maximum": 3, "low": 2.0}, "low"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused_by_name(wrong: dict, word: str) -> None:
    with pytest.raises(BadPolicyError, match=word):
        Scaling(**wrong)
