/* Products with weights of 8 bits, and inputs rounded to codes, with one scale a row. */

#include "room.h"
#include "vectors.h"

struct coding { /* of a row: what its codes stand for, and what weights without a sign add to sums */
    float scale;
    int excess;
};

#ifdef WITH_VNNI
#include "bytes.h"
#else
#include "shorts.h"
#endif

/* VECTORS * LANES columns from `j` on. Sums are plain vectors: GCC keeps no array of __m256i or
 * __m512i in registers. */
static inline __attribute__((always_inline)) void
code_tile(const int rows, const struct linear *l, long j, const code *a, const struct coding *of,
          int rectify, float *out)
{
    const long groups = (l->inputs + TOGETHER - 1) / TOGETHER;
    const long panel = groups * TOGETHER * CODED_PANEL;
    const signed char *at = l->codes + j / CODED_PANEL * panel + j % CODED_PANEL * TOGETHER;
    ivec sums[TILE][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sums[r][v] = (ivec){0} - of[r].excess;
    for (long k = 0; k < groups; k++, at += TOGETHER * CODED_PANEL) {
        weights columns[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            columns[v] = weights_at(at + IN_PANELS(v, CODED_PANEL, panel, TOGETHER));
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            int group;
            memcpy(&group, a + TOGETHER * (r * groups + k), sizeof group);
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

/* As `linear`, where the weights are codes. */
static void code_linear(const struct linear *l, const float *a, long rows, int rectify, float *out,
                        void *room)
{
    const long width = (l->inputs + TOGETHER - 1) / TOGETHER * TOGETHER;
    struct coding codings[CODED_ROWS];
    for (; rows > 0; rows -= CODED_ROWS) {
        const long now = rows < CODED_ROWS ? rows : CODED_ROWS;
        for (long r = 0; r < now; r++)
            codings[r] = encode_row(a + r * l->inputs, l->inputs, (code *)room + r * width);
        for (long j = 0; j < l->outputs; j += VECTORS * LANES) {
            const code *from = room;
            const struct coding *of = codings;
            float *to = out + j;
            long left = now;
            for (; left >= TILE; left -= TILE) {
                code_tile(TILE, l, j, from, of, rectify, to);
                from += TILE * width, of += TILE, to += TILE * l->outputs;
            }
            switch (left) {
            case 5: code_tile(5, l, j, from, of, rectify, to); break;
            case 4: code_tile(4, l, j, from, of, rectify, to); break;
            case 3: code_tile(3, l, j, from, of, rectify, to); break;
            case 2: code_tile(2, l, j, from, of, rectify, to); break;
            case 1: code_tile(1, l, j, from, of, rectify, to); break;
            }
        }
        a += now * l->inputs;
        out += now * l->outputs;
    }
}
