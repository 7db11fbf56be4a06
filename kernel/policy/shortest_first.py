"""Shortest first, on predicted length: of the whole job, or of what remains of it.

Both give the least mean wait when guesses are right and promise no bound to a long job: it waits
while shorter ones come. With one guess for all they are first come, first served.
"""

from __future__ import annotations

import math

from kernel.policy.policy import Job, Unchanging

SRPT_QUANTUM = 16  # tokens after which a running job is compared again


class ShortestJob(Unchanging):
    """Shortest job first; who has begun is not asked again, and gives way to nobody."""

    __slots__ = ()

    margin = math.inf

    def key(self, job: Job, now_ns: int) -> float:
        """See ``Policy``."""
        return job.predicted_tokens


class ShortestRemaining(Unchanging):
    """Shortest remaining time first: a job nearly done goes before a new one of its length.

    A job that has outlived its guess is taken for twice as long as guessed, then four times: the
    longer it runs on, the longer it is expected to.
    """

    __slots__ = ()  # a job's note is what it was given

    def on_arrival(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""
        job.note = 0

    def key(self, job: Job, now_ns: int) -> float:
        """See ``Policy``."""
        served: int = job.note
        guess = max(job.predicted_tokens, 1.0)
        while guess <= served:
            guess *= 2
        return guess - served

    def quantum_tokens(self, job: Job) -> int | None:
        """See ``Policy``."""
        return SRPT_QUANTUM

    def on_service(self, job: Job, tokens: int, now_ns: int) -> None:
        """See ``Policy``."""
        job.note += tokens
