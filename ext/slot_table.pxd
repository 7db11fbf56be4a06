# Slots and generations: 64-bit handles that need no hash map and never come back to life.
#
# A handle is generation << 32 | slot. Taking a slot makes its generation's handle valid, releasing
# it moves the generation on, so that the old handle is recognised as stale for ever. Inlined where
# cimported; what a slot stands for is the owner's business.
#
# Invariants:
#   S1  a slot below `used` is taken (level != NO_LEVEL), or on the free list, or retired
#   S2  a handle is issued once: a slot is retired when its 2**32 - 1 generations are used up
# Cost: every operation O(1); 20 bytes a slot, kept until the table is dropped.

from libc.stdint cimport uint32_t, uint64_t
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc

cdef enum:
    NO_SLOT = 0xFFFFFFFF
    NO_LEVEL = 0xFFFFFFFF
    LAST_GENERATION = 0xFFFFFFFF
    FIRST_ROOM = 16              # slots of the first allocation

cdef struct Slot:
    uint64_t item                # the owner's
    uint32_t generation          # of the handle in force; of the next one while the slot is free
    uint32_t level               # the owner's, NO_LEVEL while the slot is free

cdef struct SlotTable:
    Slot* slots                  # [room]
    uint32_t* where              # [room] the owner's; of a free slot, the next free slot
    uint64_t room                # slots allocated
    uint64_t used                # slots ever taken
    uint64_t retired             # slots of which no generation is left
    uint64_t held                # slots taken now
    uint32_t free                # head of the free list, or NO_SLOT


# SAFETY (all functions below): slots and where are indexed below `used` <= `room` only: by a slot
# of the free list, by one that find_slot accepted, or by `used` itself after slots_reserve. No
# memoryview is indexed, so `noexcept` hides no bounds error.

cdef inline uint64_t handle_of(const SlotTable* table, uint32_t slot) noexcept nogil:
    return <uint64_t>table.slots[slot].generation << 32 | slot


cdef inline bint is_held(const SlotTable* table, uint64_t handle) noexcept nogil:
    cdef uint32_t slot = <uint32_t>handle
    return (
        slot < table.used
        and table.slots[slot].generation == handle >> 32
        and table.slots[slot].level != NO_LEVEL      # a guessed handle may name the next generation
    )


cdef inline int slots_reserve(SlotTable* table, uint64_t extra) noexcept nogil:
    """Make room for `extra` more; 0, or -1 when memory is out and nothing that is held changed."""
    cdef uint64_t need = table.held + table.retired + extra
    if need <= table.room:
        return 0
    cdef uint64_t room = max(need, 2 * table.room, <uint64_t>FIRST_ROOM)
    cdef void* slots = PyMem_RawRealloc(table.slots, room * sizeof(Slot))
    if slots is NULL:
        return -1
    table.slots = <Slot*>slots
    cdef void* where = PyMem_RawRealloc(table.where, room * sizeof(uint32_t))
    if where is NULL:
        return -1                # slots is longer than room says: harmless
    table.where = <uint32_t*>where
    table.room = room
    return 0


cdef inline uint32_t take_slot(SlotTable* table, uint64_t item) noexcept nogil:
    """Take a slot; room must have been reserved. Last freed, first taken: it is in the cache."""
    cdef uint32_t slot = table.free
    if slot != NO_SLOT:
        table.free = table.where[slot]
    else:
        slot = <uint32_t>table.used
        table.used += 1
        table.slots[slot].generation = 1             # so that no handle is 0
    table.slots[slot].item = item
    table.held += 1
    return slot


cdef inline void release_slot(SlotTable* table, uint32_t slot) noexcept nogil:
    table.held -= 1
    table.slots[slot].level = NO_LEVEL
    if table.slots[slot].generation == LAST_GENERATION:
        table.retired += 1                           # S2
        return
    table.slots[slot].generation += 1
    table.where[slot] = table.free
    table.free = slot


cdef inline void slots_free(SlotTable* table) noexcept nogil:
    PyMem_RawFree(table.slots)
    PyMem_RawFree(table.where)
