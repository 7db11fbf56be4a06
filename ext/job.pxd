# A job for other Cython modules: its fields are Python's, so that a policy reads what was written.

cdef class Job:
    cdef public object id, program, owner, priority, arrival_ns, deadline_ns
    cdef public object predicted_tokens, prompt_tokens, weight, parents
    cdef public object note      # the policy's
