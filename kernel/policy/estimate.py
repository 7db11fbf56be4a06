"""What is known of a call's length before it ends: a weighted sample of lengths like it.

Mean, quantiles and what remains after some tokens all come from the same sample, so that they
agree with each other. Immutable; built by kernel/policy/length_predictor.py.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul


@dataclass(frozen=True, slots=True)
class Estimate:
    """A guess of a call's output tokens.

    key: what to schedule by: `guess`, or the same for all while guesses have proved of no use.
    guess: like `mean`, but a few lengths far above the others count less.
    mean: that of the sample.
    lengths: ascending.  cumulative: weight up to and with each length, the last is the whole.
    quantiles: calibrated, by level; `quantile` gives any other one, uncalibrated.
    history: 0, 1, 2 ...: how much the call's own program has told, see the predictor.
    """

    key: float
    guess: float
    mean: float
    lengths: tuple[int, ...]
    cumulative: tuple[float, ...]
    quantiles: tuple[tuple[float, int], ...]
    history: int

    def quantile(self, level: float) -> int:
        """Return the length that this share of the sample does not exceed."""
        return sample_quantile(self.lengths, self.cumulative, level)

    def remaining(self, generated: int) -> float:
        """Return the mean tokens still to come after that many.

        Once the sample is outlived, as many again are expected: the longer a call has run beyond
        all it was compared to, the less is known.
        """
        first = bisect_right(self.lengths, generated)
        if first == len(self.lengths):
            return float(max(1, generated))
        before = self.cumulative[first - 1] if first else 0.0
        weighted = 0.0
        for index in range(first, len(self.lengths)):
            weight = self.cumulative[index] - (self.cumulative[index - 1] if index else 0.0)
            weighted += weight * (self.lengths[index] - generated)
        return weighted / (self.cumulative[-1] - before)


def sample_quantile(lengths: Sequence[int], cumulative: Sequence[float], level: float) -> int:
    """Return the smallest length at which the weight reaches that share of the whole."""
    index = bisect_left(cumulative, level * cumulative[-1])
    return lengths[min(index, len(lengths) - 1)]


def mixed(
    sample: Sequence[tuple[int, float]],
) -> tuple[tuple[int, ...], tuple[float, ...], float]:
    """Return lengths, cumulative weights and mean of weighted lengths, one at least."""
    lengths, weights = zip(*sorted(sample), strict=True)
    cumulative = tuple(accumulate(weights))
    return lengths, cumulative, sum(map(mul, lengths, weights)) / cumulative[-1]
