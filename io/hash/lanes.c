#include "io/hash/lanes.h"

#include <string.h>

#include "core/base/out.h"

enum { BLOCK = 64, PREFETCHED = 512 };

/* A message under way. */
struct lane {
    struct sp_hash_msg *msg;
    uint32_t part;             /* the next bytes are in this part ... */
    size_t off;                /* ... from here on */
    uint64_t len;              /* bytes taken so far */
    bool is_padded;            /* the current run is the last */
    const uint8_t *run;        /* where the kernel goes on */
    size_t blocks;             /* how far */
    uint8_t joined[2 * BLOCK]; /* a block put together from several parts, or the padding */
};

struct driver {
    const struct sp_lane_plan *plan;
    struct sp_lane_queue queue;
    _Alignas(64) sp_lane_row state[8];
    struct lane lanes[SP_LANES_MAX];
    uint8_t at[SP_LANES_MAX]; /* column i of state is lanes[at[i]]; a permutation */
    uint32_t live;            /* the first so many columns are under way */
};

/* The beginning of a part is seen by no prefetcher before it is too late. */
static void prefetch(const struct sp_hash_msg *msg, uint32_t part)
{
    if (part >= msg->part_count)
        return;
    for (size_t o = 0; o < PREFETCHED && o < msg->parts[part].len; o += BLOCK)
        __builtin_prefetch(msg->parts[part].ptr + o);
}

/* Up to a block from as many parts as it takes; returns the bytes. */
static size_t join(struct lane *l)
{
    size_t have = 0;

    while (have < BLOCK && l->part < l->msg->part_count) {
        const struct sp_slice *part = &l->msg->parts[l->part];
        size_t n = part->len - l->off;
        if (n > BLOCK - have)
            n = BLOCK - have;
        if (n > 0)
            memcpy(l->joined + have, part->ptr + l->off, n);
        have += n;
        l->off += n;
        if (l->off == part->len) {
            l->part++;
            l->off = 0;
        }
    }
    return have;
}

/* FIPS 180-4, 5.1.1: a one bit, zeros, the length in bits. */
static void pad(struct lane *l, size_t have)
{
    l->blocks = have < BLOCK - 8 ? 1 : 2;
    memset(l->joined + have, 0, sizeof(l->joined) - have);
    l->joined[have] = 0x80;
    const uint64_t bits = l->len * 8;
    sp_put_be32(l->joined + l->blocks * BLOCK - 8, (uint32_t)(bits >> 32));
    sp_put_be32(l->joined + l->blocks * BLOCK - 4, (uint32_t)bits);
    l->is_padded = true;
}

/* The lane's next run of whole blocks; false when its message is hashed. */
static bool next_run(struct lane *l)
{
    const struct sp_hash_msg *msg = l->msg;

    if (l->is_padded)
        return false;
    while (l->part < msg->part_count && l->off == msg->parts[l->part].len) {
        l->part++;
        l->off = 0;
    }
    if (l->part < msg->part_count && msg->parts[l->part].len - l->off >= BLOCK) {
        l->run = msg->parts[l->part].ptr + l->off;
        l->blocks = (msg->parts[l->part].len - l->off) / BLOCK;
        l->off += l->blocks * BLOCK;
        l->len += l->blocks * BLOCK;
        prefetch(msg, l->part + 1);
        return true;
    }
    size_t have = join(l);
    l->run = l->joined;
    l->blocks = 1;
    l->len += have;
    if (have < BLOCK)
        pad(l, have);
    return true;
}

static struct sp_hash_msg *take(struct sp_lane_queue *q)
{
    q->count--;
    return q->list ? *q->list++ : q->array++;
}

static void begin(struct driver *d)
{
    const uint32_t column = d->live++;
    struct lane *l = &d->lanes[d->at[column]];

    l->msg = take(&d->queue);
    l->part = 0;
    l->off = 0;
    l->len = 0;
    l->is_padded = false;
    for (uint32_t w = 0; w < d->plan->words; w++)
        d->state[w][column] = d->plan->start[w];
    prefetch(l->msg, 0);
    next_run(l); /* there is the padding at least */
}

/* The digest goes out, the last live lane takes the column. */
static void end(struct driver *d, uint32_t column)
{
    const uint32_t last = --d->live;
    const uint8_t lane = d->at[column];

    for (uint32_t w = 0; w < d->plan->words; w++) {
        sp_put_be32(d->lanes[lane].msg->digest + 4 * w, d->state[w][column]);
        d->state[w][column] = d->state[w][last];
    }
    d->at[column] = d->at[last];
    d->at[last] = lane;
}

/* All lanes that fit the kernel advance by the shortest run among them. */
static void step(struct driver *d, const struct sp_lane_kind *kind)
{
    const uint8_t *data[SP_LANES_MAX];
    const uint32_t used = d->live < kind->width ? d->live : kind->width;
    size_t blocks = SIZE_MAX;

    for (uint32_t i = 0; i < used; i++) {
        const struct lane *l = &d->lanes[d->at[i]];
        data[i] = l->run;
        if (l->blocks < blocks)
            blocks = l->blocks;
    }
    /* An idle lane reads along with the first; nobody looks at its state. */
    for (uint32_t i = used; i < kind->width; i++)
        data[i] = data[0];
    kind->run(d->state, data, blocks);
    for (uint32_t i = used; i-- > 0;) {
        struct lane *l = &d->lanes[d->at[i]];
        l->run += blocks * BLOCK;
        l->blocks -= blocks;
        if (l->blocks == 0 && !next_run(l))
            end(d, i);
    }
}

void sp_lanes_run(const struct sp_lane_plan *plan, struct sp_lane_queue queue)
{
    struct driver d; /* 4 KiB; a lane is set when it begins */

    memset(d.state, 0, sizeof(d.state));
    d.plan = plan;
    d.queue = queue;
    d.live = 0;
    for (uint32_t i = 0; i < SP_LANES_MAX; i++)
        d.at[i] = (uint8_t)i;
    while (d.live + d.queue.count > 0) {
        uint64_t left = (uint64_t)d.live + d.queue.count;
        uint32_t row = left < SP_LANES_MAX ? (uint32_t)left : SP_LANES_MAX;
        const struct sp_lane_kind *kind = d.live ? plan->begun[row] : plan->best[row];
        if (!kind->run) {
            plan->whole(take(&d.queue));
            continue;
        }
        while (d.live < kind->width && d.queue.count > 0)
            begin(&d);
        step(&d, kind);
    }
}
