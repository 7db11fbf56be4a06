"""S3-FIFO: a small queue on trial, a main queue of what proved itself, and a ghost of names.

A new block enters the small queue (a tenth of the blocks); at its end it moves to the main queue if
it was used again meanwhile, else it goes and its name stays in the ghost. A block whose name is in
the ghost enters the main queue. At the main queue's end a used block goes round again, with one use
less on its account.

Cost: O(1) a block used; an eviction meets a block at most four times before it goes, and passes
over those in use.
Source: Yang et al., FIFO queues are all you need for cache eviction, SOSP 2023.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from kernel.policy.eviction import Use

SMALL_SHARE = 0.1
MOST_USES = 3

Queue = OrderedDict[int, None]  # the next to be looked at first


class S3FIFO:
    """See the module head."""

    __slots__ = ("_ghost", "_main", "_small", "_uses")

    def __init__(self) -> None:
        self._small: Queue = OrderedDict()
        self._main: Queue = OrderedDict()
        self._ghost: Queue = OrderedDict()
        self._uses: dict[int, int] = {}

    def used(self, use: Use) -> None:
        """See ``EvictionPolicy``."""
        for block in reversed(use.chain):
            if block in self._uses:
                self._uses[block] = min(self._uses[block] + 1, MOST_USES)
                continue
            self._uses[block] = 0
            queue = self._main if block in self._ghost else self._small
            self._ghost.pop(block, None)
            queue[block] = None

    def evict(self, count: int, keep: AbstractSet[int], now_s: float) -> list[int]:
        """See ``EvictionPolicy``."""
        evictable = len(self._uses) - sum(block in self._uses for block in keep)
        gone: list[int] = []
        while len(gone) < min(count, evictable):
            trial = len(self._small) > SMALL_SHARE * len(self._uses) or not self._main
            victim = self._look_at_small(keep) if trial else self._look_at_main(keep)
            if victim is not None:
                gone.append(victim)
        return gone

    def _look_at_small(self, keep: AbstractSet[int]) -> int | None:
        """Take the oldest block on trial: it goes, or proved itself."""
        block, _ = self._small.popitem(last=False)
        if self._uses[block] or block in keep:
            self._uses[block] = 0
            self._main[block] = None
            return None
        del self._uses[block]
        self._ghost[block] = None
        if len(self._ghost) > len(self._uses):
            self._ghost.popitem(last=False)
        return block

    def _look_at_main(self, keep: AbstractSet[int]) -> int | None:
        """Take the oldest proven block: it goes, or goes round again."""
        block, _ = self._main.popitem(last=False)
        if self._uses[block] or block in keep:
            self._uses[block] = max(self._uses[block] - 1, 0)
            self._main[block] = None
            return None
        del self._uses[block]
        return block

    def forget(self, blocks: Sequence[int]) -> None:
        """See ``EvictionPolicy``."""
        for block in blocks:
            del self._uses[block]
            (self._small if block in self._small else self._main).pop(block)

    def work(self) -> None:
        """See ``EvictionPolicy``; there is nothing to learn."""
