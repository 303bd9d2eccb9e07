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
        honest_wait = honest_wait || (leech == SP_LEECH_OK && c->peer_interested && c->am_choking);
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

/* A seed that nothing slows down: those who wait need not wait for the round.
 * First those who never were served. */
static void unchoke_waiting(struct sp_torrent *t, bool served_before, sp_time_ns now)
{
    for (uint32_t i = 0; i < t->conn_top; i++) {
        struct sp_conn *c = t->conns[i];
        if (!sp_choker_has_room(&t->choker, t->serving))
            return;
        if (c && c->state == CONN_OPEN && c->peer_interested && c->am_choking &&
            (c->choked_at != 0) == served_before)
            sp_choke_set(c, false, now);
    }
}

void sp_choke_more(struct sp_torrent *t, sp_time_ns now)
{
    uint32_t wanting = t->serving;
    if (t->state != SP_TORRENT_SEEDING)
        return;
    for (uint32_t i = 0; i < t->conn_top; i++) {
        const struct sp_conn *c = t->conns[i];
        wanting += c && c->state == CONN_OPEN && c->peer_interested && c->am_choking;
    }
    if (wanting == t->serving)
        return;
    sp_choker_grow(&t->choker, t->serving, wanting, sp_rate_Bps(&t->up_rate, now));
    unchoke_waiting(t, false, now);
    unchoke_waiting(t, true, now);
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
