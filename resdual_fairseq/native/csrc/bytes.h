/* Weights of 8 bits times inputs of 8, for codes.h, where one instruction multiplies bytes (VNNI).
 *
 * It wants one factor without a sign: weights are kept as what they are plus 128.
 */

#include <immintrin.h>

#include "reach.h"

#define TOGETHER 4
#define CODED_PANEL PADDED /* one stream of memory for a tile */
#define CODED_ROWS 96 /* that the caches hold */

typedef signed char code;
typedef code loose_codes __attribute__((vector_size(LANES), aligned(1), may_alias));

/* One row as codes, padded to a whole four. */
static struct coding encode_row(const float *a, long inputs, code *codes)
{
    const vec rounder = spread(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const float largest = reach(a, inputs), factor = largest > 0 ? 127 / largest : 0;
    unsigned total = 0; /* of what is not finite, anything */
    ivec totals = {0};
    long i = 0;
    for (; i + LANES <= inputs; i += LANES) {
        const vec shifted = load(a + i) * factor + rounder;
        const ivec here = (ivec)shifted - (ivec)rounder;
        totals += here;
        *(loose_codes *)(codes + i) = __builtin_convertvector(here, loose_codes);
    }
    for (; i < inputs; i++) total += (unsigned)(codes[i] = (code)lrintf(a[i] * factor));
    for (; i % TOGETHER; i++) codes[i] = 0;
    for (int lane = 0; lane < LANES; lane++) total += (unsigned)totals[lane];
    return (struct coding){largest / 127, (int)(128 * total)};
}

typedef __m512i weights;

/* Add four inputs, times LANES columns. */
static inline ivec add(ivec total, int four, weights columns)
{
    return (ivec)_mm512_dpbusd_epi32((__m512i)total, columns, _mm512_set1_epi32(four));
}

/* Their weights. */
static inline weights weights_at(const signed char *codes) { return _mm512_loadu_si512(codes); }
