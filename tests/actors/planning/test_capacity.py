"""Percentiles of the time in the system, and the servers that goals need."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.planning.capacity import Goal, plan_servers
from actors.planning.percentiles import (
    service_time_percentile_s,
    share_slower,
    share_waiting_longer,
    time_in_system_s,
    waiting_time_s,
)
from actors.planning.queueing import Load, m_m_1, m_m_c
from ipc.errors import BadLoadError, UnreachableGoalError

SHARES = st.floats(0.001, 0.99999)


@settings(deadline=None)
@given(st.floats(0.01, 0.999), SHARES)
def test_of_one_server_the_time_is_exponential(load: float, share: float) -> None:
    """Kleinrock I, section 3.2: rate service - arrival."""
    steady = m_m_1(Load(load, 1))

    assert time_in_system_s(steady, share) == pytest.approx(
        -math.log(1 - share) / (1 - load), rel=1e-6
    )


@pytest.mark.parametrize(("offered", "servers"), [(2.0, 3), (1.0, 2), (0.5, 2), (6.5, 7), (40, 64)])
def test_the_tail_is_the_sum_of_waiting_and_service(offered: float, servers: int) -> None:
    """Against a convolution on a fine grid; (2, 3) and (1, 2) are the cases of equal rates."""
    steady = m_m_c(Load(offered, 1), servers)
    time_s, step = 1.7, 1e-4
    waits = np.arange(step / 2, time_s, step)
    rate = servers - offered
    density = steady.wait_probability * rate * np.exp(-rate * waits)
    slow = (1 - steady.wait_probability) * math.exp(-time_s) + share_waiting_longer(steady, time_s)

    assert share_slower(steady, time_s) == pytest.approx(
        slow + float(np.sum(density * np.exp(-(time_s - waits))) * step), rel=1e-6
    )


@settings(deadline=None)
@given(st.floats(0.05, 50), st.integers(1, 60), SHARES)
def test_a_percentile_leaves_exactly_its_share_above(
    offered: float, servers: int, share: float
) -> None:
    if offered >= 0.999 * servers:
        return
    steady = m_m_c(Load(offered, 1), servers)

    assert share_slower(steady, time_in_system_s(steady, share)) == pytest.approx(
        1 - share, rel=1e-6
    )
    assert waiting_time_s(steady, share) <= time_in_system_s(steady, share)


def test_the_mean_is_the_area_below_the_tail() -> None:
    steady = m_m_c(Load(2.5, 1), 3)
    times = np.arange(0.0005, 60, 0.001)

    area = sum(share_slower(steady, float(time_s)) for time_s in times) * 0.001

    assert area == pytest.approx(steady.time_in_system_s, rel=1e-4)


@settings(deadline=None)
@given(st.floats(0.5, 300), st.floats(1.05, 8), st.sampled_from([None, 0.5, 0.9, 0.99, 0.999]))
def test_one_server_less_would_miss(offered: float, slack: float, share: float | None) -> None:
    load = Load(offered, 1)
    goal = Goal(slack * Goal(1, share).floor_s(load), share)

    plan = plan_servers(load, [goal])

    assert goal.is_met(m_m_c(load, plan.needed))
    assert plan.needed == plan.min_stable or not goal.is_met(m_m_c(load, plan.needed - 1))


def test_without_a_goal_the_fewest_stable_servers_are_the_answer() -> None:
    assert plan_servers(Load(1000, 500), []).needed == 3
    assert plan_servers(Load(999, 500), []).needed == 2


def test_the_issues_goal_needs_three() -> None:
    plan = plan_servers(Load(1000, 500), [Goal(0.020, 0.99)])

    assert (plan.needed, plan.min_stable) == (3, 3)
    assert plan.steady.time_in_system_s == pytest.approx(2.889e-3, abs=5e-7)


def test_the_hardest_of_several_goals_decides() -> None:
    load = Load(1000, 500)
    easy, hard = Goal(0.020, 0.99), Goal(0.014, 0.999)

    assert plan_servers(load, [easy, hard]).needed == plan_servers(load, [hard]).needed == 5


def test_a_goal_below_the_service_time_itself_is_refused() -> None:
    load = Load(1000, 500)

    with pytest.raises(UnreachableGoalError) as caught:
        plan_servers(load, [Goal(0.002, 0.99)])

    assert caught.value.floor_s == pytest.approx(service_time_percentile_s(load, 0.99), rel=1e-5)


@pytest.mark.parametrize("share", [0, 1, -0.5, math.nan])
def test_what_is_no_percentile_is_refused(share: float) -> None:
    with pytest.raises(BadLoadError):
        Goal(1, share)
    with pytest.raises(BadLoadError):
        time_in_system_s(m_m_1(Load(1, 2)), share)
