/* Attention over paged keys and values: what one call is told, and the passes over it.
 *
 * The arithmetic is in paged_attention_lanes.h, compiled once for each vector width of the
 * processor family; attend_run below picks one, once the call's blocks allow its width.
 *
 * A call has two phases. First every token's key and value go into the pool; then each work
 * item (query tile, key head) attends. Threads take items from an atomic counter, so that long
 * and short sequences balance; the second phase waits until the first is done everywhere.
 *
 * Layout of the pool, so that both products run along contiguous lanes:
 *   keys    [block][kv head][head_dim][block_size]      one row holds one dimension of all tokens
 *   values  [block][kv head][block_size][value_stride]  value_stride: value_dim up to a multiple
 *                                                       of 16, the rest zero
 *
 * Sums run over the lanes in a fixed order: a result depends neither on the number of threads
 * nor on what else is in the batch.
 */
#ifndef LLMOS_PAGED_ATTENTION_H
#define LLMOS_PAGED_ATTENTION_H

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>

enum { ATTEND_F32 = 0, ATTEND_BF16 = 1, ATTEND_F16 = 2 };

enum {
    ATTEND_CHUNK = 128,     /* tokens whose scores are held at once, if a block is not longer */
    ATTEND_ROWS = 32,       /* (position, head) rows that share a pass over keys and values */
    ATTEND_MAX_THREADS = 256
};

typedef struct {
    /* this layer, this step; strides in elements, the last dimension is contiguous */
    const char *query, *key, *value;
    char *out;                       /* [token][head][value_dim] */
    char *key_pool, *value_pool;
    int64_t query_head, query_token, key_head, key_token, value_head, value_token;
    const float *sinks;              /* one a head, or NULL */
    float scale, softcap;            /* softcap 0: none */
    int32_t window;                  /* tokens seen, the own one included; 0: all */
    int32_t num_heads, num_kv_heads, head_dim, value_dim, value_stride, block_size, dtype;
    /* the batch, the same for all layers */
    const int32_t *starts;           /* [sequence + 1] first token of each in the packed rows */
    const int32_t *lengths;          /* [sequence] tokens in the cache after this step */
    const int32_t *tables;           /* [sequence][table_stride] blocks */
    const int32_t *tiles;            /* [tile][3] sequence, first of its rows, how many */
    int64_t table_stride;
    int32_t num_tiles;
    /* work */
    float *scratch;                  /* [thread][scratch_floats] */
    int64_t scratch_floats;
    int32_t num_threads;
    int32_t next_thread, next_store, num_stored, next_item;
} Attend;

typedef void (*AttendTeam)(void (*work)(void *), void *data, unsigned threads, unsigned flags);

static inline int32_t attend_chunk(const Attend *a) {
    return a->block_size >= ATTEND_CHUNK ? a->block_size
                                         : ATTEND_CHUNK / a->block_size * a->block_size;
}

/* Floats of scratch that one thread needs: rows' queries and sums, scores, converted blocks. */
static inline int64_t attend_scratch(int32_t head_dim, int32_t value_stride, int32_t block_size) {
    int64_t chunk = block_size >= ATTEND_CHUNK ? block_size : ATTEND_CHUNK;
    int64_t row = head_dim + value_stride + chunk + 4;
    return ATTEND_ROWS * row + chunk * (head_dim + value_stride) + 64;
}

static inline float attend_bf16(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline uint16_t attend_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40);                /* NaN stays NaN */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

/* Keys and values of one tile's tokens go to their blocks. */
static void attend_store(const Attend *a, const int32_t *tile) {
    const int32_t sequence = tile[0];
    const int32_t rows = a->starts[sequence + 1] - a->starts[sequence];
    const int32_t *table = a->tables + sequence * a->table_stride;
    const int64_t size = a->dtype == ATTEND_F32 ? 4 : 2;
    for (int32_t i = 0; i < tile[2]; i++) {
        const int64_t token = a->starts[sequence] + tile[1] + i;
        const int64_t position = (int64_t)a->lengths[sequence] - rows + tile[1] + i;
        const int64_t block = table[position / a->block_size], at = position % a->block_size;
        for (int32_t head = 0; head < a->num_kv_heads; head++) {
            const int64_t page = block * a->num_kv_heads + head;
            const char *key = a->key + (head * a->key_head + token * a->key_token) * size;
            const char *value = a->value + (head * a->value_head + token * a->value_token) * size;
            char *keys = a->key_pool + (page * a->head_dim * a->block_size + at) * size;
            char *values =
                a->value_pool + (page * a->block_size + at) * a->value_stride * size;
            if (size == 4)
                for (int32_t d = 0; d < a->head_dim; d++)
                    ((float *)keys)[(int64_t)d * a->block_size] = ((const float *)key)[d];
            else
                for (int32_t d = 0; d < a->head_dim; d++)
                    ((uint16_t *)keys)[(int64_t)d * a->block_size] = ((const uint16_t *)key)[d];
            memcpy(values, value, a->value_dim * size);
        }
    }
}

#define LANES 4
#define NAME(x) x##_4
#define TARGET
#include "paged_attention_lanes.h"
#undef LANES
#undef NAME
#undef TARGET

#if defined(__x86_64__)
#define LANES 8
#define NAME(x) x##_8
#define TARGET __attribute__((target("avx2,fma,f16c")))
#include "paged_attention_lanes.h"
#undef LANES
#undef NAME
#undef TARGET

#define LANES 16
#define NAME(x) x##_16
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#include "paged_attention_lanes.h"
#undef LANES
#undef NAME
#undef TARGET
#endif

/* Widest vectors of this processor, in floats. */
static int attend_lanes(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("f16c"))
        return 16;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
        && __builtin_cpu_supports("f16c"))
        return 8;
#endif
    return 4;
}

/* Without a team of somebody else's: threads of our own, for this call. */
static void attend_own_team(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
    pthread_t others[ATTEND_MAX_THREADS];
    unsigned started = 0;
    (void)flags;
    while (started + 1 < threads
           && pthread_create(&others[started], NULL, (void *(*)(void *))work, data) == 0)
        started++;
    work(data);
    for (unsigned i = 0; i < started; i++)
        pthread_join(others[i], NULL);
}

/* lanes: at most attend_lanes(), and block_size is a multiple of it. */
static void attend_run(Attend *a, int lanes, AttendTeam team) {
    void (*work)(void *) = attend_work_4;
#if defined(__x86_64__)
    if (lanes == 16)
        work = attend_work_16;
    else if (lanes == 8)
        work = attend_work_8;
#endif
    if (a->num_threads <= 1)
        work(a);
    else
        (team ? team : attend_own_team)(work, a, (unsigned)a->num_threads, 0);
}

#endif
