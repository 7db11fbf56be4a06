"""ipc/clock.py: clocks go forward, and the manual one only when told."""

import pytest

from ipc.clock import ManualClock, SystemClock


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(5)
    wall = clock.wall_ns()

    clock.advance(7)

    assert clock.monotonic_ns() == 12
    assert clock.wall_ns() == wall + 7


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="back"):
        ManualClock().advance(-1)


def test_the_system_clock_reads_the_machines_clocks() -> None:
    clock = SystemClock()

    assert clock.monotonic_ns() <= clock.monotonic_ns()
    assert clock.wall_ns() > 1_700_000_000_000_000_000
