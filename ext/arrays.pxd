# Pointers into numpy arrays, and new ones, through numpy's C interface. Inline.
#
# For doors that are called at every step with arrays of our own making: taking a typed memoryview
# costs about 1,500 instructions (numpy describes the buffer, Cython reads the description), this 20.
# Doors for anything that has a buffer keep memoryviews. Who cimports this calls `import_array()`
# first, or the first call crashes.

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint64_t


cdef inline int check_array(cnp.ndarray values, int kind) except -1:
    """Refuse what is not one contiguous row of numbers of this kind in the machine's order."""
    if (
        cnp.PyArray_TYPE(values) != kind or cnp.PyArray_NDIM(values) != 1
        or not cnp.PyArray_ISCARRAY_RO(values)
    ):
        raise ValueError(f"not one row of {'int32' if kind == cnp.NPY_INT32 else 'int64'}")
    return 0


cdef inline const int64_t* int64s(cnp.ndarray values) except? NULL:
    check_array(values, cnp.NPY_INT64)
    return <const int64_t*>cnp.PyArray_DATA(values)


cdef inline const int32_t* int32s(cnp.ndarray values) except? NULL:
    check_array(values, cnp.NPY_INT32)
    return <const int32_t*>cnp.PyArray_DATA(values)


cdef inline Py_ssize_t length(cnp.ndarray values) noexcept:
    """Of an array that passed `check_array`."""
    return cnp.PyArray_DIM(values, 0)


cdef inline cnp.ndarray new_array(Py_ssize_t count, int kind):
    """Not set to anything."""
    cdef cnp.npy_intp size = count
    return cnp.PyArray_SimpleNew(1, &size, kind)
