"""Weighted fair share: who has had least for their weight is next.

Each owner has a counter of what they were given over their weight (a virtual token counter). An
owner who comes back from idleness starts at the least counter of those who wait, a thousandth of a
token before them: absence saves up nothing, but is not taken for service.

Bound: of two owners with work waiting all the time, the counters differ by at most
slice / weight + slice / weight', where slice is the most that is given between two decisions:
`quantum_tokens`, and for a request's first slice its prompt besides. So what they get is in the
ratio of their weights, up to one slice each.
What every decision asks, the counters, is in ext/share_counters.pyx. ``rekey`` names nobody: this
is one of the policies BY_OWNER (kernel/policy/policy_names.py).
Cost: O(1) a call, but O(log owners) where an owner who was idle comes back.
Source: Sheng et al., Fairness in Serving Large Language Models, OSDI 2024 (VTC); Waldspurger and
Weihl, Stride Scheduling, 1995.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable

from ext.share_counters import Account, ShareCounters
from kernel.policy.policy import Job, need_positive

QUANTUM_TOKENS = 64
MAX_IDLE = 10_000  # owners without work who are remembered
SLACK = 64
HEAD_START = 1e-3  # of a token, for who was idle: of two who have had the same they are next


class FairShare(ShareCounters):
    """See the module head."""

    __slots__ = ("_by_counter", "_idle", "_last_counter", "_num_accounts", "_quantum_tokens")

    margin = 0.0

    def __init__(self, quantum_tokens: int = QUANTUM_TOKENS) -> None:
        need_positive("fair_share", "quantum_tokens", quantum_tokens)
        self._quantum_tokens = quantum_tokens
        # Who is busy, once at least, with a counter that was theirs: counters only grow.
        self._by_counter: list[tuple[float, int, Account]] = []
        self._idle: dict[Hashable, Account] = {}  # the one longest idle first
        self._last_counter = 0.0
        self._num_accounts = 0

    def quantum_tokens(self, job: Job) -> int | None:
        """See ``Policy``."""
        return self._quantum_tokens

    def refuse(self, job: Job) -> None:
        """See ``ShareCounters``."""
        need_positive("fair_share", "weight", job.weight)

    def wake(self, owner: Hashable) -> Account:
        """Return the account of an owner who was idle, lifted to the least of the busy ones.

        Where nobody is busy, to that of who was last, so that nobody starts ahead of them.
        """
        account = self._idle.pop(owner, None) or self._open(owner)
        least = self._least_counter()
        # The next who wakes is not put before this one: the heap has the counter without it.
        counter = max(account.counter, least)
        account.counter = max(account.counter, least - HEAD_START)
        self.busy[owner] = account
        if len(self._by_counter) > 2 * len(self.busy) + SLACK:  # most are of who is idle by now
            self._by_counter = [
                (each.counter + HEAD_START, each.number, each) for each in self.busy.values()
            ]
            heapq.heapify(self._by_counter)
        else:
            heapq.heappush(self._by_counter, (counter, account.number, account))
        return account

    def _open(self, owner: Hashable) -> Account:
        self._num_accounts += 1
        return Account(owner, self._num_accounts)

    def _least_counter(self) -> float:
        while self._by_counter:
            counter, number, account = self._by_counter[0]
            if not account.num_jobs:
                heapq.heappop(self._by_counter)
            elif account.counter > counter:
                heapq.heapreplace(self._by_counter, (account.counter, number, account))
            else:
                return counter
        return self._last_counter

    def sleep(self, account: Account) -> None:
        """Let an owner be idle who has no jobs; remember the counter."""
        self._idle[account.owner] = self.busy.pop(account.owner)
        self._last_counter = account.counter
        if len(self._idle) > MAX_IDLE:
            del self._idle[next(iter(self._idle))]
