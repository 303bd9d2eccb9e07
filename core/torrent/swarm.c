/* Addresses of peers: whom to dial next, and whom never again.
 *
 * One entry per address and port, at most CANDS_MAX of them.  Those named by
 * the user go first, then what failed seldom, then by the rank of BEP-0040, on
 * which both ends of a connection agree.
 */
#include <assert.h>

#include "core/base/out.h"
#include "core/ipfilter/ipfilter.h"
#include "core/torrent/priority.h"
#include "core/torrent/state.h"

enum { CANDS_MAX = 4000, DIAL_BURST = 16, DIAL_NEXT = 2 };

#define RETRY_FIRST_NS (20 * SP_SECOND_NS)
#define CROWDED_NS     (300 * SP_SECOND_NS)

/* BEP-0040: "The client should aways derive its own IP part from the IP address
 * that the peer sees it as": which is known once enough of them agree; until then
 * a keyed hash of theirs mixes the swarm as well. */
static uint32_t rank(const struct sp_torrent *t, const struct sp_addr *addr)
{
    struct sp_addr own = t->h->external.best[addr->family == SP_V6];
    if (own.family == SP_FAMILY_NONE)
        return (uint32_t)sp_addr_hash(&t->h->key, addr);
    own.port = t->h->cfg->listen_port;
    return sp_peer_priority(&own, addr);
}

static void rank_again(struct sp_torrent *t)
{
    if (t->ranked_for == t->h->external.changes)
        return;
    t->ranked_for = t->h->external.changes;
    for (uint32_t i = 0; i < t->cand_count; i++)
        t->cands[i].rank = rank(t, &t->cands[i].addr);
}

static bool is_addr(const void *owner, uint32_t ix, const void *key)
{
    return sp_addr_eq(&((const struct sp_candidate *)owner)[ix].addr, key);
}

struct sp_candidate *sp_swarm_find(struct sp_torrent *t, const struct sp_addr *addr)
{
    uint32_t ix =
        sp_map_find(&t->cand_map, sp_addr_hash(&t->h->key, addr), addr, is_addr, t->cands);
    return ix == SP_MAP_NONE ? NULL : &t->cands[ix];
}

/* Addresses from the network must be such as strangers can have. */
static bool may_dial(const struct sp_torrent *t, const struct sp_addr *addr, uint8_t source)
{
    if (addr->port == 0)
        return false;
    switch (sp_addr_scope(addr)) {
    case SP_SCOPE_GLOBAL:
        return true;
    case SP_SCOPE_PRIVATE:
    case SP_SCOPE_LOOPBACK:
        /* Who came to us from there, or was heard there, is near indeed. */
        return (source & (SP_PEER_USER | SP_PEER_INCOMING | SP_PEER_LSD)) || t->local_peers ||
               t->h->cfg->allow_local_peers;
    case SP_SCOPE_LINK:
        return source == SP_PEER_USER;
    case SP_SCOPE_NONE:
        break;
    }
    return false;
}

/* The entry least worth keeping: failed most, not connected. */
static uint32_t worst(const struct sp_torrent *t)
{
    uint32_t best = SP_MAP_NONE;
    assert(t->cands || t->cand_count == 0);
    for (uint32_t ix = 0; ix < t->cand_count; ix++) {
        const struct sp_candidate *a = &t->cands[ix];
        if (a->connected || a->banned || (a->sources & SP_PEER_USER))
            continue;
        if (best == SP_MAP_NONE || a->fails > t->cands[best].fails)
            best = ix;
    }
    return best;
}

static void count_sources(struct sp_torrent *t, uint8_t sources, int by)
{
    for (uint32_t bit = 0; bit < SP_PEER_SOURCES; bit++) {
        if (sources & 1u << bit)
            t->known_by[bit] += (uint32_t)by;
    }
}

static void forget(struct sp_torrent *t, uint32_t ix)
{
    uint32_t last = t->cand_count - 1;
    count_sources(t, t->cands[ix].sources, -1);
    sp_hearsay_settle(t, &t->cands[ix]);
    sp_map_del(&t->cand_map, sp_addr_hash(&t->h->key, &t->cands[ix].addr), ix);
    if (ix != last) {
        uint64_t hash = sp_addr_hash(&t->h->key, &t->cands[last].addr);
        sp_map_del(&t->cand_map, hash, last);
        t->cands[ix] = t->cands[last];
        if (sp_map_put(&t->cand_map, hash, ix) != SP_OK)
            assert(false && "a put after a delete needs no memory");
    }
    t->cand_count--;
}

static bool make_room(struct sp_torrent *t)
{
    if (t->cand_count < t->cand_cap)
        return true;
    if (t->cand_cap == CANDS_MAX) {
        uint32_t ix = worst(t);
        assert(t->cands);
        if (ix == SP_MAP_NONE || t->cands[ix].fails == 0)
            return false; /* full of untried ones: a flood must not push them out */
        forget(t, ix);
        return true;
    }
    uint32_t cap = t->cand_cap ? t->cand_cap * 2 : 16;
    if (cap > CANDS_MAX)
        cap = CANDS_MAX;
    struct sp_candidate *cands =
        sp_mem_grow(t->h->mem, t->cands, t->cand_count, cap, sizeof(*t->cands));
    if (!cands)
        return false;
    t->cands = cands;
    t->cand_cap = cap;
    return true;
}

static struct sp_candidate *add(struct sp_torrent *t, const struct sp_addr *addr)
{
    if (!make_room(t) ||
        sp_map_put(&t->cand_map, sp_addr_hash(&t->h->key, addr), t->cand_count) != SP_OK)
        return NULL;
    struct sp_candidate *a = &t->cands[t->cand_count++];
    *a = (struct sp_candidate){.addr = *addr, .rank = rank(t, addr)};
    return a;
}

void sp_swarm_forget(struct sp_torrent *t, struct sp_candidate *a)
{
    assert(!a->connected);
    forget(t, (uint32_t)(a - t->cands));
}

struct sp_candidate *sp_swarm_enter(struct sp_torrent *t, const struct sp_addr *addr,
                                    uint8_t source)
{
    struct sp_candidate *a = sp_swarm_is_banned(t, addr, false) ? NULL : add(t, addr);
    if (a)
        sp_swarm_source(t, a, source);
    return a;
}

void sp_swarm_source(struct sp_torrent *t, struct sp_candidate *a, uint8_t source)
{
    count_sources(t, source & (uint8_t)~a->sources, 1);
    a->sources |= source;
    if (source != SP_PEER_PEX)
        sp_hearsay_settle(t, a);
}

void sp_swarm_add(struct sp_torrent *t, const struct sp_addr *addr, uint8_t source, sp_time_ns now)
{
    struct sp_candidate *a = sp_swarm_find(t, addr);
    if (!a && may_dial(t, addr, source))
        a = sp_swarm_enter(t, addr, source);
    if (!a)
        return;
    sp_swarm_source(t, a, source);
    if (source == SP_PEER_USER)
        a->retry_at = now;
    /* A tracker has heard of it lately: that counts more than our failures. */
    if (source == SP_PEER_TRACKER && a->retry_at > now + RETRY_FIRST_NS)
        a->retry_at = now + RETRY_FIRST_NS;
}

/* ---- bans ---- */

/* A peer that we dialled is known by address and port; one that came to us
 * only by its address, since its port means nothing.  Several peers may share
 * an address (NAT), so a ban closes no more doors than it has to. */
bool sp_swarm_is_banned(const struct sp_torrent *t, const struct sp_addr *addr, bool incoming)
{
    if (sp_ipfilter_blocks(t->h->filter, addr))
        return true;
    for (uint32_t i = 0; i < t->ban_count; i++) {
        const struct sp_addr *b = &t->bans[i];
        if (sp_addr_same_ip(b, addr) && (incoming || b->port == addr->port))
            return true;
    }
    return false;
}

static void tell_ban(struct sp_torrent *t, const struct sp_addr *addr, const char *why)
{
    char text[SP_CLIENT_TEXT_LEN], address[SP_ADDR_TEXT_LEN];
    struct sp_out o = sp_out_of((uint8_t *)text, sizeof(text) - 1);
    sp_out_str(&o, sp_addr_text(addr, address));
    sp_out_str(&o, " ");
    sp_out_str(&o, why);
    text[o.len < o.cap ? o.len : o.cap] = '\0';
    sp_hub_event(t->h, SP_EV_PEER_BANNED, t->id, SP_EHASH, text);
}

static bool is_listed(const struct sp_torrent *t, const struct sp_addr *who)
{
    for (uint32_t i = 0; i < t->ban_count; i++) {
        if (sp_addr_eq(&t->bans[i], who))
            return true;
    }
    return false;
}

void sp_swarm_ban(struct sp_torrent *t, uint64_t key, const struct sp_addr *who, const char *why,
                  sp_time_ns now)
{
    struct sp_candidate *a = sp_swarm_find(t, who);

    if (a)
        a->banned = true;
    if (!is_listed(t, who)) {
        /* A ring: after so many bans the oldest may try again. */
        t->bans[t->ban_at++ % BANS_MAX] = *who;
        if (t->ban_count < BANS_MAX)
            t->ban_count++;
        tell_ban(t, who, why);
    }
    for (uint32_t i = t->conn_top; i-- > 0;) {
        if (i < t->conn_top && t->conns[i] && t->conns[i]->blame_key == key)
            sp_conn_end(t->conns[i], why, now);
    }
}

/* ---- dialling ---- */

static bool is_better(const struct sp_candidate *a, const struct sp_candidate *b)
{
    bool a_user = a->sources & SP_PEER_USER, b_user = b->sources & SP_PEER_USER;
    if (a_user != b_user)
        return a_user;
    if (a->fails != b->fails)
        return a->fails < b->fails;
    return a->rank > b->rank;
}

static bool may_be_dialled(struct sp_torrent *t, const struct sp_candidate *a, sp_time_ns now)
{
    bool seeding = t->state == SP_TORRENT_SEEDING;
    return !a->connected && !a->banned && a->retry_at <= now && !(seeding && a->seed) &&
           sp_hearsay_may_dial(t, a);
}

uint32_t sp_swarm_waiting(struct sp_torrent *t, sp_time_ns now)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->cand_count; i++)
        n += may_be_dialled(t, &t->cands[i], now);
    return n;
}

static struct sp_candidate *choose(struct sp_torrent *t, sp_time_ns now)
{
    struct sp_candidate *best = NULL;

    rank_again(t);
    for (uint32_t i = 0; i < t->cand_count; i++) {
        struct sp_candidate *a = &t->cands[i];
        if (!may_be_dialled(t, a, now))
            continue;
        if (!best || is_better(a, best))
            best = a;
    }
    return best;
}

static void dial(struct sp_torrent *t, int burst, sp_time_ns now)
{
    struct sp_hub *h = t->h;

    if (!sp_torrent_running(t) || h->offline)
        return;
    for (int n = 0; n < burst; n++) {
        if (h->half_open_count >= h->cfg->half_open_max || h->conn_count >= h->cfg->conn_max ||
            t->conn_count >= h->cfg->torrent_conn_max)
            return;
        struct sp_candidate *a = choose(t, now);
        if (!a)
            return;
        if (!(a->sources & SP_PEER_USER) && sp_turnover_is_crowded(t, &a->addr)) {
            a->retry_at = now + CROWDED_NS;
            continue;
        }
        struct sp_conn *c = sp_conn_new(t, &a->addr, false, now);
        if (!c)
            return;
        c->named_by_user = a->sources & SP_PEER_USER;
        c->dials_mse = sp_crypt_is_first(t, a);
        a->connected = true;
        sp_hearsay_dialing(c, a);
        sp_list_add(&h->dialing, &c->effect_link);
    }
}

void sp_swarm_dial(struct sp_torrent *t, sp_time_ns now)
{
    dial(t, DIAL_BURST, now);
}

void sp_swarm_filter(struct sp_torrent *t, sp_time_ns now)
{
    const struct sp_ipfilter *f = t->h->filter;
    for (uint32_t i = t->conn_top; i-- > 0;) {
        if (i < t->conn_top && t->conns[i] && sp_ipfilter_blocks(f, &t->conns[i]->addr))
            sp_conn_end(t->conns[i], "is on a list of addresses", now);
    }
    for (uint32_t ix = t->cand_count; ix-- > 0;) {
        if (!t->cands[ix].connected && sp_ipfilter_blocks(f, &t->cands[ix].addr))
            forget(t, ix);
    }
}

void sp_swarm_online(struct sp_torrent *t, sp_time_ns now)
{
    for (uint32_t i = 0; i < t->cand_count; i++) {
        sp_time_ns soon = now + sp_rng_below(&t->h->rng, 2 * SP_SECOND_NS);
        if (t->cands[i].retry_at > soon)
            t->cands[i].retry_at = soon;
    }
    sp_swarm_dial(t, now);
}

void sp_swarm_dial_next(struct sp_torrent *t, sp_time_ns now)
{
    dial(t, DIAL_NEXT, now);
}

void sp_swarm_recall(struct sp_torrent *t, sp_time_ns now)
{
    for (uint32_t i = 0; i < t->cand_count; i++) {
        struct sp_candidate *a = &t->cands[i];
        if (!a->seed || a->retry_at <= now)
            continue;
        a->retry_at = now;
        a->fails = 0;
    }
}

void sp_swarm_gone(struct sp_torrent *t, struct sp_conn *c, sp_time_ns now)
{
    struct sp_candidate *a =
        c->listen.family == SP_FAMILY_NONE ? NULL : sp_swarm_find(t, &c->listen);
    if (!a)
        return;
    a->connected = false;
    a->seed = sp_conn_is_seed(c) || c->upload_only;
    if (sp_crypt_retry(c, a, now))
        return;
    /* Who was of use is soon worth another try.  A handshake alone is none: two
     * seeds would meet and part for ever. */
    bool stayed = c->state == CONN_OPEN && now - c->opened_at > USELESS_NS;
    if (c->down.total > 0 || c->up.total > 0 || stayed)
        a->fails = 0;
    else if (a->fails < UINT8_MAX)
        a->fails++;
    uint32_t shift = a->fails < 6 ? a->fails : 6;
    sp_time_ns wait =
        c->named_by_user ? RETRY_FIRST_NS / 10 << (shift < 4 ? shift : 4) : RETRY_FIRST_NS << shift;
    a->retry_at = now + wait + sp_rng_below(&t->h->rng, wait / 4 + 1);
}
