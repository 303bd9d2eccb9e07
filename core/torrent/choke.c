/* Whom to serve: the choker's answers carried out. */
#include "core/torrent/state.h"

void sp_choke_set(struct sp_conn *c, bool choke, sp_time_ns now)
{
    if (c->am_choking == choke || c->state != CONN_OPEN)
        return;
    c->am_choking = choke;
    if (c->peer_interested)
        c->t->serving += choke ? (uint32_t)-1 : 1;
    (void)sp_wire_put_choke(&c->out, choke);
    if (choke) {
        c->choked_at = now;
        sp_serve_choked(c);
    } else {
        c->unchoked_at = now;
        c->given_bytes = 0;
    }
    sp_conn_wants_send(c);
}

static uint32_t collect(struct sp_torrent *t, struct sp_choker_peer *peers, sp_time_ns now)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->conn_top; i++) {
        const struct sp_conn *c = t->conns[i];
        if (!c || c->state != CONN_OPEN || (!c->peer_interested && c->am_choking))
            continue;
        peers[n++] = (struct sp_choker_peer){
            .id = i,
            .interested = c->peer_interested,
            .unchoked = !c->am_choking,
            .upload_only = c->upload_only || sp_conn_is_seed(c),
            .snubbed = c->snubbed,
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

void sp_choke_run(struct sp_torrent *t, sp_time_ns now)
{
    struct sp_hub *h = t->h;
    if (t->conn_count == 0)
        return;
    struct sp_choker_peer *peers = SP_NEW_ARRAY(h->mem, struct sp_choker_peer, t->conn_count);
    if (!peers)
        return; /* the slots stay as they are until the next round */

    uint32_t n = collect(t, peers, now);
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
