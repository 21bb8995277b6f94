/* Encoder and decoder layers for inference: float32 on the CPU, a few rows or many.
 *
 * What torch spends on a decoding step of a few rows is mostly the calling of operations and the
 * repacking of weights. Here the weights are packed once, a step of the whole stack is one call,
 * and keys and values are read where they were written: no search copies or reorders them.
 *
 * Rows are independent of one another, hence threads share them: OpenMP's, which torch uses too.
 * Nothing is allocated or kept here: the caller owns every array. Python reads the structures from
 * resdual.h.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "workspace.h"

enum isa { GENERIC, AVX2, AVX512 };

#ifdef __x86_64__
#define SUPPORTS(what) (__builtin_cpu_supports(what) != 0)
static enum isa supported(void)
{
    if (!SUPPORTS("avx2") || !SUPPORTS("fma")) return GENERIC;
    return SUPPORTS("avx512f") && SUPPORTS("avx512bw") && SUPPORTS("avx512dq") &&
                   SUPPORTS("avx512vl") && SUPPORTS("avx512vnni")
               ? AVX512
               : AVX2;
}

#define FUNCTION(name, parameters, arguments)                                                      \
    void resdual_##name##_avx512 parameters;                                                       \
    void resdual_##name##_avx2 parameters;                                                         \
    void resdual_##name##_generic parameters;                                                      \
    static void name parameters                                                                    \
    {                                                                                              \
        switch (active_isa) {                                                                      \
        case AVX512: resdual_##name##_avx512 arguments; break;                                     \
        case AVX2: resdual_##name##_avx2 arguments; break;                                         \
        case GENERIC: resdual_##name##_generic arguments; break;                                   \
        }                                                                                          \
    }
#else
static enum isa supported(void) { return GENERIC; }

#define FUNCTION(name, parameters, arguments)                                                      \
    void resdual_##name##_generic parameters;                                                      \
    static void name parameters { resdual_##name##_generic arguments; }
#endif

static enum isa active_isa = GENERIC;

/* Compute with an instruction set, or this processor's newest if it lacks that; returns which. */
int resdual_set_isa(int newest)
{
    const enum isa here = supported();
    active_isa = newest < (int)here ? (enum isa)newest : here;
    return active_isa;
}

/* How many inputs of a column lie together where weights have 8 bits (int8.h). */
int resdual_k_group(void) { return active_isa == AVX512 ? 4 : 2; }

FUNCTION(decode,
         (const struct stack *s, const struct search *now, long first, long last, float *x,
          float *d, char *scratch),
         (s, now, first, last, x, d, scratch))

FUNCTION(encode,
         (const struct stack *s, const struct source *source, long first, long last, float *x,
          float *d, char *scratch),
         (s, source, first, last, x, d, scratch))

FUNCTION(linear, (const struct linear *l, const float *a, long rows, float *out, void *qinputs),
         (l, a, rows, out, qinputs))

/* The checksum of sources.py, by which a library of another version is told. */
unsigned resdual_sources(void) { return RESDUAL_SOURCES; }

/* Bytes of scratch for so many rows, with at most `longest` keys. */
size_t resdual_scratch(const struct stack *s, long rows, long longest)
{
    char *const anywhere = (char *)s;
    const struct workspace work = workspace_layout(s, rows, longest, anywhere);
    const long inputs = s->inner > s->width ? s->inner : s->width;
    return (size_t)((char *)work.qinputs - anywhere) + int8_bytes(inputs);
}

/* The same for a call of resdual_linear. */
size_t resdual_linear_scratch(const struct linear *l)
{ return l->qweight ? int8_bytes(l->inputs) : 0; }

/* One token for every row of a search, whose rows `threads` share. x, and d where there is one, are
 * rows x width: the streams before the first layer; then x is the output of the stack, closed as
 * the search says. Each thread has `bytes` of scratch. */
void resdual_decode(const struct stack *s, const struct search *now, float *x, float *d,
                    char *scratch, size_t bytes, long threads)
{
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long i = 0; i < threads; i++)
        decode(s, now, now->rows * i / threads, now->rows * (i + 1) / threads, x, d,
               scratch + i * bytes);
}

/* A batch of sentences, which `threads` share. x and d are sentences x length x width. */
void resdual_encode(const struct stack *s, const struct source *source, float *x, float *d,
                    char *scratch, size_t bytes, long threads)
{
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long i = 0; i < threads; i++)
        encode(s, source, source->sentences * i / threads, source->sentences * (i + 1) / threads, x,
               d, scratch + i * bytes);
}

/* out = a W^T + b for rows x inputs, whose rows `threads` share. */
void resdual_linear(const struct linear *l, const float *a, long rows, float *out, char *scratch,
                    size_t bytes, long threads)
{
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long i = 0; i < threads; i++) {
        const long first = rows * i / threads, last = rows * (i + 1) / threads;
        linear(l, a + first * l->inputs, last - first, out + first * l->outputs,
               scratch + i * bytes);
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
