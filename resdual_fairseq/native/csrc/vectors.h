/* Vectors of LANES floats, as wide as the instruction set has them, and the tile of a product. */

#ifndef RESDUAL_VECTORS
#define RESDUAL_VECTORS

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "resdual.h"

#ifdef WITH_AVX512
#define LANES 16
#define VECTORS 4 /* of columns whose sums are kept in registers at once */
#else
#define LANES 8
#define VECTORS 2
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float quad __attribute__((vector_size(16)));
typedef int iquad __attribute__((vector_size(16)));
typedef int ivec __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline vec load(const float *p) { return *(const loose *)p; }

static inline quad quarter(vec v)
{
    quad q[LANES / 4];
    memcpy(q, &v, sizeof v);
    for (int i = 1; i < LANES / 4; i++) q[0] += q[i];
    return q[0];
}

static inline float sum(vec v)
{
    const quad q = quarter(v);
    return (q[0] + q[2]) + (q[1] + q[3]);
}

static inline vec spread(float value) { return value - (vec){0}; }

#if defined __clang__ || __GNUC__ >= 12
#define CHOOSE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define CHOOSE(a, b, ...) __builtin_shuffle(a, b, (iquad){__VA_ARGS__})
#endif

/* The products of a row with four others, n numbers each. */
static inline quad four_dots(const float *a, const float *const b[4], long n)
{
    vec total[4] = {{0}};
    quad rest = {0};
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vec x = load(a + i);
        for (int k = 0; k < 4; k++) total[k] += x * load(b[k] + i);
    }
    for (; i < n; i++)
        for (int k = 0; k < 4; k++) rest[k] += a[i] * b[k][i];
    const quad q0 = quarter(total[0]), q1 = quarter(total[1]);
    const quad q2 = quarter(total[2]), q3 = quarter(total[3]);
    const quad low = CHOOSE(q0, q1, 0, 4, 1, 5) + CHOOSE(q0, q1, 2, 6, 3, 7);
    const quad high = CHOOSE(q2, q3, 0, 4, 1, 5) + CHOOSE(q2, q3, 2, 6, 3, 7);
    return rest + CHOOSE(low, high, 0, 1, 4, 5) + CHOOSE(low, high, 2, 3, 6, 7);
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

/* Where vector v of a tile's columns begins, in panels of `width` columns and `size` numbers, of
 * which `each` are for one column at a time. */
#define IN_PANELS(v, width, size, each)                                                            \
    ((v) * LANES / (width) * (size) + (v) * LANES % (width) * (each))

/* The columns of vector v of a tile that are there, or fewer than 1. */
#define LEFT(columns, v) ((columns) - (v) * LANES)

/* Write LANES columns of a row, or those that there are. With `rectify`, what is below 0 becomes 0
 * (and NaN stays). */
static inline void store(vec y, int rectify, float *out, long columns)
{
    if (rectify) y = (vec)((ivec)y & ~(y < (vec){0}));
    if (columns >= LANES) *(loose *)out = y;
    else if (columns > 0) memcpy(out, &y, columns * sizeof(float));
}

#endif
