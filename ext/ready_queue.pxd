# The ready queue for other Cython modules: everything here may be called without the GIL.
#
# A queue is not locked: one thread at a time. Functions return a QueueStatus; -1 is a raised
# exception (no memory).
#
#   cdef uint64_t handle
#   cdef QueueEntry entry
#   queue.c_push(int_order(due_ns), actor, 0, &handle)
#   while queue.c_pop(&entry) == QUEUE_OK: ...
#
# Keys enter as orders: int_order() or float_order() of the key, order_int() or order_float() back.
# One queue holds one kind: an IntReadyQueue integers, a FloatReadyQueue doubles.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ext.dary_heap cimport Heap, rank_t
from ext.slot_table cimport SlotTable

cdef enum:
    MAX_LEVELS = 64              # width of the mask of levels that are not empty

cdef enum QueueStatus:
    QUEUE_OK = 0
    QUEUE_EMPTY = 1              # nothing to take at the level, or at any
    QUEUE_STALE = 2              # no entry has this handle (it has left); nothing changed
    QUEUE_NAN = 3                # a key that compares with nothing; nothing changed
    QUEUE_BAD_LEVEL = 4          # level >= levels; nothing changed

cdef struct QueueEntry:
    uint64_t handle              # generation << 32 | slot; never 0
    uint64_t item                # the caller's own 64 bits, returned as given
    uint64_t order               # the key; order_int() or order_float() turn it back
    uint32_t arrival             # of the push; among equal keys the lowest leaves first
    uint32_t level               # the lowest level leaves first


cdef inline uint64_t int_order(int64_t key) noexcept nogil:
    return <uint64_t>key ^ (<uint64_t>1 << 63)

cdef inline int64_t order_int(uint64_t order) noexcept nogil:
    return <int64_t>(order ^ (<uint64_t>1 << 63))

cdef inline int float_order(double key, uint64_t* order) noexcept nogil:
    """Turn a double into an integer of the same order, -0.0 equal to 0.0; QUEUE_OK or QUEUE_NAN."""
    cdef uint64_t bits
    if key != key:
        return QUEUE_NAN
    key += 0.0                   # -0.0 becomes 0.0, all else stays
    memcpy(&bits, &key, sizeof(bits))
    order[0] = ~bits if bits >> 63 else bits | (<uint64_t>1 << 63)
    return QUEUE_OK

cdef inline double order_float(uint64_t order) noexcept nogil:
    cdef uint64_t bits = order & ~(<uint64_t>1 << 63) if order >> 63 else ~order
    cdef double key
    memcpy(&key, &bits, sizeof(key))
    return key


cdef class ReadyQueue:
    cdef Heap* heaps             # [levels]
    cdef SlotTable table
    cdef uint64_t next_arrival
    cdef uint64_t changes        # counts every change, so that an iterator notices one
    cdef uint64_t ready_mask     # bit l: level l is not empty
    cdef readonly uint32_t levels

    # One entry. c_push writes the new handle; `entry` is written on QUEUE_OK only.
    cdef int c_push(
        self, uint64_t order, uint64_t item, uint32_t level, uint64_t* handle
    ) except -1 nogil
    cdef int c_pop(self, QueueEntry* entry) except -1 nogil
    cdef int c_pop_level(self, uint32_t level, QueueEntry* entry) except -1 nogil
    cdef int c_peek(self, QueueEntry* entry) except -1 nogil
    cdef int c_peek_level(self, uint32_t level, QueueEntry* entry) except -1 nogil
    cdef int c_find(self, uint64_t handle, QueueEntry* entry) except -1 nogil
    cdef int c_update(self, uint64_t handle, uint64_t order) except -1 nogil
    cdef int c_move(self, uint64_t handle, uint64_t order, uint32_t level) except -1 nogil
    cdef int c_remove(self, uint64_t handle, QueueEntry* entry) except -1 nogil

    # Makes room so that the next `extra` pushes at `level` cannot fail.
    cdef int c_reserve(self, uint32_t level, uint64_t extra) except -1 nogil

    # Of ready_queue.pyx alone; here because a .pxd must list every method.
    cdef int grow_heap(self, Heap* heap, uint64_t room) except -1 nogil
    cdef int renumber_arrivals(self) except -1 nogil
    cdef void restamp(self, uint32_t slot, uint64_t arrival) noexcept nogil
    cdef void insert(self, rank_t rank, uint32_t level) noexcept nogil
    cdef void delete(self, uint32_t slot) noexcept nogil
    cdef void prefetch_next(self, Heap* heap) noexcept nogil
    cdef void read_entry(self, rank_t rank, QueueEntry* entry) noexcept nogil
    cdef object key_of(self, uint64_t order)
    cdef object entry_of(self, QueueEntry* entry)
    cdef object refuse(self, int status, object handle, object level)
    cdef Py_ssize_t count_held(self, Py_ssize_t count) except -1
    cdef object push_orders(self, object result, const uint64_t[::1] items, uint32_t level)
    cdef object update_orders(self, const uint64_t[::1] handles, const uint64_t[::1] orders)
    cdef object check_heap(self, uint32_t level)
    cdef object check_rank(self, Heap* heap, uint64_t place, uint32_t level)
    cdef object check_slots(self)


cdef class IntReadyQueue(ReadyQueue):
    cdef object orders_of(self, const int64_t[::1] keys)


cdef class FloatReadyQueue(ReadyQueue):
    cdef object orders_of(self, const double[::1] keys)
