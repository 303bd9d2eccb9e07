/* Links: a stream each way, with latency, a rate, a limit on what is in
 * flight, and cuts at random places. */
#include "sim/world.h"

#define DIAL_NS (5 * SP_MS_NS)

static void tell_lost(struct sim *sim, struct sim_link *l, int side)
{
    uint32_t host = l->side[side].host;
    if (!l->side[side].open)
        return;
    l->side[side].open = false;
    if (sim_is_node(sim, host))
        sim_node_lost(&sim->nodes[host], l, side);
    else
        sim_peer_lost(&sim->peers[host - sim->plan->node_count], l, side);
}

static void tell_readable(struct sim *sim, struct sim_link *l, int side)
{
    uint32_t host = l->side[side].host;
    if (!l->side[side].open)
        return;
    if (sim_is_node(sim, host))
        sim_node_readable(&sim->nodes[host], l, side);
    else
        sim_peer_readable(&sim->peers[host - sim->plan->node_count], l, side);
    if (sim_link_at_end(l, side))
        tell_lost(sim, l, side);
}

static void on_again(struct sim *sim, void *ctx, uint64_t side)
{
    tell_readable(sim, ctx, (int)side);
}

void sim_link_again(struct sim_link *l, int side)
{
    sim_at(l->sim, l->sim->now, on_again, l, (uint64_t)side);
}

static void on_room(struct sim *sim, void *ctx, uint64_t side_arg)
{
    struct sim_link *l = ctx;
    int side = (int)side_arg;
    uint32_t host = l->side[side].host;

    if (!l->side[side].open || !l->pipe[side].waited_for)
        return;
    l->pipe[side].waited_for = false;
    if (sim_is_node(sim, host))
        sim_node_writable(&sim->nodes[host], l, side);
    else
        sim_peer_writable(&sim->peers[host - sim->plan->node_count], l, side);
}

static void on_end(struct sim *sim, void *ctx, uint64_t from)
{
    struct sim_link *l = ctx;
    l->pipe[from].end_seen = true;
    tell_readable(sim, l, 1 - (int)from);
}

/* The first segment on its way has arrived. */
static void on_arrival(struct sim *sim, void *ctx, uint64_t from)
{
    struct sim_link *l = ctx;
    struct sim_pipe *p = &l->pipe[from];

    if (p->segs.count == 0)
        return; /* the link is gone */
    if (p->hold_until > sim->now) {
        sim_at(sim, p->hold_until, on_arrival, l, from);
        return;
    }
    p->readable += ((struct sim_seg *)sp_queue_at(&p->segs, 0))->len;
    sp_queue_pop(&p->segs);
    if (p->segs.count)
        sim_at(sim, ((struct sim_seg *)sp_queue_at(&p->segs, 0))->at, on_arrival, l, from);
    else if (p->ended)
        sim_at(sim, sim->now, on_end, l, from);
    tell_readable(sim, l, 1 - (int)from);
}

/* ---- a link's life ---- */

static void empty(struct sim_link *l, int from)
{
    struct sim_pipe *p = &l->pipe[from];
    sp_buf_done(&p->bytes);
    sp_queue_done(&p->segs, l->sim->mem);
    p->readable = 0;
}

static void on_refused(struct sim *sim, void *ctx, uint64_t arg)
{
    struct sim_link *l = ctx;
    uint32_t host = l->side[0].host;
    (void)arg;
    if (!l->side[0].open)
        return;
    l->side[0].open = false;
    if (sim_is_node(sim, host))
        sim_node_refused(&sim->nodes[host], l);
    else
        sim_peer_refused(&sim->peers[host - sim->plan->node_count], l);
}

static void on_opened(struct sim *sim, void *ctx, uint64_t arg)
{
    struct sim_link *l = ctx;
    uint32_t host = l->side[0].host;
    (void)arg;
    if (!l->side[0].open)
        return;
    if (sim_is_node(sim, host))
        sim_node_opened(&sim->nodes[host], l);
    else
        sim_peer_opened(&sim->peers[host - sim->plan->node_count], l);
}

static void on_reset(struct sim *sim, void *ctx, uint64_t arg)
{
    (void)arg;
    if (!sim->healed)
        sim_link_reset(ctx);
}

static bool is_apart(const struct sim *sim, uint32_t a, uint32_t b)
{
    const struct sim_plan *p = sim->plan;
    return p->split_host && sim->now >= p->split_at && sim->now < p->rejoin_at &&
           (a < p->split_host) != (b < p->split_host);
}

void sim_links_split(struct sim *sim)
{
    for (struct sim_link *l = sim->links; l; l = l->next) {
        if (is_apart(sim, l->side[0].host, l->side[1].host))
            sim_link_hold(l, sim->plan->rejoin_at);
    }
}

static bool is_lost(const struct sim *sim, const struct sim_link *l)
{
    uint32_t to = l->side[1].host;
    return is_apart(sim, l->side[0].host, to) ||
           (to < sim->plan->node_count && sim->plan->nodes[to].nat);
}

static void on_syn(struct sim *sim, void *ctx, uint64_t arg)
{
    struct sim_link *l = ctx;
    uint32_t host = l->side[1].host;
    (void)arg;
    if (!l->side[0].open || is_lost(sim, l))
        return;
    if (host == SIM_HOSTS_MAX || sim_trouble(sim, sim->plan->dial_fails) ||
        (sim_is_node(sim, host) && !sim->nodes[host].session)) {
        sim_at(sim, sim->now + l->latency_ns, on_refused, l, 0);
        return;
    }
    sim_at(sim, sim->now + l->latency_ns, on_opened, l, 0);
    l->side[1].open = true;
    if (sim_is_node(sim, host))
        sim_node_accepted(&sim->nodes[host], l);
    else
        sim_peer_accepted(&sim->peers[host - sim->plan->node_count], l);
    if (sim_trouble(sim, sim->plan->resets))
        sim_at(sim, sim->now + sim_below(sim, 20 * SP_SECOND_NS), on_reset, l, 0);
}

static uint64_t host_rate(const struct sim *sim, uint32_t host)
{
    return host < sim->plan->node_count ? sim->plan->nodes[host].link_Bps : 4 << 20;
}

static sp_time_ns host_latency(const struct sim *sim, uint32_t host)
{
    return host < sim->plan->node_count ? sim->plan->nodes[host].latency_ns : DIAL_NS;
}

struct sim_link *sim_dial(struct sim *sim, uint32_t from, const struct sp_addr *to, void *user)
{
    struct sim_link *l = sim_alloc(sim, 1, sizeof(*l));
    uint32_t host = sim_host_of(sim, to);

    l->sim = sim;
    l->id = sim->link_count++;
    l->next = sim->links;
    sim->links = l;
    l->addr.to = *to;
    l->addr.from = sim_addr(from);
    l->addr.from.port = (uint16_t)(20000 + l->id % 40000);
    l->side[0] = (struct sim_side){.host = from, .open = true, .user = user};
    l->side[1] = (struct sim_side){.host = host};
    uint64_t a = host_rate(sim, from), b = host_rate(sim, host);
    l->rate_Bps = a < b ? a : b;
    l->latency_ns = host_latency(sim, from) + host_latency(sim, host);
    l->cut_max = sim_chance(sim, 300) ? 1 + (uint32_t)sim_below(sim, sim->plan->cut_max)
                                      : sim->plan->cut_max;
    for (int i = 0; i < 2; i++) {
        l->pipe[i].bytes = sp_buf_of(sim->mem, 1u << 30);
        l->pipe[i].segs = sp_queue_of(sizeof(struct sim_seg), UINT32_MAX);
    }
    if (!sim_trouble(sim, sim->plan->dial_hangs))
        sim_at(sim, sim->now + l->latency_ns, on_syn, l, 0);
    return l;
}

void sim_link_close(struct sim_link *l, int side)
{
    struct sim *sim = l->sim;
    struct sim_pipe *p = &l->pipe[side];

    l->side[side].open = false;
    empty(l, 1 - side);
    p->ended = true;
    if (p->segs.count == 0)
        sim_at(sim, sim->now + l->latency_ns, on_end, l, (uint64_t)side);
}

void sim_link_reset(struct sim_link *l)
{
    for (int i = 0; i < 2; i++)
        empty(l, i);
    for (int i = 0; i < 2; i++)
        tell_lost(l->sim, l, i);
}

void sim_link_hold(struct sim_link *l, sp_time_ns until)
{
    l->pipe[0].hold_until = l->pipe[1].hold_until = until;
}

void sim_links_free(struct sim *sim)
{
    for (struct sim_link *l = sim->links, *next; l; l = next) {
        next = l->next;
        empty(l, 0);
        empty(l, 1);
        sp_mem_free(sim->mem, l);
    }
    sim->links = NULL;
}

/* ---- bytes ---- */

size_t sim_link_room(const struct sim_link *l, int side)
{
    size_t held = sp_buf_slice(&l->pipe[side].bytes).len, max = l->sim->plan->in_flight;
    return held < max ? max - held : 0;
}

void sim_link_wait(struct sim_link *l, int side)
{
    l->pipe[side].waited_for = true;
}

void sim_link_push(struct sim_link *l, int side, const void *bytes, size_t len)
{
    struct sim *sim = l->sim;
    struct sim_pipe *p = &l->pipe[side];

    if (!l->side[1 - side].open && l->side[1 - side].host != SIM_HOSTS_MAX)
        return; /* nobody is there any more */
    if (sp_buf_append(&p->bytes, bytes, len) != SP_OK)
        assert(false && "the simulator has no memory");
    while (len > 0) {
        uint32_t n = 1 + (uint32_t)sim_below(sim, l->cut_max);
        if (n > len)
            n = (uint32_t)len;
        len -= n;
        sp_time_ns start = p->busy_until > sim->now ? p->busy_until : sim->now;
        p->busy_until = start + n * SP_SECOND_NS / l->rate_Bps;
        sp_time_ns jitter = l->latency_ns * sim->plan->jitter_percent / 100;
        sp_time_ns at = p->busy_until + l->latency_ns + sim_below(sim, jitter + 1);
        if (at < p->last_at)
            at = p->last_at;
        p->last_at = at;
        struct sim_seg *seg = sp_queue_push(&p->segs, sim->mem);
        assert(seg);
        *seg = (struct sim_seg){.len = n, .at = at};
        if (p->segs.count == 1)
            sim_at(sim, at, on_arrival, l, (uint64_t)side);
    }
}

size_t sim_link_readable(const struct sim_link *l, int side)
{
    return l->pipe[1 - side].readable;
}

void sim_link_read(struct sim_link *l, int side, void *to, size_t len)
{
    struct sim_pipe *p = &l->pipe[1 - side];

    assert(len <= p->readable);
    if (len == 0)
        return;
    memcpy(to, sp_buf_slice(&p->bytes).ptr, len);
    sp_buf_consume(&p->bytes, len);
    p->readable -= len;
    if (p->waited_for)
        sim_at(l->sim, l->sim->now + l->latency_ns, on_room, l, (uint64_t)(1 - side));
}

bool sim_link_at_end(const struct sim_link *l, int side)
{
    const struct sim_pipe *p = &l->pipe[1 - side];
    return p->end_seen && p->readable == 0;
}
