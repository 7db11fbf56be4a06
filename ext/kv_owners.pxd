"""Who holds which block: exact per-owner accounts, quotas and floors, inline and `nogil`.

An owner's `referenced` counts each block that its requests, pins or retired holdings reference,
whole and once, so that no other owner's act changes it.

Most blocks have one owner, so the first holder of a block is counted in the block itself; further
holders, and all pins, are counted in hash tables of (block, owner), see kv_counts.pxd. The xor of
a block's holders names the last one left without a search, which keeps `alone` exact in O(1).
Cost: O(1) expected for each function, no memory for unpinned blocks with one owner.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memset

from ext.kv_counts cimport (
    Count, CountTable, counts_block, counts_erase, counts_find, counts_insert, counts_key,
    counts_owner, counts_reserve,
)
from ext.kv_pool cimport DEVICE, HOST, NONE, NUM_TIERS, Block

cdef struct Account:
    int32_t referenced       # blocks held, each once
    int32_t alone            # of these, blocks nobody else holds
    int32_t pinned           # of these, blocks under a pin of this owner
    int32_t cached           # unreferenced cached blocks this owner let go last
    int32_t quota            # referenced never grows past this
    int32_t floor            # blocks guaranteed: what is missing is kept from others

cdef struct Owner:
    Account tiers[NUM_TIERS]
    int32_t generation
    int32_t num_requests     # open requests
    int32_t is_open
    int32_t is_used          # slot taken: open, or closed with blocks still counted to it

cdef struct Ledger:
    Owner* owners
    int32_t num_slots        # slots ever used
    int32_t capacity
    CountTable refs          # of holders after a block's first
    CountTable pins
    int64_t unmet[NUM_TIERS]   # sum over owners of what their floors still lack
    int64_t floors[NUM_TIERS]  # sum of floors


cdef inline int64_t account_unmet(const Account* account) noexcept nogil:
    return max(account.floor - account.referenced, 0)


cdef inline void account_add(
    Ledger* ledger, int32_t owner, int32_t tier, int32_t blocks
) noexcept nogil:
    """Change `referenced`, and with it what the floors still lack."""
    cdef Account* account = &ledger.owners[owner].tiers[tier]
    if account.floor:
        ledger.unmet[tier] -= account_unmet(account)
        account.referenced += blocks
        ledger.unmet[tier] += account_unmet(account)
    else:
        account.referenced += blocks


cdef inline bint ledger_reserve(Ledger* ledger, int64_t extra) noexcept nogil:
    """Room for `extra` more holders. False: out of memory, nothing changed."""
    return counts_reserve(&ledger.refs, extra)


cdef inline int32_t ledger_new_slot(Ledger* ledger) noexcept nogil:
    """A slot nothing is counted to, or NONE when out of memory."""
    cdef int32_t slot
    cdef int32_t capacity
    cdef Owner* owner
    cdef void* grown
    for slot in range(ledger.num_slots):
        owner = &ledger.owners[slot]
        if not owner.is_used or (not owner.is_open and owner_is_empty(owner)):
            return slot
    if ledger.num_slots == ledger.capacity:
        capacity = max(16, ledger.capacity * 2)
        grown = realloc(ledger.owners, <size_t>capacity * sizeof(Owner))
        if grown == NULL:
            return NONE
        ledger.owners = <Owner*>grown
        ledger.capacity = capacity
    memset(&ledger.owners[ledger.num_slots], 0, sizeof(Owner))
    ledger.num_slots += 1
    return ledger.num_slots - 1


cdef inline bint owner_is_empty(const Owner* owner) noexcept nogil:
    """Neither references nor cached blocks are counted to it."""
    return (
        owner.tiers[DEVICE].referenced + owner.tiers[DEVICE].cached
        + owner.tiers[HOST].referenced + owner.tiers[HOST].cached
    ) == 0


cdef inline bint is_holder(
    const Ledger* ledger, const Block* block, int32_t number, int32_t owner
) noexcept nogil:
    if block.num_holders <= 1:
        return block.num_holders == 1 and block.holder_xor == owner
    return block.first == owner or counts_find(&ledger.refs, number, owner) != NULL


cdef inline void hold_fresh(Block* block, int32_t owner) noexcept nogil:
    """The first reference to a block taken from a pool; the caller counts it to the account."""
    block.num_holders = 1
    block.holder_xor = owner
    block.first = owner
    block.first_refs = 1


cdef inline void hold(
    Ledger* ledger, Block* block, int32_t number, int32_t owner, int32_t tier
) noexcept nogil:
    """One more reference of `owner` to a block. Room for a holder entry was reserved."""
    cdef Count* entry
    if block.first == owner:
        block.first_refs += 1
        return
    if block.num_holders > (block.first != NONE):
        entry = counts_find(&ledger.refs, number, owner)
        if entry != NULL:
            entry.count += 1
            return
    if block.num_holders == 0:
        ledger.owners[owner].tiers[tier].alone += 1
    elif block.num_holders == 1:
        ledger.owners[block.holder_xor].tiers[tier].alone -= 1
    if block.first == NONE:
        block.first = owner
        block.first_refs = 1
    else:
        counts_insert(&ledger.refs, counts_key(number, owner)).count = 1
    block.num_holders += 1
    block.holder_xor ^= owner
    account_add(ledger, owner, tier, 1)


cdef inline void unhold(
    Ledger* ledger, Block* block, int32_t number, int32_t owner, int32_t tier
) noexcept nogil:
    """Give back one reference of `owner`, who has one."""
    cdef Count* entry
    if block.first == owner:
        block.first_refs -= 1
        if block.first_refs:
            return
        block.first = NONE
    else:
        entry = counts_find(&ledger.refs, number, owner)
        entry.count -= 1
        if entry.count:
            return
        counts_erase(&ledger.refs, entry)
    block.num_holders -= 1
    block.holder_xor ^= owner
    account_add(ledger, owner, tier, -1)
    if block.num_holders == 0:
        ledger.owners[owner].tiers[tier].alone -= 1
    elif block.num_holders == 1:
        ledger.owners[block.holder_xor].tiers[tier].alone += 1


cdef inline void add_pin(
    Ledger* ledger, int32_t number, int32_t owner, int32_t tier
) noexcept nogil:
    """Count one more pin of a block `owner` holds. Room for an entry was reserved."""
    cdef Count* entry = counts_find(&ledger.pins, number, owner)
    if entry == NULL:
        entry = counts_insert(&ledger.pins, counts_key(number, owner))
        ledger.owners[owner].tiers[tier].pinned += 1
    entry.count += 1


cdef inline void drop_pin(
    Ledger* ledger, int32_t number, int32_t owner, int32_t tier
) noexcept nogil:
    """Count one pin less of a block `owner` has pinned."""
    cdef Count* entry = counts_find(&ledger.pins, number, owner)
    entry.count -= 1
    if entry.count == 0:
        counts_erase(&ledger.pins, entry)
        ledger.owners[owner].tiers[tier].pinned -= 1


cdef inline void add_shares(
    const Ledger* ledger, const Block* blocks, int32_t first, int32_t end, double* shares
) noexcept nogil:
    """Add each holder's equal part of the blocks [first, end) to `shares`, by owner slot."""
    cdef int32_t number
    cdef uint64_t at
    for number in range(first, end):
        if blocks[number].first != NONE:
            shares[blocks[number].first] += 1.0 / blocks[number].num_holders
    for at in range(ledger.refs.mask + 1):
        if ledger.refs.entries[at].key:
            number = counts_block(ledger.refs.entries[at].key)
            if first <= number < end:
                shares[counts_owner(ledger.refs.entries[at].key)] += (
                    1.0 / blocks[number].num_holders
                )
