"""What is told apart when a program's return is guessed: classes of age, and of its traits.

A combination of traits is a cell, one number. Traits are known when a use ends: how long the answer
was (reading takes time), how many turns the program has had, how long it stayed away before this
use, how long its chain is. Pure; no state.
"""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AGES_PER_OCTAVE = 3
FIRST_AGE_S, LAST_AGE_S = 0.125, 32768.0
NUM_STEPS = round(math.log2(LAST_AGE_S / FIRST_AGE_S)) * AGES_PER_OCTAVE
EDGES: Floats = np.concatenate(
    [[0.0], FIRST_AGE_S * 2.0 ** (np.arange(NUM_STEPS + 1) / AGES_PER_OCTAVE)]
)
WIDTHS: Floats = np.diff(EDGES)
_EDGES: list[float] = EDGES.tolist()  # one age is found sooner in a list
NUM_AGES = len(WIDTHS)

ANSWERS = (20, 100, 300, 450, 700)  # tokens: limits of the trait's classes
TURNS = (1, 2, 3, 4, 5, 6)
GAPS_S = (0.0, 1.0, 8.0, 30.0, 60.0, 120.0, 300.0, 1000.0)  # below the first: no turn before
SIZES = (4, 16, 64)  # blocks
SHAPE = (len(ANSWERS) + 1, len(TURNS) + 1, len(GAPS_S) + 1, len(SIZES) + 1)
NUM_CELLS = math.prod(SHAPE)


def cell_of(answer_tokens: int, turn: int, gap_s: float | None, size: int) -> int:
    """Return the number of the combination of traits. gap_s: None before the second turn."""
    answer = sum(answer_tokens >= limit for limit in ANSWERS)
    turns = sum(turn >= limit for limit in TURNS)
    gap = 0 if gap_s is None else sum(gap_s >= limit for limit in GAPS_S)
    blocks = sum(size >= limit for limit in SIZES)
    return ((answer * SHAPE[1] + turns) * SHAPE[2] + gap) * SHAPE[3] + blocks


def ages_of(ages_s: Floats) -> Ints:
    """Return the number of the age class of each age."""
    return np.clip(np.searchsorted(EDGES, ages_s, side="right") - 1, 0, NUM_AGES - 1)


def age_of(age_s: float) -> int:
    """Return the number of the age class of one age."""
    return min(max(bisect_right(_EDGES, age_s) - 1, 0), NUM_AGES - 1)


def add_time_at_risk(row: Floats, age_s: float) -> None:
    """Add how long one record was in each class of age. row: (ages)."""
    age = age_of(age_s)
    row[:age] += WIDTHS[:age]
    row[age] += min(max(age_s - _EDGES[age], 0.0), _EDGES[age + 1] - _EDGES[age])


def times_at_risk(ages_s: Floats) -> Floats:
    """Return how long each record was in each class of age. Shape: (records, ages)."""
    return np.clip(ages_s[:, None] - EDGES[:-1], 0, WIDTHS)
