#include "core/utp/window.h"

enum {
    PACKETS_MIN = 2,
    PACKETS_FIRST = 6,
    GAIN_MIN = 3000,   /* bytes a round trip that the window grows, of libutp */
    GAIN_PART = 32,    /* or so much of itself */
    SHRINK_PART = 4,   /* of itself, for each target that the queue is too long */
    DRAIN_PART = 8,    /* of the window that is left while it drains */
    LOSS_MEMORY = 64,  /* packets */
    LOSS_HEAVY = 3932, /* 6 % of 65536 */
    QUEUE_US = 5000,   /* less is noise */
};

#define DRAIN_EVERY_NS (30 * SP_SECOND_NS)
#define US_NS          UINT64_C(1000)

static void set(struct sp_window *w, uint64_t size_256, uint32_t mss)
{
    uint64_t least = (uint64_t)PACKETS_MIN * mss * 256, most = (uint64_t)w->max_bytes * 256;
    w->size_256 = size_256 < least ? least : size_256 > most ? most : size_256;
}

void sp_window_init(struct sp_window *w, uint32_t mss, uint32_t max_bytes)
{
    *w = (struct sp_window){.max_bytes = max_bytes, .threshold = UINT32_MAX, .slow_start = true};
    set(w, (uint64_t)PACKETS_FIRST * mss * 256, mss);
}

uint32_t sp_window_bytes(const struct sp_window *w, sp_time_ns now)
{
    uint32_t size = (uint32_t)(w->size_256 / 256);
    return now < w->drain_until && w->drain_bytes < size ? w->drain_bytes : size;
}

/* Of the window, what is on the way itself and not in its queues. */
static uint64_t without_queue_256(const struct sp_window *w, const struct sp_way *way)
{
    if (way->rtt_us == 0 || way->queue_us == 0)
        return w->size_256;
    uint32_t in_queue = way->queue_us < way->rtt_us ? way->queue_us : way->rtt_us;
    return w->size_256 / way->rtt_us * (way->rtt_us - in_queue);
}

/* ---- pauses ----
 *
 * Who comes when others fill the queue takes their queue for the way's length,
 * and who has filled it for minutes forgets how short the way once was.  So
 * everybody now and then sends next to nothing for two round trips: once slow
 * start has filled the queue, soon after, then twice a minute.  It then goes on
 * with the window that needs no queue, and all who share the way grow anew by
 * the same steps: so they become alike. */

static void start_drain(struct sp_window *w, const struct sp_way *way)
{
    uint64_t least = (uint64_t)2 * PACKETS_MIN * way->mss;
    uint64_t bytes = w->size_256 / 256 / DRAIN_PART;
    w->drain_bytes = (uint32_t)(bytes < least ? least : bytes);
    w->drain_until = way->now + 2 * (uint64_t)way->rtt_us * US_NS;
}

static void end_drain(struct sp_window *w, const struct sp_way *way)
{
    if (w->drain_every < DRAIN_EVERY_NS)
        w->drain_every += DRAIN_EVERY_NS / 3;
    w->slow_start = true;
    w->drain_until = 0;
    w->drain_at = way->now + w->drain_every;
    set(w, (uint64_t)w->drain_bytes * 256, way->mss);
}

static void see_to_drain(struct sp_window *w, const struct sp_way *way)
{
    if (w->drain_until) {
        if (way->now >= w->drain_until)
            end_drain(w, way);
        return;
    }
    if (w->slow_start || w->drain_at == 0 || way->now < w->drain_at)
        return;
    if (way->queue_us > QUEUE_US) {
        w->threshold = (uint32_t)(without_queue_256(w, way) / 256);
        start_drain(w, way);
    } else
        w->drain_at = way->now + DRAIN_EVERY_NS / 8;
}

/* ---- growing and shrinking ---- */

static void end_slow_start(struct sp_window *w, const struct sp_way *way)
{
    w->slow_start = false;
    if (w->drain_at == 0)
        w->drain_at = way->now + 2 * (uint64_t)way->rtt_us * US_NS;
}

static void grow_fast(struct sp_window *w, const struct sp_way *way, uint32_t bytes, bool full)
{
    /* What is sent now is heard of one round trip later, when twice as much is
     * on its way: at a quarter of the target the queue is about to be as long
     * as it should become. */
    if (way->queue_us > SP_UTP_TARGET_US / 4 || w->size_256 / 256 >= w->threshold) {
        end_slow_start(w, way);
        return;
    }
    if (full)
        set(w, w->size_256 + (uint64_t)bytes * 256, way->mss);
}

/* BEP-0029: "scaled_gain = MAX_CWND_INCREASE_PACKETS_PER_RTT * delay_factor *
 * window_factor": by the share of the window that was acknowledged.  The sign
 * in "This will make the window smaller if off_target is greater than 0" is
 * meant the other way round. */
static void follow_delay(struct sp_window *w, const struct sp_way *way, uint32_t bytes, bool full)
{
    uint64_t size = w->size_256 / 256, target = SP_UTP_TARGET_US, queue = way->queue_us;
    uint64_t acked = bytes < size ? bytes : size;

    if (queue <= target) {
        /* While there is no queue the way is not full: by a part of what is
         * there; then by the same for all. */
        uint64_t gain =
            queue < target / 8 && size / GAIN_PART > GAIN_MIN ? size / GAIN_PART : GAIN_MIN;
        uint64_t more = gain * acked * 256 / size * (target - queue) / target;
        if (full)
            set(w, w->size_256 + more, way->mss);
        return;
    }
    uint64_t over = queue - target < 2 * target ? queue - target : 2 * target;
    set(w, w->size_256 - acked * 256 / SHRINK_PART * over / target, way->mss);
}

void sp_window_acked(struct sp_window *w, const struct sp_way *way, uint32_t bytes, uint32_t count,
                     bool full)
{
    for (uint32_t i = 0; i < count && w->loss_65536 > 0; i++)
        w->loss_65536 -= w->loss_65536 < LOSS_MEMORY ? 1 : w->loss_65536 / LOSS_MEMORY;
    see_to_drain(w, way);
    if (w->drain_until)
        return;
    if (w->slow_start)
        grow_fast(w, way, bytes, full);
    else
        follow_delay(w, way, bytes, full);
}

/* BEP-0029, not followed: "When a packet is lost, the max_window is multiplied
 * by 0.5 to mimic TCP."  A loss is answered by what the window holds in
 * queues: nothing where there is none (radio), up to a half where a queue that
 * ran over lost it.  Where many packets are lost the way is full whatever the
 * delay says (a policer): then by 0.7. */
void sp_window_lost(struct sp_window *w, const struct sp_way *way, bool first)
{
    w->loss_65536 += (65536 - w->loss_65536) / LOSS_MEMORY;
    if (!first)
        return;
    uint64_t keep = way->queue_us > QUEUE_US ? without_queue_256(w, way) : w->size_256;
    if (keep < w->size_256 / 2)
        keep = w->size_256 / 2;
    if (w->loss_65536 > LOSS_HEAVY && keep > w->size_256 / 10 * 7)
        keep = w->size_256 / 10 * 7;
    if (keep < w->size_256 / 10 * 9)
        end_slow_start(w, way);
    set(w, keep, way->mss);
}

/* BEP-0029: "It will set its packet_size and max_window to the smallest packet
 * size": the window to the least, the packets stay as long as they were found
 * to get through. */
void sp_window_timeout(struct sp_window *w, const struct sp_way *way)
{
    uint64_t half = w->size_256 / 256 / 2;
    w->threshold = (uint32_t)(half > 4 * way->mss ? half : 4 * way->mss);
    w->slow_start = true;
    w->drain_until = 0;
    set(w, 0, way->mss);
}
