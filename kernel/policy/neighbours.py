"""Past calls of one place, sorted by prompt length, to look up those most alike.

Bands of prompt length (so many an octave) each keep their newest calls: where calls are many, old
ones go soon; where they are rare, they stay. What a call counts for halves with each HALF_LIFE
calls that were added since, down to about LEAST.

Invariants:
  N1  no band holds more than `limit` calls; a band's oldest leaves when one more comes.
Cost: adding and looking up are O(log calls) comparisons and one move of as many pointers, a few
thousand (`us_learn`, `us_predict` of bench/predictor.py); about 150 bytes a call.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

HALF_LIFE = 1000  # calls
LEAST = 0.01

Observation = tuple[int, int, int]  # prompt tokens, sequence, output tokens


class Neighbours:
    """See the module head."""

    __slots__ = ("_bands", "_per_octave", "_sequence", "_sorted", "limit")

    def __init__(self, *, limit: int, per_octave: int) -> None:
        self.limit = limit
        self._per_octave = per_octave
        self._sequence = 0
        self._bands: dict[int, deque[Observation]] = {}
        self._sorted: list[Observation] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, prompt_tokens: int, output_tokens: int) -> None:
        """Remember one finished call, the band's oldest is forgotten when there are too many."""
        entry = (prompt_tokens, self._sequence, output_tokens)
        self._sequence += 1
        insort(self._sorted, entry)
        number = int(math.log2(prompt_tokens + 1) * self._per_octave)
        band = self._bands.setdefault(number, deque())
        band.append(entry)
        if len(band) > self.limit:  # N1
            del self._sorted[bisect_left(self._sorted, band.popleft())]

    def nearest(
        self, prompt_tokens: int, count: int, same_weight: float
    ) -> list[tuple[int, float]]:
        """Return the outputs of `count` calls around that prompt length; all if there are fewer.

        As many shorter as longer ones, where there are: distances are not compared, so that a
        dense region gives a narrow and a sparse one a wide window. Each with its weight:
        same_weight times as much with exactly this prompt length, often one template filled in
        again. Of more than `count` of those, the newest.
        """
        left = bisect_left(self._sorted, (prompt_tokens, 0, 0))
        right = bisect_left(self._sorted, (prompt_tokens + 1, 0, 0))
        first = right - count
        if right - left < count:
            first = max(0, min((left + right - count) // 2, len(self._sorted) - count))
        now, rate = self._sequence, 1 / HALF_LIFE
        found = [
            (output, 2.0 ** ((sequence - now) * rate) + LEAST)
            for _, sequence, output in self._sorted[first : first + count]
        ]
        low, high = max(left - first, 0), min(right - first, len(found))
        found[low:high] = [(output, same_weight * weight) for output, weight in found[low:high]]
        return found

    def snapshot(self) -> list[list[int]]:
        """Return what it holds, oldest first, as JSON values."""
        return [list(entry) for entry in sorted(self._sorted, key=lambda entry: entry[1])]

    def restore(self, snapshot: list[list[int]]) -> None:
        """Take in what ``snapshot`` gave."""
        for prompt_tokens, sequence, output_tokens in snapshot:
            self._sequence = sequence
            self.add(prompt_tokens, output_tokens)
