/* Encoder and decoder layers for inference: float32 on the CPU, a few rows or many.
 *
 * What torch spends on a decoding step of a few rows is mostly the calling of operations and the
 * repacking of weights. Here the weights are packed once, a step of the whole stack is one call,
 * and keys and values are read where they were written: no search copies or reorders them.
 *
 * Rows are independent of one another, hence threads share them: OpenMP's, which torch uses too.
 * Nothing is allocated or kept here: the caller owns every array. The structures have their twins
 * in structures.py.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "room.h"

enum kind { ANY, FMA, VNNI }; /* of processor */

#ifdef __x86_64__
#define SUPPORTS(what) (__builtin_cpu_supports(what) != 0)
static enum kind supported(void)
{
    if (!SUPPORTS("avx2") || !SUPPORTS("fma")) return ANY;
    return SUPPORTS("avx512f") && SUPPORTS("avx512bw") && SUPPORTS("avx512dq") &&
                   SUPPORTS("avx512vl") && SUPPORTS("avx512vnni")
               ? VNNI
               : FMA;
}

#define FUNCTION(name, parameters, arguments)                                                      \
    void resdual_##name##_vnni parameters;                                                         \
    void resdual_##name##_fma parameters;                                                          \
    void resdual_##name##_any parameters;                                                          \
    static void name parameters                                                                    \
    {                                                                                              \
        switch (in_use) {                                                                          \
        case VNNI: resdual_##name##_vnni arguments; break;                                         \
        case FMA: resdual_##name##_fma arguments; break;                                           \
        case ANY: resdual_##name##_any arguments; break;                                           \
        }                                                                                          \
    }
#else
static enum kind supported(void) { return ANY; }

#define FUNCTION(name, parameters, arguments)                                                      \
    void resdual_##name##_any parameters;                                                          \
    static void name parameters { resdual_##name##_any arguments; }
#endif

static enum kind in_use = ANY;

/* Compute as for a kind of processor, or for this one if it knows less; returns which it is. */
int resdual_use(int most)
{
    const enum kind here = supported();
    in_use = most < (int)here ? (enum kind)most : here;
    return in_use;
}

/* How many inputs of a column lie together where weights are codes (bytes.h, codes.h). */
int resdual_together(void) { return in_use == VNNI ? 4 : 2; }

FUNCTION(decode,
         (const struct stack *s, const struct search *now, long first, long last, float *x,
          float *d, char *scratch),
         (s, now, first, last, x, d, scratch))

FUNCTION(encode,
         (const struct stack *s, const struct source *source, long first, long last, float *x,
          float *d, char *scratch),
         (s, source, first, last, x, d, scratch))

FUNCTION(linear, (const struct linear *l, const float *a, long rows, float *out, void *codes),
         (l, a, rows, out, codes))

FUNCTION(log_softmax, (const float *a, long rows, long columns, float *out, int *whole),
         (a, rows, columns, out, whole))

FUNCTION(greatest,
         (const float *a, long rows, long columns, long few, float *values, int64_t *places,
          int *whole),
         (a, rows, columns, few, values, places, whole))

struct numbers { /* of 32 bits */
    const uint32_t *at;
    int64_t count, step;
};

/* The checksum of sources.py, by which a library of another version is told. */
unsigned resdual_sources(void) { return RESDUAL_SOURCES; }

/* A checksum of every `step`-th number; of all in four parts that do not wait for one another. */
static uint64_t checksum(struct numbers n)
{
    const uint64_t prime = 0x9E3779B97F4A7C15u;
    uint64_t parts[4] = {1, 2, 3, 4};
    int64_t i = 0;
    for (; n.step == 1 && i + 8 <= n.count; i += 8)
        for (int part = 0; part < 4; part++) {
            uint64_t two;
            memcpy(&two, n.at + i + 2 * part, sizeof two);
            parts[part] = (parts[part] ^ two) * prime;
            parts[part] ^= parts[part] >> 29;
        }
    for (; i < n.count; i += n.step) {
        parts[0] = (parts[0] ^ n.at[i]) * prime;
        parts[0] ^= parts[0] >> 29;
    }
    for (int part = 1; part < 4; part++) parts[0] = (parts[0] ^ parts[part]) * prime;
    return parts[0] ^ parts[0] >> 32;
}

/* The same of several arrays, which `threads` share. */
uint64_t resdual_fingerprint(const struct numbers *arrays, long number, long threads)
{
    uint64_t print = 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 4) reduction(+ : print)
    for (long i = 0; i < number; i++) print += checksum(arrays[i]) * (2 * (uint64_t)i + 1);
    return print;
}

/* Bytes of scratch for so many rows, with at most `longest` keys. */
size_t resdual_scratch(const struct stack *s, long rows, long longest)
{
    char *const anywhere = (char *)s;
    const struct room room = furnish(s, rows, longest, anywhere);
    const long inputs = s->inner > s->width ? s->inner : s->width;
    return (size_t)((char *)room.codes - anywhere) + codes_of(inputs);
}

/* The same for a call of resdual_linear. */
size_t resdual_linear_scratch(const struct linear *l)
{
    return l->codes ? codes_of(l->inputs) : 0;
}

/* One token for every row of a search, whose rows `threads` share. x, and d where there is one, are
 * rows x width: the streams before the first layer; then x is the output of the stack, closed as
 * the search says. Each thread has `room` bytes of scratch. */
void resdual_decode(const struct stack *s, const struct search *now, float *x, float *d,
                    char *scratch, size_t room, long threads)
{
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long i = 0; i < threads; i++)
        decode(s, now, now->rows * i / threads, now->rows * (i + 1) / threads, x, d,
               scratch + i * room);
}

/* A batch of sentences, which `threads` share. x and d are sentences x length x width. */
void resdual_encode(const struct stack *s, const struct source *source, float *x, float *d,
                    char *scratch, size_t room, long threads)
{
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long i = 0; i < threads; i++)
        encode(s, source, source->sentences * i / threads, source->sentences * (i + 1) / threads,
               x, d, scratch + i * room);
}

/* out = a W^T + b for rows x inputs, whose rows `threads` share. */
void resdual_linear(const struct linear *l, const float *a, long rows, float *out, char *scratch,
                    size_t room, long threads)
{
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long i = 0; i < threads; i++) {
        const long first = rows * i / threads, last = rows * (i + 1) / threads;
        linear(l, a + first * l->inputs, last - first, out + first * l->outputs,
               scratch + i * room);
    }
}

/* Embeddings of the newest tokens of rows, which lie `apart` from one another: `scale` times their
 * rows of the table of `words`, plus those of their position unless that is NULL. Returns how many
 * are padding, or -1 where one is not in the table. */
long resdual_embed(const float *table, long words, long width, float scale, const float *position,
                   const int64_t *tokens, long apart, long rows, long padding, float *out)
{
    long found = 0;
    for (long r = 0; r < rows; r++, tokens += apart, out += width) {
        if (*tokens < 0 || *tokens >= words) return -1;
        found += *tokens == padding;
        const float *embedding = table + *tokens * width;
        for (long i = 0; i < width; i++) out[i] = scale * embedding[i];
        for (long i = 0; position && i < width; i++) out[i] += position[i];
    }
    return found;
}

/* The logarithm of the softmax of rows x columns, whose rows `threads` share. Returns whether none
 * is NaN. */
int resdual_log_softmax(const float *a, long rows, long columns, float *out, long threads)
{
    int whole = 1;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(& : whole)
    for (long i = 0; i < threads; i++) {
        const long first = rows * i / threads, last = rows * (i + 1) / threads;
        log_softmax(a + first * columns, last - first, columns, out + first * columns, &whole);
    }
    return whole;
}

/* The `few` greatest of each row of rows x columns, which `threads` share, and their columns: rows x
 * few, from the greatest on. Returns 0 where NaN is met. */
int resdual_greatest(const float *a, long rows, long columns, long few, float *values,
                     int64_t *places, long threads)
{
    int whole = 1;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(& : whole)
    for (long i = 0; i < threads; i++) {
        const long first = rows * i / threads, last = rows * (i + 1) / threads;
        greatest(a + first * columns, last - first, columns, few, values + first * few,
                 places + first * few, &whole);
    }
    return whole;
}
