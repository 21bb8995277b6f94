/* How far a row's numbers reach, by which they are rounded to codes. */

#ifndef RESDUAL_REACH
#define RESDUAL_REACH

#include "vectors.h"

/* The largest size of a row's numbers; NaN where one is not finite. */
static float reach(const float *a, long n)
{
    float largest = 0;
    long i = 0;
    vec most = {0}, nothing = {0};
    for (; i + LANES <= n; i += LANES) {
        const vec x = load(a + i), size = (vec)((ivec)x & 0x7fffffff);
        const ivec more = size > most;
        most = (vec)(((ivec)size & more) | ((ivec)most & ~more));
        nothing += x * 0;
    }
    float poison = sum(nothing); /* NaN where something is not finite */
    for (int lane = 0; lane < LANES; lane++)
        if (most[lane] > largest) largest = most[lane];
    for (; i < n; i++) {
        if (fabsf(a[i]) > largest) largest = fabsf(a[i]);
        poison += a[i] * 0;
    }
    return largest + poison;
}

#endif
