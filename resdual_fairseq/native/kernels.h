/* Norms, residual connections and attention on rows of float32. */

#include "codes.h"
#include "product.h"
#include "vectors.h"

/* out = a W^T + b for rows x inputs; with `rectify`, what is below 0 becomes 0. */
static void linear(const struct linear *l, const float *a, long rows, int rectify, float *out,
                   short *codes)
{
    if (l->codes) code_linear(l, a, rows, rectify, out, codes);
    else float_linear(l, a, rows, rectify, out);
}

static void layer_norm(const struct connection *c, const float *x, long width, float *out)
{
    float mean = 0, variance = 0;
    vec total = {0};
    long i = 0;
    for (; i + LANES <= width; i += LANES) total += load(x + i);
    mean = sum(total);
    for (; i < width; i++) mean += x[i];
    mean /= width;
    total = (vec){0};
    for (i = 0; i + LANES <= width; i += LANES) {
        vec from_mean = load(x + i) - mean;
        total += from_mean * from_mean;
    }
    variance = sum(total);
    for (; i < width; i++) variance += (x[i] - mean) * (x[i] - mean);
    float factor = 1 / __builtin_sqrtf(variance / width + c->eps);
    for (i = 0; i < width; i++) out[i] = (x[i] - mean) * factor * c->weight[i] + c->bias[i];
}

/* What a block computes on: x, or its norm in `normed`. */
static const float *read_rows(const struct connection *c, const float *x, long rows, long width,
                              float *normed)
{
    if (!c->norms_input) return x;
    for (long r = 0; r < rows; r++) layer_norm(c, x + r * width, width, normed + r * width);
    return normed;
}

/* Join a block's output f to the streams. */
static void join_rows(const struct connection *c, const float *f, long rows, long width, float *x,
                      float *d)
{
    for (long i = 0; i < rows * width; i++) x[i] += f[i];
    if (c->has_dual)
        for (long i = 0; i < rows * width; i++) d[i] += c->scale * f[i];
    if (c->norms_sum)
        for (long r = 0; r < rows; r++) layer_norm(c, x + r * width, width, x + r * width);
}

/* out[c] = the sum over i of weights[i] values[i][c], for `size` columns c from `at` on. */
static inline void mix(const float *const *values, const float *weights, long n, long at, long size,
                       float *out)
{
    long c = at;
    for (; c + 4 * LANES <= at + size; c += 4 * LANES) {
        vec y[4] = {{0}, {0}, {0}, {0}};
        for (long i = 0; i < n; i++)
            if (values[i])
                for (int part = 0; part < 4; part++)
                    y[part] += weights[i] * load(values[i] + c + part * LANES);
        memcpy(out + c, y, sizeof y);
    }
    for (; c + LANES <= at + size; c += LANES) {
        vec y = {0};
        for (long i = 0; i < n; i++)
            if (values[i]) y += weights[i] * load(values[i] + c);
        *(loose *)(out + c) = y;
    }
    for (; c < at + size; c++) {
        out[c] = 0;
        for (long i = 0; i < n; i++)
            if (values[i]) out[c] += weights[i] * values[i][c];
    }
}

/* Attention of one query to n keys (NULL where hidden), every head apart.
 *
 * scores has room for n + LANES floats. weights, where asked for, receives those of head h at
 * weights + h * stride.
 */
static void attend(const float *query, const float *const *keys, const float *const *values, long n,
                   long width, long heads, float *scores, float *out, float *weights, long stride)
{
    const long size = width / heads;
    const float scaling = 1 / __builtin_sqrtf((float)size);
    for (long h = 0; h < heads; h++) {
        const long at = h * size;
        float largest = -__builtin_inff(), total = 0;
        for (long i = 0; i < n; i++) {
            scores[i] = keys[i] ? scaling * dot(query + at, keys[i] + at, size) : -__builtin_inff();
            if (!(scores[i] <= largest)) largest = scores[i]; /* NaN stays */
        }
        for (long i = n; i < n + LANES; i++) scores[i] = -__builtin_inff();
        if (largest == -__builtin_inff()) largest = 0;
        for (long i = 0; i < n; i += LANES) {
            vec e = exponential(load(scores + i) - largest);
            *(loose *)(scores + i) = e;
        }
        for (long i = 0; i < n; i++) {
            if (!keys[i]) scores[i] = 0;
            total += scores[i];
        }
        const float factor = total > 0 ? 1 / total : total == 0 ? 0 : total;
        for (long i = 0; i < n; i++) scores[i] *= factor;
        if (weights) memcpy(weights + h * stride, scores, n * sizeof(float));
        mix(values, scores, n, at, size, out);
    }
}
