/* Norms, residual connections and attention on rows of float32. */

#include "int8.h"
#include "product.h"
#include "vectors.h"

/* out = a W^T + b for rows x inputs; with `rectify`, what is below 0 becomes 0. `lists` is scratch
 * for lists of inputs that are not 0 (workspace.h), or NULL where looking for 0 would not pay. */
static void linear(const struct linear *l, const float *a, long rows, int rectify, float *out,
                   void *qinputs, int *lists)
{
    if (l->qweight) int8_linear(l, a, rows, rectify, out, qinputs);
    else float_linear(l, a, rows, rectify, out, lists);
}

/* out = LN(x) of rows; out may be x. */
static void layer_norm(const struct norm *n, const float *x, long rows, long width, float *out)
{
    for (; rows > 0; rows--, x += width, out += width) {
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
        float factor = 1 / __builtin_sqrtf(variance / width + n->eps);
        for (i = 0; i < width; i++) out[i] = (x[i] - mean) * factor * n->weight[i] + n->bias[i];
    }
}

/* Multiply rows by a number for each channel, unless there are none. */
static void multiply(const float *gain, long rows, long width, float *x)
{
    for (long r = 0; gain && r < rows; r++)
        for (long i = 0; i < width; i++) x[r * width + i] *= gain[i];
}

/* What a block computes on: x, or what `seen` is filled with. */
static const float *block_inputs(const struct connection *c, const float *x, const float *d,
                                 long rows, long width, float *seen)
{
    if (c->dual.weight) {
        layer_norm(&c->dual, d, rows, width, seen);
        for (long i = 0; i < rows * width; i++) seen[i] += x[i];
        x = seen;
    }
    if (!c->input.weight) return x;
    layer_norm(&c->input, x, rows, width, seen);
    return seen;
}

/* Add a block's output f to the streams, as the schemes do; f is lost. */
static void add_outputs(const struct connection *c, float *f, long rows, long width, float *x,
                        float *d)
{
    if (c->dual_scale != 0)
        for (long i = 0; i < rows * width; i++) d[i] += c->dual_scale * f[i];
    if (c->output.weight) layer_norm(&c->output, f, rows, width, f);
    multiply(c->gain, rows, width, f);
    multiply(c->skip, rows, width, x);
    for (long i = 0; i < rows * width; i++) x[i] += f[i];
    for (long i = 0; c->adds_dual && i < rows * width; i++) x[i] += d[i];
    if (c->sum.weight) layer_norm(&c->sum, x, rows, width, x);
    if (c->sets_dual) memcpy(d, x, rows * width * sizeof(float));
}

/* The stack's output, in place of x; d is lost. */
static void stack_outputs(const struct closing *c, long rows, long width, float *x, float *d)
{
    float *const normed = c->alpha ? d : x;
    if (c->norm.weight) layer_norm(&c->norm, normed, rows, width, normed);
    if (c->alpha) {
        multiply(c->alpha, rows, width, x);
        for (long i = 0; i < rows * width; i++) x[i] += d[i];
    }
    if (c->last.weight) layer_norm(&c->last, x, rows, width, x);
}

/* Turn n scores, of which hidden ones are -inf, into weights whose sum is 1 (0 if all are hidden).
 * The array has LANES more. */
static void softmax(float *scores, long n)
{
    const float hidden = -__builtin_inff();
    float largest = hidden, total = 0;
    for (long i = 0; i < n; i++)
        if (!(scores[i] <= largest)) largest = scores[i]; /* NaN stays */
    for (long i = n; i < n + LANES; i++) scores[i] = hidden;
    if (largest == hidden) largest = 0;
    for (long i = 0; i < n; i += LANES) {
        const vec x = load(scores + i), e = exponential(x - largest);
        *(loose *)(scores + i) = (vec)((ivec)e & ~(x == spread(hidden)));
    }
    for (long i = 0; i < n; i++) total += scores[i];
    const float factor = total == 0 ? 0 : 1 / total;
    for (long i = 0; i < n; i++) scores[i] *= factor;
}

/* out[c] = the sum over i of shares[i] rows[i][apart + c], for `size` columns c from `at` on. */
static void weighted_sum(const float *const *rows, long apart, const float *shares, long n, long at,
                         long size, float *out)
{
    long c = at;
    for (; c + 4 * LANES <= at + size; c += 4 * LANES) {
        vec y0 = {0}, y1 = {0}, y2 = {0}, y3 = {0};
        for (long i = 0; i < n; i++) {
            if (!rows[i]) continue;
            const float *v = rows[i] + apart + c, w = shares[i];
            y0 += w * load(v), y1 += w * load(v + LANES);
            y2 += w * load(v + 2 * LANES), y3 += w * load(v + 3 * LANES);
        }
        *(loose *)(out + c) = y0, *(loose *)(out + c + LANES) = y1;
        *(loose *)(out + c + 2 * LANES) = y2, *(loose *)(out + c + 3 * LANES) = y3;
    }
    for (; c + LANES <= at + size; c += LANES) {
        vec y = {0};
        for (long i = 0; i < n; i++)
            if (rows[i]) y += shares[i] * load(rows[i] + apart + c);
        *(loose *)(out + c) = y;
    }
    for (; c < at + size; c++) {
        out[c] = 0;
        for (long i = 0; i < n; i++)
            if (rows[i]) out[c] += shares[i] * rows[i][apart + c];
    }
}

/* Attention of one query to n keys (NULL where hidden), every head apart; each key's value lies
 * `apart` floats behind it.
 *
 * scores has heads x (n + LANES) floats. seen, where asked for, receives the softmax of head
 * h at seen + h * stride.
 */
static void attend(const float *query, const float *const *keys, long apart, long n, long width,
                   long heads, float *scores, float *out, float *seen, long stride)
{
    const long size = width / heads, stride_of_head = n + LANES;
    const float scaling = 1 / __builtin_sqrtf((float)size);
    for (long i = 0; i < n; i += 4) {
        const float *four[4];
        for (int k = 0; k < 4; k++) four[k] = i + k < n && keys[i + k] ? keys[i + k] : query;
        for (long h = 0; h < heads; h++) {
            const float *const of_head[4] = {four[0] + h * size, four[1] + h * size,
                                             four[2] + h * size, four[3] + h * size};
            const quad found = scaling * four_dots(query + h * size, of_head, size);
            memcpy(scores + h * stride_of_head + i, &found, sizeof found);
        }
        for (int k = 0; k < 4 && i + k < n; k++)
            for (long h = 0; !keys[i + k] && h < heads; h++)
                scores[h * stride_of_head + i + k] = -__builtin_inff();
    }
    for (long h = 0; h < heads; h++) {
        softmax(scores + h * stride_of_head, n);
        if (seen) memcpy(seen + h * stride, scores + h * stride_of_head, n * sizeof(float));
        weighted_sum(keys, apart, scores + h * stride_of_head, n, h * size, size, out);
    }
}
