/* rate.h - how fast something goes (a meter) and how fast it may (a bucket). */
#ifndef SP_BASE_RATE_H
#define SP_BASE_RATE_H

#include "spate/types.h"

/* Bytes over the last few seconds: SP_RATE_SLOTS whole slots and a running one. */
enum { SP_RATE_SLOTS = 8 };
#define SP_RATE_SLOT_NS (SP_SECOND_NS / 2)

struct sp_rate {
    uint64_t total;                /* bytes ever */
    uint64_t slot_ix;              /* now / SP_RATE_SLOT_NS of the running slot */
    uint64_t first_ix;             /* slot of the first byte: a young meter divides by less */
    uint32_t slots[SP_RATE_SLOTS]; /* bytes / 16, by slot_ix modulo SP_RATE_SLOTS */
    uint32_t rest;                 /* bytes below 16 not yet in a slot */
};

void sp_rate_add(struct sp_rate *r, uint64_t bytes, sp_time_ns now);
/* Bytes a second over the last 4 s (or since the first byte). */
uint64_t sp_rate_Bps(const struct sp_rate *r, sp_time_ns now);

/* A token bucket.  rate_Bps 0 is "no limit". */
struct sp_bucket {
    uint64_t rate_Bps;
    uint64_t burst_bytes;
    int64_t tokens; /* may go below 0: a message is never cut for it */
    sp_time_ns at;  /* tokens are those of this moment */
};

void sp_bucket_init(struct sp_bucket *b, uint64_t rate_Bps, sp_time_ns now);
/* Another rate from here on; tokens saved up or owed stay. */
void sp_bucket_change(struct sp_bucket *b, uint64_t rate_Bps, sp_time_ns now);
/* Bytes that may pass; UINT64_MAX without a limit. */
uint64_t sp_bucket_room(struct sp_bucket *b, sp_time_ns now);
/* The least that is worth a system call and a packet: 50 ms of the rate, at
 * most a block.  Without it a limited stream goes out in dribbles of a few
 * bytes, as fast as the loop turns, and headers outweigh payload. */
uint64_t sp_bucket_least(const struct sp_bucket *b);
/* sp_bucket_room, but 0 when that is below sp_bucket_least. */
uint64_t sp_bucket_portion(struct sp_bucket *b, sp_time_ns now);
void sp_bucket_take(struct sp_bucket *b, uint64_t bytes);
/* When there will be room for at least bytes (at most the burst). */
sp_time_ns sp_bucket_ready_at(const struct sp_bucket *b, uint64_t bytes);

#endif
