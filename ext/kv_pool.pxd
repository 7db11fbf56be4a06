"""Blocks of both tiers, their free lists and their eviction order, inline and `nogil`.

A block is in exactly one place: held (it has holders), cached (published content, nobody holds
it, in the eviction list) or free (in the free list). Who holds it is kv_owners.pxd's matter,
what it contains kv_prefix.pxd's.

Blocks are numbered through both tiers: device 0 .. D-1, host D .. D+H-1, then one list head per
tier, so that linking and unlinking need no branch. Outside this module a host block is numbered
from 0.
Cost: everything here is O(1), 32 bytes a block.
"""

from libc.stdint cimport int32_t

cdef extern from * nogil:
    """
    static inline int32_t kv_full_blocks(int32_t tokens, int32_t size) { return tokens / size; }
    static inline int32_t kv_blocks_for(int32_t tokens, int32_t size) {
        return tokens / size + (tokens % size != 0);
    }
    """
    int32_t kv_full_blocks(int32_t tokens, int32_t size)   # whole blocks in that many tokens
    int32_t kv_blocks_for(int32_t tokens, int32_t size)    # blocks that many tokens need

cdef enum:
    NONE = -1
    NUM_TIERS = 2

cdef enum:
    DEVICE = 0
    HOST = 1

cdef struct Block:           # 32 bytes: two to a cache line
    int32_t node             # prefix node this block publishes, or NONE
    int32_t prev             # eviction list, older neighbour
    int32_t next             # eviction list, newer neighbour; next of the free list when free
    int32_t num_holders      # distinct owners with a reference; 0 when cached or free
    int32_t holder_xor       # their slots xor-ed: with one holder, that holder
    int32_t first            # owner counted here instead of in the ledger's table, or NONE
    int32_t first_refs
    int32_t cached_for       # owner that let it go last; counts only while cached

cdef struct Pool:
    int32_t base             # number of its first block
    int32_t size             # blocks
    int32_t head             # the eviction list's head: head.next is evicted first
    int32_t free_head
    int32_t num_free
    int32_t num_cached


cdef inline void pool_fill(Pool* pool, Block* blocks) noexcept nogil:
    """Put every block into the free list, the lowest number first; the eviction list is empty."""
    cdef int32_t i
    for i in range(pool.base, pool.base + pool.size):
        blocks[i].num_holders = 0
        blocks[i].node = NONE
        blocks[i].first = NONE
        blocks[i].cached_for = NONE
        blocks[i].next = i + 1
    pool.free_head = NONE
    if pool.size:
        pool.free_head = pool.base
        blocks[pool.base + pool.size - 1].next = NONE
    pool.num_free = pool.size
    pool.num_cached = 0
    blocks[pool.head].prev = pool.head
    blocks[pool.head].next = pool.head


cdef inline int32_t pool_available(const Pool* pool) noexcept nogil:
    """Blocks that could be taken: free, or cached and evictable."""
    return pool.num_free + pool.num_cached


cdef inline int32_t pool_pop_free(Pool* pool, Block* blocks) noexcept nogil:
    cdef int32_t block = pool.free_head
    pool.free_head = blocks[block].next
    pool.num_free -= 1
    return block


cdef inline void pool_push_free(Pool* pool, Block* blocks, int32_t block) noexcept nogil:
    blocks[block].next = pool.free_head
    pool.free_head = block
    pool.num_free += 1


cdef inline void pool_cache(Pool* pool, Block* blocks, int32_t block) noexcept nogil:
    """Append to the eviction list as the newest."""
    cdef int32_t last = blocks[pool.head].prev
    blocks[block].prev = last
    blocks[block].next = pool.head
    blocks[last].next = block
    blocks[pool.head].prev = block
    pool.num_cached += 1


cdef inline bint pool_is_cached(const Block* blocks, int32_t block) noexcept nogil:
    """Whether it is published and nobody holds it."""
    return blocks[block].num_holders == 0 and blocks[block].node != NONE


cdef inline void pool_put_first(Pool* pool, Block* blocks, int32_t block) noexcept nogil:
    """Move a cached block to the front of the eviction list."""
    cdef int32_t first
    blocks[blocks[block].prev].next = blocks[block].next
    blocks[blocks[block].next].prev = blocks[block].prev
    first = blocks[pool.head].next
    blocks[block].prev = pool.head
    blocks[block].next = first
    blocks[first].prev = block
    blocks[pool.head].next = block


cdef inline void pool_uncache(Pool* pool, Block* blocks, int32_t block) noexcept nogil:
    """Unlink from the eviction list. The block keeps its links for `pool_recache`."""
    cdef int32_t prev = blocks[block].prev
    cdef int32_t next = blocks[block].next
    blocks[prev].next = next
    blocks[next].prev = prev
    pool.num_cached -= 1


cdef inline void pool_recache(Pool* pool, Block* blocks, int32_t block) noexcept nogil:
    """Undo `pool_uncache`, exactly, if uncached blocks are put back in reverse order."""
    blocks[blocks[block].prev].next = block
    blocks[blocks[block].next].prev = block
    pool.num_cached += 1
