# A 4-ary min-heap of ranks that tells each rank's owner where it stands.
#
# Layout and sifting only: who owns a slot is the business of slot_table.pxd, levels and doors that
# of ready_queue.pyx. Inlined where cimported.
#
#   rank   uint128 = key (64 bits, in an unsigned form of the same order) | arrival (32) | slot (32),
#          compared as one number; arrivals are unique, so the slot never decides
#   where  uint32 per slot, the owner's: the place of the slot's rank
#
# Places are physical: the root is place 3, the children of p are 4p-8 .. 4p-5, the parent of c is
# c/4 + 2. So four siblings start at a multiple of four and fill exactly one cache line.
#
# Invariants:
#   H1  rank[parent(p)] < rank[p] for every place p in (ROOT, end)
#   H2  where[slot of rank[p]] == p for every place p in [ROOT, end)
#   H3  rank[p] == NO_RANK for every place p in [end, room): siblings are compared without a count
# Cost: 16 bytes a place; sifting allocates nothing. With 64-bit arrivals and the slots beside the
# ranks (20 bytes, a cache miss more a level) batches at 1e6 entries took 1.3 times as long.

from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc

cdef extern from *:
    """
    typedef unsigned __int128 llmos_rank;
    #define LLMOS_RANK(key, arrival, slot) \
        (((llmos_rank)(key) << 64) | ((llmos_rank)(arrival) << 32) | (llmos_rank)(slot))
    #define LLMOS_RANK_KEY(rank) ((uint64_t)((rank) >> 64))
    #define LLMOS_RANK_ARRIVAL(rank) ((uint32_t)((rank) >> 32))
    #define LLMOS_RANK_SLOT(rank) ((uint32_t)(rank))
    #define LLMOS_NO_RANK (~(llmos_rank)0)
    """
    # Cython has no 128-bit integer: it only moves and compares this one, C knows its true width.
    ctypedef unsigned long long rank_t "llmos_rank"
    rank_t make_rank "LLMOS_RANK"(uint64_t key, uint64_t arrival, uint32_t slot) nogil
    uint64_t rank_key "LLMOS_RANK_KEY"(rank_t rank) nogil
    uint32_t rank_arrival "LLMOS_RANK_ARRIVAL"(rank_t rank) nogil
    uint32_t rank_slot "LLMOS_RANK_SLOT"(rank_t rank) nogil
    rank_t NO_RANK "LLMOS_NO_RANK"
    void prefetch "__builtin_prefetch"(const void* address) nogil

cdef enum:
    ROOT = 3                     # place of the first rank
    LINE_BYTES = 64              # of a cache line

cdef struct Heap:
    rank_t* rank                 # [room], aligned to a cache line
    void* block                  # the allocation `rank` lies in; NULL while room is 0
    uint64_t end                 # place after the last rank; ROOT when empty
    uint64_t room                # places allocated, a multiple of 4; 0 before the first push


# SAFETY (all functions below): pointers are indexed only by places in [ROOT, room) that come from
# `end`, from `where` (H2), or from the child and parent formulas under a comparison with `end`; a
# prefetch may name any address. No memoryview is indexed, so `noexcept` hides no bounds error.
# check_integrity and the AddressSanitizer run check the argument.

cdef inline int heap_grow(Heap* heap, uint64_t room) noexcept nogil:
    """Make `room` places, a multiple of 4; 0, or -1 when memory is out and nothing changed."""
    cdef void* block = PyMem_RawMalloc(room * sizeof(rank_t) + LINE_BYTES)
    if block is NULL:
        return -1
    cdef uintptr_t line = (<uintptr_t>block + LINE_BYTES - 1) & ~<uintptr_t>(LINE_BYTES - 1)
    cdef rank_t* rank = <rank_t*>line
    memset(rank, 0xFF, room * sizeof(rank_t))        # H3
    if heap.room:
        memcpy(rank, heap.rank, heap.end * sizeof(rank_t))
        PyMem_RawFree(heap.block)
    heap.rank, heap.block, heap.room = rank, block, room
    return 0


cdef inline void heap_set(Heap* heap, uint32_t* where, uint64_t place, rank_t rank) noexcept nogil:
    heap.rank[place] = rank
    where[rank_slot(rank)] = <uint32_t>place


cdef inline uint64_t best_of_four(const rank_t* rank, uint64_t first) noexcept nogil:
    # Arithmetic, not branches: which sibling wins is a coin toss no predictor gets right.
    cdef uint64_t low = first + <uint64_t>(rank[first + 1] < rank[first])
    cdef uint64_t high = first + 2 + <uint64_t>(rank[first + 3] < rank[first + 2])
    return low + (high - low) * <uint64_t>(rank[high] < rank[low])


cdef inline void prefetch_children(const rank_t* rank, uint64_t first) noexcept nogil:
    # Of the four lines below the siblings at `first`, one is read next.
    prefetch(&rank[4 * first - 8])
    prefetch(&rank[4 * first - 4])
    prefetch(&rank[4 * first])
    prefetch(&rank[4 * first + 4])


cdef inline void sift_up(Heap* heap, uint32_t* where, uint64_t hole, rank_t rank) noexcept nogil:
    """Put `rank` into the hole or above it."""
    cdef uint64_t parent
    while hole > ROOT:
        parent = hole // 4 + 2
        if heap.rank[parent] < rank:
            break
        heap_set(heap, where, hole, heap.rank[parent])
        hole = parent
    heap_set(heap, where, hole, rank)


cdef inline void sift_down(Heap* heap, uint32_t* where, uint64_t hole, rank_t rank) noexcept nogil:
    """Put `rank` into the hole or below it."""
    cdef uint64_t child, first = 4 * hole - 8
    while first < heap.end:
        prefetch_children(heap.rank, first)
        child = best_of_four(heap.rank, first)
        if rank < heap.rank[child]:
            break
        heap_set(heap, where, hole, heap.rank[child])
        hole = child
        first = 4 * hole - 8
    heap_set(heap, where, hole, rank)


cdef inline void heap_insert(Heap* heap, uint32_t* where, rank_t rank) noexcept nogil:
    """Add a rank; room for it must have been made."""
    heap.end += 1
    sift_up(heap, where, heap.end - 1, rank)


cdef inline void heap_replace(
    Heap* heap, uint32_t* where, uint64_t place, rank_t rank
) noexcept nogil:
    """Fill `place` with another rank and restore H1 in whichever direction it is broken."""
    if place > ROOT and rank < heap.rank[place // 4 + 2]:
        sift_up(heap, where, place, rank)
    else:
        sift_down(heap, where, place, rank)


cdef inline void heap_delete(Heap* heap, uint32_t* where, uint64_t place) noexcept nogil:
    """Take the rank at `place` out; the last one fills the gap."""
    heap.end -= 1
    cdef rank_t rank = heap.rank[heap.end]
    heap.rank[heap.end] = NO_RANK                    # H3
    if place != heap.end:
        heap_replace(heap, where, place, rank)
