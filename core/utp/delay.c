#include "core/utp/delay.h"

#define MINUTE_NS (60 * SP_SECOND_NS)

static void start(struct sp_delay *d, uint32_t sample_us, sp_time_ns now)
{
    for (int i = 0; i < SP_DELAY_MINUTES; i++)
        d->minutes[i] = sample_us;
    d->base_us = sample_us;
    d->minute_at = now;
}

/* BEP-0029: "Each socket keeps a sliding minimum of the lowest value for the
 * last two minutes."  By whole minutes, and the running one. */
static void turn_minute(struct sp_delay *d, uint32_t sample_us, sp_time_ns now)
{
    for (int i = SP_DELAY_MINUTES - 1; i > 0; i--)
        d->minutes[i] = d->minutes[i - 1];
    d->minutes[0] = sample_us;
    d->minute_at = now;
    d->base_us = sample_us;
    for (int i = 1; i < SP_DELAY_MINUTES; i++) {
        if (sp_us_before(d->minutes[i], d->base_us))
            d->base_us = d->minutes[i];
    }
}

void sp_delay_add(struct sp_delay *d, uint32_t sample_us, sp_time_ns now)
{
    if (d->count == 0 || now - d->minute_at > SP_DELAY_MINUTES * MINUTE_NS)
        start(d, sample_us, now);
    else if (now - d->minute_at > MINUTE_NS)
        turn_minute(d, sample_us, now);
    if (sp_us_before(sample_us, d->minutes[0]))
        d->minutes[0] = sample_us;
    if (sp_us_before(sample_us, d->base_us))
        d->base_us = sample_us;
    d->recent_us[d->at++ % SP_DELAY_RECENT] = sample_us - d->base_us;
    if (d->count < SP_DELAY_RECENT)
        d->count++;
}

void sp_delay_shift(struct sp_delay *d, uint32_t us)
{
    d->base_us += us;
    for (int i = 0; i < SP_DELAY_MINUTES; i++)
        d->minutes[i] += us;
}

uint32_t sp_delay_queue_us(const struct sp_delay *d)
{
    uint32_t least = d->count ? UINT32_MAX : 0;
    for (uint32_t i = 0; i < d->count; i++) {
        if (d->recent_us[i] < least)
            least = d->recent_us[i];
    }
    return least;
}
