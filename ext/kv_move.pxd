"""Operations that return copies for the engine: copy-on-write fork, swap, and the second tier of the
prefix cache (a pinned prefix is demoted to it, a new request's is promoted). Inline and `nogil`.

Copies run inside a plan, in the order copies out, copies in, copy-on-write, forward. A block that a
copy of plan `step` reads or writes must not get other content before that step has reported:
`busy_step` holds it back. Device blocks that are swapped out are the exception: copies out run
first, so others may have them in the same plan, which is what a swap is for.
Cost: O(blocks of the request).
"""

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from ext.kv_core cimport (
    BAD_COUNT, BAD_STEP, NO_MEMORY, RETIRED, STATUS_OK, WRONG_TIER,
    Core, Holding, Request, chain_of, publish, refuse, refuse_count, request_handle, table_of,
    tail_of,
)
from ext.kv_holdings cimport new_holding, release_holding, retire_blocks
from ext.kv_owners cimport Account, account_add, hold, is_holder, ledger_reserve
from ext.kv_plan cimport attach_prefix, check_room, detach_prefix
from ext.kv_pool cimport (
    DEVICE, HOST, NONE, Block, kv_full_blocks, pool_available, pool_uncache,
)
from ext.kv_requests cimport refuse_requests, reusable_blocks, set_tip, take_request_slot
from ext.kv_take cimport take_block

cdef struct Need:                # what a request lacks before blocks can be taken for it
    int64_t fresh                # blocks from the pool
    int64_t joined               # existing blocks the owner does not hold
    int64_t uncached             # cached blocks among the existing ones


cdef inline int check_need(
    Core* core, int32_t slot, int32_t owner, int32_t tier, const Need* need
) noexcept nogil:
    if not ledger_reserve(&core.ledger, need.joined):
        return refuse(core, NO_MEMORY, request_handle(core, slot))
    return check_room(
        core, request_handle(core, slot), owner, tier, need.fresh, need.joined, need.uncached,
        core.ledger.owners[owner].tiers[tier].referenced, pool_available(&core.pools[tier]),
    )


cdef inline int check_step(Core* core, int32_t slot, int64_t step) noexcept nogil:
    """A step that copies must not have reported yet."""
    if step > core.completed_step:
        return STATUS_OK
    return refuse_count(
        core, BAD_STEP, request_handle(core, slot), step, core.completed_step
    )


cdef inline int check_fork(
    Core* core, int32_t slot, int32_t owner, int64_t num_children, int64_t step
) noexcept nogil:
    cdef Request* parent = &core.requests[slot]
    cdef int32_t full = kv_full_blocks(parent.computed, core.block_size)
    cdef int32_t i, number
    cdef Need need
    cdef int status = check_step(core, slot, step)
    if status:
        return status
    if num_children <= 0:
        return refuse_count(core, BAD_COUNT, request_handle(core, slot), num_children, 1)
    if parent.tier != DEVICE:
        return refuse(core, WRONG_TIER, request_handle(core, slot))
    if num_children > core.max_requests - core.num_open:
        return refuse_requests(core, num_children)
    need.fresh = num_children if full * core.block_size < parent.computed else 0
    need.joined = need.uncached = 0
    for i in range(full):
        number = table_of(core, slot)[i]
        need.joined += not is_holder(&core.ledger, &core.blocks[number], number, owner)
    if need.fresh == 0 and need.joined == 0:
        return STATUS_OK
    return check_need(core, slot, owner, DEVICE, &need)


cdef inline int32_t fork_child(
    Core* core, int32_t slot, int32_t owner, int64_t step, int32_t* copy
) noexcept nogil:
    """One child with the parent's tokens and computed blocks; returns its slot.

    copy: gets (source, destination) of the partial last block, if there is one.
    """
    cdef int32_t child_slot = take_request_slot(core, owner)
    cdef Request* parent = &core.requests[slot]
    cdef Request* child = &core.requests[child_slot]
    cdef int32_t nodes = kv_full_blocks(parent.num_tokens, core.block_size)
    cdef int32_t full = kv_full_blocks(parent.computed, core.block_size)
    cdef int32_t* table = table_of(core, child_slot)
    cdef int32_t i
    memcpy(chain_of(core, child_slot), chain_of(core, slot), <size_t>nodes * sizeof(int32_t))
    memcpy(tail_of(core, child_slot), tail_of(core, slot),
           <size_t>core.block_size * sizeof(int32_t))
    memcpy(table, table_of(core, slot), <size_t>full * sizeof(int32_t))
    set_tip(core, NONE, chain_of(core, slot)[nodes - 1] if nodes else NONE)
    child.extra_key = parent.extra_key
    child.num_tokens = parent.num_tokens
    child.planned = child.computed = parent.computed
    child.num_blocks = child.published = child.announced = full
    for i in range(full):
        hold(&core.ledger, &core.blocks[table[i]], table[i], owner, DEVICE)
    if full * core.block_size < parent.computed:
        account_add(&core.ledger, owner, DEVICE, 1)
        table[full] = take_block(core, owner, DEVICE)
        child.num_blocks += 1
        copy[0] = table_of(core, slot)[full]
        copy[1] = table[full]
        child.busy_step = step
        parent.busy_step = max(parent.busy_step, step)
        core.counters.fork_copies += 1
    return child_slot


cdef inline int32_t published_in(
    const Core* core, int32_t slot, int32_t i, int32_t tier
) noexcept nogil:
    """The block of `tier` that holds the content of a request's computed block `i`, or NONE."""
    if i >= core.requests[slot].published:
        return NONE
    return core.prefix.nodes[chain_of(core, slot)[i]].block[tier]


cdef inline void count_need(
    const Core* core, int32_t slot, int32_t tier, Need* need
) noexcept nogil:
    """What a move of all blocks to `tier` takes; blocks already there need no copy."""
    cdef int32_t owner = core.requests[slot].owner
    cdef int32_t i, number
    need.fresh = need.joined = need.uncached = 0
    for i in range(core.requests[slot].num_blocks):
        number = published_in(core, slot, i, tier)
        if number == NONE:
            need.fresh += 1
        else:
            need.uncached += core.blocks[number].num_holders == 0
            need.joined += not is_holder(&core.ledger, &core.blocks[number], number, owner)


cdef inline void join_block(Core* core, int32_t number, int32_t owner, int32_t tier) noexcept nogil:
    """Reference an existing published block, taking it out of the eviction list if it is there."""
    cdef Block* block = &core.blocks[number]
    if block.num_holders == 0:
        pool_uncache(&core.pools[tier], core.blocks, number)
        core.ledger.owners[block.cached_for].tiers[tier].cached -= 1
    hold(&core.ledger, block, number, owner, tier)


cdef inline int64_t fill_table(
    Core* core, int32_t slot, int32_t tier, int32_t* copies
) noexcept nogil:
    """Rewrite a request's table for `tier`; returns the number of (source, destination) copies.

    core.scratch has the old table. Joins come first: taking a block may evict, never what is held.
    """
    cdef Request* request = &core.requests[slot]
    cdef int32_t* table = table_of(core, slot)
    cdef int32_t base = core.pools[tier].base
    cdef int64_t num_copies = 0
    cdef int32_t i, number
    for i in range(request.num_blocks):
        number = published_in(core, slot, i, tier)
        table[i] = NONE
        if number != NONE:
            join_block(core, number, request.owner, tier)
            table[i] = number - base
    for i in range(request.num_blocks):
        if table[i] == NONE:
            account_add(&core.ledger, request.owner, tier, 1)
            table[i] = take_block(core, request.owner, tier)
            if i < request.published:
                publish(core, base + table[i], tier, chain_of(core, slot)[i])
            copies[2 * num_copies] = core.scratch[i]
            copies[2 * num_copies + 1] = table[i]
            num_copies += 1
    return num_copies


cdef inline int move_blocks(
    Core* core, int32_t slot, int32_t tier, int64_t step, int32_t* copies, int64_t* num_copies
) noexcept nogil:
    """Move all blocks of a request to `tier` by copies in plan `step`, or refuse, unchanged."""
    cdef Request* request = &core.requests[slot]
    cdef Need need
    cdef int status = check_step(core, slot, step)
    if status:
        return status
    if request.num_blocks == 0 or request.tier == tier:
        return refuse(core, WRONG_TIER, request_handle(core, slot))
    count_need(core, slot, tier, &need)
    status = check_need(core, slot, request.owner, tier, &need)
    if status:
        return status
    memcpy(core.scratch, table_of(core, slot), <size_t>request.num_blocks * sizeof(int32_t))
    # Host blocks stay until the copies in were made: in the same plan, copies out run before them.
    status = retire_blocks(core, slot, 0, request.num_blocks, step if tier == DEVICE else 0)
    if status:
        return status
    num_copies[0] = fill_table(core, slot, tier, copies)
    request.tier = tier
    request.busy_step = max(request.busy_step, step)
    if tier == HOST:
        core.counters.swap_out_copies += num_copies[0]
    else:
        core.counters.swap_in_copies += num_copies[0]
    return STATUS_OK


cdef inline int32_t host_copy(const Core* core, int32_t number) noexcept nogil:
    """The host block with the content of a published block, or NONE."""
    return core.prefix.nodes[core.blocks[number].node].block[HOST]


cdef inline int demote_pin(
    Core* core, int32_t pin, int64_t handle, int64_t step, int32_t* copies, int64_t* num_copies
) noexcept nogil:
    """Release a pin whose blocks get host copies, by copies in plan `step`; or refuse, unchanged.

    The host blocks are held until that step has reported, and cached from then on. Those that are
    there already need no copy, and count as used now.
    """
    cdef Holding* holding = &core.holdings[pin]
    cdef int32_t owner = holding.owner
    cdef int32_t count = holding.num_blocks
    cdef int32_t i, number, node, made
    cdef int32_t* blocks
    cdef Need need
    cdef int status
    if step <= core.completed_step:
        return refuse_count(core, BAD_STEP, handle, step, core.completed_step)
    if holding.tier != DEVICE:
        return refuse(core, WRONG_TIER, handle)
    need.fresh = need.joined = need.uncached = 0
    for i in range(count):
        number = host_copy(core, holding.blocks[i])
        if number == NONE:
            need.fresh += 1
        else:
            need.uncached += core.blocks[number].num_holders == 0
            need.joined += not is_holder(&core.ledger, &core.blocks[number], number, owner)
    if not ledger_reserve(&core.ledger, need.joined):
        return refuse(core, NO_MEMORY, handle)
    status = check_room(
        core, handle, owner, HOST, need.fresh, need.joined, need.uncached,
        core.ledger.owners[owner].tiers[HOST].referenced, pool_available(&core.pools[HOST]),
    )
    if status:
        return status
    made = new_holding(core, RETIRED, count)
    if made == NONE:
        return refuse(core, NO_MEMORY, handle)
    holding = &core.holdings[pin]            # the array may have moved
    core.holdings[made].until = step
    core.holdings[made].owner = owner
    core.holdings[made].tier = HOST
    blocks = core.holdings[made].blocks
    for i in range(count):                   # joins first: taking a block may evict
        blocks[i] = host_copy(core, holding.blocks[i])
        if blocks[i] != NONE:
            join_block(core, blocks[i], owner, HOST)
    num_copies[0] = 0
    for i in range(count):
        if blocks[i] != NONE:
            continue
        node = core.blocks[holding.blocks[i]].node
        account_add(&core.ledger, owner, HOST, 1)
        number = take_block(core, owner, HOST)
        blocks[i] = core.pools[HOST].base + number
        publish(core, blocks[i], HOST, node)
        copies[2 * num_copies[0]] = holding.blocks[i] - core.pools[DEVICE].base
        copies[2 * num_copies[0] + 1] = number
        num_copies[0] += 1
    release_holding(core, pin)
    core.counters.demote_copies += num_copies[0]
    return STATUS_OK


cdef inline int32_t count_demoted(const Core* core, int32_t slot) noexcept nogil:
    """Blocks that follow a request's cached prefix on the host; 0 if it holds blocks."""
    cdef int32_t* chain = chain_of(core, slot)
    cdef int32_t end = reusable_blocks(core, slot)
    cdef int32_t i = 0
    cdef int32_t first
    if core.requests[slot].num_blocks:
        return 0
    while i < end and core.prefix.nodes[chain[i]].block[DEVICE] != NONE:
        i += 1
    first = i
    while i < end and is_on_host_alone(core, chain[i]):
        i += 1
    return i - first


cdef inline bint is_on_host_alone(const Core* core, int32_t node) noexcept nogil:
    cdef int32_t* block = core.prefix.nodes[node].block
    return block[DEVICE] == NONE and block[HOST] != NONE


cdef inline int check_promotion(
    Core* core, int32_t slot, int32_t first, int32_t end, int64_t referenced, int64_t available
) noexcept nogil:
    """Whether blocks [first, end) may be taken on the device and held on the host meanwhile.

    referenced, available: of the device, before the blocks in front of them were attached.
    """
    cdef int32_t owner = core.requests[slot].owner
    cdef Account* account = &core.ledger.owners[owner].tiers[DEVICE]
    cdef int32_t i, number
    cdef Need need
    cdef int status = check_room(
        core, request_handle(core, slot), owner, DEVICE, end - first,
        account.referenced - referenced, available - pool_available(&core.pools[DEVICE]),
        referenced, available,
    )
    if status:
        return status
    need.fresh = need.joined = need.uncached = 0
    for i in range(first, end):
        number = core.prefix.nodes[chain_of(core, slot)[i]].block[HOST]
        need.uncached += core.blocks[number].num_holders == 0
        need.joined += not is_holder(&core.ledger, &core.blocks[number], number, owner)
    return check_need(core, slot, owner, HOST, &need)


cdef inline int promote_prefix(
    Core* core, int32_t slot, int64_t step, int32_t* copies, int64_t* num_copies
) noexcept nogil:
    """Give a request without blocks its cached prefix and what follows it on the host, or refuse.

    Copies run in plan `step`. With nothing on the host nothing is done.
    """
    cdef Request* request = &core.requests[slot]
    cdef Account* account = &core.ledger.owners[request.owner].tiers[DEVICE]
    cdef int64_t referenced = account.referenced
    cdef int64_t available = pool_available(&core.pools[DEVICE])
    cdef int32_t count = count_demoted(core, slot)
    cdef int32_t end = reusable_blocks(core, slot)
    cdef int32_t first, kept
    cdef int status = check_step(core, slot, step)
    num_copies[0] = 0
    if status or count == 0:
        return status
    if not ledger_reserve(&core.ledger, end):
        return refuse(core, NO_MEMORY, request_handle(core, slot))
    first = attach_prefix(core, slot, end)
    status = check_promotion(core, slot, first, first + count, referenced, available)
    kept = NONE
    if status == STATUS_OK:
        kept = new_holding(core, RETIRED, count)
        if kept == NONE:
            status = refuse(core, NO_MEMORY, request_handle(core, slot))
    if status:
        detach_prefix(core, slot, first)
        return status
    core.holdings[kept].until = step
    core.holdings[kept].owner = request.owner
    core.holdings[kept].tier = HOST
    bring_in(core, slot, first, count, core.holdings[kept].blocks, copies)
    num_copies[0] = count
    request.num_blocks = request.published = request.announced = first + count
    request.planned = request.computed = (first + count) * core.block_size
    request.busy_step = step
    core.counters.promote_copies += count
    core.counters.lookup_tokens += request.num_tokens
    core.counters.hit_tokens += request.computed
    core.counters.hit_blocks += first + count
    core.counters.miss_blocks += end - first - count
    return STATUS_OK


cdef inline void bring_in(
    Core* core, int32_t slot, int32_t first, int32_t count, int32_t* sources, int32_t* copies
) noexcept nogil:
    """Take device blocks for a request's blocks from `first` on, and hold their host blocks.

    sources: gets the host blocks, which must stay as they are until the copies were made.
    """
    cdef int32_t owner = core.requests[slot].owner
    cdef int32_t* chain = chain_of(core, slot) + first
    cdef int32_t* table = table_of(core, slot) + first
    cdef int32_t i
    for i in range(count):
        sources[i] = core.prefix.nodes[chain[i]].block[HOST]
        join_block(core, sources[i], owner, HOST)
    account_add(&core.ledger, owner, DEVICE, count)
    for i in range(count):
        table[i] = take_block(core, owner, DEVICE)
        publish(core, core.pools[DEVICE].base + table[i], DEVICE, chain[i])
        copies[2 * i] = sources[i] - core.pools[HOST].base
        copies[2 * i + 1] = table[i]
