/* Paths and their clocks: probing, asking, renewing, removing. */
#include "core/portmap/portmap.h"

#include <assert.h>

#include "core/portmap/state.h"

enum {
    PROBES_NATPMP = 4, /* the 2nd to the 4th probe are NAT-PMP's alone */
    NATPMP_TRIES = 9,  /* RFC 6886 3.1: the ninth is 64 s after the one before */
    PCP_TRIES = 4,     /* of a first request: then the gateway may be another one */
    BLOCK_TRIES = 2,   /* a request unanswered so often holds up no other */
    DELETE_TRIES = 3,
};

#define NATPMP_WAIT_NS   (250 * SP_MS_NS)      /* RFC 6886 3.1, doubled each time */
#define PCP_WAIT_NS      (3 * SP_SECOND_NS)    /* RFC 6887 8.1.1: IRT */
#define WAIT_MAX_NS      (1024 * SP_SECOND_NS) /* MRT */
#define PROBE_REFUSED_NS (30 * SP_SECOND_NS)
#define POLL_NS          (300 * SP_SECOND_NS) /* is the gateway still the one that mapped? */
#define NO_ANSWER        "the gateway did not answer"

/* ---- small things ---- */

/* A tenth more or less (RFC 6887 8.1.1: RAND). */
static sp_time_ns jitter(struct sp_portmap *pm, sp_time_ns t)
{
    return t - t / 10 + sp_rng_below(&pm->rng, t / 5 + 1);
}

static sp_time_ns doubled(sp_time_ns base, uint32_t times)
{
    return times < 20 && base << times < WAIT_MAX_NS ? base << times : WAIT_MAX_NS;
}

void sp_portmap_nonce(const struct sp_portmap *pm, const struct sp_portmap_gateway *g,
                      uint32_t want_ix, uint8_t ret_nonce[SP_PCP_NONCE_LEN])
{
    const struct sp_portmap_want *w = &pm->cfg.wants[want_ix];
    uint8_t about[20];
    memcpy(about, g->local.ip, 16);
    about[16] = w->protocol;
    about[17] = (uint8_t)(w->port >> 8);
    about[18] = (uint8_t)w->port;
    for (uint8_t i = 0; i < 2; i++) {
        uint8_t half[8];
        about[19] = i;
        uint64_t h = sp_hash_bytes(&pm->cfg.secret, about, sizeof(about));
        for (int k = 0; k < 8; k++)
            half[k] = (uint8_t)(h >> 8 * k);
        memcpy(ret_nonce + 8 * i, half, i == 0 ? 8 : 4);
    }
}

void sp_portmap_fail(struct sp_portmap_mapping *m, const char *why)
{
    m->why = why;
    if (m->told != why && !m->tell)
        sp_portmap_tell(m, SP_PORTMAP_FAILED);
}

void sp_portmap_init(struct sp_portmap *pm, const struct sp_portmap_cfg *cfg)
{
    assert(cfg->want_count >= 1 && cfg->want_count <= SP_PORTMAP_WANTS_MAX);
    memset(pm, 0, sizeof(*pm));
    pm->cfg = *cfg;
    if (!pm->cfg.lifetime_s)
        pm->cfg.lifetime_s = SP_PORTMAP_LIFETIME_S;
    pm->rng = sp_rng_of(cfg->seed);
}

/* ---- paths ---- */

static void rest(struct sp_portmap_mapping *m, sp_time_ns due)
{
    m->state = MAP_WAIT;
    m->send = m->blocked = false;
    m->tries = 0;
    m->due = due;
}

void sp_portmap_probe_again(struct sp_portmap_gateway *g, sp_time_ns now)
{
    g->method = SP_PORTMAP_NONE;
    g->said_silent = false;
    g->probes = 0;
    g->send_external = g->send_announce = g->has_epoch = false;
    g->external = (struct sp_addr){0};
    g->began_at = g->probe_at = now;
    g->external_at = g->poll_at = SP_TIME_NEVER;
    for (uint32_t i = 0; i < SP_PORTMAP_WANTS_MAX; i++)
        rest(&g->maps[i], SP_TIME_NEVER);
}

void sp_portmap_path(struct sp_portmap *pm, uint32_t path_ix, const struct sp_addr *gateway,
                     const struct sp_addr *local, sp_time_ns now)
{
    struct sp_portmap_gateway *g = &pm->paths[path_ix];
    assert(path_ix < SP_PORTMAP_PATHS_MAX && gateway->family == local->family);
    if (pm->stopping)
        return;
    memset(g, 0, sizeof(*g));
    g->used = true;
    g->addr = *gateway;
    g->local = *local;
    g->addr.port = g->local.port = 0;
    sp_portmap_probe_again(g, now);
}

static void lose(struct sp_portmap_mapping *m)
{
    m->mapped = false;
    m->told = NULL;
    sp_portmap_tell(m, SP_PORTMAP_LOST);
}

void sp_portmap_path_gone(struct sp_portmap *pm, uint32_t path_ix)
{
    struct sp_portmap_gateway *g = &pm->paths[path_ix];
    assert(path_ix < SP_PORTMAP_PATHS_MAX);
    if (!g->used)
        return;
    g->used = g->send_external = g->send_announce = false;
    g->probe_at = g->external_at = g->poll_at = SP_TIME_NEVER;
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        struct sp_portmap_mapping *m = &g->maps[i];
        m->state = MAP_OFF;
        m->send = m->blocked = false;
        m->tell = 0;
        m->due = SP_TIME_NEVER;
        if (m->mapped)
            lose(m);
    }
}

void sp_portmap_speak(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                      enum sp_portmap_method method, sp_time_ns now)
{
    g->method = (uint8_t)method;
    g->has_epoch = false;
    g->probe_at = SP_TIME_NEVER;
    g->poll_at = now + jitter(pm, POLL_NS);
    g->external_tries = 0;
    g->external_at = SP_TIME_NEVER;
    for (uint32_t i = 0; i < pm->cfg.want_count; i++)
        rest(&g->maps[i], now);
    if (method == SP_PORTMAP_NATPMP && g->external.family == SP_FAMILY_NONE)
        g->external_at = now;
}

void sp_portmap_refused(struct sp_portmap *pm, uint32_t path_ix, sp_time_ns now)
{
    struct sp_portmap_gateway *g = &pm->paths[path_ix];
    if (!g->used || g->method != SP_PORTMAP_NONE || pm->stopping)
        return; /* one that has answered is given the time of its tries */
    g->said_silent = true;
    for (uint32_t i = 0; i < pm->cfg.want_count; i++)
        sp_portmap_fail(&g->maps[i], "the gateway does not speak PCP or NAT-PMP");
    if (g->probes && g->probe_at < now + PROBE_REFUSED_NS)
        g->probe_at = now + PROBE_REFUSED_NS;
}

/* ---- asking ---- */

/* One request of a path at a time, as long as it is answered: the gateway is
 * not flooded, and the second wish knows which port the first one got. */
static bool is_busy(const struct sp_portmap *pm, const struct sp_portmap_gateway *g)
{
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        if (g->maps[i].state == MAP_ASKED && g->maps[i].tries < BLOCK_TRIES)
            return true;
    }
    return false;
}

void sp_portmap_release(struct sp_portmap *pm, struct sp_portmap_gateway *g, sp_time_ns now)
{
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        if (g->maps[i].blocked)
            rest(&g->maps[i], now);
    }
}

static sp_time_ns wait_of(struct sp_portmap *pm, const struct sp_portmap_gateway *g, uint32_t tries)
{
    if (g->method == SP_PORTMAP_NATPMP)
        return doubled(NATPMP_WAIT_NS, tries - 1);
    return jitter(pm, doubled(PCP_WAIT_NS, tries - 1));
}

sp_time_ns sp_portmap_renewal(struct sp_portmap *pm, const struct sp_portmap_mapping *m,
                              sp_time_ns now)
{
    /* RFC 6887 11.2.1: "a single renewal request packet at a time chosen with uniform random
     * distribution in the range 1/2 to 5/8 of expiration time", then from 3/4, 7/8 ... */
    sp_time_ns life = m->expires_at - m->granted_at;
    uint32_t r = m->rounds < 16 ? m->rounds : 16;
    sp_time_ns at = m->granted_at + life - (life >> (r + 1));
    at += sp_rng_below(&pm->rng, (life >> (r + 3)) + 1);
    if (at < m->sent_at + RENEW_MIN_NS)
        at = m->sent_at + RENEW_MIN_NS;
    if (at < now)
        at = now;
    return at < m->expires_at ? at : SP_TIME_NEVER;
}

static void ask(struct sp_portmap *pm, struct sp_portmap_gateway *g, struct sp_portmap_mapping *m,
                sp_time_ns now)
{
    m->state = MAP_ASKED;
    m->send = true;
    m->tries++;
    m->sent_at = now;
    m->due = now + wait_of(pm, g, m->tries);
    if (m->tries == BLOCK_TRIES)
        sp_portmap_release(pm, g, now);
}

static bool any_mapped(const struct sp_portmap *pm, const struct sp_portmap_gateway *g)
{
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        if (g->maps[i].mapped)
            return true;
    }
    return false;
}

/* No answer within all tries. */
static void give_up(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                    struct sp_portmap_mapping *m, sp_time_ns now)
{
    if (m->mapped) {
        m->rounds++;
        rest(m, sp_portmap_renewal(pm, m, now));
        sp_portmap_release(pm, g, now);
        return;
    }
    sp_portmap_fail(m, NO_ANSWER);
    rest(m, now + jitter(pm, POLL_NS));
    sp_portmap_release(pm, g, now);
    if (!any_mapped(pm, g))
        sp_portmap_probe_again(g, now); /* another one may stand there now */
}

static uint32_t tries_max(const struct sp_portmap_gateway *g, const struct sp_portmap_mapping *m)
{
    if (g->method == SP_PORTMAP_NATPMP)
        return NATPMP_TRIES;
    return m->mapped ? 1 : PCP_TRIES;
}

static void map_due(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                    struct sp_portmap_mapping *m, sp_time_ns now)
{
    switch (m->state) {
    case MAP_WAIT:
        if (is_busy(pm, g)) {
            m->blocked = true;
            m->due = SP_TIME_NEVER;
            return;
        }
        m->tries = 0;
        ask(pm, g, m, now);
        break;
    case MAP_ASKED:
        if (m->tries >= tries_max(g, m))
            give_up(pm, g, m, now);
        else
            ask(pm, g, m, now);
        break;
    case MAP_DELETING:
        if (m->tries == DELETE_TRIES) {
            m->state = MAP_OFF;
            m->due = SP_TIME_NEVER;
            return;
        }
        m->send = true;
        m->due = now + doubled(NATPMP_WAIT_NS, m->tries++);
        break;
    default:
        m->due = SP_TIME_NEVER;
        break;
    }
}

/* ---- time ---- */

static void probe(struct sp_portmap *pm, struct sp_portmap_gateway *g, sp_time_ns now)
{
    bool natpmp = g->addr.family == SP_V4 && g->probes > 0;
    bool pcp = g->probes == 0 || g->probes >= PROBES_NATPMP;

    if (pcp) {
        g->maps[0].state = MAP_ASKED;
        g->maps[0].send = true;
        g->maps[0].sent_at = now;
    }
    g->send_external = natpmp;
    g->probe_at = now + jitter(pm, doubled(NATPMP_WAIT_NS, g->probes));
    if (g->probes < UINT8_MAX)
        g->probes++;
}

static void tick_probing(struct sp_portmap *pm, struct sp_portmap_gateway *g, sp_time_ns now)
{
    if (!g->said_silent && now >= g->began_at + SP_PORTMAP_SILENT_NS) {
        g->said_silent = true;
        for (uint32_t i = 0; i < pm->cfg.want_count; i++)
            if (!g->maps[i].mapped)
                sp_portmap_fail(&g->maps[i], NO_ANSWER);
    }
    if (g->probe_at <= now)
        probe(pm, g, now);
}

/* NAT-PMP: nothing is mapped before the outer address is known. */
static void tick_external(struct sp_portmap *pm, struct sp_portmap_gateway *g, sp_time_ns now)
{
    if (g->external_at > now)
        return;
    if (g->external_tries == NATPMP_TRIES) {
        g->external_at = SP_TIME_NEVER;
        for (uint32_t i = 0; i < pm->cfg.want_count; i++)
            sp_portmap_fail(&g->maps[i], NO_ANSWER);
        if (!any_mapped(pm, g))
            sp_portmap_probe_again(g, now);
        return;
    }
    g->send_external = true;
    g->external_at = now + doubled(NATPMP_WAIT_NS, g->external_tries++);
}

/* Asks for the gateway's clock, so that a restart is noticed before the
 * mappings would have been renewed. */
static void tick_poll(struct sp_portmap *pm, struct sp_portmap_gateway *g, sp_time_ns now)
{
    if (g->poll_at > now)
        return;
    g->poll_at = now + jitter(pm, POLL_NS);
    if (g->method == SP_PORTMAP_PCP)
        g->send_announce = true;
    else
        g->send_external = true;
}

static void tick_path(struct sp_portmap *pm, struct sp_portmap_gateway *g, sp_time_ns now)
{
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        struct sp_portmap_mapping *m = &g->maps[i];
        if (m->mapped && m->expires_at <= now) {
            lose(m);
            if (m->due == SP_TIME_NEVER && g->method != SP_PORTMAP_NONE && !m->blocked)
                rest(m, now);
        }
    }
    if (!pm->stopping) {
        if (g->method == SP_PORTMAP_NONE) {
            tick_probing(pm, g, now);
            return; /* requests are the probe's */
        }
        tick_external(pm, g, now);
        tick_poll(pm, g, now);
    }
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        bool waits = g->method == SP_PORTMAP_NATPMP && g->external.family == SP_FAMILY_NONE &&
                     g->maps[i].state == MAP_WAIT;
        if (g->maps[i].due <= now && waits)
            g->maps[i].due = SP_TIME_NEVER; /* the outer address' coming wakes it */
        else if (g->maps[i].due <= now)
            map_due(pm, g, &g->maps[i], now);
    }
}

void sp_portmap_tick(struct sp_portmap *pm, sp_time_ns now)
{
    for (uint32_t i = 0; i < SP_PORTMAP_PATHS_MAX; i++) {
        if (pm->paths[i].used)
            tick_path(pm, &pm->paths[i], now);
    }
}

static sp_time_ns sooner(sp_time_ns a, sp_time_ns b)
{
    return a < b ? a : b;
}

static sp_time_ns path_deadline(const struct sp_portmap *pm, const struct sp_portmap_gateway *g)
{
    sp_time_ns at = SP_TIME_NEVER;
    if (!pm->stopping) {
        at = sooner(g->external_at, g->poll_at);
        if (g->method == SP_PORTMAP_NONE)
            at = sooner(at, g->probe_at);
        if (g->method == SP_PORTMAP_NONE && !g->said_silent)
            at = sooner(at, g->began_at + SP_PORTMAP_SILENT_NS);
    }
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        const struct sp_portmap_mapping *m = &g->maps[i];
        if (g->method != SP_PORTMAP_NONE)
            at = sooner(at, m->due);
        if (m->mapped)
            at = sooner(at, m->expires_at);
    }
    return at;
}

sp_time_ns sp_portmap_deadline(const struct sp_portmap *pm)
{
    sp_time_ns at = SP_TIME_NEVER;
    for (uint32_t i = 0; i < SP_PORTMAP_PATHS_MAX; i++) {
        if (pm->paths[i].used)
            at = sooner(at, path_deadline(pm, &pm->paths[i]));
    }
    return at;
}

/* ---- what is to be done ---- */

/* The port that we would like: the one we had, the one that the same port got
 * for its other protocol, or the same. */
static uint16_t suggestion(const struct sp_portmap *pm, const struct sp_portmap_gateway *g,
                           uint32_t want_ix)
{
    const struct sp_portmap_mapping *m = &g->maps[want_ix];
    uint16_t port = pm->cfg.wants[want_ix].port;
    if (m->no_suggestion)
        return 0;
    if (m->external.port)
        return m->external.port;
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        if (g->maps[i].mapped && pm->cfg.wants[i].port == port)
            return g->maps[i].external.port;
    }
    return port;
}

static void put_request(const struct sp_portmap *pm, const struct sp_portmap_gateway *g,
                        uint32_t want_ix, struct sp_out *o)
{
    const struct sp_portmap_want *w = &pm->cfg.wants[want_ix];
    bool deletes = g->maps[want_ix].state == MAP_DELETING;
    uint32_t lifetime_s = deletes ? 0 : pm->cfg.lifetime_s;
    uint16_t port = deletes ? 0 : suggestion(pm, g, want_ix);

    if (g->method == SP_PORTMAP_NATPMP) {
        /* RFC 6886 3.4: to remove, both the lifetime and the external port are 0. */
        sp_natpmp_put_map(o, w->protocol, w->port, port, lifetime_s);
        return;
    }
    struct sp_pcp_map map = {.protocol = w->protocol, .internal_port = w->port};
    sp_portmap_nonce(pm, g, want_ix, map.nonce);
    map.external = g->maps[want_ix].external;
    if (deletes || map.external.family == SP_FAMILY_NONE)
        map.external = (struct sp_addr){.family = g->local.family}; /* any */
    map.external.port = port;
    sp_pcp_put_map(o, &g->local, lifetime_s, &map);
}

static bool next_of_path(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                         struct sp_portmap_action *a)
{
    struct sp_out o = sp_out_of(a->bytes, sizeof(a->bytes));
    bool *announce = &g->send_announce, *external = &g->send_external;
    if (*announce) {
        *announce = false;
        sp_pcp_put_announce(&o, &g->local);
    } else if (*external) {
        *external = false;
        sp_natpmp_put_external(&o);
    }
    for (uint32_t i = 0; o.len == 0 && i < pm->cfg.want_count; i++) {
        if (!g->maps[i].send)
            continue;
        g->maps[i].send = false;
        a->want_ix = i;
        put_request(pm, g, i, &o);
    }
    assert(o.len <= sizeof(a->bytes));
    a->kind = SP_PORTMAP_SEND;
    a->len = o.len;
    return o.len > 0;
}

static bool next_event(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                       struct sp_portmap_action *a)
{
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        struct sp_portmap_mapping *m = &g->maps[i];
        if (!m->tell)
            continue;
        a->kind = (enum sp_portmap_action_kind)(m->tell - 1);
        a->want_ix = i;
        a->external = m->external;
        a->lifetime_s = m->lifetime_s;
        m->tell = 0;
        if (a->kind == SP_PORTMAP_FAILED)
            a->why = m->told = m->why;
        return true;
    }
    return false;
}

bool sp_portmap_next(struct sp_portmap *pm, struct sp_portmap_action *ret_action, sp_time_ns now)
{
    (void)now;
    for (uint32_t i = 0; i < SP_PORTMAP_PATHS_MAX; i++) {
        struct sp_portmap_gateway *g = &pm->paths[i];
        struct sp_portmap_action a = {.path_ix = i, .method = (enum sp_portmap_method)g->method};
        if (next_event(pm, g, &a) || (g->used && next_of_path(pm, g, &a))) {
            *ret_action = a;
            return true;
        }
    }
    return false;
}

/* ---- the end ---- */

void sp_portmap_stop(struct sp_portmap *pm, sp_time_ns now)
{
    if (pm->stopping)
        return;
    pm->stopping = true;
    for (uint32_t p = 0; p < SP_PORTMAP_PATHS_MAX; p++) {
        struct sp_portmap_gateway *g = &pm->paths[p];
        g->send_external = g->send_announce = false;
        for (uint32_t i = 0; g->used && i < pm->cfg.want_count; i++) {
            struct sp_portmap_mapping *m = &g->maps[i];
            bool may_be = m->mapped || m->state == MAP_ASKED;
            rest(m, SP_TIME_NEVER);
            m->tell = 0;
            m->state = MAP_OFF;
            m->mapped = false;
            if (!may_be || g->method == SP_PORTMAP_NONE)
                continue;
            m->state = MAP_DELETING;
            m->due = now;
        }
    }
    sp_portmap_tick(pm, now);
}

bool sp_portmap_idle(const struct sp_portmap *pm)
{
    for (uint32_t p = 0; p < SP_PORTMAP_PATHS_MAX; p++) {
        for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
            if (pm->paths[p].used && pm->paths[p].maps[i].state == MAP_DELETING)
                return false;
        }
    }
    return true;
}

bool sp_portmap_granted(const struct sp_portmap *pm, uint32_t path_ix, uint32_t want_ix,
                        struct sp_portmap_grant *ret_grant)
{
    const struct sp_portmap_gateway *g = &pm->paths[path_ix];
    const struct sp_portmap_mapping *m = &g->maps[want_ix];
    if (!g->used || !m->mapped)
        return false;
    *ret_grant = (struct sp_portmap_grant){
        .method = (enum sp_portmap_method)g->method,
        .external = m->external,
        .expires_at = m->expires_at,
    };
    return true;
}
