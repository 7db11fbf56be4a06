"""Keyed 128-bit chained hash of one block of token ids, inline and `nogil`.

A block's digest covers (parent digest, token ids); the first block's parent is the digest of
the extra key, so chains of different models, adapters or trust domains never meet. The digest
only finds candidates: kv_prefix.pxd compares parent, extra key and token ids, so its strength
guards speed (nobody without the key can aim at one bucket), never correctness.

Method: folded 64x64 multiplication of keyed words (as in wyhash and XXH3), two independent
lanes of 64 bits. The parent enters only at the end of a block, so that the multiplications of
the next block need not wait for this one.
Cost: 8 multiplications for each 16 tokens; `hash_mtok_s` of bench/kv_cache.py.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from * nogil:
    """
    #include <stdint.h>
    static inline uint64_t kv_fold(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    /* The empty asm keeps gcc from dropping calls of a function that does nothing but prefetch. */
    #define kv_prefetch(address) do { __builtin_prefetch(address); __asm__ volatile(""); } while (0)
    """
    uint64_t kv_fold(uint64_t a, uint64_t b)
    void kv_prefetch(const void* address)

cdef enum:
    NUM_KEY_WORDS = 18
    STRIPE_TOKENS = 16           # 64 bytes, one round of the hash

cdef struct Digest:
    uint64_t low
    uint64_t high

cdef struct HashKey:
    uint64_t words[NUM_KEY_WORDS]


cdef inline void expand_key(HashKey* key, uint64_t low, uint64_t high) noexcept nogil:
    """Derive all key words from 128 secret bits (splitmix64 steps)."""
    cdef uint64_t state = low
    cdef uint64_t word
    cdef int i
    for i in range(NUM_KEY_WORDS):
        state = (state ^ high) + <uint64_t>0x9E3779B97F4A7C15ULL
        word = (state ^ (state >> 30)) * <uint64_t>0xBF58476D1CE4E5B9ULL
        word = (word ^ (word >> 27)) * <uint64_t>0x94D049BB133111EBULL
        key.words[i] = word ^ (word >> 31)


cdef inline Digest root_digest(const HashKey* key, int64_t extra_key) noexcept nogil:
    """The parent of a chain's first block."""
    cdef Digest root
    root.low = kv_fold(<uint64_t>extra_key ^ key.words[14], key.words[15])
    root.high = kv_fold(<uint64_t>extra_key ^ key.words[16], key.words[17])
    return root


cdef inline void hash_stripe(const HashKey* key, const uint64_t* w, Digest* lanes) noexcept nogil:
    """Mix 8 words into both lanes; the lanes pair the words differently."""
    cdef const uint64_t* k = <const uint64_t*>key.words
    lanes.low = (
        kv_fold(w[0] ^ k[0], w[1] ^ lanes.low) ^ kv_fold(w[2] ^ k[1], w[3] ^ k[2])
        ^ kv_fold(w[4] ^ k[3], w[5] ^ k[4]) ^ kv_fold(w[6] ^ k[5], w[7] ^ k[6])
    )
    lanes.high = (
        kv_fold(w[0] ^ k[7], w[4] ^ lanes.high) ^ kv_fold(w[1] ^ k[8], w[5] ^ k[9])
        ^ kv_fold(w[2] ^ k[10], w[6] ^ k[11]) ^ kv_fold(w[3] ^ k[12], w[7] ^ k[13])
    )


cdef inline Digest hash_block(
    const HashKey* key, Digest parent, const int32_t* tokens, int32_t num_tokens
) noexcept nogil:
    """Digest of a full block. Every block of one cache has the same length, so padding is safe."""
    cdef uint64_t words[8]
    cdef Digest lanes
    cdef Digest result
    cdef int32_t at = 0
    lanes.low = key.words[15]
    lanes.high = key.words[17]
    while num_tokens - at >= STRIPE_TOKENS:
        memcpy(words, tokens + at, sizeof(words))
        hash_stripe(key, words, &lanes)
        at += STRIPE_TOKENS
    if at < num_tokens:
        memset(words, 0, sizeof(words))
        memcpy(words, tokens + at, <size_t>(num_tokens - at) * sizeof(int32_t))
        hash_stripe(key, words, &lanes)
    result.low = kv_fold(lanes.low ^ parent.low, lanes.high ^ key.words[14]) ^ lanes.high
    result.high = kv_fold(lanes.high ^ parent.high, lanes.low ^ key.words[16]) ^ lanes.low
    return result
