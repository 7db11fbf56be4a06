"""The alternation of runs that every bench's figures come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count

from bench.report import alternate


def test_runs_alternate_and_the_first_round_counts_for_nothing() -> None:
    order: list[str] = []

    def runner(name: str, samples: list[float]) -> Callable[[], float]:
        def run() -> float:
            order.append(name)
            return samples.pop(0)

        return run

    runs = {"ours": runner("ours", [99, 1, 3, 2]), "floor": runner("floor", [98, 7, 5, 9])}
    assert alternate(runs, 3) == {"ours": 2, "floor": 7}
    assert order == ["ours", "floor"] * 4


def test_who_gives_no_number_at_first_is_not_run_again() -> None:
    asked = count()

    def hang() -> float:
        next(asked)
        return math.nan

    found = alternate({"ours": lambda: 1.0, "hangs": hang}, 3)
    assert found["ours"] == 1.0
    assert math.isnan(found["hangs"])
    assert next(asked) == 1
