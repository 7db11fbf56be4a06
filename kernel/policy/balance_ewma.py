"""A replica's response time: an average that believes bad news at once and good news slowly.

A time above the average replaces it; one below pulls it down with weight 1 - exp(-gap / decay),
where gap is the time since the last one. So a replica that becomes slow is left within one
answer, and one that has recovered is trusted again after about ``decay``.

Bound: the average is between the least and the greatest time observed, and after a peak has
fallen to 1/e of its distance when ``decay`` has passed, however many answers came meanwhile.
Cost: one exponential an answer. Pure: time comes in.
Source: Finagle, the balancer "Peak EWMA" (com.twitter.finagle.loadbalancer.PeakEwma).
"""

from __future__ import annotations

import math

DECAY_NS = 10_000_000_000


class PeakEwma:
    """See the module head."""

    __slots__ = ("decay_ns", "observed_ns", "value_ns")

    def __init__(self, decay_ns: int = DECAY_NS) -> None:
        self.decay_ns = decay_ns
        self.value_ns = 0.0  # 0: nothing was observed
        self.observed_ns = 0

    def observe(self, took_ns: float, now_ns: int) -> None:
        """Take one response time. now_ns: monotonic, never decreasing between calls."""
        gap_ns = now_ns - self.observed_ns
        self.observed_ns = now_ns
        if not self.value_ns or took_ns >= self.value_ns:
            self.value_ns = max(took_ns, 1.0)
            return
        weight = math.exp(-gap_ns / self.decay_ns)
        self.value_ns = self.value_ns * weight + took_ns * (1.0 - weight)
