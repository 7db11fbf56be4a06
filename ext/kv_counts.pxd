"""A hash table from (block, owner) to a count, inline and `nogil`.

Open addressing with linear probing; erasing moves later entries of the run back, so searches need
no tombstones. A pointer to an entry is valid until the next insertion, erasure or reserve.
Cost: O(1) expected, 16 bytes an entry, at most half full.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

cdef struct Count:
    uint64_t key             # (block + 1) << 32 | owner; 0 marks an empty entry
    int64_t count

cdef struct CountTable:
    Count* entries
    uint64_t mask            # number of entries - 1
    int64_t num_used


cdef inline uint64_t counts_key(int32_t block, int32_t owner) noexcept nogil:
    return (<uint64_t>(block + 1) << 32) | <uint32_t>owner


cdef inline int32_t counts_block(uint64_t key) noexcept nogil:
    return <int32_t>(key >> 32) - 1


cdef inline int32_t counts_owner(uint64_t key) noexcept nogil:
    return <int32_t><uint32_t>key


cdef inline uint64_t counts_home(const CountTable* table, uint64_t key) noexcept nogil:
    return ((key * <uint64_t>0x9E3779B97F4A7C15ULL) >> 32) & table.mask


cdef inline Count* counts_find(
    const CountTable* table, int32_t block, int32_t owner
) noexcept nogil:
    """The entry, or NULL."""
    cdef uint64_t key = counts_key(block, owner)
    cdef uint64_t at = counts_home(table, key)
    while table.entries[at].key:
        if table.entries[at].key == key:
            return &table.entries[at]
        at = (at + 1) & table.mask
    return NULL


cdef inline Count* counts_insert(CountTable* table, uint64_t key) noexcept nogil:
    """A new entry that counts 0; room was reserved, the key is not there."""
    cdef uint64_t at = counts_home(table, key)
    while table.entries[at].key:
        at = (at + 1) & table.mask
    table.entries[at].key = key
    table.entries[at].count = 0
    table.num_used += 1
    return &table.entries[at]


cdef inline void counts_erase(CountTable* table, Count* entry) noexcept nogil:
    cdef uint64_t hole = <uint64_t>(entry - table.entries)
    cdef uint64_t at = hole
    cdef uint64_t home
    while True:
        at = (at + 1) & table.mask
        if table.entries[at].key == 0:
            break
        home = counts_home(table, table.entries[at].key)
        if ((at - home) & table.mask) >= ((at - hole) & table.mask):
            table.entries[hole] = table.entries[at]
            hole = at
    table.entries[hole].key = 0
    table.num_used -= 1


cdef inline bint counts_reserve(CountTable* table, int64_t extra) noexcept nogil:
    """Room for `extra` more entries. False: out of memory, nothing changed."""
    cdef uint64_t wanted = <uint64_t>(table.num_used + extra) * 2
    cdef uint64_t size = 64
    cdef CountTable grown
    cdef uint64_t i
    if table.entries != NULL and wanted <= table.mask + 1:
        return True
    while size < wanted:
        size *= 2
    grown.entries = <Count*>calloc(size, sizeof(Count))
    if grown.entries == NULL:
        return False
    grown.mask = size - 1
    grown.num_used = 0
    if table.entries != NULL:
        for i in range(table.mask + 1):
            if table.entries[i].key:
                counts_insert(&grown, table.entries[i].key).count = table.entries[i].count
        free(table.entries)
    table[0] = grown
    return True
