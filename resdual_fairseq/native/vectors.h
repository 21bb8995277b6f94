/* Vectors of LANES floats, and the tile of a product. */

#ifndef RESDUAL_VECTORS
#define RESDUAL_VECTORS

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "structures.h"

#define TILE 6 /* rows whose sums are kept in registers at once */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float half __attribute__((vector_size(2 * LANES)));
typedef int ivec __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline vec load(const float *p) { return *(const loose *)p; }

static inline float sum(vec v)
{
    half h[2];
    memcpy(h, &v, sizeof v);
    h[0] += h[1];
    return (h[0][0] + h[0][2]) + (h[0][1] + h[0][3]);
}

static inline vec spread(float value) { return value - (vec){0}; }

static inline float dot(const float *a, const float *b, long n)
{
    vec total = {0};
    long i = 0;
    for (; i + LANES <= n; i += LANES) total += load(a + i) * load(b + i);
    float rest = sum(total);
    for (; i < n; i++) rest += a[i] * b[i];
    return rest;
}

/* e to the x for x <= 0, to float's precision: 2 to the k times a polynomial of what is left. */
static inline vec exponential(vec x)
{
    const vec least = spread(-87.0f), rounder = spread(12582912.0f); /* 1.5 * 2^23 */
    ivec low = x < least;
    x = (vec)(((ivec)x & ~low) | ((ivec)least & low));
    vec shifted = x * 1.44269504f + rounder;
    vec k = shifted - rounder;
    vec r = x - k * 0.693359375f + k * 2.12194440e-4f;
    vec p = spread(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    ivec power = ((ivec)shifted + 127) << 23;
    return p * (vec)power;
}

/* Write LANES columns of a row, or those that there are. With `rectify`, what is below 0 becomes 0
 * (and NaN stays). */
static inline void store(vec y, int rectify, float *out, long columns)
{
    if (rectify) y = (vec)((ivec)y & ~(y < (vec){0}));
    if (columns >= LANES) *(loose *)out = y;
    else if (columns > 0) memcpy(out, &y, columns * sizeof(float));
}

#endif
