#include "sim/dht.h"

#include "core/base/rng.h"
#include "core/dht/dht.h"

enum { PREFILL = 20, DEPTH = 24, NODES_MIN = 16, NODES_MAX = 1000000, LOOKUPS_MAX = 100000 };

#define WARM_NS    (60 * SP_SECOND_NS)
#define SETTLE_NS  (5 * SP_SECOND_NS)
#define GIVE_UP_NS (30 * SP_SECOND_NS)

struct host {
    struct sp_dht *d;       /* NULL: gone */
    sp_time_ns timer_at;    /* of the event that is planned; SP_TIME_NEVER: none */
    uint16_t x, y, mile_ms; /* where it is, and how far from the net */
    bool nat;
};

struct event {
    sp_time_ns at;
    uint64_t seq;
    uint32_t host; /* where it happens */
    uint32_t from; /* of a packet */
    uint32_t len;  /* 0: a timer */
    uint8_t *bytes;
};

struct world {
    const struct sim_dht_cfg *cfg;
    struct sp_mem mem; /* counts */
    uint64_t held;
    struct sp_rng rng;
    sp_time_ns now;
    struct host *hosts;
    struct event *heap;
    uint32_t heap_count, heap_cap;
    uint64_t seq;
    uint32_t *by_id; /* hosts in the order of their ids */
    struct sp_dht_id *ids;
    struct sp_hash_key trace_key;
    uint64_t trace;
    bool short_of_memory;
    struct sim_dht_result res;
    /* the lookup being measured */
    uint32_t who;
    sp_dht_lookup_id lookup;
    bool done, has_peer;
    sp_time_ns first_ns, done_ns;
    struct sp_dht_event end;
};

/* ---- memory that is counted ---- */

static void *take(void *ctx, size_t size)
{
    struct world *w = ctx;
    uint64_t *p = w->cfg->mem->alloc(w->cfg->mem->ctx, size + sizeof(*p) * 2);
    if (!p)
        return NULL;
    *p = size;
    w->held += size;
    return p + 2; /* aligned as the allocator's own */
}

static void give(void *ctx, void *ptr)
{
    struct world *w = ctx;
    uint64_t *p = ptr;
    if (!p)
        return;
    w->held -= p[-2];
    w->cfg->mem->free(w->cfg->mem->ctx, p - 2);
}

/* ---- addresses: the host's number, spread over networks ---- */

static struct sp_addr addr_of(uint32_t ix)
{
    uint8_t ip[4] = {(uint8_t)(20 + ix % 97), (uint8_t)(ix >> 12), (uint8_t)(ix >> 4),
                     (uint8_t)(1 + ix % 16)};
    return sp_addr_v4(ip, (uint16_t)(6881 + ix / 1048576));
}

/* The inverse; hosts counts up to 2^20, so that three bytes and four bits tell. */
static uint32_t host_of(const struct world *w, const struct sp_addr *a)
{
    uint32_t ix = (uint32_t)a->ip[1] << 12 | (uint32_t)a->ip[2] << 4 | (a->ip[3] - 1u);
    struct sp_addr is = addr_of(ix);
    return ix < w->cfg->nodes && sp_addr_eq(&is, a) ? ix : w->cfg->nodes;
}

/* ---- events ---- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void plan(struct world *w, struct event e)
{
    if (w->heap_count == w->heap_cap) {
        uint32_t cap = w->heap_cap ? w->heap_cap * 2 : 1024;
        struct event *heap =
            sp_mem_grow(w->cfg->mem, w->heap, w->heap_count, cap, sizeof(*w->heap));
        if (!heap) {
            sp_mem_free(w->cfg->mem, e.bytes);
            w->short_of_memory = true;
            return;
        }
        w->heap = heap;
        w->heap_cap = cap;
    }
    e.seq = w->seq++;
    uint32_t ix = w->heap_count++;
    for (; ix > 0 && before(&e, &w->heap[(ix - 1) / 2]); ix = (ix - 1) / 2)
        w->heap[ix] = w->heap[(ix - 1) / 2];
    w->heap[ix] = e;
}

static struct event pop(struct world *w)
{
    struct event top = w->heap[0], e = w->heap[--w->heap_count];
    uint32_t ix = 0;
    for (;;) {
        uint32_t kid = 2 * ix + 1;
        if (kid >= w->heap_count)
            break;
        if (kid + 1 < w->heap_count && before(&w->heap[kid + 1], &w->heap[kid]))
            kid++;
        if (!before(&w->heap[kid], &e))
            break;
        w->heap[ix] = w->heap[kid];
        ix = kid;
    }
    if (w->heap_count)
        w->heap[ix] = e;
    return top;
}

/* ---- the net ---- */

static uint32_t far(uint32_t a, uint32_t b)
{
    return a > b ? a - b : b - a;
}

/* One way: 4 ms, up to 90 for the distance, the last mile of both, and jitter
 * that is small but for one packet in twenty.  Half of all round trips come to
 * less than 120 ms. */
static sp_time_ns delay(struct world *w, const struct host *a, const struct host *b)
{
    uint64_t us = 4000 + (uint64_t)(far(a->x, b->x) + far(a->y, b->y)) * 90000 / 131072;
    us += (uint64_t)(a->mile_ms + b->mile_ms) * 1000;
    uint64_t spread = sp_rng_below(&w->rng, 20) ? us / 10 : us * 2;
    return (us + sp_rng_below(&w->rng, spread + 1)) * 1000;
}

/* "y" is the last key of a message, so that its end tells. */
static bool is_query(const uint8_t *bytes, uint32_t len)
{
    return len > 7 && memcmp(bytes + len - 7, "1:y1:qe", 7) == 0;
}

static void send(struct world *w, uint32_t from, const struct sp_dht_packet *p)
{
    uint32_t to = host_of(w, &p->to);
    w->res.packets++;
    w->res.bytes += p->len;
    if (to == w->cfg->nodes || !w->hosts[to].d ||
        sp_rng_below(&w->rng, 1000) < w->cfg->loss_permille ||
        (w->hosts[to].nat && is_query(p->bytes, p->len)))
        return;
    uint8_t *bytes = SP_NEW_ARRAY(w->cfg->mem, uint8_t, p->len);
    if (!bytes) {
        w->short_of_memory = true;
        return;
    }
    memcpy(bytes, p->bytes, p->len);
    plan(w, (struct event){.at = w->now + delay(w, &w->hosts[from], &w->hosts[to]),
                           .host = to,
                           .from = from,
                           .len = p->len,
                           .bytes = bytes});
}

/* ---- hosts ---- */

static void hear(struct world *w, uint32_t ix, const struct sp_dht_event *ev)
{
    if (ix != w->who || ev->lookup != w->lookup || w->lookup == 0)
        return;
    if (ev->kind == SP_DHT_PEERS && !w->has_peer) {
        w->has_peer = true;
        w->first_ns = w->now;
    } else if (ev->kind == SP_DHT_DONE) {
        w->done = true;
        w->done_ns = w->now;
        w->end = *ev;
    }
}

/* After anything that happened at host ix. */
static void settle(struct world *w, uint32_t ix)
{
    struct host *h = &w->hosts[ix];
    struct sp_dht_packet p;
    struct sp_dht_event ev;

    while (sp_dht_send(h->d, &p, w->now))
        send(w, ix, &p);
    while (sp_dht_next(h->d, &ev))
        hear(w, ix, &ev);
    sp_time_ns at = sp_dht_deadline(h->d);
    if (at >= h->timer_at)
        return; /* it is looked at again when that comes */
    h->timer_at = at;
    plan(w, (struct event){.at = at, .host = ix});
}

static void make(struct world *w, uint32_t ix)
{
    struct host *h = &w->hosts[ix];
    struct sp_dht_cfg cfg = {.mem = &w->mem,
                             .seed = sp_rng_u64(&w->rng),
                             .family = SP_V4,
                             .id = &w->ids[ix],
                             .version = {'S', 'P', 0, 1},
                             .read_only = h->nat};
    sp_rng_bytes(&w->rng, cfg.secret, sizeof(cfg.secret));
    if (sp_dht_new(&cfg, w->now, &h->d) != SP_OK)
        w->short_of_memory = true;
    h->timer_at = SP_TIME_NEVER;
}

/* The first host whose id has these bits, in the order of ids. */
static uint32_t first_at(const struct world *w, const struct sp_dht_id *id)
{
    uint32_t lo = 0, hi = w->cfg->nodes;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (memcmp(w->ids[w->by_id[mid]].b, id->b, SP_DHT_ID_LEN) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Hosts whose ids share exactly so many bits with id: a range of the order. */
static uint32_t range(const struct world *w, const struct sp_dht_id *id, uint32_t bits,
                      uint32_t *ret_first)
{
    struct sp_dht_id low = {{0}}, high;
    memcpy(low.b, id->b, (bits + 7) / 8);
    if (bits % 8)
        low.b[bits / 8] &= (uint8_t)(0xff00 >> bits % 8);
    low.b[bits / 8] |= (uint8_t)((id->b[bits / 8] ^ 0xff) & (0x80 >> bits % 8));
    high = low;
    uint32_t byte = bits / 8;
    high.b[byte] |= (uint8_t)(0x7f >> bits % 8);
    memset(high.b + byte + 1, 0xff, SP_DHT_ID_LEN - byte - 1);
    *ret_first = first_at(w, &low);
    uint32_t end = first_at(w, &high);
    return end > *ret_first ? end - *ret_first : 0;
}

static void know(struct world *w, uint32_t ix, uint32_t other)
{
    struct sp_dht_contact c = {w->ids[other], addr_of(other)};
    if (sp_rng_below(&w->rng, 100) < w->cfg->dead_percent) {
        /* Somebody who was there once. */
        c.id = sp_dht_id_near(&w->ids[other], 40, &w->rng);
        c.addr.ip[0] = 200;
    } else if (w->hosts[other].nat) {
        return; /* it never answered */
    }
    sp_dht_add_saved(w->hosts[ix].d, &c, w->now);
}

static void prefill(struct world *w, uint32_t ix)
{
    for (uint32_t bits = 0; bits < DEPTH; bits++) {
        uint32_t first, n = range(w, &w->ids[ix], bits, &first);
        uint32_t want = bits < 3 ? 64u >> bits : 8;
        for (uint32_t k = 0; n && k < want; k++)
            know(w, ix, w->by_id[first + (uint32_t)sp_rng_below(&w->rng, n)]);
    }
}

/* One goes and, at the same address, another comes that knows a few. */
static void churn(struct world *w)
{
    uint32_t ix = (uint32_t)sp_rng_below(&w->rng, w->cfg->nodes);
    if (ix == w->who)
        return;
    sp_dht_free(w->hosts[ix].d);
    make(w, ix);
    for (int k = 0; k < PREFILL; k++)
        know(w, ix, (uint32_t)sp_rng_below(&w->rng, w->cfg->nodes));
    settle(w, ix);
}

/* ---- time ---- */

static void happen(struct world *w, const struct event *e)
{
    struct host *h = &w->hosts[e->host];
    uint64_t note[4] = {e->at, e->host, e->from, e->len};

    w->trace = sp_hash_bytes(&w->trace_key, note, sizeof(note)) ^ (w->trace * 31);
    if (e->len) {
        struct sp_addr from = addr_of(e->from);
        (void)sp_dht_recv(h->d, &from, (struct sp_slice){e->bytes, e->len}, w->now);
    } else if (h->timer_at != e->at) {
        return; /* an earlier one was planned since, or it is another node now */
    } else {
        h->timer_at = SP_TIME_NEVER;
        sp_dht_tick(h->d, w->now);
    }
    settle(w, e->host);
}

/* Until `until`, or the lookup that is measured is done. */
static void run(struct world *w, sp_time_ns until, sp_time_ns *churn_at)
{
    sp_time_ns each = w->cfg->session_min ? w->cfg->session_min * 60 * SP_SECOND_NS / w->cfg->nodes
                                          : SP_TIME_NEVER;
    while (w->heap_count && !w->done && !w->short_of_memory) {
        sp_time_ns at = w->heap[0].at;
        if (each != SP_TIME_NEVER && *churn_at < at && *churn_at < until) {
            w->now = *churn_at;
            *churn_at += 1 + sp_rng_below(&w->rng, 2 * each + 1);
            churn(w);
            continue;
        }
        if (at > until)
            break;
        struct event e = pop(w);
        w->now = at;
        happen(w, &e);
        sp_mem_free(w->cfg->mem, e.bytes);
    }
    if (!w->done && w->now < until)
        w->now = until;
}

/* ---- measuring ---- */

/* Of the K nearest that can be asked, how many are among those named. */
static uint32_t right(const struct world *w)
{
    uint32_t n = 0;
    for (uint32_t r = 0; r < w->end.count; r++) {
        uint32_t nearer = 0;
        for (uint32_t ix = 0; ix < w->cfg->nodes && nearer < SP_DHT_K; ix++) {
            nearer += ix != w->who && !w->hosts[ix].nat &&
                      sp_dht_id_cmp(&w->ids[ix], &w->end.nodes[r].id, &w->end.target) < 0;
        }
        n += nearer < SP_DHT_K;
    }
    return n;
}

static uint32_t any_host(struct world *w)
{
    return (uint32_t)sp_rng_below(&w->rng, w->cfg->nodes);
}

static bool look_up(struct world *w, uint32_t who, const struct sp_dht_id *hash,
                    const struct sp_dht_announce *as, sp_time_ns *churn_at)
{
    w->who = who;
    w->done = w->has_peer = false;
    w->first_ns = 0;
    sp_time_ns began = w->now;
    w->lookup = sp_dht_get_peers(w->hosts[who].d, hash, as, w->now);
    settle(w, who);
    run(w, began + GIVE_UP_NS, churn_at);
    bool done = w->done;
    w->done = false;
    w->lookup = 0;
    w->first_ns = w->has_peer ? w->first_ns - began : 0;
    w->done_ns = done ? w->done_ns - began : GIVE_UP_NS;
    return done;
}

static void sort(uint32_t *list, uint32_t count)
{
    for (uint32_t gap = count / 2; gap > 0; gap /= 2) {
        for (uint32_t i = gap; i < count; i++) {
            uint32_t v = list[i], k = i;
            for (; k >= gap && list[k - gap] > v; k -= gap)
                list[k] = list[k - gap];
            list[k] = v;
        }
    }
}

static uint32_t quantile(uint32_t *list, uint32_t count, uint32_t percent)
{
    if (count == 0)
        return 0;
    sort(list, count);
    return list[(uint64_t)(count - 1) * percent / 100];
}

static void measure(struct world *w, uint32_t *first, uint32_t *done, sp_time_ns *churn_at)
{
    struct sim_dht_result *r = &w->res;
    uint64_t rights = 0, wanted = 0, hops = 0, asked = 0, late = 0;

    for (uint32_t i = 0; i < w->cfg->lookups && !w->short_of_memory; i++) {
        struct sp_dht_id hash = sp_dht_id_random(&w->rng);
        struct sp_dht_announce as = {.port = 6881};
        (void)look_up(w, any_host(w), &hash, &as, churn_at);
        run(w, w->now + SETTLE_NS, churn_at);
        bool ended = look_up(w, any_host(w), &hash, NULL, churn_at);
        done[r->lookups++] = (uint32_t)(w->done_ns / SP_MS_NS);
        if (w->has_peer)
            first[r->found++] = (uint32_t)(w->first_ns / SP_MS_NS);
        wanted += SP_DHT_K;
        if (ended) {
            rights += right(w);
            hops += w->end.hops;
            asked += w->end.asked;
            late += w->end.late;
        }
        if (w->cfg->progress)
            w->cfg->progress(w->cfg->ctx, i + 1, w->cfg->lookups);
    }
    if (!r->lookups)
        return;
    r->recall_permille = (uint32_t)(rights * 1000 / wanted);
    r->hops_centi = (uint32_t)(hops * 100 / r->lookups);
    r->asked_centi = (uint32_t)(asked * 100 / r->lookups);
    r->late_centi = (uint32_t)(late * 100 / r->lookups);
    r->first_median_ms = quantile(first, r->found, 50);
    r->first_p99_ms = quantile(first, r->found, 99);
    r->done_median_ms = quantile(done, r->lookups, 50);
    r->done_p99_ms = quantile(done, r->lookups, 99);
}

/* ---- a run ---- */

static void sift(struct world *w, uint32_t root, uint32_t count)
{
    for (uint32_t kid; (kid = 2 * root + 1) < count; root = kid) {
        uint32_t *o = w->by_id, v = o[root];
        if (kid + 1 < count && memcmp(w->ids[o[kid]].b, w->ids[o[kid + 1]].b, SP_DHT_ID_LEN) < 0)
            kid++;
        if (memcmp(w->ids[v].b, w->ids[o[kid]].b, SP_DHT_ID_LEN) >= 0)
            return;
        o[root] = o[kid];
        o[kid] = v;
    }
}

static void sort_ids(struct world *w)
{
    uint32_t n = w->cfg->nodes;
    for (uint32_t i = 0; i < n; i++)
        w->by_id[i] = i;
    for (uint32_t i = n / 2; i-- > 0;)
        sift(w, i, n);
    for (uint32_t end = n; end-- > 1;) {
        uint32_t v = w->by_id[0];
        w->by_id[0] = w->by_id[end];
        w->by_id[end] = v;
        sift(w, 0, end);
    }
}

static void populate(struct world *w)
{
    for (uint32_t ix = 0; ix < w->cfg->nodes; ix++) {
        struct sp_addr a = addr_of(ix);
        w->ids[ix] = sp_dht_id_for(&a, &w->rng);
        w->hosts[ix].x = (uint16_t)sp_rng_u64(&w->rng);
        w->hosts[ix].y = (uint16_t)sp_rng_u64(&w->rng);
        w->hosts[ix].mile_ms = (uint16_t)(1 + sp_rng_below(&w->rng, 16));
        w->hosts[ix].nat = sp_rng_below(&w->rng, 100) < w->cfg->nat_percent;
    }
    sort_ids(w);
    for (uint32_t ix = 0; ix < w->cfg->nodes && !w->short_of_memory; ix++)
        make(w, ix);
    for (uint32_t ix = 0; ix < w->cfg->nodes && !w->short_of_memory; ix++) {
        prefill(w, ix);
        settle(w, ix);
    }
}

static void work(struct world *w, uint32_t *first, uint32_t *done)
{
    sp_time_ns churn_at = 0;
    w->who = w->cfg->nodes;
    populate(w);
    uint64_t before = w->res.packets;
    run(w, WARM_NS, &churn_at);
    w->res.upkeep_milli =
        (w->res.packets - before) * 1000 / w->cfg->nodes / (WARM_NS / SP_SECOND_NS);
    w->res.node_bytes = w->held / w->cfg->nodes;
    measure(w, first, done, &churn_at);
    w->res.span_ns = w->now;
    w->res.trace = w->trace;
}

enum sp_err sim_dht_run(const struct sim_dht_cfg *cfg, struct sim_dht_result *ret_result)
{
    struct world w = {.cfg = cfg, .rng = sp_rng_of(cfg->seed), .trace_key = {1, 2}};

    if (cfg->nodes < NODES_MIN || cfg->nodes > NODES_MAX || cfg->lookups > LOOKUPS_MAX ||
        cfg->lookups == 0 || cfg->nat_percent > 95 || cfg->dead_percent > 95)
        return SP_EINVAL;
    w.mem = (struct sp_mem){take, give, &w};
    w.res.nodes = cfg->nodes;
    w.hosts = SP_NEW_ARRAY(cfg->mem, struct host, cfg->nodes);
    w.by_id = SP_NEW_ARRAY(cfg->mem, uint32_t, cfg->nodes);
    w.ids = SP_NEW_ARRAY(cfg->mem, struct sp_dht_id, cfg->nodes);
    uint32_t *first = SP_NEW_ARRAY(cfg->mem, uint32_t, cfg->lookups);
    uint32_t *done = SP_NEW_ARRAY(cfg->mem, uint32_t, cfg->lookups);
    if (w.hosts && w.by_id && w.ids && first && done)
        work(&w, first, done);
    else
        w.short_of_memory = true;
    for (uint32_t ix = 0; w.hosts && ix < cfg->nodes; ix++)
        sp_dht_free(w.hosts[ix].d);
    while (w.heap_count)
        sp_mem_free(cfg->mem, w.heap[--w.heap_count].bytes);
    sp_mem_free(cfg->mem, w.heap);
    sp_mem_free(cfg->mem, w.hosts);
    sp_mem_free(cfg->mem, w.by_id);
    sp_mem_free(cfg->mem, w.ids);
    sp_mem_free(cfg->mem, first);
    sp_mem_free(cfg->mem, done);
    if (w.short_of_memory)
        return SP_ENOMEM;
    *ret_result = w.res;
    return SP_OK;
}
