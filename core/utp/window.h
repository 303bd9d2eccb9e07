/* window.h - how much may be on its way: LEDBAT (BEP-0029, RFC 6817) with slow
 * start, pauses that find the way's true length, and losses taken for what the
 * delay says they are.  See docs/core/utp.md for the reasons.
 */
#ifndef SP_UTP_WINDOW_H
#define SP_UTP_WINDOW_H

#include "spate/types.h"

/* BEP-0029: "In practice, the uTP target delay is set to 100 ms." */
#define SP_UTP_TARGET_US 100000u

struct sp_window {
    uint64_t size_256; /* bytes / 256 */
    uint32_t max_bytes;
    uint32_t threshold; /* slow start ends there */
    bool slow_start;
    uint32_t loss_65536;    /* lost of 65536 packets, of the last 64 or so */
    uint32_t drain_bytes;   /* the window while it drains */
    sp_time_ns drain_until; /* 0: it does not */
    sp_time_ns drain_every;
    sp_time_ns drain_at; /* the next time; 0: not before slow start has ended */
};

/* What the way is like as an acknowledgment or a loss is heard of. */
struct sp_way {
    uint32_t queue_us; /* sp_delay_queue_us */
    uint32_t rtt_us;   /* smoothed; 0: not known */
    uint32_t mss;      /* bytes of a full packet */
    sp_time_ns now;
};

void sp_window_init(struct sp_window *w, uint32_t mss, uint32_t max_bytes);
/* What may be on its way now. */
uint32_t sp_window_bytes(const struct sp_window *w, sp_time_ns now);
/* bytes of count packets came; full: as much was on its way as might be. */
void sp_window_acked(struct sp_window *w, const struct sp_way *way, uint32_t bytes, uint32_t count,
                     bool full);
/* One packet is lost.  first: of this round trip. */
void sp_window_lost(struct sp_window *w, const struct sp_way *way, bool first);
void sp_window_timeout(struct sp_window *w, const struct sp_way *way);

#endif
