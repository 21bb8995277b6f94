/* A step of a decoder's stack, and an encoder's stack, out of the kernels.
 *
 * Included once for every instruction set, with VARIANT naming what it defines.
 */

#include "kernels.h"
#include "workspace.h"

static void feed_forward(const struct stack *s, const struct layer *l, struct workspace work,
                         long rows, float *x, float *d)
{
    const float *seen = block_inputs(&l->feed_forward, x, d, rows, s->width, work.narrow);
    linear(&l->up, seen, rows, s->activation == RELU, work.wide, work.qinputs, NULL);
    if (s->activation == GELU)
        for (long i = 0; i < rows * s->inner; i++)
            work.wide[i] *= 0.5f * (1 + erff(work.wide[i] * (float)M_SQRT1_2));
    linear(&l->down, work.wide, rows, 0, work.output, work.qinputs,
           s->activation == RELU ? work.lists : NULL);
    add_outputs(&l->feed_forward, work.output, rows, s->width, x, d);
}

/* Project attention's output and add it. */
static void project_and_add(const struct linear *out, const struct connection *c,
                            struct workspace work, long rows, float *x, float *d)
{
    linear(out, work.narrow, rows, 0, work.output, work.qinputs, NULL);
    add_outputs(c, work.output, rows, out->outputs, x, d);
}

/* Self-attention of rows first to last, which are tokens that see the steps before them. */
static void self_attention_step(const struct stack *s, const struct search *now, long index,
                                struct workspace work, long first, long last, float *x, float *d)
{
    const struct layer *l = s->layers + index;
    const long width = s->width, rows = last - first, newest = now->steps - 1;
    const float *seen = block_inputs(&l->attention, x, d, rows, width, work.narrow);
    linear(&l->qkv, seen, rows, 0, work.wide, work.qinputs, NULL);
    for (long r = 0; r < rows; r++)
        memcpy(now->past[newest] + (index * now->rows + first + r) * 2 * width,
               work.wide + (3 * r + 1) * width, 2 * width * sizeof(float));
    for (long r = 0; r < rows; r++) {
        for (long t = 0; t < now->steps; t++) {
            const long row = now->ancestors[t * now->rows + first + r];
            const float *key = now->past[t] + (index * now->past_rows[t] + row) * 2 * width;
            work.keys[t] = row < 0 ? NULL : key;
        }
        attend(work.wide + 3 * r * width, work.keys, width, now->steps, width, s->heads,
               work.scores, work.narrow + r * width, NULL, 0);
    }
    project_and_add(&l->attention_out, &l->attention, work, rows, x, d);
}

/* Attention of rows first to last to the encoder's output. */
static void cross_attention(const struct stack *s, const struct search *now, long index,
                            struct workspace work, long first, long last, float *x, float *d)
{
    const struct layer *l = s->layers + index;
    const long width = s->width, rows = last - first, length = now->memory_length;
    const long all = now->memory_sentences * length * width;
    const float *seen = block_inputs(&l->memory, x, d, rows, width, work.narrow);
    linear(&l->query, seen, rows, 0, work.wide, work.qinputs, NULL);
    for (long r = 0; r < rows; r++) {
        const long sentence = now->sentences[first + r];
        const float *key = now->memory + 2 * index * all + sentence * length * width;
        const unsigned char *padding = now->memory_padding;
        const int another = r == 0 || sentence != now->sentences[first + r - 1];
        for (long i = 0; another && i < length; i++, key += width) {
            const int hidden = padding && padding[sentence * length + i];
            work.keys[i] = hidden ? NULL : key;
        }
        const int asked = now->attention && index == now->align_layer;
        attend(work.wide + r * width, work.keys, all, length, width, s->heads, work.scores,
               work.narrow + r * width, asked ? now->attention + (first + r) * length : NULL,
               now->rows * length);
    }
    project_and_add(&l->memory_out, &l->memory, work, rows, x, d);
}

/* Self-attention of sentences first to last. */
static void encoder_self_attention(const struct stack *s, const struct source *source,
                                   const struct layer *l, struct workspace work, long first,
                                   long last, float *x, float *d)
{
    const long width = s->width, length = source->length, rows = (last - first) * length;
    const float *seen = block_inputs(&l->attention, x, d, rows, width, work.narrow);
    linear(&l->qkv, seen, rows, 0, work.wide, work.qinputs, NULL);
    for (long b = 0; b < last - first; b++) {
        for (long i = 0; i < length; i++) {
            const float *key = work.wide + (3 * (b * length + i) + 1) * width;
            const int hidden = source->padding && source->padding[(first + b) * length + i];
            work.keys[i] = hidden ? NULL : key;
        }
        for (long i = b * length; i < (b + 1) * length; i++)
            attend(work.wide + 3 * i * width, work.keys, width, length, width, s->heads,
                   work.scores, work.narrow + i * width, NULL, 0);
    }
    project_and_add(&l->attention_out, &l->attention, work, rows, x, d);
}

/* One token for rows first to last: x and d are rows x width. */
void VARIANT(decode)(const struct stack *s, const struct search *now, long first, long last,
                     float *x, float *d, char *scratch)
{
    const long rows = last - first, width = s->width;
    const long longest = now->steps > now->memory_length ? now->steps : now->memory_length;
    const struct workspace work = workspace_layout(s, rows, longest, scratch);
    x += first * width;
    if (d) d += first * width;
    for (long index = 0; index < s->depth; index++) {
        self_attention_step(s, now, index, work, first, last, x, d);
        if (s->has_memory) cross_attention(s, now, index, work, first, last, x, d);
        feed_forward(s, s->layers + index, work, rows, x, d);
        if (now->states)
            memcpy(now->states + (index * now->rows + first) * width, x,
                   rows * width * sizeof(float));
    }
    stack_outputs(&now->closing, rows, width, x, d);
}

/* Sentences first to last: x and d are sentences x length x width. */
void VARIANT(encode)(const struct stack *s, const struct source *source, long first, long last,
                     float *x, float *d, char *scratch)
{
    const long rows = (last - first) * source->length;
    const struct workspace work = workspace_layout(s, rows, source->length, scratch);
    x += first * source->length * s->width;
    if (d) d += first * source->length * s->width;
    for (const struct layer *l = s->layers; l < s->layers + s->depth; l++) {
        encoder_self_attention(s, source, l, work, first, last, x, d);
        feed_forward(s, l, work, rows, x, d);
    }
}

/* out = a W^T + b for rows x inputs. */
void VARIANT(linear)(const struct linear *l, const float *a, long rows, float *out, void *qinputs)
{ linear(l, a, rows, 0, out, qinputs, NULL); }
