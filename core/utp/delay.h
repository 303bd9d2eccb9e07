/* delay.h - how long packets wait in queues on one way, out of time stamps of
 * two clocks that know nothing of each other (BEP-0029).
 *
 * A stamp's difference is the way's length plus the difference of the clocks;
 * the least that was seen lately is the way without queues.
 */
#ifndef SP_UTP_DELAY_H
#define SP_UTP_DELAY_H

#include "spate/types.h"

enum { SP_DELAY_MINUTES = 3, SP_DELAY_RECENT = 4 };

struct sp_delay {
    uint32_t base_us;                    /* the least of minutes[] */
    uint32_t minutes[SP_DELAY_MINUTES];  /* the least of each minute, the running one first */
    uint32_t recent_us[SP_DELAY_RECENT]; /* queueing of the last samples */
    sp_time_ns minute_at;                /* the running minute began */
    uint32_t count;                      /* samples, up to SP_DELAY_RECENT */
    uint32_t at;
};

/* a lies before b on a clock that wraps. */
static inline bool sp_us_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

void sp_delay_add(struct sp_delay *d, uint32_t sample_us, sp_time_ns now);
/* The clocks have drifted: all that was measured is us later by now. */
void sp_delay_shift(struct sp_delay *d, uint32_t us);
/* Microseconds of queueing: the least of the last samples, because noise only
 * ever adds.  0 before there are any. */
uint32_t sp_delay_queue_us(const struct sp_delay *d);

#endif
