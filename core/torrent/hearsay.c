/* What peers tell us of others (BEP-0011): believed within bounds.
 *
 * BEP-0011: "Data exchanged via PEX messages should be considered untrusted and
 * potentially malicious."  So what nothing but a message speaks for is held
 * against whoever sent it, by address: how many such addresses he answers for,
 * and how many of them we dial at once.  An address that answers as a peer, or
 * that a tracker names too, is held against nobody any more.
 */
#include "core/torrent/state.h"
#include "core/wire/ut_pex.h"

/* Whoever comes again, from whatever port, is the same. */
static uint64_t key_of(const struct sp_conn *c)
{
    struct sp_addr who = c->addr;
    who.port = 0;
    return sp_addr_hash(&c->h->key, &who) | 1;
}

/* Of key, or a free one; 0: there is none.  Indices begin at 1. */
static uint16_t teller_for(struct sp_torrent *t, uint64_t key)
{
    struct sp_pex *p = t->pex;
    uint32_t room = 0;

    for (uint32_t i = 0; i < p->teller_cap; i++) {
        if (p->tellers[i].key == key)
            return (uint16_t)(i + 1);
        if (p->tellers[i].key == 0 && room == 0)
            room = i + 1;
    }
    if (room == 0 && p->teller_cap < TELLERS_MAX) {
        uint32_t cap = p->teller_cap ? p->teller_cap * 2 : 8;
        struct sp_teller *tellers =
            sp_mem_grow(t->h->mem, p->tellers, p->teller_cap, cap, sizeof(*tellers));
        if (!tellers)
            return 0;
        room = p->teller_cap + 1;
        for (uint32_t i = p->teller_cap; i < cap; i++)
            tellers[i] = (struct sp_teller){0};
        p->tellers = tellers;
        p->teller_cap = cap;
    }
    if (room)
        p->tellers[room - 1] = (struct sp_teller){.key = key};
    return (uint16_t)room;
}

static void free_if_done(struct sp_teller *k)
{
    if (k->known == 0 && k->dialing == 0)
        k->key = 0;
}

void sp_hearsay_settle(struct sp_torrent *t, struct sp_candidate *a)
{
    if (!a->teller)
        return;
    struct sp_teller *k = &t->pex->tellers[a->teller - 1];
    k->known--;
    t->pex->hearsay--;
    a->teller = 0;
    free_if_done(k);
}

/* ---- dialling ---- */

/* BEP-0011: "a client should avoid taking all its connection candidates from a
 * single PEX source" */
bool sp_hearsay_may_dial(const struct sp_torrent *t, const struct sp_candidate *a)
{
    uint32_t share = t->h->cfg->half_open_max / 4;
    return !a->teller || t->pex->tellers[a->teller - 1].dialing < (share ? share : 1);
}

void sp_hearsay_dialing(struct sp_conn *c, const struct sp_candidate *a)
{
    c->teller = a->teller;
    if (c->teller)
        c->t->pex->tellers[c->teller - 1].dialing++;
}

void sp_hearsay_dialed(struct sp_conn *c)
{
    if (!c->teller)
        return;
    struct sp_teller *k = &c->t->pex->tellers[c->teller - 1];
    k->dialing--;
    c->teller = 0;
    free_if_done(k);
}

/* ---- messages ---- */

static void strike(struct sp_conn *c, uint8_t weight, sp_time_ns now)
{
    c->pex->strikes = (uint8_t)(c->pex->strikes + weight);
    /* BEP-0011: "Clients may disconnect peers that egregiously violate these
     * constraints." */
    if (c->pex->strikes >= PEX_STRIKES_MAX)
        sp_conn_end(c, "breaks the rules of peer exchange", now);
}

/* An address on a local network is the word of somebody who is on one. */
static bool may_name(const struct sp_conn *c, const struct sp_addr *addr)
{
    enum sp_scope from = sp_addr_scope(&c->addr);

    switch (sp_addr_scope(addr)) {
    case SP_SCOPE_GLOBAL:
        return addr->port >= HEARSAY_PORT_MIN;
    case SP_SCOPE_PRIVATE:
        return from == SP_SCOPE_PRIVATE || from == SP_SCOPE_LOOPBACK;
    case SP_SCOPE_LOOPBACK:
        return from == SP_SCOPE_LOOPBACK;
    case SP_SCOPE_LINK:
    case SP_SCOPE_NONE:
        break;
    }
    return false;
}

/* Many ports of one host on the internet: rather an attack on it than peers. */
static bool has_other_port(const struct sp_torrent *t, const struct sp_addr *addr)
{
    if (sp_addr_scope(addr) != SP_SCOPE_GLOBAL)
        return false;
    for (uint32_t i = 0; i < t->cand_count; i++) {
        if (sp_addr_same_ip(&t->cands[i].addr, addr) && t->cands[i].addr.port != addr->port)
            return true;
    }
    return false;
}

static void know_more(const struct sp_conn *c, struct sp_candidate *a, uint8_t flags)
{
    a->pex_flags = flags;
    if ((flags & SP_PEX_SEED) && !a->connected)
        a->seed = true;
    if (c->wire.ext_ids[SP_EXT_UT_HOLEPUNCH])
        a->relay = c->peer;
}

static void take(struct sp_conn *c, const struct sp_pex_contact *contact)
{
    struct sp_torrent *t = c->t;
    struct sp_candidate *a = sp_swarm_find(t, &contact->addr);

    if (!may_name(c, &contact->addr))
        return;
    if (!a) {
        uint16_t ix = teller_for(t, key_of(c));
        struct sp_teller *k = ix ? &t->pex->tellers[ix - 1] : NULL;
        if (k && k->known < HEARSAY_PER_TELLER && t->pex->hearsay < HEARSAY_MAX &&
            !has_other_port(t, &contact->addr))
            a = sp_swarm_enter(t, &contact->addr, SP_PEER_PEX);
        if (!a) {
            if (k)
                free_if_done(k);
            return;
        }
        a->teller = ix;
        k->key = key_of(c); /* room may have been made at its own cost */
        k->known++;
        t->pex->hearsay++;
    }
    sp_swarm_source(t, a, SP_PEER_PEX);
    know_more(c, a, contact->flags);
}

/* Who told us of it says that it is gone: it is held against him no more. */
static void untake(struct sp_conn *c, const struct sp_addr *addr)
{
    struct sp_torrent *t = c->t;
    struct sp_candidate *a = sp_swarm_find(t, addr);

    if (a && a->teller && !a->connected && !a->banned &&
        t->pex->tellers[a->teller - 1].key == key_of(c))
        sp_swarm_forget(t, a);
}

static bool is_in_time(struct sp_pex_talk *talk, sp_time_ns now)
{
    bool in_time = !talk->has_heard || now - talk->recv_at >= PEX_RECV_NS;
    if (in_time)
        talk->recv_at = now;
    return in_time;
}

void sp_hearsay_got(struct sp_conn *c, struct sp_slice payload, sp_time_ns now)
{
    struct sp_pex_talk *talk = sp_pex_talk(c);
    struct sp_pex_msg m;

    if (!talk || !sp_pex_is_on(c->t)) /* off: nothing that we offered */
        return;
    if (!is_in_time(talk, now)) {
        strike(c, 1, now);
        return;
    }
    uint32_t most = talk->has_heard ? PEX_TOLD_MAX : PEX_FIRST_MAX;
    talk->has_heard = true;
    if (sp_pex_read(payload, &m) != SP_OK) {
        strike(c, 2, now);
        return;
    }
    /* BEP-0011: "Except for the initial PEX message the combined amount of added
     * v4/v6 contacts should not exceed 50 entries."  Twice of that is common. */
    if (m.contradicts || m.added_told > most || m.dropped_told > most) {
        strike(c, 1, now);
        return;
    }
    if (talk->strikes)
        talk->strikes--;
    for (uint32_t i = 0; i < m.dropped_count; i++)
        untake(c, &m.dropped[i]);
    for (uint32_t i = 0; i < m.added_count; i++)
        take(c, &m.added[i]);
    sp_swarm_dial(c->t, now);
}
