/* Weights of 8 bits times inputs of 8, for int8.h, where one instruction multiplies bytes (VNNI).
 *
 * It wants one factor without a sign: weights are kept as what they are plus 128.
 */

#include <immintrin.h>

#include "abs_max.h"

#define K_GROUP 4
#define INT8_PANEL PADDED /* one stream of memory for a tile */
#define INT8_ROWS 96 /* that the caches hold */

typedef signed char qinput;
typedef qinput loose_qinputs __attribute__((vector_size(LANES), aligned(1), may_alias));

/* One row quantized, padded to a whole four. */
static struct quantized_row quantize_row(const float *a, long inputs, qinput *q)
{
    const vec rounder = spread(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const float largest = abs_max(a, inputs), factor = largest > 0 ? 127 / largest : 0;
    unsigned total = 0; /* of what is not finite, anything */
    ivec totals = {0};
    long i = 0;
    for (; i + LANES <= inputs; i += LANES) {
        const vec shifted = load(a + i) * factor + rounder;
        const ivec rounded = (ivec)shifted - (ivec)rounder;
        totals += rounded;
        *(loose_qinputs *)(q + i) = __builtin_convertvector(rounded, loose_qinputs);
    }
    for (; i < inputs; i++) total += (unsigned)(q[i] = (qinput)lrintf(a[i] * factor));
    for (; i % K_GROUP; i++) q[i] = 0;
    for (int lane = 0; lane < LANES; lane++) total += (unsigned)totals[lane];
    return (struct quantized_row){largest / 127, (int)(128 * total)};
}

typedef __m512i weights;

/* Add four inputs, times LANES columns. */
static inline ivec add(ivec total, int four, weights columns)
{ return (ivec)_mm512_dpbusd_epi32((__m512i)total, columns, _mm512_set1_epi32(four)); }

/* Their weights. */
static inline weights weights_at(const signed char *qweight) { return _mm512_loadu_si512(qweight); }
