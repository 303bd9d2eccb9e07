/* What gateways answer: who is believed, what it changes. */
#include "core/base/cur.h"
#include "core/portmap/state.h"

enum {
    RETRY_SHORT_S = 30,  /* RFC 6887 7.4: errors of a short lifetime */
    RETRY_LONG_S = 1800, /* and of a long one */
    RETRY_MAX_S = 86400,
};

/* Those that heard a gateway's restart at the same moment do not all ask at
 * once (RFC 6887 14.1.3). */
#define HEARD_DELAY_NS (5 * SP_SECOND_NS)

/* ---- the gateway's clock ---- */

/* RFC 6887 8.5: the two clocks ran alike, give or take 1/16 and two seconds.
 * A second back is forgiven: packets overtake one another. */
static bool pcp_clock_holds(const struct sp_portmap_gateway *g, uint32_t epoch_s, sp_time_ns now)
{
    int64_t client = (int64_t)((now - g->epoch_at) / SP_SECOND_NS);
    int64_t server = (int64_t)epoch_s - (int64_t)g->epoch_s;
    return server >= -1 && client + 2 >= server - server / 16 && server + 2 >= client - client / 16;
}

/* RFC 6886 3.6: it ran at least 7/8 as fast as ours. */
static bool natpmp_clock_holds(const struct sp_portmap_gateway *g, uint32_t epoch_s, sp_time_ns now)
{
    uint64_t client = (now - g->epoch_at) / SP_SECOND_NS;
    return (uint64_t)epoch_s + 2 >= g->epoch_s + client * 7 / 8;
}

/* It has lost what it had mapped: all is asked for again. */
static void start_over(struct sp_portmap *pm, struct sp_portmap_gateway *g, sp_time_ns at)
{
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        struct sp_portmap_mapping *m = &g->maps[i];
        if (!m->mapped && m->state != MAP_WAIT)
            continue;
        m->rounds = 0;
        m->blocked = m->send = false;
        m->state = MAP_WAIT;
        m->due = at;
        if (m->mapped && m->due < m->sent_at + RENEW_MIN_NS)
            m->due = m->sent_at + RENEW_MIN_NS;
    }
}

static void look_at_clock(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                          const struct sp_portmap_reply *r, sp_time_ns delay, sp_time_ns now)
{
    if (!r->has_epoch || pm->stopping)
        return;
    bool holds =
        !g->has_epoch || (g->method == SP_PORTMAP_PCP ? pcp_clock_holds(g, r->epoch_s, now)
                                                      : natpmp_clock_holds(g, r->epoch_s, now));
    g->has_epoch = true;
    g->epoch_s = r->epoch_s;
    g->epoch_at = now;
    if (!holds)
        start_over(pm, g, now + delay);
}

/* ---- a mapping's answer ---- */

static uint32_t within(uint32_t v, uint32_t low, uint32_t high)
{
    return v < low ? low : v > high ? high : v;
}

static void granted(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                    struct sp_portmap_mapping *m, const struct sp_addr *external,
                    uint32_t lifetime_s, sp_time_ns now)
{
    bool is_news = !m->mapped || !sp_addr_eq(&m->external, external);
    m->mapped = true;
    m->no_suggestion = false;
    m->external = *external;
    m->lifetime_s = lifetime_s;
    m->granted_at = now;
    m->expires_at = now + within(lifetime_s, LIFETIME_MIN_S, LIFETIME_MAX_S) * SP_SECOND_NS;
    m->rounds = 0;
    m->told = NULL;
    m->state = MAP_WAIT;
    m->blocked = m->send = false;
    m->tries = 0;
    m->due = sp_portmap_renewal(pm, m, now);
    if (is_news)
        sp_portmap_tell(m, SP_PORTMAP_MAPPED);
    else if (m->tell == SP_PORTMAP_FAILED + 1)
        m->tell = 0;
    sp_portmap_release(pm, g, now);
}

static void refused(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                    struct sp_portmap_mapping *m, const char *why, uint32_t retry_s, sp_time_ns now)
{
    sp_portmap_fail(m, why);
    m->state = MAP_WAIT;
    m->blocked = m->send = false;
    m->tries = 0;
    m->due = now + retry_s * SP_SECOND_NS;
    sp_portmap_release(pm, g, now);
}

static void removed(struct sp_portmap_mapping *m)
{
    m->state = MAP_OFF;
    m->send = false;
    m->due = SP_TIME_NEVER;
}

static bool is_passing(uint16_t result)
{
    return result == SP_PCP_NETWORK_FAILURE || result == SP_PCP_NO_RESOURCES ||
           result == SP_PCP_USER_EX_QUOTA || result == SP_PCP_CANNOT_PROVIDE_EXTERNAL;
}

/* RFC 6887 8.3: the same would be answered until the error's lifetime is over. */
static uint32_t pcp_retry_s(const struct sp_portmap_reply *r)
{
    uint32_t least = is_passing(r->result) ? RETRY_SHORT_S : RETRY_LONG_S;
    return within(r->lifetime_s, least, RETRY_MAX_S);
}

/* ---- PCP ---- */

/* The want that a reply is about; want_count when none. */
static uint32_t want_of(const struct sp_portmap *pm, const struct sp_portmap_reply *r)
{
    uint32_t i = 0;
    while (i < pm->cfg.want_count && (pm->cfg.wants[i].protocol != r->map.protocol ||
                                      pm->cfg.wants[i].port != r->map.internal_port))
        i++;
    return i;
}

static void on_pcp_map(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                       const struct sp_portmap_reply *r, sp_time_ns now)
{
    uint8_t nonce[SP_PCP_NONCE_LEN];
    uint32_t i = want_of(pm, r);
    if (i == pm->cfg.want_count)
        return;
    sp_portmap_nonce(pm, g, i, nonce);
    /* RFC 6887 11.4: protocol, internal port and nonce have to match. */
    if (memcmp(nonce, r->map.nonce, sizeof(nonce)) != 0)
        return;
    struct sp_portmap_mapping *m = &g->maps[i];
    if (m->state == MAP_DELETING && (r->result != SP_PCP_SUCCESS || r->lifetime_s == 0))
        removed(m);
    if (pm->stopping)
        return;
    if (g->method == SP_PORTMAP_NATPMP || (g->method == SP_PORTMAP_NONE && g->probes == 0))
        return; /* late: the other one has answered, or nothing was asked */
    if (g->method == SP_PORTMAP_NONE)
        sp_portmap_speak(pm, g, SP_PORTMAP_PCP, now);
    look_at_clock(pm, g, r, 0, now);
    if (r->result != SP_PCP_SUCCESS) {
        m->no_suggestion = r->result == SP_PCP_CANNOT_PROVIDE_EXTERNAL;
        refused(pm, g, m, sp_pcp_result_text(r->result), pcp_retry_s(r), now);
    } else if (r->lifetime_s == 0 || r->map.external.port == 0) {
        refused(pm, g, m, "the gateway took the mapping away", RETRY_SHORT_S, now);
    } else {
        granted(pm, g, m, &r->map.external, r->lifetime_s, now);
    }
}

/* Neither is spoken, or not by us: not for a while. */
static void refused_all(struct sp_portmap *pm, struct sp_portmap_gateway *g, sp_time_ns now)
{
    bool any_mapped = false;
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        refused(pm, g, &g->maps[i], sp_pcp_result_text(SP_PCP_UNSUPP_VERSION), RETRY_LONG_S, now);
        any_mapped |= g->maps[i].mapped;
    }
    if (any_mapped)
        return; /* by what it spoke before */
    sp_portmap_probe_again(g, now);
    g->said_silent = true;
    g->probe_at = now + RETRY_LONG_S * SP_SECOND_NS;
}

/* RFC 6887 9: a gateway that speaks NAT-PMP alone says so with version 0; one
 * that speaks PCP alone says it of NAT-PMP's request, with version 2. */
static void on_other_version(struct sp_portmap *pm, struct sp_portmap_gateway *g, uint8_t version,
                             sp_time_ns now)
{
    bool asked = g->method != SP_PORTMAP_NONE || g->probes > 0;
    bool v4 = g->addr.family == SP_V4;
    if (pm->stopping || !asked)
        return;
    if (version == SP_PCP_VERSION && g->method != SP_PORTMAP_NATPMP) {
        if (g->method == SP_PORTMAP_NONE && g->probes > 1 && v4)
            sp_portmap_speak(pm, g, SP_PORTMAP_PCP, now);
    } else if (g->method != SP_PORTMAP_NATPMP && v4) {
        sp_portmap_speak(pm, g, SP_PORTMAP_NATPMP, now);
    } else {
        refused_all(pm, g, now);
    }
}

/* ---- NAT-PMP ---- */

static void on_external(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                        const struct sp_portmap_reply *r, sp_time_ns delay, sp_time_ns now)
{
    bool probed = g->method == SP_PORTMAP_NONE && g->probes > 1;
    if (pm->stopping || g->addr.family != SP_V4 || (g->method != SP_PORTMAP_NATPMP && !probed))
        return;
    if (r->result == SP_NATPMP_SUCCESS)
        g->external = r->map.external;
    if (probed)
        sp_portmap_speak(pm, g, SP_PORTMAP_NATPMP, now);
    look_at_clock(pm, g, r, delay, now);
    if (r->result != SP_NATPMP_SUCCESS) {
        for (uint32_t i = 0; i < pm->cfg.want_count; i++)
            sp_portmap_fail(&g->maps[i], sp_natpmp_result_text(r->result));
        g->external_tries = 0;
        g->external_at = now + RETRY_SHORT_S * SP_SECOND_NS;
        return;
    }
    g->external_at = SP_TIME_NEVER;
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        struct sp_portmap_mapping *m = &g->maps[i];
        if (m->mapped && !sp_addr_same_ip(&m->external, &g->external)) {
            uint16_t port = m->external.port;
            m->external = g->external;
            m->external.port = port;
            sp_portmap_tell(m, SP_PORTMAP_MAPPED);
        }
        if (m->state == MAP_WAIT && !m->mapped && !m->blocked && m->due == SP_TIME_NEVER)
            m->due = now;
    }
}

static struct sp_portmap_mapping *natpmp_asked(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                                               const struct sp_portmap_reply *r)
{
    for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
        struct sp_portmap_mapping *m = &g->maps[i];
        const struct sp_portmap_want *w = &pm->cfg.wants[i];
        if ((m->state == MAP_ASKED || m->state == MAP_DELETING) && w->protocol == r->map.protocol &&
            (r->is_short || w->port == r->map.internal_port))
            return m;
    }
    return NULL;
}

static void on_natpmp_map(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                          const struct sp_portmap_reply *r, sp_time_ns now)
{
    struct sp_portmap_mapping *m = natpmp_asked(pm, g, r);
    if (!m || g->method != SP_PORTMAP_NATPMP)
        return;
    if (m->state == MAP_DELETING) {
        if (r->result != SP_NATPMP_SUCCESS || r->lifetime_s == 0)
            removed(m);
        return;
    }
    look_at_clock(pm, g, r, 0, now);
    if (r->result != SP_NATPMP_SUCCESS) {
        bool passing =
            r->result == SP_NATPMP_NETWORK_FAILURE || r->result == SP_NATPMP_NO_RESOURCES;
        refused(pm, g, m, sp_natpmp_result_text(r->result), passing ? RETRY_SHORT_S : RETRY_LONG_S,
                now);
    } else if (r->lifetime_s == 0 || r->map.external.port == 0) {
        refused(pm, g, m, "the gateway took the mapping away", RETRY_SHORT_S, now);
    } else {
        struct sp_addr external = g->external;
        external.port = r->map.external.port;
        granted(pm, g, m, &external, r->lifetime_s, now);
    }
}

/* ---- datagrams ---- */

static bool is_from(const struct sp_portmap_gateway *g, const struct sp_addr *from)
{
    return g->used && from->port == SP_PORTMAP_SERVER_PORT && sp_addr_same_ip(&g->addr, from);
}

void sp_portmap_datagram(struct sp_portmap *pm, uint32_t path_ix, const struct sp_addr *from,
                         struct sp_slice bytes, sp_time_ns now)
{
    struct sp_portmap_gateway *g = &pm->paths[path_ix];
    struct sp_portmap_reply r;
    if (!is_from(g, from) || sp_portmap_reply_parse(bytes, &r) != SP_OK)
        return;
    switch (r.kind) {
    case SP_REPLY_PCP_MAP:
        on_pcp_map(pm, g, &r, now);
        break;
    case SP_REPLY_PCP_ANNOUNCE:
        if (g->method == SP_PORTMAP_PCP)
            look_at_clock(pm, g, &r, 0, now);
        break;
    case SP_REPLY_PCP_VERSION:
    case SP_REPLY_NATPMP_VERSION:
        on_other_version(pm, g, r.version, now);
        break;
    case SP_REPLY_NATPMP_EXTERNAL:
        on_external(pm, g, &r, 0, now);
        break;
    case SP_REPLY_NATPMP_MAP:
        on_natpmp_map(pm, g, &r, now);
        break;
    }
}

void sp_portmap_heard(struct sp_portmap *pm, const struct sp_addr *from, struct sp_slice bytes,
                      sp_time_ns now)
{
    struct sp_portmap_reply r;
    if (pm->stopping || sp_portmap_reply_parse(bytes, &r) != SP_OK)
        return;
    for (uint32_t i = 0; i < SP_PORTMAP_PATHS_MAX; i++) {
        struct sp_portmap_gateway *g = &pm->paths[i];
        if (!is_from(g, from))
            continue;
        sp_time_ns delay = sp_rng_below(&pm->rng, HEARD_DELAY_NS);
        if (r.kind == SP_REPLY_PCP_ANNOUNCE && g->method == SP_PORTMAP_PCP)
            look_at_clock(pm, g, &r, delay, now);
        else if (r.kind == SP_REPLY_NATPMP_EXTERNAL && g->method == SP_PORTMAP_NATPMP)
            on_external(pm, g, &r, delay, now);
        else if (g->method == SP_PORTMAP_NONE && g->probe_at > now + delay)
            g->probe_at = now + delay; /* it is there after all */
        else if (g->method != SP_PORTMAP_NONE && g->poll_at > now + delay)
            g->poll_at = now + delay; /* said in the other one's words: ask its clock */
    }
}

/* ---- for tests ---- */

static const char *map_broken(const struct sp_portmap_gateway *g,
                              const struct sp_portmap_mapping *m)
{
    if (m->mapped && m->expires_at <= m->granted_at)
        return "a mapping that lasts no time";
    if (m->mapped && m->external.port == 0)
        return "mapped to no port";
    if (m->blocked && (m->state != MAP_WAIT || m->due != SP_TIME_NEVER))
        return "blocked, and does not wait";
    if (m->send && m->state != MAP_ASKED && m->state != MAP_DELETING)
        return "a request that nobody makes";
    if (m->state == MAP_ASKED && m->due == SP_TIME_NEVER && g->method != SP_PORTMAP_NONE)
        return "a request that is never repeated";
    if (m->state == MAP_WAIT && m->due == SP_TIME_NEVER && g->method == SP_PORTMAP_PCP &&
        !m->blocked && !m->mapped)
        return "neither mapped nor asked for";
    return NULL;
}

const char *sp_portmap_broken(const struct sp_portmap *pm)
{
    for (uint32_t p = 0; p < SP_PORTMAP_PATHS_MAX; p++) {
        const struct sp_portmap_gateway *g = &pm->paths[p];
        bool any_asked = false, any_blocked = false;
        for (uint32_t i = 0; i < pm->cfg.want_count; i++) {
            const struct sp_portmap_mapping *m = &g->maps[i];
            const char *why = g->used ? map_broken(g, m) : NULL;
            if (why)
                return why;
            if (!g->used && (m->mapped || m->send))
                return "a path that is gone maps";
            any_asked |= m->state == MAP_ASKED;
            any_blocked |= m->blocked;
        }
        if (any_blocked && !any_asked)
            return "blocked by nobody";
        if (g->used && !pm->stopping && g->method == SP_PORTMAP_NONE &&
            g->probe_at == SP_TIME_NEVER)
            return "never probed again";
        if (g->method == SP_PORTMAP_NATPMP && g->addr.family != SP_V4)
            return "NAT-PMP over IPv6";
    }
    return NULL;
}
