# One end of a numbered link; the contract is in ipc/channel.py.

from libc.stdint cimport int64_t, uint64_t

from ext.wire cimport Envelope

cdef class Channel:
    cdef public uint64_t next_sequence    # of the envelope that is numbered next
    cdef public uint64_t taken            # highest number taken from the other end
    cdef public uint64_t covered          # highest number of those that it may be told
    cdef public uint64_t heard            # highest mark that the other end has told
    cdef public int64_t window            # envelopes
    cdef public int64_t window_bytes
    cdef list _kept                       # sent and not covered, oldest first, from _first on
    cdef Py_ssize_t _first                # places before it are None
    cdef int64_t _kept_bytes

    cdef bint _has_room(self) noexcept
    cdef int _number(self, Envelope envelope) except -1
