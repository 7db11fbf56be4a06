"""An eviction policy at work on an engine's blocks: told what was used, asked what goes first.

The block table gives up the block whose turn it is in its own list, least recently used first
unless others were put before it (``KVCache.evict_first``). This puts what the policy names there,
a batch at a time, ahead of need; so no decision waits for a policy.

A policy knows pieces of about PIECE_TOKENS, named by the digest of all tokens up to their end, so
equal content has one name whoever computes it. Programs are those of the requests.

Invariants:
  E1  a block is put forward only for the piece it was last part of.
  E2  where the policy has named too little the table's own order counts: never a wrong block,
      at worst a less useful one.
  E3  what is remembered is bounded by twice the pool.
Cost: a subtraction a step, and a look at the counters (about 40 us) once in several; about 0.4 us
a block of a request that ends; a policy that learns (`due`) does it in slices of at most about
0.5 ms a step, 25 or more of them once in 256 requests. A batch is a 32nd of the pool: the policy
is asked once for each that is used up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ext.kv_cache import KVCache
from kernel.llm.limits import EngineLimits
from kernel.llm.request import Request
from kernel.llm.task import Task
from kernel.policy.eviction import Use
from kernel.policy.eviction_names import new_eviction_policy

PIECE_TOKENS = 512
BATCHES = 32  # of the pool
MAX_ROUNDS = 4  # a policy is asked in one step: what it names may be in use, or gone


class LiveEviction:
    """See the module head."""

    def __init__(self, name: str, limits: EngineLimits, cache: KVCache) -> None:
        """Raises: UnknownPolicyError: lists those there are."""
        self._cache = cache
        self._piece_blocks = max(1, PIECE_TOKENS // limits.block_size)
        self._block_size = limits.block_size
        self._max_pieces = 2 * (limits.num_blocks // self._piece_blocks + 1)
        self._policy = new_eviction_policy(name, max(1, self._max_pieces // 2))
        self._blocks: dict[int, NDArray[np.int32]] = {}
        self._piece_of = np.zeros(limits.num_blocks, np.uint64)
        self._reserve = limits.max_step_tokens // limits.block_size + limits.max_running
        self._batch = max(self._reserve, limits.num_blocks // BATCHES)
        self._ahead = 0  # blocks that were put forward and not taken yet, about
        self._evictions = 0
        self._in_store = 0  # blocks free or put forward, at the least

    def used(self, task: Task, now_ns: int) -> None:
        """Tell the policy of what a request that ends leaves behind."""
        request = task.request
        if task.is_on_host:
            return
        computed = min(self._cache.state(task.handle).computed, request.num_tokens)
        count = computed // self._block_size
        if not count:
            return
        table = self._cache.block_table(task.handle)[:count].copy()
        ids = request.ids[: count * self._block_size]
        digests = self._cache.digests(ids, extra_key=request.extra_key)[:, 0]
        size = self._piece_blocks
        # The last piece is what is left over: nothing that is cached belongs to none.
        ends = [*range(size - 1, count - 1, size), count - 1]
        names = digests[ends].tolist()
        owners = digests[-1] if len(ends) == 1 else np.repeat(digests[ends], np.diff([-1, *ends]))
        self._piece_of[table] = owners
        start = 0
        for name, end in zip(names, ends, strict=True):
            self._blocks[name] = table[start : end + 1]
            start = end + 1
        found = min(request.cached_tokens // (size * self._block_size), len(names))
        self._policy.used(Use(now_ns / 1e9, program_of(request), names, found, request.num_emitted))

    def make_ready(self, now_ns: int, needed: int = 0) -> None:
        """See to it that the next blocks to be taken are those the policy would give up.

        needed: blocks that may be taken before this is called again; at least a step's.
        """
        self._policy.work()
        needed = max(needed, self._reserve)
        self._in_store -= needed
        if self._in_store >= needed:
            return  # even if every call since took all it may have taken
        device = self._cache.statistics().device
        self._ahead = max(0, self._ahead - (device.evictions - self._evictions))
        self._evictions = device.evictions
        free = device.capacity - device.held - device.cached
        if free + self._ahead < needed and device.cached > self._ahead:
            self._put_forward(needed + self._batch - free - self._ahead, now_ns / 1e9)
        elif len(self._blocks) > self._max_pieces:
            self._put_forward(self._batch, now_ns / 1e9)  # E3
        self._in_store = free + self._ahead

    def _put_forward(self, wanted: int, now_s: float) -> None:
        for _ in range(MAX_ROUNDS):
            names = self._policy.evict(-(-wanted // self._piece_blocks), frozenset(), now_s)
            if not names:
                return
            moved = self._cache.evict_first(self._blocks_of(names))
            self._ahead += moved
            wanted -= moved
            if wanted <= 0:
                return

    def _blocks_of(self, names: list[int]) -> NDArray[np.int32]:
        """Return the blocks of pieces, deepest first, that are still theirs (E1)."""
        found = []
        for name in names:
            blocks = self._blocks.pop(name)[::-1]
            found.append(blocks[self._piece_of[blocks] == np.uint64(name)])
        return np.concatenate(found)


def program_of(request: Request) -> str:
    """Return what the policy calls a request's program; without one, its owner."""
    return f"p{request.program}" if request.program else f"o{request.owner}"
