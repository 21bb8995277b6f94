/* Where one call works: the caller's scratch, divided. */

#ifndef RESDUAL_ROOM
#define RESDUAL_ROOM

#include <stddef.h>

#include "structures.h"

#define MOST_LANES 16 /* of any kind of processor */

struct room {
    float *wide, *narrow, *output, *scores;
    const float **keys;
    int *lists;
    void *codes;
};

/* The most bytes that the codes of a product's inputs take: 48 rows of 16 bits, or 96 of 8, padded
 * to a whole pair or four. */
static inline size_t codes_of(long inputs) { return 96 * (inputs + 3); }

/* The most that a product's lists of active inputs take: their count and which, for each row of many
 * some inputs at a time, or for each tile of few all. Never less for more rows: threads get the room
 * of the one that has most. */
static inline long lists_of(long rows, long inputs)
{
    const long of_rows = rows * (1 + SHALLOW);
    const long of_tiles = ((rows < FEW ? rows : FEW) / TILE + 1) * (1 + inputs);
    return of_rows > of_tiles ? of_rows : of_tiles;
}

static inline struct room furnish(const struct stack *s, long rows, long longest, char *scratch)
{
    const long widest = s->inner > 3 * s->width ? s->inner : 3 * s->width;
    struct room room;
    room.keys = (const float **)scratch;
    room.wide = (float *)(room.keys + longest);
    room.narrow = room.wide + rows * widest;
    room.output = room.narrow + rows * s->width;
    room.scores = room.output + rows * s->width;
    room.lists = (int *)(room.scores + s->heads * (longest + MOST_LANES));
    room.codes = room.lists + lists_of(rows, s->inner);
    return room;
}

#endif
