# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""Attention over paged keys and values on the CPU: one call a layer for a packed, mixed batch.

What it is not: it owns no tensors and knows no model. The caller gives addresses; the arithmetic
is in paged_attention.h, which also states the pool's layout. Imports nothing from this project.

Invariants:
  I1  ``begin`` has checked every block of every sequence against the pool's size, so that no
      call touches memory outside what the caller described.
  I2  a result does not depend on the number of threads, nor on the other sequences.

Cost: about 2 us a call plus the arithmetic; decoding is bound by reading keys and values once.
Concurrency: one thread calls; ``team`` (OpenMP's, so that one pool of threads serves the caller
and this module) or threads made for the call do the work, without the interpreter.
"""

from cpython.mem cimport PyMem_RawMalloc, PyMem_RawFree
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.string cimport memset

cdef extern from "paged_attention.h" nogil:
    ctypedef struct Attend:
        const char *query
        const char *key
        const char *value
        char *out
        char *key_pool
        char *value_pool
        int64_t query_head, query_token, key_head, key_token, value_head, value_token
        const float *sinks
        float scale, softcap
        int32_t window
        int32_t num_heads, num_kv_heads, head_dim, value_dim, value_stride, block_size, dtype
        const int32_t *starts
        const int32_t *lengths
        const int32_t *tables
        const int32_t *tiles
        int64_t table_stride
        int32_t num_tiles
        float *scratch
        int64_t scratch_floats
        int32_t num_threads
        int32_t next_thread, next_store, num_stored, next_item
    ctypedef void (*AttendTeam)(void (*work)(void *), void *data, unsigned threads, unsigned flags)
    int64_t attend_scratch(int32_t head_dim, int32_t value_stride, int32_t block_size)
    int attend_lanes()
    void attend_run(Attend *a, int lanes, AttendTeam team)
    int ATTEND_MAX_THREADS

DTYPES = {"float32": 0, "bfloat16": 1, "float16": 2}
VALUE_ALIGNMENT = 16         # values of a head are padded to a multiple of this
BLOCK_ALIGNMENT = 4          # block_size is a multiple of this

cdef enum:
    _TILE = 16               # tokens of one work item
    _SMALL = 1 << 17         # multiplications below which one thread is faster


cdef class Layer:
    """Where one layer's keys and values are, and their shape. The caller keeps the memory."""

    cdef Attend attend
    cdef int64_t num_blocks

    def __init__(self, *, uintptr_t key_pool, uintptr_t value_pool, int64_t num_blocks,
                 int num_heads, int num_kv_heads, int head_dim, int value_dim, int value_stride,
                 int block_size, int dtype):
        if num_kv_heads < 1 or num_heads < num_kv_heads or num_heads % num_kv_heads:
            raise ValueError(f"{num_heads} heads cannot share {num_kv_heads} key heads")
        if value_stride < value_dim or value_stride % VALUE_ALIGNMENT:
            raise ValueError(f"value_stride {value_stride} for {value_dim} dimensions")
        if block_size < 1 or block_size % BLOCK_ALIGNMENT:
            raise ValueError(f"block_size {block_size} is no multiple of {BLOCK_ALIGNMENT}")
        if dtype not in DTYPES.values() or not key_pool or not value_pool or num_blocks < 1:
            raise ValueError("dtype, pools or number of blocks")
        memset(&self.attend, 0, sizeof(Attend))
        self.attend.key_pool = <char *>key_pool
        self.attend.value_pool = <char *>value_pool
        self.attend.num_heads = num_heads
        self.attend.num_kv_heads = num_kv_heads
        self.attend.head_dim = head_dim
        self.attend.value_dim = value_dim
        self.attend.value_stride = value_stride
        self.attend.block_size = block_size
        self.attend.dtype = dtype
        self.num_blocks = num_blocks


cdef class PagedAttention:
    """The batch of the running step, and the threads that work on it."""

    cdef AttendTeam _team
    cdef int32_t _num_threads
    cdef float *_scratch
    cdef int64_t _scratch_floats     # of one thread
    cdef int32_t *_tiles
    cdef int32_t _tiles_room
    cdef int32_t _num_tiles
    cdef int64_t _pairs              # (query, key) pairs of the batch
    cdef int64_t _max_block
    cdef int32_t _num_tokens
    cdef int32_t _block_size
    cdef const int32_t[::1] _starts
    cdef const int32_t[::1] _lengths
    cdef const int32_t[:, ::1] _tables

    def __cinit__(self, *, int num_threads, uintptr_t team=0):
        """team: address of a function like GOMP_parallel; 0: threads are made for each call."""
        if not 1 <= num_threads <= ATTEND_MAX_THREADS:
            raise ValueError(f"num_threads {num_threads}")
        self._num_threads = num_threads
        self._team = <AttendTeam>team

    def __dealloc__(self):
        PyMem_RawFree(self._scratch)
        PyMem_RawFree(self._tiles)

    def begin(self, const int32_t[::1] starts not None, const int32_t[::1] lengths not None,
              const int32_t[:, ::1] tables not None, int block_size, int64_t num_blocks):
        """Take the batch of a step; arrays must stay as they are until the next.

        starts: (n + 1,) first row of each sequence in the packed batch, then their number.
        lengths: (n,) tokens of each after this step. tables: (n, any) their blocks.
        Raises ValueError: nothing was taken.
        """
        cdef Py_ssize_t n = lengths.shape[0], i
        cdef int64_t rows, used, pairs = 0, tiles = 0, j, highest = -1
        if n < 1 or starts.shape[0] != n + 1 or tables.shape[0] < n or starts[0] != 0:
            raise ValueError("starts, lengths and tables do not fit")
        if block_size < 1:
            raise ValueError(f"block_size {block_size}")
        self._num_tokens = 0                       # until all is checked
        for i in range(n):
            rows = starts[i + 1] - starts[i]
            used = (lengths[i] + block_size - 1) // block_size
            if rows < 1 or lengths[i] < rows or used > tables.shape[1]:
                raise ValueError(f"sequence {i}: {rows} rows of {lengths[i]} tokens")
            for j in range(used):
                if tables[i, j] < 0 or tables[i, j] >= num_blocks:
                    raise ValueError(f"sequence {i} has block {tables[i, j]}")
                highest = max(highest, tables[i, j])
            tiles += (rows + _TILE - 1) // _TILE
            pairs += rows * lengths[i]
        self._make_tiles(starts, n, tiles)
        self._pairs, self._max_block, self._block_size = pairs, highest, block_size
        self._starts, self._lengths, self._tables = starts, lengths, tables
        self._num_tokens = starts[n]

    cdef int _make_tiles(self, const int32_t[::1] starts, Py_ssize_t n, int64_t tiles) except -1:
        cdef Py_ssize_t i
        cdef int32_t rows, first, at = 0
        if tiles > self._tiles_room:
            PyMem_RawFree(self._tiles)
            self._tiles_room = 0
            self._tiles = <int32_t *>PyMem_RawMalloc(tiles * 2 * 3 * sizeof(int32_t))
            if self._tiles == NULL:
                raise MemoryError
            self._tiles_room = <int32_t>tiles * 2
        for i in range(n):
            rows = starts[i + 1] - starts[i]
            for first in range(0, rows, _TILE):
                # SAFETY: ``tiles`` counts exactly these rounds.
                self._tiles[at] = <int32_t>i
                self._tiles[at + 1] = first
                self._tiles[at + 2] = min(<int32_t>_TILE, rows - first)
                at += 3
        self._num_tiles = <int32_t>tiles
        return 0

    def attend(self, Layer layer not None, uintptr_t query, uintptr_t key, uintptr_t value,
               uintptr_t out, *, strides, float scale, float softcap=0.0, int window=0,
               uintptr_t sinks=0, int64_t num_tokens):
        """Store the step's keys and values and compute its attention.

        query, key, value: addresses of the first element; strides: (head, token) of each, in
        elements, flat; the last dimension is contiguous. out: [token][head][value_dim].
        window: how many tokens a token sees, its own included; 0: all before it.
        sinks: address of one float32 a head, an extra score without a value.
        """
        cdef Attend a = layer.attend
        if num_tokens != self._num_tokens or not num_tokens:
            raise ValueError(f"{num_tokens} tokens, but the batch has {self._num_tokens}")
        if a.block_size != self._block_size or self._max_block >= layer.num_blocks:
            raise ValueError("the layer's pool is not that of the batch")
        a.query_head, a.query_token, a.key_head, a.key_token, a.value_head, a.value_token = strides
        a.query, a.key, a.value, a.out = <char *>query, <char *>key, <char *>value, <char *>out
        a.scale, a.softcap, a.window, a.sinks = scale, softcap, window, <float *>sinks
        a.starts, a.lengths, a.tables = &self._starts[0], &self._lengths[0], &self._tables[0, 0]
        a.table_stride = self._tables.shape[1]
        a.tiles, a.num_tiles = self._tiles, self._num_tiles
        self._reserve(attend_scratch(a.head_dim, a.value_stride, a.block_size))
        a.scratch, a.scratch_floats = self._scratch, self._scratch_floats
        is_small = self._pairs * a.num_heads * a.head_dim < _SMALL
        a.num_threads = 1 if is_small else self._num_threads
        cdef int lanes = attend_lanes()
        while a.block_size % lanes:
            lanes //= 2
        # SAFETY: I1; strides and addresses are the caller's word.
        with nogil:
            attend_run(&a, lanes, self._team)

    cdef int _reserve(self, int64_t floats) except -1:
        if floats > self._scratch_floats:
            PyMem_RawFree(self._scratch)
            self._scratch_floats = 0
            self._scratch = <float *>PyMem_RawMalloc(floats * self._num_threads * sizeof(float))
            if self._scratch == NULL:
                raise MemoryError
            self._scratch_floats = floats
        return 0
