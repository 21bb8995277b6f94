/* The largest magnitude of a row, by which it is quantized. */

#ifndef RESDUAL_ABS_MAX
#define RESDUAL_ABS_MAX

#include "vectors.h"

/* NaN where a number is not finite. */
static float abs_max(const float *a, long n)
{
    float largest = 0;
    long i = 0;
    vec maxima = {0}, zeros = {0};
    for (; i + LANES <= n; i += LANES) {
        const vec x = load(a + i), size = (vec)((ivec)x & 0x7fffffff);
        const ivec more = size > maxima;
        maxima = (vec)(((ivec)size & more) | ((ivec)maxima & ~more));
        zeros += x * 0;
    }
    float not_finite = sum(zeros); /* NaN where something is not finite */
    for (int lane = 0; lane < LANES; lane++)
        if (maxima[lane] > largest) largest = maxima[lane];
    for (; i < n; i++) {
        if (fabsf(a[i]) > largest) largest = fabsf(a[i]);
        not_finite += a[i] * 0;
    }
    return largest + not_finite;
}

#endif
