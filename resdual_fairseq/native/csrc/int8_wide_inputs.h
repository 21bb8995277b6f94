/* Weights of 8 bits times inputs of 16, for int8.h.
 *
 * What comes in is rounded to as many bits as sums of 32 bits allow, 13 or more up to 2,000 inputs;
 * so what is lost is lost in the weights.
 */

#include "abs_max.h"

#ifdef WITH_AVX2
#include <immintrin.h>
#endif

#define K_GROUP 2
#define INT8_PANEL PANEL
#define INT8_ROWS 48 /* that the caches hold */

typedef short qinput;
typedef short loose_qinputs __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

/* One row quantized, padded to a whole pair. */
static struct quantized_row quantize_row(const float *a, long inputs, qinput *q)
{
    const vec rounder = spread(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const long highest = 2147483647L / (127 * (inputs + 1));
    const float limit = highest < 32767 ? highest : 32767;
    const float largest = abs_max(a, inputs), factor = largest > 0 ? limit / largest : 0;
    long i = 0;
    for (; i + LANES <= inputs; i += LANES) {
        vec shifted = load(a + i) * factor + rounder;
        ivec rounded = (ivec)shifted - (ivec)rounder;
        *(loose_qinputs *)(q + i) = __builtin_convertvector(rounded, loose_qinputs);
    }
    for (; i < inputs; i++) q[i] = (qinput)lrintf(a[i] * factor);
    if (inputs % 2) q[inputs] = 0;
    return (struct quantized_row){largest / limit, 0};
}

#ifdef WITH_AVX2
typedef __m256i weights;

static inline ivec add(ivec total, int pair, weights columns)
{ return total + (ivec)_mm256_madd_epi16(_mm256_set1_epi32(pair), columns); }

static inline weights weights_at(const signed char *qweight)
{ return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)qweight)); }
#else
typedef const signed char *weights;

static inline ivec add(ivec total, int pair, weights qweight)
{
    short inputs[2];
    memcpy(inputs, &pair, sizeof pair);
    for (int lane = 0; lane < LANES; lane++)
        total[lane] += inputs[0] * qweight[2 * lane] + inputs[1] * qweight[2 * lane + 1];
    return total;
}

static inline weights weights_at(const signed char *qweight) { return qweight; }
#endif
