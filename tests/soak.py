"""How long the long runs are.

``make soak SEEDS=10000``, the default, is full length; another number of seeds scales all of them,
and ``KILLS`` sets by itself how many processes a chaos run kills.
"""

from __future__ import annotations

import os

FULL_SEEDS = 10_000
FULL_KILLS = 300
LEAST_KILLS = 30  # as many as a usual test run has

SEEDS = int(os.environ.get("SEEDS", FULL_SEEDS))


def share_of(number: int, *, least: int = 1) -> int:
    """Return the part of a full-length number that this run's seeds are of FULL_SEEDS."""
    return max(least, number * SEEDS // FULL_SEEDS)


KILLS = int(os.environ.get("KILLS", share_of(FULL_KILLS, least=LEAST_KILLS)))
