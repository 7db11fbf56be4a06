"""In which order files of tests are run when all are: what waits is spread among what computes.

Files with ``slow`` tests have processes of their own and mostly wait for them. Those that take
longest begin first, and between any two of these files run several that keep a processor busy. So
three workers on two processors always find something to compute, and nobody is left with a long
file at the end.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")

# Files that take longest, by what was measured; one that is missing here only begins later.
LONGEST = (
    "actors/cli/test_live.py",
    "bench/test_benches.py",
    "examples/test_embedded.py",
    "torch_engine/test_process.py",
    "examples/test_endpoint.py",
    "chaos/test_completions.py",
    "chaos/test_transfers.py",
    "remote_engine/test_end_to_end.py",
    "actors/test_processes.py",
    "actors/cli/test_live_models.py",
    "chaos/test_pools.py",
    "embedded_model/test_embedded_model.py",
    "kernel/test_daemon_process.py",
)


def spread(slow: list[Item], others: list[Item]) -> list[Item]:
    """Return both lists as one: each in its order, the slow ones evenly among the first 3/4.

    The last quarter is of the others, which are short: the workers end together.
    """
    order: list[Item] = []
    share = (3 * len(others)) // (4 * len(slow)) if slow else 0
    rest = iter(others)
    for one in slow:
        order.append(one)
        order.extend(islice(rest, share))
    return [*order, *rest]


def by_length(path: Path) -> int:
    """Return a file's place among the longest."""
    places = [place for place, name in enumerate(LONGEST) if str(path).endswith(name)]
    return places[0] if places else len(LONGEST)
