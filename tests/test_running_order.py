"""The order of the files of tests: nothing is left out, what waits is spread."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.running_order import LONGEST, by_length, spread

TESTS = Path(__file__).parent


@given(st.integers(0, 40), st.integers(0, 300))
def test_each_file_is_run_once_and_in_the_order_of_its_list(num_slow: int, num_others: int) -> None:
    slow, others = [("slow", n) for n in range(num_slow)], [("other", n) for n in range(num_others)]

    order = spread(slow, others)

    assert [one for one in order if one[0] == "slow"] == slow
    assert [one for one in order if one[0] == "other"] == others


def test_slow_files_are_apart_and_the_end_is_of_short_ones() -> None:
    order = spread(list("ABC"), list(range(20)))

    assert order == ["A", *range(5), "B", *range(5, 10), "C", *range(10, 20)]


def test_the_longest_files_exist_and_come_first() -> None:
    assert [name for name in LONGEST if not (TESTS / name).is_file()] == []
    assert sorted([TESTS / "ipc/test_arrays.py", TESTS / LONGEST[1]], key=by_length) == [
        TESTS / LONGEST[1],
        TESTS / "ipc/test_arrays.py",
    ]
