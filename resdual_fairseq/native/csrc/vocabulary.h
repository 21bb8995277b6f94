/* What a search asks of rows over the vocabulary. */

#include <stdint.h>

#include "vectors.h"

/* out = a minus the logarithm of the sum of e to the a. Returns whether that is a number; it is NaN
 * throughout where one of a is. */
static int log_softmax(const float *a, long n, float *out)
{
    vec most = spread(-__builtin_inff()), many = {0};
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vec x = load(a + i);
        const ivec more = x > most;
        most = (vec)(((ivec)x & more) | ((ivec)most & ~more));
    }
    float largest = most[0];
    for (int lane = 1; lane < LANES; lane++)
        if (most[lane] > largest) largest = most[lane];
    for (long rest = i; rest < n; rest++)
        if (a[rest] > largest) largest = a[rest];
    for (i = 0; i + LANES <= n; i += LANES) many += exponential(load(a + i) - largest);
    float total = sum(many);
    for (; i < n; i++) total += expf(a[i] - largest);
    const float all = logf(total);
    for (i = 0; i < n; i++) out[i] = a[i] - largest - all;
    return all == all;
}

/* Whether one lane's bits are not 0. */
static inline int any(ivec bits)
{
    uint64_t parts[sizeof bits / 8], found = 0;
    memcpy(parts, &bits, sizeof bits);
    for (size_t i = 0; i < sizeof parts / 8; i++) found |= parts[i];
    return found != 0;
}

/* The best numbers so far and their places: a heap with the least of them in front. */
struct heap {
    float *values;
    int64_t *places;
    long size;
};

/* Fill the gap at `gap` with a number: the lesser child moves up until the bottom is reached, and
 * what is greater than the number comes back down. Of equals, this decides which one stays. */
static inline void fill(struct heap h, long gap, float value, int64_t place)
{
    const long top = gap;
    for (long child = 2 * gap + 2; child <= h.size; child = 2 * gap + 2) {
        if (child == h.size || h.values[child] > h.values[child - 1]) child--;
        h.values[gap] = h.values[child], h.places[gap] = h.places[child];
        gap = child;
    }
    for (long parent; gap > top && h.values[parent = (gap - 1) / 2] > value; gap = parent)
        h.values[gap] = h.values[parent], h.places[gap] = h.places[parent];
    h.values[gap] = value, h.places[gap] = place;
}

/* Where, from i on, the next of n numbers is that is greater than `least` or NaN; n if none is. */
static long next(const float *a, long i, long n, float least)
{
    const vec bound = spread(least);
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        if (any(~(load(a + i) <= bound) | ~(load(a + i + LANES) <= bound) |
                ~(load(a + i + 2 * LANES) <= bound) | ~(load(a + i + 3 * LANES) <= bound)))
            break;
    while (i < n && a[i] <= least) i++;
    return i;
}

/* The `few` greatest of n numbers and their places, from the greatest on. Which of equals they are,
 * and in which order, is what a partial sort by heap makes of it, as torch's top-k does where
 * few <= n / 64. Returns 0, with nothing of use, where a NaN is met. */
static int greatest(const float *a, long n, long few, float *values, int64_t *places)
{
    struct heap best = {values, places, few};
    for (long i = 0; i < few; i++) {
        if (a[i] != a[i]) return 0;
        values[i] = a[i], places[i] = i;
    }
    for (long i = (few - 2) / 2; i >= 0; i--) fill(best, i, values[i], places[i]);
    for (long i = few; (i = next(a, i, n, values[0])) < n; i++) {
        if (a[i] != a[i]) return 0;
        fill(best, 0, a[i], i);
    }
    while (best.size > 1) {
        const long last = --best.size;
        const float value = values[last];
        const int64_t place = places[last];
        values[last] = values[0], places[last] = places[0];
        fill(best, 0, value, place);
    }
    return 1;
}
