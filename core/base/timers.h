/* timers.h - the next of many deadlines, in O(log n) per change.
 *
 * A timer is embedded in what it wakes.  Equal times fire in the order they
 * were set, so that a run from one seed is always the same run.
 */
#ifndef SP_BASE_TIMERS_H
#define SP_BASE_TIMERS_H

#include "core/base/mem.h"
#include "spate/err.h"

/* Zeroed is "not set". */
struct sp_timer {
    sp_time_ns at;
    uint64_t seq;
    uint32_t pos; /* 1-based place in the heap; 0: not set */
};

struct sp_timers {
    const struct sp_mem *mem;
    struct sp_timer **heap;
    uint32_t count, cap;
    uint64_t seq;
};

static inline struct sp_timers sp_timers_of(const struct sp_mem *mem)
{
    return (struct sp_timers){.mem = mem};
}

/* Timers still set become unset. */
void sp_timers_done(struct sp_timers *ts);
/* Room for count timers at once, so that setting them cannot fail. */
SP_MUST_USE enum sp_err sp_timers_reserve(struct sp_timers *ts, uint32_t count);
/* Sets or moves; SP_TIME_NEVER clears.  Asserts that room was reserved. */
void sp_timers_set(struct sp_timers *ts, struct sp_timer *t, sp_time_ns at);
void sp_timers_clear(struct sp_timers *ts, struct sp_timer *t);
/* SP_TIME_NEVER when none is set. */
static inline sp_time_ns sp_timers_next(const struct sp_timers *ts)
{
    return ts->count ? ts->heap[0]->at : SP_TIME_NEVER;
}
/* Takes out the earliest timer that is due, or gives NULL. */
struct sp_timer *sp_timers_pop(struct sp_timers *ts, sp_time_ns now);

#endif
