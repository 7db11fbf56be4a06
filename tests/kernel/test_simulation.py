"""The simulator over 200 seeds, the bugs planted to prove that it looks, and its determinism."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import soak
from tests.simulator.planted import PLANTED
from tests.simulator.simulation import Parts, run_seed
from tests.simulator.violation import Violation

ROOT = Path(__file__).resolve().parent.parent.parent
SEEDS = 200
GROUP = 25
PARTS = 8  # of a long run, so that several processes can share it
WITHIN = 60  # seeds in which each planted bug must be found


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_every_promise_holds_in_every_history(first: int) -> None:
    for seed in range(first, first + GROUP):
        run_seed(seed)


def seeds_until_found(parts: Parts) -> tuple[int, str]:
    """Return how many seeds it took to find the bug, and which promise was seen broken."""
    for seed in range(WITHIN):
        try:
            run_seed(seed, parts)
        except Violation as violation:
            return seed + 1, violation.promise
    raise AssertionError(f"not found in {WITHIN} seeds")


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str) -> None:
    num_seeds, promise = seeds_until_found(PLANTED[name])

    assert num_seeds <= WITHIN
    assert promise != "the core does not fail"  # else what was planted does not fit the core


def histories(hash_seed: str) -> str:
    """Return the digests of a few histories, lived in a process of its own."""
    program = (
        "from tests.simulator.simulation import run_seed\n"
        "print([run_seed(seed).digest for seed in (1, 2, 3, 7, 11)])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_a_seed_has_one_history_whatever_the_hash_seed() -> None:
    assert histories("1") == histories("12345") != ""


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_holds_in_very_many_histories(part: int) -> None:
    for seed in range(SEEDS + part, SEEDS + soak.SEEDS, PARTS):
        run_seed(seed)
