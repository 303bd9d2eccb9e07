/* Whom to serve: the choker's answers carried out. */
#include "core/choker/leech.h"
#include "core/torrent/state.h"

void sp_choke_set(struct sp_conn *c, bool choke, sp_time_ns now)
{
    if (c->am_choking == choke || c->state != CONN_OPEN)
        return;
    c->am_choking = choke;
    if (c->peer_interested)
        c->t->serving += choke ? (uint32_t)-1 : 1;
    sp_conn_said(c, sp_wire_put_choke(&c->out, choke));
    if (choke) {
        c->choked_at = now;
        sp_serve_choked(c);
    } else {
        c->unchoked_at = now;
        c->given_bytes = 0;
    }
    sp_conn_wants_send(c);
}

/* ---- peers that take without progress ---- */

static struct sp_taker *past_of(struct sp_torrent *t, uint64_t key)
{
    for (uint32_t i = 0; i < TAKERS_KEPT; i++) {
        if (t->takers[i].key == key)
            return &t->takers[i];
    }
    return NULL;
}

static void note_claims(struct sp_conn *c)
{
    uint32_t have = c->have_all ? c->t->mi->piece_count : c->have.set;
    if (!c->claimed)
        c->have_first = have;
    c->claimed = true;
    if (have > c->have_most)
        c->have_most = have;
}

static enum sp_leech judge(struct sp_conn *c)
{
    const struct sp_taker *past = past_of(c->t, c->blame_key);
    note_claims(c);
    struct sp_leech_facts facts = {
        .given_bytes = c->up.total + (past ? past->given_bytes : 0),
        .have_first = past ? past->have_first : c->have_first,
        .have_most = past && past->have_most > c->have_most ? past->have_most : c->have_most,
        .have_count = c->have_all ? c->t->mi->piece_count : c->have.set,
        .piece_count = c->t->mi->piece_count,
        .piece_len = c->t->mi->piece_length,
        .reconnects = past ? past->reconnects : 0,
        .super_seeding = sp_super_is_on(c->t),
    };
    return sp_leech_judge(NULL, &facts);
}

void sp_choke_gone(struct sp_conn *c)
{
    struct sp_torrent *t = c->t;
    if (c->up.total == 0)
        return;
    note_claims(c);
    struct sp_taker *past = past_of(t, c->blame_key);
    if (!past) {
        past = &t->takers[t->taker_at++ % TAKERS_KEPT];
        *past = (struct sp_taker){.key = c->blame_key, .have_first = c->have_first};
    }
    past->given_bytes += c->up.total;
    past->reconnects++;
    if (c->have_most > past->have_most)
        past->have_most = c->have_most;
}

/* ---- rounds ---- */

/* For a round at least: who has just come is served between rounds where the
 * upload allows it, and nobody has to go for that. */
static bool waits_long(const struct sp_conn *c, sp_time_ns now)
{
    sp_time_ns since = c->choked_at > c->opened_at ? c->choked_at : c->opened_at;
    return c->peer_interested && c->am_choking && now - since >= SP_CHOKER_PERIOD_NS;
}

static uint32_t collect(struct sp_torrent *t, struct sp_choker_peer *peers, sp_time_ns now,
                        bool *ret_honest_wait)
{
    uint32_t n = 0;
    bool honest_wait = false;
    for (uint32_t i = 0; i < t->conn_top; i++) {
        struct sp_conn *c = t->conns[i];
        if (!c || c->state != CONN_OPEN || (!c->peer_interested && c->am_choking))
            continue;
        enum sp_leech leech = judge(c);
        honest_wait = honest_wait || (leech == SP_LEECH_OK && waits_long(c, now));
        peers[n++] = (struct sp_choker_peer){
            .id = i,
            .interested = c->peer_interested,
            .unchoked = !c->am_choking,
            .upload_only = c->upload_only || sp_conn_is_seed(c),
            .snubbed = c->snubbed || leech == SP_LEECH_SUSPECT,
            .optimistic = c->optimistic,
            .down_Bps = sp_rate_Bps(&c->down, now),
            .up_Bps = sp_rate_Bps(&c->up, now),
            .given_bytes = c->given_bytes,
            .unchoked_at = c->unchoked_at,
            .choked_at = c->choked_at,
            .connected_at = c->opened_at,
            .last_optimistic_at = c->optimistic_at,
        };
    }
    *ret_honest_wait = honest_wait;
    return n;
}

/* Holds a slot and makes nothing of it: for a while it has asked for nothing. */
static bool wastes_slot(const struct sp_conn *c, sp_time_ns now)
{
    bool takes = c->wants.count || c->chunks.count || c->read;
    return !takes && now - c->unchoked_at > SLOT_IDLE_NS && now - c->last_send_at > SLOT_IDLE_NS;
}

/* First those who never were served; busy: slots in use. */
static uint32_t unchoke_waiting(struct sp_torrent *t, bool served_before, uint32_t busy,
                                sp_time_ns now)
{
    for (uint32_t i = 0; i < t->conn_top && sp_choker_has_room(&t->choker, busy); i++) {
        struct sp_conn *c = t->conns[i];
        if (!c || c->state != CONN_OPEN || !c->peer_interested || !c->am_choking ||
            (c->choked_at != 0) != served_before)
            continue;
        sp_choke_set(c, false, now);
        busy++;
    }
    return busy;
}

/* A seed that nothing slows down: those who wait need not wait for the round,
 * nor for those who have a slot and do not use it. */
void sp_choke_more(struct sp_torrent *t, sp_time_ns now)
{
    uint32_t waiting = 0, busy = 0;
    if (t->state != SP_TORRENT_SEEDING)
        return;
    for (uint32_t i = 0; i < t->conn_top; i++) {
        const struct sp_conn *c = t->conns[i];
        if (!c || c->state != CONN_OPEN || !c->peer_interested)
            continue;
        waiting += c->am_choking;
        busy += !c->am_choking && !wastes_slot(c, now);
    }
    if (waiting == 0)
        return;
    /* Some may have come and gone since: what counts is that all were in use. */
    uint32_t used = t->slots_full && busy < t->choker.slots ? t->choker.slots : busy;
    sp_choker_grow(&t->choker, used, used + waiting, sp_rate_Bps(&t->up_rate, now));
    busy = unchoke_waiting(t, false, busy, now);
    busy = unchoke_waiting(t, true, busy, now);
    t->slots_full = !sp_choker_has_room(&t->choker, busy);
}

/* Who takes without progress is served only while nobody else waits: it may
 * be a tool that measures, but it gives nothing to the swarm. */
static void pass_over_cheats(struct sp_torrent *t, struct sp_choker_peer *peers, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (judge(t->conns[peers[i].id]) == SP_LEECH_CHEAT)
            peers[i].interested = false;
    }
}

void sp_choke_run(struct sp_torrent *t, sp_time_ns now)
{
    struct sp_hub *h = t->h;
    if (t->conn_count == 0)
        return;
    struct sp_choker_peer *peers = SP_NEW_ARRAY(h->mem, struct sp_choker_peer, t->conn_count);
    if (!peers)
        return; /* the slots stay as they are until the next round */

    bool honest_wait;
    uint32_t n = collect(t, peers, now, &honest_wait);
    if (honest_wait)
        pass_over_cheats(t, peers, n);
    sp_choker_run(&t->choker, peers, n, t->state != SP_TORRENT_DOWNLOADING,
                  sp_rate_Bps(&t->up_rate, now), now, &h->rng);
    for (uint32_t i = 0; i < n; i++) {
        struct sp_conn *c = t->conns[peers[i].id];
        c->optimistic = peers[i].optimistic;
        c->optimistic_at = peers[i].last_optimistic_at;
        sp_choke_set(c, !peers[i].want_unchoked, now);
    }
    sp_mem_free(h->mem, peers);
}
