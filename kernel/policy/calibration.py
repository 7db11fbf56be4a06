"""Do guesses keep their word? The error of means, and quantiles that cover what they say.

`Coverage` moves the level at which a quantile is read until the stated share of outcomes stays
below it: after each outcome by STEP towards more when it lay above, by less towards less when it
did not. Its long-run coverage differs from the stated one by at most 2 / (STEP x outcomes) as long
as the level stays inside (LOWEST, HIGHEST), whatever the lengths do.
`Accuracy` keeps decayed means: they speak of the last few hundred calls.

Cost: O(levels) an outcome.
Source: Gibbs and Candès, Adaptive Conformal Inference Under Distribution Shift, 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LEVELS = (0.1, 0.5, 0.9, 0.99)
STEP = 0.01
LOWEST, HIGHEST = 0.001, 0.9999
DECAY = 0.998  # a weight of one half after 346 calls


class Coverage:
    """Where to read each of LEVELS in the samples of one kind of estimate."""

    __slots__ = ("read_at",)

    def __init__(self, read_at: list[float] | None = None) -> None:
        self.read_at = list(LEVELS) if read_at is None else read_at

    def learn(self, quantiles: tuple[tuple[float, int], ...], output_tokens: int) -> None:
        """Take in one outcome of an estimate that had these quantiles."""
        for index, (level, limit) in enumerate(quantiles):
            missed = output_tokens > limit
            moved = self.read_at[index] + STEP * (missed - (1 - level))
            self.read_at[index] = min(max(moved, LOWEST), HIGHEST)


@dataclass(frozen=True, slots=True)
class Report:
    """How good the guesses of late have been.

    skill: of the difference in length between two calls, the mean share with the right sign: 1
           orders all pairs rightly, 0 is a coin, below 0 longest-first would do better.
    coverage: share of outcomes at or below the quantile, by its level.
    """

    num_calls: int
    mean_tokens: float
    absolute_error: float
    bias: float
    skill: float
    coverage: dict[float, float]


class Accuracy:
    """Decayed errors of the means, order of pairs, and coverage of the quantiles."""

    __slots__ = ("last", "num_calls", "sums", "weight")

    NAMES = ("output", "absolute", "bias", "ordered", "to_order")
    PARTNERS = 4  # earlier calls that each one is compared with

    def __init__(self) -> None:
        self.num_calls = 0
        self.weight = 0.0
        self.sums = [0.0] * (len(self.NAMES) + len(LEVELS))
        self.last: list[tuple[float, int]] = []  # guesses and outcomes, the newest last

    @property
    def mean_tokens(self) -> float:
        """Return the mean length of late, 0 before the first call."""
        return self.sums[0] / self.weight if self.weight else 0.0

    def learn(
        self,
        guess: float,
        mean: float,
        quantiles: tuple[tuple[float, int], ...],
        output_tokens: int,
    ) -> None:
        """Take in what came. guess: what calls are ordered by; errors are those of the mean."""
        error = mean - output_tokens
        ordered, to_order = self._order(guess, output_tokens)
        found = [
            float(output_tokens),
            abs(error),
            error,
            ordered,
            to_order,
            *(float(output_tokens <= limit) for _, limit in quantiles),
        ]
        self.sums = [DECAY * old + new for old, new in zip(self.sums, found, strict=True)]
        self.weight = DECAY * self.weight + 1
        self.num_calls += 1
        self.last = [*self.last[-self.PARTNERS + 1 :], (guess, output_tokens)]

    def _order(self, guess: float, output_tokens: int) -> tuple[float, float]:
        """Return what the guess got right of the differences to the last calls, and their sum."""
        ordered = to_order = 0.0
        for other_guess, other_output in self.last:
            difference = output_tokens - other_output
            sign = (guess > other_guess) - (guess < other_guess)
            ordered += sign * difference
            to_order += abs(difference)
        return ordered, to_order

    def skill(self) -> float:
        """See ``Report``; 0 before anything is known."""
        ordered, to_order = self.sums[3], self.sums[4]
        return ordered / to_order if to_order else 0.0

    def report(self) -> Report:
        """Return what is known of the last few hundred calls."""
        weight = self.weight or 1.0
        shares = self.sums[len(self.NAMES) :]
        return Report(
            self.num_calls,
            self.mean_tokens,
            absolute_error=self.sums[1] / weight,
            bias=self.sums[2] / weight,
            skill=self.skill(),
            coverage={level: share / weight for level, share in zip(LEVELS, shares, strict=True)},
        )

    def snapshot(self) -> list[Any]:
        """Return all that is known, as JSON values."""
        return [self.num_calls, self.weight, self.sums, [list(pair) for pair in self.last]]

    def restore(self, snapshot: list[Any]) -> None:
        """Take in what ``snapshot`` gave."""
        self.num_calls, self.weight, sums, last = snapshot
        self.sums = list(sums)
        self.last = [(guess, output_tokens) for guess, output_tokens in last]
