# A turn's expected length for other Cython modules.

from libc.stdint cimport int64_t

from ext.wire cimport Envelope


cdef class Mean:
    cdef readonly double tokens  # 0 before one of these turns has ended
    cdef readonly Mean of_class  # None: it is of a class itself
    cdef bint is_late

    cdef void add(self, int64_t tokens) noexcept


cdef class TurnLengths:
    cdef double _all
    cdef object _means
    cdef Py_ssize_t _most

    cpdef Mean mean_of(self, str agent_class, bytes handler)
    cdef object forget_one(self)
    cpdef double guess(self, Mean mean)
    cpdef object learn(self, Mean mean, int64_t tokens)

cpdef bytes handler_of(Envelope envelope)
