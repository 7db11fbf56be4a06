"""Recount everything and compare: the invariants I1 to I7 of kv_core.pxd. Inline and `nogil`.

For tests and for an operator's doubt, not for each step of a kernel.
Cost: O(capacity + known tokens + owners x tiers), and as much memory for the recount.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free

from ext.kv_core cimport (
    NUM_KINDS, PIN, RETIRED, Core, Holding, Request, chain_of, table_of,
)
from ext.kv_counts cimport Count, CountTable, counts_block, counts_find, counts_owner
from ext.kv_hash cimport Digest
from ext.kv_owners cimport Account, account_unmet, is_holder
from ext.kv_pool cimport (
    DEVICE, HOST, NONE, NUM_TIERS, Block, Pool, kv_blocks_for, kv_full_blocks,
)
from ext.kv_prefix cimport (
    NodeKey, PrefixTable, prefix_digest, prefix_parent_digest,
)

cdef struct Recount:
    int32_t* refs            # by block: how many lists name it
    int32_t* held            # by block: references its holders have
    int32_t* holders         # by block
    int32_t* xors            # by block
    int32_t* node_refs       # by node
    int32_t* planners        # by node
    char* is_alive           # by node: in the table
    Account* accounts        # by owner slot x tier

cdef enum:
    AUDIT_OK = 0
    AUDIT_NO_MEMORY = -1


cdef inline int audit_places(const Core* core, int tier) noexcept nogil:
    """I1: each block is in the list of its place; I3: published blocks and nodes agree."""
    cdef const Pool* pool = &core.pools[tier]
    cdef const Block* block
    cdef int32_t held = 0
    cdef int32_t linked = 0
    cdef int32_t number
    for number in range(pool.base, pool.base + pool.size):
        block = &core.blocks[number]
        held += block.num_holders > 0
        if block.node != NONE and core.prefix.nodes[block.node].block[tier] != number:
            return 3
    if held + pool.num_free + pool.num_cached != pool.size:
        return 1
    number = pool.free_head
    while number != NONE and linked <= pool.size:
        if core.blocks[number].num_holders or core.blocks[number].node != NONE:
            return 1
        linked += 1
        number = core.blocks[number].next
    if linked != pool.num_free:
        return 1
    linked = 0
    number = core.blocks[pool.head].next
    while number != pool.head and linked <= pool.size:
        if core.blocks[number].num_holders or core.blocks[number].node == NONE:
            return 1
        if core.blocks[core.blocks[number].next].prev != number:
            return 1
        linked += 1
        number = core.blocks[number].next
    return AUDIT_OK if linked == pool.num_cached else 1


cdef inline int audit_request(const Core* core, int32_t slot, Recount* recount) noexcept nogil:
    """I4 and the request's part of I2, I3, I6 and I7."""
    cdef const Request* request = &core.requests[slot]
    cdef int32_t size = core.block_size
    cdef int32_t full = kv_full_blocks(request.num_tokens, size)
    cdef int32_t known = min(request.planned, request.num_tokens)
    cdef int32_t base = core.pools[request.tier].base
    cdef int32_t* chain = chain_of(core, slot)
    cdef int32_t i, number
    if not 0 <= request.computed <= known:
        return 4
    if request.num_blocks != kv_blocks_for(request.planned, size):
        return 4
    if request.published != kv_full_blocks(request.computed, size):
        return 3
    if request.announced != kv_full_blocks(known, size):
        return 7
    for i in range(request.num_blocks):
        number = base + table_of(core, slot)[i]
        recount.refs[number] += 1
        if core.blocks[number].node != NONE and (
            i >= request.published or core.blocks[number].node != chain[i]
        ):
            return 3
    for i in range(request.published, request.announced):
        recount.planners[chain[i]] += 1
    for i in range(full):
        if core.prefix.keys[chain[i]].parent != (chain[i - 1] if i else NONE):
            return 6
    if full:
        recount.node_refs[chain[full - 1]] += 1
    return AUDIT_OK


cdef inline int64_t audit_holdings(const Core* core, Recount* recount) noexcept nogil:
    """Count the references of pins and retired holdings; returns their number."""
    cdef const Holding* holding
    cdef int64_t found = 0
    cdef int32_t slot, i
    cdef int kind
    for kind in range(1, NUM_KINDS):
        slot = core.oldest[kind]
        while slot != NONE:
            holding = &core.holdings[slot]
            found += holding.kind == kind
            for i in range(holding.num_blocks):
                recount.refs[holding.blocks[i]] += 1
            slot = holding.next
    return found


cdef inline int audit_node(const Core* core, int32_t number, Recount* recount) noexcept nogil:
    """A node's content gives its digest; its blocks name it."""
    cdef const PrefixTable* table = &core.prefix
    cdef const NodeKey* key = &table.keys[number]
    cdef Digest digest = prefix_digest(
        table, prefix_parent_digest(table, key.parent, key.extra_key),
        table.tokens + <size_t>number * table.block_size,
    )
    cdef int32_t block
    cdef int tier
    if digest.low != key.digest.low or digest.high != key.digest.high:
        return 6
    if key.parent != NONE:
        recount.node_refs[key.parent] += 1
    for tier in range(NUM_TIERS):
        block = table.nodes[number].block[tier]
        if block != NONE:
            recount.node_refs[number] += 1
            if core.blocks[block].node != number:
                return 3
    return AUDIT_OK


cdef inline int audit_nodes(const Core* core, Recount* recount) noexcept nogil:
    """I6 and I7 over the table's buckets."""
    cdef const PrefixTable* table = &core.prefix
    cdef int32_t number
    cdef int64_t found = 0
    cdef uint64_t at
    cdef int fault
    for at in range(table.mask + 1):
        number = table.buckets[at]
        while number != NONE and found <= table.num_nodes:
            found += 1
            recount.is_alive[number] += 1
            if (table.keys[number].digest.low & table.mask) != at:
                return 6
            fault = audit_node(core, number, recount)
            if fault:
                return fault
            number = table.keys[number].next
    if found != table.num_nodes:
        return 6
    for number in range(table.num_used):
        if recount.is_alive[number] > 1:
            return 6
        if recount.is_alive[number] and (
            table.nodes[number].ref_count != recount.node_refs[number]
            or recount.node_refs[number] == 0
        ):
            return 6
        if recount.is_alive[number]:
            if table.nodes[number].num_planners != recount.planners[number]:
                return 7
        elif recount.node_refs[number] or recount.planners[number]:
            return 6
    return AUDIT_OK


cdef inline void count_holder(
    const Core* core, Recount* recount, int32_t number, int32_t owner, int64_t refs
) noexcept nogil:
    """Count one holder of a block."""
    cdef int tier = number >= core.pools[HOST].base
    cdef Account* account = &recount.accounts[owner * NUM_TIERS + tier]
    recount.held[number] += <int32_t>refs
    recount.holders[number] += 1
    recount.xors[number] ^= owner
    account.referenced += 1
    account.alone += core.blocks[number].num_holders == 1


cdef inline bint is_entry_sound(const CountTable* table, const Count* entry) noexcept nogil:
    return entry.count > 0 and counts_find(
        table, counts_block(entry.key), counts_owner(entry.key)
    ) == entry


cdef inline int audit_counts(const Core* core, Recount* recount) noexcept nogil:
    """The tables' part of I2 and I5: further holders, and pins no more than references."""
    cdef const CountTable* refs = &core.ledger.refs
    cdef const CountTable* pins = &core.ledger.pins
    cdef const Count* entry
    cdef int32_t number, owner
    cdef uint64_t at
    for at in range(refs.mask + 1):
        entry = &refs.entries[at]
        if entry.key:
            number = counts_block(entry.key)
            owner = counts_owner(entry.key)
            if not is_entry_sound(refs, entry) or core.blocks[number].first == owner:
                return 5
            count_holder(core, recount, number, owner, entry.count)
    for at in range(pins.mask + 1):
        entry = &pins.entries[at]
        if entry.key:
            number = counts_block(entry.key)
            owner = counts_owner(entry.key)
            if not is_entry_sound(pins, entry):
                return 5
            if not is_holder(&core.ledger, &core.blocks[number], number, owner):
                return 5
            recount.accounts[owner * NUM_TIERS + (number >= core.pools[HOST].base)].pinned += 1
    return AUDIT_OK


cdef inline int audit_holders(const Core* core, Recount* recount) noexcept nogil:
    """The blocks' part of I2 and I5: what holders have adds up."""
    cdef const Block* block
    cdef int32_t number
    for number in range(core.pools[DEVICE].size + core.pools[HOST].size):
        block = &core.blocks[number]
        if block.first != NONE:
            if block.first_refs <= 0:
                return 5
            count_holder(core, recount, number, block.first, block.first_refs)
        if recount.refs[number] != recount.held[number]:
            return 2
        if recount.holders[number] != block.num_holders:
            return 5
        if block.num_holders and recount.xors[number] != block.holder_xor:
            return 5
        if block.num_holders == 0 and block.node != NONE:
            recount.accounts[
                block.cached_for * NUM_TIERS + (number >= core.pools[HOST].base)
            ].cached += 1
    return AUDIT_OK


cdef inline int audit_accounts(const Core* core, const Recount* recount) noexcept nogil:
    """I5: accounts, floors and what they lack."""
    cdef const Account* kept
    cdef const Account* counted
    cdef int64_t unmet, floors
    cdef int32_t slot
    cdef int tier
    for tier in range(NUM_TIERS):
        unmet = floors = 0
        for slot in range(core.ledger.num_slots):
            kept = &core.ledger.owners[slot].tiers[tier]
            counted = &recount.accounts[slot * NUM_TIERS + tier]
            if kept.referenced != counted.referenced or kept.alone != counted.alone:
                return 5
            if kept.pinned != counted.pinned or kept.cached != counted.cached:
                return 5
            unmet += account_unmet(kept)
            floors += kept.floor
        if unmet != core.ledger.unmet[tier] or floors != core.ledger.floors[tier]:
            return 5
        if floors > core.pools[tier].size:
            return 5
    return AUDIT_OK


cdef inline int audit_all(const Core* core, Recount* recount) noexcept nogil:
    cdef int32_t slot
    cdef int fault, tier
    for tier in range(NUM_TIERS):
        fault = audit_places(core, tier)
        if fault:
            return fault
    for slot in range(core.num_slots):
        if core.requests[slot].is_open:
            fault = audit_request(core, slot, recount)
            if fault:
                return fault
    if audit_holdings(core, recount) != core.counts[RETIRED] + core.counts[PIN]:
        return 2
    fault = audit_counts(core, recount)
    if fault:
        return fault
    fault = audit_holders(core, recount)
    if fault:
        return fault
    fault = audit_accounts(core, recount)
    return fault if fault else audit_nodes(core, recount)


cdef inline int audit(const Core* core) noexcept nogil:
    """The number of a broken invariant, AUDIT_OK or AUDIT_NO_MEMORY."""
    cdef Recount recount
    cdef size_t blocks = <size_t>(core.pools[DEVICE].size + core.pools[HOST].size + 1)
    cdef size_t nodes = <size_t>core.prefix.num_used + 1
    cdef size_t owners = <size_t>core.ledger.num_slots + 1
    cdef int fault = AUDIT_NO_MEMORY
    recount.refs = <int32_t*>calloc(blocks * 4 + nodes * 2, sizeof(int32_t))
    recount.is_alive = <char*>calloc(nodes, 1)
    recount.accounts = <Account*>calloc(owners * NUM_TIERS, sizeof(Account))
    if recount.refs and recount.is_alive and recount.accounts:
        recount.held = recount.refs + blocks
        recount.holders = recount.held + blocks
        recount.xors = recount.holders + blocks
        recount.node_refs = recount.xors + blocks
        recount.planners = recount.node_refs + nodes
        fault = audit_all(core, &recount)
    free(recount.refs)
    free(recount.is_alive)
    free(recount.accounts)
    return fault
