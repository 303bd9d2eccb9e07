/* A piece is whole: hashed from memory, written once, and only then had.
 *
 *   picker FULL -> HASH -> matches  -> WRITE -> had, announced -> memory back
 *                       -> does not -> blame, fetched again
 *                                      WRITE fails -> t->stuck: nothing is lost,
 *                                      the torrent waits in ERROR and tries again
 */
#include "core/torrent/web.h"

#define RETRY_NS (5 * SP_SECOND_NS)

struct sp_work *sp_work_new(struct sp_hub *h)
{
    struct sp_work *w = SP_NEW(h->mem, struct sp_work);
    if (w)
        sp_list_add(&h->works, &w->link);
    return w;
}

void sp_work_free(struct sp_hub *h, struct sp_work *w)
{
    sp_list_del(&h->works, &w->link);
    for (uint32_t i = 0; w->job.iov && i < w->job.iov_count; i++)
        sp_pool_put(&h->pool, w->job.iov[i].ptr);
    sp_mem_free(h->mem, w->job.iov);
    sp_mem_free(h->mem, w->job.prints);
    sp_mem_free(h->mem, w->wants);
    sp_mem_free(h->mem, w->from);
    sp_mem_free(h->mem, w);
}

void sp_work_out(struct sp_hub *h, struct sp_work *w)
{
    w->next = NULL;
    *h->jobs_last = w;
    h->jobs_last = &w->next;
    w->t->jobs_out++;
    w->t->writes_out += w->job.kind == SP_JOB_WRITE;
}

static struct sp_work *new_work(struct sp_torrent *t, struct sp_open_piece *o)
{
    struct sp_hub *h = t->h;
    struct sp_work *w = sp_work_new(h);
    if (!w)
        return NULL;
    w->job.iov = SP_NEW_ARRAY(h->mem, struct sp_iov, o->block_count);
    w->from = SP_NEW_ARRAY(h->mem, uint64_t, o->block_count);
    w->job.prints = SP_NEW_ARRAY(h->mem, uint64_t, o->block_count);
    if (!w->job.iov || !w->from || !w->job.prints) {
        sp_work_free(h, w);
        return NULL;
    }
    return w;
}

/* Gives the blocks of an open record back to the pool. */
static void drop_data(struct sp_torrent *t, struct sp_open_piece *o)
{
    for (uint32_t i = 0; i < o->block_count; i++) {
        sp_pool_put(&t->h->pool, o->blocks[i].data);
        o->blocks[i].data = NULL;
    }
}

void sp_store_drop_open(struct sp_torrent *t)
{
    struct sp_open_piece *next;
    for (struct sp_open_piece *o = t->picker ? sp_picker_open_first(t->picker) : NULL; o;
         o = next) {
        next = sp_picker_open_next(o);
        if (o->state != SP_PIECE_OPEN)
            continue; /* its job will come back */
        drop_data(t, o);
        sp_picker_abandon(t->picker, o->piece);
    }
    if (t->picker)
        sp_ask_commit(t);
}

/* Some connection may soon ask for more of the piece. */
static bool is_tended(const struct sp_torrent *t, const struct sp_open_piece *o)
{
    for (uint32_t i = 0; i < t->conn_top && o->got_count > 0; i++) {
        const struct sp_conn *c = t->conns[i];
        if (c && c->am_interested && !c->peer_choking && !c->snubbed && sp_conn_has(c, o->piece))
            return true;
    }
    return false;
}

void sp_store_make_room(struct sp_torrent *t)
{
    struct sp_open_piece *next;
    for (struct sp_open_piece *o = sp_picker_open_first(t->picker); o; o = next) {
        next = sp_picker_open_next(o);
        if (o->state != SP_PIECE_OPEN || o->asked_count > 0 || is_tended(t, o))
            continue;
        drop_data(t, o);
        sp_picker_abandon(t->picker, o->piece);
    }
    sp_ask_commit(t);
}

void sp_store_piece(struct sp_torrent *t, uint32_t piece)
{
    struct sp_open_piece *o = sp_picker_open(t->picker, piece);
    struct sp_work *w = new_work(t, o);
    if (!w) { /* out of memory: fetched again later */
        drop_data(t, o);
        sp_picker_abandon(t->picker, piece);
        sp_ask_commit(t);
        return;
    }
    w->t = t;
    w->piece = piece;
    w->job.kind = SP_JOB_HASH;
    w->job.torrent = t->id;
    w->job.off = (uint64_t)piece * sp_picker_piece_len(t->picker, 0);
    w->job.iov_count = o->block_count;
    w->job.want_prints = o->failures > 0 || sp_blame_remembers(&t->blame, piece);
    for (uint32_t i = 0; i < o->block_count; i++) {
        struct sp_open_block *b = &o->blocks[i];
        w->job.iov[i].ptr = b->data;
        w->job.iov[i].len = sp_picker_block_len(t->picker, (struct sp_block_ref){piece, i});
        w->from[i] = sp_torrent_blame_key(t, b->from);
        b->data = NULL;
    }
    sp_work_out(t->h, w);
}

/* ---- the hash is known ---- */

/* Who sends corrupt data and leaves is banned all the same. */
static void ban_key(struct sp_torrent *t, uint64_t key, sp_time_ns now)
{
    struct sp_addr who = {0};

    if (sp_web_blamed(t, key, now))
        return;
    for (uint32_t i = 0; key && t->gone && i < GONE_KEPT; i++) {
        if (t->gone[i].blame_key == key)
            who = t->gone[i].who;
    }
    for (uint32_t i = 0; key && i < t->conn_top; i++) {
        if (t->conns[i] && t->conns[i]->blame_key == key)
            who = sp_conn_who(t->conns[i]);
    }
    if (who.family != SP_FAMILY_NONE)
        sp_swarm_ban(t, key, &who, "sent corrupt data", now);
}

static void failed(struct sp_work *w, sp_time_ns now)
{
    struct sp_torrent *t = w->t;
    uint64_t guilty = 0;
    uint32_t len = sp_picker_piece_len(t->picker, w->piece);

    t->wasted += len;
    t->corrupt += len;
    sp_picker_failed(t->picker, w->piece, true);
    bool certain =
        sp_blame_failed(&t->blame, w->piece, w->job.prints, w->from, w->job.iov_count, &guilty);
    if (certain)
        ban_key(t, guilty, now);
    /* Honest peers share pieces with a liar and fail with it.  While the failure
     * is remembered the proof comes: the piece is fetched from one peer now. */
    bool open_case = sp_blame_remembers(&t->blame, w->piece);
    for (uint32_t i = 0; i < w->job.iov_count && !open_case; i++) {
        if (w->from[i] && sp_blame_suspect(&t->blame, w->from[i]))
            ban_key(t, w->from[i], now);
    }
}

static void passed(struct sp_work *w, sp_time_ns now)
{
    struct sp_torrent *t = w->t;
    uint64_t guilty[16];
    uint32_t n = sp_blame_passed(&t->blame, w->piece, w->job.want_prints ? w->job.prints : NULL,
                                 w->from, w->job.iov_count, guilty, SP_COUNT(guilty));
    for (uint32_t i = 0; i < n; i++)
        ban_key(t, guilty[i], now);
    w->job.kind = SP_JOB_WRITE;
    sp_work_out(t->h, w);
}

static void hashed(struct sp_work *w, enum sp_err err, sp_time_ns now)
{
    struct sp_torrent *t = w->t;
    const uint8_t *want = sp_metainfo_piece_hash(t->mi, w->piece);

    if (err == SP_OK && memcmp(w->job.digest, want, SP_SHA1_LEN) == 0) {
        /* A failure is found out with fingerprints of the bad blocks only:
         * those of a first attempt are made after the fact, from memory. */
        passed(w, now);
        return;
    }
    if (err == SP_OK && !w->job.want_prints) {
        w->job.want_prints = true;
        sp_work_out(t->h, w);
        return;
    }
    if (err == SP_OK)
        failed(w, now);
    else
        sp_picker_failed(t->picker, w->piece, false);
    sp_work_free(t->h, w);
    sp_ask_commit(t);
}

/* ---- the write is over ---- */

static void keep_cached(struct sp_work *w)
{
    struct sp_torrent *t = w->t;
    if (!t->serving)
        return; /* nobody to serve: hot memory is worth more to the next piece */
    for (uint32_t i = 0; i < w->job.iov_count; i++) {
        if (w->job.iov[i].len == SP_BLOCK_LEN)
            sp_cache_put(&t->h->cache, t->id, w->piece, i, w->job.iov[i].ptr);
    }
}

static void written(struct sp_work *w, enum sp_err err, const char *text, sp_time_ns now)
{
    struct sp_torrent *t = w->t;
    struct sp_hub *h = t->h;

    if (err != SP_OK && t->state == SP_TORRENT_PAUSED) {
        sp_picker_abandon(t->picker, w->piece);
        sp_work_free(h, w);
        sp_ask_commit(t);
        return;
    }
    if (err != SP_OK) {
        struct sp_work **at = &t->stuck;
        while (*at)
            at = &(*at)->next;
        w->next = NULL;
        *at = w;
        t->retry_at = now + RETRY_NS;
        sp_torrent_set_error(t, err, text, now);
        return;
    }
    keep_cached(w);
    uint32_t piece = w->piece;
    bool wanted = sp_picker_wants(t->picker, piece);
    sp_work_free(h, w);
    sp_picker_set_have(t->picker, piece, true);
    sp_ask_commit(t);
    sp_torrent_piece_had(t, piece, wanted, now);
    sp_ask_wake(h, now);
}

void sp_store_retry(struct sp_torrent *t, sp_time_ns now)
{
    struct sp_work *w = t->stuck;
    if (now < t->retry_at || t->writes_out)
        return;
    if (!w) {
        if (t->passes)
            sp_torrent_clear_error(t, now);
        return;
    }
    /* One as a probe; when it fits, the rest follows from written(). */
    t->stuck = w->next;
    t->retry_at = now + RETRY_NS;
    sp_work_out(t->h, w);
}

void sp_store_done(struct sp_work *w, enum sp_err err, const char *text, sp_time_ns now)
{
    struct sp_torrent *t = w->t;
    if (w->job.kind == SP_JOB_HASH) {
        hashed(w, err, now);
        return;
    }
    bool probing = t->state == SP_TORRENT_ERROR && t->stuck;
    written(w, err, text, now);
    if (probing && err == SP_OK) {
        struct sp_work *next;
        for (struct sp_work *s = t->stuck; s; s = next) {
            next = s->next;
            sp_work_out(t->h, s);
        }
        t->stuck = NULL;
    }
}
