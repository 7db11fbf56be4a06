"""Least frequently used, with ageing: the block goes that was used least, old fame fades.

A block's key is its number of uses plus the cache's age, which is the key of the block given up
last: what was popular once is overtaken by what is used now.

Cost: O(log blocks) a use and an eviction; a stale heap entry a use, dropped when met or when they
outnumber the blocks.
Source: LFU with dynamic ageing; Arlitt et al., Evaluating Content Management Techniques for Web
Proxy Caches, 1999.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from kernel.policy.eviction import Use

Entry = tuple[int, int, int]  # key, turn of use (ties: the oldest goes), block


class LFU:
    """See the module head."""

    __slots__ = ("_age", "_entries", "_heap", "_turn", "_uses")

    def __init__(self) -> None:
        self._age = 0
        self._turn = 0
        self._uses: dict[int, int] = {}
        self._entries: dict[int, Entry] = {}
        self._heap: list[Entry] = []

    def used(self, use: Use) -> None:
        """See ``EvictionPolicy``."""
        for block in reversed(use.chain):
            self._turn += 1
            self._uses[block] = self._uses.get(block, 0) + 1
            entry = (self._uses[block] + self._age, self._turn, block)
            self._entries[block] = entry
            heapq.heappush(self._heap, entry)
        if len(self._heap) > 4 * len(self._entries) + 64:
            self._heap = sorted(self._entries.values())

    def evict(self, count: int, keep: AbstractSet[int], now_s: float) -> list[int]:
        """See ``EvictionPolicy``."""
        gone: list[int] = []
        kept: list[Entry] = []
        while self._heap and len(gone) < count:
            entry = heapq.heappop(self._heap)
            block = entry[2]
            if self._entries.get(block) != entry:
                continue
            if block in keep:
                kept.append(entry)
                continue
            self._age = entry[0]
            gone.append(block)
            self.forget([block])
        for entry in kept:
            heapq.heappush(self._heap, entry)
        return gone

    def forget(self, blocks: Sequence[int]) -> None:
        """See ``EvictionPolicy``."""
        for block in blocks:
            del self._entries[block], self._uses[block]

    def work(self) -> None:
        """See ``EvictionPolicy``; there is nothing to learn."""
