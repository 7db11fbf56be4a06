/* The arithmetic of paged_attention.h for vectors of LANES floats; included once a width.
 *
 * LANES, NAME(x) and TARGET are the includer's. Scores of a chunk of tokens are computed for up
 * to ATTEND_ROWS rows, then the softmax goes on from the chunk before (a running maximum and
 * sum per row), then the values are added: Milakov and Gimelshein 2018, "Online normalizer
 * calculation for softmax"; tiles as in Dao et al. 2022, "FlashAttention".
 */

typedef float NAME(Vector) __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t NAME(Bits) __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
#define VECTOR NAME(Vector)
#define BITS NAME(Bits)
#define INLINE TARGET static inline __attribute__((always_inline))
#define LOAD(p) (*(const VECTOR *)(p))
#define STORE(p, v) (*(VECTOR *)(p) = (v))

/* One broadcast; assigned lane by lane, gcc makes as many masked moves. x - 0 is x. */
INLINE VECTOR NAME(splat)(float x) {
    return x - (VECTOR){0};
}

INLINE VECTOR NAME(choose)(BITS mask, VECTOR yes, VECTOR no) {
    return (VECTOR)((mask & (BITS)yes) | (~mask & (BITS)no));
}

/* exp, within 2 units in the last place; below -87 it is that of -87, above 88 that of 88.
 * Source: Cephes expf (argument reduction by ln 2 in two parts, polynomial of degree 5). */
INLINE VECTOR NAME(exponential)(VECTOR x) {
    const VECTOR low = NAME(splat)(-87.0f), high = NAME(splat)(88.0f);
    const VECTOR shift = NAME(splat)(12582912.0f);            /* rounds to an integer */
    x = NAME(choose)(x < low, low, x);                        /* NaN stays NaN */
    x = NAME(choose)(x > high, high, x);
    VECTOR t = x * NAME(splat)(1.44269504f) + shift;
    BITS power = ((BITS)t - 0x4b400000 + 127) << 23;
    VECTOR n = t - shift;
    VECTOR r = x - n * NAME(splat)(0.693359375f) - n * NAME(splat)(-2.12194440e-4f);
    VECTOR y = NAME(splat)(1.9875691500e-4f);
    y = y * r + NAME(splat)(1.3981999507e-3f);
    y = y * r + NAME(splat)(8.3334519073e-3f);
    y = y * r + NAME(splat)(4.1665795894e-2f);
    y = y * r + NAME(splat)(1.6666665459e-1f);
    y = y * r + NAME(splat)(5.0000001201e-1f);
    y = y * r * r + r + NAME(splat)(1.0f);
    return y * (VECTOR)power;
}

TARGET static void NAME(widen)(float *to, const char *from, int64_t count, int32_t dtype) {
    const uint16_t *halves = (const uint16_t *)from;
    if (dtype == ATTEND_BF16)
        for (int64_t i = 0; i < count; i++)
            to[i] = attend_bf16(halves[i]);
    else
        for (int64_t i = 0; i < count; i++)
            to[i] = (float)((const _Float16 *)from)[i];
}

/* scores[row][token] = query[row] . key[token], for R rows and B blocks of keys. */
#define SCORES(R, B)                                                                            \
    INLINE void NAME(scores_##R##_##B)(const float *query, int64_t dim, const float *const *keys, \
                                       int64_t block_size, float *scores, int64_t stride) {     \
        for (int64_t t = 0; t < block_size; t += LANES) {                                       \
            VECTOR sum[R][B];                                                                   \
            for (int r = 0; r < R; r++)                                                         \
                for (int b = 0; b < B; b++)                                                     \
                    sum[r][b] = NAME(splat)(0.0f);                                              \
            for (int64_t d = 0; d < dim; d++) {                                                 \
                VECTOR key[B];                                                                  \
                for (int b = 0; b < B; b++)                                                     \
                    key[b] = LOAD(keys[b] + d * block_size + t);                                \
                for (int r = 0; r < R; r++) {                                                   \
                    VECTOR q = NAME(splat)(query[r * dim + d]);                                 \
                    for (int b = 0; b < B; b++)                                                 \
                        sum[r][b] += q * key[b];                                                \
                }                                                                               \
            }                                                                                   \
            for (int r = 0; r < R; r++)                                                         \
                for (int b = 0; b < B; b++)                                                     \
                    STORE(scores + r * stride + b * block_size + t, sum[r][b]);                 \
        }                                                                                       \
    }
SCORES(1, 1)
SCORES(2, 1)
SCORES(4, 1)
SCORES(1, 4)
SCORES(2, 4)
SCORES(4, 2)

#define SCORES_OF(R, B)                                                                         \
    for (; b + B <= blocks; b += B)                                                             \
        NAME(scores_##R##_##B)(query + r * dim, dim, keys + b, block_size,                      \
                               scores + r * stride + b * block_size, stride);

TARGET static void NAME(scores)(const float *query, int64_t rows, int64_t dim,
                                const float *const *keys, int64_t blocks, int64_t block_size,
                                float *scores, int64_t stride) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
        int64_t b = 0;
        SCORES_OF(4, 2)
        SCORES_OF(4, 1)
    }
    for (; r + 2 <= rows; r += 2) {
        int64_t b = 0;
        SCORES_OF(2, 4)
        SCORES_OF(2, 1)
    }
    for (; r < rows; r++) {
        int64_t b = 0;
        SCORES_OF(1, 4)
        SCORES_OF(1, 1)
    }
}

/* sums[row] += weights[row][token] * value[token], for R rows and C vectors from a column on. */
#define VALUES(R, C)                                                                            \
    INLINE void NAME(values_##R##_##C)(const float *weights, int64_t stride,                    \
                                       const float *const *values, int64_t first, int64_t last, \
                                       int64_t block_size, int64_t width, int64_t column,       \
                                       float *sums) {                                           \
        VECTOR sum[R][C];                                                                       \
        for (int r = 0; r < R; r++)                                                             \
            for (int c = 0; c < C; c++)                                                         \
                sum[r][c] = LOAD(sums + r * width + column + c * LANES);                        \
        for (int64_t block = first / block_size; block * block_size < last; block++) {          \
            const int64_t base = block * block_size;                                            \
            const int64_t from = first > base ? first - base : 0;                               \
            const int64_t to = last - base < block_size ? last - base : block_size;             \
            for (int64_t t = from; t < to; t++) {                                               \
                VECTOR value[C];                                                                \
                for (int c = 0; c < C; c++)                                                     \
                    value[c] = LOAD(values[block] + t * width + column + c * LANES);            \
                for (int r = 0; r < R; r++) {                                                   \
                    VECTOR weight = NAME(splat)(weights[r * stride + base + t]);                \
                    for (int c = 0; c < C; c++)                                                 \
                        sum[r][c] += weight * value[c];                                         \
                }                                                                               \
            }                                                                                   \
        }                                                                                       \
        for (int r = 0; r < R; r++)                                                             \
            for (int c = 0; c < C; c++)                                                         \
                STORE(sums + r * width + column + c * LANES, sum[r][c]);                        \
    }
VALUES(1, 1)
VALUES(1, 4)
VALUES(2, 1)
VALUES(2, 4)
VALUES(4, 1)
VALUES(4, 2)

#define VALUES_OF(R, C)                                                                         \
    for (; column + C * LANES <= width; column += C * LANES)                                    \
        NAME(values_##R##_##C)(weights + r * stride, stride, values, first, last, block_size,   \
                               width, column, sums + r * width);

TARGET static void NAME(values)(const float *weights, int64_t stride, int64_t rows,
                                const float *const *values, int64_t first, int64_t last,
                                int64_t block_size, int64_t width, float *sums) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
        int64_t column = 0;
        VALUES_OF(4, 2)
        VALUES_OF(4, 1)
    }
    for (; r + 2 <= rows; r += 2) {
        int64_t column = 0;
        VALUES_OF(2, 4)
        VALUES_OF(2, 1)
    }
    for (; r < rows; r++) {
        int64_t column = 0;
        VALUES_OF(1, 4)
        VALUES_OF(1, 1)
    }
}

/* One row's softmax over the chunk's tokens [low, high), going on from what it has seen. */
TARGET static void NAME(softmax)(float *scores, int64_t tokens, int64_t low, int64_t high,
                                 float softcap, float *peak, float *total, float *sums,
                                 int64_t width) {
    if (low >= high) {
        memset(scores, 0, tokens * sizeof(float));
        return;
    }
    if (softcap > 0) {
        const VECTOR one = NAME(splat)(1.0f), two = NAME(splat)(2.0f), cap = NAME(splat)(softcap);
        for (int64_t t = 0; t < tokens; t += LANES) {
            VECTOR e = NAME(exponential)(LOAD(scores + t) / cap * two);
            STORE(scores + t, cap * (one - two / (e + one)));
        }
    }
    for (int64_t t = 0; t < low; t++)
        scores[t] = -3e38f;
    for (int64_t t = high; t < tokens; t++)
        scores[t] = -3e38f;
    VECTOR best = LOAD(scores);
    for (int64_t t = LANES; t < tokens; t += LANES) {
        VECTOR s = LOAD(scores + t);
        best = NAME(choose)(s > best, s, best);
    }
    float top = *peak;
    for (int i = 0; i < LANES; i++)
        top = best[i] > top ? best[i] : top;
    const float shrink = *peak == top ? 1.0f : expf(*peak - top);
    const VECTOR tops = NAME(splat)(top);
    VECTOR sum = NAME(splat)(0.0f);
    for (int64_t t = 0; t < tokens; t += LANES)
        STORE(scores + t, NAME(exponential)(LOAD(scores + t) - tops));
    memset(scores, 0, low * sizeof(float));
    memset(scores + high, 0, (tokens - high) * sizeof(float));
    for (int64_t t = 0; t < tokens; t += LANES)
        sum += LOAD(scores + t);
    float add = 0;
    for (int i = 0; i < LANES; i++)
        add += sum[i];
    *peak = top;
    *total = *total * shrink + add;
    if (shrink != 1.0f)
        for (int64_t c = 0; c < width; c += LANES)
            STORE(sums + c, LOAD(sums + c) * NAME(splat)(shrink));
}

TARGET static void NAME(read_query)(const Attend *a, int64_t token, int32_t head, float *to) {
    const int64_t at = head * a->query_head + token * a->query_token;
    const float *from = (const float *)a->query + at;
    if (a->dtype == ATTEND_F32) {
        for (int32_t d = 0; d < a->head_dim; d++)
            to[d] = from[d] * a->scale;
        return;
    }
    NAME(widen)(to, a->query + at * 2, a->head_dim, a->dtype);
    for (int32_t d = 0; d < a->head_dim; d++)
        to[d] *= a->scale;
}

TARGET static void NAME(write_out)(const Attend *a, int64_t token, int32_t head,
                                   const float *sums, float total) {
    const int64_t at = (token * a->num_heads + head) * a->value_dim;
    const float factor = 1.0f / total;
    if (a->dtype == ATTEND_F32)
        for (int32_t d = 0; d < a->value_dim; d++)
            ((float *)a->out)[at + d] = sums[d] * factor;
    else if (a->dtype == ATTEND_BF16)
        for (int32_t d = 0; d < a->value_dim; d++)
            ((uint16_t *)a->out)[at + d] = attend_to_bf16(sums[d] * factor);
    else
        for (int32_t d = 0; d < a->value_dim; d++)
            ((_Float16 *)a->out)[at + d] = (_Float16)(sums[d] * factor);
}

/* Rows [first, first + rows) of a tile: row = position * group + head of the group. */
TARGET static void NAME(attend_rows)(const Attend *a, const int32_t *tile, int32_t kv_head,
                                     int64_t first, int64_t rows, float *scratch) {
    const int32_t sequence = tile[0], group = a->num_heads / a->num_kv_heads;
    const int32_t *table = a->tables + sequence * a->table_stride;
    const int64_t dim = a->head_dim, width = a->value_stride, block_size = a->block_size;
    const int64_t chunk = attend_chunk(a), size = a->dtype == ATTEND_F32 ? 4 : 2;
    const int64_t packed = a->starts[sequence + 1] - a->starts[sequence];
    const int64_t begin = a->lengths[sequence] - packed + tile[1];   /* position of the tile */
    const int64_t token = a->starts[sequence] + tile[1];
    const int64_t oldest = begin + first / group, newest = begin + (first + rows - 1) / group;
    const int64_t low = a->window > 0 && oldest + 1 > a->window ? oldest + 1 - a->window : 0;
    float *query = scratch, *sums = query + ATTEND_ROWS * dim;
    float *scores = sums + ATTEND_ROWS * width, *peaks = scores + ATTEND_ROWS * chunk;
    float *totals = peaks + ATTEND_ROWS, *wide = totals + ATTEND_ROWS;
    const float *keys[ATTEND_CHUNK], *values[ATTEND_CHUNK];

    memset(sums, 0, rows * width * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
        const int32_t head = kv_head * group + (int32_t)((first + r) % group);
        NAME(read_query)(a, token + (first + r) / group, head, query + r * dim);
        peaks[r] = a->sinks ? a->sinks[head] : -INFINITY;
        totals[r] = a->sinks ? 1.0f : 0.0f;
    }
    for (int64_t at = low / block_size * block_size; at <= newest; at += chunk) {
        const int64_t end = newest + 1 < at + chunk ? newest + 1 : at + chunk;
        const int64_t blocks = (end - at + block_size - 1) / block_size;
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t page = (int64_t)table[at / block_size + b] * a->num_kv_heads + kv_head;
            const char *key = a->key_pool + page * dim * block_size * size;
            const char *value = a->value_pool + page * width * block_size * size;
            keys[b] = (const float *)key;
            values[b] = (const float *)value;
            if (size == 2) {
                float *to = wide + b * block_size * (dim + width);
                NAME(widen)(to, key, dim * block_size, a->dtype);
                NAME(widen)(to + dim * block_size, value, width * block_size, a->dtype);
                keys[b] = to;
                values[b] = to + dim * block_size;
            }
        }
        NAME(scores)(query, rows, dim, keys, blocks, block_size, scores, chunk);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t position = begin + (first + r) / group;
            int64_t from = a->window > 0 ? position + 1 - a->window - at : 0;
            int64_t to = position + 1 - at;
            from = from < 0 ? 0 : from;
            to = to > blocks * block_size ? blocks * block_size : to;
            NAME(softmax)(scores + r * chunk, blocks * block_size, from, to, a->softcap,
                          peaks + r, totals + r, sums + r * width, width);
        }
        /* Tokens outside [low, end) are not touched: what lies there is nobody's. */
        NAME(values)(scores, chunk, rows, values, low > at ? low - at : 0, end - at, block_size,
                     width, sums);
    }
    for (int64_t r = 0; r < rows; r++)
        NAME(write_out)(a, token + (first + r) / group,
                        kv_head * group + (int32_t)((first + r) % group), sums + r * width,
                        totals[r]);
}

TARGET static void NAME(attend_work)(void *data) {
    Attend *a = data;
    const int32_t thread = __atomic_fetch_add(&a->next_thread, 1, __ATOMIC_RELAXED);
    const int32_t group = a->num_heads / a->num_kv_heads;
    float *scratch = a->scratch + thread * a->scratch_floats;
    int32_t item;
    while ((item = __atomic_fetch_add(&a->next_store, 1, __ATOMIC_RELAXED)) < a->num_tiles) {
        attend_store(a, a->tiles + item * 3);
        __atomic_fetch_add(&a->num_stored, 1, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(&a->num_stored, __ATOMIC_ACQUIRE) < a->num_tiles)
        sched_yield();
    while ((item = __atomic_fetch_add(&a->next_item, 1, __ATOMIC_RELAXED))
           < a->num_tiles * a->num_kv_heads) {
        const int32_t *tile = a->tiles + item / a->num_kv_heads * 3;
        const int64_t rows = (int64_t)tile[2] * group;
        for (int64_t first = 0; first < rows; first += ATTEND_ROWS) {
            const int64_t count = rows - first < ATTEND_ROWS ? rows - first : ATTEND_ROWS;
            NAME(attend_rows)(a, tile, item % a->num_kv_heads, first, count, scratch);
        }
    }
}

#undef VECTOR
#undef BITS
#undef INLINE
#undef LOAD
#undef STORE
#undef SCORES
#undef SCORES_OF
#undef VALUES
#undef VALUES_OF
