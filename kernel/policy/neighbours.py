"""Past calls of one place, sorted by prompt length, to look up those most alike.

Bands of prompt length (so many an octave) each keep their newest calls: where calls are many, old
ones go soon; where they are rare, they stay. A call's weight has three factors:
  age       halves with each HALF_LIFE calls that have come since, down to about LEAST
  distance  1 of the asked length itself, a half NEAR places away from it, a third two times as far
  same      those of exactly the asked length weigh up to `same_weight` times more, which halves
            with each NEW calls that have come since. They share it: where a length is rare, two
            calls of it are likely one caller asking again, where it is common they tell nothing
Ages count calls that have come, not calls that have ended: also while none ends, what is known
gets older.

Invariants:
  N1  no band holds more than `limit` calls; a band's oldest leaves when one more comes.
Cost: adding and looking up are O(log calls) comparisons and one move of as many pointers, a few
thousand (`us_learn`, `us_predict` of bench/predictor.py); about 150 bytes a call.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

HALF_LIFE = 2000  # calls that have come
LEAST = 0.01
NEAR = 8
NEW = 300  # calls that have come
MOMENT = 2.0**-20  # between two that ended while none came: no two have the same time

Observation = tuple[int, float, int]  # prompt tokens, when it ended in calls come, output tokens


class Neighbours:
    """See the module head."""

    __slots__ = ("_bands", "_last", "_per_octave", "_sorted", "limit")

    def __init__(self, *, limit: int, per_octave: int) -> None:
        self.limit = limit
        self._per_octave = per_octave
        self._last = 0.0
        self._bands: dict[int, deque[Observation]] = {}
        self._sorted: list[Observation] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, prompt_tokens: int, output_tokens: int, now: int) -> None:
        """Remember a call that has ended. now: calls that have come."""
        self._last = max(float(now), self._last + MOMENT)
        self._keep((prompt_tokens, self._last, output_tokens))

    def _keep(self, entry: Observation) -> None:
        """Take in one; the band's oldest is forgotten when there are too many."""
        insort(self._sorted, entry)
        number = int(math.log2(entry[0] + 1) * self._per_octave)
        band = self._bands.setdefault(number, deque())
        band.append(entry)
        if len(band) > self.limit:  # N1
            del self._sorted[bisect_left(self._sorted, band.popleft())]

    def nearest(
        self, prompt_tokens: int, count: int, same_weight: float, now: int
    ) -> list[tuple[int, float]]:
        """Return the outputs of `count` calls around that prompt length, each with its weight.

        All if there are fewer. As many shorter as longer ones, where there are, and a distance is
        counted in calls between: a dense region gives a narrow and a sparse one a wide window. Of
        more than `count` of exactly this length, the newest.
        """
        left = bisect_left(self._sorted, (prompt_tokens, 0, 0))
        right = bisect_left(self._sorted, (prompt_tokens + 1, 0, 0))
        first = right - count
        if right - left < count:
            first = max(0, min((left + right - count) // 2, len(self._sorted) - count))
        found = self._sorted[first : first + count]
        low, high = max(left - first, 0), min(right - first, len(found))
        distances = (*range(low, 0, -1), *[0] * (high - low), *range(1, len(found) - high + 1))
        rate, near = 1 / HALF_LIFE, 1 / NEAR
        sample = [
            (output, (2.0 ** ((when - now) * rate) + LEAST) / (1.0 + distance * near))
            for (_, when, output), distance in zip(found, distances, strict=True)
        ]
        for place in range(low, high):
            output, weight = sample[place]
            share = same_weight / (high - low) * 2.0 ** ((found[place][1] - now) / NEW)
            sample[place] = output, weight * (1.0 + share)
        return sample

    def snapshot(self) -> list[list[float]]:
        """Return what it holds, oldest first, as JSON values."""
        return [list(entry) for entry in sorted(self._sorted, key=lambda entry: entry[1])]

    def restore(self, snapshot: list[tuple[int, float, int]]) -> None:
        """Take in what ``snapshot`` gave."""
        for prompt_tokens, when, output_tokens in snapshot:
            self._last = when
            self._keep((prompt_tokens, when, output_tokens))
