/* Weights of 8 bits times inputs of 16, for codes.h.
 *
 * What comes in is rounded to as many bits as sums of 32 bits allow, 13 or more up to 2,000 inputs;
 * so what is lost is lost in the weights.
 */

#include "reach.h"

#ifdef WITH_FMA
#include <immintrin.h>
#endif

#define TOGETHER 2
#define CODED_PANEL PANEL
#define CODED_ROWS 48 /* that the caches hold */

typedef short code;
typedef short loose_short __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

/* One row as codes, padded to a whole pair. */
static struct coding encode_row(const float *a, long inputs, code *codes)
{
    const vec rounder = spread(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const long highest = 2147483647L / (127 * (inputs + 1));
    const float limit = highest < 32767 ? highest : 32767;
    const float largest = reach(a, inputs), factor = largest > 0 ? limit / largest : 0;
    long i = 0;
    for (; i + LANES <= inputs; i += LANES) {
        vec shifted = load(a + i) * factor + rounder;
        ivec codes_here = (ivec)shifted - (ivec)rounder;
        *(loose_short *)(codes + i) = __builtin_convertvector(codes_here, loose_short);
    }
    for (; i < inputs; i++) codes[i] = (code)lrintf(a[i] * factor);
    if (inputs % 2) codes[inputs] = 0;
    return (struct coding){largest / limit, 0};
}

#ifdef WITH_FMA
typedef __m256i weights;

static inline ivec add(ivec total, int pair, weights columns)
{
    return total + (ivec)_mm256_madd_epi16(_mm256_set1_epi32(pair), columns);
}

static inline weights weights_at(const signed char *codes)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)codes));
}
#else
typedef const signed char *weights;

static inline ivec add(ivec total, int pair, weights codes)
{
    short inputs[2];
    memcpy(inputs, &pair, sizeof pair);
    for (int lane = 0; lane < LANES; lane++)
        total[lane] += inputs[0] * codes[2 * lane] + inputs[1] * codes[2 * lane + 1];
    return total;
}

static inline weights weights_at(const signed char *codes) { return codes; }
#endif

