"""Least recently used: the block goes whose last use is longest ago, of one use the deepest.

Cost: O(1) a block used or forgotten; O(evicted + kept ones passed over) an eviction.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import islice

from kernel.policy.eviction import Use


class LRU:
    """See the module head."""

    __slots__ = ("_order",)

    def __init__(self) -> None:
        self._order: OrderedDict[int, None] = OrderedDict()  # the next to go first

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, block: int) -> bool:
        return block in self._order

    def used(self, use: Use) -> None:
        """See ``EvictionPolicy``."""
        # Deepest first: without its prefix a block is of no use, so heads stay longest.
        for block in reversed(use.chain):
            self._order[block] = None
            self._order.move_to_end(block)

    def evict(self, count: int, keep: AbstractSet[int], now_s: float) -> list[int]:
        """See ``EvictionPolicy``."""
        gone = list(islice((block for block in self._order if block not in keep), count))
        self.forget(gone)
        return gone

    def forget(self, blocks: Sequence[int]) -> None:
        """See ``EvictionPolicy``."""
        for block in blocks:
            del self._order[block]

    def work(self) -> None:
        """See ``EvictionPolicy``; there is nothing to learn."""
