"""kernel/policy/max_min.py: its four promises, for any claims."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import BadPolicyError, ReservationError
from kernel.policy.max_min import Claim, max_min


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    floor = draw(st.integers(0, 50))
    cap = draw(st.none() | st.integers(floor, 200))
    return Claim(draw(st.integers(1, 100)), floor, cap)


@st.composite
def problems(draw: st.DrawFn) -> tuple[int, list[Claim]]:
    chosen = draw(st.lists(claims(), min_size=1, max_size=6))
    floors = sum(claim.floor for claim in chosen)
    return floors + draw(st.integers(0, 1000)), chosen


@given(problems())
def test_shares_are_feasible_and_nothing_is_left_that_somebody_could_use(
    problem: tuple[int, list[Claim]],
) -> None:
    capacity, chosen = problem
    shares = max_min(capacity, chosen)

    for share, claim in zip(shares, chosen, strict=True):
        assert claim.floor <= share <= (capacity if claim.cap is None else claim.cap)
    caps = sum(capacity if claim.cap is None else claim.cap for claim in chosen)
    assert sum(shares) == min(capacity, caps)


@given(problems())
def test_who_has_less_per_weight_is_at_its_cap_or_the_other_at_its_floor(
    problem: tuple[int, list[Claim]],
) -> None:
    capacity, chosen = problem
    shares = max_min(capacity, chosen)

    for share, claim in zip(shares, chosen, strict=True):
        if share == claim.cap:
            continue
        for other_share, other in zip(shares, chosen, strict=True):
            if other_share > other.floor:  # but for the unit that rounding may move
                lower = Fraction(other_share - 1, other.weight)
                assert Fraction(share + 1, claim.weight) >= lower


@given(problems())
def test_shares_are_within_a_unit_of_the_level_found_by_bisection(
    problem: tuple[int, list[Claim]],
) -> None:
    capacity, chosen = problem
    shares = max_min(capacity, chosen)

    def at(level: float) -> list[float]:
        caps = [capacity if claim.cap is None else claim.cap for claim in chosen]
        pairs = zip(chosen, caps, strict=True)
        return [min(max(level * claim.weight, claim.floor), cap) for claim, cap in pairs]

    low, high = 0.0, float(capacity + 201)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(at(middle)) <= capacity else (low, middle)
    for share, exact in zip(shares, at(low), strict=True):
        assert abs(share - exact) < 1 + 1e-6


@given(problems(), st.integers(0, 11))
def test_asking_for_less_gives_nobody_else_less(
    problem: tuple[int, list[Claim]], which: int
) -> None:
    capacity, chosen = problem
    index = which % len(chosen)
    before = max_min(capacity, chosen)
    modest = Claim(chosen[index].weight, chosen[index].floor, chosen[index].floor)

    after = max_min(capacity, [*chosen[:index], modest, *chosen[index + 1 :]])

    for other, (old, new) in enumerate(zip(before, after, strict=True)):
        assert other == index or new >= old - 1


def test_equal_claims_get_equal_shares_and_the_first_the_odd_unit() -> None:
    assert max_min(10, [Claim(), Claim(), Claim()]) == [4, 3, 3]


def test_weights_divide_what_floors_and_caps_leave() -> None:
    assert max_min(1000, [Claim(1), Claim(3)]) == [250, 750]
    assert max_min(1000, [Claim(1, floor=600), Claim(1), Claim(1)]) == [600, 200, 200]
    assert max_min(1000, [Claim(1, cap=100), Claim(1), Claim(2)]) == [100, 300, 600]


def test_without_claims_there_are_no_shares() -> None:
    assert max_min(10, []) == []


def test_floors_beyond_the_capacity_are_refused_with_how_much_is_missing() -> None:
    with pytest.raises(ReservationError, match="1000 of 1000 are free, 500 too few"):
        max_min(1000, [Claim(floor=700), Claim(floor=800)], resource="cpu")


@pytest.mark.parametrize(
    "claim", [Claim(weight=0), Claim(weight=-3), Claim(floor=-1), Claim(floor=5, cap=4)]
)
def test_a_claim_that_means_nothing_is_refused(claim: Claim) -> None:
    with pytest.raises(BadPolicyError, match="max-min"):
        max_min(10, [claim])
