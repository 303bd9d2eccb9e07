/* Requests of peers: kept in order, read in runs, sent without a copy.
 *
 *   wants --run of neighbours--> cache or READ job --> chunks --> socket
 *
 * How much is read ahead of a socket follows from the memory that nobody
 * holds: a part of it each.  While sockets take what they are given nothing
 * is held, and all read in long runs, however many they are; where sockets are
 * slow the part shrinks as they fill up, so that none can starve the others.
 */
#include "core/torrent/state.h"

#define READ_AGAIN_NS (30 * SP_SECOND_NS) /* after a read that failed */

enum {
    READY_MIN = 32 * 1024,
    READY_MAX = 1024 * 1024,
    READY_PART = 8, /* of what is free */
};

static uint32_t ready_max(const struct sp_hub *h)
{
    uint64_t budget = sp_pool_budget_bytes(&h->pool);
    uint64_t rest = budget > h->committed_bytes ? budget - h->committed_bytes : 0;
    uint64_t each = rest / 2 > h->ready_bytes ? (rest / 2 - h->ready_bytes) / READY_PART : 0;
    return each < READY_MIN ? READY_MIN : each > READY_MAX ? READY_MAX : (uint32_t)each;
}

/* Bytes held for c: in chunks, in read. */
static void hold(struct sp_conn *c, uint32_t len)
{
    c->ready_bytes += len;
    c->h->ready_bytes += len;
}

static void let_go(struct sp_conn *c, uint32_t len)
{
    c->ready_bytes -= len;
    c->h->ready_bytes -= len;
}

static bool is_sending(const struct sp_conn *c)
{
    return c->wants.count || c->chunks.count || c->read;
}

static void count_sending(struct sp_conn *c)
{
    bool sending = is_sending(c);
    if (sending != c->counted_sending)
        c->h->sending_count += sending ? 1 : UINT32_MAX;
    c->counted_sending = sending;
}

static void reject(struct sp_conn *c, uint32_t piece, uint32_t off, uint32_t len)
{
    if (!c->wire.fast)
        return;
    sp_conn_said(c, sp_wire_put_reject(&c->out, piece, off, len));
    sp_conn_wants_send(c);
}

/* BEP-0006: "starting peers have few pieces to trade": for them it is meant. */
static bool is_granted(const struct sp_conn *c, uint32_t piece)
{
    uint32_t had = c->have_all ? UINT32_MAX : c->have.set;
    for (uint32_t i = 0; i < c->granted_count && had < c->granted_count; i++) {
        if (c->granted[i] == piece)
            return true;
    }
    return false;
}

void sp_serve_request(struct sp_conn *c, uint32_t piece, uint32_t off, uint32_t len, sp_time_ns now)
{
    struct sp_torrent *t = c->t;
    bool refused = c->am_choking && !is_granted(c, piece);

    /* BEP-0006: "every request is guaranteed to result in EXACTLY ONE response";
     * without fast a request that crossed our CHOKE is passed over. */
    if (refused || !sp_bits_get(sp_picker_have(t->picker), piece)) {
        reject(c, piece, off, len);
        if (!refused && !c->wire.fast)
            sp_conn_end(c, "asks for a piece that we do not have", now);
        return;
    }
    struct sp_want *w = sp_queue_push(&c->wants, c->h->mem);
    if (!w) {
        if (!c->wire.fast)
            sp_conn_end(c, "asks for more blocks than we keep", now);
        reject(c, piece, off, len);
        return;
    }
    *w = (struct sp_want){.piece = piece, .off = off, .len = len};
    count_sending(c);
    sp_conn_wants_send(c);
}

void sp_serve_cancel(struct sp_conn *c, uint32_t piece, uint32_t off, uint32_t len)
{
    for (uint32_t ix = 0; ix < c->wants.count; ix++) {
        const struct sp_want *w = sp_queue_at(&c->wants, ix);
        if (w->piece == piece && w->off == off && w->len == len) {
            sp_queue_remove(&c->wants, ix);
            reject(c, piece, off, len);
            break;
        }
    }
    count_sending(c);
}

/* BEP-0006: "If a peer sends a choke, it MUST reject all requests from the peer
 * to whom the choke was sent except it SHOULD NOT reject requests for pieces
 * that are in the allowed fast set."  What is read already still goes out. */
void sp_serve_choked(struct sp_conn *c)
{
    for (uint32_t ix = 0; ix < c->wants.count;) {
        struct sp_want w = *(struct sp_want *)sp_queue_at(&c->wants, ix);
        if (is_granted(c, w.piece)) {
            ix++;
            continue;
        }
        sp_queue_remove(&c->wants, ix);
        reject(c, w.piece, w.off, w.len);
    }
    count_sending(c);
}

void sp_serve_drop(struct sp_conn *c)
{
    while (c->chunks.count) {
        sp_pool_put(&c->h->pool, ((struct sp_chunk *)sp_queue_at(&c->chunks, 0))->block);
        sp_queue_pop(&c->chunks);
    }
    c->wants.count = 0;
    if (c->read)
        c->read->c = NULL;
    c->read = NULL;
    let_go(c, c->ready_bytes);
    count_sending(c);
    sp_queue_done(&c->wants, c->h->mem);
    sp_queue_done(&c->chunks, c->h->mem);
}

/* ---- reading ---- */

/* Appends one answer made of blocks in order, held for c already; takes the
 * references. */
static void push_answer(struct sp_conn *c, const struct sp_want *w, uint8_t *const *blocks)
{
    uint32_t left = w->len;
    for (uint32_t i = 0; left > 0; i++) {
        uint32_t n = left < SP_BLOCK_LEN ? left : SP_BLOCK_LEN;
        struct sp_chunk *k = sp_queue_push(&c->chunks, c->h->mem);
        if (!k) { /* what is told already has to be kept: nothing more is sent */
            c->missed = true;
            let_go(c, left);
            for (; left > 0; i++, left -= left < SP_BLOCK_LEN ? left : SP_BLOCK_LEN)
                sp_pool_put(&c->h->pool, blocks[i]);
            return;
        }
        k->block = blocks[i];
        k->len = n;
        if (i == 0) {
            k->head_len = SP_WIRE_PIECE_HEAD_LEN;
            sp_wire_piece_head(k->head, w->piece, w->off, w->len);
        }
        left -= n;
    }
}

static bool from_cache(struct sp_conn *c)
{
    const struct sp_want *w = sp_queue_at(&c->wants, 0);
    if (w->off % SP_BLOCK_LEN || w->len != SP_BLOCK_LEN || c->h->cache.max == 0)
        return false;
    uint8_t *block = sp_cache_get(&c->h->cache, c->t->id, w->piece, w->off / SP_BLOCK_LEN);
    if (!block)
        return false;
    hold(c, w->len);
    push_answer(c, w, &block);
    sp_queue_pop(&c->wants);
    count_sending(c);
    return true;
}

/* How many of the first wants are neighbours in one piece, up to max_bytes
 * and READ_MAX blocks; *ret_blocks: blocks of memory for them. */
static uint32_t run_of(const struct sp_conn *c, uint32_t max_bytes, uint32_t *ret_blocks)
{
    const struct sp_want *first = sp_queue_at(&c->wants, 0);
    uint32_t end = first->off, blocks = 0, count = 0, bytes = 0;

    for (; count < c->wants.count; count++) {
        const struct sp_want *w = sp_queue_at(&c->wants, count);
        uint32_t need = (w->len + SP_BLOCK_LEN - 1) / SP_BLOCK_LEN;
        if (w->piece != first->piece || w->off != end || bytes % SP_BLOCK_LEN)
            break; /* of a job's blocks only the last is short */
        if (count > 0 && (blocks + need > READ_MAX || bytes + w->len > max_bytes))
            break;
        blocks += need;
        end += w->len;
        bytes += w->len;
    }
    *ret_blocks = blocks;
    return count;
}

static bool fill_iov(struct sp_hub *h, struct sp_work *w)
{
    for (uint32_t k = 0; k < w->want_count; k++) {
        for (uint32_t left = w->wants[k].len; left > 0;) {
            uint32_t n = left < SP_BLOCK_LEN ? left : SP_BLOCK_LEN;
            uint8_t *block = sp_hub_block(h);
            if (!block)
                return false;
            w->job.iov[w->job.iov_count++] = (struct sp_iov){.ptr = block, .len = n};
            left -= n;
        }
    }
    return true;
}

/* Starts a READ for the first wants; false when memory is short. */
static bool start_read(struct sp_conn *c, uint32_t max_bytes)
{
    struct sp_hub *h = c->h;
    uint32_t blocks, count = run_of(c, max_bytes, &blocks);
    struct sp_work *w = sp_work_new(h);
    if (!w)
        return false;
    w->job.iov = SP_NEW_ARRAY(h->mem, struct sp_iov, blocks);
    w->wants = SP_NEW_ARRAY(h->mem, struct sp_want, count);
    w->want_count = count;
    if (w->wants)
        memcpy(w->wants, sp_queue_at(&c->wants, 0), count * sizeof(*w->wants));
    if (!w->job.iov || !w->wants || !fill_iov(h, w)) {
        sp_work_free(h, w);
        return false;
    }
    w->t = c->t;
    w->c = c;
    w->piece = w->wants[0].piece;
    w->job.kind = SP_JOB_READ;
    w->job.torrent = c->t->id;
    w->job.off = (uint64_t)w->piece * sp_picker_piece_len(c->t->picker, 0) + w->wants[0].off;
    for (uint32_t k = 0; k < count; k++) {
        hold(c, w->wants[k].len);
        sp_queue_pop(&c->wants);
    }
    c->read = w;
    sp_work_out(h, w);
    return true;
}

void sp_serve_fill(struct sp_conn *c)
{
    uint32_t max = ready_max(c->h);
    if (c->ready_bytes > max / 2)
        return; /* read in large runs, not block by block */
    while (c->wants.count && !c->read && c->ready_bytes < max) {
        if (!from_cache(c) && !start_read(c, max - c->ready_bytes))
            return;
    }
}

void sp_serve_done(struct sp_work *w, enum sp_err err, const char *text, sp_time_ns now)
{
    struct sp_conn *c = w->c;
    struct sp_torrent *t = w->t;
    struct sp_hub *h = t->h;
    uint32_t at = 0;

    if (c) {
        c->read = NULL;
        for (uint32_t k = 0; k < w->want_count; k++) {
            const struct sp_want *want = &w->wants[k];
            uint8_t *blocks[SP_WIRE_REQUEST_LEN_MAX / SP_BLOCK_LEN + 1];
            uint32_t n = 0;
            for (uint32_t left = want->len; left > 0; n++) {
                blocks[n] = w->job.iov[at].ptr;
                w->job.iov[at++].ptr = NULL;
                left -= left < SP_BLOCK_LEN ? left : SP_BLOCK_LEN;
            }
            if (err != SP_OK) {
                let_go(c, want->len);
                for (uint32_t i = 0; i < n; i++)
                    sp_pool_put(&h->pool, blocks[i]);
                reject(c, want->piece, want->off, want->len);
                continue;
            }
            if (want->off % SP_BLOCK_LEN == 0 && want->len == SP_BLOCK_LEN && t->serving > 1)
                sp_cache_put(&h->cache, t->id, want->piece, want->off / SP_BLOCK_LEN, blocks[0]);
            push_answer(c, want, blocks);
        }
        sp_conn_wants_send(c);
        count_sending(c);
    }
    sp_work_free(h, w);
    bool live = t->state == SP_TORRENT_DOWNLOADING || t->state == SP_TORRENT_SEEDING;
    if (err != SP_OK && err != SP_ECANCELED && live) {
        sp_torrent_set_error(t, err, text, now);
        t->passes = true;
        t->retry_at = now + READ_AGAIN_NS;
    }
}

/* ---- sending ---- */

static uint64_t allowed(struct sp_conn *c, sp_time_ns now)
{
    struct sp_hub *h = c->h;
    struct sp_bucket *all = &h->up, *own = &c->t->up;
    uint64_t of_all = sp_bucket_portion(all, now), of_own = sp_bucket_portion(own, now);
    uint64_t room = of_all < of_own ? of_all : of_own;

    if (room == 0) {
        const struct sp_bucket *empty = of_all ? own : all;
        sp_time_ns at = sp_bucket_ready_at(empty, sp_bucket_least(empty));
        sp_list_add(&h->up_waiting, &c->up_link);
        if (h->throttle_timer.pos == 0 || h->throttle_timer.at > at)
            sp_timers_set(&h->timers, &h->throttle_timer, at);
    }
    return room;
}

struct gather {
    struct sp_slice *list;
    uint32_t cap, count;
    uint64_t left; /* bytes that may still go in */
};

/* False when nothing more fits. */
static bool add(struct gather *g, const uint8_t *ptr, size_t len)
{
    if (len == 0)
        return true;
    if (g->count == g->cap || g->left == 0)
        return false;
    if (len > g->left)
        len = g->left;
    g->list[g->count++] = (struct sp_slice){.ptr = ptr, .len = len};
    g->left -= len;
    return g->left > 0;
}

/* What of chunk k lies behind its first skip bytes. */
static bool add_chunk(struct gather *g, const struct sp_chunk *k, uint32_t skip)
{
    uint32_t in_head = skip < k->head_len ? skip : k->head_len;
    return add(g, k->head + in_head, k->head_len - in_head) &&
           add(g, k->block + (skip - in_head), k->len - (skip - in_head));
}

/* Is chunk ix the middle of a message whose start went out before it? */
static bool is_begun(const struct sp_conn *c, uint32_t ix)
{
    return (ix == 0 && c->sent_of_chunk) ||
           ((const struct sp_chunk *)sp_queue_at(&c->chunks, ix))->head_len == 0;
}

uint32_t sp_serve_list(struct sp_conn *c, struct sp_slice *list, uint32_t cap, uint64_t max,
                       sp_time_ns now)
{
    struct gather g = {.list = list, .cap = cap, .left = max};
    uint32_t ix = 0;

    sp_serve_fill(c);
    sp_info_fill(c);
    if (c->missed) {
        sp_conn_end(c, "does not read what we send", now);
        return 0;
    }
    struct sp_slice control = sp_buf_slice(&c->out);
    if (control.len == 0 && c->chunks.count == 0)
        return 0;
    uint64_t room = allowed(c, now);
    if (room == 0)
        return 0;
    if (room < g.left)
        g.left = room;

    /* A message once begun is finished before control messages go out. */
    for (; ix < c->chunks.count && is_begun(c, ix); ix++) {
        if (!add_chunk(&g, sp_queue_at(&c->chunks, ix), ix ? 0 : c->sent_of_chunk))
            return g.count;
    }
    if (!add(&g, control.ptr, control.len))
        return g.count;
    while (ix < c->chunks.count && add_chunk(&g, sp_queue_at(&c->chunks, ix), 0))
        ix++;
    return g.count;
}

uint32_t sp_conn_send_list(struct sp_conn *c, struct sp_slice *list, uint32_t cap, sp_time_ns now)
{
    if (c->state != CONN_HANDSHAKE && c->state != CONN_OPEN)
        return 0;
    if (c->crypt)
        return sp_crypt_send_list(c, list, cap, now);
    return sp_serve_list(c, list, cap, SP_CONN_SEND_MAX, now);
}

/* Takes up to *len bytes off the first chunk. */
static void chunk_sent(struct sp_conn *c, size_t *len, sp_time_ns now)
{
    struct sp_chunk *k = sp_queue_at(&c->chunks, 0);
    uint32_t total = k->head_len + k->len, left = total - c->sent_of_chunk;
    uint32_t n = *len < left ? (uint32_t)*len : left;
    uint32_t head_left = c->sent_of_chunk < k->head_len ? k->head_len - c->sent_of_chunk : 0;
    uint32_t payload = n > head_left ? n - head_left : 0;

    *len -= n;
    c->sent_of_chunk += n;
    c->given_bytes += payload;
    c->t->uploaded += payload;
    sp_rate_add(&c->up, payload, now);
    sp_rate_add(&c->t->up_rate, payload, now);
    sp_rate_add(&c->h->up_rate, payload, now);
    if (c->sent_of_chunk == total) {
        let_go(c, k->len);
        sp_pool_put(&c->h->pool, k->block);
        sp_queue_pop(&c->chunks);
        c->sent_of_chunk = 0;
    }
}

void sp_conn_sent(struct sp_conn *c, size_t len, sp_time_ns now)
{
    if (c->state == CONN_DEAD || (c->crypt && sp_crypt_sent(c, len, now)))
        return;
    sp_serve_sent(c, len, now);
}

void sp_serve_sent(struct sp_conn *c, size_t len, sp_time_ns now)
{
    sp_bucket_take(&c->h->up, len);
    sp_bucket_take(&c->t->up, len);
    c->last_send_at = now;
    /* In the order of sp_serve_list. */
    while (len > 0 && c->chunks.count && is_begun(c, 0))
        chunk_sent(c, &len, now);
    size_t control = sp_buf_slice(&c->out).len;
    if (control > len)
        control = len;
    sp_buf_consume(&c->out, control);
    len -= control;
    while (len > 0)
        chunk_sent(c, &len, now);
    if (!c->out.len && c->out.cap > 4096)
        sp_buf_trim(&c->out);
    count_sending(c);
    if (c->out.len || is_sending(c) || c->metadata_wants.count)
        sp_conn_wants_send(c);
}
