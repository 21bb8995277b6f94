/* Log-probabilities over the vocabulary. */

#include "vectors.h"

/* out = a minus the logarithm of the sum of e to the a: NaN throughout where one of a is. */
static void log_softmax(const float *a, long n, float *out)
{
    vec maxima = spread(-__builtin_inff()), many = {0};
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vec x = load(a + i);
        const ivec more = x > maxima;
        maxima = (vec)(((ivec)x & more) | ((ivec)maxima & ~more));
    }
    float largest = maxima[0];
    for (int lane = 1; lane < LANES; lane++)
        if (maxima[lane] > largest) largest = maxima[lane];
    for (long rest = i; rest < n; rest++)
        if (a[rest] > largest) largest = a[rest];
    for (i = 0; i + LANES <= n; i += LANES) many += exponential(load(a + i) - largest);
    float total = sum(many);
    for (; i < n; i++) total += expf(a[i] - largest);
    const float all = logf(total);
    for (i = 0; i < n; i++) out[i] = a[i] - largest - all;
}
