/* A step of a decoder's stack, and an encoder's stack, out of the kernels.
 *
 * Included once for every kind of processor, with VARIANT naming what it defines.
 */

#include "kernels.h"
#include "room.h"
#include "vocabulary.h"

static void feed_forward(const struct stack *s, const struct layer *l, struct room room, long rows,
                         float *x, float *d)
{
    const float *seen = read_rows(&l->feed_forward, x, rows, s->width, room.narrow);
    linear(&l->up, seen, rows, s->activation == RELU, room.wide, room.codes, NULL);
    if (s->activation == GELU)
        for (long i = 0; i < rows * s->inner; i++)
            room.wide[i] *= 0.5f * (1 + erff(room.wide[i] * (float)M_SQRT1_2));
    linear(&l->down, room.wide, rows, 0, room.output, room.codes,
           s->activation == RELU ? room.lists : NULL);
    join_rows(&l->feed_forward, room.output, rows, s->width, x, d);
}

/* Project attention's output and join it. */
static void finish(const struct linear *out, const struct connection *c, struct room room,
                   long rows, float *x, float *d)
{
    linear(out, room.narrow, rows, 0, room.output, room.codes, NULL);
    join_rows(c, room.output, rows, out->outputs, x, d);
}

/* Self-attention of rows first to last, which are tokens that see the steps before them. */
static void look_back(const struct stack *s, const struct search *now, long index, struct room room,
                      long first, long last, float *x, float *d)
{
    const struct layer *l = s->layers + index;
    const long width = s->width, rows = last - first, newest = now->steps - 1;
    const float *seen = read_rows(&l->attention, x, rows, width, room.narrow);
    linear(&l->qkv, seen, rows, 0, room.wide, room.codes, NULL);
    for (long r = 0; r < rows; r++)
        memcpy(now->past[newest] + (index * now->rows + first + r) * 2 * width,
               room.wide + (3 * r + 1) * width, 2 * width * sizeof(float));
    for (long r = 0; r < rows; r++) {
        for (long t = 0; t < now->steps; t++) {
            const long row = now->ancestors[t * now->rows + first + r];
            const float *key = now->past[t] + (index * now->past_rows[t] + row) * 2 * width;
            room.keys[t] = row < 0 ? NULL : key;
        }
        attend(room.wide + 3 * r * width, room.keys, width, now->steps, width, s->heads,
               room.scores, room.narrow + r * width, NULL, 0);
    }
    finish(&l->attention_out, &l->attention, room, rows, x, d);
}

/* Attention of rows first to last to the encoder's output. */
static void look_across(const struct stack *s, const struct search *now, long index,
                        struct room room, long first, long last, float *x, float *d)
{
    const struct layer *l = s->layers + index;
    const long width = s->width, rows = last - first, length = now->memory_length;
    const long all = now->memory_sentences * length * width;
    const float *seen = read_rows(&l->memory, x, rows, width, room.narrow);
    linear(&l->query, seen, rows, 0, room.wide, room.codes, NULL);
    for (long r = 0; r < rows; r++) {
        const long sentence = now->sentences[first + r];
        const float *key = now->memory + 2 * index * all + sentence * length * width;
        const unsigned char *padding = now->memory_padding;
        const int another = r == 0 || sentence != now->sentences[first + r - 1];
        for (long i = 0; another && i < length; i++, key += width) {
            const int hidden = padding && padding[sentence * length + i];
            room.keys[i] = hidden ? NULL : key;
        }
        const int asked = now->attention && index == now->align_layer;
        attend(room.wide + r * width, room.keys, all, length, width, s->heads, room.scores,
               room.narrow + r * width,
               asked ? now->attention + (first + r) * length : NULL, now->rows * length);
    }
    finish(&l->memory_out, &l->memory, room, rows, x, d);
}

/* Self-attention of sentences first to last. */
static void look_around(const struct stack *s, const struct source *source, const struct layer *l,
                        struct room room, long first, long last, float *x, float *d)
{
    const long width = s->width, length = source->length, rows = (last - first) * length;
    const float *seen = read_rows(&l->attention, x, rows, width, room.narrow);
    linear(&l->qkv, seen, rows, 0, room.wide, room.codes, NULL);
    for (long b = 0; b < last - first; b++) {
        for (long i = 0; i < length; i++) {
            const float *key = room.wide + (3 * (b * length + i) + 1) * width;
            const int hidden = source->padding && source->padding[(first + b) * length + i];
            room.keys[i] = hidden ? NULL : key;
        }
        for (long i = b * length; i < (b + 1) * length; i++)
            attend(room.wide + 3 * i * width, room.keys, width, length, width, s->heads,
                   room.scores, room.narrow + i * width, NULL, 0);
    }
    finish(&l->attention_out, &l->attention, room, rows, x, d);
}

/* One token for rows first to last: x and d are rows x width. */
void VARIANT(decode)(const struct stack *s, const struct search *now, long first, long last, float *x,
                   float *d, char *scratch)
{
    const long rows = last - first, width = s->width;
    const long longest = now->steps > now->memory_length ? now->steps : now->memory_length;
    const struct room room = furnish(s, rows, longest, scratch);
    x += first * width;
    if (d) d += first * width;
    for (long index = 0; index < s->depth; index++) {
        look_back(s, now, index, room, first, last, x, d);
        if (s->has_memory) look_across(s, now, index, room, first, last, x, d);
        feed_forward(s, s->layers + index, room, rows, x, d);
        if (now->states)
            memcpy(now->states + (index * now->rows + first) * width, x,
                   rows * width * sizeof(float));
    }
    close_rows(&now->closing, rows, width, x, d);
}

/* Sentences first to last: x and d are sentences x length x width. */
void VARIANT(encode)(const struct stack *s, const struct source *source, long first, long last,
                   float *x, float *d, char *scratch)
{
    const long rows = (last - first) * source->length;
    const struct room room = furnish(s, rows, source->length, scratch);
    x += first * source->length * s->width;
    if (d) d += first * source->length * s->width;
    for (const struct layer *l = s->layers; l < s->layers + s->depth; l++) {
        look_around(s, source, l, room, first, last, x, d);
        feed_forward(s, l, room, rows, x, d);
    }
}

/* out = a W^T + b for rows x inputs. */
void VARIANT(linear)(const struct linear *l, const float *a, long rows, float *out, void *codes)
{
    linear(l, a, rows, 0, out, codes, NULL);
}

/* Log-probabilities of rows x columns; `whole` becomes 0 where one is NaN. */
void VARIANT(log_softmax)(const float *a, long rows, long columns, float *out, int *whole)
{
    for (; rows > 0; rows--, a += columns, out += columns) *whole &= log_softmax(a, columns, out);
}

/* The `few` greatest of each row, rows x few; `whole` becomes 0 where a NaN is met. */
void VARIANT(greatest)(const float *a, long rows, long columns, long few, float *values,
                     int64_t *places, int *whole)
{
    for (; rows > 0 && *whole; rows--, a += columns, values += few, places += few)
        *whole = greatest(a, columns, few, values, places);
}
