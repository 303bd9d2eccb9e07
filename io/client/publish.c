/* What callers see: copies for other threads, made on the reactors, and each
 * reactor's share of what the client may use. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/client/impl.h"

static void publish_trackers(struct sp_reactor *r, struct sp_held *h)
{
    struct sp_tracker_info infos[TRACKERS_SHOWN_MAX];
    sp_time_ns now = sp_reactor_now(r);
    uint32_t n =
        sp_trackers_info(sp_session_trackers(r->session), h->id, infos, TRACKERS_SHOWN_MAX);
    if (n > TRACKERS_SHOWN_MAX)
        n = TRACKERS_SHOWN_MAX;
    if (n && !h->trackers_out)
        h->trackers_out = calloc(TRACKERS_SHOWN_MAX, sizeof(*h->trackers_out));
    for (uint32_t i = 0; h->trackers_out && i < n; i++) {
        struct sp_client_tracker *to = &h->trackers_out[i];
        const struct sp_tracker_info *from = &infos[i];
        snprintf(to->url, sizeof(to->url), "%s", from->url);
        snprintf(to->status, sizeof(to->status), "%s%s%s", sp_tracker_state_name(from->state),
                 from->message[0] ? ": " : "", from->message);
        to->tier = from->tier;
        to->seeds = from->seeds;
        to->leechers = from->leechers;
        to->peers = from->peers_got;
        to->next_announce_s =
            from->next_announce_at == SP_TIME_NEVER || from->next_announce_at < now
                ? 0
                : (uint32_t)((from->next_announce_at - now) / SP_SECOND_NS);
    }
    h->trackers_out_count = h->trackers_out ? n : 0;
}

static void publish_held(struct sp_reactor *r, struct sp_held *h, sp_time_ns now)
{
    struct sp_torrent_stats stats;
    if (h->removing || sp_held_stats(h, now, &stats) != SP_OK)
        return;
    stats.durable_bytes = h->durable_bytes;
    if (stats.state == SP_TORRENT_CHECKING && h->mi)
        stats.checked_bytes =
            (uint64_t)atomic_load(&h->disk_job.check.pieces_done) * h->mi->piece_length;
    pthread_mutex_lock(&h->lock);
    h->stats_out = stats;
    /* BEP-0027: never a private one. */
    h->called_out = !(h->mi && h->mi->is_private) &&
                    (stats.state == SP_TORRENT_DOWNLOADING || stats.state == SP_TORRENT_SEEDING ||
                     stats.state == SP_TORRENT_METADATA);
    if (h->watched) {
        const struct sp_bits *have = sp_torrent_have(r->session, h->id);
        if (!h->peers_out && (h->peers_out = calloc(PEERS_SHOWN_MAX, sizeof(*h->peers_out))))
            h->peers_out_cap = PEERS_SHOWN_MAX;
        h->peers_out_count =
            sp_torrent_peers(r->session, h->id, now, h->peers_out, h->peers_out_cap);
        publish_trackers(r, h);
        if (have)
            memcpy(h->have_out.bytes, have->bytes, sp_bits_room(have->count));
    }
    pthread_mutex_unlock(&h->lock);
}

/* What a reactor may use of what the client has: rates by where the peers
 * are, memory by where the torrents are. */
struct share {
    uint64_t down_Bps, up_Bps, memory_bytes;
    uint32_t conn_max;
};

/* With the lock held.  Half of all connections are dealt out evenly, so that
 * no reactor is left without; the other half goes to who has them, and is
 * given back by who has not.  What is dealt never adds up to more than all. */
static uint32_t deal_conns(struct sp_client *c, uint32_t ix, sp_time_ns now)
{
    uint32_t n = c->reactor_count, base = c->cfg.conn_max / (2 * n), pool;
    if (n == 1)
        return c->cfg.conn_max;
    pool = c->cfg.conn_max - n * base;
    for (uint32_t i = 0; i < n; i++)
        pool -= i == ix ? 0 : c->conns_dealt[i];
    uint32_t mine = c->totals[ix].peers > base ? c->totals[ix].peers - base : 0;
    mine = mine < pool ? mine : pool;
    /* What does not go round goes round by turns. */
    uint32_t left = pool - mine, turn = (uint32_t)(now / (2 * SP_SECOND_NS) + ix) % n;
    c->conns_dealt[ix] = mine + left / n + (turn < left % n);
    return base + c->conns_dealt[ix];
}

static uint64_t part(uint64_t whole, uint32_t mine, uint32_t all, uint32_t reactors)
{
    if (whole == 0 || reactors == 1)
        return whole;
    uint64_t n = mine ? whole * mine / all : whole / reactors;
    return n ? n : 1;
}

/* With the lock held. */
static struct share share_of(struct sp_client *c, uint32_t ix, sp_time_ns now)
{
    uint32_t peers = 0, torrents = 0, n = c->reactor_count;
    for (uint32_t i = 0; i < n; i++) {
        peers += c->totals[i].peers;
        torrents += c->totals[i].torrents;
    }
    uint32_t my_peers = c->totals[ix].peers, my_torrents = c->totals[ix].torrents;
    return (struct share){
        .down_Bps = part(c->cfg.down_Bps, my_peers, peers, n),
        .up_Bps = part(c->cfg.up_Bps, my_peers, peers, n),
        .memory_bytes = part(c->cfg.memory_bytes, my_torrents, torrents, n),
        .conn_max = deal_conns(c, ix, now),
    };
}

static void take_share(struct sp_reactor *r, const struct share *share, sp_time_ns now)
{
    if (share->down_Bps != r->down_Bps || share->up_Bps != r->up_Bps) {
        r->down_Bps = share->down_Bps;
        r->up_Bps = share->up_Bps;
        sp_session_set_limits(r->session, r->down_Bps, r->up_Bps, now);
    }
    sp_session_set_conn_limits(r->session, share->conn_max, r->half_open_max);
    if (share->memory_bytes != r->memory_bytes) {
        r->memory_bytes = share->memory_bytes;
        sp_session_set_memory(r->session, r->memory_bytes, now);
    }
}

void sp_client_on_publish(void *ctx, struct sp_reactor *r, struct sp_held *h)
{
    struct sp_client *c = ctx;
    sp_time_ns now = sp_reactor_now(r);
    struct sp_client_totals totals;

    if (h) {
        publish_held(r, h, now);
        return;
    }
    for (struct sp_link *l = r->held.ends.next; l != &r->held.ends; l = l->next)
        publish_held(r, SP_CONTAINER(l, struct sp_held, link), now);
    sp_session_totals(r->session, now, &totals);
    pthread_mutex_lock(&c->lock);
    c->totals[r->ix] = totals;
    struct share share = share_of(c, r->ix, now);
    pthread_mutex_unlock(&c->lock);
    take_share(r, &share, now);
}

void sp_client_totals(const struct sp_client *c, struct sp_client_totals *ret_totals)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&c->lock;
    *ret_totals = (struct sp_client_totals){0};
    pthread_mutex_lock(lock);
    for (uint32_t i = 0; i < c->reactor_count; i++) {
        const struct sp_client_totals *t = &c->totals[i];
        ret_totals->down_Bps += t->down_Bps;
        ret_totals->up_Bps += t->up_Bps;
        ret_totals->downloaded_bytes += t->downloaded_bytes;
        ret_totals->uploaded_bytes += t->uploaded_bytes;
        ret_totals->torrents += t->torrents;
        ret_totals->peers += t->peers;
        ret_totals->memory_used_bytes += t->memory_used_bytes;
        ret_totals->memory_budget_bytes += t->memory_budget_bytes;
    }
    pthread_mutex_unlock(lock);
}
