"""How many members a pool should have: it grows with its load, and shrinks when it has been idle.

Load is unfinished messages a member. A pool grows when its load has been above ``high`` for
``grow_after_ns``, to as many members as bring it back to ``high``, at most doubling; it loses one
member when those who remain would have had less than ``low`` each for ``shrink_after_ns``. After
each change nothing changes for ``cool_down_ns``: what was done must show first.

Bounds:
  S1  the answer is within minimum and maximum, whatever the load.
  S2  hysteresis: ``low`` < ``high``, so a member that has just been given up is not missed at once.
  S3  under constant load it settles: at most log2(maximum) growths or ``maximum`` shrinkings.
What it is not: who is to go, and how (kernel/pools/keeper.py). Pure: time comes in. Cost: O(1).
Source: the rules of Kubernetes' HorizontalPodAutoscaler, with a stabilisation window each way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ipc.errors import BadPolicyError

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Scaling:
    """The limits and thresholds of one pool."""

    minimum: int
    maximum: int
    high: float = 2.0  # unfinished messages a member
    low: float = 0.5
    grow_after_ns: int = SECOND_NS // 4
    shrink_after_ns: int = 15 * SECOND_NS
    cool_down_ns: int = SECOND_NS

    def __post_init__(self) -> None:
        self._need("minimum", self.minimum, self.minimum >= 1, "at least 1")
        needs = f"at least the minimum, {self.minimum}"
        self._need("maximum", self.maximum, self.maximum >= self.minimum, needs)
        self._need(
            "low", self.low, 0 <= self.low < self.high, f"at least 0, below high ({self.high})"
        )

    def _need(self, what: str, value: float, is_met: bool, needs: str) -> None:
        if not is_met:
            raise BadPolicyError(policy="pool", what=what, value=value, needs=needs)


class PoolScaler:
    """See the module head."""

    __slots__ = ("_changed_ns", "_high_since_ns", "_low_since_ns", "scaling")

    def __init__(self, scaling: Scaling) -> None:
        self.scaling = scaling
        self._high_since_ns: int | None = None
        self._low_since_ns: int | None = None
        self._changed_ns: int | None = None

    def decide(self, now_ns: int, members: int, unfinished: int) -> int:
        """Return how many members there should be.

        now_ns: monotonic, never decreasing between calls. members: those that take messages.
        """
        scaling = self.scaling
        bounded = min(max(members, scaling.minimum), scaling.maximum)
        if bounded != members:
            self._note_change(now_ns)
            return bounded
        self._note_load(now_ns, members, unfinished)
        if self._changed_ns is not None and now_ns - self._changed_ns < scaling.cool_down_ns:
            return members
        wanted = members
        if _has_lasted(self._high_since_ns, now_ns, scaling.grow_after_ns):
            wanted = min(math.ceil(unfinished / scaling.high), 2 * members, scaling.maximum)
        elif _has_lasted(self._low_since_ns, now_ns, scaling.shrink_after_ns):
            wanted = max(members - 1, scaling.minimum)
        if wanted != members:
            self._note_change(now_ns)
        return wanted

    def _note_load(self, now_ns: int, members: int, unfinished: int) -> None:
        """Remember since when the load has been too high, or low enough for one member less."""
        if unfinished <= self.scaling.high * members:
            self._high_since_ns = None
        elif self._high_since_ns is None:
            self._high_since_ns = now_ns
        if members <= self.scaling.minimum or unfinished > self.scaling.low * (members - 1):
            self._low_since_ns = None
        elif self._low_since_ns is None:
            self._low_since_ns = now_ns

    def _note_change(self, now_ns: int) -> None:
        self._changed_ns = now_ns
        self._high_since_ns = self._low_since_ns = None


def _has_lasted(since_ns: int | None, now_ns: int, span_ns: int) -> bool:
    return since_ns is not None and now_ns - since_ns >= span_ns
