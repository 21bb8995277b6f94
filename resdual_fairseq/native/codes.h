/* Products with weights of 8 bits.
 *
 * What comes in is rounded to as many bits as sums of 32 bits allow, 13 or more up to 2,000 inputs,
 * with one scale a row; so what is lost is lost in the weights.
 */

#include "room.h"
#include "vectors.h"

#if defined WITH_FMA || defined WITH_VNNI
#include <immintrin.h>
#endif

typedef short loose_short __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

/* One row as codes of 16 bits, padded to a whole pair; returns their scale. */
static float encode_row(const float *a, long inputs, short *codes)
{
    const vec rounder = spread(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const long highest = 2147483647L / (127 * (inputs + 1));
    const float limit = highest < 32767 ? highest : 32767;
    float largest = 0, poison = 0;
    long i = 0;
    vec most = {0}, nothing = {0};
    for (; i + LANES <= inputs; i += LANES) {
        vec x = load(a + i), size = (vec)((ivec)x & 0x7fffffff);
        ivec more = size > most;
        most = (vec)(((ivec)size & more) | ((ivec)most & ~more));
        nothing += x * 0;
    }
    for (int lane = 0; lane < LANES; lane++)
        if (most[lane] > largest) largest = most[lane];
    poison = sum(nothing); /* NaN where something is not finite */
    for (; i < inputs; i++) {
        if (fabsf(a[i]) > largest) largest = fabsf(a[i]);
        poison += a[i] * 0;
    }
    const float factor = largest > 0 && poison == 0 ? limit / largest : 0;
    for (i = 0; i + LANES <= inputs; i += LANES) {
        vec shifted = load(a + i) * factor + rounder;
        ivec codes_here = (ivec)shifted - (ivec)rounder;
        *(loose_short *)(codes + i) = __builtin_convertvector(codes_here, loose_short);
    }
    for (; i < inputs; i++) codes[i] = (short)lrintf(a[i] * factor);
    if (inputs % 2) codes[inputs] = 0;
    return largest / limit + poison;
}

#if defined WITH_VNNI
typedef __m512i weights16;

/* Add a pair of inputs, times LANES columns. */
static inline ivec add_pair(ivec total, int pair, weights16 weights)
{
    return (ivec)_mm512_dpwssd_epi32((__m512i)total, _mm512_set1_epi32(pair), weights);
}

/* Their weights. */
static inline weights16 pairs_of(const signed char *codes)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)codes));
}
#elif defined WITH_FMA
typedef __m256i weights16;

static inline ivec add_pair(ivec total, int pair, weights16 weights)
{
    return total + (ivec)_mm256_madd_epi16(_mm256_set1_epi32(pair), weights);
}

static inline weights16 pairs_of(const signed char *codes)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)codes));
}
#else
typedef const signed char *weights16;

static inline ivec add_pair(ivec total, int pair, weights16 codes)
{
    short inputs[2];
    memcpy(inputs, &pair, sizeof pair);
    for (int lane = 0; lane < LANES; lane++)
        total[lane] += inputs[0] * codes[2 * lane] + inputs[1] * codes[2 * lane + 1];
    return total;
}

static inline weights16 pairs_of(const signed char *codes) { return codes; }
#endif

/* VECTORS * LANES columns from `j` on. Sums are plain vectors: GCC keeps no array of __m512i in
 * registers. */
static inline __attribute__((always_inline)) void
code_tile(const int rows, const struct linear *l, long j, const short *a, const float *scales,
          int rectify, float *out)
{
    const long pairs = (l->inputs + 1) / 2, panel = pairs * 2 * PANEL;
    const signed char *codes = l->codes + j / PANEL * panel + j % PANEL * 2;
    ivec sums[TILE][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sums[r][v] = (ivec){0};
    for (long k = 0; k < pairs; k++, codes += 2 * PANEL) {
        weights16 columns[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) columns[v] = pairs_of(codes + IN_PANELS(v, panel, 2));
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            int pair;
            memcpy(&pair, a + 2 * (r * pairs + k), sizeof pair);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                sums[r][v] = add_pair(sums[r][v], pair, columns[v]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            const long at = j + v * LANES;
            const vec total = __builtin_convertvector(sums[r][v], vec);
            const vec y = total * load(l->scales + at) * scales[r] + load(l->bias + at);
            store(y, rectify, out + r * l->outputs + v * LANES, l->outputs - at);
        }
}

/* As `linear`, where the weights are codes. */
static void code_linear(const struct linear *l, const float *a, long rows, int rectify, float *out,
                        short *room)
{
    const long width = (l->inputs + 1) / 2 * 2;
    float scales[ROWS_AT_ONCE];
    for (; rows > 0; rows -= ROWS_AT_ONCE) {
        const long now = rows < ROWS_AT_ONCE ? rows : ROWS_AT_ONCE;
        for (long r = 0; r < now; r++)
            scales[r] = encode_row(a + r * l->inputs, l->inputs, room + r * width);
        for (long j = 0; j < l->outputs; j += VECTORS * LANES) {
            const short *from = room;
            const float *scale = scales;
            float *to = out + j;
            long left = now;
            for (; left >= TILE; left -= TILE) {
                code_tile(TILE, l, j, from, scale, rectify, to);
                from += TILE * width, scale += TILE, to += TILE * l->outputs;
            }
            switch (left) {
            case 5: code_tile(5, l, j, from, scale, rectify, to); break;
            case 4: code_tile(4, l, j, from, scale, rectify, to); break;
            case 3: code_tile(3, l, j, from, scale, rectify, to); break;
            case 2: code_tile(2, l, j, from, scale, rectify, to); break;
            case 1: code_tile(1, l, j, from, scale, rectify, to); break;
            }
        }
        a += now * l->inputs;
        out += now * l->outputs;
    }
}
