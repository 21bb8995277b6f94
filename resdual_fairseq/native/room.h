/* Where one call works: the caller's scratch, divided. */

#ifndef RESDUAL_ROOM
#define RESDUAL_ROOM

#include <stddef.h>

#include "structures.h"

#define MOST_LANES 16   /* of any kind of processor */
#define ROWS_AT_ONCE 48 /* rows of codes, which the caches hold */

struct room {
    float *wide, *narrow, *output, *scores;
    const float **keys, **values;
    short *codes;
};

/* How many codes ROWS_AT_ONCE rows of inputs are. */
static inline long codes_of(long inputs) { return ROWS_AT_ONCE * (inputs + 1); }

static inline struct room furnish(const struct stack *s, long rows, long longest, char *scratch)
{
    const long widest = s->inner > 3 * s->width ? s->inner : 3 * s->width;
    struct room room;
    room.keys = (const float **)scratch;
    room.values = room.keys + longest;
    room.wide = (float *)(room.values + longest);
    room.narrow = room.wide + rows * widest;
    room.output = room.narrow + rows * s->width;
    room.scores = room.output + rows * s->width;
    room.codes = (short *)(room.scores + s->heads * (longest + MOST_LANES));
    return room;
}

#endif
