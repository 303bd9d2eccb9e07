/* Two or more uTP endpoints over links of a model: a rate with a queue, a
 * delay, losses, reordering, clocks that differ and drift.  In virtual time. */
#include "core/utp/utp.h"

#include "check.h"
#include "core/base/rng.h"
#include "core/utp/delay.h"
#include "core/utp/packet.h"
#include "torture.h"

enum { ENDS = 4, FIFO = 1 << 14, MIB = 1 << 20 };

struct packet {
    sp_time_ns at;
    int from, to;
    uint32_t len;
    uint8_t *bytes;
};

/* Everything that is sent to one end goes through its queue. */
struct way {
    uint64_t rate_Bps;
    sp_time_ns delay_ns;
    uint32_t queue_bytes, loss_permille, reorder_permille, mtu;
    sp_time_ns free_at, queue_most;
    struct packet *fifo;
    uint32_t head, count;
    uint64_t dropped, passed_bytes;
};

struct stream { /* of one connection at one end */
    struct sp_utp_conn *c;
    uint64_t to_send, sent, got;
    uint64_t take_max; /* bytes it takes at once; 0: all */
    bool connected, closed, corrupt, close_when_sent, accepted, holds;
    const char *why;
};

struct end {
    struct sp_utp *u;
    struct sp_addr addr;
    struct stream streams[8];
    uint32_t stream_count;
    int64_t clock_off_ns, drift_ppm;
    bool lies_dead; /* hears and says nothing */
};

struct net {
    sp_time_ns now;
    struct sp_rng rng;
    struct end ends[ENDS];
    struct way ways[ENDS];
    uint32_t end_count;
    struct torture mem_count;
    struct sp_mem mem;
    const char *broken;
    uint64_t steps;
};

static uint8_t pattern(uint64_t off)
{
    return (uint8_t)(off * 7 + (off >> 8) * 13 + (off >> 16));
}

static sp_time_ns clock_of(const struct net *n, int e)
{
    const struct end *end = &n->ends[e];
    int64_t drift = (int64_t)n->now / 1000000 * end->drift_ppm;
    return n->now + (uint64_t)(end->clock_off_ns + drift);
}

static void net_init(struct net *n, uint32_t ends, uint64_t rate_Bps, sp_time_ns delay,
                     uint32_t queue)
{
    memset(n, 0, sizeof(*n));
    n->now = SP_SECOND_NS;
    n->rng = sp_rng_of(42);
    n->end_count = ends;
    n->mem_count.until_failure = -1;
    n->mem = (struct sp_mem){torture_alloc, torture_free, &n->mem_count};
    for (uint32_t i = 0; i < ends; i++) {
        struct sp_utp_cfg cfg = {
            .mem = &n->mem,
            .seed = i + 1,
            .secret = {i + 7, 9},
            .conn_max = 100,
            .recv_window_max = 4 * MIB,
            .recv_bytes_max = 32 * MIB,
            .send_window_max = 8 * MIB,
            .send_bytes_max = 64 * MIB,
        };
        uint8_t ip[4] = {10, 0, 0, (uint8_t)(i + 1)};
        n->ends[i].addr = sp_addr_v4(ip, 6881);
        n->ends[i].clock_off_ns = (int64_t)i * 3600 * (int64_t)SP_SECOND_NS;
        CHECK_EQ(sp_utp_new(&cfg, &n->ends[i].u), SP_OK);
        n->ways[i] = (struct way){.rate_Bps = rate_Bps,
                                  .delay_ns = delay,
                                  .queue_bytes = queue,
                                  .mtu = 1472,
                                  .fifo = calloc(FIFO, sizeof(struct packet))};
    }
}

static void net_done(struct net *n)
{
    for (uint32_t i = 0; i < n->end_count; i++) {
        sp_utp_free(n->ends[i].u);
        for (uint32_t k = 0; k < n->ways[i].count; k++)
            free(n->ways[i].fifo[(n->ways[i].head + k) % FIFO].bytes);
        free(n->ways[i].fifo);
    }
    CHECK_EQ(n->mem_count.live, 0);
    CHECK(!n->broken);
    if (n->broken)
        printf("# %s\n", n->broken);
}

static int end_of(struct net *n, const struct sp_addr *a)
{
    for (uint32_t i = 0; i < n->end_count; i++) {
        if (sp_addr_eq(&n->ends[i].addr, a))
            return (int)i;
    }
    return -1;
}

static void put_on_way(struct net *n, int from, int to, const uint8_t *ptr, uint32_t len)
{
    struct way *w = &n->ways[to];
    sp_time_ns start = w->free_at > n->now ? w->free_at : n->now;
    sp_time_ns wait = start - n->now, own = len * SP_SECOND_NS / w->rate_Bps;
    uint64_t queued = wait * w->rate_Bps / SP_SECOND_NS;

    if (len > w->mtu || queued > w->queue_bytes || w->count == FIFO ||
        sp_rng_below(&n->rng, 1000) < w->loss_permille) {
        w->dropped++;
        return;
    }
    if (wait > w->queue_most)
        w->queue_most = wait;
    w->free_at = start + own;
    w->passed_bytes += len;
    struct packet *p = &w->fifo[(w->head + w->count++) % FIFO];
    *p = (struct packet){.at = w->free_at + w->delay_ns, .from = from, .to = to, .len = len};
    p->bytes = malloc(len);
    memcpy(p->bytes, ptr, len);
    if (w->count > 1 && sp_rng_below(&n->rng, 1000) < w->reorder_permille) {
        struct packet *q = &w->fifo[(w->head + w->count - 2) % FIFO], t = *q;
        sp_time_ns at = p->at;
        p->at = q->at; /* overtakes the one before it */
        t.at = at;
        *q = *p;
        *p = t;
    }
}

/* ---- what the callers do ---- */

static struct stream *new_stream(struct net *n, int e, struct sp_utp_conn *c)
{
    struct stream *s = &n->ends[e].streams[n->ends[e].stream_count++];
    s->c = c;
    sp_utp_set_user(c, s);
    return s;
}

static struct stream *dial(struct net *n, int from, int to, uint64_t bytes)
{
    struct sp_utp_conn *c = NULL;
    CHECK_EQ(sp_utp_dial(n->ends[from].u, &n->ends[to].addr, clock_of(n, from), &c), SP_OK);
    struct stream *s = new_stream(n, from, c);
    s->to_send = bytes;
    return s;
}

static void send_more(struct net *n, int e, struct stream *s)
{
    uint8_t bytes[32768];
    while (s->c && s->sent < s->to_send) {
        size_t len = s->to_send - s->sent < sizeof(bytes) ? s->to_send - s->sent : sizeof(bytes);
        for (size_t i = 0; i < len; i++)
            bytes[i] = pattern(s->sent + i);
        struct sp_slice list[3] = {{bytes, len / 3}, {bytes, 0}, {bytes + len / 3, len - len / 3}};
        size_t did = sp_utp_write(n->ends[e].u, s->c, list, 3, clock_of(n, e));
        s->sent += did;
        if (did < len)
            return;
    }
    if (s->c && s->close_when_sent && s->sent == s->to_send) {
        sp_utp_close(n->ends[e].u, s->c, clock_of(n, e));
        s->c = NULL;
    }
}

static void got_data(struct net *n, int e, struct stream *s, const struct sp_utp_event *ev)
{
    size_t total = 0, may = s->holds ? 0 : s->take_max ? s->take_max : SIZE_MAX;
    for (uint32_t i = 0; i < ev->slice_count; i++) {
        for (size_t k = 0; k < ev->slices[i].len && total < may; k++, total++)
            s->corrupt |= ev->slices[i].ptr[k] != pattern(s->got + total);
    }
    s->got += total;
    sp_utp_took(n->ends[e].u, ev->conn, total, clock_of(n, e));
}

static void pull_events(struct net *n, int e)
{
    struct sp_utp_event ev;
    while (sp_utp_next(n->ends[e].u, &ev)) {
        struct stream *s = ev.kind == SP_UTP_ACCEPTED ? new_stream(n, e, ev.conn)
                           : ev.kind == SP_UTP_CLOSED ? NULL
                                                      : sp_utp_user(ev.conn);
        for (uint32_t i = 0; i < n->ends[e].stream_count && !s; i++) {
            if (n->ends[e].streams[i].c == ev.conn)
                s = &n->ends[e].streams[i];
        }
        CHECK(s != NULL);
        if (!s)
            return;
        switch (ev.kind) {
        case SP_UTP_ACCEPTED:
            s->accepted = true;
            break;
        case SP_UTP_CONNECTED:
            s->connected = true;
            send_more(n, e, s);
            break;
        case SP_UTP_DATA:
            got_data(n, e, s, &ev);
            break;
        case SP_UTP_WRITABLE:
            send_more(n, e, s);
            break;
        case SP_UTP_CLOSED:
            s->closed = true;
            s->why = ev.why;
            s->c = NULL;
            break;
        }
    }
}

static void pull_all(struct net *n, int e)
{
    struct sp_utp_batch b;
    struct end *end = &n->ends[e];

    pull_events(n, e);
    for (int i = 0; sp_utp_pull(end->u, clock_of(n, e), &b); i++) {
        int to = end_of(n, &b.to);
        if (i > 100000) {
            n->broken = "datagrams without end";
            return;
        }
        if (b.probe && b.len > 1472) {
            sp_utp_refused(end->u, true, clock_of(n, e));
            continue;
        }
        for (size_t at = 0; at < b.len && to >= 0 && !end->lies_dead; at += b.seg_len) {
            size_t len = b.len - at < b.seg_len ? b.len - at : b.seg_len;
            put_on_way(n, e, to, b.ptr + at, (uint32_t)len);
        }
        sp_utp_sent(end->u, clock_of(n, e));
    }
    bool look = n->steps++ % 1024 == 0; /* costs as much as packets are on their way */
    const char *why = n->broken || !look ? NULL : sp_utp_broken(end->u);
    if (why)
        n->broken = why;
}

static void deliver(struct net *n, struct packet *p)
{
    struct end *end = &n->ends[p->to];
    size_t used = 0;
    while (used < p->len && !end->lies_dead) {
        used += sp_utp_datagrams(end->u, &n->ends[p->from].addr,
                                 (struct sp_slice){p->bytes + used, p->len - used}, p->len,
                                 clock_of(n, p->to));
        pull_events(n, p->to);
    }
    free(p->bytes);
    pull_all(n, p->to);
}

/* Up to the next thing that happens; false when that is after end. */
static bool step(struct net *n, sp_time_ns end)
{
    sp_time_ns at = SP_TIME_NEVER;
    int which = -1;
    bool packet = false;

    for (uint32_t i = 0; i < n->end_count; i++) {
        sp_time_ns due = sp_utp_deadline(n->ends[i].u);
        if (due != SP_TIME_NEVER) {
            sp_time_ns own = clock_of(n, (int)i);
            due = due > own ? n->now + (due - own) : n->now;
        }
        if (due < at) {
            at = due;
            which = (int)i;
            packet = false;
        }
        if (n->ways[i].count && n->ways[i].fifo[n->ways[i].head].at < at) {
            at = n->ways[i].fifo[n->ways[i].head].at;
            which = (int)i;
            packet = true;
        }
    }
    if (at > end) {
        n->now = end;
        return false;
    }
    n->now = at > n->now ? at : n->now;
    if (packet) {
        struct way *w = &n->ways[which];
        struct packet p = w->fifo[w->head];
        w->head = (w->head + 1) % FIFO;
        w->count--;
        deliver(n, &p);
    } else {
        n->now++;
        sp_utp_tick(n->ends[which].u, clock_of(n, which));
        pull_all(n, which);
    }
    return true;
}

static void run(struct net *n, sp_time_ns span)
{
    sp_time_ns end = n->now + span;
    for (uint32_t i = 0; i < n->end_count; i++)
        pull_all(n, (int)i);
    while (step(n, end))
        continue;
}

static struct sp_utp_stats stats_of(const struct stream *s)
{
    struct sp_utp_stats st = {0};
    if (s->c)
        sp_utp_conn_stats(s->c, &st);
    return st;
}

/* ---- tests ---- */

TEST(utp_carries_a_stream)
{
    struct net n;
    net_init(&n, 2, 2 * MIB, 10 * SP_MS_NS, 256 * 1024);
    struct stream *a = dial(&n, 0, 1, 1000000), *b = &n.ends[1].streams[0];
    a->close_when_sent = true;
    run(&n, 10 * SP_SECOND_NS);
    CHECK(a->connected && b->accepted);
    CHECK_EQ(b->got, 1000000);
    CHECK(!b->corrupt && b->closed);
    CHECK(b->why && strcmp(b->why, "closed the connection") == 0);
    CHECK_EQ(sp_utp_conn_count(n.ends[0].u), 0);
    CHECK_EQ(sp_utp_conn_count(n.ends[1].u), 0);
    net_done(&n);
}

TEST(utp_carries_both_ways)
{
    struct net n;
    net_init(&n, 2, 4 * MIB, 20 * SP_MS_NS, 512 * 1024);
    struct stream *a = dial(&n, 0, 1, 3000000), *b = &n.ends[1].streams[0];
    b->to_send = 2000000;
    run(&n, 500 * SP_MS_NS);
    CHECK(b->c != NULL);
    send_more(&n, 1, b);
    run(&n, 20 * SP_SECOND_NS);
    CHECK_EQ(b->got, 3000000);
    CHECK_EQ(a->got, 2000000);
    CHECK(!a->corrupt && !b->corrupt);
    net_done(&n);
}

/* More packets than there are sequence numbers, with losses on the way. */
TEST(utp_numbers_wrap)
{
    struct net n;
    net_init(&n, 2, 20 * MIB, 5 * SP_MS_NS, 1 * MIB);
    n.ways[1].loss_permille = 2;
    n.ways[1].reorder_permille = 20;
    struct stream *b = &n.ends[1].streams[0];
    (void)dial(&n, 0, 1, 100 * (uint64_t)MIB);
    run(&n, 60 * SP_SECOND_NS);
    CHECK_EQ(b->got, 100 * (uint64_t)MIB);
    CHECK(!b->corrupt);
    net_done(&n);
}

TEST(utp_survives_heavy_loss_and_disorder)
{
    for (uint32_t loss = 20; loss <= 200; loss += 60) {
        struct net n;
        net_init(&n, 2, 2 * MIB, 15 * SP_MS_NS, 256 * 1024);
        n.ways[0].loss_permille = n.ways[1].loss_permille = loss;
        n.ways[0].reorder_permille = n.ways[1].reorder_permille = 100;
        struct stream *a = dial(&n, 0, 1, 1000000), *b = &n.ends[1].streams[0];
        a->close_when_sent = true;
        run(&n, 200 * SP_SECOND_NS);
        CHECK_EQ(b->got, 1000000);
        CHECK(!b->corrupt && b->closed);
        net_done(&n);
    }
}

/* 100 Mbit/s, 40 ms, a queue of 300 ms. */
/* The same, 16 Mbit/s: long stories cost less. */
static void thin(struct net *n, uint32_t ends)
{
    net_init(n, ends, 1000000, 20 * SP_MS_NS, 300000);
}

static void fat(struct net *n, uint32_t ends)
{
    net_init(n, ends, 12500000, 20 * SP_MS_NS, 3750000);
}

TEST(utp_fills_the_way_and_not_its_queue)
{
    struct net n;
    fat(&n, 2);
    struct stream *a = dial(&n, 0, 1, UINT64_MAX), *b = &n.ends[1].streams[0];
    run(&n, 5 * SP_SECOND_NS);
    n.ways[1].queue_most = 0;
    uint64_t before = b->got;
    run(&n, 15 * SP_SECOND_NS);
    uint64_t rate = (b->got - before) / 15;
    printf("# %" PRIu64 " of 12.5 MB/s, queue at most %" PRIu64 " ms, window %u, mss %u\n", rate,
           n.ways[1].queue_most / SP_MS_NS, stats_of(a).window_bytes, stats_of(a).mss_bytes);
    CHECK(rate > 11500000);
    CHECK(n.ways[1].queue_most < 110 * SP_MS_NS);
    CHECK_EQ(stats_of(a).mss_bytes, 1472 - SP_UTP_HEAD_LEN);
    CHECK_EQ(n.ways[1].dropped, 0);
    net_done(&n);
}

TEST(utp_slow_start_does_not_flood)
{
    struct net n;
    fat(&n, 2);
    (void)dial(&n, 0, 1, UINT64_MAX);
    run(&n, 3 * SP_SECOND_NS);
    printf("# queue at most %" PRIu64 " ms\n", n.ways[1].queue_most / SP_MS_NS);
    CHECK(n.ways[1].queue_most < 110 * SP_MS_NS);
    CHECK(n.ends[1].streams[0].got > 20000000);
    net_done(&n);
}

TEST(utp_random_loss_is_no_congestion)
{
    struct net n;
    fat(&n, 2);
    n.ways[1].loss_permille = 10;
    struct stream *b = &n.ends[1].streams[0];
    (void)dial(&n, 0, 1, UINT64_MAX);
    run(&n, 20 * SP_SECOND_NS);
    printf("# %" PRIu64 " B/s with 1 %% lost\n", b->got / 20);
    CHECK(b->got / 20 > 9000000);
    CHECK(!b->corrupt);
    net_done(&n);
}

/* No queue to speak of: the losses themselves say that the way is full. */
TEST(utp_yields_to_a_policer)
{
    struct net n;
    net_init(&n, 2, 1250000, 20 * SP_MS_NS, 6000);
    (void)dial(&n, 0, 1, UINT64_MAX);
    run(&n, 30 * SP_SECOND_NS);
    struct way *w = &n.ways[1];
    uint64_t passed = w->passed_bytes / 1472;
    printf("# %" PRIu64 " B/s of 1250000, %" PRIu64 " of %" PRIu64 " packets lost\n",
           n.ends[1].streams[0].got / 30, w->dropped, passed);
    CHECK(w->dropped < passed / 8);
    CHECK(n.ends[1].streams[0].got / 30 > 900000);
    net_done(&n);
}

TEST(utp_late_comer_gets_its_share)
{
    struct net n;
    thin(&n, 3);
    (void)dial(&n, 0, 2, UINT64_MAX);
    run(&n, 10 * SP_SECOND_NS);
    (void)dial(&n, 1, 2, UINT64_MAX);
    run(&n, 70 * SP_SECOND_NS);
    uint64_t a = n.ends[2].streams[0].got, b = n.ends[2].streams[1].got;
    run(&n, 60 * SP_SECOND_NS);
    a = n.ends[2].streams[0].got - a;
    b = n.ends[2].streams[1].got - b;
    printf("# %" PRIu64 " and %" PRIu64 " B/s\n", a / 60, b / 60);
    CHECK(a > b / 3 && b > a / 3);
    CHECK((a + b) / 60 > 880000);
    net_done(&n);
}

TEST(utp_clocks_may_drift)
{
    for (int sign = -1; sign <= 1; sign += 2) {
        struct net n;
        thin(&n, 2);
        n.ends[0].drift_ppm = sign * 100; /* 6 ms a minute */
        (void)dial(&n, 0, 1, UINT64_MAX);
        run(&n, 10 * SP_SECOND_NS);
        n.ways[1].queue_most = 0;
        uint64_t before = n.ends[1].streams[0].got;
        run(&n, 100 * SP_SECOND_NS);
        uint64_t rate = (n.ends[1].streams[0].got - before) / 100;
        printf("# drift %d ppm: %" PRIu64 " B/s, queue %" PRIu64 " ms\n", sign * 100, rate,
               n.ways[1].queue_most / SP_MS_NS);
        CHECK(rate > 880000);
        CHECK(n.ways[1].queue_most < 140 * SP_MS_NS);
        net_done(&n);
    }
}

TEST(utp_finds_how_long_packets_may_be)
{
    static const uint32_t mtus[] = {1200, 1280, 1392, 1464, 1472};
    for (size_t i = 0; i < SP_COUNT(mtus); i++) {
        struct net n;
        net_init(&n, 2, 2 * MIB, 10 * SP_MS_NS, 256 * 1024);
        n.ways[1].mtu = mtus[i];
        struct stream *a = dial(&n, 0, 1, UINT64_MAX), *b = &n.ends[1].streams[0];
        run(&n, 10 * SP_SECOND_NS);
        uint32_t found = stats_of(a).mss_bytes + SP_UTP_HEAD_LEN;
        if (found > mtus[i] || found + 16 < mtus[i])
            printf("# %u found of %u\n", found, mtus[i]);
        CHECK(found <= mtus[i] && found + 16 >= mtus[i]);
        CHECK(!b->corrupt && b->got > 5 * MIB);
        net_done(&n);
    }
}

TEST(utp_closed_window_stops_and_opens)
{
    struct net n;
    net_init(&n, 2, 20 * MIB, 5 * SP_MS_NS, 4 * MIB);
    struct stream *a = dial(&n, 0, 1, 20 * MIB), *b = &n.ends[1].streams[0];
    b->holds = true;
    run(&n, 10 * SP_SECOND_NS);
    uint64_t kept = stats_of(b).unread_bytes;
    CHECK(kept > 3 * MIB && kept <= 4 * MIB + 65536);
    CHECK(a->sent < 5 * MIB);
    b->holds = false;
    for (int i = 0; i < 40 && b->got < 20 * MIB; i++) {
        sp_utp_resume(n.ends[1].u, b->c, clock_of(&n, 1));
        run(&n, SP_SECOND_NS);
    }
    CHECK_EQ(b->got, 20 * MIB);
    CHECK(!b->corrupt);
    net_done(&n);
}

TEST(utp_takes_in_small_bites)
{
    struct net n;
    net_init(&n, 2, 20 * MIB, 5 * SP_MS_NS, 4 * MIB);
    struct stream *a = dial(&n, 0, 1, 300000), *b = &n.ends[1].streams[0];
    a->close_when_sent = true;
    b->take_max = 1000;
    n.ways[1].loss_permille = 20;
    for (int i = 0; i < 2000 && !b->closed; i++) {
        run(&n, 10 * SP_MS_NS);
        if (b->c)
            sp_utp_resume(n.ends[1].u, b->c, clock_of(&n, 1));
    }
    CHECK_EQ(b->got, 300000);
    CHECK(!b->corrupt && b->closed);
    net_done(&n);
}

TEST(utp_dead_end_is_noticed)
{
    struct net n;
    net_init(&n, 2, 2 * MIB, 10 * SP_MS_NS, 256 * 1024);
    struct stream *a = dial(&n, 0, 1, UINT64_MAX), *b = &n.ends[1].streams[0];
    run(&n, 2 * SP_SECOND_NS);
    CHECK(b->got > 0);
    n.ends[1].lies_dead = true;
    run(&n, 120 * SP_SECOND_NS);
    CHECK(a->closed);
    CHECK_EQ(sp_utp_conn_count(n.ends[0].u), 0);
    struct stream *d = dial(&n, 0, 1, 5);
    run(&n, 60 * SP_SECOND_NS);
    CHECK(d->closed && strcmp(d->why, "does not answer") == 0);
    net_done(&n);
}

/* ---- hostile ---- */

static void send_raw(struct net *n, int from, int to, struct sp_utp_packet *p)
{
    uint8_t bytes[64];
    sp_utp_put_head(bytes, p, 0);
    size_t len = SP_UTP_HEAD_LEN;
    if (p->payload.len) {
        memcpy(bytes + len, p->payload.ptr, p->payload.len);
        len += p->payload.len;
    }
    size_t used = sp_utp_datagrams(n->ends[to].u, &n->ends[from].addr,
                                   (struct sp_slice){bytes, len}, (uint32_t)len, clock_of(n, to));
    CHECK_EQ(used, len);
}

/* Nothing is answered by more than it is, and a SYN makes no connection. */
TEST(utp_does_not_amplify)
{
    struct net n;
    net_init(&n, 2, 2 * MIB, 10 * SP_MS_NS, 256 * 1024);
    for (uint16_t i = 0; i < 5000; i++) {
        struct sp_utp_packet p = {.type = (uint8_t)(i % 6 == 5 ? 4 : i % 6), .id = i, .seq = i};
        struct sp_utp_batch b;
        send_raw(&n, 0, 1, &p);
        size_t answer = 0;
        while (sp_utp_pull(n.ends[1].u, clock_of(&n, 1), &b)) {
            answer += b.len;
            sp_utp_sent(n.ends[1].u, clock_of(&n, 1));
        }
        CHECK(answer <= SP_UTP_HEAD_LEN);
        CHECK(answer == 0 || p.type != SP_UTP_ST_RESET);
    }
    CHECK_EQ(sp_utp_conn_count(n.ends[1].u), 0);
    CHECK(n.mem_count.live < 16);
    net_done(&n);
}

/* The third packet has to name what only the owner of the address has seen. */
TEST(utp_third_packet_proves_the_address)
{
    struct net n;
    struct sp_utp_batch b;
    net_init(&n, 2, 2 * MIB, 10 * SP_MS_NS, 256 * 1024);
    struct sp_utp_packet syn = {.type = SP_UTP_ST_SYN, .id = 77, .seq = 5}, answer;
    send_raw(&n, 0, 1, &syn);
    CHECK(sp_utp_pull(n.ends[1].u, clock_of(&n, 1), &b));
    CHECK_EQ(sp_utp_parse((struct sp_slice){b.ptr, b.len}, &answer), SP_OK);
    CHECK_EQ(answer.id, 77);
    CHECK_EQ(answer.ack, 5);
    sp_utp_sent(n.ends[1].u, clock_of(&n, 1));
    struct sp_utp_packet data = {
        .type = SP_UTP_ST_DATA, .id = 78, .seq = 6, .window_bytes = 9999, .payload = SP_LIT("x")};
    for (int off = -5; off <= 5; off++) {
        data.ack = (uint16_t)(answer.seq - 1 + off);
        if (off == 0 || off == 1)
            continue;
        send_raw(&n, 0, 1, &data);
        CHECK_EQ(sp_utp_conn_count(n.ends[1].u), 0);
    }
    data.ack = (uint16_t)(answer.seq - 1);
    send_raw(&n, 0, 1, &data);
    CHECK_EQ(sp_utp_conn_count(n.ends[1].u), 1);
    pull_events(&n, 1);
    CHECK_EQ(n.ends[1].streams[0].got, 1);
    net_done(&n);
}

TEST(utp_reset_needs_to_know_us)
{
    struct net n;
    net_init(&n, 2, 2 * MIB, 10 * SP_MS_NS, 256 * 1024);
    struct stream *a = dial(&n, 0, 1, UINT64_MAX), *b = &n.ends[1].streams[0];
    run(&n, SP_SECOND_NS);
    /* The other end forgets all: its resets are believed. */
    sp_utp_free(n.ends[1].u);
    struct sp_utp_cfg cfg = {.mem = &n.mem, .conn_max = 10, .recv_window_max = MIB};
    CHECK_EQ(sp_utp_new(&cfg, &n.ends[1].u), SP_OK);
    b->c = NULL;
    run(&n, 2 * SP_SECOND_NS);
    CHECK(a->closed && strcmp(a->why, "reset the connection") == 0);
    net_done(&n);
}

TEST(utp_out_of_memory_anywhere)
{
    for (int at = 0; at < 400; at++) {
        struct net n;
        net_init(&n, 2, 2 * MIB, 5 * SP_MS_NS, 128 * 1024);
        n.ways[1].loss_permille = 50;
        n.mem_count.until_failure = at;
        struct sp_utp_conn *c = NULL;
        if (sp_utp_dial(n.ends[0].u, &n.ends[1].addr, clock_of(&n, 0), &c) == SP_OK) {
            struct stream *s = new_stream(&n, 0, c);
            s->to_send = 100000;
            run(&n, 20 * SP_SECOND_NS);
            CHECK(!n.ends[1].streams[0].corrupt);
        }
        net_done(&n);
    }
}

/* ---- packets ---- */

TEST(utp_packets_are_read_as_written)
{
    uint8_t bytes[2000];
    struct sp_utp_packet p = {.type = SP_UTP_ST_DATA,
                              .id = 0x1234,
                              .time_us = 0x89abcdef,
                              .delay_us = 1,
                              .window_bytes = 0xfffffff0,
                              .seq = 65535,
                              .ack = 1},
                         got;
    for (size_t pad = 2; pad < 1900; pad++) {
        sp_utp_put_head(bytes, &p, SP_UTP_EXT_PAD);
        sp_utp_put_pad(bytes + SP_UTP_HEAD_LEN, pad);
        bytes[SP_UTP_HEAD_LEN + pad] = 'z';
        size_t len = SP_UTP_HEAD_LEN + pad + 1;
        CHECK_EQ(sp_utp_parse((struct sp_slice){bytes, len}, &got), SP_OK);
        CHECK(got.payload.len == 1 && got.payload.ptr[0] == 'z');
        CHECK(got.seq == 65535 && got.id == 0x1234 && got.time_us == p.time_us);
        if (pad > 300)
            continue;
        for (size_t cut = 0; cut < len - 1; cut++)
            CHECK_EQ(sp_utp_parse((struct sp_slice){bytes, cut}, &got), SP_EPROTO);
    }
}

TEST(utp_owner_is_the_same_for_all_packets)
{
    uint8_t syn[20], later[20];
    for (uint32_t id = 0; id < 65536; id += 251) {
        struct sp_utp_packet p = {.type = SP_UTP_ST_SYN, .id = (uint16_t)id};
        sp_utp_put_head(syn, &p, 0);
        p.type = SP_UTP_ST_DATA;
        p.id++;
        sp_utp_put_head(later, &p, 0);
        for (uint16_t m = 1; m < 5; m++)
            CHECK_EQ(sp_utp_owner((struct sp_slice){syn, 20}, m),
                     sp_utp_owner((struct sp_slice){later, 20}, m));
    }
    CHECK(sp_utp_is_packet((struct sp_slice){syn, 20}));
    CHECK(!sp_utp_is_packet(SP_LIT("d1:ad2:id20:abcdefghij0123456789e1:q4:pinge")));
    CHECK(!sp_utp_is_packet((struct sp_slice){syn, 19}));
}

/* ---- delays ---- */

TEST(utp_delay_is_above_the_least)
{
    struct sp_delay d = {0};
    sp_time_ns now = 5 * SP_SECOND_NS;
    CHECK_EQ(sp_delay_queue_us(&d), 0);
    uint32_t base = 0xfffffff0; /* the clock wraps */
    sp_delay_add(&d, base, now);
    for (int i = 0; i < SP_DELAY_RECENT; i++)
        sp_delay_add(&d, base + 30000, now);
    CHECK_EQ(sp_delay_queue_us(&d), 30000);
    sp_delay_add(&d, base + 10000, now);
    CHECK_EQ(sp_delay_queue_us(&d), 10000);
    /* The least is forgotten after some minutes. */
    for (int s = 0; s < 300; s++)
        sp_delay_add(&d, base + 30000, now + (uint64_t)s * SP_SECOND_NS);
    CHECK_EQ(sp_delay_queue_us(&d), 0);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    return check_run();
}
