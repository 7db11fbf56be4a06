"""kernel/supervisor.py: OTP's words, as OTP means them."""

from __future__ import annotations

import random

import pytest

from kernel.supervisor import Restart, RestartWindow, Strategy, backoff_ns

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("kind", "after_crash", "after_exit"),
    [
        (Restart.PERMANENT, True, True),
        (Restart.TRANSIENT, True, False),
        (Restart.TEMPORARY, False, False),
    ],
)
def test_the_restart_kind_says_which_exits_bring_an_actor_back(
    kind: Restart, after_crash: bool, after_exit: bool
) -> None:
    assert kind.wants_restart(crashed=True) is after_crash
    assert kind.wants_restart(crashed=False) is after_exit


@pytest.mark.parametrize(
    ("strategy", "group"),
    [
        (Strategy.ONE_FOR_ONE, [2]),
        (Strategy.ONE_FOR_ALL, [1, 2, 3]),
        (Strategy.REST_FOR_ONE, [2, 3]),
    ],
)
def test_the_strategy_says_who_restarts_with_the_crashed_one(
    strategy: Strategy, group: list[int]
) -> None:
    assert strategy.group(2, [1, 2, 3]) == group


def test_intensity_restarts_are_admitted_and_one_more_is_not() -> None:
    window = RestartWindow(intensity=3, period_ns=SECOND)

    assert [window.admit(now) for now in range(4)] == [True, True, True, False]


def test_restarts_older_than_the_period_do_not_count() -> None:
    window = RestartWindow(intensity=1, period_ns=SECOND)

    assert window.admit(0)
    assert not window.admit(SECOND - 1)
    assert window.admit(3 * SECOND)
    assert window.recent == 1


def test_a_window_without_intensity_admits_nothing() -> None:
    assert not RestartWindow(intensity=0, period_ns=SECOND).admit(0)


def test_an_operator_forgives() -> None:
    window = RestartWindow(intensity=1, period_ns=SECOND)
    window.admit(0)

    window.clear()

    assert window.admit(1)


def test_backoff_doubles_up_to_its_maximum() -> None:
    delays = [backoff_ns(attempt, 0.1, 1.0, 0.0, random.Random(1)) for attempt in range(1, 7)]

    assert [delay / SECOND for delay in delays] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_backoff_of_a_very_late_attempt_does_not_overflow() -> None:
    assert backoff_ns(10_000, 0.1, 30.0, 0.0, random.Random(1)) == 30 * SECOND


def test_jitter_spreads_delays_within_its_share() -> None:
    rng = random.Random(5)

    delays = [backoff_ns(1, 1.0, 9.0, 0.2, rng) / SECOND for _ in range(200)]

    assert 0.8 <= min(delays) < 0.85 < 1.15 < max(delays) <= 1.2
