# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
# cython: embedsignature=True
"""The KV-cache block allocator: owner of one engine's block table, for paged attention.

It decides which block holds which tokens of which request; tensors, plans, clocks and policy are
others' (the engine's, the LLM scheduler's). Long because it is one class, which Cython cannot split; the
mechanism is in the `kv_*.pxd` files beside it, and its invariants are at the head of kv_core.pxd.

Life of a request: `open` (tokens in, hashed once) - `plan` (blocks taken, cached prefix first) -
`mark_computed` when the step has reported (full blocks become shareable) - `append` the sampled
token - `plan` ... - `free`. Plans may run ahead of computed steps; `rollback` takes them back.
Each door has a form for one request and, where a scheduler acts once per step, one for a batch; a
refused call has changed nothing, the batch included.

Cost: a call plus O(blocks touched). Memory: 32 bytes a block, 48 + 4 a token a distinct prefix,
and per request slot three rows that are touched only as far as they are used.
Concurrency: one event loop owns it; the GIL is held throughout.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from ext.arrays cimport int32s, int64s, length
from ext.kv_audit cimport AUDIT_NO_MEMORY, audit
from ext.kv_core cimport (
    BAD_COUNT, BAD_STEP, NO_MEMORY, OVER_QUOTA, PIN, REPEATED_REQUEST, RETIRED, STATUS_OK, TOO_LONG,
    TOO_MANY_REQUESTS, UNKNOWN_REQUEST, WRONG_TIER,
    Core, Counters, Refusal, Request, find_owner, find_pin, find_request, next_generation,
    owner_handle, refuse, refuse_count, request_handle, table_of,
)
from ext.kv_hash cimport Digest, expand_key, root_digest
from ext.kv_holdings cimport release_holding, complete_step
from ext.kv_move cimport (
    check_fork, count_demoted, demote_pin, fork_child, move_blocks, promote_prefix,
)
from ext.kv_owners cimport (
    Account as CAccount, Owner, account_unmet, add_shares, ledger_new_slot,
)
from ext.kv_pins cimport NEVER, expire, make_pin
from ext.kv_plan cimport (
    PlanRow, check_advance, check_computed, check_rollback, find_batch, mark_row, plan_rows,
    refuse_at, roll_back,
)
from ext.kv_pool cimport (
    DEVICE, HOST, NONE, NUM_TIERS, Pool, kv_blocks_for, kv_full_blocks, pool_available,
)
from ext.kv_prefix cimport prefix_digest, prefix_reserve
from ext.kv_requests cimport (
    append_token, append_tokens, close_request, copy_tokens, drop_blocks, look_up, refuse_requests,
    take_request_slot, truncate_tokens,
)
from ext.kv_reset cimport close_owner, core_free, core_setup, reset_tier
from ext.kv_take cimport put_first

from ext.kv_errors import (
    CountError, IntegrityError, OutOfBlocksError, OwnerBusyError, QuotaContradictionError,
    QuotaExceededError, RepeatedRequestError, RequestTooLongError, StepError, TooManyRequestsError,
    UnknownOwnerError, UnknownPinError, UnknownRequestError, WrongTierError,
)
from ext.kv_types import (
    Account, Fork, Lookup, LookupBatch, Planned, PlannedBatch, RequestState, Statistics, Tier,
    TierOccupancy,
)

cnp.import_array()

MAX_BLOCK_SIZE = 1 << 16         # tokens
MAX_BLOCKS = 1 << 30             # of both tiers
MAX_REQUESTS = 1 << 24
MAX_INSTANCE = (1 << 13) - 1
NO_QUOTA = 0x7FFFFFFF

cdef object _DEVICE = Tier.DEVICE


def check_range(str what, object value, int64_t low, int64_t high):
    if not low <= value <= high:
        raise CountError(what, value, low if value < low else high)


cdef object set_hash(KVCache self, bytes key, int64_t digest_bits):
    """digest_bits: fewer than 128 make digests collide, which tests need."""
    cdef object mask = (<object>1 << <object>digest_bits) - 1     # Python's integers: 128 bits
    expand_key(
        &self.core.prefix.key,
        int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little"),
    )
    self.core.prefix.digest_mask.low = mask & 0xFFFFFFFFFFFFFFFF
    self.core.prefix.digest_mask.high = mask >> 64


cdef object make_tables(KVCache self, int64_t max_requests):
    """numpy owns the rows, so that a view of a block table outlives the cache."""
    cdef int32_t[:, ::1] rows
    self.table_array = np.zeros((max_requests, self.core.max_blocks), np.int32)
    self.chain_array = np.zeros((max_requests, self.core.max_blocks), np.int32)
    rows = self.table_array
    self.core.tables = &rows[0, 0]
    rows = self.chain_array
    self.core.chains = &rows[0, 0]
    self.block_tables = self.table_array.view()
    self.block_tables.flags.writeable = False


cdef object check_limits(KVCache self, int tier, object quota, object floor, int64_t old_floor):
    cdef int64_t capacity = self.core.pools[tier].size
    cdef object floors = self.core.ledger.floors[tier] - old_floor + floor
    check_range("floor", floor, 0, NO_QUOTA)
    if quota is not None:
        check_range("quota", quota, 0, NO_QUOTA)
    if floors > capacity or (quota is not None and floor > quota):
        raise QuotaContradictionError(
            quota=quota, floor=floor, floors=floors, capacity=capacity
        )


cdef object apply_limits(KVCache self, int32_t slot, int tier, object quota, object floor):
    cdef CAccount* account = &self.core.ledger.owners[slot].tiers[tier]
    self.core.ledger.unmet[tier] -= account_unmet(account)
    self.core.ledger.floors[tier] -= account.floor
    account.quota = NO_QUOTA if quota is None else quota
    account.floor = floor
    self.core.ledger.floors[tier] += account.floor
    self.core.ledger.unmet[tier] += account_unmet(account)


cdef int32_t owner_slot(KVCache self, int64_t owner) except -1:
    cdef int32_t slot = find_owner(&self.core, owner)
    if slot == NONE:
        raise UnknownOwnerError("owner", owner)
    return slot


cdef int32_t request_slot(KVCache self, int64_t request) except -1:
    cdef int32_t slot = find_request(&self.core, request)
    if slot == NONE:
        raise UnknownRequestError("request", request)
    return slot


cdef bint batch(KVCache self, int64_t count, int64_t values) except -1:
    """Check that arrays pair up and make room for rows; False for an empty batch."""
    if count != values:
        raise CountError("length of the second array", values, count)
    if count > self.rows_capacity:
        grown = <PlanRow*>realloc(self.rows, <size_t>count * sizeof(PlanRow))
        if grown == NULL:
            raise MemoryError(f"no memory for a batch of {count}")
        self.rows = grown
        self.rows_capacity = count
    return count > 0


cdef int64_t step_number(KVCache self, object last_step) except -1:
    """Steps count from 1; None means that no step may still touch the blocks."""
    cdef int64_t step
    if last_step is None:
        return 0
    step = last_step
    if not 1 <= step < NEVER:
        check_range("last_step", last_step, 1, NEVER - 1)
    return step


cdef void write_new_blocks(
    const Core* core, const PlanRow* rows, const int64_t* labels, int64_t count, int32_t* out
) noexcept nogil:
    """Pairs of label and block, of the blocks that `plan_rows` has taken from the pool."""
    cdef const int32_t* taken
    cdef int64_t j
    cdef int32_t i
    for j in range(count):
        taken = table_of(core, rows[j].slot) + core.requests[rows[j].slot].num_blocks
        for i in range(-rows[j].num_new, 0):
            out[0] = <int32_t>labels[j]
            out[1] = taken[i]
            out += 2


cdef inline int check(KVCache self, int status) except -1:
    if status:
        self.raise_refusal(status)
    return 0


cdef object swap(KVCache self, int64_t request, int tier, int64_t step):
    cdef int32_t slot = request_slot(self, request)
    cdef int64_t num_copies = 0
    cdef int32_t[:, ::1] pairs
    copies = np.empty((self.core.requests[slot].num_blocks + 1, 2), np.int32)
    pairs = copies
    check(self, move_blocks(&self.core, slot, tier, step, &pairs[0, 0], &num_copies))
    return copies[:num_copies]


cdef object account_of(KVCache self, int32_t slot, int tier):
    cdef CAccount* account = &self.core.ledger.owners[slot].tiers[tier]
    return Account(
        account.referenced, account.alone, account.pinned, account.cached,
        None if account.quota == NO_QUOTA else account.quota, account.floor,
    )


cdef object occupancy(KVCache self, int tier):
    cdef Pool* pool = &self.core.pools[tier]
    return TierOccupancy(
        pool.size, pool.size - pool.num_free - pool.num_cached, pool.num_cached,
        pool.num_free, self.core.counters.evictions[tier],
    )


cdef class KVCache:
    """Block table of one engine. See the module head; `kv_cache.pyi` lists the doors."""

    def __cinit__(self, *_args, **_kwargs):
        memset(&self.core, 0, sizeof(Core))

    def __init__(
        self, *, int64_t block_size, int64_t num_device_blocks, bytes hash_key not None,
        int64_t num_host_blocks=0, int64_t max_requests=1024,
        int64_t max_tokens_per_request=131072, int64_t instance=0, int64_t digest_bits=128,
    ):
        cdef int32_t[NUM_TIERS] tier_blocks
        check_range("block_size", block_size, 1, MAX_BLOCK_SIZE)
        check_range("num_device_blocks", num_device_blocks, 1, MAX_BLOCKS)
        check_range("num_host_blocks", num_host_blocks, 0, MAX_BLOCKS - num_device_blocks)
        check_range("max_requests", max_requests, 1, MAX_REQUESTS)
        check_range("max_tokens_per_request", max_tokens_per_request, 1, MAX_BLOCKS)
        check_range("instance", instance, 0, MAX_INSTANCE)
        check_range("digest_bits", digest_bits, 0, 128)
        check_range("bytes of hash_key", len(hash_key), 16, 16)
        if self.core.blocks != NULL:
            raise RuntimeError("a KVCache is set up once")
        tier_blocks = [<int32_t>num_device_blocks, <int32_t>num_host_blocks]
        self.core.max_blocks = kv_blocks_for(<int32_t>max_tokens_per_request, <int32_t>block_size)
        self.core.instance = instance
        set_hash(self, hash_key, digest_bits)
        make_tables(self, max_requests)
        if not core_setup(
            &self.core, <int32_t>block_size, tier_blocks, <int32_t>max_requests,
            <int32_t>max_tokens_per_request,
        ):
            raise MemoryError(f"no memory for {num_device_blocks + num_host_blocks} blocks")

    def __dealloc__(self):
        core_free(&self.core)
        free(self.rows)

    # Owners

    def add_owner(self, *, quota=None, floor=0, host_quota=None, host_floor=0):
        """A new owner; quotas bound what it references, floors are kept free for it."""
        cdef int32_t slot
        cdef int32_t generation
        cdef Owner* owner
        check_limits(self, DEVICE, quota, floor, 0)
        check_limits(self, HOST, host_quota, host_floor, 0)
        slot = ledger_new_slot(&self.core.ledger)
        if slot == NONE:
            raise MemoryError("no memory for another owner")
        owner = &self.core.ledger.owners[slot]
        generation = owner.generation
        memset(owner, 0, sizeof(Owner))
        owner.generation = next_generation(generation)
        owner.is_open = owner.is_used = True
        apply_limits(self, slot, DEVICE, quota, floor)
        apply_limits(self, slot, HOST, host_quota, host_floor)
        return owner_handle(&self.core, slot)

    def set_limits(self, int64_t owner, *, quota=None, floor=0, tier=Tier.DEVICE):
        """Replace quota and floor. What the owner holds above a lower quota stays until let go."""
        cdef int32_t slot = owner_slot(self, owner)
        cdef int where = Tier(tier)
        check_limits(self, where, quota, floor, self.core.ledger.owners[slot].tiers[where].floor)
        apply_limits(self, slot, where, quota, floor)

    def remove_owner(self, int64_t owner):
        """End an owner without open requests; its pins and floors go, its cached blocks stay."""
        cdef int32_t slot = owner_slot(self, owner)
        if self.core.ledger.owners[slot].num_requests:
            raise OwnerBusyError(owner, self.core.ledger.owners[slot].num_requests)
        close_owner(&self.core, slot)

    # Requests and their tokens

    def open(self, int64_t owner, const int32_t[::1] tokens not None, *, int64_t extra_key=0):
        """A new request with its first tokens, which are hashed now; it holds no blocks yet."""
        cdef int32_t holder = owner_slot(self, owner)
        cdef int32_t slot = take_request_slot(&self.core, holder)
        cdef int status
        if slot == NONE:
            self.raise_refusal(refuse_requests(&self.core, 1))
        self.core.requests[slot].extra_key = extra_key
        if tokens.shape[0]:
            status = append_tokens(&self.core, slot, &tokens[0], tokens.shape[0])
            if status:
                close_request(&self.core, slot)
                self.raise_refusal(status)
        return request_handle(&self.core, slot)

    def append(self, int64_t request, const int32_t[::1] tokens not None):
        """More known tokens at the end of a request."""
        cdef int32_t slot = request_slot(self, request)
        if tokens.shape[0]:
            check(self, append_tokens(&self.core, slot, &tokens[0], tokens.shape[0]))

    def append_many(
        self, const int64_t[::1] requests not None, const int32_t[::1] tokens not None
    ):
        """One more known token for each request: what a decode step sampled."""
        if batch(self, requests.shape[0], tokens.shape[0]):
            check(self, self.append_batch(&requests[0], &tokens[0], requests.shape[0], self.rows))

    cdef int append_batch(
        self, const int64_t* requests, const int32_t* tokens, int64_t count, PlanRow* rows
    ) noexcept nogil:
        cdef Core* core = &self.core
        cdef Request* request
        cdef int64_t j
        cdef int status = find_batch(core, requests, count, rows)
        if status:
            return status
        if not prefix_reserve(&core.prefix, count):
            return refuse(core, NO_MEMORY, 0)
        for j in range(count):
            request = &core.requests[rows[j].slot]
            if request.num_tokens == core.max_tokens:
                refuse_count(core, TOO_LONG, requests[j], core.max_tokens + 1, core.max_tokens)
                return refuse_at(core, TOO_LONG, j)
        for j in range(count):
            append_token(core, rows[j].slot, tokens[j])
        return STATUS_OK

    def truncate(self, int64_t request, int64_t num_tokens):
        """Forget known tokens from `num_tokens` on; planned ones must be rolled back first."""
        cdef int32_t slot = request_slot(self, request)
        check_range("num_tokens", num_tokens, 0, self.core.max_tokens)
        check(self, truncate_tokens(&self.core, slot, <int32_t>num_tokens))

    def tokens(self, int64_t request, int64_t start=0, stop=None):
        """A copy of known tokens [start, stop)."""
        cdef int32_t slot = request_slot(self, request)
        cdef int64_t known = self.core.requests[slot].num_tokens
        cdef int64_t end = known if stop is None else stop
        cdef int32_t[::1] out
        check_range("stop", end, 0, known)
        check_range("start", start, 0, end)
        copied = np.empty(end - start, np.int32)
        out = copied
        if end > start:
            copy_tokens(&self.core, slot, <int32_t>start, <int32_t>end, &out[0])
        return copied

    def state(self, int64_t request):
        """Owner, tier, token counts and number of blocks of a request."""
        cdef Request* found = &self.core.requests[request_slot(self, request)]
        return RequestState(
            owner_handle(&self.core, found.owner), Tier(found.tier), found.num_tokens,
            found.planned, found.computed, found.num_blocks,
        )

    def block_table(self, int64_t request):
        """Read-only int32 view of the request's blocks, numbered within their tier.

        Not a copy: it shows what the row holds, until the next call that changes this request.
        """
        cdef int32_t slot = request_slot(self, request)
        return self.block_tables[slot, :self.core.requests[slot].num_blocks]

    def block_bytes(self, int64_t request):
        """The request's blocks as int32 bytes, in the machine's order."""
        cdef int32_t slot = request_slot(self, request)
        cdef int32_t* row = &self.core.tables[<int64_t>slot * self.core.max_blocks]
        # SAFETY: num_blocks <= max_blocks, the length of a row.
        return (<char*>row)[:self.core.requests[slot].num_blocks * <int64_t>sizeof(int32_t)]

    def lookup(self, int64_t request):
        """Tokens computed (or found in the cache), and tokens that a running step will add."""
        cdef int32_t cached, computing
        look_up(&self.core, request_slot(self, request), &cached, &computing)
        return tuple.__new__(Lookup, (cached, computing))

    def lookup_many(self, const int64_t[::1] requests not None):
        """`lookup` for each request, as two arrays."""
        cdef int64_t count = requests.shape[0]
        cdef int32_t[:, ::1] out
        found = np.empty((2, count), np.int32)
        out = found
        if batch(self, count, count):
            check(
            self, self.look_up_batch(&requests[0], count, self.rows, &out[0, 0], &out[1, 0])
            )
        return LookupBatch(found[0], found[1])

    cdef int look_up_batch(
        self, const int64_t* requests, int64_t count, PlanRow* rows,
        int32_t* cached, int32_t* computing,
    ) noexcept nogil:
        cdef int64_t j
        cdef int status = find_batch(&self.core, requests, count, rows)
        if status:
            return status
        for j in range(count):
            look_up(&self.core, rows[j].slot, &cached[j], &computing[j])
        return STATUS_OK

    def digests(self, const int32_t[::1] tokens not None, *, int64_t extra_key=0):
        """Chained digests of the full blocks of `tokens`, (n, 2) uint64; nothing is stored.

        Equal digests mean, almost surely, an equal prefix: to place a request where its prefix
        is. Only caches with the same hash_key and block size agree on them.
        """
        cdef int64_t count = tokens.shape[0] // self.core.block_size
        cdef uint64_t[:, ::1] out
        cdef Digest digest = root_digest(&self.core.prefix.key, extra_key)
        cdef int64_t i
        digests = np.empty((count, 2), np.uint64)
        out = digests
        for i in range(count):
            digest = prefix_digest(&self.core.prefix, digest, &tokens[i * self.core.block_size])
            out[i, 0] = digest.low
            out[i, 1] = digest.high
        return digests

    # Steps

    def plan(self, int64_t request, int32_t max_tokens):
        """Plan the next tokens of a request, taking the blocks they need; returns which.

        A request without blocks first takes its longest cached prefix. The stretch ends with the
        known tokens; a plan that starts at their end is for that many placeholders.
        """
        cdef PlanRow row
        check(self, self.plan_batch(&request, &max_tokens, 1, &row))
        return tuple.__new__(Planned, (row.start, row.count))

    def plan_many(
        self, const int64_t[::1] requests not None, const int32_t[::1] max_tokens not None
    ):
        """`plan` for each request, all or none."""
        cdef int64_t count = requests.shape[0]
        cdef int64_t j
        cdef int32_t[:, ::1] out
        planned = np.empty((5, count), np.int32)
        if batch(self, count, max_tokens.shape[0]):
            check(self, self.plan_batch(&requests[0], &max_tokens[0], count, self.rows))
            out = planned
            for j in range(count):
                out[0, j] = self.rows[j].slot
                out[1, j] = self.rows[j].start
                out[2, j] = self.rows[j].count
                out[3, j] = self.core.requests[self.rows[j].slot].num_blocks
                out[4, j] = self.rows[j].num_new
        return tuple.__new__(PlannedBatch, planned)

    def plan_decodes(self, cnp.ndarray requests not None, cnp.ndarray labels not None):
        """`plan_many` of a token each; returns what an engine is told: new blocks, as int32 bytes.

        Pairs of the request's label and its block, in the order of the call and of the tables.
        """
        cdef const int64_t* handles = int64s(requests)
        cdef const int64_t* names = int64s(labels)
        cdef int64_t count = length(requests)
        cdef int64_t num_new = 0
        cdef int64_t j
        if count != length(labels):
            raise CountError("length of the labels", length(labels), count)
        if batch(self, count, count):
            check(self, self.plan_batch(handles, NULL, count, self.rows))
            for j in range(count):
                num_new += self.rows[j].num_new
        if num_new == 0:
            return b""
        pairs = PyBytes_FromStringAndSize(NULL, num_new * 2 * <int64_t>sizeof(int32_t))
        # SAFETY: as long as the pairs are, and nobody else has it yet.
        write_new_blocks(&self.core, self.rows, names, count, <int32_t*>PyBytes_AS_STRING(pairs))
        return pairs

    def begin(self, int64_t request, int32_t max_tokens, int64_t keep):
        """`plan` for a request that holds nothing, if all it knows fits now; else None.

        It fits if its blocks leave `keep` available and no step under way computes the next block
        of its prefix. Returns: first planned token, number of tokens, its blocks as `block_bytes`.
        """
        cdef int32_t slot = request_slot(self, request)
        cdef Request* found = &self.core.requests[slot]
        cdef int32_t cached, computing, needed
        cdef PlanRow row
        look_up(&self.core, slot, &cached, &computing)
        needed = kv_blocks_for(found.num_tokens, self.core.block_size)
        needed -= kv_full_blocks(cached, self.core.block_size)
        if found.num_blocks or computing or pool_available(&self.core.pools[DEVICE]) - keep < needed:
            return None
        if self.plan_batch(&request, &max_tokens, 1, &row):
            return None
        return row.start, row.count, self.block_bytes(request)

    cdef int plan_batch(
        self, const int64_t* requests, const int32_t* max_tokens, int64_t count, PlanRow* rows
    ) noexcept nogil:
        cdef int status = find_batch(&self.core, requests, count, rows)
        if status:
            return status
        return plan_rows(&self.core, rows, max_tokens, count)

    def mark_computed(self, int64_t request, int32_t num_tokens):
        """The next planned tokens were computed; blocks that are full by now become shareable."""
        cdef PlanRow row
        check(self, self.mark_batch(&request, &num_tokens, 1, &row))

    def mark_computed_many(
        self, const int64_t[::1] requests not None, const int32_t[::1] num_tokens not None
    ):
        """`mark_computed` for each request, all or none."""
        if batch(self, requests.shape[0], num_tokens.shape[0]):
            check(self, self.mark_batch(&requests[0], &num_tokens[0], requests.shape[0], self.rows))

    cdef int mark_batch(
        self, const int64_t* requests, const int32_t* num_tokens, int64_t count, PlanRow* rows
    ) noexcept nogil:
        cdef int64_t j
        cdef int status = find_batch(&self.core, requests, count, rows)
        if status:
            return status
        for j in range(count):
            status = check_computed(&self.core, rows[j].slot, num_tokens[j])
            if status:
                return refuse_at(&self.core, status, j)
        for j in range(count):
            mark_row(&self.core, rows[j].slot, num_tokens[j])
        return STATUS_OK

    def advance_many(
        self, cnp.ndarray requests not None, cnp.ndarray tokens not None,
        cnp.ndarray num_tokens not None,
    ):
        """`append_many`, then `mark_computed_many`, all or none: a step has reported."""
        cdef const int64_t* handles = int64s(requests)
        cdef const int32_t* values = int32s(tokens)
        cdef const int32_t* counts = int32s(num_tokens)
        cdef int64_t count = length(requests)
        if count != length(num_tokens):
            raise CountError("length of the third array", length(num_tokens), count)
        if batch(self, count, length(tokens)):
            check(self, self.advance_batch(handles, values, counts, count))

    cdef int advance_batch(
        self, const int64_t* requests, const int32_t* tokens, const int32_t* num_tokens,
        int64_t count,
    ) noexcept nogil:
        cdef Core* core = &self.core
        cdef int64_t j
        cdef int status = find_batch(core, requests, count, self.rows)
        if status:
            return status
        if not prefix_reserve(&core.prefix, count):
            return refuse(core, NO_MEMORY, 0)
        for j in range(count):
            status = check_advance(core, self.rows[j].slot, num_tokens[j])
            if status:
                return refuse_at(core, status, j)
        for j in range(count):
            append_token(core, self.rows[j].slot, tokens[j])
            mark_row(core, self.rows[j].slot, num_tokens[j])
        return STATUS_OK

    def rollback(self, int64_t request, int32_t num_tokens, *, last_step=None):
        """Take back the last planned tokens; `last_step` may still write to their blocks."""
        cdef PlanRow row
        check(
            self, self.rollback_batch(&request, &num_tokens, 1, &row, step_number(self, last_step))
        )

    def rollback_many(
        self, const int64_t[::1] requests not None, const int32_t[::1] num_tokens not None, *,
        last_step=None,
    ):
        """`rollback` for each request, all or none: a step has failed."""
        cdef int64_t count = requests.shape[0]
        cdef int64_t step = step_number(self, last_step)
        if batch(self, count, num_tokens.shape[0]):
            check(
            self, self.rollback_batch(&requests[0], &num_tokens[0], count, self.rows, step)
            )

    cdef int rollback_batch(
        self, const int64_t* requests, const int32_t* num_tokens, int64_t count, PlanRow* rows,
        int64_t last_step,
    ) noexcept nogil:
        cdef int64_t j
        cdef int status = find_batch(&self.core, requests, count, rows)
        if status:
            return status
        for j in range(count):
            status = check_rollback(&self.core, rows[j].slot, num_tokens[j])
            if status:
                return refuse_at(&self.core, status, j)
        for j in range(count):
            status = roll_back(&self.core, rows[j].slot, num_tokens[j], last_step)
            if status:
                return refuse_at(&self.core, status, j)
        return STATUS_OK

    def complete(self, int64_t step):
        """Steps up to `step` have reported: release the blocks that waited for them."""
        if step < self.core.completed_step:
            raise StepError("step", step, self.core.completed_step)
        complete_step(&self.core, step)

    def preempt(self, int64_t request, *, last_step=None):
        """Give up a request's blocks, to recompute; its tokens stay, full blocks stay cached."""
        cdef int32_t slot = request_slot(self, request)
        check(self, drop_blocks(&self.core, slot, step_number(self, last_step)))
        self.core.counters.preemptions += 1

    def free(self, int64_t request, *, last_step=None):
        """End a request. `last_step`, if any, is the last that may still touch its blocks."""
        cdef PlanRow row
        check(self, self.free_batch(&request, 1, &row, step_number(self, last_step)))

    def free_many(self, const int64_t[::1] requests not None, *, last_step=None):
        """`free` each request."""
        cdef int64_t count = requests.shape[0]
        cdef int64_t step = step_number(self, last_step)
        if batch(self, count, count):
            check(self, self.free_batch(&requests[0], count, self.rows, step))

    cdef int free_batch(
        self, const int64_t* requests, int64_t count, PlanRow* rows, int64_t last_step
    ) noexcept nogil:
        cdef int64_t j
        cdef int status = find_batch(&self.core, requests, count, rows)
        if status:
            return status
        for j in range(count):
            status = drop_blocks(&self.core, rows[j].slot, last_step)
            if status:
                return refuse_at(&self.core, status, j)
            close_request(&self.core, rows[j].slot)
        return STATUS_OK

    # Fork, swap, demote, pin, reset

    def fork(self, int64_t request, int64_t num_children, *, int64_t step, owner=None):
        """Children with the request's tokens and computed blocks, copying in plan `step`."""
        cdef int32_t slot = request_slot(self, request)
        cdef int32_t holder = self.core.requests[slot].owner
        cdef int64_t before = self.core.counters.fork_copies
        cdef int64_t j
        cdef int64_t[::1] handles
        cdef int32_t[:, ::1] pairs
        if owner is not None:
            holder = owner_slot(self, owner)
        check(self, check_fork(&self.core, slot, holder, num_children, step))
        children = np.empty(num_children, np.int64)
        copies = np.empty((num_children, 2), np.int32)
        handles = children
        pairs = copies
        for j in range(num_children):
            handles[j] = request_handle(
                &self.core, fork_child(&self.core, slot, holder, step, &pairs[j, 0])
            )
        return Fork(children, copies[:self.core.counters.fork_copies - before])

    def swap_out(self, int64_t request, *, int64_t step):
        """Move a request's blocks to the host; returns (device, host) copies for plan `step`."""
        return swap(self, request, HOST, step)

    def swap_in(self, int64_t request, *, int64_t step):
        """Move a request's blocks to the device; returns (host, device) copies for plan `step`."""
        return swap(self, request, DEVICE, step)

    def demote(self, int64_t pin, *, step):
        """Release a pin and keep its content on the host; returns (device, host) copies for `step`.

        Both stay cached, found again as long as nobody needs the room: on the device by any plan,
        on the host by `promote`. A refused call keeps the pin.
        """
        cdef int32_t slot = find_pin(&self.core, pin)
        cdef int64_t num_copies = 0
        cdef int32_t[:, ::1] pairs
        if slot == NONE:
            raise UnknownPinError("pin", pin)
        copies = np.empty((self.core.holdings[slot].num_blocks + 1, 2), np.int32)
        pairs = copies
        check(self, demote_pin(&self.core, slot, pin, step, &pairs[0, 0], &num_copies))
        return copies[:num_copies]

    def demoted(self, int64_t request):
        """Blocks of a request without blocks that `promote` would bring from the host."""
        return count_demoted(&self.core, request_slot(self, request))

    def promote(self, int64_t request, *, step):
        """Give a request its cached prefix and what follows it on the host, computed both.

        Returns (host, device) copies for plan `step`. Where nothing follows on the host, or the
        request holds blocks, nothing is done.
        """
        cdef int32_t slot = request_slot(self, request)
        cdef int64_t num_copies = 0
        cdef int32_t[:, ::1] pairs
        copies = np.empty((count_demoted(&self.core, slot) + 1, 2), np.int32)
        pairs = copies
        check(self, promote_prefix(&self.core, slot, step, &pairs[0, 0], &num_copies))
        return copies[:num_copies]

    def pin(self, int64_t request, *, until_ns=None):
        """Keep a request's full computed blocks, past its end too, until unpinned or that time."""
        cdef int64_t handle = 0
        cdef int32_t slot = request_slot(self, request)
        cdef int64_t until = NEVER if until_ns is None else until_ns
        check(self, make_pin(&self.core, slot, until, &handle))
        return handle

    def unpin(self, int64_t pin):
        """Release a pin."""
        cdef int32_t slot = find_pin(&self.core, pin)
        if slot == NONE:
            raise UnknownPinError("pin", pin)
        release_holding(&self.core, slot)

    def expire_pins(self, int64_t now_ns):
        """Release the pins whose time has come; returns how many."""
        return expire(&self.core, now_ns)

    def evict_first(self, const int32_t[::1] blocks not None, *, tier=Tier.DEVICE):
        """Let cached blocks be evicted before all others, in this order; returns how many.

        blocks: numbers within the tier; those that are not cached (held or free) are passed over.
        The door of eviction policies: decided off the path, written in one batch. A block used
        again leaves the place it was given here; without this call the order is LRU.
        Cost: O(blocks given).
        """
        cdef int where = Tier(tier)
        cdef int64_t size = self.core.pools[where].size
        cdef int64_t count = blocks.shape[0]
        cdef int64_t i
        for i in range(count):
            if not 0 <= blocks[i] < size:
                raise CountError("block", blocks[i], size - 1, 0, i)
        # SAFETY: each number is one of the tier's; an empty array is not indexed.
        return put_first(&self.core, where, &blocks[0], count) if count else 0

    def reset(self, tier):
        """Void a tier: its blocks, prefixes and pins. Requests stay, to be computed again."""
        cdef int where = Tier(tier)
        reset_tier(&self.core, where)

    # Reports

    def available(self, tier=Tier.DEVICE):
        """Blocks that could be taken now: free, or cached and held by nobody. Floors not counted."""
        # Asked for with every request that is admitted; making an enum member costs a microsecond.
        cdef int which = DEVICE if tier is _DEVICE else <int>Tier(tier)
        return pool_available(&self.core.pools[which])

    def account(self, int64_t owner, tier=Tier.DEVICE):
        """What an owner holds in a tier, exact now."""
        return account_of(self, owner_slot(self, owner), Tier(tier))

    def equal_shares(self, tier=Tier.DEVICE):
        """By owner: held blocks, each divided by its number of holders. O(capacity)."""
        cdef Pool* pool = &self.core.pools[<int>Tier(tier)]
        cdef double[::1] shares = np.zeros(self.core.ledger.num_slots + 1)
        cdef int32_t slot
        add_shares(
            &self.core.ledger, self.core.blocks, pool.base, pool.base + pool.size, &shares[0]
        )
        return {
            owner_handle(&self.core, slot): shares[slot]
            for slot in range(self.core.ledger.num_slots)
            if self.core.ledger.owners[slot].is_open or shares[slot]
        }

    def statistics(self):
        """Counters since creation and occupancy now."""
        cdef Counters* count = &self.core.counters
        cdef int32_t slot
        owners = {
            owner_handle(&self.core, slot): (
                account_of(self, slot, DEVICE), account_of(self, slot, HOST)
            )
            for slot in range(self.core.ledger.num_slots)
            if self.core.ledger.owners[slot].is_open
        }
        return Statistics(
            count.lookup_tokens, count.hit_tokens, count.hit_blocks, count.miss_blocks,
            count.fork_copies, count.swap_out_copies, count.swap_in_copies, count.demote_copies,
            count.promote_copies, count.preemptions,
            self.core.num_open, self.core.counts[PIN], self.core.counts[RETIRED],
            self.core.prefix.num_nodes, occupancy(self, DEVICE), occupancy(self, HOST), owners,
        )

    def check_integrity(self):
        """Recount everything; raises IntegrityError naming the broken invariant. O(everything)."""
        cdef int fault = audit(&self.core)
        if fault == AUDIT_NO_MEMORY:
            raise MemoryError("no memory for the recount")
        if fault:
            raise IntegrityError(fault)

    # From statuses to errors

    cdef int raise_refusal(self, int status) except -1:
        cdef Refusal* at = &self.core.refusal
        if status == UNKNOWN_REQUEST:
            raise UnknownRequestError("request", at.handle, at.index)
        if status == REPEATED_REQUEST:
            raise RepeatedRequestError(at.handle, at.index)
        if status == BAD_COUNT:
            raise CountError(
                "number of tokens or children", at.needed, at.limit, at.handle, at.index
            )
        if status == TOO_LONG:
            raise RequestTooLongError(
                "tokens of a request", at.needed, at.limit, at.handle, at.index
            )
        if status == BAD_STEP:
            raise StepError("step", at.needed, at.limit, at.handle, at.index)
        if status == TOO_MANY_REQUESTS:
            raise TooManyRequestsError(at.needed, at.available, at.limit)
        if status == WRONG_TIER:
            raise WrongTierError(at.handle, at.index)
        if status == NO_MEMORY:
            raise MemoryError("the allocator's own tables cannot grow")
        raise (QuotaExceededError if status == OVER_QUOTA else OutOfBlocksError)(
            request=at.handle, index=at.index, owner=at.owner, tier=at.tier, needed=at.needed,
            available=at.available, reserved=at.reserved, limit=at.limit,
        )
