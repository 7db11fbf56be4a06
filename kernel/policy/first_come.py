"""First come, first served. Nobody waits for who came later."""

from __future__ import annotations

from kernel.policy.policy import Job, Unchanging


class FirstCome(Unchanging):
    """See the module head."""

    __slots__ = ()

    def key(self, job: Job, now_ns: int) -> float:
        """See ``Policy``."""
        return job.arrival_ns
