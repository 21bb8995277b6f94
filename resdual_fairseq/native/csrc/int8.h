/* Products with weights of 8 bits, and inputs quantized with one scale a row. */

#include "workspace.h"
#include "vectors.h"

struct quantized_row {
    float scale;
    int excess; /* what weights without a sign add to sums */
};

#ifdef WITH_AVX512
#include "int8_vnni.h"
#else
#include "int8_wide_inputs.h"
#endif

/* VECTORS * LANES columns from `j` on. Sums are plain vectors: GCC keeps no array of __m256i or
 * __m512i in registers. */
static inline __attribute__((always_inline)) void int8_tile(const int rows, const struct linear *l,
                                                            long j, const qinput *a,
                                                            const struct quantized_row *of,
                                                            int rectify, float *out)
{
    const long groups = (l->inputs + K_GROUP - 1) / K_GROUP;
    const long panel = groups * K_GROUP * INT8_PANEL;
    const signed char *at = l->qweight + j / INT8_PANEL * panel + j % INT8_PANEL * K_GROUP;
    ivec sums[TILE][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sums[r][v] = (ivec){0} - of[r].excess;
    for (long k = 0; k < groups; k++, at += K_GROUP * INT8_PANEL) {
        weights columns[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            columns[v] = weights_at(at + IN_PANELS(v, INT8_PANEL, panel, K_GROUP));
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            int group;
            memcpy(&group, a + K_GROUP * (r * groups + k), sizeof group);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) sums[r][v] = add(sums[r][v], group, columns[v]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            const long column = j + v * LANES;
            const vec total = __builtin_convertvector(sums[r][v], vec);
            const vec y = total * load(l->scales + column) * of[r].scale + load(l->bias + column);
            store(y, rectify, out + r * l->outputs + v * LANES, l->outputs - column);
        }
}

/* As `linear`, where the weights have 8 bits. */
static void int8_linear(const struct linear *l, const float *a, long rows, int rectify, float *out,
                        void *qinputs)
{
    const long width = (l->inputs + K_GROUP - 1) / K_GROUP * K_GROUP;
    struct quantized_row quantized[INT8_ROWS];
    for (; rows > 0; rows -= INT8_ROWS) {
        const long now = rows < INT8_ROWS ? rows : INT8_ROWS;
        for (long r = 0; r < now; r++)
            quantized[r] =
                quantize_row(a + r * l->inputs, l->inputs, (qinput *)qinputs + r * width);
        for (long j = 0; j < l->outputs; j += VECTORS * LANES) {
            const qinput *from = qinputs;
            const struct quantized_row *of = quantized;
            float *to = out + j;
            long left = now;
            for (; left >= TILE; left -= TILE) {
                int8_tile(TILE, l, j, from, of, rectify, to);
                from += TILE * width, of += TILE, to += TILE * l->outputs;
            }
            switch (left) {
            case 5: int8_tile(5, l, j, from, of, rectify, to); break;
            case 4: int8_tile(4, l, j, from, of, rectify, to); break;
            case 3: int8_tile(3, l, j, from, of, rectify, to); break;
            case 2: int8_tile(2, l, j, from, of, rectify, to); break;
            case 1: int8_tile(1, l, j, from, of, rectify, to); break;
            }
        }
        a += now * l->inputs;
        out += now * l->outputs;
    }
}
