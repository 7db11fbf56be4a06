"""Pins: computed prefixes kept without a request, for a time. Inline and `nogil`.

A pin references the full computed blocks of a request for the request's owner, in the tier they are
in. Where another block has the same content and is the one others find, the pin takes that one.
Cost: O(blocks); expiry looks at the pins only once the earliest of them is due.
"""

from libc.stdint cimport int32_t, int64_t

from ext.kv_core cimport (
    NO_MEMORY, PIN, PIN_KIND, STATUS_OK,
    Core, Request, chain_of, make_handle, publish, refuse,
    request_handle, table_of,
)
from ext.kv_move cimport Need, check_need, join_block, published_in
from ext.kv_counts cimport counts_reserve
from ext.kv_holdings cimport new_holding, release_holding
from ext.kv_owners cimport add_pin, is_holder
from ext.kv_pool cimport NONE

cdef enum:
    NEVER = 0x7FFFFFFFFFFFFFFF


cdef inline void publish_all(Core* core, int32_t slot) noexcept nogil:
    """Publish computed blocks whose equal was evicted since they were computed."""
    cdef Request* request = &core.requests[slot]
    cdef int32_t base = core.pools[request.tier].base
    cdef int32_t i
    for i in range(request.published):
        publish(core, base + table_of(core, slot)[i], request.tier, chain_of(core, slot)[i])


cdef inline int make_pin(Core* core, int32_t slot, int64_t until, int64_t* pin) noexcept nogil:
    """Pin a request's full computed blocks, or refuse, with no block taken."""
    cdef Request* request = &core.requests[slot]
    cdef Need need
    cdef int32_t i, number, made
    cdef int status
    need.fresh = need.joined = need.uncached = 0
    for i in range(request.published):
        number = published_in(core, slot, i, request.tier)
        if number == NONE:
            continue             # its own block, published below
        need.uncached += core.blocks[number].num_holders == 0
        need.joined += not is_holder(
            &core.ledger, &core.blocks[number], number, request.owner
        )
    if need.joined:
        status = check_need(core, slot, request.owner, request.tier, &need)
        if status:
            return status
    if not counts_reserve(&core.ledger.pins, request.published):
        return refuse(core, NO_MEMORY, request_handle(core, slot))
    made = new_holding(core, PIN, request.published)
    if made == NONE:
        return refuse(core, NO_MEMORY, request_handle(core, slot))
    publish_all(core, slot)
    core.holdings[made].until = until
    core.holdings[made].owner = request.owner
    core.holdings[made].tier = request.tier
    for i in range(request.published):
        number = published_in(core, slot, i, request.tier)
        join_block(core, number, request.owner, request.tier)
        add_pin(&core.ledger, number, request.owner, request.tier)
        core.holdings[made].blocks[i] = number
    core.first_expiry = min(core.first_expiry, until)
    pin[0] = make_handle(core, PIN_KIND, core.holdings[made].generation, made)
    return STATUS_OK


cdef inline int64_t expire(Core* core, int64_t now) noexcept nogil:
    """Release the pins whose time is up, oldest pin first; returns how many."""
    cdef int32_t slot = core.oldest[PIN]
    cdef int32_t after
    cdef int64_t released = 0
    if now < core.first_expiry:
        return 0
    core.first_expiry = NEVER
    while slot != NONE:
        after = core.holdings[slot].next
        if core.holdings[slot].until <= now:
            release_holding(core, slot)
            released += 1
        else:
            core.first_expiry = min(core.first_expiry, core.holdings[slot].until)
        slot = after
    return released


cdef inline void release_pins_of(Core* core, int32_t owner) noexcept nogil:
    cdef int32_t slot = core.oldest[PIN]
    cdef int32_t after
    while slot != NONE:
        after = core.holdings[slot].next
        if core.holdings[slot].owner == owner:
            release_holding(core, slot)
        slot = after
