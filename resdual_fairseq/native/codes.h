/* Products with weights of 8 bits.
 *
 * What comes in is rounded to as many bits as sums of 32 bits allow, 13 or more up to 2,000 inputs,
 * with one scale a row; so what is lost is lost in the weights.
 */

#include "room.h"
#include "vectors.h"

#ifdef __AVX2__
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

#ifdef __AVX2__
typedef __m256i sums32;

/* Add a pair of inputs, times LANES columns. */
static inline sums32 add_pair(sums32 total, const short *pair, const signed char *codes)
{
    int both;
    memcpy(&both, pair, sizeof both);
    const __m256i weights = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)codes));
    return _mm256_add_epi32(total, _mm256_madd_epi16(_mm256_set1_epi32(both), weights));
}

static inline vec as_floats(sums32 total) { return (vec)_mm256_cvtepi32_ps(total); }
#else
typedef ivec sums32;

static inline sums32 add_pair(sums32 total, const short *pair, const signed char *codes)
{
    for (int lane = 0; lane < LANES; lane++)
        total[lane] += pair[0] * codes[2 * lane] + pair[1] * codes[2 * lane + 1];
    return total;
}

static inline vec as_floats(sums32 total) { return __builtin_convertvector(total, vec); }
#endif

/* LANES columns from `j` on: with more, sums and products would not fit the registers. */
static inline __attribute__((always_inline)) void
code_tile(const int rows, const struct linear *l, long j, const short *a, const float *scales,
          int rectify, float *out)
{
    const long pairs = (l->inputs + 1) / 2;
    const signed char *codes = l->codes + j / PANEL * pairs * 2 * PANEL + j % PANEL * 2;
    sums32 sums[TILE];
    memset(sums, 0, sizeof sums);
    for (long pair = 0; pair < pairs; pair++, codes += 2 * PANEL) {
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++)
            sums[r] = add_pair(sums[r], a + 2 * (r * pairs + pair), codes);
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        vec y = as_floats(sums[r]) * load(l->scales + j) * scales[r] + load(l->bias + j);
        store(y, rectify, out + r * l->outputs, l->outputs - j);
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
        for (long j = 0; j < l->outputs; j += LANES) {
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
