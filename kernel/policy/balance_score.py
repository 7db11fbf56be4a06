"""How often a replica has done a kind of job well: counts that forget, and what they say.

Per skill a Beta distribution: successes + 1, failures + 1. When the counts reach ``MEMORY`` both
are halved, so that a replica that has become better or worse is seen to be within a few times
that many jobs.

Cost: O(1). At most ``MAX_SKILLS`` skills are remembered a replica, the least recent is forgotten.
"""

from __future__ import annotations

import random

MEMORY = 200  # jobs
MAX_SKILLS = 256


class Scores:
    """See the module head."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, list[float]] = {}  # skill -> [successes, failures]

    def add(self, skill: str, *, success: bool) -> None:
        """Count one job that has ended."""
        counts = self._counts.pop(skill, None)
        if counts is None:
            if len(self._counts) >= MAX_SKILLS:
                self._counts.pop(next(iter(self._counts)))
            counts = [0.0, 0.0]
        self._counts[skill] = counts
        counts[0 if success else 1] += 1.0
        if counts[0] + counts[1] >= MEMORY:
            counts[0] /= 2
            counts[1] /= 2

    def mean(self, skill: str) -> float:
        """Return the expected share of successes; 0.5 where nothing is known."""
        successes, failures = self._counts.get(skill, (0.0, 0.0))
        return (successes + 1.0) / (successes + failures + 2.0)

    def sample(self, skill: str, rng: random.Random) -> float:
        """Draw a share of successes as likely as the counts make it (Thompson sampling)."""
        successes, failures = self._counts.get(skill, (0.0, 0.0))
        return rng.betavariate(successes + 1.0, failures + 1.0)

    def means(self) -> dict[str, float]:
        """Return the expected share of successes of each skill that was asked for."""
        return {skill: self.mean(skill) for skill in sorted(self._counts)}
