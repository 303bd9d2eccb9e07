/* Who may be connected, and who gives way.
 *
 * A full torrent would stay as it is for ever: whoever came first.  So
 *
 *   - who wants nothing of us and has nothing for us gives way at once to one
 *     who comes or waits;
 *   - every TURN_NS those who move least, a part of them, give way to
 *     addresses that wait (seen in libtorrent: peer_turnover, 4 % in 300 s).
 *
 * One address is as many peers as a home may have (NAT), no more: else one
 * machine could fill a torrent.  In local networks, and where the user named
 * it, none is counted.
 */
#include "core/torrent/state.h"

enum {
    TURN_PERCENT = 4,
    FULL_PERCENT = 90,
    IP_CONNS_MAX = 8,
    V6_NET_LEN = 8, /* of a subscriber: addresses in it are free to him */
};

#define TURN_NS  (300 * SP_SECOND_NS)
#define GRACE_NS (60 * SP_SECOND_NS) /* as long nobody is judged */

/* ---- one address ---- */

static bool same_place(const struct sp_addr *a, const struct sp_addr *b)
{
    if (a->family != SP_V6 || b->family != SP_V6)
        return sp_addr_same_ip(a, b);
    return memcmp(a->ip, b->ip, V6_NET_LEN) == 0;
}

bool sp_turnover_is_crowded(const struct sp_torrent *t, const struct sp_addr *addr)
{
    uint32_t count = 0;
    if (sp_addr_scope(addr) != SP_SCOPE_GLOBAL)
        return false;
    for (uint32_t i = 0; i < t->conn_top; i++) {
        const struct sp_conn *c = t->conns[i];
        count += c && !c->named_by_user && same_place(&c->addr, addr);
    }
    return count >= IP_CONNS_MAX;
}

/* ---- who gives way ---- */

static bool may_go(const struct sp_conn *c, sp_time_ns now)
{
    return c && c->state == CONN_OPEN && !c->named_by_user && now - c->opened_at > GRACE_NS;
}

static uint64_t moves_Bps(struct sp_conn *c, sp_time_ns now)
{
    return sp_rate_Bps(&c->down, now) + sp_rate_Bps(&c->up, now);
}

static bool is_useless(struct sp_conn *c, sp_time_ns now)
{
    return may_go(c, now) && c->t->picker && !c->am_interested && !c->peer_interested &&
           moves_Bps(c, now) == 0;
}

/* NULL: all are of use. */
static struct sp_conn *oldest_useless(struct sp_torrent *t, sp_time_ns now)
{
    struct sp_conn *worst = NULL;
    for (uint32_t i = 0; i < t->conn_top; i++) {
        struct sp_conn *c = t->conns[i];
        if (is_useless(c, now) && (!worst || c->opened_at < worst->opened_at))
            worst = c;
    }
    return worst;
}

bool sp_turnover_make_room(struct sp_torrent *t, sp_time_ns now)
{
    struct sp_conn *c = oldest_useless(t, now);
    if (!c)
        return false;
    sp_conn_end(c, "gives way: neither has what the other wants", now);
    return true;
}

static bool is_full(const struct sp_torrent *t, uint32_t percent)
{
    const struct sp_hub *h = t->h;
    return t->conn_count * 100ull >= h->cfg->torrent_conn_max * (uint64_t)percent ||
           h->conn_count * 100ull >= h->cfg->conn_max * (uint64_t)percent;
}

/* Is a worse to keep than b? */
static bool is_worse(struct sp_conn *a, struct sp_conn *b, sp_time_ns now)
{
    bool a_useless = is_useless(a, now), b_useless = is_useless(b, now);
    if (a_useless != b_useless)
        return a_useless;
    uint64_t a_Bps = moves_Bps(a, now), b_Bps = moves_Bps(b, now);
    return a_Bps != b_Bps ? a_Bps < b_Bps : a->opened_at < b->opened_at;
}

static struct sp_conn *worst_of(struct sp_torrent *t, sp_time_ns now)
{
    struct sp_conn *worst = NULL;
    for (uint32_t i = 0; i < t->conn_top; i++) {
        struct sp_conn *c = t->conns[i];
        if (may_go(c, now) && (!worst || is_worse(c, worst, now)))
            worst = c;
    }
    return worst;
}

void sp_turnover_tick(struct sp_torrent *t, sp_time_ns now)
{
    if (t->next_turn_at == 0)
        t->next_turn_at = now + TURN_NS;
    if (!is_full(t, FULL_PERCENT))
        return;
    uint32_t waiting = sp_swarm_waiting(t, now);
    if (waiting == 0)
        return;
    if (is_full(t, 100))
        (void)sp_turnover_make_room(t, now); /* one a tick */
    if (now < t->next_turn_at)
        return;
    t->next_turn_at = now + TURN_NS;
    uint32_t count = (t->conn_count * TURN_PERCENT + 99) / 100;
    for (; count > 0 && waiting > 0; count--, waiting--) {
        struct sp_conn *c = worst_of(t, now);
        if (!c)
            return;
        sp_conn_end(c, "gives way: others wait, and it moves least", now);
    }
}

/* ---- that we want nothing more ---- */

/* BEP-0021: "a partial seed": who is known to want nothing is not kept waiting
 * for.  What changes after the handshake is told by the message, or by another
 * handshake where the peer does not know that. */
void sp_upload_only_tell(struct sp_torrent *t)
{
    bool only = t->picker && sp_picker_counts(t->picker).wanted_left == 0;
    if (sp_super_is_on(t))
        return;
    for (uint32_t i = 0; i < t->conn_top; i++) {
        struct sp_conn *c = t->conns[i];
        if (!c || c->state != CONN_OPEN || !c->wire.ext || c->told_upload_only == only)
            continue;
        c->told_upload_only = only;
        uint8_t flag = only, id = c->wire.ext_ids[SP_EXT_UPLOAD_ONLY];
        if (id)
            sp_conn_said(c, sp_wire_put_extended(&c->out, id, (struct sp_slice){&flag, 1}));
        else
            sp_conn_say_ext_handshake(c);
        sp_conn_wants_send(c);
    }
}
