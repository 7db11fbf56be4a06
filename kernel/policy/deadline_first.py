"""Earliest deadline first: it meets all deadlines whenever any order on one server would.

A job without a deadline has one of its own, `patience_ns` after its arrival, so that it waits only
for work whose deadline is earlier than that.
"""

from __future__ import annotations

from ipc.errors import BadPolicyError
from kernel.policy.policy import Job, Unchanging, need_positive

PATIENCE_NS = 60_000_000_000


class DeadlineFirst(Unchanging):
    """See the module head."""

    __slots__ = ("_patience_ns",)

    def __init__(self, patience_ns: int = PATIENCE_NS) -> None:
        need_positive("deadline", "patience_ns", patience_ns)
        self._patience_ns = patience_ns

    def on_arrival(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""
        if job.deadline_ns is not None and job.deadline_ns <= now_ns:
            raise BadPolicyError(
                policy="deadline",
                what="deadline_ns",
                value=job.deadline_ns,
                needs=f"after {now_ns}",
            )

    def key(self, job: Job, now_ns: int) -> float:
        """See ``Policy``."""
        if job.deadline_ns is not None:
            return job.deadline_ns
        return job.arrival_ns + self._patience_ns
