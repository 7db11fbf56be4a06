"""Never much worse than LRU: a policy is followed while it finds what LRU would have found.

Beside the real cache runs a ghost of the same size under LRU, names only. The tokens' worth of
blocks that both find are summed and fade; while the real sum is below LEAST of the ghost's, blocks
are given up in LRU order, and what the policy would have done is not done.

Promise: where the real cache falls behind it becomes LRU's own, block by block, until it has caught
up; the loss before that is at most 1 - LEAST of what LRU finds and what is found in the MEMORY
uses it takes to notice.
Cost: two LRU orders, O(1) a block used, about 400 bytes a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from kernel.policy.eviction import EvictionPolicy, Use
from kernel.policy.eviction_lru import LRU

LEAST = 0.995
MEMORY = 1000  # uses after which a find counts for 1 / e


class Guarded:
    """See the module head."""

    __slots__ = ("_capacity", "_found", "_found_by_lru", "_ghost", "_order", "_policy")

    def __init__(self, policy: EvictionPolicy, capacity: int) -> None:
        self._policy = policy
        self._capacity = capacity
        self._order = LRU()
        self._ghost = LRU()
        self._found = self._found_by_lru = 0.0

    @property
    def follows_lru(self) -> bool:
        """Say whether the policy has fallen behind."""
        return self._found < LEAST * self._found_by_lru

    def used(self, use: Use) -> None:
        """See ``EvictionPolicy``."""
        fade = 1 - 1 / MEMORY
        self._found = self._found * fade + use.num_found
        self._found_by_lru = self._found_by_lru * fade + self._find_in_ghost(use)
        self._policy.used(use)
        self._order.used(use)

    def _find_in_ghost(self, use: Use) -> int:
        """Use the chain under LRU; return how many of its blocks were there, from the head on."""
        found = 0
        for block in use.chain:
            if block not in self._ghost:
                break
            found += 1
        self._ghost.used(use)
        excess = len(self._ghost) - self._capacity
        if excess > 0:
            self._ghost.evict(excess, frozenset(), use.at_s)
        return found

    def evict(self, count: int, keep: AbstractSet[int], now_s: float) -> list[int]:
        """See ``EvictionPolicy``."""
        leader: EvictionPolicy = self._policy
        other: EvictionPolicy = self._order
        if self.follows_lru:
            leader, other = other, leader
        gone = leader.evict(count, keep, now_s)
        other.forget(gone)
        return gone

    def forget(self, blocks: Sequence[int]) -> None:
        """See ``EvictionPolicy``."""
        self._policy.forget(blocks)
        self._order.forget(blocks)

    def work(self) -> None:
        """See ``EvictionPolicy``."""
        self._policy.work()
