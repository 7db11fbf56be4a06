"""Plan, mark computed, roll back: one step of a batch, all or nothing. Inline and `nogil`.

A batch is planned in three passes: check every handle; then, request by request, take the cached
prefix of those that hold nothing and count the new blocks against room, quota and floors; then take
the new blocks. The second pass can be undone exactly, eviction order included, and the third cannot
fail. Prefixes are taken before any block is, so a batch never evicts what it is about to use.
Cost: O(requests + blocks taken).
"""

from libc.stdint cimport int32_t, int64_t

from ext.kv_core cimport (
    BAD_COUNT, NO_MEMORY, OUT_OF_BLOCKS, OVER_QUOTA, REPEATED_REQUEST, STATUS_OK, TOO_LONG,
    UNKNOWN_REQUEST, WRONG_TIER,
    Core, Request, chain_of, find_request, owner_handle, publish, refuse, refuse_count,
    request_handle, table_of,
)
from ext.kv_hash cimport kv_prefetch
from ext.kv_holdings cimport retire_blocks
from ext.kv_owners cimport (
    Account, account_add, account_unmet, hold, ledger_reserve, unhold,
)
from ext.kv_pool cimport (
    DEVICE, NONE, Block, kv_blocks_for, kv_full_blocks, pool_available, pool_recache,
    pool_uncache,
)
from ext.kv_requests cimport announce, retract, reusable_blocks
from ext.kv_take cimport Foresight, foresee, take_blocks

cdef struct PlanRow:
    int32_t slot             # of the request: its row in the block tables
    int32_t start            # position of the first planned token
    int32_t count            # tokens planned
    int32_t attached         # blocks taken from the cache
    int32_t num_new          # blocks taken from the pool, the last ones of the table


cdef inline int check_room(
    Core* core, int64_t handle, int32_t owner, int32_t tier, int64_t fresh,
    int64_t joined, int64_t uncached, int64_t referenced, int64_t available
) noexcept nogil:
    """Whether an owner may take blocks, given what it referenced and what was available before.

    fresh: blocks from the pool.  joined: existing blocks it did not hold.  uncached: cached blocks
    among these, which others could have evicted until now.
    """
    cdef Account* account = &core.ledger.owners[owner].tiers[tier]
    cdef int64_t after = referenced + fresh + joined
    cdef int64_t reserved = 0
    if after > account.quota:
        refuse_count(core, OVER_QUOTA, handle, fresh + joined, account.quota)
        core.refusal.available = account.quota - referenced
        core.refusal.owner = owner_handle(core, owner)
        core.refusal.tier = tier
        return OVER_QUOTA
    if after > account.floor:
        reserved = core.ledger.unmet[tier] - account_unmet(account)
    if fresh + uncached > available - reserved:
        refuse_count(core, OUT_OF_BLOCKS, handle, fresh + uncached, core.pools[tier].size)
        core.refusal.available = available
        core.refusal.reserved = reserved
        core.refusal.owner = owner_handle(core, owner)
        core.refusal.tier = tier
        return OUT_OF_BLOCKS
    return STATUS_OK


cdef inline int32_t attach_prefix(Core* core, int32_t slot, int32_t end) noexcept nogil:
    """Reference the cached blocks of the first `end` nodes, up to the first one missing."""
    cdef Request* request = &core.requests[slot]
    cdef int32_t* chain = chain_of(core, slot)
    cdef int32_t* table = table_of(core, slot)
    cdef Block* block
    cdef int32_t number
    cdef int32_t i = 0
    while i < end:
        number = core.prefix.nodes[chain[i]].block[DEVICE]
        if number == NONE:
            break
        block = &core.blocks[number]
        if block.num_holders == 0:
            pool_uncache(&core.pools[DEVICE], core.blocks, number)
            core.ledger.owners[block.cached_for].tiers[DEVICE].cached -= 1
        hold(&core.ledger, block, number, request.owner, DEVICE)
        table[i] = number
        i += 1
    return i


cdef inline void expect_attach(const Core* core, int32_t slot) noexcept nogil:
    """Ask for the nodes that attaching the next request reads; four share a cache line."""
    cdef const Request* request = &core.requests[slot]
    cdef int32_t* chain = chain_of(core, slot)
    cdef int32_t i
    kv_prefetch(&table_of(core, slot)[request.num_blocks])
    if request.num_blocks == 0:
        for i in range(0, min(reusable_blocks(core, slot), 64), 4):
            kv_prefetch(&core.prefix.nodes[chain[i]])


cdef inline void detach_prefix(Core* core, int32_t slot, int32_t attached) noexcept nogil:
    """Undo `attach_prefix`; the last one done is undone first."""
    cdef int32_t owner = core.requests[slot].owner
    cdef Block* block
    cdef int32_t i, number
    for i in range(attached - 1, -1, -1):
        number = table_of(core, slot)[i]
        block = &core.blocks[number]
        unhold(&core.ledger, block, number, owner, DEVICE)
        if block.num_holders == 0:
            pool_recache(&core.pools[DEVICE], core.blocks, number)
            core.ledger.owners[block.cached_for].tiers[DEVICE].cached += 1


cdef inline int reserve_row(
    Core* core, PlanRow* row, int32_t max_tokens, int64_t* pending
) noexcept nogil:
    """Take the cached prefix and promise the new blocks of one row, or refuse, undone."""
    cdef int32_t slot = row.slot
    cdef Request* request = &core.requests[slot]
    cdef Account* account
    cdef int64_t referenced, available
    cdef int32_t end
    cdef int status
    row.attached = row.num_new = 0
    row.start = request.planned
    if max_tokens == 1 and row.start < request.num_blocks * core.block_size:
        row.count = 1                                # mostly: a decode within its last block
        return STATUS_OK
    account = &core.ledger.owners[request.owner].tiers[DEVICE]
    referenced = account.referenced
    available = pool_available(&core.pools[DEVICE]) - pending[0]
    if request.num_blocks == 0:
        end = reusable_blocks(core, slot)
        if not ledger_reserve(&core.ledger, end):
            return refuse(core, NO_MEMORY, request_handle(core, slot))
        row.attached = attach_prefix(core, slot, end)
        row.start = row.attached * core.block_size
    row.count = max_tokens
    if row.start < request.num_tokens:
        row.count = min(max_tokens, request.num_tokens - row.start)
    row.num_new = (
        kv_blocks_for(row.start + row.count, core.block_size) - request.num_blocks - row.attached
    )
    if row.num_new == 0 and row.attached == 0:
        return STATUS_OK
    status = check_room(
        core, request_handle(core, slot), request.owner, DEVICE, row.num_new,
        account.referenced - referenced,
        available + pending[0] - pool_available(&core.pools[DEVICE]), referenced, available,
    )
    if status:
        detach_prefix(core, slot, row.attached)
        return status
    account_add(&core.ledger, request.owner, DEVICE, row.num_new)
    pending[0] += row.num_new
    return STATUS_OK


cdef inline void undo_rows(Core* core, const PlanRow* rows, int64_t count) noexcept nogil:
    """Undo `reserve_row`, the last row first."""
    cdef int64_t j
    for j in range(count - 1, -1, -1):
        account_add(&core.ledger, core.requests[rows[j].slot].owner, DEVICE, -rows[j].num_new)
        detach_prefix(core, rows[j].slot, rows[j].attached)


cdef inline void commit_row(Core* core, const PlanRow* row, Foresight* sight) noexcept nogil:
    """Take the promised blocks and write them into the block table."""
    cdef Request* request = &core.requests[row.slot]
    cdef int32_t* table = table_of(core, row.slot)
    cdef int32_t* chain = chain_of(core, row.slot)
    cdef int32_t i
    if row.num_new == 0 and row.attached == 0:
        request.planned = row.start + row.count
        announce(core, row.slot)
        return
    if request.num_blocks == 0:
        request.computed = row.start
        request.published = request.announced = row.attached
        core.counters.hit_blocks += row.attached
        core.counters.hit_tokens += row.start
        core.counters.miss_blocks += reusable_blocks(core, row.slot) - row.attached
        core.counters.lookup_tokens += request.num_tokens
        request.num_blocks = row.attached
    for i in range(request.num_blocks, request.num_blocks + row.num_new):
        kv_prefetch(&core.prefix.nodes[chain[i]])    # for announce; a stale number does no harm
    take_blocks(core, request.owner, DEVICE, row.num_new, table + request.num_blocks, sight)
    request.num_blocks += row.num_new
    request.planned = row.start + row.count
    announce(core, row.slot)


cdef inline int find_batch(
    Core* core, const int64_t* handles, int64_t count, PlanRow* rows
) noexcept nogil:
    """Resolve handles into rows' slots; each request may be named once."""
    cdef int64_t j
    cdef int32_t slot
    core.stamp += 1
    for j in range(count):
        if j + 8 < count:
            kv_prefetch(&core.requests[handles[j + 8] & 0xFFFFFF])
        slot = find_request(core, handles[j])
        if slot == NONE:
            return refuse_at(core, refuse(core, UNKNOWN_REQUEST, handles[j]), j)
        if core.requests[slot].stamp == core.stamp:
            return refuse_at(core, refuse(core, REPEATED_REQUEST, handles[j]), j)
        core.requests[slot].stamp = core.stamp
        rows[j].slot = slot
    return STATUS_OK


cdef inline int refuse_at(Core* core, int status, int64_t index) noexcept nogil:
    core.refusal.index = index
    return status


cdef inline int check_plan(Core* core, int32_t slot, int32_t max_tokens) noexcept nogil:
    cdef Request* request = &core.requests[slot]
    if max_tokens <= 0 or request.num_tokens == 0:
        return refuse_count(
            core, BAD_COUNT, request_handle(core, slot), max_tokens, request.num_tokens
        )
    if request.tier != DEVICE:
        return refuse(core, WRONG_TIER, request_handle(core, slot))
    if request.planned >= request.num_tokens and max_tokens > core.max_tokens - request.planned:
        return refuse_count(
            core, TOO_LONG, request_handle(core, slot), <int64_t>request.planned + max_tokens,
            core.max_tokens,
        )
    return STATUS_OK


cdef inline int plan_rows(
    Core* core, PlanRow* rows, const int32_t* max_tokens, int64_t count
) noexcept nogil:
    """Plan the requests in rows' slots, all of them or none. max_tokens: NULL: one for each."""
    cdef int64_t pending = 0
    cdef int64_t j
    cdef int status
    cdef Foresight sight
    for j in range(count):
        status = check_plan(core, rows[j].slot, max_tokens[j] if max_tokens else 1)
        if status:
            return refuse_at(core, status, j)
        kv_prefetch(chain_of(core, rows[j].slot))
    for j in range(count):
        if j + 1 < count:
            expect_attach(core, rows[j + 1].slot)
        status = reserve_row(core, &rows[j], max_tokens[j] if max_tokens else 1, &pending)
        if status:
            undo_rows(core, rows, j)
            return refuse_at(core, status, j)
    foresee(&sight, core, DEVICE, pending)
    for j in range(count):
        commit_row(core, &rows[j], &sight)
    return STATUS_OK


cdef inline int check_computed(Core* core, int32_t slot, int32_t count) noexcept nogil:
    cdef Request* request = &core.requests[slot]
    cdef int32_t limit = min(request.planned, request.num_tokens) - request.computed
    if count <= 0 or count > limit:
        return refuse_count(core, BAD_COUNT, request_handle(core, slot), count, limit)
    return STATUS_OK


cdef inline int check_advance(Core* core, int32_t slot, int32_t count) noexcept nogil:
    """Whether a token may be appended, and `count` be marked computed then."""
    cdef Request* request = &core.requests[slot]
    cdef int32_t limit = min(request.planned, request.num_tokens + 1) - request.computed
    if request.num_tokens >= core.max_tokens:
        return refuse_count(
            core, TOO_LONG, request_handle(core, slot), core.max_tokens + 1, core.max_tokens
        )
    if count <= 0 or count > limit:
        return refuse_count(core, BAD_COUNT, request_handle(core, slot), count, limit)
    return STATUS_OK


cdef inline void mark_row(Core* core, int32_t slot, int32_t count) noexcept nogil:
    """The next `count` planned tokens were computed: publish the blocks that are full by now."""
    cdef Request* request = &core.requests[slot]
    cdef int32_t* chain = chain_of(core, slot)
    cdef int32_t* table = table_of(core, slot)
    cdef int32_t base = core.pools[request.tier].base
    request.computed += count
    while (request.published + 1) * core.block_size <= request.computed:
        core.prefix.nodes[chain[request.published]].num_planners -= 1
        publish(core, base + table[request.published], request.tier, chain[request.published])
        request.published += 1


cdef inline int roll_back(
    Core* core, int32_t slot, int32_t count, int64_t last_step
) noexcept nogil:
    """Take back the last `count` planned tokens and the blocks only they needed."""
    cdef Request* request = &core.requests[slot]
    cdef int32_t planned = request.planned - count
    cdef int32_t keep = kv_blocks_for(planned, core.block_size)
    cdef int status = retire_blocks(core, slot, keep, request.num_blocks, last_step)
    if status:
        return status
    request.num_blocks = keep
    request.planned = planned
    if keep == 0:
        request.tier = DEVICE    # a request without blocks may be planned anywhere
        request.busy_step = 0
    retract(core, slot, kv_full_blocks(min(planned, request.num_tokens), core.block_size))
    return STATUS_OK


cdef inline int check_rollback(Core* core, int32_t slot, int32_t count) noexcept nogil:
    cdef int32_t limit = core.requests[slot].planned - core.requests[slot].computed
    if count <= 0 or count > limit:
        return refuse_count(core, BAD_COUNT, request_handle(core, slot), count, limit)
    return STATUS_OK
