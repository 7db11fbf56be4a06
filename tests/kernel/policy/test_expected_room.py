"""The most that all who run will hold, against growing them a token at a time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernel.policy.expected_room import peak_growth

RUNNING = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 50)), max_size=8)


@given(RUNNING)
def test_the_peak_is_the_most_that_is_held_before_any_end(running: list[tuple[int, int]]) -> None:
    def held(age: int) -> int:
        """Tokens held after so many steps, those that end with this step still there."""
        return sum(own + age if left >= age else 0 for left, own in running)

    left, own = np.array(running, np.int64).reshape(-1, 2).T
    now = sum(own.tolist())

    peak = max([held(age) for age in range(31)], default=0) - now

    assert peak_growth(left, own) == max(peak, 0)


def test_what_ends_soon_makes_room_for_what_lasts() -> None:
    """One gives back 100 tokens after 10 steps, so the other's 90 are no growth."""
    assert peak_growth(np.array([10, 90]), np.array([100, 5])) == 20
