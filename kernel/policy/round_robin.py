"""Round robin: each job in turn gets a quantum.

Bound: between two quanta of one job, every other job gets at most one; so of n jobs each waits at
most (n - 1) quanta for its next.
"""

from __future__ import annotations

from kernel.policy.policy import Job, Unchanging, need_positive

QUANTUM_TOKENS = 64


class RoundRobin(Unchanging):
    """See the module head."""

    __slots__ = ("_last_place", "_quantum_tokens")  # a job's note is its place

    def __init__(self, quantum_tokens: int = QUANTUM_TOKENS) -> None:
        need_positive("round_robin", "quantum_tokens", quantum_tokens)
        self._quantum_tokens = quantum_tokens
        self._last_place = 0

    def on_arrival(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""
        job.note = self._last_place = self._last_place + 1

    def key(self, job: Job, now_ns: int) -> float:
        """See ``Policy``."""
        place: int = job.note
        return place

    def quantum_tokens(self, job: Job) -> int | None:
        """See ``Policy``."""
        return self._quantum_tokens

    def on_service(self, job: Job, tokens: int, now_ns: int) -> None:
        """See ``Policy``."""
        job.note = self._last_place = self._last_place + 1
