/* Products with weights of float32 that leave out inputs that are 0: of what comes out of a trained
 * model's ReLU, most is. */

#ifdef WITH_AVX512
#include <immintrin.h>
#endif

#include <stdint.h>

#include "tiles.h"

/* The inputs that are not 0 in all of a tile's rows: how many, and which. */
static void list_nonzero(const float *a, long stride, long rows, long inputs, int *list)
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

static void list_of_each_tile(const float *a, long stride, long rows, long inputs, int *lists)
{
    for (; rows > 0; rows -= TILE, a += TILE * stride, lists += 1 + inputs)
        list_nonzero(a, stride, rows < TILE ? rows : TILE, inputs, lists);
}

/* The same for each row by itself, of at most SPARSE_K_BLOCK inputs. */
static void list_of_each_row(const float *a, long stride, long rows, long inputs, int *lists)
{
    for (; rows > 0; rows--, a += stride, lists += 1 + SPARSE_K_BLOCK) {
        int found = 0;
#ifdef WITH_AVX512
        __m512i which = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        for (long k = 0; k < inputs; k += LANES) {
            const __m512 x = (__m512)fetch(a + k, inputs - k);
            const __mmask16 active = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NEQ_UQ);
            _mm512_storeu_si512(lists + 1 + found, _mm512_maskz_compress_epi32(active, which));
            found += __builtin_popcount(active);
            which = _mm512_add_epi32(which, _mm512_set1_epi32(LANES));
        }
#else
        for (long k = 0; k < inputs; k++) {
            uint32_t bits;
            memcpy(&bits, a + k, sizeof bits);
            lists[1 + found] = (int)k;
            found += bits << 1 != 0; /* -0 is 0 */
        }
#endif
        lists[0] = found;
    }
}

#define WIDE (PADDED / LANES)

/* Add the share of one input to sums of PADDED columns. */
static inline __attribute__((always_inline)) void
add_input(vec sums[WIDE], long k, const float *weight, long panel, const float *a)
{
    const float x = a[k];
    weight += k * PANEL;
#pragma GCC unroll 16
    for (int v = 0; v < WIDE; v++) sums[v] += x * load(weight + IN_PANELS(v, PANEL, panel, 1));
}

/* PADDED columns of one row. */
static inline __attribute__((always_inline)) void row(const int whole, const int *list,
                                                      const struct linear *l, struct share share,
                                                      const float *a, float *out)
{
    const long panel = PANEL * l->inputs;
    const float *from = share.bias ? share.bias : out;
    const int *which = list + 1, *end = which + list[0];
    vec sums[WIDE];
#pragma GCC unroll 16
    for (int v = 0; v < WIDE; v++)
        sums[v] = whole || share.bias ? load(from + v * LANES)
                                      : fetch(from + v * LANES, LEFT(share.columns, v));
#if LANES == 16 /* then there are registers for more sums that do not wait for one another */
    vec others[WIDE];
#pragma GCC unroll 16
    for (int v = 0; v < WIDE; v++) others[v] = (vec){0};
    for (; which + 2 <= end; which += 2) {
        add_input(sums, which[0], share.weight, panel, a);
        add_input(others, which[1], share.weight, panel, a);
    }
#pragma GCC unroll 16
    for (int v = 0; v < WIDE; v++) sums[v] += others[v];
#endif
    for (; which < end; which++) add_input(sums, *which, share.weight, panel, a);
#pragma GCC unroll 16
    for (int v = 0; v < WIDE; v++)
        store(sums[v], share.rectify, out + v * LANES, whole ? LANES : LEFT(share.columns, v));
}

/* Meanwhile the weights come that are next: rows read them here and there, too irregularly for the
 * processor to see what follows. */
static void each_row(const int *lists, const struct linear *l, struct share share,
                     const float *next, const float *a, long rows, float *out)
{
    for (long r = 0; r < rows;
         r++, a += l->inputs, out += l->outputs, lists += 1 + SPARSE_K_BLOCK) {
        for (long k = r * SPARSE_K_BLOCK / rows; k < (r + 1) * SPARSE_K_BLOCK / rows; k++)
            for (long panel = 0; panel < PADDED / PANEL; panel++)
                __builtin_prefetch(next + (panel * l->inputs + k) * PANEL, 0, 2);
        if (share.columns >= PADDED) row(1, lists, l, share, a, out);
        else row(0, lists, l, share, a, out);
    }
}

/* Whether so few inputs count that their lists pay: of many rows, each by itself, three fifths on
 * average over some; of a few, in all of which they have to be 0, three quarters in the first
 * tile. */
static int is_sparse(const struct linear *l, const float *a, long rows, int *lists)
{
    const long height = rows < TILE ? rows : TILE, inputs = l->inputs;
    if (rows <= SMALL_BATCH) {
        list_nonzero(a, inputs, height, inputs, lists);
        return 4 * (long)lists[0] <= 3 * inputs;
    }
    long active = 0;
    for (long i = 0; i < height * inputs; i++) active += a[rows / height * inputs + i] != 0;
    return 5 * active <= 3 * height * inputs;
}

/* Of few rows, the whole product. */
static void sparse_few_rows(const struct linear *l, const float *a, long rows, int rectify,
                            float *out, int *lists)
{
    struct share share = {.inputs = l->inputs, .rectify = rectify};
    list_of_each_tile(a, l->inputs, rows, l->inputs, lists);
    for (long j = 0; j < l->outputs; j += VECTORS * LANES) {
        share.weight = l->weight + j * l->inputs;
        share.bias = l->bias + j;
        share.columns = l->outputs - j;
        each_tile(1, lists, l, share, a, rows, out + j);
    }
}

/* Of many rows, one by one, SPARSE_K_BLOCK inputs at a time. */
static void sparse_many_rows(const struct linear *l, const float *a, long rows, int rectify,
                             float *out, int *lists)
{
    for (long k = 0; k < l->inputs; k += SPARSE_K_BLOCK) {
        const long left = l->inputs - k;
        struct share share = {.inputs = left < SPARSE_K_BLOCK ? left : SPARSE_K_BLOCK,
                              .rectify = rectify && left <= SPARSE_K_BLOCK};
        list_of_each_row(a + k, l->inputs, rows, share.inputs, lists);
        for (long j = 0; j < l->outputs; j += PADDED) {
            const long then = j + PADDED < l->outputs ? (j + PADDED) * l->inputs + k * PANEL
                                                      : (k + share.inputs) * PANEL;
            share.weight = l->weight + j * l->inputs + k * PANEL;
            share.bias = k ? NULL : l->bias + j;
            share.columns = l->outputs - j;
            each_row(lists, l, share, l->weight + then, a + k, rows, out + j);
        }
    }
}
