"""Contexts that are expected again and lose their place on the device: copied to host memory.

The host tier is a second cache behind the first. Whoever lets go of a context here (a hold or a
pin that gives way, a hold whose time is up) has its blocks copied out, and keeps nothing: from then
on they are cached on the host, found by their content, the least recently used first to go. A
request that begins and whose tokens go on there is given them back (kernel/llm/admission.py).

Promises:
  D1  nobody waits for it and nobody gives way for it: host blocks cached here go before a request
      that is swapped out would lack room, and count to nobody.
  D2  it is done only where copying out and in takes less time than computing again, by what the
      engine measured; never without host blocks.
  D3  where copies are seldom come back for (the host is too small for them, or the device keeps
      them anyway) that counts as a small chance, so they are not made; one in PROBES still is, to
      see when that changes.
Copies out come first in a plan, so what is let go between two plans is still there in the next.

Cost: O(blocks) for each that is let go; without host blocks nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from ext.kv_cache import KVCache
from ext.kv_errors import BlocksError, KVExhaustedError, RequestTooLongError
from kernel.llm.draft import Pairs
from kernel.llm.limits import EngineLimits, is_swap_cheaper
from kernel.llm.pinning import pin_prefix

PROBES = 8


class Demotion:
    """See the module head. next_step: number of the plan that is made now, or next.

    is_in_use: something was copied out, so there may be something to find.
    """

    __slots__ = (
        "_cache",
        "_copies",
        "_found",
        "_kept",
        "_limits",
        "_next_step",
        "_owner",
        "_skipped",
        "_window",
        "is_in_use",
    )

    def __init__(self, limits: EngineLimits, cache: KVCache, next_step: Callable[[], int]) -> None:
        self._cache = cache
        self._next_step = next_step
        self._copies: list[Pairs] = []
        self._limits = limits
        # Blocks copied out and back, halved together; what fills the host once is worth a try.
        self._window = limits.num_host_blocks
        self._kept = self._found = self._window / 2
        self._skipped = 0
        self._owner: int | None = None  # of what is not held, for the moment of the copy
        self.is_in_use = False

    def _pays(self, chance: float) -> bool:
        """Say whether a copy is cheaper than computing again what is needed so likely (D2).

        What is let go is full blocks, so it is the same question for one as for many.
        """
        size = self._limits.block_size
        return is_swap_cheaper(self._limits, computed_tokens=size, blocks=1, chance=chance)

    @property
    def _found_share(self) -> float:
        """Of what was copied lately, the share that was copied back."""
        return min(self._found / self._kept, 1.0) if self._kept else 1.0

    @property
    def refill_s(self) -> float:
        """Return what it takes to bring back all that the pool holds, if it is let go; 0: unknown.

        What is not found on the host is computed again.
        """
        limits = self._limits
        again_ns = limits.num_blocks * limits.block_size * limits.recompute_ns_per_token
        if self._pays(1.0):
            swap_ns = 2 * limits.num_blocks * limits.swap_ns_per_block
            again_ns += self._found_share * (swap_ns - again_ns)
        return again_ns / 1e9

    def found(self, blocks: int) -> None:
        """So many blocks were copied back for a request."""
        self._found += blocks

    def keep(self, ids: NDArray[np.int32], extra_key: int, chance: float) -> None:
        """Copy what is cached of these tokens to the host, if that pays and fits."""
        if not self._pays(chance):
            return
        if self._owner is None:
            self._owner = self._cache.add_owner()
        with suppress(KVExhaustedError, RequestTooLongError):
            pin, _ = pin_prefix(self._cache, self._owner, ids, extra_key, None)
            self.let_go(pin, chance)

    def let_go(self, pin: int, chance: float = 1.0) -> None:
        """Release a pin of the cache; its content goes to the host if that pays and fits.

        chance: how likely it is needed again.
        """
        if self._pays(chance) and (self._pays(chance * self._found_share) or self._is_probe()):
            try:
                self._copy_out(pin)
            except BlocksError:
                pass  # the host is full of requests that are swapped out
            else:
                return
        self._cache.unpin(pin)

    def _is_probe(self) -> bool:
        """Say so once in PROBES times: what does not pay now may pay again."""
        self._skipped = (self._skipped + 1) % PROBES
        return not self._skipped

    def _copy_out(self, pin: int) -> None:
        pairs = self._cache.demote(pin, step=self._next_step())
        self._copies.append(pairs)
        self.is_in_use = True
        self._kept += len(pairs)
        if self._kept > 2 * self._window:
            self._kept, self._found = self._kept / 2, self._found / 2

    def take_copies(self) -> list[Pairs]:
        """Return what the plan that is made now has to copy out."""
        copies, self._copies = self._copies, []
        return copies
