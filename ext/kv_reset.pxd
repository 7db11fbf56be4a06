"""Set up, void and tear down a `Core`. Inline and `nogil`.

`reset_tier` is for a tier whose memory is gone, or an engine that is: no step runs any more that
could touch it. Requests keep their tokens and are computed again; the device's steps count anew.
Cost: O(capacity).
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free

from ext.kv_core cimport (
    NUM_KINDS, PIN, RETIRED, Core, Request, unpublish,
)
from ext.kv_counts cimport counts_reserve
from ext.kv_holdings cimport release_holding
from ext.kv_owners cimport Owner, account_unmet, ledger_reserve, owner_is_empty
from ext.kv_pins cimport NEVER, release_pins_of
from ext.kv_pool cimport DEVICE, HOST, NONE, NUM_TIERS, Block, Pool, pool_fill, pool_uncache
from ext.kv_prefix cimport prefix_reserve
from ext.kv_requests cimport drop_blocks


cdef inline bint core_setup(
    Core* core, int32_t block_size, const int32_t* tier_blocks, int32_t max_requests,
    int32_t max_tokens
) noexcept nogil:
    """Fill a zeroed core, all but tables and keys. False: out of memory, `core_free` cleans up."""
    cdef int64_t total = <int64_t>tier_blocks[DEVICE] + tier_blocks[HOST]
    cdef int tier, kind
    core.block_size = core.prefix.block_size = block_size
    core.max_requests = max_requests
    core.max_tokens = max_tokens
    core.free_request = core.free_holding = core.prefix.free_head = NONE
    core.first_expiry = NEVER
    core.blocks = <Block*>calloc(<size_t>(total + NUM_TIERS), sizeof(Block))
    core.requests = <Request*>calloc(<size_t>max_requests, sizeof(Request))
    core.tails = <int32_t*>calloc(<size_t>max_requests * block_size, sizeof(int32_t))
    core.scratch = <int32_t*>calloc(<size_t>core.max_blocks, sizeof(int32_t))
    if not (core.blocks and core.requests and core.tails and core.scratch):
        return False
    for tier in range(NUM_TIERS):
        core.pools[tier].base = tier_blocks[DEVICE] if tier == HOST else 0
        core.pools[tier].size = tier_blocks[tier]
        core.pools[tier].head = <int32_t>total + tier
        pool_fill(&core.pools[tier], core.blocks)
    for kind in range(NUM_KINDS):
        core.oldest[kind] = core.newest[kind] = NONE
    return (
        ledger_reserve(&core.ledger, 0) and counts_reserve(&core.ledger.pins, 0)
        and prefix_reserve(&core.prefix, 0)
    )


cdef inline void core_free(Core* core) noexcept nogil:
    cdef int32_t slot
    for slot in range(core.num_holdings):
        free(core.holdings[slot].blocks)
    free(core.holdings)
    free(core.blocks)
    free(core.requests)
    free(core.tails)
    free(core.scratch)
    free(core.prefix.nodes)
    free(core.prefix.keys)
    free(core.prefix.tokens)
    free(core.prefix.buckets)
    free(core.ledger.owners)
    free(core.ledger.refs.entries)
    free(core.ledger.pins.entries)


cdef inline void release_kind(Core* core, int kind, int tier) noexcept nogil:
    cdef int32_t slot = core.oldest[kind]
    cdef int32_t after
    while slot != NONE:
        after = core.holdings[slot].next
        if core.holdings[slot].tier == tier:
            release_holding(core, slot)
        slot = after


cdef inline void reset_tier(Core* core, int tier) noexcept nogil:
    """Void every block of a tier: requests, pins and retired blocks there, and its prefixes."""
    cdef Pool* pool = &core.pools[tier]
    cdef int32_t slot, number
    if tier == DEVICE:
        core.completed_step = NEVER      # no step is running: what was retired is free
        release_kind(core, RETIRED, HOST)
    for slot in range(core.num_slots):
        if core.requests[slot].is_open and core.requests[slot].tier == tier:
            core.requests[slot].busy_step = 0
            drop_blocks(core, slot, 0)
        elif tier == DEVICE:
            core.requests[slot].busy_step = 0
    release_kind(core, RETIRED, tier)
    release_kind(core, PIN, tier)
    while pool.num_cached:
        number = core.blocks[pool.head].next
        pool_uncache(pool, core.blocks, number)
        core.ledger.owners[core.blocks[number].cached_for].tiers[tier].cached -= 1
        unpublish(core, number, tier)
    pool_fill(pool, core.blocks)
    if tier == DEVICE:
        core.completed_step = 0


cdef inline void close_owner(Core* core, int32_t slot) noexcept nogil:
    """Drop an owner's pins, floors and name. What is still counted to it keeps the slot taken."""
    cdef Owner* owner = &core.ledger.owners[slot]
    cdef int tier
    release_pins_of(core, slot)
    for tier in range(NUM_TIERS):
        core.ledger.unmet[tier] -= account_unmet(&owner.tiers[tier])
        core.ledger.floors[tier] -= owner.tiers[tier].floor
        owner.tiers[tier].floor = 0
    owner.is_open = False
    owner.is_used = not owner_is_empty(owner)
