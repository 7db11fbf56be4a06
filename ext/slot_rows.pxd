# The columns of an LLM engine's slots for other Cython modules; what they are is in slot_rows.pyx.

cimport cython
cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t


@cython.final
cdef class SlotRows:
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
    cdef int32_t[:, ::1] _scratch
    cdef Py_ssize_t _size, _next, _stride
    cdef Py_ssize_t _cycle           # pushes between two turns of a row

    cpdef bint enter(
        self, Py_ssize_t slot, uint64_t request, bint is_streamed, int64_t handle, double key,
        int64_t samples, int64_t steps, bint is_whole=*,
    ) except? -1
    cpdef bint leave(self, Py_ssize_t slot) except? -1
    cdef bint _ends_prefill(self, Py_ssize_t slot) except? -1
    cdef int64_t checked(self, int64_t slot) except -1
    cpdef cnp.ndarray take(self, Py_ssize_t slot, cnp.ndarray before, Py_ssize_t num_before)
