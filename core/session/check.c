/* Invariants, for tests. */
#include "core/session/state.h"

struct tally {
    uint32_t conns, half_open, fetching, sending;
    uint64_t committed;
    uint64_t ready;
};

static void count_torrent(const struct sp_torrent *t, struct tally *n)
{
    n->committed += t->committed_bytes;
    n->conns += t->conn_count;
    for (uint32_t i = 0; i < t->conn_top; i++) {
        const struct sp_conn *c = t->conns[i];
        if (!c)
            continue;
        n->half_open += c->state == CONN_DIALING;
        n->fetching += c->asks.count > 0;
        n->sending += c->wants.count || c->chunks.count || c->read;
        n->ready += c->ready_bytes;
    }
}

/* Blocks in jobs and in the cache; those of torrents are counted already. */
static const char *check_blocks(const struct sp_hub *h, struct sp_census *census)
{
    for (struct sp_link *k = h->works.ends.next; k != &h->works.ends; k = k->next) {
        const struct sp_work *w = sp_work_of(k);
        for (uint32_t i = 0; i < w->job.iov_count; i++) {
            if (w->job.iov[i].ptr)
                sp_census_block(h, census, w->job.iov[i].ptr);
        }
    }
    for (uint32_t i = 0; i < h->cache.cap; i++) {
        if (h->cache.entries[i].data)
            sp_census_block(h, census, h->cache.entries[i].data);
    }
    if (!census->blurred && census->shares != h->pool.used * CENSUS_WHOLE)
        return "blocks are used that nobody holds, or held that are not used";
    return NULL;
}

const char *sp_session_broken(const struct sp_session *s)
{
    const struct sp_hub *h = &s->hub;
    struct sp_census census = {0};
    struct tally n = {0};

    for (uint32_t i = 0; i < s->torrent_cap; i++) {
        const char *why = s->torrents[i] ? sp_torrent_broken(s->torrents[i], &census) : NULL;
        if (why)
            return why;
        if (s->torrents[i])
            count_torrent(s->torrents[i], &n);
    }
    for (const struct sp_torrent *t = s->leaving; t; t = t->next_leaving)
        count_torrent(t, &n);
    if (n.conns != h->conn_count || n.half_open != h->half_open_count)
        return "the session counts connections wrong";
    if (n.fetching != h->fetching_count)
        return "fetching connections are counted wrong";
    if (n.sending != h->sending_count)
        return "sending connections are counted wrong";
    if (n.ready != h->ready_bytes)
        return "bytes read ahead in all are counted wrong";
    if (n.committed != h->committed_bytes)
        return "committed memory is counted wrong";
    if (h->pool.used + h->pool.reserved > h->pool.block_max)
        return "more blocks are used than there may be";
    return check_blocks(h, &census);
}
