"""How long a context is held: the time that gains most, learned for each tool."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.policy import hold_time as module
from kernel.policy.hold_time import DEFAULT_S, ENOUGH, LOST_S, HoldTimes, best_time

TIMES = st.lists(
    st.one_of(st.integers(0, 100).map(float), st.just(math.inf)), min_size=1, max_size=20
)


def taught(times: HoldTimes, tools: str, *seconds: float, site: str = "") -> HoldTimes:
    """Each is back after so long, then it is the next one's turn."""
    now_s = 0.0
    for number, time_s in enumerate(seconds):
        times.leave(f"{tools}{number}", tools, site, now_s)
        now_s += time_s
        times.come_back(f"{tools}{number}", now_s)
    return times


@given(TIMES, st.integers(0, 200).map(float))
def test_no_time_gains_more_than_the_one_that_is_chosen(
    times: list[float], refill_s: float
) -> None:
    def gain(hold_s: float) -> float:
        back = sum(time <= hold_s for time in times)
        return refill_s * back - sum(min(time, hold_s) for time in times)

    chosen = best_time(tuple(times), refill_s)

    assert gain(chosen) == max(gain(0.0), *(gain(t) for t in times if t < math.inf), gain(chosen))
    assert chosen in {0.0, *times}


def test_a_tool_that_is_quick_is_waited_for_and_one_that_is_slow_is_not() -> None:
    times = taught(HoldTimes(), "quick", *[1.0] * 9 + [3.0])
    taught(times, "slow", *[500.0] * 10)

    assert times.hold_s("quick", "", refill_s=20.0) == 3.0
    assert times.hold_s("slow", "", refill_s=20.0) == 0.0


def test_what_costs_more_to_compute_again_is_held_longer() -> None:
    times = taught(HoldTimes(), "any", 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)

    holds = [times.hold_s("any", "", refill_s) for refill_s in (0.5, 5.0, 50.0, 500.0)]

    assert holds == sorted(holds)
    assert (holds[0], holds[-1]) == (0.0, 128.0)


def test_a_tool_that_is_not_known_is_judged_by_its_site_then_by_all() -> None:
    times = HoldTimes()
    assert times.hold_s("new", "here", 20.0) == DEFAULT_S

    taught(times, "other", *[5.0] * ENOUGH)
    assert times.hold_s("new", "here", 20.0) == 5.0

    taught(times, "another", *[9.0] * ENOUGH, site="here")
    assert times.hold_s("new", "here", 20.0) == 9.0


def test_who_never_comes_back_makes_holding_dearer() -> None:
    times = taught(HoldTimes(), "ask", *[30.0] * ENOUGH)
    before = times.hold_s("ask", "", 60.0)
    for number in range(3 * ENOUGH):
        times.leave(f"gone{number}", "ask", "", 1000.0)
    times.leave("last", "ask", "", 1001.0 + LOST_S)

    assert (before, times.hold_s("ask", "", 60.0)) == (30.0, 0.0)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AWAY", 10)
    monkeypatch.setattr(module, "MAX_KEYS", 5)
    times = HoldTimes()
    for number in range(200):
        times.leave(f"p{number}", f"tool{number}", "site", float(number))
        if number % 2:
            times.come_back(f"p{number}", number + 0.5)

    assert len(times.num_times()) == 5
    assert max(times.num_times().values()) <= module.TIMES
