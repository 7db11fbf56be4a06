"""Holdings: blocks referenced by a pin, or kept for a step that may still touch them. `nogil`.

Holdings of a kind are listed in order of creation, and released in that order.
Cost: O(blocks) to make and release one; `complete_step` looks at each retired holding.
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc, realloc

from ext.kv_core cimport (
    NO_HOLDING, NO_MEMORY, PIN, RETIRED, STATUS_OK,
    Core, Holding, Request, let_go, next_generation, refuse, table_of,
)
from ext.kv_owners cimport drop_pin
from ext.kv_pool cimport NONE


cdef inline int32_t new_holding(Core* core, int kind, int32_t num_blocks) noexcept nogil:
    """A holding with room for the blocks, or NONE when out of memory."""
    cdef int32_t slot = core.free_holding
    cdef int32_t capacity
    cdef void* grown
    cdef int32_t* blocks = <int32_t*>malloc(<size_t>max(num_blocks, 1) * sizeof(int32_t))
    if blocks == NULL:
        return NONE
    if slot != NONE:
        core.free_holding = core.holdings[slot].next
    else:
        if core.num_holdings == core.holding_capacity:
            capacity = max(16, core.holding_capacity * 2)
            grown = realloc(core.holdings, <size_t>capacity * sizeof(Holding))
            if grown == NULL:
                free(blocks)
                return NONE
            core.holdings = <Holding*>grown
            core.holding_capacity = capacity
        slot = core.num_holdings
        core.num_holdings += 1
        core.holdings[slot].generation = 0
    core.holdings[slot].blocks = blocks
    core.holdings[slot].num_blocks = num_blocks
    core.holdings[slot].kind = kind
    link_newest(core, slot, kind)
    return slot


cdef inline void link_newest(Core* core, int32_t slot, int kind) noexcept nogil:
    cdef int32_t before = core.newest[kind]
    core.holdings[slot].prev = before
    core.holdings[slot].next = NONE
    core.newest[kind] = slot
    if before == NONE:
        core.oldest[kind] = slot
    else:
        core.holdings[before].next = slot
    core.counts[kind] += 1


cdef inline void forget_holding(Core* core, int32_t slot) noexcept nogil:
    """Unlink and recycle a holding whose blocks were let go."""
    cdef Holding* holding = &core.holdings[slot]
    if holding.prev == NONE:
        core.oldest[holding.kind] = holding.next
    else:
        core.holdings[holding.prev].next = holding.next
    if holding.next == NONE:
        core.newest[holding.kind] = holding.prev
    else:
        core.holdings[holding.next].prev = holding.prev
    core.counts[holding.kind] -= 1
    free(holding.blocks)
    holding.blocks = NULL
    holding.kind = NO_HOLDING
    holding.generation = next_generation(holding.generation)
    holding.next = core.free_holding
    core.free_holding = slot


cdef inline int retire_blocks(
    Core* core, int32_t slot, int32_t first, int32_t end, int64_t last_step
) noexcept nogil:
    """Take blocks [first, end) from a request's table, at once or when `last_step` has reported.

    The tail goes before the head, so that eviction takes the tail first. On NO_MEMORY nothing
    changed. The caller corrects num_blocks.
    """
    cdef Request* request = &core.requests[slot]
    cdef int32_t* table = table_of(core, slot)
    cdef int32_t base = core.pools[request.tier].base
    cdef int32_t i, kept
    cdef Holding* holding
    last_step = max(last_step, request.busy_step)
    if last_step <= core.completed_step:
        for i in range(end - 1, first - 1, -1):
            let_go(core, base + table[i], request.tier, request.owner)
        return STATUS_OK
    if first == end:
        return STATUS_OK
    kept = new_holding(core, RETIRED, end - first)
    if kept == NONE:
        return refuse(core, NO_MEMORY, 0)
    holding = &core.holdings[kept]
    holding.until = last_step
    holding.owner = request.owner
    holding.tier = request.tier
    for i in range(first, end):
        holding.blocks[i - first] = base + table[i]
    return STATUS_OK


cdef inline void release_holding(Core* core, int32_t slot) noexcept nogil:
    """Let go of a holding's blocks, and of the holding."""
    cdef Holding* holding = &core.holdings[slot]
    cdef int32_t i, number
    for i in range(holding.num_blocks - 1, -1, -1):
        number = holding.blocks[i]
        if holding.kind == PIN:
            drop_pin(&core.ledger, number, holding.owner, holding.tier)
        let_go(core, number, holding.tier, holding.owner)
    forget_holding(core, slot)


cdef inline void complete_step(Core* core, int64_t step) noexcept nogil:
    """Every step up to `step` has reported: release what waited for it, oldest first."""
    cdef int32_t slot = core.oldest[RETIRED]
    cdef int32_t after
    core.completed_step = step
    while slot != NONE:
        after = core.holdings[slot].next
        if core.holdings[slot].until <= step:
            release_holding(core, slot)
        slot = after
