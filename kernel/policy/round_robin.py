"""Round robin: each job in turn gets a quantum.

Bound: between two quanta of one job, every other job gets at most one; so of n jobs each waits at
most (n - 1) quanta for its next.
"""

from __future__ import annotations

from kernel.policy.policy import Job, Unchanging, need_positive

QUANTUM_TOKENS = 64


class RoundRobin(Unchanging):
    """See the module head."""

    __slots__ = ("_last", "_places", "_quantum_tokens")

    def __init__(self, quantum_tokens: int = QUANTUM_TOKENS) -> None:
        need_positive("round_robin", "quantum_tokens", quantum_tokens)
        self._quantum_tokens = quantum_tokens
        self._last = 0
        self._places: dict[int, int] = {}

    def on_arrival(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""
        self._to_the_end(job)

    def key(self, job: Job, now_ns: int) -> float:
        """See ``Policy``."""
        return float(self._places[job.id])

    def quantum_tokens(self, job: Job) -> int | None:
        """See ``Policy``."""
        return self._quantum_tokens

    def on_service(self, job: Job, tokens: int, now_ns: int) -> None:
        """See ``Policy``."""
        self._to_the_end(job)

    def _to_the_end(self, job: Job) -> None:
        self._last += 1
        self._places[job.id] = self._last

    def on_done(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""
        self._places.pop(job.id, None)
