/* What the caller hands over; structures.py has the twins. */

#ifndef RESDUAL_STRUCTURES
#define RESDUAL_STRUCTURES

#define PANEL 16 /* columns of a packed matrix that lie together */
#define TILE 6   /* rows of a product that are computed together */
#define FEW 24   /* rows that the caches hold whole */
#define DEEP 512 /* inputs of more rows that they hold at a time */
#define SHALLOW 96 /* inputs whose weights for PADDED columns the nearest cache holds */
#define PADDED 64 /* columns are padded to a multiple of this: the most that a tile takes */

/* Panels hold PANEL columns, and there are as many as PADDED says, also for bias and scales. A
 * weight is float, or a code of 8 bits times its column's scale; n codes of a column lie together:
 * 2, or 4 for processors with VNNI, where they have no sign and are 128 more. */
struct linear {
    const float *weight;      /* panels of inputs x PANEL, or NULL */
    const signed char *codes; /* panels of (inputs / n, rounded up) x CODED_PANEL x n */
    const float *scales, *bias;
    long inputs, outputs;
};

struct connection { /* what residual.py calls a Join, with the layer norm at its place */
    const float *weight, *bias;
    float eps, scale;
    int norms_input, norms_sum, has_dual;
};

struct closing { /* what residual.py calls a Close, with LN_out */
    const float *weight, *bias;
    float eps, alpha;
    int norms, has_dual;
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

struct search {
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

#endif
