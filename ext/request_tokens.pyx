# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
# cython: embedsignature=True
"""The tokens of one completion: those at home, and the newest in the row of a scheduler's slot.

What it is not: whose the request is and what it wishes (kernel/llm/request.py, which is one of
these). Imports nothing from this project but the rows.

Invariants:
  I1  while it has a row, what came since the row was last emptied stands there alone; every door
      here sees through that.
  I2  an array that was handed out is never changed: later tokens go behind it, or into another.

Cost: a token is appended in amortised O(1) (of those in a row, the last 255 at once with a copy of
all before); ``ids`` is a view, not a copy. Counting is a few reads: as Python these doors were an
eighth of what a step spends on requests that come and go (bench/llm_scheduler.py).
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t

from ext.arrays cimport length
from ext.slot_rows cimport SlotRows

cnp.import_array()


cdef class RequestTokens:
    """See the module head.

    id: of the request.  stream: its tokens are shown as they come.  num_prompt: the first tokens.
    max_tokens: of the completion.  allowance: of these, what it may be given for now.
    """

    cdef public uint64_t id
    cdef public bint stream
    cdef public int64_t num_prompt, max_tokens, allowance
    cdef cnp.ndarray _ids
    cdef Py_ssize_t _length
    cdef SlotRows _rows
    cdef Py_ssize_t _row
    cdef int64_t _last_token_ns

    def __init__(self, ids):
        """ids: prompt, then what was emitted before; copied."""
        self._ids = np.array(ids, np.int32)
        self._length = self.num_prompt = length(self._ids)

    @property
    def ids(self):
        """Prompt and completion so far; a view that later tokens do not change."""
        self._absorb()
        return self._ids if length(self._ids) == self._length else self._ids[:self._length]

    @property
    def num_tokens(self):
        """Prompt and completion so far, counted."""
        return self._count()

    @property
    def num_emitted(self):
        """Tokens of the completion so far."""
        return self._count() - self.num_prompt

    @property
    def emitted(self):
        """Tokens of the completion so far; a view."""
        return self.ids[self.num_prompt:]

    @property
    def last_token_ns(self):
        """When the last token came."""
        cdef int64_t in_row = 0 if self._rows is None else self._rows._last_ns[self._row]
        return in_row or self._last_token_ns

    def append(self, token, int64_t now_ns=0):
        """Add one emitted token."""
        self.extend(np.array([token], np.int32))
        self._last_token_ns = now_ns or self._last_token_ns

    def extend(self, cnp.ndarray tokens not None):
        """Add emitted tokens."""
        self._absorb()
        cdef Py_ssize_t end = self._length + length(tokens)
        if end > length(self._ids):
            grown = np.empty(max(end, 2 * length(self._ids), 64), np.int32)
            grown[:self._length] = self._ids[:self._length]
            self._ids = grown
        self._ids[self._length:end] = tokens
        self._length = end

    def enter_row(self, SlotRows rows not None, Py_ssize_t slot, int64_t handle, double key,
                  bint is_whole):
        """It takes a free slot: from now on the scheduler puts new tokens into the row of that.

        handle: of its block table.  is_whole: all it knows is planned in one stretch, with a sample.
        Returns: whether it decodes from the next step on.
        """
        self.leave_row()
        cdef int64_t emitted = self._length - self.num_prompt
        cdef int64_t samples = self.max_tokens - emitted
        cdef int64_t steps = min(samples, self.allowance - emitted)
        decodes = rows.enter(slot, self.id, self.stream, handle, key, samples, steps, is_whole)
        self._rows = rows
        self._row = slot
        return decodes

    cpdef bint leave_row(self) except? -1:
        """Leave its slot, if it has one, and take home what its row has.

        Returns: whether it was wanted for a decode.
        """
        cdef SlotRows rows = self._rows
        if rows is None:
            return False
        self._absorb()
        self._last_token_ns = rows._last_ns[self._row] or self._last_token_ns
        self._rows = None
        return rows.leave(self._row)

    def empty_row(self):
        """Make room in the row."""
        self._absorb()

    cdef Py_ssize_t _count(self) except -1:
        return self._length if self._rows is None else self._length + self._rows._counts[self._row]

    cdef int _absorb(self) except -1:
        if self._rows is not None and self._rows._counts[self._row]:
            self._ids = self._rows.take(self._row, self._ids, self._length)
            self._length = length(self._ids)
        return 0
