/* Products with weights of float32. */

#include "vectors.h"

#define FEW 24   /* rows that the caches hold whole */
#define DEEP 512 /* inputs of many rows that they hold at a time */

/* A tile's share of a product: some of the inputs, for `rows` (a constant, at most TILE) rows. */
struct share {
    const float *weight; /* of the first panel, from the first input on */
    const float *bias;   /* what the sums begin with, or NULL: what `out` holds */
    long inputs, columns;
    int rectify; /* whether what is below 0 becomes 0 */
};

/* LANES columns of a row, or those that there are, with zeros behind them. */
static inline vec fetch(const float *from, long columns)
{
    vec y = {0};
    if (columns >= LANES) return load(from);
    if (columns > 0) memcpy(&y, from, columns * sizeof(float));
    return y;
}

static inline __attribute__((always_inline)) void
tile(const int rows, const struct linear *l, struct share share, const float *a, float *out)
{
    const float *weight = share.weight;
    const long panel = PANEL * l->inputs;
    vec sums[TILE][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            sums[r][v] = share.bias ? load(share.bias + v * LANES)
                                    : fetch(out + r * l->outputs + v * LANES,
                                            LEFT(share.columns, v));
    for (long k = 0; k < share.inputs; k++, weight += PANEL) {
        vec columns[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) columns[v] = load(weight + IN_PANELS(v, PANEL, panel, 1));
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            float x = a[r * l->inputs + k];
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) sums[r][v] += x * columns[v];
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            store(sums[r][v], share.rectify, out + r * l->outputs + v * LANES,
                  LEFT(share.columns, v));
}

static void all_rows(const struct linear *l, struct share share, const float *a, long rows,
                     float *out)
{
    for (; rows >= TILE; rows -= TILE, a += TILE * l->inputs, out += TILE * l->outputs)
        tile(TILE, l, share, a, out);
    switch (rows) {
    case 5: tile(5, l, share, a, out); break;
    case 4: tile(4, l, share, a, out); break;
    case 3: tile(3, l, share, a, out); break;
    case 2: tile(2, l, share, a, out); break;
    case 1: tile(1, l, share, a, out); break;
    }
}

/* As `linear`, where the weights are floats.
 *
 * Many rows go DEEP inputs at a time, so that they stay in the processor's caches while all panels
 * pass by. */
static void float_linear(const struct linear *l, const float *a, long rows, int rectify,
                         float *out)
{
    const long depth = rows > FEW ? DEEP : l->inputs;
    for (long k = 0; k < l->inputs; k += depth) {
        const long left = l->inputs - k;
        struct share share = {.inputs = left < depth ? left : depth,
                              .rectify = rectify && left <= depth};
        for (long j = 0; j < l->outputs; j += VECTORS * LANES) {
            share.weight = l->weight + j * l->inputs + k * PANEL;
            share.bias = k ? NULL : l->bias + j;
            share.columns = l->outputs - j;
            all_rows(l, share, a + k, rows, out + j);
        }
    }
}
