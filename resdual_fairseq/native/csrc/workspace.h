/* The caller's scratch, divided. */

#ifndef RESDUAL_WORKSPACE
#define RESDUAL_WORKSPACE

#include <stddef.h>

#include "resdual.h"

#define MAX_LANES 16 /* of any instruction set */

struct workspace {
    float *wide, *narrow, *output, *scores;
    const float **keys;
    int *lists;
    void *qinputs;
};

/* The most bytes that a product's quantized inputs take: 48 rows of 16 bits, or 96 of 8, padded to
 * a whole pair or four. */
static inline size_t int8_bytes(long inputs) { return 96 * (inputs + 3); }

/* The most that a product's lists of nonzero inputs take: their count and which, for each row of
 * many some inputs at a time, or for each tile of few all. Never less for more rows: threads get as
 * much as the one that has most. */
static inline long lists_length(long rows, long inputs)
{
    const long of_rows = rows * (1 + SPARSE_K_BLOCK);
    const long of_tiles = ((rows < SMALL_BATCH ? rows : SMALL_BATCH) / TILE + 1) * (1 + inputs);
    return of_rows > of_tiles ? of_rows : of_tiles;
}

static inline struct workspace workspace_layout(const struct stack *s, long rows, long longest,
                                                char *scratch)
{
    const long widest = s->inner > 3 * s->width ? s->inner : 3 * s->width;
    struct workspace work;
    work.keys = (const float **)scratch;
    work.wide = (float *)(work.keys + longest);
    work.narrow = work.wide + rows * widest;
    work.output = work.narrow + rows * s->width;
    work.scores = work.output + rows * s->width;
    work.lists = (int *)(work.scores + s->heads * (longest + MAX_LANES));
    work.qinputs = work.lists + lists_length(rows, s->inner);
    return work;
}

#endif
