# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
# Long because each door stands here three times: single, batch, and nogil, for two key kinds.
"""Indexed priority queues of (key, arrival, item) for schedulers and timers.

Mechanism only: a policy computes keys and levels, the queue holds the order. No clock, no locks,
no callbacks.

An entry is a key (int64 in an IntReadyQueue, double in a FloatReadyQueue), a level (a class: the
lowest leaves first), and an item: 64 bits of the caller's. A push stamps it with its arrival and
returns its handle, by which it is updated, moved or removed; a handle is never issued twice.

Invariants (checked by ``check_integrity``):
  I1  entries leave by (level, key, arrival), lowest first; arrivals are unique: a total order.
  I2  every level is a heap as in dary_heap.pxd (H1-H3); ready_mask names the levels not empty.
  I3  slots and handles are as in slot_table.pxd (S1, S2); a slot held is in exactly one heap.
  I4  an operation refused (stale handle, NaN, no such level, no memory) changes nothing; a batch is
      refused whole.

Cost: peek, membership and length O(1); push, pop, update, remove O(log4 n), allocating nothing once
grown. 36 bytes an entry at full capacity, up to twice that after growth: capacity doubles, and is
kept until the queue is dropped. An arrival has 32 bits: each 2**32 pushes, those held are numbered
anew in their order, O(n log n).
Concurrency: one thread at a time. The Python doors keep the GIL, the .pxd functions need none.
Source: Johnson, "Priority queues with update and finding minimum spanning trees", 1975.

Size: one noun, but three doors to it (C, Python single, Python batch) for two kinds of keys.
"""

import numpy as np

from ext.queue_errors import EmptyQueueError, Entry, LevelError, NanKeyError, StaleHandleError

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from libc.stdlib cimport qsort

from ext.dary_heap cimport (
    LINE_BYTES, NO_RANK, ROOT, heap_delete, heap_grow, heap_insert, heap_replace, make_rank,
    prefetch, rank_arrival, rank_key, rank_slot,
)
from ext.slot_table cimport (
    FIRST_ROOM, NO_LEVEL, NO_SLOT, Slot, handle_of, is_held, release_slot, slots_free,
    slots_reserve, take_slot,
)

cdef extern from *:
    int lowest_bit "__builtin_ctzll"(unsigned long long mask) nogil

cdef uint64_t ARRIVALS = 1 << 32         # how many there are before they are numbered anew
cdef uint64_t MAX_ENTRIES = 0xFFFFFF00   # places and slots are 32 bits wide


cdef int compare_stamps(const void* left, const void* right) noexcept nogil:
    cdef uint64_t a = (<const uint64_t*>left)[0], b = (<const uint64_t*>right)[0]
    return (a > b) - (a < b)


cdef class ReadyQueue:
    """What both kinds of queue share; make an IntReadyQueue or a FloatReadyQueue.

    levels: how many, 1 to 64.
    first_arrival: where stamps begin; tests of their renumbering start it near 2**32.
    """

    def __cinit__(self, *, levels=1, first_arrival=0):
        if not 1 <= levels <= MAX_LEVELS:
            raise ValueError(f"levels must be in [1, {MAX_LEVELS}], got {levels}")
        if not 0 <= first_arrival < ARRIVALS:
            raise ValueError(f"first_arrival must be in [0, {ARRIVALS}), got {first_arrival}")
        self.levels = levels
        self.next_arrival = first_arrival
        self.table.free = NO_SLOT
        self.heaps = <Heap*>PyMem_RawCalloc(self.levels, sizeof(Heap))
        if self.heaps is NULL:
            raise MemoryError()
        for level in range(self.levels):
            self.heaps[level].end = ROOT

    def __dealloc__(self):
        cdef uint32_t level
        if self.heaps is not NULL:
            for level in range(self.levels):
                PyMem_RawFree(self.heaps[level].block)
        PyMem_RawFree(self.heaps)
        slots_free(&self.table)

    # ---- the core: what ready_queue.pxd publishes ----
    #
    # SAFETY (to the end of the core): a level is below `levels` once c_reserve or c_peek_level has
    # let it pass; a slot comes from take_slot, from a rank, or from a handle that is_held.

    cdef int c_reserve(self, uint32_t level, uint64_t extra) except -1 nogil:
        if level >= self.levels:
            return QUEUE_BAD_LEVEL
        if extra > MAX_ENTRIES or self.table.held + self.table.retired + extra > MAX_ENTRIES:
            with gil:
                raise MemoryError(f"a queue holds at most {MAX_ENTRIES} entries")
        if self.next_arrival + extra > ARRIVALS:
            self.renumber_arrivals()
        if slots_reserve(&self.table, extra) < 0:
            with gil:
                raise MemoryError()
        cdef Heap* heap = &self.heaps[level]
        if heap.end + extra > heap.room:
            self.grow_heap(heap, max(heap.end + extra, 2 * heap.room, <uint64_t>FIRST_ROOM))
        return QUEUE_OK

    cdef int grow_heap(self, Heap* heap, uint64_t room) except -1 nogil:
        if heap_grow(heap, (room + 3) & ~<uint64_t>3) < 0:
            with gil:
                raise MemoryError()
        return QUEUE_OK

    cdef int renumber_arrivals(self) except -1 nogil:
        # The order stays the same, so every heap stays in order.
        cdef uint64_t* stamps = <uint64_t*>PyMem_RawMalloc((self.table.held + 1) * sizeof(uint64_t))
        if stamps is NULL:
            with gil:
                raise MemoryError()
        cdef uint64_t place, count = 0
        cdef uint32_t level
        for level in range(self.levels):
            for place in range(ROOT, self.heaps[level].end):
                stamps[count] = <uint64_t>self.heaps[level].rank[place]      # arrival | slot
                count += 1
        qsort(stamps, count, sizeof(uint64_t), compare_stamps)
        for place in range(count):
            self.restamp(<uint32_t>stamps[place], place)
        PyMem_RawFree(stamps)
        self.next_arrival = count
        self.changes += 1                # a walk's frontier holds arrivals of before
        return QUEUE_OK

    cdef void restamp(self, uint32_t slot, uint64_t arrival) noexcept nogil:
        cdef Heap* heap = &self.heaps[self.table.slots[slot].level]
        cdef uint64_t place = self.table.where[slot]
        heap.rank[place] = make_rank(rank_key(heap.rank[place]), arrival, slot)

    cdef void insert(self, rank_t rank, uint32_t level) noexcept nogil:
        self.table.slots[rank_slot(rank)].level = level
        heap_insert(&self.heaps[level], self.table.where, rank)
        self.ready_mask |= <uint64_t>1 << level
        self.changes += 1

    cdef void delete(self, uint32_t slot) noexcept nogil:
        cdef uint32_t level = self.table.slots[slot].level
        heap_delete(&self.heaps[level], self.table.where, self.table.where[slot])
        if self.heaps[level].end == ROOT:
            self.ready_mask &= ~(<uint64_t>1 << level)
        self.changes += 1

    cdef void read_entry(self, rank_t rank, QueueEntry* entry) noexcept nogil:
        cdef Slot* slot = &self.table.slots[rank_slot(rank)]
        entry.handle = handle_of(&self.table, rank_slot(rank))
        entry.item = slot.item
        entry.order = rank_key(rank)
        entry.arrival = rank_arrival(rank)
        entry.level = slot.level

    cdef int c_push(
        self, uint64_t order, uint64_t item, uint32_t level, uint64_t* handle
    ) except -1 nogil:
        cdef int status = self.c_reserve(level, 1)
        if status != QUEUE_OK:
            return status
        cdef uint32_t slot = take_slot(&self.table, item)
        self.insert(make_rank(order, self.next_arrival, slot), level)
        self.next_arrival += 1
        handle[0] = handle_of(&self.table, slot)
        return QUEUE_OK

    cdef int c_peek_level(self, uint32_t level, QueueEntry* entry) except -1 nogil:
        if level >= self.levels:
            return QUEUE_BAD_LEVEL
        if self.heaps[level].end == ROOT:
            return QUEUE_EMPTY
        self.read_entry(self.heaps[level].rank[ROOT], entry)
        return QUEUE_OK

    cdef int c_peek(self, QueueEntry* entry) except -1 nogil:
        if self.ready_mask == 0:
            return QUEUE_EMPTY
        return self.c_peek_level(lowest_bit(self.ready_mask), entry)

    cdef int c_pop_level(self, uint32_t level, QueueEntry* entry) except -1 nogil:
        cdef int status = self.c_peek_level(level, entry)
        if status == QUEUE_OK:
            self.delete(<uint32_t>entry.handle)
            release_slot(&self.table, <uint32_t>entry.handle)
            self.prefetch_next(&self.heaps[level])
        return status

    cdef void prefetch_next(self, Heap* heap) noexcept nogil:
        # The pop after the next takes a child of the root, whose slot lies anywhere in memory. A
        # batch of pop and push (bench/ready_queue.py) takes 1.25 times as long without, at 1e5 up.
        cdef uint64_t child
        if heap.end >= ROOT + 5:
            for child in range(<uint64_t>ROOT + 1, <uint64_t>ROOT + 5):
                prefetch(&self.table.slots[rank_slot(heap.rank[child])])

    cdef int c_pop(self, QueueEntry* entry) except -1 nogil:
        if self.ready_mask == 0:
            return QUEUE_EMPTY
        return self.c_pop_level(lowest_bit(self.ready_mask), entry)

    cdef int c_find(self, uint64_t handle, QueueEntry* entry) except -1 nogil:
        if not is_held(&self.table, handle):
            return QUEUE_STALE
        cdef uint32_t slot = <uint32_t>handle
        cdef Heap* heap = &self.heaps[self.table.slots[slot].level]
        self.read_entry(heap.rank[self.table.where[slot]], entry)
        return QUEUE_OK

    cdef int c_update(self, uint64_t handle, uint64_t order) except -1 nogil:
        if not is_held(&self.table, handle):
            return QUEUE_STALE
        cdef uint32_t slot = <uint32_t>handle
        cdef Heap* heap = &self.heaps[self.table.slots[slot].level]
        cdef uint64_t place = self.table.where[slot]
        cdef rank_t rank = make_rank(order, rank_arrival(heap.rank[place]), slot)
        heap_replace(heap, self.table.where, place, rank)
        self.changes += 1
        return QUEUE_OK

    cdef int c_move(self, uint64_t handle, uint64_t order, uint32_t level) except -1 nogil:
        cdef QueueEntry entry
        cdef int status = self.c_reserve(level, 1)
        if status == QUEUE_OK:
            status = self.c_find(handle, &entry)
        if status == QUEUE_OK:
            self.delete(<uint32_t>handle)
            self.insert(make_rank(order, entry.arrival, <uint32_t>handle), level)
        return status

    cdef int c_remove(self, uint64_t handle, QueueEntry* entry) except -1 nogil:
        cdef int status = self.c_find(handle, entry)
        if status == QUEUE_OK:
            self.delete(<uint32_t>handle)
            release_slot(&self.table, <uint32_t>handle)
        return status

    # ---- Python doors that need no key ----

    cdef object key_of(self, uint64_t order):
        raise TypeError("ReadyQueue is the common part: make an IntReadyQueue or a FloatReadyQueue")

    cdef object entry_of(self, QueueEntry* entry):
        return Entry(self.key_of(entry.order), entry.arrival, entry.handle, entry.item, entry.level)

    cdef object refuse(self, int status, object handle, object level):
        """Raise the error of a status that is not QUEUE_OK."""
        if status == QUEUE_EMPTY:
            raise EmptyQueueError(level)
        if status == QUEUE_STALE:
            raise StaleHandleError(handle)
        if status == QUEUE_NAN:
            raise NanKeyError()
        raise LevelError(level, self.levels)

    def __len__(self):
        return self.table.held

    def __contains__(self, handle):
        try:
            return is_held(&self.table, handle)
        except OverflowError:            # no 64-bit number, so no handle of ours
            return False

    def __iter__(self):
        """Yield every Entry in the order of leaving, taking none. Cost: O(log n) each.

        Raises:
            RuntimeError: the queue has changed since the iteration began.
        """
        cdef InOrder walk = InOrder(self)
        cdef QueueEntry entry
        while walk.c_next(&entry) == QUEUE_OK:
            yield self.entry_of(&entry)

    def pop(self):
        """Take the first entry out and return its item. Raises EmptyQueueError."""
        cdef QueueEntry entry
        cdef int status = self.c_pop(&entry)
        if status != QUEUE_OK:
            self.refuse(status, None, None)
        return entry.item

    def pop_entry(self):
        """Take the first entry out and return it, its handle now stale. Raises EmptyQueueError."""
        cdef QueueEntry entry
        cdef int status = self.c_pop(&entry)
        if status != QUEUE_OK:
            self.refuse(status, None, None)
        return self.entry_of(&entry)

    def pop_level(self, uint32_t level):
        """Take the first entry of a level out and return its item.

        Raises:
            EmptyQueueError, LevelError: nothing was taken.
        """
        cdef QueueEntry entry
        cdef int status = self.c_pop_level(level, &entry)
        if status != QUEUE_OK:
            self.refuse(status, None, level)
        return entry.item

    def pop_many(self, Py_ssize_t count):
        """Take the first entries out and return their items in order: (min(count, len),) uint64."""
        cdef Py_ssize_t index, found = self.count_held(count)
        result = np.empty(found, dtype=np.uint64)
        cdef uint64_t[::1] items = result
        cdef QueueEntry entry
        for index in range(found):
            self.c_pop(&entry)
            items[index] = entry.item
        return result

    def peek(self):
        """Return the first Entry without taking it. Raises EmptyQueueError."""
        cdef QueueEntry entry
        cdef int status = self.c_peek(&entry)
        if status != QUEUE_OK:
            self.refuse(status, None, None)
        return self.entry_of(&entry)

    def peek_item(self):
        """Return the item of the first entry. Raises EmptyQueueError."""
        cdef QueueEntry entry
        cdef int status = self.c_peek(&entry)
        if status != QUEUE_OK:
            self.refuse(status, None, None)
        return entry.item

    def peek_key(self):
        """Return the key of the first entry. Raises EmptyQueueError."""
        cdef QueueEntry entry
        cdef int status = self.c_peek(&entry)
        if status != QUEUE_OK:
            self.refuse(status, None, None)
        return self.key_of(entry.order)

    def peek_level(self, uint32_t level):
        """Return the first Entry of a level, taking none. Raises EmptyQueueError, LevelError."""
        cdef QueueEntry entry
        cdef int status = self.c_peek_level(level, &entry)
        if status != QUEUE_OK:
            self.refuse(status, None, level)
        return self.entry_of(&entry)

    def peek_many(self, Py_ssize_t count):
        """Return the handles of the first entries in order: (min(count, len),) uint64.

        Cost: O(count log count), whatever the length of the queue.
        """
        cdef Py_ssize_t index, found = self.count_held(count)
        result = np.empty(found, dtype=np.uint64)
        cdef uint64_t[::1] handles = result
        cdef InOrder walk = InOrder(self)
        cdef QueueEntry entry
        for index in range(found):
            walk.c_next(&entry)
            handles[index] = entry.handle
        return result

    cdef Py_ssize_t count_held(self, Py_ssize_t count) except -1:
        if count < 0:
            raise ValueError(f"count must not be negative, got {count}")
        return min(count, <Py_ssize_t>self.table.held)

    def entry(self, uint64_t handle):
        """Return the Entry of a handle. Raises StaleHandleError."""
        cdef QueueEntry entry
        cdef int status = self.c_find(handle, &entry)
        if status != QUEUE_OK:
            self.refuse(status, handle, None)
        return self.entry_of(&entry)

    def remove(self, uint64_t handle):
        """Take an entry out, wherever it stands, and return its item. Raises StaleHandleError."""
        cdef QueueEntry entry
        cdef int status = self.c_remove(handle, &entry)
        if status != QUEUE_OK:
            self.refuse(status, handle, None)
        return entry.item

    def level_len(self, uint32_t level):
        """Return how many entries a level holds. Raises LevelError."""
        if level >= self.levels:
            raise LevelError(level, self.levels)
        return self.heaps[level].end - ROOT

    # ---- batches, their keys already turned into orders ----

    cdef object push_orders(self, object result, const uint64_t[::1] items, uint32_t level):
        # `result` holds the orders and gets the handles in their place.
        cdef uint64_t[::1] orders = result
        cdef Py_ssize_t index
        if orders.shape[0] != items.shape[0]:
            raise ValueError(f"{orders.shape[0]} keys for {items.shape[0]} items")
        cdef int status = self.c_reserve(level, orders.shape[0])
        if status != QUEUE_OK:
            self.refuse(status, None, level)
        for index in range(orders.shape[0]):     # I4: room is there, so none of these can fail
            self.c_push(orders[index], items[index], level, &orders[index])
        return result

    cdef object update_orders(self, const uint64_t[::1] handles, const uint64_t[::1] orders):
        cdef Py_ssize_t index
        if handles.shape[0] != orders.shape[0]:
            raise ValueError(f"{handles.shape[0]} handles for {orders.shape[0]} keys")
        for index in range(handles.shape[0]):    # I4: all are looked up before any is changed
            if not is_held(&self.table, handles[index]):
                raise StaleHandleError(handles[index], index)
        for index in range(handles.shape[0]):
            self.c_update(handles[index], orders[index])

    # ---- what it costs, and whether it is sound ----

    @property
    def capacity(self):
        """Entries there is room for before the next growth."""
        return self.table.room

    @property
    def nbytes(self):
        """Bytes allocated, the object itself left out."""
        cdef uint64_t total = self.levels * sizeof(Heap)
        cdef uint32_t level
        for level in range(self.levels):
            if self.heaps[level].room:
                total += self.heaps[level].room * sizeof(rank_t) + LINE_BYTES
        return total + self.table.room * (sizeof(Slot) + sizeof(uint32_t))

    def check_integrity(self):
        """Verify I1 to I3 throughout; AssertionError names what is broken. Cost: O(capacity)."""
        cdef uint32_t level
        cdef uint64_t held = 0
        for level in range(self.levels):
            self.check_heap(level)
            held += self.heaps[level].end - ROOT
            if (self.ready_mask >> level & 1) != (self.heaps[level].end > ROOT):
                raise AssertionError(f"I2: ready_mask is wrong at level {level}")
        if held != self.table.held:
            raise AssertionError(f"I3: {held} entries in the heaps, {self.table.held} slots held")
        self.check_slots()

    cdef object check_heap(self, uint32_t level):
        cdef Heap* heap = &self.heaps[level]
        cdef uint64_t place
        for place in range(ROOT, heap.end):
            self.check_rank(heap, place, level)
        for place in range(heap.end, heap.room):
            if heap.rank[place] != NO_RANK:
                raise AssertionError(f"H3: level {level}, place {place} is vacant, but has a rank")

    cdef object check_rank(self, Heap* heap, uint64_t place, uint32_t level):
        cdef uint32_t slot = rank_slot(heap.rank[place])
        if place > ROOT and not heap.rank[place // 4 + 2] < heap.rank[place]:
            raise AssertionError(f"H1: level {level}, place {place} goes before its parent")
        if slot >= self.table.used or self.table.where[slot] != place:
            raise AssertionError(f"H2: level {level}, place {place}: slot {slot} is elsewhere")
        if self.table.slots[slot].level != level:
            raise AssertionError(f"I3: level {level}, place {place}: slot {slot} has another level")
        if rank_arrival(heap.rank[place]) >= self.next_arrival:
            raise AssertionError(f"I1: level {level}, place {place}: its arrival was never issued")

    cdef object check_slots(self):
        cdef SlotTable* table = &self.table
        cdef uint64_t idle = 0
        cdef uint32_t slot = table.free
        while slot != NO_SLOT and idle <= table.used:
            if slot >= table.used or table.slots[slot].level != NO_LEVEL:
                raise AssertionError(f"S1: slot {slot} is on the free list, but held")
            idle += 1
            slot = table.where[slot]
        if table.held + idle + table.retired != table.used or table.used > table.room:
            raise AssertionError(
                f"S1: {table.held} held, {idle} free, {table.retired} retired, {table.used} used"
            )


cdef class InOrder:
    """A walk through a queue in the order of leaving that takes nothing out.

    The frontier holds the places whose parents were visited, of the level being walked: it grows by
    at most 3 a visit.
    """

    cdef ReadyQueue queue, frontier
    cdef uint64_t changes        # of the queue when the walk began
    cdef uint64_t levels_ahead   # mask of the levels still to walk
    cdef uint32_t level

    def __cinit__(self, ReadyQueue queue not None):
        self.queue = queue
        self.frontier = ReadyQueue()
        self.changes = queue.changes
        self.levels_ahead = queue.ready_mask

    cdef int add(self, rank_t rank, uint64_t place) except -1 nogil:
        self.frontier.c_reserve(0, 1)
        cdef uint32_t slot = take_slot(&self.frontier.table, place)
        self.frontier.insert(make_rank(rank_key(rank), rank_arrival(rank), slot), 0)
        return QUEUE_OK

    cdef int open_level(self) except -1 nogil:
        self.level = lowest_bit(self.levels_ahead)
        self.levels_ahead &= self.levels_ahead - 1
        return self.add(self.queue.heaps[self.level].rank[ROOT], ROOT)

    cdef int c_next(self, QueueEntry* entry) except -1 nogil:
        cdef QueueEntry front
        cdef uint64_t child
        if self.queue.changes != self.changes:
            with gil:
                raise RuntimeError("the queue changed during iteration")
        if self.frontier.table.held == 0:
            if self.levels_ahead == 0:
                return QUEUE_EMPTY
            self.open_level()
        self.frontier.c_pop(&front)
        cdef Heap* heap = &self.queue.heaps[self.level]
        for child in range(4 * front.item - 8, min(4 * front.item - 4, heap.end)):
            self.add(heap.rank[child], child)
        self.queue.read_entry(heap.rank[front.item], entry)
        return QUEUE_OK


cdef class IntReadyQueue(ReadyQueue):
    """A ready queue whose keys are 64-bit signed integers."""

    cdef object key_of(self, uint64_t order):
        return order_int(order)

    def push(self, int64_t key, uint64_t item, uint32_t level=0):
        """Add an entry and return its handle. Raises LevelError, MemoryError."""
        cdef uint64_t handle
        cdef int status = self.c_push(int_order(key), item, level, &handle)
        if status != QUEUE_OK:
            self.refuse(status, None, level)
        return handle

    def update(self, uint64_t handle, int64_t key):
        """Give an entry another key; level and arrival stay. Raises StaleHandleError."""
        cdef int status = self.c_update(handle, int_order(key))
        if status != QUEUE_OK:
            self.refuse(status, handle, None)

    def move(self, uint64_t handle, int64_t key, uint32_t level):
        """Give an entry another key and level; its arrival stays.

        Raises:
            StaleHandleError, LevelError, MemoryError: nothing was changed.
        """
        cdef int status = self.c_move(handle, int_order(key), level)
        if status != QUEUE_OK:
            self.refuse(status, handle, level)

    def push_many(
        self, const int64_t[::1] keys not None, const uint64_t[::1] items not None, uint32_t level=0
    ):
        """Add entries in the order given and return their handles: (n,) uint64.

        keys, items: (n,), C-contiguous, only read.
        Raises:
            LevelError, ValueError (lengths differ), MemoryError: nothing was added.
        """
        return self.push_orders(self.orders_of(keys), items, level)

    def update_many(
        self, const uint64_t[::1] handles not None, const int64_t[::1] keys not None
    ):
        """Give entries other keys, in the order given: of a handle named twice, the last key stays.

        Raises:
            StaleHandleError, ValueError (lengths differ): nothing was changed.
        """
        self.update_orders(handles, self.orders_of(keys))

    cdef object orders_of(self, const int64_t[::1] keys):
        result = np.empty(keys.shape[0], dtype=np.uint64)
        cdef uint64_t[::1] orders = result
        cdef Py_ssize_t index
        for index in range(keys.shape[0]):
            orders[index] = int_order(keys[index])
        return result


cdef class FloatReadyQueue(ReadyQueue):
    """A ready queue whose keys are doubles; infinities are keys, NaN is refused, -0.0 is 0.0."""

    cdef object key_of(self, uint64_t order):
        return order_float(order)

    def push(self, double key, uint64_t item, uint32_t level=0):
        """Add an entry and return its handle. Raises NanKeyError, LevelError, MemoryError."""
        cdef uint64_t handle, order
        cdef int status = float_order(key, &order)
        if status == QUEUE_OK:
            status = self.c_push(order, item, level, &handle)
        if status != QUEUE_OK:
            self.refuse(status, None, level)
        return handle

    def update(self, uint64_t handle, double key):
        """Give an entry another key; level and arrival stay.

        Raises:
            NanKeyError, StaleHandleError: nothing was changed.
        """
        cdef uint64_t order
        cdef int status = float_order(key, &order)
        if status == QUEUE_OK:
            status = self.c_update(handle, order)
        if status != QUEUE_OK:
            self.refuse(status, handle, None)

    def move(self, uint64_t handle, double key, uint32_t level):
        """Give an entry another key and level; its arrival stays.

        Raises:
            NanKeyError, StaleHandleError, LevelError, MemoryError: nothing was changed.
        """
        cdef uint64_t order
        cdef int status = float_order(key, &order)
        if status == QUEUE_OK:
            status = self.c_move(handle, order, level)
        if status != QUEUE_OK:
            self.refuse(status, handle, level)

    def push_many(
        self, const double[::1] keys not None, const uint64_t[::1] items not None, uint32_t level=0
    ):
        """Add entries in the order given and return their handles: (n,) uint64.

        keys, items: (n,), C-contiguous, only read.
        Raises:
            NanKeyError, LevelError, ValueError (lengths differ), MemoryError: nothing was added.
        """
        return self.push_orders(self.orders_of(keys), items, level)

    def update_many(
        self, const uint64_t[::1] handles not None, const double[::1] keys not None
    ):
        """Give entries other keys, in the order given: of a handle named twice, the last key stays.

        Raises:
            NanKeyError, StaleHandleError, ValueError (lengths differ): nothing was changed.
        """
        self.update_orders(handles, self.orders_of(keys))

    cdef object orders_of(self, const double[::1] keys):
        result = np.empty(keys.shape[0], dtype=np.uint64)
        cdef uint64_t[::1] orders = result
        cdef Py_ssize_t index
        for index in range(keys.shape[0]):
            if float_order(keys[index], &orders[index]) != QUEUE_OK:
                raise NanKeyError(index)
        return result
