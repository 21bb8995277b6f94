/* Tiles of a product with weights of float32: a few rows, and as many columns as registers hold. */

#ifndef RESDUAL_TILES
#define RESDUAL_TILES

#include "vectors.h"

/* A tile's share of a product: some of the inputs, for `rows` (a constant, at most TILE) rows. */
struct share {
    const float *weight; /* of the first panel, from the first input on */
    const float *bias; /* what the sums begin with, or NULL: what `out` holds */
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

/* `list` says which inputs count, where `listed` (a constant); else all do. */
static inline __attribute__((always_inline)) void tile(const int rows, const int listed,
                                                       const int *list, const struct linear *l,
                                                       struct share share, const float *a,
                                                       float *out)
{
    const long panel = PANEL * l->inputs;
    vec sums[TILE][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            sums[r][v] = share.bias
                             ? load(share.bias + v * LANES)
                             : fetch(out + r * l->outputs + v * LANES, LEFT(share.columns, v));
    for (long i = 0; i < (listed ? list[0] : share.inputs); i++) {
        const long k = listed ? list[1 + i] : i;
        const float *weight = share.weight + k * PANEL;
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

/* `lists` has one list for each tile. */
static inline __attribute__((always_inline)) void each_tile(const int listed, const int *lists,
                                                            const struct linear *l,
                                                            struct share share, const float *a,
                                                            long rows, float *out)
{
    for (; rows >= TILE; rows -= TILE, a += TILE * l->inputs, out += TILE * l->outputs) {
        tile(TILE, listed, lists, l, share, a, out);
        if (listed) lists += 1 + share.inputs;
    }
    switch (rows) {
    case 5: tile(5, listed, lists, l, share, a, out); break;
    case 4: tile(4, listed, lists, l, share, a, out); break;
    case 3: tile(3, listed, lists, l, share, a, out); break;
    case 2: tile(2, listed, lists, l, share, a, out); break;
    case 1: tile(1, listed, lists, l, share, a, out); break;
    }
}

#endif
