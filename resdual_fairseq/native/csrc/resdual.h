/* What the caller hands over, and the functions that it calls. Python reads this file by cffi. */

#ifndef RESDUAL_H
#define RESDUAL_H

#include <stddef.h>
#include <stdint.h>

#define PANEL 16 /* columns of a packed matrix that lie together */
#define TILE 6 /* rows of a product that are computed together */
#define SMALL_BATCH 24 /* rows that the caches hold whole */
#define K_BLOCK 512 /* inputs of more rows that they hold at a time */
#define SPARSE_K_BLOCK 96 /* inputs whose weights for PADDED columns the nearest cache holds */
#define PADDED 64 /* columns are padded to a multiple of this: the most that a tile takes */

/* Panels hold PANEL columns, and there are as many as PADDED says, also for bias and scales. A
 * weight is float, or an integer of 8 bits times its column's scale; of these, n of a column lie
 * together: 2, or 4 for processors with VNNI, where they have no sign and are 128 more. */
struct linear {
    const float *weight;      /* panels of inputs x PANEL, or NULL */
    const signed char *qweight; /* panels of (inputs / n, rounded up) x INT8_PANEL x n */
    const float *scales, *bias;
    long inputs, outputs;
};

struct norm { /* a layer norm; none where weight is NULL */
    const float *weight, *bias;
    float eps;
};

struct connection { /* around a block: schemes.py's ConnectionSpec */
    struct norm input, dual, output, sum;
    const float *skip, *gain; /* width, or NULL for 1 */
    float dual_scale;
    int adds_dual, sets_dual;
};

struct closing { /* around a stack: schemes.py's ClosingSpec */
    struct norm norm, last;
    const float *alpha; /* width, or NULL where there is no d */
};

struct layer {
    struct linear qkv, attention_out, query, memory_out, up, down;
    struct connection attention, memory, feed_forward;
};

enum activation { RELU = 1, GELU = 2 };

struct stack {
    const struct layer *layers;
    long depth, width, inner, heads;
    int activation, has_memory;
};

struct source { /* a batch to encode, sentence by sentence */
    const unsigned char *padding; /* sentences x length, or NULL */
    long sentences, length;
};

struct search { /* one step of it */
    float *const *past;       /* of every step so far and this: depth x its rows x 2 x width */
    const long *past_rows;    /* of every step: how many rows it had */
    const int *ancestors;     /* steps x rows: which row of a step's past is seen, or -1 */
    const int *sentences;     /* rows: whose memory is seen */
    const float *memory;      /* depth x 2 x sentences x memory_length x width */
    const unsigned char *memory_padding; /* sentences x memory_length, or NULL */
    float *attention;         /* heads x rows x memory_length, of align_layer, or NULL */
    float *states;            /* depth x rows x width: x after every layer, or NULL */
    struct closing closing;
    long steps, rows, memory_sentences, memory_length, align_layer;
};

/* library.c says what they do. */
unsigned resdual_sources(void);
int resdual_set_isa(int newest);
int resdual_k_group(void);
size_t resdual_scratch(const struct stack *s, long rows, long longest);
size_t resdual_linear_scratch(const struct linear *l);
void resdual_decode(const struct stack *s, const struct search *now, float *x, float *d,
                    char *scratch, size_t bytes, long threads);
void resdual_encode(const struct stack *s, const struct source *source, float *x, float *d,
                    char *scratch, size_t bytes, long threads);
void resdual_linear(const struct linear *l, const float *a, long rows, float *out, char *scratch,
                    size_t bytes, long threads);
long resdual_embed(const float *table, long words, long width, float scale, const float *position,
                   const int64_t *tokens, long apart, long rows, long padding, float *out);

#endif
