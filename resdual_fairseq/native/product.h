/* Products with weights of float32. */

#include "vectors.h"

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

/* What a tile's rows have beside 0: how many inputs that are not 0 in all of them, and which. */
static void list_active(const float *a, long stride, long rows, long inputs, int *list)
{
    int found = 0;
    for (long k = 0; k < inputs; k += LANES) {
        const long here = inputs - k < LANES ? inputs - k : LANES;
        ivec any = {0};
        for (long r = 0; r < rows; r++) any |= (ivec)fetch(a + r * stride + k, here);
        any &= 0x7fffffff; /* -0 is 0 */
        for (int lane = 0; lane < here; lane++) {
            list[1 + found] = (int)k + lane;
            found += any[lane] != 0;
        }
    }
    list[0] = found;
}

/* `list` says which inputs count, where `listed` (a constant); else all do. */
static inline __attribute__((always_inline)) void
tile(const int rows, const int listed, const int *list, const struct linear *l, struct share share,
     const float *a, float *out)
{
    const long panel = PANEL * l->inputs;
    vec sums[TILE][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            sums[r][v] = share.bias ? load(share.bias + v * LANES)
                                    : fetch(out + r * l->outputs + v * LANES,
                                            LEFT(share.columns, v));
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
static inline __attribute__((always_inline)) void
each_tile(const int listed, const int *lists, const struct linear *l, struct share share,
          const float *a, long rows, float *out)
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

static void all_inputs(const struct linear *l, struct share share, const float *a, long rows,
                       float *out)
{
    each_tile(0, NULL, l, share, a, rows, out);
}

static void active_inputs(const int *lists, const struct linear *l, struct share share,
                          const float *a, long rows, float *out)
{
    each_tile(1, lists, l, share, a, rows, out);
}

/* Whether a quarter of the inputs or more are 0 in the first rows. */
static int many_zeros(const struct linear *l, const float *a, long rows, int *lists)
{
    list_active(a, l->inputs, rows < TILE ? rows : TILE, l->inputs, lists);
    return 4 * (long)lists[0] <= 3 * l->inputs;
}

/* As `linear`, where the weights are floats.
 *
 * Many rows go DEEP inputs at a time, so that they stay in the processor's caches while all panels
 * pass by. With room for `lists`, inputs that are 0 in all rows of a tile are left out where there
 * are many: of what comes out of a trained model's ReLU, most is 0. */
static void float_linear(const struct linear *l, const float *a, long rows, int rectify, float *out,
                         int *lists)
{
    const long depth = rows > FEW ? DEEP : l->inputs;
    const int listed = lists && many_zeros(l, a, rows, lists);
    for (long k = 0; k < l->inputs; k += depth) {
        const long left = l->inputs - k;
        struct share share = {.inputs = left < depth ? left : depth,
                              .rectify = rectify && left <= depth};
        for (long r = 0; listed && r < rows; r += TILE)
            list_active(a + r * l->inputs + k, l->inputs, rows - r < TILE ? rows - r : TILE,
                        share.inputs, lists + r / TILE * (1 + share.inputs));
        for (long j = 0; j < l->outputs; j += VECTORS * LANES) {
            share.weight = l->weight + j * l->inputs + k * PANEL;
            share.bias = k ? NULL : l->bias + j;
            share.columns = l->outputs - j;
            if (listed) active_inputs(lists, l, share, a + k, rows, out + j);
            else all_inputs(l, share, a + k, rows, out + j);
        }
    }
}
