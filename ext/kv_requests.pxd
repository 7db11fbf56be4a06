"""A request's tokens: open, append, truncate, look up, free. Inline and `nogil`.

Tokens become prefix nodes as they fill blocks; what is left over waits in the request's tail. No
function here takes a block: that is kv_plan.pxd's.
Cost: open and append O(new tokens); lookup O(blocks found); free O(blocks).
"""

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from ext.kv_core cimport (
    BAD_COUNT, NO_MEMORY, STATUS_OK, TOO_LONG, TOO_MANY_REQUESTS,
    Core, Request, chain_of, next_generation, refuse, refuse_count, request_handle,
    tail_of,
)
from ext.kv_holdings cimport retire_blocks
from ext.kv_pool cimport DEVICE, NONE, kv_full_blocks
from ext.kv_prefix cimport Node, prefix_intern_chain, prefix_release, prefix_reserve


cdef inline void announce(Core* core, int32_t slot) noexcept nogil:
    """Tell the nodes whose tokens are all known and planned that they are being computed."""
    cdef Request* request = &core.requests[slot]
    cdef int32_t ready = min(request.planned, request.num_tokens)
    cdef int32_t* chain = chain_of(core, slot)
    while (request.announced + 1) * core.block_size <= ready:    # mostly not: it takes no division
        core.prefix.nodes[chain[request.announced]].num_planners += 1
        request.announced += 1


cdef inline void retract(Core* core, int32_t slot, int32_t end) noexcept nogil:
    """Take announcements back, down to `end` nodes."""
    cdef Request* request = &core.requests[slot]
    cdef int32_t* chain = chain_of(core, slot)
    while request.announced > end:
        request.announced -= 1
        core.prefix.nodes[chain[request.announced]].num_planners -= 1


cdef inline int append_tokens(
    Core* core, int32_t slot, const int32_t* tokens, int64_t count
) noexcept nogil:
    """Extend the known tokens. Refuses TOO_LONG and NO_MEMORY, nothing changed."""
    cdef Request* request = &core.requests[slot]
    cdef int32_t size = core.block_size
    cdef int32_t full = kv_full_blocks(request.num_tokens, size)
    cdef int32_t in_tail = request.num_tokens - full * size
    cdef int32_t* chain = chain_of(core, slot)
    cdef int32_t* tail = tail_of(core, slot)
    cdef int32_t old_tip = chain[full - 1] if full else NONE
    cdef int32_t tip = old_tip
    cdef int32_t left, fill, bulk
    if count > core.max_tokens - request.num_tokens:
        return refuse_count(
            core, TOO_LONG, request_handle(core, slot), request.num_tokens + count, core.max_tokens
        )
    left = <int32_t>count
    if not prefix_reserve(&core.prefix, kv_full_blocks(in_tail + left, size)):
        return refuse(core, NO_MEMORY, request_handle(core, slot))
    request.num_tokens += left
    if in_tail:
        fill = min(size - in_tail, left)
        memcpy(tail + in_tail, tokens, <size_t>fill * sizeof(int32_t))
        tokens += fill
        left -= fill
        if in_tail + fill < size:
            return STATUS_OK
        prefix_intern_chain(&core.prefix, tip, request.extra_key, tail, 1, chain + full)
        tip = chain[full]
        full += 1
    bulk = kv_full_blocks(left, size)
    if bulk:
        prefix_intern_chain(&core.prefix, tip, request.extra_key, tokens, bulk, chain + full)
        tip = chain[full + bulk - 1]
        tokens += <size_t>bulk * size
        left -= bulk * size
    memcpy(tail, tokens, <size_t>left * sizeof(int32_t))
    set_tip(core, old_tip, tip)
    announce(core, slot)
    return STATUS_OK


cdef inline int append_token(Core* core, int32_t slot, int32_t token) noexcept nogil:
    """`append_tokens` of one token, which seldom fills a block."""
    cdef Request* request = &core.requests[slot]
    cdef int32_t size = core.block_size
    cdef int32_t in_tail = request.num_tokens - kv_full_blocks(request.num_tokens, size) * size
    if in_tail + 1 >= size or request.num_tokens >= core.max_tokens:
        return append_tokens(core, slot, &token, 1)
    tail_of(core, slot)[in_tail] = token
    request.num_tokens += 1
    return STATUS_OK


cdef inline void set_tip(Core* core, int32_t old_tip, int32_t tip) noexcept nogil:
    """Refer to the chain's new last node instead of the old one."""
    if tip != NONE:
        core.prefix.nodes[tip].ref_count += 1
    prefix_release(&core.prefix, old_tip)


cdef inline int truncate_tokens(Core* core, int32_t slot, int32_t num_tokens) noexcept nogil:
    """Forget known tokens from `num_tokens` on; planned ones stay."""
    cdef Request* request = &core.requests[slot]
    cdef int32_t size = core.block_size
    cdef int32_t full = kv_full_blocks(request.num_tokens, size)
    cdef int32_t keep = kv_full_blocks(num_tokens, size)
    cdef int32_t* chain = chain_of(core, slot)
    if num_tokens < request.planned or num_tokens > request.num_tokens:
        return refuse_count(
            core, BAD_COUNT, request_handle(core, slot), num_tokens, request.num_tokens
        )
    if keep < full:
        memcpy(
            tail_of(core, slot), core.prefix.tokens + <size_t>chain[keep] * size,
            <size_t>(num_tokens - keep * size) * sizeof(int32_t),
        )
        set_tip(core, chain[full - 1], chain[keep - 1] if keep else NONE)
    request.num_tokens = num_tokens
    return STATUS_OK


cdef inline void copy_tokens(
    const Core* core, int32_t slot, int32_t first, int32_t end, int32_t* out
) noexcept nogil:
    """Copy known tokens [first, end) out of nodes and tail."""
    cdef int32_t size = core.block_size
    cdef int32_t full = kv_full_blocks(core.requests[slot].num_tokens, size)
    cdef int32_t block, start, count
    cdef const int32_t* source
    while first < end:
        block = kv_full_blocks(first, size)
        start = first - block * size
        count = min(size - start, end - first)
        source = tail_of(core, slot)
        if block < full:
            source = core.prefix.tokens + <size_t>chain_of(core, slot)[block] * size
        memcpy(out, source + start, <size_t>count * sizeof(int32_t))
        out += count
        first += count


cdef inline int32_t take_request_slot(Core* core, int32_t owner) noexcept nogil:
    """An open request without tokens, or NONE: there are max_requests already."""
    cdef int32_t slot = core.free_request
    cdef Request* request
    if slot != NONE:
        core.free_request = core.requests[slot].next_free
    elif core.num_slots < core.max_requests:
        slot = core.num_slots
        core.num_slots += 1
    else:
        return NONE
    request = &core.requests[slot]
    request.is_open = True
    request.owner = owner
    request.tier = DEVICE
    request.num_tokens = request.planned = request.computed = 0
    request.num_blocks = request.published = request.announced = 0
    request.busy_step = 0
    core.ledger.owners[owner].num_requests += 1
    core.num_open += 1
    return slot


cdef inline int refuse_requests(Core* core, int64_t wanted) noexcept nogil:
    refuse_count(core, TOO_MANY_REQUESTS, 0, wanted, core.max_requests)
    core.refusal.available = core.max_requests - core.num_open
    return TOO_MANY_REQUESTS


cdef inline void close_request(Core* core, int32_t slot) noexcept nogil:
    """Forget a request that holds no blocks."""
    cdef Request* request = &core.requests[slot]
    cdef int32_t full = kv_full_blocks(request.num_tokens, core.block_size)
    if full:
        prefix_release(&core.prefix, chain_of(core, slot)[full - 1])
    request.is_open = False
    request.generation = next_generation(request.generation)
    request.next_free = core.free_request
    core.free_request = slot
    core.ledger.owners[request.owner].num_requests -= 1
    core.num_open -= 1


cdef inline int drop_blocks(Core* core, int32_t slot, int64_t last_step) noexcept nogil:
    """Give up all blocks of a request, which keeps its tokens. NO_MEMORY: nothing changed."""
    cdef Request* request = &core.requests[slot]
    cdef int status = retire_blocks(core, slot, 0, request.num_blocks, last_step)
    if status:
        return status
    retract(core, slot, request.published)
    request.planned = request.computed = 0
    request.num_blocks = request.published = request.announced = 0
    request.tier = DEVICE
    request.busy_step = 0
    return STATUS_OK


cdef inline int32_t reusable_blocks(const Core* core, int32_t slot) noexcept nogil:
    """Full blocks that may come from the cache: at least one token is left to compute."""
    return kv_full_blocks(max(core.requests[slot].num_tokens - 1, 0), core.block_size)


cdef inline void look_up(
    const Core* core, int32_t slot, int32_t* cached, int32_t* computing
) noexcept nogil:
    """Tokens a plan would find computed, and how many more a step under way will add."""
    cdef const Request* request = &core.requests[slot]
    cdef int32_t end = reusable_blocks(core, slot)
    cdef int32_t* chain = chain_of(core, slot)
    cdef const Node* node
    cdef int32_t i = 0
    if request.num_blocks:
        cached[0] = request.computed
        computing[0] = request.planned - request.computed
        return
    while i < end and core.prefix.nodes[chain[i]].block[DEVICE] != NONE:
        i += 1
    cached[0] = i * core.block_size
    while i < end:
        node = &core.prefix.nodes[chain[i]]
        if node.num_planners == 0 and node.block[DEVICE] == NONE:
            break
        i += 1
    computing[0] = i * core.block_size - cached[0]
