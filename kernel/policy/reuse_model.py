"""When will a program come back? Hazards of return by age and traits, learned online.

After each use of a program's blocks a record is open until the program's next use. The hazard, the
chance of return in the next second for one that has stayed away so long, is modelled as
    base[answer][age] x factor[turn] x factor[gap] x factor[size]
with traits known when the record opens: how long the answer was (reading takes time), how many
turns the program has had, how long it stayed away before this use, how long its chain is.
Fitted each FIT_EVERY records from decayed counts of returns and of time at risk, records still open
included. `value` turns it into what a cached block is worth: the best ratio, over all times to stop
waiting, of the chance of return until then to the time the block is held until then (a Gittins
index, returns per second). For a block whose hazard will rise it looks ahead to the rise.

Where little is known the hazard falls with age, and so does the value: with that alone the oldest
record is worth least, as under LRU.

Cost: O(ages) a record and O(open x ages) a fit, numpy; `value` is a table look-up. About 2 MB.
Source: Gittins, Bandit Processes and Dynamic Allocation Indices, 1979; the factors are those of
Cox's proportional hazards, fitted as for a Poisson regression of tabulated events.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AGES_PER_OCTAVE = 3
FIRST_AGE_S, LAST_AGE_S = 0.125, 32768.0
EDGES: Floats = np.concatenate(
    [
        [0.0],
        FIRST_AGE_S
        * 2.0
        ** (
            np.arange(round(math.log2(LAST_AGE_S / FIRST_AGE_S)) * AGES_PER_OCTAVE + 1)
            / AGES_PER_OCTAVE
        ),
    ]
)
WIDTHS: Floats = np.diff(EDGES)
NUM_AGES = len(WIDTHS)

ANSWERS = (20, 100, 300, 450, 700)  # tokens: limits of the trait's classes
TURNS = (1, 2, 3, 4, 5, 6)
GAPS_S = (0.0, 1.0, 8.0, 30.0, 60.0, 120.0, 300.0, 1000.0)  # below the first: no turn before
SIZES = (4, 16, 64)  # blocks
SHAPE = (len(ANSWERS) + 1, len(TURNS) + 1, len(GAPS_S) + 1, len(SIZES) + 1)
NUM_CELLS = math.prod(SHAPE)

STEPS_PER_OCTAVE = 4
MULTIPLIERS: Floats = 2.0 ** (np.arange(-16, 17) / STEPS_PER_OCTAVE)  # 1/16 to 16

FIT_EVERY = 256  # records
DECAY = 0.99  # of the counts, at each fit
MAX_OPEN = 20_000  # records; the oldest is taken as never to return
PATIENCE_S = 200.0
BASE_PRIOR = 3.0  # returns that a base hazard's neighbour of less detail counts for
FACTOR_PRIOR = 8.0
ROUNDS = 4  # of fitting base and factors in turn


@dataclass(slots=True)
class Record:
    """A use whose program has not come back yet."""

    at_s: float
    cell: int


def cell_of(answer_tokens: int, turn: int, gap_s: float | None, size: int) -> int:
    """Return the number of the combination of traits. gap_s: None before the second turn."""
    answer = sum(answer_tokens >= limit for limit in ANSWERS)
    turns = sum(turn >= limit for limit in TURNS)
    gap = 0 if gap_s is None else sum(gap_s >= limit for limit in GAPS_S)
    blocks = sum(size >= limit for limit in SIZES)
    return int(np.ravel_multi_index((answer, turns, gap, blocks), SHAPE))


def ages_of(ages_s: Floats) -> Ints:
    """Return the number of the age class of each age."""
    return np.clip(np.searchsorted(EDGES, ages_s, side="right") - 1, 0, NUM_AGES - 1)


class ReuseModel:
    """See the module head."""

    __slots__ = ("_events", "_exposure", "_open", "_since_fit", "_values", "num_returns")

    def __init__(self) -> None:
        self._events = np.zeros((NUM_CELLS, NUM_AGES))
        self._exposure = np.zeros((NUM_CELLS, NUM_AGES))
        self._open: dict[str, Record] = {}
        self._since_fit = 0
        self.num_returns = 0
        self._values = self._table(np.zeros((NUM_CELLS, NUM_AGES)), np.zeros((NUM_CELLS, NUM_AGES)))

    def use(self, program: str, at_s: float, cell: int) -> None:
        """Close the program's record, it came back, and open the next."""
        self.end(program, at_s, has_returned=True)
        self._open[program] = Record(at_s, cell)
        if len(self._open) > MAX_OPEN:
            oldest = next(iter(self._open))
            self._close(self._open.pop(oldest), at_s)
        self._since_fit += 1
        if self._since_fit >= FIT_EVERY:
            self.fit(at_s)

    def end(self, program: str, at_s: float, *, has_returned: bool) -> None:
        """Close the program's record: its blocks were used again, or it will not come back."""
        record = self._open.pop(program, None)
        if record is None:
            return
        self._close(record, at_s)
        if has_returned:
            self._events[record.cell, ages_of(np.array([at_s - record.at_s]))[0]] += 1
            self.num_returns += 1

    def _close(self, record: Record, at_s: float) -> None:
        self._exposure[record.cell] += np.clip(at_s - record.at_s - EDGES[:-1], 0, WIDTHS)

    def value(self, cells: Ints, ages_s: Floats) -> Floats:
        """Return what a block of such records is worth, in returns per second."""
        return self._values[cells, ages_of(ages_s)]

    def fit(self, now_s: float) -> None:
        """Learn from all that was counted, and count it a little less from now on."""
        exposure = self._exposure.copy()
        if self._open:
            ages = np.array([now_s - record.at_s for record in self._open.values()])
            cells = np.array([record.cell for record in self._open.values()])
            np.add.at(exposure, cells, np.clip(ages[:, None] - EDGES[:-1], 0, WIDTHS))
        self._values = self._table(self._events, exposure)
        self._events *= DECAY
        self._exposure *= DECAY
        self._since_fit = 0

    def _table(self, events: Floats, exposure: Floats) -> Floats:
        """Return the value of each cell at each age, fitted to these counts."""
        base, factors = fitted(events.reshape(*SHAPE, NUM_AGES), exposure.reshape(*SHAPE, NUM_AGES))
        # A cell differs from its base by one number: values for a grid of numbers serve all cells.
        grid = gittins((base[:, None, :] * MULTIPLIERS[:, None]).reshape(-1, NUM_AGES))
        nearest = np.rint(np.log2(_product(factors) / MULTIPLIERS[0]) * STEPS_PER_OCTAVE)
        step = np.clip(nearest, 0, len(MULTIPLIERS) - 1).astype(np.int64)
        answer = np.arange(SHAPE[0])[:, None, None, None]
        values: Floats = grid.reshape(SHAPE[0], -1, NUM_AGES)[answer, step]
        return values.reshape(NUM_CELLS, NUM_AGES)


def fitted(events: Floats, exposure: Floats) -> tuple[Floats, list[Floats]]:
    """Return the base hazards by answer and age, and the factors of each further trait."""
    factors = [np.ones(size) for size in SHAPE[1:]]
    base = np.zeros((SHAPE[0], NUM_AGES))
    returned = events.sum((0, 4))
    for _ in range(ROUNDS):
        weighted = exposure * _product(factors)[..., None]
        everywhere = _by_age(events.sum((0, 1, 2, 3)), weighted.sum((0, 1, 2, 3)))
        base = _ratio(events.sum((1, 2, 3)), weighted.sum((1, 2, 3)), everywhere)
        expected = (exposure * base[:, None, None, None, :]).sum((0, 4))
        for axis in range(len(factors)):
            others = [np.ones_like(f) if i == axis else f for i, f in enumerate(factors)]
            rest = tuple(i for i in range(3) if i != axis)
            returns = returned.sum(rest)
            due = (expected * _product(others)).sum(rest)
            factors[axis] = (returns + FACTOR_PRIOR) / (due + FACTOR_PRIOR)
    return base, factors


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


def gittins(hazards: Floats) -> Floats:
    """Return, per row and age, the best chance of return per second held, over all stopping ages.

    hazards: (rows, ages).  Cost: O(rows x ages^2), vectorised over rows.
    """
    steps = hazards * WIDTHS
    returns = -np.expm1(-steps)
    held = returns / np.maximum(hazards, 1e-300)
    best = np.zeros_like(hazards)
    for start in range(NUM_AGES):
        # Chance to be still away at each later age, given that one is at `start`.
        away = np.exp(-(np.cumsum(steps[:, start:], 1) - steps[:, start:]))
        chance = np.cumsum(away * returns[:, start:], 1)
        time_held = np.cumsum(away * held[:, start:], 1)
        best[:, start] = (chance / time_held).max(1)
    return best
