"""Fair share that names each job whose key has changed, for lines that know nothing of owners."""

from __future__ import annotations

from ext.job import Job
from kernel.policy.fair_share import FairShare

NAME = "one_by_one"  # under which a test lets it be found


class OneByOne(FairShare):
    """See the module head. _asked: the key each job is known by."""

    __slots__ = ("_asked", "_jobs")

    def __init__(self) -> None:
        super().__init__()
        self._jobs: dict[int, Job] = {}
        self._asked: dict[int, float] = {}

    def on_arrival(self, job: Job, now_ns: int) -> None:
        super().on_arrival(job, now_ns)
        self._jobs[job.id], self._asked[job.id] = job, self.key(job, now_ns)

    def on_done(self, job: Job, now_ns: int) -> None:
        super().on_done(job, now_ns)
        if self._jobs.get(job.id) is job:
            del self._jobs[job.id], self._asked[job.id]

    def rekey(self, now_ns: int) -> list[int]:
        keys = {number: self.key(job, now_ns) for number, job in self._jobs.items()}
        named = [number for number, key in keys.items() if key != self._asked[number]]
        self._asked = keys
        return named
