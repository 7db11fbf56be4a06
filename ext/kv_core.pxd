"""The state of one cache and the steps every operation is made of, inline and `nogil`.

`Core` is one engine's block table: pools, prefix nodes, ledger, requests and holdings. An operation
returns a status; on a refusal `Core.refusal` says what is missing, and nothing has changed.

Invariants (checked by kv_audit.pxd):
  I1  a block is held, cached or free, and in the list of its place only;
  I2  the references a block's holders have are the requests and holdings that list it;
  I3  a published block and its node name each other, and all of its tokens are computed;
  I4  computed <= planned <= what the request's blocks hold, computed <= known tokens;
  I5  each account is what a recount gives, `unmet` is what the floors lack;
  I6  a node's ref_count is requests + published blocks + children, and its digest and
      bucket are those of its content;
  I7  a node's num_planners is the number of requests that announced it.

SAFETY of the pointers: every slot, block and node number used as an index was issued by these
modules and is kept below its array's size by I1, I2 and I6; handles from outside pass
`find_request`, `find_owner` or `find_pin` first. Arrays that grow do so in `*_reserve` functions
only, holdings in `new_holding`.
"""

from libc.stdint cimport int32_t, int64_t

from ext.kv_owners cimport Ledger, unhold
from ext.kv_pool cimport (
    DEVICE, NONE, NUM_TIERS, Block, Pool, pool_cache, pool_push_free,
)
from ext.kv_prefix cimport Node, PrefixTable, prefix_release

cdef enum Status:
    STATUS_OK = 0
    UNKNOWN_REQUEST = 1
    REPEATED_REQUEST = 2         # twice in one batch
    BAD_COUNT = 3                # zero, negative or more than there are
    TOO_LONG = 4                 # more tokens than a request may have
    TOO_MANY_REQUESTS = 5
    OUT_OF_BLOCKS = 6
    OVER_QUOTA = 7
    WRONG_TIER = 8
    BAD_STEP = 9
    NO_MEMORY = 10

cdef enum HandleKind:
    REQUEST_KIND = 1
    OWNER_KIND = 2
    PIN_KIND = 3

cdef struct Refusal:             # fields that do not apply are 0
    int64_t handle               # request, owner or pin
    int64_t index                # position in the batch
    int64_t owner
    int32_t tier
    int64_t needed
    int64_t available
    int64_t reserved             # blocks kept for the floors of other owners
    int64_t limit

cdef struct Request:
    int64_t extra_key
    int64_t busy_step            # last step with a copy from or to its blocks
    int64_t stamp                # last batch that named it
    int32_t generation
    int32_t is_open
    int32_t owner
    int32_t tier
    int32_t num_tokens           # known token ids
    int32_t planned              # tokens given to the engine
    int32_t computed             # tokens whose step reported success
    int32_t num_blocks
    int32_t published            # nodes computed (published, or a duplicate was)
    int32_t announced            # nodes planned: those from `published` on count as planners
    int32_t next_free

cdef enum:
    NO_HOLDING = 0
    RETIRED = 1                  # until its step has reported
    PIN = 2                      # until unpinned or expired
    NUM_KINDS = 3

cdef struct Holding:             # blocks referenced by no request
    int64_t until                # step, or time in ns
    int32_t* blocks              # numbers through both tiers, a request's head first
    int32_t num_blocks
    int32_t owner
    int32_t tier
    int32_t kind
    int32_t generation
    int32_t prev                 # list of its kind, oldest first
    int32_t next                 # next free one when free

cdef struct Counters:
    int64_t lookup_tokens, hit_tokens, hit_blocks, miss_blocks
    int64_t fork_copies, swap_out_copies, swap_in_copies, preemptions
    int64_t demote_copies, promote_copies
    int64_t evictions[NUM_TIERS]

cdef struct Core:
    int32_t block_size
    int32_t max_blocks           # of one request
    int32_t max_tokens           # of one request
    int32_t max_requests
    int64_t instance             # told apart in handles
    Pool pools[NUM_TIERS]
    Block* blocks
    PrefixTable prefix
    Ledger ledger
    Request* requests
    int32_t num_slots            # request slots ever used
    int32_t free_request
    int32_t num_open
    int32_t* tables              # row of block numbers per request, numbered within its tier
    int32_t* chains              # row of nodes per request
    int32_t* tails               # row of tokens after the last full block per request
    Holding* holdings
    int32_t num_holdings         # slots ever used
    int32_t holding_capacity
    int32_t free_holding
    int32_t oldest[NUM_KINDS]    # holdings of each kind, in order of creation
    int32_t newest[NUM_KINDS]
    int32_t counts[NUM_KINDS]
    int64_t first_expiry         # no pin expires before this time
    int64_t completed_step
    int64_t stamp
    int32_t* scratch             # one row
    Counters counters
    Refusal refusal


# Handles: kind in bits 61-62, instance 48-60, generation 24-47, slot 0-23.

cdef inline int64_t make_handle(
    const Core* core, int kind, int32_t generation, int32_t slot
) noexcept nogil:
    return (<int64_t>kind << 61) | (core.instance << 48) | (<int64_t>generation << 24) | slot


cdef inline int32_t next_generation(int32_t generation) noexcept nogil:
    return (generation + 1) & 0xFFFFFF


cdef inline int32_t find_request(const Core* core, int64_t handle) noexcept nogil:
    """Slot of an open request, or NONE."""
    cdef int32_t slot = <int32_t>(handle & 0xFFFFFF)
    if slot >= core.num_slots or not core.requests[slot].is_open:
        return NONE
    if handle != make_handle(core, REQUEST_KIND, core.requests[slot].generation, slot):
        return NONE
    return slot


cdef inline int64_t request_handle(const Core* core, int32_t slot) noexcept nogil:
    return make_handle(core, REQUEST_KIND, core.requests[slot].generation, slot)


cdef inline int32_t find_owner(const Core* core, int64_t handle) noexcept nogil:
    """Slot of an open owner, or NONE."""
    cdef int32_t slot = <int32_t>(handle & 0xFFFFFF)
    if slot >= core.ledger.num_slots or not core.ledger.owners[slot].is_open:
        return NONE
    if handle != owner_handle(core, slot):
        return NONE
    return slot


cdef inline int64_t owner_handle(const Core* core, int32_t slot) noexcept nogil:
    return make_handle(core, OWNER_KIND, core.ledger.owners[slot].generation, slot)


cdef inline int32_t find_pin(const Core* core, int64_t handle) noexcept nogil:
    cdef int32_t slot = <int32_t>(handle & 0xFFFFFF)
    if slot >= core.num_holdings or core.holdings[slot].kind != PIN:
        return NONE
    if handle != make_handle(core, PIN_KIND, core.holdings[slot].generation, slot):
        return NONE
    return slot


cdef inline int refuse(Core* core, int status, int64_t handle) noexcept nogil:
    """Record a refusal about one handle; the caller adds what else it knows."""
    core.refusal.handle = handle
    core.refusal.index = 0
    core.refusal.owner = 0
    core.refusal.tier = DEVICE
    core.refusal.needed = 0
    core.refusal.available = 0
    core.refusal.reserved = 0
    core.refusal.limit = 0
    return status


cdef inline int refuse_count(
    Core* core, int status, int64_t handle, int64_t needed, int64_t limit
) noexcept nogil:
    refuse(core, status, handle)
    core.refusal.needed = needed
    core.refusal.limit = limit
    return status


cdef inline int32_t* table_of(const Core* core, int32_t slot) noexcept nogil:
    return core.tables + <size_t>slot * core.max_blocks


cdef inline int32_t* chain_of(const Core* core, int32_t slot) noexcept nogil:
    return core.chains + <size_t>slot * core.max_blocks


cdef inline int32_t* tail_of(const Core* core, int32_t slot) noexcept nogil:
    return core.tails + <size_t>slot * core.block_size


cdef inline void unpublish(Core* core, int32_t number, int32_t tier) noexcept nogil:
    cdef Block* block = &core.blocks[number]
    core.prefix.nodes[block.node].block[tier] = NONE
    prefix_release(&core.prefix, block.node)
    block.node = NONE


cdef inline void let_go(Core* core, int32_t number, int32_t tier, int32_t owner) noexcept nogil:
    """Give back one reference of `owner`; what nobody holds is cached if published, else free."""
    cdef Block* block = &core.blocks[number]
    unhold(&core.ledger, block, number, owner, tier)
    if block.num_holders:
        return
    if block.node == NONE:
        pool_push_free(&core.pools[tier], core.blocks, number)
        return
    block.cached_for = owner
    core.ledger.owners[owner].tiers[tier].cached += 1
    pool_cache(&core.pools[tier], core.blocks, number)


cdef inline void publish(Core* core, int32_t number, int32_t tier, int32_t node) noexcept nogil:
    """Let others find this computed block, unless an equal one was published first."""
    cdef Node* content = &core.prefix.nodes[node]
    if core.blocks[number].node == NONE and content.block[tier] == NONE:
        content.block[tier] = number
        content.ref_count += 1
        core.blocks[number].node = node
