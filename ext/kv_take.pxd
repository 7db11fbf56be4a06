"""Take blocks from a pool: free ones first, then cached ones: those a policy put first, then those
nobody used for longest. `nogil`.

An eviction reads places that depend on each other: the block, its node, the node's chain in the
prefix table. The oldest blocks are known before they are taken, so a batch walks the eviction list
some blocks ahead and asks for each place in its turn; the misses then overlap with the work.
Cost: O(1) a block; what looking ahead gains is `ns_per_block_512_batched`.
"""

from libc.stdint cimport int32_t, int64_t

from ext.kv_core cimport Core, unpublish
from ext.kv_hash cimport kv_prefetch
from ext.kv_owners cimport hold_fresh
from ext.kv_pool cimport Pool, pool_is_cached, pool_pop_free, pool_put_first
from ext.kv_prefix cimport prefix_expect_release

cdef enum:
    RING = 32                # blocks remembered, a power of two
    NODE_LAG = 8             # blocks walked between asking for a block and for its node
    CHAIN_LAG = 16           # ... and for the head of its node's chain
    LEAD = 24                # ... and its eviction

cdef struct Foresight:
    int64_t evictions        # that will happen
    int64_t seen             # blocks walked, and walked on past the last one
    int32_t cursor           # block to look at next
    int32_t ring[RING]


cdef inline void look_one_further(Foresight* sight, const Core* core) noexcept nogil:
    cdef int64_t at = sight.seen
    cdef int32_t node
    sight.seen += 1
    if at < sight.evictions:
        sight.ring[at & (RING - 1)] = sight.cursor
        sight.cursor = core.blocks[sight.cursor].next
        kv_prefetch(&core.blocks[sight.cursor])
    if NODE_LAG <= at < sight.evictions + NODE_LAG:
        node = core.blocks[sight.ring[(at - NODE_LAG) & (RING - 1)]].node
        kv_prefetch(&core.prefix.nodes[node])
        kv_prefetch(&core.prefix.keys[node])
    if CHAIN_LAG <= at < sight.evictions + CHAIN_LAG:
        node = core.blocks[sight.ring[(at - CHAIN_LAG) & (RING - 1)]].node
        prefix_expect_release(&core.prefix, node)


cdef inline void foresee(
    Foresight* sight, const Core* core, int32_t tier, int64_t takes
) noexcept nogil:
    """Before `takes` blocks are taken from a tier. It changes nothing, and takes nothing."""
    cdef int i
    sight.evictions = takes - core.pools[tier].num_free
    sight.seen = 0
    sight.cursor = core.blocks[core.pools[tier].head].next
    if sight.evictions > 0:
        for i in range(LEAD):
            look_one_further(sight, core)


cdef inline void evict_blocks(
    Core* core, int32_t tier, int32_t count, int32_t* out, Foresight* sight
) noexcept nogil:
    """Take the `count` oldest cached blocks. There are as many."""
    cdef Pool* pool = &core.pools[tier]
    cdef int32_t number = core.blocks[pool.head].next
    cdef int32_t i
    for i in range(count):
        if sight.seen < sight.evictions + CHAIN_LAG:
            look_one_further(sight, core)
        out[i] = number - pool.base
        core.ledger.owners[core.blocks[number].cached_for].tiers[tier].cached -= 1
        unpublish(core, number, tier)
        number = core.blocks[number].next
    core.blocks[pool.head].next = number
    core.blocks[number].prev = pool.head
    pool.num_cached -= count
    core.counters.evictions[tier] += count


cdef inline int64_t put_first(
    Core* core, int32_t tier, const int32_t* numbers, int64_t count
) noexcept nogil:
    """Let these blocks be evicted before all others, in this order; returns how many are cached.

    numbers: within the tier, below its size (SAFETY: the caller has checked). Blocks that are not
    cached are passed over.
    """
    cdef Pool* pool = &core.pools[tier]
    cdef int64_t moved = 0
    cdef int64_t i
    for i in range(count - 1, -1, -1):
        if pool_is_cached(core.blocks, pool.base + numbers[i]):
            pool_put_first(pool, core.blocks, pool.base + numbers[i])
            moved += 1
    return moved


cdef inline void take_blocks(
    Core* core, int32_t owner, int32_t tier, int32_t count, int32_t* out, Foresight* sight
) noexcept nogil:
    """Give `count` blocks to an owner, who was charged for them. There are as many.

    out: gets their numbers within the tier.
    """
    cdef Pool* pool = &core.pools[tier]
    cdef int32_t free_ones = min(count, pool.num_free)
    cdef int32_t i
    for i in range(free_ones):
        out[i] = pool_pop_free(pool, core.blocks) - pool.base
    if count > free_ones:
        evict_blocks(core, tier, count - free_ones, out + free_ones, sight)
    for i in range(count):
        hold_fresh(&core.blocks[pool.base + out[i]], owner)
    core.ledger.owners[owner].tiers[tier].alone += count


cdef inline int32_t take_block(Core* core, int32_t owner, int32_t tier) noexcept nogil:
    """One block for an owner, who was charged for it."""
    cdef Foresight none_ahead
    cdef int32_t number
    none_ahead.evictions = 0
    none_ahead.seen = CHAIN_LAG
    take_blocks(core, owner, tier, 1, &number, &none_ahead)
    return number
