/* linger.h - when a hash worker waits for more jobs, and how long: arithmetic
 * alone, the clock and the waiting are the hasher's.
 *
 * Full lanes hash several times faster than one stream, so a worker with few
 * jobs may wait for the next ones, if they are about to come: the mean gap
 * between arrivals says so.  A gap of a whole linger_ns or more ends a burst
 * at once and a handful of short ones makes the next.
 */
#ifndef SP_IO_LINGER_H
#define SP_IO_LINGER_H

#include "spate/types.h"

struct sp_linger {
    sp_time_ns linger_ns; /* longest wait; 0: none */
    uint32_t batch;       /* jobs that fill the lanes */
    size_t bytes_max;     /* what a batch may hold back */
    sp_time_ns last;      /* arrival; 0 before the first */
    sp_time_ns gap_ns;    /* mean between arrivals, linger_ns at most */
};

static inline void sp_linger_init(struct sp_linger *l, sp_time_ns linger_ns, uint32_t batch,
                                  size_t bytes_max)
{
    *l = (struct sp_linger){linger_ns, batch, bytes_max, 0, linger_ns};
}

/* count > 0 jobs came at once. */
static inline void sp_linger_arrive(struct sp_linger *l, sp_time_ns now, uint32_t count)
{
    const sp_time_ns since = l->last && now > l->last ? now - l->last : 0;

    if (!l->last || since >= l->linger_ns)
        l->gap_ns = l->linger_ns;
    else
        l->gap_ns = (l->gap_ns * 3 + since) / 4;
    /* The others of the same call came at no distance. */
    for (uint32_t i = 1; i < count && i < 16; i++)
        l->gap_ns = l->gap_ns * 3 / 4;
    l->last = now;
}

/* Do so many jobs of so many bytes fill a batch, or does one more not fit? */
static inline bool sp_linger_is_full(const struct sp_linger *l, uint32_t waiting, uint64_t bytes)
{
    return waiting >= l->batch || (waiting > 0 && bytes + bytes / waiting > l->bytes_max);
}

/* Until when to wait for more than the waiting > 0 jobs, by a worker that began
 * to wait at the time since; no later than now when it is not worth it.  To be
 * asked again then, as jobs may have come. */
static inline sp_time_ns sp_linger_until(const struct sp_linger *l, sp_time_ns now,
                                         sp_time_ns since, uint32_t waiting, uint64_t bytes)
{
    /* Fewer than three more in the time there is: nothing is won by waiting. */
    if (sp_linger_is_full(l, waiting, bytes) || l->gap_ns > l->linger_ns / 4)
        return now;
    sp_time_ns end = since + l->linger_ns;
    /* Four gaps without an arrival: the burst is over. */
    sp_time_ns quiet = l->last + 4 * l->gap_ns + SP_MS_NS / 20;
    return quiet < end ? quiet : end;
}

#endif
