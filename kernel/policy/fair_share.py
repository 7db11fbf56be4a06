"""Weighted fair share: who has had least for their weight is next.

Each owner has a counter of what they were given over their weight (a virtual token counter). An
owner who comes back from idleness starts at the least counter of those who wait: absence saves up
nothing.

Bound: of two owners with work waiting all the time, the counters differ by at most
slice / weight + slice / weight', where slice is the most that is given between two decisions:
`quantum_tokens`, and for a request's first slice its prompt besides. So what they get is in the
ratio of their weights, up to one slice each.
Cost: O(1) a call, but O(log owners) where an owner who was idle comes back.
Source: Sheng et al., Fairness in Serving Large Language Models, OSDI 2024 (VTC); Waldspurger and
Weihl, Stride Scheduling, 1995.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from kernel.policy.policy import Job, need_positive

QUANTUM_TOKENS = 64
MAX_IDLE = 10_000  # owners without work who are remembered
SLACK = 64


@dataclass(slots=True)
class Account:
    """An owner's counter, and their jobs that are not done."""

    counter: float
    jobs: dict[int, None] = field(default_factory=dict)


class FairShare:
    """See the module head."""

    __slots__ = ("_busy", "_by_counter", "_changed", "_idle", "_last_counter", "_quantum_tokens")

    margin = 0.0

    def __init__(self, quantum_tokens: int = QUANTUM_TOKENS) -> None:
        need_positive("fair_share", "quantum_tokens", quantum_tokens)
        self._quantum_tokens = quantum_tokens
        self._busy: dict[str, Account] = {}
        # Who is busy, once at least, with a counter that was theirs: counters only grow.
        self._by_counter: list[tuple[float, str]] = []
        self._idle: dict[str, Account] = {}  # the one longest idle first
        self._changed: dict[str, None] = {}
        self._last_counter = 0.0

    def on_arrival(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""
        if not job.weight > 0:
            need_positive("fair_share", "weight", job.weight)
        account = self._busy.get(job.owner)
        if account is None:
            account = self._wake(job.owner)
        account.jobs[job.id] = None

    def _wake(self, owner: str) -> Account:
        """Return the account of an owner who was idle, lifted to the least of the busy ones.

        Where nobody is busy, to that of who was last, so that nobody starts ahead of them.
        """
        account = self._idle.pop(owner, None) or Account(0.0)
        account.counter = max(account.counter, self._least_counter())
        self._busy[owner] = account
        if len(self._by_counter) > 2 * len(self._busy) + SLACK:  # most are of who is idle by now
            self._by_counter = [(other.counter, name) for name, other in self._busy.items()]
            heapq.heapify(self._by_counter)
        else:
            heapq.heappush(self._by_counter, (account.counter, owner))
        return account

    def _least_counter(self) -> float:
        while self._by_counter:
            counter, owner = self._by_counter[0]
            account = self._busy.get(owner)
            if account is None:
                heapq.heappop(self._by_counter)
            elif account.counter > counter:
                heapq.heapreplace(self._by_counter, (account.counter, owner))
            else:
                return counter
        return self._last_counter

    def key(self, job: Job, now_ns: int) -> float:
        """See ``Policy``."""
        return self._busy[job.owner].counter

    def quantum_tokens(self, job: Job) -> int | None:
        """See ``Policy``."""
        return self._quantum_tokens

    def on_service(self, job: Job, tokens: int, now_ns: int) -> None:
        """See ``Policy``."""
        self._busy[job.owner].counter += tokens / job.weight
        self._changed[job.owner] = None

    def on_done(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""
        account = self._busy.get(job.owner)
        if account is None or account.jobs.pop(job.id, "absent") == "absent" or account.jobs:
            return
        self._idle[job.owner] = self._busy.pop(job.owner)
        self._last_counter = account.counter
        self._changed.pop(job.owner, None)
        if len(self._idle) > MAX_IDLE:
            del self._idle[next(iter(self._idle))]

    def rekey(self, now_ns: int) -> Iterable[int]:
        """See ``Policy``."""
        changed = [number for owner in self._changed for number in self._busy[owner].jobs]
        self._changed.clear()
        return changed
