/* Products with weights of float32. */

#include "sparse.h"
#include "tiles.h"

/* As `linear`, where the weights are floats.
 *
 * Many rows go K_BLOCK inputs at a time, so that they stay in the processor's caches while all
 * panels pass by. With `lists`, inputs that are 0 are left out where there are many. */
static void float_linear(const struct linear *l, const float *a, long rows, int rectify, float *out,
                         int *lists)
{
    if (lists && is_sparse(l, a, rows, lists)) {
        if (rows > SMALL_BATCH) sparse_many_rows(l, a, rows, rectify, out, lists);
        else sparse_few_rows(l, a, rows, rectify, out, lists);
        return;
    }
    const long depth = rows > SMALL_BATCH ? K_BLOCK : l->inputs;
    for (long k = 0; k < l->inputs; k += depth) {
        const long left = l->inputs - k;
        struct share share = {.inputs = left < depth ? left : depth,
                              .rectify = rectify && left <= depth};
        for (long j = 0; j < l->outputs; j += VECTORS * LANES) {
            share.weight = l->weight + j * l->inputs + k * PANEL;
            share.bias = k ? NULL : l->bias + j;
            share.columns = l->outputs - j;
            each_tile(0, NULL, l, share, a + k, rows, out + j);
        }
    }
}
