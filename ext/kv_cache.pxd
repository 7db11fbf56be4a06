"""C interface of the KV-cache allocator, for other extension modules.

The batch methods take arrays of `count` entries and `rows`, scratch of as many entries, whose
`slot` they fill in (the request's row in the block tables). They return a Status of kv_core.pxd; on
anything but STATUS_OK nothing has changed, and `raise_refusal` turns it into the typed error. (The
one exception is NO_MEMORY from `free_batch` and `rollback_batch`: requests before
`core.refusal.index` are done.)
`noexcept`: they index nothing that is bounds-checked, and raise nothing.

Whoever calls holds the GIL or otherwise keeps every other thread away: there is no lock.
"""

from libc.stdint cimport int32_t, int64_t

from ext.kv_core cimport Core
from ext.kv_plan cimport PlanRow

cdef class KVCache:
    cdef Core core
    cdef readonly object block_tables    # (max_requests, blocks a request) int32, read-only
    cdef object table_array              # owner of core.tables
    cdef object chain_array              # owner of core.chains
    cdef PlanRow* rows                   # scratch of the Python batch doors
    cdef int64_t rows_capacity

    # Tokens computed and tokens being computed, as `lookup`.
    cdef int look_up_batch(
        self, const int64_t* requests, int64_t count, PlanRow* rows,
        int32_t* cached, int32_t* computing,
    ) noexcept nogil
    # One token each, as `append_many`.
    cdef int append_batch(
        self, const int64_t* requests, const int32_t* tokens, int64_t count, PlanRow* rows
    ) noexcept nogil
    # rows: gets all fields.  max_tokens: NULL for one each.
    cdef int plan_batch(
        self, const int64_t* requests, const int32_t* max_tokens, int64_t count, PlanRow* rows
    ) noexcept nogil
    # One token appended to each, and so many marked computed; scratch is `self.rows`.
    cdef int advance_batch(
        self, const int64_t* requests, const int32_t* tokens, const int32_t* num_tokens,
        int64_t count,
    ) noexcept nogil
    cdef int mark_batch(
        self, const int64_t* requests, const int32_t* num_tokens, int64_t count, PlanRow* rows
    ) noexcept nogil
    cdef int rollback_batch(
        self, const int64_t* requests, const int32_t* num_tokens, int64_t count, PlanRow* rows,
        int64_t last_step,
    ) noexcept nogil
    # last_step: 0 when no step may still touch the blocks.
    cdef int free_batch(
        self, const int64_t* requests, int64_t count, PlanRow* rows, int64_t last_step
    ) noexcept nogil
    cdef int raise_refusal(self, int status) except -1
