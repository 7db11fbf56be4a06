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

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

ROW_TOKENS = 256
NOT_ALL_TOKENS = 1           # a row has no token, or one outside the vocabulary
AT_LIMIT = 2                 # a row gives its request the last token it may have

cdef enum:
    _ROW_TOKENS = 256
    _NOT_ALL_TOKENS = 1
    _AT_LIMIT = 2

if sys.byteorder != "little":
    raise ImportError("plans are little-endian, and written here as they stand in memory")


cdef class SlotRows:
    """See the module head. One entry a slot:

    ids: of its request.  streams: 1 if that is streamed.  handles: of its block table.  keys: of its policy, -inf where nobody is.
    unplanned: samples it may still be given steps for.  unsampled: that have not come yet.
    wants, told: I1.  recent, counts: I2.  last_ns: when its last token came, 0: none did.
    """

    cdef readonly object ids, streams, handles, keys, unplanned, unsampled, wants, told, recent, counts, last_ns
    cdef uint64_t[::1] _ids
    cdef uint8_t[::1] _streams
    cdef int64_t[::1] _handles
    cdef double[::1] _keys
    cdef int64_t[::1] _unplanned
    cdef int64_t[::1] _unsampled
    cdef uint8_t[::1] _wants
    cdef uint8_t[::1] _told
    cdef int32_t[:, ::1] _recent
    cdef int64_t[::1] _counts
    cdef int64_t[::1] _last_ns
    cdef Py_ssize_t _size, _next, _stride
    cdef Py_ssize_t _cycle           # pushes between two turns of a row

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

    def __len__(self):
        return self._size

    # Who is in a slot

    def enter(self, Py_ssize_t slot, uint64_t request, bint is_streamed, int64_t handle, double key,
              int64_t samples, int64_t steps):
        """A request takes a free slot, with an empty row; it does not decode yet.

        samples: it may have, at most.  steps: it may be given for now; ``extend`` gives more.
        """
        self._ids[slot] = request
        self._streams[slot] = is_streamed
        self._handles[slot] = handle
        self._keys[slot] = key
        self._unsampled[slot] = samples
        self._unplanned[slot] = steps
        self._counts[slot] = self._last_ns[slot] = 0

    def leave(self, Py_ssize_t slot):
        """A slot is free. The engine will be told by dropping it, so it decodes there no more.

        What its row has is to be taken before. Returns: whether it was wanted for a decode.
        """
        cdef bint was_wanted = self._wants[slot]
        self._keys[slot] = -np.inf
        self._wants[slot] = self._told[slot] = 0
        return was_wanted

    def end_prefill(self, Py_ssize_t slot):
        """All known tokens are planned and a sample with them; returns whether it decodes now."""
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
        cdef double highest = self._keys[0]
        cdef Py_ssize_t i
        for i in range(self._size):
            highest = max(highest, self._keys[i])
        return highest

    # Decodes

    def decoding(self):
        """The slots that are wanted for a decode, ascending: (slots, handles, ids, streams)."""
        cdef Py_ssize_t i, count = 0
        cdef int64_t[:, ::1] out
        for i in range(self._size):
            count += self._wants[i]
        found = np.empty((4, count), np.int64)
        if count:
            out = found
            count = 0
            for i in range(self._size):
                if self._wants[i]:
                    self._fill(out, count, i)
                    count += 1
        return found[0], found[1], found[2].view(np.uint64), found[3]

    cdef inline int _fill(self, int64_t[:, ::1] out, Py_ssize_t at, Py_ssize_t slot) except -1:
        out[0, at] = slot
        out[1, at] = self._handles[slot]
        out[2, at] = <int64_t>self._ids[slot]
        out[3, at] = self._streams[slot]
        return 0

    def count_planned(self, const int64_t[::1] slots not None):
        """A decode of these was planned; returns how many have no sample left, and stop."""
        cdef Py_ssize_t i, slot, stopped = 0
        for i in range(slots.shape[0]):
            slot = slots[i]
            self._unplanned[slot] -= 1
            if self._unplanned[slot] <= 0:
                self._wants[slot] = 0
                stopped += 1
        return stopped

    def changes(self, const int64_t[::1] slots not None):
        """What the engine is to be told so that exactly these decode: int32 slots off, and on."""
        cdef Py_ssize_t i, at = 0, num_off = 0, num_on = 0
        cdef bint is_wanted
        cdef int32_t[::1] off, on
        offs, ons = np.empty(self._size, np.int32), np.empty(self._size, np.int32)
        off, on = offs, ons
        for i in range(self._size):
            is_wanted = at < slots.shape[0] and slots[at] == i
            at += is_wanted
            if is_wanted and not self._told[i]:
                on[num_on] = <int32_t>i
                num_on += 1
            elif self._told[i] and not is_wanted:
                off[num_off] = <int32_t>i
                num_off += 1
            self._told[i] = is_wanted
        if at != slots.shape[0]:
            raise ValueError("the slots are not in ascending order, or there is no such slot")
        return offs[:num_off].tobytes(), ons[:num_on].tobytes()

    # Tokens

    def check(self, const int64_t[::1] slots not None, const int32_t[::1] tokens not None,
              int64_t vocab_size):
        """What is special about a step's rows: NOT_ALL_TOKENS | AT_LIMIT."""
        cdef Py_ssize_t i
        cdef int flags = 0
        if tokens.shape[0] != slots.shape[0]:
            raise ValueError(f"{tokens.shape[0]} tokens for {slots.shape[0]} slots")
        for i in range(slots.shape[0]):
            if tokens[i] < 0 or tokens[i] >= vocab_size:
                flags |= _NOT_ALL_TOKENS
            if self._unsampled[slots[i]] <= 1:
                flags |= _AT_LIMIT
        return flags

    def at_limit(self, const int64_t[::1] slots not None):
        """Those of these slots whose next token is the last they may have."""
        cdef Py_ssize_t i
        return [slots[i] for i in range(slots.shape[0]) if self._unsampled[slots[i]] == 1]

    def push(self, const int64_t[::1] slots not None, const int32_t[::1] tokens not None,
             int64_t now_ns):
        """Give each of these rows its next token.

        Raises IndexError if a row is full: it was not taken in its turn (I2).
        """
        cdef Py_ssize_t i, slot
        if tokens.shape[0] != slots.shape[0]:
            raise ValueError(f"{tokens.shape[0]} tokens for {slots.shape[0]} slots")
        for i in range(slots.shape[0]):
            slot = slots[i]
            self._recent[slot, self._counts[slot]] = tokens[i]
            self._counts[slot] += 1
            self._last_ns[slot] = now_ns
            self._unsampled[slot] -= 1

    def take_turns(self):
        """The rows whose turn it is before the next push."""
        cdef Py_ssize_t first = self._next
        cdef Py_ssize_t last = min(first + self._stride, self._size)
        self._next = last if last < self._size else 0
        return range(first, last)

    def is_due(self, Py_ssize_t slot):
        """Whether a row could be full before its next turn, with a token a step."""
        return self._counts[slot] + self._cycle > _ROW_TOKENS

    def count(self, Py_ssize_t slot):
        """How many tokens its row has."""
        return self._counts[slot]

    def last_token_ns(self, Py_ssize_t slot):
        """When its last token came; 0: none did."""
        return self._last_ns[slot]

    def take(self, Py_ssize_t slot, const int32_t[::1] before not None, Py_ssize_t length):
        """Empty its row: a new array of the first ``length`` numbers of ``before``, then its tokens."""
        cdef Py_ssize_t count = self._counts[slot]
        cdef int32_t[::1] out
        if length < 0 or before.shape[0] < length:
            raise ValueError(f"there are {before.shape[0]} numbers, not {length}")
        joined = np.empty(length + count, np.int32)
        out = joined
        # SAFETY: the sizes are checked above; count <= ROW_TOKENS by I2.
        if length:
            memcpy(&out[0], &before[0], length * sizeof(int32_t))
        if count:
            memcpy(&out[length], &self._recent[slot, 0], count * sizeof(int32_t))
        self._counts[slot] = 0
        return joined

    def with_prompts(self, const int64_t[::1] slots not None, list prompts not None):
        """A step's slots, the decodes' first, then these: (slots, handles, ids, streams)."""
        cdef Py_ssize_t i, num_decodes = slots.shape[0], count = num_decodes + len(prompts)
        cdef int64_t[:, ::1] out
        found = np.empty((4, count), np.int64)
        if count:
            out = found
            for i in range(num_decodes):
                self._fill(out, i, slots[i])
            for i in range(num_decodes, count):
                self._fill(out, i, prompts[i - num_decodes])
        return found[0], found[1], found[2].view(np.uint64), found[3]


def new_blocks(const int64_t[::1] slots not None, const int32_t[::1] rows not None,
               const int32_t[::1] num_blocks not None, const int32_t[::1] num_new not None,
               const int32_t[:, :] tables not None):
    """Pairs of slot and block, as int32 bytes, of the slots that have taken a block for a decode.

    rows, num_blocks, num_new: of ext.kv_types.PlannedBatch; tables: KVCache.block_tables.
    """
    cdef Py_ssize_t i, count = 0
    cdef int32_t[:, ::1] out
    if not slots.shape[0] == rows.shape[0] == num_blocks.shape[0] == num_new.shape[0]:
        raise ValueError("the arrays do not pair up")
    for i in range(num_new.shape[0]):
        count += num_new[i] > 0
    if not count:
        return b""
    pairs = np.empty((count, 2), np.int32)
    out = pairs
    count = 0
    for i in range(num_new.shape[0]):
        if num_new[i] > 0:
            out[count, 0] = <int32_t>slots[i]
            out[count, 1] = tables[rows[i], num_blocks[i] - 1]
            count += 1
    return pairs.tobytes()
