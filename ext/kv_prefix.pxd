"""Prefix nodes: the exact identity of each full block's content, inline and `nogil`.

A node stands for (parent node, token ids, extra key). Equal content has one node, whoever holds
it: `prefix_intern` finds candidates by digest and compares all three, so two contents never share
a node even if their digests collide. A node also says which block of each tier holds its computed
KV, if any, and how many requests have planned it; so the longest cached prefix of a request is a
walk over its own nodes, without hashing again.

A node lives while a request ends in it, a published block has its content or a child node refers to
it; children keep parents, so a parent's number is never reused under a living child, and a request
refers to the last node of its chain only.
Cost: hashing, one bucket and one comparison per full block, once, when its tokens arrive.
Memory: 48 bytes + 4 a token + at most 16 bytes of table for each distinct block.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from ext.kv_hash cimport Digest, HashKey, hash_block, kv_prefetch, root_digest
from ext.kv_pool cimport DEVICE, HOST, NONE, NUM_TIERS

cdef struct Node:                 # what steps read and write: four to a cache line
    int32_t block[NUM_TIERS]      # computed block with this content, or NONE
    int32_t num_planners          # requests that have planned all of it and not yet computed it
    int32_t ref_count             # requests that end in it + published blocks + child nodes

cdef struct NodeKey:              # what makes it this content, with its tokens
    Digest digest
    int64_t extra_key
    int32_t parent                # node, NONE for a first block; next free node when free
    int32_t next                  # in the bucket

cdef struct PrefixTable:
    Node* nodes
    NodeKey* keys
    int32_t* tokens               # block_size a node
    int32_t capacity
    int32_t num_used              # nodes ever used
    int32_t free_head
    int32_t num_nodes             # living nodes
    int32_t* buckets              # first node of each, or NONE
    uint64_t mask                 # number of buckets - 1
    int32_t block_size
    Digest digest_mask
    HashKey key


cdef inline bint prefix_grow_nodes(PrefixTable* table, int64_t wanted) noexcept nogil:
    cdef int64_t capacity = max(<int64_t>table.capacity * 2, <int64_t>256)
    cdef void* grown
    while capacity < wanted:
        capacity *= 2
    capacity = min(capacity, <int64_t>0x7FFFFFFF)
    if capacity < wanted:
        return False
    grown = realloc(table.nodes, <size_t>capacity * sizeof(Node))
    if grown == NULL:
        return False
    table.nodes = <Node*>grown
    grown = realloc(table.keys, <size_t>capacity * sizeof(NodeKey))
    if grown == NULL:
        return False
    table.keys = <NodeKey*>grown
    grown = realloc(
        table.tokens, <size_t>capacity * <size_t>table.block_size * sizeof(int32_t)
    )
    if grown == NULL:
        return False
    table.tokens = <int32_t*>grown
    table.capacity = <int32_t>capacity
    return True


cdef inline int32_t* prefix_bucket(const PrefixTable* table, const Digest* digest) noexcept nogil:
    return &table.buckets[digest.low & table.mask]


cdef inline void prefix_link(PrefixTable* table, int32_t node) noexcept nogil:
    cdef int32_t* bucket = prefix_bucket(table, &table.keys[node].digest)
    table.keys[node].next = bucket[0]
    bucket[0] = node


cdef inline bint prefix_grow_buckets(PrefixTable* table, uint64_t wanted) noexcept nogil:
    cdef uint64_t size = 512
    cdef int32_t* old = table.buckets
    cdef uint64_t old_mask = table.mask
    cdef uint64_t i
    cdef int32_t node, after
    while size < wanted:
        size *= 2
    table.buckets = <int32_t*>malloc(size * sizeof(int32_t))
    if table.buckets == NULL:
        table.buckets = old
        return False
    memset(table.buckets, 0xFF, size * sizeof(int32_t))
    table.mask = size - 1
    if old != NULL:
        for i in range(old_mask + 1):
            node = old[i]
            while node != NONE:
                after = table.keys[node].next
                prefix_link(table, node)
                node = after
        free(old)
    return True


cdef inline bint prefix_reserve(PrefixTable* table, int64_t extra) noexcept nogil:
    """Room for `extra` more nodes. False: out of memory, no node changed."""
    cdef int64_t wanted = <int64_t>table.num_nodes + extra
    if wanted > table.capacity and not prefix_grow_nodes(table, wanted):
        return False
    if table.buckets == NULL or <uint64_t>wanted * 2 > table.mask + 1:
        return prefix_grow_buckets(table, <uint64_t>wanted * 2)
    return True


cdef inline Digest prefix_digest(
    const PrefixTable* table, Digest parent, const int32_t* tokens
) noexcept nogil:
    cdef Digest digest = hash_block(&table.key, parent, tokens, table.block_size)
    digest.low &= table.digest_mask.low
    digest.high &= table.digest_mask.high
    return digest


cdef inline Digest prefix_parent_digest(
    const PrefixTable* table, int32_t parent, int64_t extra_key
) noexcept nogil:
    if parent == NONE:
        return root_digest(&table.key, extra_key)
    return table.keys[parent].digest


cdef inline bint node_is(
    const PrefixTable* table, int32_t node, const Digest* digest, int32_t parent,
    int64_t extra_key, const int32_t* tokens
) noexcept nogil:
    """Whether a node is exactly this content."""
    cdef const NodeKey* known = &table.keys[node]
    cdef size_t size = <size_t>table.block_size
    return (
        known.digest.low == digest.low and known.digest.high == digest.high
        and known.parent == parent and known.extra_key == extra_key
        and memcmp(table.tokens + node * size, tokens, size * sizeof(int32_t)) == 0
    )


cdef inline int32_t prefix_take_node(PrefixTable* table) noexcept nogil:
    cdef int32_t node = table.free_head
    table.num_nodes += 1
    if node != NONE:
        table.free_head = table.keys[node].parent
        return node
    table.num_used += 1
    return table.num_used - 1


cdef inline int32_t prefix_intern_as(
    PrefixTable* table, const Digest* digest, int32_t parent, int64_t extra_key,
    const int32_t* tokens
) noexcept nogil:
    """The node of this content, made if there is none. Room for it was reserved.

    A new node keeps its parent and is kept by nobody: the caller refers to it or to a child of it.
    """
    cdef size_t size = <size_t>table.block_size
    cdef int32_t node = prefix_bucket(table, digest)[0]
    cdef Node* fresh
    while node != NONE:
        if node_is(table, node, digest, parent, extra_key, tokens):
            return node
        node = table.keys[node].next
    node = prefix_take_node(table)
    fresh = &table.nodes[node]
    fresh.ref_count = 0
    fresh.block[DEVICE] = NONE
    fresh.block[HOST] = NONE
    fresh.num_planners = 0
    table.keys[node].digest = digest[0]
    table.keys[node].extra_key = extra_key
    table.keys[node].parent = parent
    prefix_link(table, node)
    memcpy(table.tokens + node * size, tokens, size * sizeof(int32_t))
    if parent != NONE:
        table.nodes[parent].ref_count += 1
    return node


cdef enum:
    GROUP = 16               # digests computed ahead, so that table probes overlap hashing


cdef inline void prefix_intern_chain(
    PrefixTable* table, int32_t parent, int64_t extra_key, const int32_t* tokens,
    int32_t num_blocks, int32_t* chain
) noexcept nogil:
    """Intern consecutive full blocks below `parent` into `chain`. Room was reserved."""
    cdef Digest digests[GROUP]
    cdef Digest digest = prefix_parent_digest(table, parent, extra_key)
    cdef int32_t done = 0
    cdef int32_t group, i
    cdef size_t size = <size_t>table.block_size
    while done < num_blocks:
        group = min(num_blocks - done, <int32_t>GROUP)
        for i in range(group):
            digest = prefix_digest(table, digest, tokens + (done + i) * size)
            digests[i] = digest
            kv_prefetch(prefix_bucket(table, &digest))
        for i in range(group):
            parent = prefix_intern_as(
                table, &digests[i], parent, extra_key, tokens + (done + i) * size
            )
            chain[done + i] = parent
        done += group


cdef inline void prefix_unlink(PrefixTable* table, int32_t node) noexcept nogil:
    """Take a node out of its bucket."""
    cdef int32_t* link = prefix_bucket(table, &table.keys[node].digest)
    while link[0] != node:
        link = &table.keys[link[0]].next
    link[0] = table.keys[node].next


cdef inline void prefix_expect_release(const PrefixTable* table, int32_t node) noexcept nogil:
    """Ask for the bucket that releasing this node may change."""
    kv_prefetch(prefix_bucket(table, &table.keys[node].digest))


cdef inline void prefix_release(PrefixTable* table, int32_t node) noexcept nogil:
    """Give back one reference; a node nobody refers to goes, and lets go of its parent."""
    cdef int32_t parent
    while node != NONE:
        table.nodes[node].ref_count -= 1
        if table.nodes[node].ref_count:
            return
        prefix_unlink(table, node)
        parent = table.keys[node].parent
        table.keys[node].parent = table.free_head
        table.free_head = node
        table.num_nodes -= 1
        node = parent
