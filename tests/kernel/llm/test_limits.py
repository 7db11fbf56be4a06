"""What an engine says of itself is checked before anything is planned by it."""

from __future__ import annotations

from typing import Any

import pytest

from ipc.errors import BadFrameError
from kernel.llm.limits import is_swap_cheaper, limits_of
from tests.kernel.llm.world import FACTS


@pytest.mark.parametrize(
    "change",
    [
        {"block_size": 0},
        {"num_blocks": None},
        {"max_running": "8"},
        {"max_step_tokens": True},
        {"max_step_tokens": 1 << 31},
        {"max_context": 1 << 63},
        {"num_host_blocks": -1},
        {"num_host_blocks": 1 << 31},
        {"swap_ns_per_block": float("nan")},
        {"recompute_ns_per_token": -1.0},
    ],
)
def test_facts_that_cannot_be_planned_with_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadFrameError):
        limits_of({**FACTS, **change})  # type: ignore[typeddict-item]


def test_no_more_run_than_a_step_has_tokens() -> None:
    limits = limits_of({**FACTS, "max_running": 8, "max_step_tokens": 5})  # type: ignore[typeddict-item]

    assert limits.max_running == 5


def test_a_swap_is_paid_twice_a_recompute_once() -> None:
    facts = {
        **FACTS,
        "num_host_blocks": 9,
        "swap_ns_per_block": 100.0,
        "recompute_ns_per_token": 50.0,
    }
    limits = limits_of(facts)  # type: ignore[typeddict-item]

    assert is_swap_cheaper(limits, computed_tokens=17, blocks=4)
    assert not is_swap_cheaper(limits, computed_tokens=16, blocks=4)
