#include "core/base/rate.h"

static void roll(struct sp_rate *r, uint64_t ix)
{
    uint64_t gap = ix - r->slot_ix;
    if (gap > SP_RATE_SLOTS)
        gap = SP_RATE_SLOTS;
    for (uint64_t i = 0; i < gap; i++)
        r->slots[(ix - i) % SP_RATE_SLOTS] = 0;
    r->slot_ix = ix;
}

void sp_rate_add(struct sp_rate *r, uint64_t bytes, sp_time_ns now)
{
    uint64_t ix = now / SP_RATE_SLOT_NS;
    if (r->total == 0)
        r->first_ix = r->slot_ix = ix;
    if (ix > r->slot_ix)
        roll(r, ix);
    r->total += bytes;
    bytes += r->rest;
    r->rest = (uint32_t)(bytes % 16);
    r->slots[r->slot_ix % SP_RATE_SLOTS] += (uint32_t)(bytes / 16);
}

uint64_t sp_rate_Bps(const struct sp_rate *r, sp_time_ns now)
{
    uint64_t ix = now / SP_RATE_SLOT_NS, sum = 0;
    if (r->total == 0 || ix - r->slot_ix >= SP_RATE_SLOTS)
        return 0;
    /* The running slot and the SP_RATE_SLOTS - 1 whole ones before it. */
    uint64_t oldest = ix >= SP_RATE_SLOTS - 1 ? ix - (SP_RATE_SLOTS - 1) : 0;
    if (oldest < r->first_ix)
        oldest = r->first_ix;
    for (uint64_t i = oldest; i <= r->slot_ix; i++)
        sum += (uint64_t)r->slots[i % SP_RATE_SLOTS] * 16;

    uint64_t span_ns = now - oldest * SP_RATE_SLOT_NS;
    if (span_ns < SP_RATE_SLOT_NS)
        span_ns = SP_RATE_SLOT_NS;
    return (uint64_t)((unsigned __int128)sum * SP_SECOND_NS / span_ns);
}

void sp_bucket_init(struct sp_bucket *b, uint64_t rate_Bps, sp_time_ns now)
{
    /* A quarter of a second: small enough to look smooth, large enough that
     * a wake-up every few ms does not starve a fast limit. */
    uint64_t burst = rate_Bps / 4;
    if (burst < 2 * SP_BLOCK_LEN)
        burst = 2 * SP_BLOCK_LEN;
    *b = (struct sp_bucket){.rate_Bps = rate_Bps, .burst_bytes = burst, .at = now};
}

void sp_bucket_change(struct sp_bucket *b, uint64_t rate_Bps, sp_time_ns now)
{
    (void)sp_bucket_room(b, now); /* what the old rate earned up to now */
    int64_t tokens = b->rate_Bps ? b->tokens : 0;
    sp_bucket_init(b, rate_Bps, now);
    b->tokens = tokens;
}

uint64_t sp_bucket_room(struct sp_bucket *b, sp_time_ns now)
{
    if (b->rate_Bps == 0)
        return UINT64_MAX;
    if (now > b->at) {
        unsigned __int128 fresh = (unsigned __int128)(now - b->at) * b->rate_Bps / SP_SECOND_NS;
        if (fresh > 0) {
            int64_t add = fresh > b->burst_bytes * 2 + SP_BLOCK_LEN
                              ? (int64_t)(b->burst_bytes * 2 + SP_BLOCK_LEN)
                              : (int64_t)fresh;
            b->tokens += add;
            b->at = now;
        }
    }
    if (b->tokens > (int64_t)b->burst_bytes)
        b->tokens = (int64_t)b->burst_bytes;
    return b->tokens > 0 ? (uint64_t)b->tokens : 0;
}

uint64_t sp_bucket_least(const struct sp_bucket *b)
{
    uint64_t least = b->rate_Bps / 20;
    return least < 1 ? 1 : least > SP_BLOCK_LEN ? SP_BLOCK_LEN : least;
}

uint64_t sp_bucket_portion(struct sp_bucket *b, sp_time_ns now)
{
    uint64_t room = sp_bucket_room(b, now);
    return room < sp_bucket_least(b) ? 0 : room;
}

void sp_bucket_take(struct sp_bucket *b, uint64_t bytes)
{
    if (b->rate_Bps)
        b->tokens -= (int64_t)bytes;
}

sp_time_ns sp_bucket_ready_at(const struct sp_bucket *b, uint64_t bytes)
{
    if (b->rate_Bps == 0)
        return b->at;
    if (bytes > b->burst_bytes)
        bytes = b->burst_bytes;
    if (b->tokens >= (int64_t)bytes)
        return b->at;
    uint64_t lack = (uint64_t)((int64_t)bytes - b->tokens);
    return b->at + (sp_time_ns)((unsigned __int128)lack * SP_SECOND_NS / b->rate_Bps) + 1;
}
