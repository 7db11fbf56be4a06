"""Contexts held while their program's tools are out: blocks kept for a time, within a share.

A hold is the kernel's own guess, nobody's wish (those are kernel/llm/pins.py): it counts to no
owner's quota, it is never refused work for, and it is never missed. One that gives way, or whose
time is up, is kept on the host where that pays (kernel/llm/demotion.py); blocks that are let go
stay cached until they are needed.

Invariants:
  H1  holds have at most SHARE of the pool, and each its own end; who ends first goes first.
  H2  nobody waits and nobody gives way while letting go of holds would make the room.
  H3  a hold ends with its owner, and when its program holds anew.
Cost: O(blocks) to make or end one; a look at a number a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ext.kv_cache import KVCache
from ext.kv_errors import KVExhaustedError, RequestTooLongError
from kernel.llm.demotion import Demotion
from kernel.llm.pinning import pin_prefix

SHARE = 0.5  # of the pool
NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Hold:
    """One context. pin: of the KV cache."""

    pin: int
    owner: int
    until_ns: int


class Holds:
    """See the module head."""

    __slots__ = ("_by_who", "_cache", "_demotion", "_first_end_ns", "_handle", "_max_blocks")

    def __init__(self, cache: KVCache, num_blocks: int, demotion: Demotion) -> None:
        self._cache = cache
        self._demotion = demotion
        self._max_blocks = int(SHARE * num_blocks)
        self._handle: int | None = None  # an owner of their own
        self._by_who: dict[str, Hold] = {}
        self._first_end_ns = NEVER

    def __len__(self) -> int:
        return len(self._by_who)

    @property
    def num_blocks(self) -> int:
        """Blocks that are held, those that others have as well among them."""
        if not self._by_who or self._handle is None:
            return 0
        return self._cache.account(self._handle).referenced

    def add(
        self, who: str, owner: int, ids: NDArray[np.int32], extra_key: int, until_ns: int
    ) -> bool:
        """Hold what is computed of these tokens; False: there is no room within the share."""
        self.release(who)
        if self._handle is None:
            self._handle = self._cache.add_owner(quota=self._max_blocks)
        while True:
            try:
                pin, _ = pin_prefix(self._cache, self._handle, ids, extra_key, None)
            except RequestTooLongError:
                return False
            except KVExhaustedError:
                if not self._by_who or self._first_end() > until_ns:
                    return False
                self.yield_one()
            else:
                break
        self._by_who[who] = Hold(pin, owner, until_ns)
        self._first_end_ns = min(self._first_end_ns, until_ns)
        return True

    def extend(self, who: str, until_ns: int) -> None:
        """Let a hold last until then, if it would end sooner."""
        hold = self._by_who.get(who)
        if hold is not None and hold.until_ns < until_ns:
            self._by_who[who] = Hold(hold.pin, hold.owner, until_ns)

    def release(self, who: str) -> None:
        """End a hold, if there is one."""
        hold = self._by_who.pop(who, None)
        if hold is not None:
            self._cache.unpin(hold.pin)

    def release_owner(self, owner: int) -> None:
        """End the holds of an owner's programs (H3)."""
        for who in [who for who, hold in self._by_who.items() if hold.owner == owner]:
            self.release(who)

    def expire(self, now_ns: int) -> None:
        """End the holds whose time has come."""
        if now_ns < self._first_end_ns:
            return
        for who in [who for who, hold in self._by_who.items() if hold.until_ns <= now_ns]:
            self._demotion.let_go(self._by_who.pop(who).pin)
        self._first_end_ns = self._first_end()

    def _first_end(self) -> int:
        return min((hold.until_ns for hold in self._by_who.values()), default=NEVER)

    def yield_one(self) -> bool:
        """End the hold that ends first; False: there is none."""
        if not self._by_who:
            return False
        who = min(self._by_who, key=lambda who: self._by_who[who].until_ns)
        self._demotion.let_go(self._by_who.pop(who).pin)
        return True
