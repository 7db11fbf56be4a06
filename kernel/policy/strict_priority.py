"""The more urgent first; waiting makes urgent.

A job rises by one priority for each `step_ns` it waits. Of two jobs the difference never changes,
so the key is fixed at arrival: arrival + priority x step.

Bound: a job of priority p is overtaken by one of priority q only if that one came less than
(p - q) x step after it. So it waits at most for the work that is there or comes within
(p - 0) x step, however much urgent work comes later.
"""

from __future__ import annotations

from kernel.policy.policy import Job, Unchanging, need_positive

STEP_NS = 10_000_000_000


class StrictPriority(Unchanging):
    """See the module head."""

    __slots__ = ("_step_ns",)

    def __init__(self, step_ns: int = STEP_NS) -> None:
        need_positive("priority", "step_ns", step_ns)
        self._step_ns = step_ns

    def key(self, job: Job, now_ns: int) -> float:
        """See ``Policy``."""
        return job.arrival_ns + job.priority * self._step_ns
