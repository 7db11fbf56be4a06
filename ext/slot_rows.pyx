# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
# cython: embedsignature=True
"""The columns of an LLM engine's slots, and the loops over them that every step makes.

What it is not: who gets a slot, and the objects that stand in one (kernel/llm/batch.py). Imports
nothing from this project. The arrays are numpy's and may be read and written from outside too.

Invariants:
  I1  ``wants`` is 1 where a slot's next step is a decode that may be planned; ``told`` is 1 where
      the engine takes the slot to decode, as of the last ``changes``.
  I2  ``recent[slot, :counts[slot]]`` are the tokens that came since the row was last taken. Rows
      take turns (``take_turns``), a few before each push; who ``is_due`` in his turn is to be taken
      then, so that no row is ever full.

Cost: bench/llm_scheduler.py; a call at 256 slots is a microsecond or less, where the same in numpy
operations is three to twenty. Memory: 1 KB and 60 bytes a slot. One event loop owns it.
"""

import sys

import numpy as np

cimport cython
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.math cimport INFINITY
from libc.string cimport memcpy

from ext.arrays cimport int32s, int64s, length, new_array

cnp.import_array()

ROW_TOKENS = 256
NOT_ALL_TOKENS = 1           # a row has no token, or one outside the vocabulary
AT_LIMIT = 2                 # a row gives its request the last token it may have

cdef enum:
    _ROW_TOKENS = 256
    _NOT_ALL_TOKENS = 1
    _AT_LIMIT = 2

if sys.byteorder != "little":
    raise ImportError("plans are little-endian, and written here as they stand in memory")


@cython.final
cdef class SlotRows:
    """See the module head. One entry a slot:

    ids: of its request.  streams: 1 if that is streamed.  handles: of its block table.  keys: of its policy, -inf where nobody is.
    unplanned: samples it may still be given steps for.  unsampled: that have not come yet.
    wants, told: I1.  recent, counts: I2.  last_ns: when its last token came, 0: none did.
    """

    def __init__(self, Py_ssize_t num_slots):
        if num_slots < 1:
            raise ValueError(f"an engine has a slot at least, not {num_slots}")
        self._size = num_slots
        self._stride = -(-num_slots // (_ROW_TOKENS - 1))
        self._cycle = -(-num_slots // self._stride)
        self._ids = self.ids = np.zeros(num_slots, np.uint64)
        self._streams = self.streams = np.zeros(num_slots, np.uint8)
        self._handles = self.handles = np.zeros(num_slots, np.int64)
        self._keys = self.keys = np.full(num_slots, -np.inf)
        self._unplanned = self.unplanned = np.zeros(num_slots, np.int64)
        self._unsampled = self.unsampled = np.zeros(num_slots, np.int64)
        self._wants = self.wants = np.zeros(num_slots, np.uint8)
        self._told = self.told = np.zeros(num_slots, np.uint8)
        self._recent = self.recent = np.zeros((num_slots, _ROW_TOKENS), np.int32)
        self._counts = self.counts = np.zeros(num_slots, np.int64)
        self._last_ns = self.last_ns = np.zeros(num_slots, np.int64)
        self._scratch = np.empty((2, num_slots), np.int32)

    def __len__(self):
        return self._size

    # Who is in a slot

    cpdef bint enter(
        self, Py_ssize_t slot, uint64_t request, bint is_streamed, int64_t handle, double key,
        int64_t samples, int64_t steps, bint is_whole=False,
    ) except? -1:
        """A request takes a free slot, with an empty row; it does not decode yet.

        samples: it may have, at most.  steps: it may be given for now; ``extend`` gives more.
        is_whole: all it knows is planned in one stretch: as if ``end_prefill`` came at once.
        Returns: whether it decodes from the next step on.
        """
        self._ids[slot] = request
        self._streams[slot] = is_streamed
        self._handles[slot] = handle
        self._keys[slot] = key
        self._unsampled[slot] = samples
        self._unplanned[slot] = steps
        self._counts[slot] = self._last_ns[slot] = 0
        return is_whole and self._ends_prefill(slot)

    cpdef bint leave(self, Py_ssize_t slot) except? -1:
        """A slot is free. The engine will be told by dropping it, so it decodes there no more.

        What its row has is to be taken before. Returns: whether it was wanted for a decode.
        """
        cdef bint was_wanted = self._wants[slot]
        self._keys[slot] = -INFINITY
        self._wants[slot] = self._told[slot] = 0
        return was_wanted

    def end_prefill(self, Py_ssize_t slot):
        """All known tokens are planned and a sample with them; returns whether it decodes now."""
        return self._ends_prefill(slot)

    cdef bint _ends_prefill(self, Py_ssize_t slot) except? -1:
        self._unplanned[slot] -= 1
        self._wants[slot] = self._unplanned[slot] > 0
        return self._wants[slot] == 1

    def extend(self, Py_ssize_t slot, int64_t steps, bint is_decoding):
        """Let it be given more steps; returns whether it decodes from now on, and did not."""
        cdef bint wants
        self._unplanned[slot] += steps
        wants = is_decoding and self._unplanned[slot] > 0 and not self._wants[slot]
        if wants:
            self._wants[slot] = 1
        return wants

    def highest_key(self):
        """The greatest key of all slots."""
        cdef const double* keys = &self._keys[0]
        cdef double highest = keys[0]
        cdef Py_ssize_t i
        for i in range(self._size):  # SAFETY: all columns have _size entries
            highest = max(highest, keys[i])
        return highest

    # Decodes

    def decoding(self):
        """The slots that are wanted for a decode, ascending, and their handles."""
        cdef const uint8_t* wants = &self._wants[0]
        cdef const int64_t* handles = &self._handles[0]
        cdef Py_ssize_t i, at = 0, count = 0
        for i in range(self._size):  # SAFETY: all columns have _size entries
            count += wants[i]
        cdef cnp.ndarray slots = new_array(count, cnp.NPY_INT64)
        cdef cnp.ndarray found = new_array(count, cnp.NPY_INT64)
        cdef int64_t* slot = <int64_t*>cnp.PyArray_DATA(slots)
        cdef int64_t* handle = <int64_t*>cnp.PyArray_DATA(found)
        for i in range(self._size):
            if wants[i]:
                slot[at] = i
                handle[at] = handles[i]
                at += 1
        return slots, found

    def labels(self, cnp.ndarray slots not None):
        """Which requests these slots have, and which of them are streamed."""
        cdef const int64_t* where = int64s(slots)
        cdef Py_ssize_t i, count = length(slots)
        cdef int64_t slot
        cdef cnp.ndarray found = new_array(count, cnp.NPY_UINT64)
        cdef cnp.ndarray streamed = new_array(count, cnp.NPY_INT64)
        cdef uint64_t* ids = <uint64_t*>cnp.PyArray_DATA(found)
        cdef int64_t* streams = <int64_t*>cnp.PyArray_DATA(streamed)
        for i in range(count):
            slot = self.checked(where[i])
            # SAFETY: all columns have _size entries, and the slot is below it.
            ids[i] = (&self._ids[0])[slot]
            streams[i] = (&self._streams[0])[slot]
        return found, streamed

    cdef inline int64_t checked(self, int64_t slot) except -1:
        if not 0 <= slot < self._size:
            raise IndexError(f"there is no slot {slot}")
        return slot

    def count_planned(self, cnp.ndarray slots not None):
        """A decode of these was planned; returns how many have no sample left, and stop."""
        cdef const int64_t* where = int64s(slots)
        cdef int64_t* unplanned = &self._unplanned[0]
        cdef Py_ssize_t i, stopped = 0
        cdef int64_t slot
        for i in range(length(slots)):
            slot = self.checked(where[i])
            unplanned[slot] -= 1
            if unplanned[slot] <= 0:
                self._wants[slot] = 0
                stopped += 1
        return stopped

    def changes(self, cnp.ndarray slots not None):
        """What the engine is to be told so that exactly these decode: int32 slots off, and on."""
        cdef const int64_t* where = int64s(slots)
        cdef Py_ssize_t i, at = 0, num_slots = length(slots), num_off = 0, num_on = 0
        cdef uint8_t is_wanted
        cdef uint8_t* told = &self._told[0]
        cdef int32_t[:, ::1] out = self._scratch
        for i in range(self._size):  # SAFETY: told has _size entries
            is_wanted = at < num_slots and where[at] == i
            at += is_wanted
            if is_wanted != told[i]:
                told[i] = is_wanted
                if is_wanted:
                    out[1, num_on] = <int32_t>i
                    num_on += 1
                else:
                    out[0, num_off] = <int32_t>i
                    num_off += 1
        if at != num_slots:
            raise ValueError("the slots are not in ascending order, or there is no such slot")
        return (<char*>&out[0, 0])[:4 * num_off], (<char*>&out[1, 0])[:4 * num_on]

    # Tokens

    def check(self, cnp.ndarray slots not None, cnp.ndarray tokens not None, int64_t vocab_size):
        """What is special about a step's rows: NOT_ALL_TOKENS | AT_LIMIT."""
        cdef const int64_t* where = int64s(slots)
        cdef const int32_t* token = int32s(tokens)
        cdef const int64_t* unsampled = &self._unsampled[0]
        cdef Py_ssize_t i
        cdef int64_t slot
        cdef int flags = 0
        if length(tokens) != length(slots):
            raise ValueError(f"{length(tokens)} tokens for {length(slots)} slots")
        for i in range(length(slots)):
            slot = self.checked(where[i])
            if token[i] < 0 or token[i] >= vocab_size:
                flags |= _NOT_ALL_TOKENS
            if unsampled[slot] <= 1:
                flags |= _AT_LIMIT
        return flags

    def at_limit(self, cnp.ndarray slots not None):
        """Those of these slots whose next token is the last they may have."""
        cdef const int64_t* where = int64s(slots)
        cdef const int64_t* unsampled = &self._unsampled[0]
        cdef Py_ssize_t i
        return [where[i] for i in range(length(slots)) if unsampled[self.checked(where[i])] == 1]

    def push(self, cnp.ndarray slots not None, cnp.ndarray tokens not None, int64_t now_ns):
        """Give each of these rows its next token.

        Raises IndexError if a row is full: it was not taken in its turn (I2).
        """
        cdef const int64_t* where = int64s(slots)
        cdef const int32_t* token = int32s(tokens)
        cdef int32_t* recent = &self._recent[0, 0]
        cdef int64_t* counts = &self._counts[0]
        cdef int64_t* last_ns = &self._last_ns[0]
        cdef int64_t* unsampled = &self._unsampled[0]
        cdef Py_ssize_t i
        cdef int64_t slot
        if length(tokens) != length(slots):
            raise ValueError(f"{length(tokens)} tokens for {length(slots)} slots")
        for i in range(length(slots)):
            slot = where[i]
            # SAFETY: a slot below _size, a count below what a row has room for; both checked here.
            if not (0 <= slot < self._size and 0 <= counts[slot] < _ROW_TOKENS):
                raise IndexError(f"slot {slot}: there is none, or its row is full")
            recent[slot * _ROW_TOKENS + counts[slot]] = token[i]
            counts[slot] += 1
            last_ns[slot] = now_ns
            unsampled[slot] -= 1

    def take_turns(self):
        """The rows whose turn it is before the next push."""
        cdef Py_ssize_t first = self._next
        cdef Py_ssize_t last = min(first + self._stride, self._size)
        self._next = last if last < self._size else 0
        return range(first, last)

    def is_due(self, Py_ssize_t slot):
        """Whether a row could be full before its next turn, with a token a step."""
        return self._counts[slot] + self._cycle > _ROW_TOKENS

    cpdef cnp.ndarray take(self, Py_ssize_t slot, cnp.ndarray before, Py_ssize_t num_before):
        """Empty its row; returns its tokens behind ``before[:num_before]``.

        The array is a new one.
        """
        cdef const int32_t* source = int32s(before)
        cdef Py_ssize_t count = self._counts[slot]
        if num_before < 0 or length(before) < num_before:
            raise ValueError(f"there are {length(before)} numbers, not {num_before}")
        cdef cnp.ndarray joined = new_array(num_before + count, cnp.NPY_INT32)
        cdef int32_t* out = <int32_t*>cnp.PyArray_DATA(joined)
        # SAFETY: the sizes are checked above; count <= ROW_TOKENS by I2.
        memcpy(out, source, num_before * sizeof(int32_t))
        memcpy(out + num_before, &self._recent[slot, 0], count * sizeof(int32_t))
        self._counts[slot] = 0
        return joined

    def with_prompts(self, cnp.ndarray slots not None, list prompts not None, list counts not None):
        """A step's slots, the decodes' first, then these: (slots, handles, ids, streams, counts, mask).

        counts: of the prompts' tokens; int32, a decode counts 1.  mask: a byte a slot, 1 where it is
        one of these.
        """
        cdef const int64_t* before = int64s(slots)
        cdef Py_ssize_t i, num_decodes = length(slots), count = num_decodes + len(prompts)
        if len(counts) != len(prompts):
            raise ValueError(f"{len(counts)} counts for {len(prompts)} prompts")
        cdef cnp.ndarray where = new_array(count, cnp.NPY_INT64)
        cdef cnp.ndarray found = new_array(count, cnp.NPY_INT64)
        cdef cnp.ndarray numbers = new_array(count, cnp.NPY_INT32)
        cdef int64_t* slot = <int64_t*>cnp.PyArray_DATA(where)
        cdef int64_t* handle = <int64_t*>cnp.PyArray_DATA(found)
        cdef int32_t* tokens = <int32_t*>cnp.PyArray_DATA(numbers)
        cdef bytearray mask = bytearray(self._size)
        memcpy(slot, before, num_decodes * sizeof(int64_t))
        for i in range(num_decodes, count):
            slot[i] = prompts[i - num_decodes]
        for i in range(count):
            # SAFETY: all columns have _size entries, and the slot is below it.
            handle[i] = (&self._handles[0])[self.checked(slot[i])]
            tokens[i] = 1 if i < num_decodes else counts[i - num_decodes]
            mask[slot[i]] = 1
        ids, streams = self.labels(where)
        return where, found, ids, streams, numbers, mask
