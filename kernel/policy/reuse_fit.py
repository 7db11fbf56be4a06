"""One fit of the reuse model, in slices, so that no step of a loop waits for all of it.

From counts of returns and of time at risk, by traits and age, come the base hazards and factors
(kernel/policy/reuse_model.py says of what), and from those what a block is worth. All of it takes
several milliseconds; a slice is a few array operations over all counts, SLICE_RECORDS records that
are open, or SLICE_AGES columns of the index.

Promise: the result depends on the counts and records it was begun with, not on when slices run.
Cost: a slice takes at most about 0.5 ms, `us_work_most` of bench/eviction.py.
Source: Gittins, Bandit Processes and Dynamic Allocation Indices, 1979; the factors are those of
Cox's proportional hazards, fitted as for a Poisson regression of tabulated events.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from kernel.policy.reuse_traits import (
    EDGES,
    NUM_AGES,
    NUM_CELLS,
    SHAPE,
    WIDTHS,
    Floats,
    Ints,
    ages_of,
    times_at_risk,
)

SLICE_RECORDS = 128
SLICE_AGES = 4
STEPS_PER_OCTAVE = 4
MULTIPLIERS: Floats = 2.0 ** (np.arange(-16, 17) / STEPS_PER_OCTAVE)  # 1/16 to 16

PATIENCE_S = 200.0
BASE_PRIOR = 3.0  # returns that a base hazard's neighbour of less detail counts for
FACTOR_PRIOR = 8.0
ROUNDS = 4  # of fitting base and factors in turn


@dataclass(frozen=True, slots=True)
class Values:
    """What a cached block is worth, in returns per second, by its cell and its age.

    A cell differs from its base by one number, so values for a grid of numbers serve all cells.
    grid: (answers x multipliers, ages).  row: of each cell, in the grid.
    """

    grid: Floats
    row: Ints

    def at(self, cells: Ints, ages_s: Floats) -> Floats:
        """Return the value of each."""
        return self.grid[self.row[cells], ages_of(ages_s)]


Fit = Generator[None, None, Values]
Found = TypeVar("Found")


def fit(events: Floats, exposure: Floats, cells: Ints, ages_s: Floats) -> Fit:
    """Fit to these counts, and to records that are open; ends with the values.

    events, exposure: (cells, ages); taken over, and exposure is changed.
    cells, ages_s: of the records.
    """
    for start in range(0, len(cells), SLICE_RECORDS):
        part = slice(start, start + SLICE_RECORDS)
        np.add.at(exposure, cells[part], times_at_risk(ages_s[part]))
        yield
    base, factors = yield from hazards(_by_answer(events), _by_answer(exposure))
    grid = yield from gittins((base[:, None, :] * MULTIPLIERS[:, None]).reshape(-1, NUM_AGES))
    return Values(grid, _rows(factors))


def _by_answer(counts: Floats) -> Floats:
    return counts.reshape(SHAPE[0], -1, NUM_AGES)


def finished(sliced: Generator[None, None, Found]) -> Found:
    """Return what it comes to, all slices at once."""
    while True:
        try:
            next(sliced)
        except StopIteration as end:
            found: Found = end.value
            return found


def hazards(events: Floats, exposure: Floats) -> Generator[None, None, tuple[Floats, list[Floats]]]:
    """Find the base hazards by answer and age, and the factors of each further trait.

    events, exposure: (answers, combinations of the further traits, ages).
    """
    factors = [np.ones(size) for size in SHAPE[1:]]
    base = np.zeros((SHAPE[0], NUM_AGES))
    returned = events.sum((0, 2)).reshape(SHAPE[1:])
    returned_by_answer = events.sum(1)
    yield
    for _ in range(ROUNDS):
        weighted = _product(factors).reshape(-1) @ exposure
        everywhere = _by_age(returned_by_answer.sum(0), weighted.sum(0))
        base = _ratio(returned_by_answer, weighted, everywhere)
        expected = (exposure @ base[..., None]).sum(0).reshape(SHAPE[1:])
        for axis in range(len(factors)):
            factors[axis] = _factor(axis, returned, expected, factors)
        yield
    return base, factors


def _factor(axis: int, returned: Floats, expected: Floats, factors: list[Floats]) -> Floats:
    """Return one trait's factor, the others being as they are."""
    others = [np.ones_like(f) if i == axis else f for i, f in enumerate(factors)]
    rest = tuple(i for i in range(len(factors)) if i != axis)
    due = (expected * _product(others)).sum(rest)
    found: Floats = (returned.sum(rest) + FACTOR_PRIOR) / (due + FACTOR_PRIOR)
    return found


def _by_age(events: Floats, exposure: Floats) -> Floats:
    """Return the hazard of each age; where nobody has been so old yet, that of younger ones fades.

    Drawn towards the last age's hazard, falling as 1 / (PATIENCE_S + age). Without that an
    age not yet seen would promise what nobody has measured, and old blocks would be kept for it.
    """
    fading = 1 / (PATIENCE_S + EDGES[:-1])
    found = np.empty(NUM_AGES)
    prior = 1 / PATIENCE_S
    for age in range(NUM_AGES):
        if age:
            prior = found[age - 1] * fading[age] / fading[age - 1]
        found[age] = (events[age] + BASE_PRIOR) / (exposure[age] + BASE_PRIOR / prior)
    return found


def _product(factors: list[Floats]) -> Floats:
    """Return the product for each combination of turn, gap and size."""
    turn, gap, size = factors
    found: Floats = turn[:, None, None] * gap[None, :, None] * size[None, None, :]
    return found


def _ratio(events: Floats, exposure: Floats, prior: Floats) -> Floats:
    """Return events over exposure, drawn towards the prior as by BASE_PRIOR events at it."""
    found: Floats = (events + BASE_PRIOR) / (exposure + BASE_PRIOR / prior)
    return found


def _rows(factors: list[Floats]) -> Ints:
    """Return each cell's row in the grid: of its answer, the multiplier nearest to its factors."""
    nearest = np.rint(np.log2(_product(factors) / MULTIPLIERS[0]) * STEPS_PER_OCTAVE)
    step = np.clip(nearest, 0, len(MULTIPLIERS) - 1).astype(np.int64)
    answers = np.arange(SHAPE[0])[:, None, None, None] * len(MULTIPLIERS)
    rows: Ints = (answers + step).reshape(NUM_CELLS)
    return rows


def gittins(hazards: Floats) -> Generator[None, None, Floats]:
    """Find, per row and age, the best chance of return per second held, over all stopping ages.

    hazards: (rows, ages).  Cost: O(rows x ages^2), vectorised over rows; the latest age first, so
    that what follows an age is known when it is looked at.
    """
    # Ages first, so that all rows of one age lie together.
    away = np.exp(-hazards * WIDTHS).T.copy()  # after an age, of those who were away before it
    returns = 1 - away
    held = returns / np.maximum(hazards.T, 1e-300)
    chance, time_held = returns.copy(), held.copy()  # until the end of each age, from `start` on
    best = np.empty_like(away)
    yield
    for start in range(NUM_AGES - 1, -1, -1):
        chance[start + 1 :] = chance[start + 1 :] * away[start] + returns[start]
        time_held[start + 1 :] = time_held[start + 1 :] * away[start] + held[start]
        best[start] = (chance[start:] / time_held[start:]).max(0)
        if start % SLICE_AGES == 0:
            yield
    return best.T.copy()
