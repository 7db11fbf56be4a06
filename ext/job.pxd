# A job for other Cython modules. What is always a number is one here: an object of its own is one
# more cache miss when the job is forgotten, ten thousand decisions after it came.

from libc.stdint cimport int64_t


cdef class Job:
    cdef public object id, program, owner, priority, deadline_ns, prompt_tokens, parents
    cdef public int64_t arrival_ns
    cdef public double predicted_tokens, weight
    cdef public object note      # the policy's
