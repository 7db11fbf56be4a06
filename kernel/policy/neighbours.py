"""Past calls of one place, sorted by prompt length, to look up those most alike.

Bands of prompt length (so many an octave) each keep their newest calls: where calls are many, old
ones go soon; where they are rare, they stay.

Invariants:
  N1  no band holds more than `limit` calls; a band's oldest leaves when one more comes.
Cost: adding and looking up are O(log calls) comparisons and one move of as many pointers, a few
thousand (`us_learn`, `us_predict` of bench/predictor.py); about 150 bytes a call.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

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

    def nearest(self, prompt_tokens: int, count: int) -> tuple[list[int], list[int]]:
        """Return the outputs of `count` calls around that prompt length; all if there are fewer.

        As many shorter as longer ones, where there are: distances are not compared, so that a
        dense region gives a narrow and a sparse one a wide window. In two lists: those with
        exactly that prompt length, often one template filled in again, and the others.
        """
        left = bisect_left(self._sorted, (prompt_tokens, 0, 0))
        right = bisect_left(self._sorted, (prompt_tokens + 1, 0, 0))
        if right - left >= count:
            return [
                output for _, _, output in self._sorted[right - count : right]
            ], []  # the newest
        first = max(0, min((left + right - count) // 2, len(self._sorted) - count))
        outputs = [output for _, _, output in self._sorted[first : first + count]]
        return outputs[left - first : right - first], outputs[: left - first] + outputs[
            right - first :
        ]

    def snapshot(self) -> list[list[int]]:
        """Return what it holds, oldest first, as JSON values."""
        oldest_first = sorted(self._sorted, key=lambda entry: entry[1])
        return [[prompt_tokens, output] for prompt_tokens, _, output in oldest_first]

    def restore(self, snapshot: list[list[int]]) -> None:
        """Take in what ``snapshot`` gave."""
        for prompt_tokens, output_tokens in snapshot:
            self.add(prompt_tokens, output_tokens)
