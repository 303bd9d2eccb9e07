/* One connection to a web seed: what is asked for next, and bytes in.
 *
 *   IDLE -> ASKED -> BODY -> TAIL -> IDLE ...   one request after another
 *              \-> SKIP -> the seed waits, lacks a file, or is given up
 *
 * Blocks are taken from the picker in runs: as many neighbouring pieces as may
 * be asked for at once (rate, memory).  One request is for as many of the
 * blocks asked for as lie side by side in one file (BEP 19) or one piece (BEP
 * 17).  All memory of a run is promised before it is asked for, as with any
 * peer.  While a GET or STOP waits to be pulled, what comes is of the request
 * before it, and is dropped.
 */
#include "core/torrent/web.h"
#include "core/web/url.h"

enum { PICK_MAX = 256, PIECES_MAX = 64, ENDGAME_MAX = 64, ENDGAME_MIN = 2 };

/* ---- birth and death ---- */

/* A file that the seed lacks: no piece that has a part of it can be had there. */
static void lacks(struct sp_conn *c, uint32_t file_ix, sp_time_ns now)
{
    const struct sp_file *file = &c->t->mi->files[file_ix];
    for (uint32_t p = file->piece_first; p < file->piece_end && c->state == CONN_OPEN; p++)
        sp_conn_has_not(c, p, now);
}

static void start(struct sp_conn *c, sp_time_ns now);

struct sp_conn *sp_web_open(struct sp_torrent *t, struct sp_web_seed *seed, sp_time_ns now)
{
    struct sp_web *w = SP_NEW(t->h->mem, struct sp_web);
    struct sp_conn *c = w ? sp_conn_new_web(t, w, seed->blame_key, now) : NULL;
    static const char NAME[] = "web seed";

    if (!c) {
        sp_mem_free(t->h->mem, w);
        return NULL;
    }
    w->conn = c;
    w->seed = seed;
    /* BEP-0019: "it is better to start the HTTP/FTP download somewhere randomly
     * in the file" */
    w->near = (uint32_t)sp_rng_below(&t->h->rng, t->mi->piece_count);
    w->is_starting = true; /* nothing is asked for before it is known what is there */
    seed->conns++;
    sp_list_add(&t->h->webs, &w->link);
    memcpy(c->client, NAME, sizeof(NAME));
    sp_conn_has_all(c, now);
    for (uint32_t f = seed->lost.bytes ? sp_bits_next(&seed->lost, 0) : SP_BITS_NONE;
         f != SP_BITS_NONE && c->state == CONN_OPEN;
         f = f + 1 < seed->lost.count ? sp_bits_next(&seed->lost, f + 1) : SP_BITS_NONE)
        lacks(c, f, now);
    if (c->state != CONN_OPEN)
        return NULL;
    w->is_starting = false;
    start(c, now);
    return c;
}

void sp_web_detach(struct sp_conn *c)
{
    struct sp_web *w = c->web;
    w->seed->conns--;
    sp_list_del(&c->h->webs, &w->link);
    sp_list_del(&c->h->web_fx, &w->fx_link);
    sp_mem_free(c->h->mem, w->url);
    w->url = NULL;
}

/* ---- requests ---- */

static uint64_t offset_of(const struct sp_conn *c, uint32_t piece, uint32_t block)
{
    return (uint64_t)piece * c->t->mi->piece_length + (uint64_t)block * SP_BLOCK_LEN;
}

static uint32_t len_of(const struct sp_conn *c, uint32_t piece, uint32_t block)
{
    return sp_picker_block_len(c->t->picker, (struct sp_block_ref){piece, block});
}

/* Runs are short where it is fast, so fetch_Bps, measured within them, comes late. */
static uint64_t rate(const struct sp_conn *c, sp_time_ns now)
{
    uint64_t Bps = sp_rate_Bps(&c->down, now);
    return Bps > c->fetch_Bps ? Bps : c->fetch_Bps;
}

/* What comes next is had from elsewhere, and so much that another request is
 * the shorter way. */
static bool is_far(const struct sp_conn *c, sp_time_ns now)
{
    const struct sp_web *w = c->web;
    const struct sp_ask *a = c->asks.count ? sp_queue_at(&c->asks, 0) : NULL;
    uint64_t next = a ? offset_of(c, a->piece, a->block) : UINT64_MAX;
    uint64_t passed = (next < w->end ? next : w->end) - w->at;
    return passed > rate(c, now) / (SP_SECOND_NS / WEB_PASS_NS);
}

/* Where what is asked for, from w->at on, is no longer in one row. */
static uint64_t row_end(const struct sp_conn *c)
{
    uint64_t end = c->web->at;
    if (c->has_cur)
        end = offset_of(c, c->cur.piece, c->cur.block) + len_of(c, c->cur.piece, c->cur.block);
    for (uint32_t i = 0; i < c->asks.count; i++) {
        const struct sp_ask *a = sp_queue_at(&c->asks, i);
        if (offset_of(c, a->piece, a->block) != end)
            break;
        end += len_of(c, a->piece, a->block);
    }
    return end;
}

/* The request for [w->at, w->end), in one file or piece. */
static void put_url(const struct sp_conn *c, struct sp_out *o)
{
    const struct sp_web *w = c->web;
    const struct sp_metainfo *mi = c->t->mi;
    if (w->seed->kind == SP_WEB_SEED_URL) {
        sp_web_file_url(o, w->seed->url, mi, &mi->files[w->file]);
        return;
    }
    uint32_t piece = (uint32_t)(w->at / mi->piece_length);
    uint64_t begin = (uint64_t)piece * mi->piece_length;
    sp_web_piece_url(o, w->seed->url, mi, piece, (uint32_t)(w->at - begin),
                     (uint32_t)(w->end - begin));
}

static bool make_url(struct sp_conn *c)
{
    struct sp_out size = sp_out_of(NULL, 0);
    put_url(c, &size);
    sp_mem_free(c->h->mem, c->web->url);
    c->web->url = sp_mem_alloc(c->h->mem, size.len + 1, 1);
    if (!c->web->url)
        return false;
    struct sp_out o = sp_out_of((uint8_t *)c->web->url, size.len);
    put_url(c, &o);
    return true;
}

static void end_block(struct sp_conn *c, sp_time_ns now)
{
    uint32_t len = len_of(c, c->cur.piece, c->cur.block);
    c->web->seed->fails = 0;
    c->web->seed->lost_in_a_row = 0;
    sp_ask_end(c, len, now);
}

static void begin_block(struct sp_conn *c, sp_time_ns now)
{
    uint32_t piece = (uint32_t)(c->web->at / c->t->mi->piece_length);
    uint32_t off = (uint32_t)(c->web->at % c->t->mi->piece_length);
    if (off % SP_BLOCK_LEN == 0)
        sp_ask_begin(c, piece, off, len_of(c, piece, off / SP_BLOCK_LEN), now);
}

/* Bytes from w->at to the end of the block that is there. */
static uint64_t block_left(const struct sp_conn *c)
{
    uint32_t piece = (uint32_t)(c->web->at / c->t->mi->piece_length);
    uint32_t block = (uint32_t)(c->web->at % c->t->mi->piece_length) / SP_BLOCK_LEN;
    return offset_of(c, piece, block) + len_of(c, piece, block) - c->web->at;
}

/* Bytes, or zeros (NULL), for w->at on; within a block. */
static void place(struct sp_conn *c, const uint8_t *bytes, size_t len, sp_time_ns now)
{
    struct sp_web *w = c->web;
    uint64_t left = block_left(c);
    uint8_t *to = c->cur.data + (len_of(c, c->cur.piece, c->cur.block) - left);

    if (bytes)
        memcpy(to, bytes, len);
    else
        memset(to, 0, len);
    w->at += len;
    if (len == left)
        end_block(c, now);
}

/* BEP-0047: pad files are zeros, and on no server. */
static bool fill_pad(struct sp_conn *c, const struct sp_file *file, sp_time_ns now)
{
    struct sp_web *w = c->web;
    uint64_t left = file->offset + file->length - w->at;

    if (!(file->attr & SP_ATTR_PAD) || w->seed->kind != SP_WEB_SEED_URL)
        return false;
    if (!c->has_cur)
        begin_block(c, now);
    if (!c->has_cur)
        return true; /* no memory: the block was given back */
    uint64_t block = block_left(c);
    place(c, NULL, (size_t)(left < block ? left : block), now);
    return true;
}

static void stop(struct sp_conn *c)
{
    struct sp_web *w = c->web;
    if (w->state != WEB_IDLE)
        sp_list_add(&c->h->web_fx, &w->fx_link);
    w->state = WEB_IDLE;
}

/* Asks for the next row, having nothing on its way or giving that up. */
static void start(struct sp_conn *c, sp_time_ns now)
{
    struct sp_web *w = c->web;
    const struct sp_metainfo *mi = c->t->mi;

    if (w->is_starting)
        return;
    w->is_starting = true;
    stop(c);
    while (c->state == CONN_OPEN) {
        if (!c->has_cur && c->asks.count == 0)
            sp_ask_more(c, now);
        if (!c->has_cur && c->asks.count == 0)
            break;
        if (!c->has_cur) {
            const struct sp_ask *a = sp_queue_at(&c->asks, 0);
            w->at = offset_of(c, a->piece, a->block);
        }
        w->file = sp_metainfo_file_at(mi, w->at);
        const struct sp_file *file = &mi->files[w->file];
        if (fill_pad(c, file, now))
            continue;
        uint64_t limit = w->seed->kind == SP_WEB_SEED_URL
                             ? file->offset + file->length
                             : (w->at / mi->piece_length + 1) * mi->piece_length;
        w->end = row_end(c);
        w->end = w->end < limit ? w->end : limit;
        if (!make_url(c)) {
            sp_conn_end(c, "out of memory", now);
            break;
        }
        w->state = WEB_ASKED;
        c->last_recv_at = now;
        sp_list_add(&c->h->web_fx, &w->fx_link);
        break;
    }
    w->is_starting = false;
}

bool sp_web_next(struct sp_hub *h, struct sp_effect *fx)
{
    struct sp_link *k = sp_list_pop(&h->web_fx);
    if (!k)
        return false;
    struct sp_web *w = SP_CONTAINER(k, struct sp_web, fx_link);
    struct sp_conn *c = w->conn;
    bool by_file = w->seed->kind == SP_WEB_SEED_URL;
    uint64_t base = by_file ? c->t->mi->files[w->file].offset : 0;

    fx->kind = SP_FX_WEB;
    fx->conn = c;
    fx->user = c->user;
    fx->web = (struct sp_web_action){.kind = SP_WEB_STOP};
    if (w->state == WEB_ASKED)
        fx->web = (struct sp_web_action){.kind = SP_WEB_GET,
                                         .url = w->url,
                                         .has_range = by_file,
                                         .from = w->at - base,
                                         .to = w->end - base,
                                         .allow_local = w->seed->is_local};
    return true;
}

/* ---- which blocks ---- */

static uint32_t run_blocks(const struct sp_conn *c, sp_time_ns now)
{
    uint64_t n = rate(c, now) * (WEB_RUN_NS / SP_SECOND_NS) / SP_BLOCK_LEN;
    uint32_t share = sp_ask_share(c->h);
    n = n < WEB_RUN_MIN ? WEB_RUN_MIN : n > WEB_RUN_MAX ? WEB_RUN_MAX : n;
    return n < share ? (uint32_t)n : share;
}

static uint32_t take(struct sp_conn *c, struct sp_pick *ask, uint32_t want, sp_time_ns now)
{
    struct sp_block_ref refs[PICK_MAX];
    uint32_t sum = 0, got = 1;

    while (sum < want && got > 0) {
        ask->count = want - sum < PICK_MAX ? want - sum : PICK_MAX;
        got = sp_ask_pick(c, ask, refs);
        sum += sp_ask_push(c, refs, got, now);
        if (got)
            c->web->near = refs[got - 1].piece;
    }
    return sum;
}

/* Neighbouring pieces, as many as a run may have, that nobody is at; first
 * what is left of the piece at which the last run stopped. */
static uint32_t take_gap(struct sp_conn *c, uint32_t want, sp_time_ns now)
{
    struct sp_torrent *t = c->t;
    uint32_t blocks = t->piece_room / SP_BLOCK_LEN, sum = 0, got = 1;
    uint32_t pieces = (want + blocks - 1) / blocks, first = 0;
    const struct sp_bits *have = c->have_all ? NULL : &c->have;
    uint32_t only[PIECES_MAX] = {c->web->near};
    struct sp_pick ask = {.only = only, .only_count = 1, .fast = true};

    if (sp_picker_open(t->picker, c->web->near))
        sum = take(c, &ask, want, now);
    uint32_t n =
        sum < want ? sp_picker_gap(t->picker, have, c->web->near, pieces, pieces, &first) : 0;
    for (uint32_t i = 0; i < n && sum < want && got > 0; i += ask.only_count) {
        ask.only_count = n - i < PIECES_MAX ? n - i : PIECES_MAX;
        for (uint32_t k = 0; k < ask.only_count; k++)
            only[k] = first + i + k;
        got = take(c, &ask, want - sum, now);
        sum += got;
    }
    return sum;
}

void sp_web_ask(struct sp_conn *c, bool endgame, sp_time_ns now)
{
    struct sp_web *w = c->web;
    uint32_t want = run_blocks(c, now);
    struct sp_pick ask = {.fast = true, .endgame = endgame};

    if (c->has_cur || c->asks.count > 0)
        return;
    if (w->seed->conns > w->seed->conns_want) {
        sp_conn_end(c, "one too many to this web seed", now);
        return;
    }
    uint32_t got = endgame ? 0 : take_gap(c, want, now);
    if (endgame) {
        uint64_t soon = rate(c, now) * TICK_NS / SP_SECOND_NS / SP_BLOCK_LEN;
        want = soon < ENDGAME_MIN ? ENDGAME_MIN : soon > ENDGAME_MAX ? ENDGAME_MAX : (uint32_t)soon;
    }
    if (got == 0) /* what others have begun */
        got = take(c, &ask, want < PICK_MAX ? want : PICK_MAX, now);
    sp_ask_picked(c, got, want);
    if (got && w->state == WEB_IDLE)
        start(c, now);
}

void sp_web_cancelled(struct sp_conn *c, sp_time_ns now)
{
    struct sp_web *w = c->web;
    if (c->has_cur || w->state == WEB_IDLE || w->state == WEB_SKIP)
        return;
    if (is_far(c, now))
        start(c, now);
}

/* ---- what goes wrong ---- */

static void wait_for(struct sp_conn *c, const char *why, sp_time_ns wait, sp_time_ns now)
{
    struct sp_web_seed *seed = c->web->seed;
    seed->retry_at = now + wait;
    if (seed->conns > 1)
        seed->conns_want = seed->conns - 1; /* the others go on: that many it can do */
    else
        sp_web_tell(c->t, seed, why, wait);
    sp_conn_end(c, why, now);
}

static void failed(struct sp_conn *c, const char *why, sp_time_ns now)
{
    struct sp_web_seed *seed = c->web->seed;
    uint32_t shift = seed->fails < 9 ? seed->fails : 9;
    sp_time_ns wait = WEB_RETRY_NS << shift;

    if (wait > WEB_RETRY_MAX_NS)
        wait = WEB_RETRY_MAX_NS;
    wait += sp_rng_below(&c->h->rng, wait / 4 + 1);
    seed->retry_at = now + wait;
    if (seed->fails++ == 0)
        sp_web_tell(c->t, seed, why, wait);
    sp_conn_end(c, why, now);
}

static void give_back(struct sp_conn *c)
{
    if (c->has_cur) {
        sp_ask_release_cur(c);
        sp_pool_put(&c->h->pool, c->cur.data);
        c->cur = (struct sp_ask){0};
        c->has_cur = false;
    }
    sp_ask_drop_all(c);
}

/* One file less; the rest goes on. */
static void lost(struct sp_conn *c, const char *why, sp_time_ns now)
{
    struct sp_torrent *t = c->t;
    struct sp_web_seed *seed = c->web->seed;
    uint32_t file = c->web->file;

    if (!seed->lost.bytes && sp_bits_init(&seed->lost, c->h->mem, t->mi->file_count) != SP_OK) {
        failed(c, why, now);
        return;
    }
    bool is_new = sp_bits_add(&seed->lost, file);
    if (t->mi->single_file || t->mi->file_count == 1 || ++seed->lost_in_a_row >= WEB_LOST_MAX) {
        sp_web_give_up(t, seed, why, now);
        return;
    }
    if (is_new && seed->lost_in_a_row == 1)
        sp_web_tell(t, seed, why, 0);
    give_back(c);
    lacks(c, file, now);
    if (c->state == CONN_OPEN)
        start(c, now);
}

static void judge(struct sp_conn *c, sp_time_ns now)
{
    struct sp_web *w = c->web;
    uint32_t wait_s = 0;

    switch (w->verdict) {
    case SP_WEB_TAKE:
        break;
    case SP_WEB_LATER:
        if (sp_web_wait_parse((struct sp_slice){w->note, w->note_len}, &wait_s) == SP_OK && wait_s)
            w->wait_ns = wait_s * SP_SECOND_NS;
        wait_for(c, w->why, w->wait_ns ? w->wait_ns : WEB_BUSY_NS, now);
        break;
    case SP_WEB_FAIL:
        failed(c, w->why, now);
        break;
    case SP_WEB_LOST:
        lost(c, w->why, now);
        break;
    case SP_WEB_USELESS:
        sp_web_give_up(c->t, w->seed, w->why, now);
        break;
    }
}

/* ---- what comes ---- */

/* Of the request that was given up, or of none. */
static bool is_stale(const struct sp_conn *c)
{
    return c->state != CONN_OPEN || sp_link_in(&c->web->fx_link) || c->web->state == WEB_IDLE;
}

void sp_web_answered(struct sp_conn *c, const struct sp_web_head *head, sp_time_ns now)
{
    struct sp_web *w = c->web;
    uint64_t to = 0;

    if (is_stale(c) || w->state != WEB_ASKED)
        return;
    c->last_recv_at = now;
    const struct sp_metainfo *mi = c->t->mi;
    uint64_t base = mi->files[w->file].offset, whole = mi->files[w->file].length;
    if (w->seed->kind == SP_WEB_SEED_HTTP) {
        base = w->at / mi->piece_length * mi->piece_length;
        whole = sp_metainfo_piece_len(mi, (uint32_t)(w->at / mi->piece_length));
    }
    struct sp_web_want want = {w->seed->kind, w->at - base, w->end - base, whole};
    w->verdict = sp_web_judge(&want, head, &to, &w->why);
    w->state = w->verdict == SP_WEB_TAKE ? WEB_BODY : WEB_SKIP;
    if (w->verdict == SP_WEB_TAKE) {
        w->end = base + to;
        return;
    }
    uint32_t s =
        head->retry_after_s < SP_WEB_RETRY_MAX_S ? head->retry_after_s : SP_WEB_RETRY_MAX_S;
    w->wait_ns = s * SP_SECOND_NS;
    w->skipped = w->note_len = 0;
    if (head->status == 200 || head->status == 206)
        judge(c, now); /* its body is as long as a file */
}

static void skip(struct sp_conn *c, struct sp_slice bytes, sp_time_ns now)
{
    struct sp_web *w = c->web;
    size_t room = sizeof(w->note) - w->note_len, n = bytes.len < room ? bytes.len : room;

    if (n)
        memcpy(w->note + w->note_len, bytes.ptr, n);
    w->note_len += (uint32_t)n;
    w->skipped += bytes.len;
    if (w->skipped > WEB_SKIP_MAX)
        judge(c, now);
}

/* Memory for the blocks that len bytes are of, before one of them is taken. */
static bool has_room(struct sp_conn *c, size_t len)
{
    uint64_t end = c->web->at + len;
    for (uint32_t i = 0; i < c->asks.count; i++) {
        struct sp_ask *a = sp_queue_at(&c->asks, i);
        if (offset_of(c, a->piece, a->block) >= end)
            return true;
        if (!a->data && !(a->data = sp_hub_block(c->h)))
            return false;
    }
    return true;
}

/* Bytes of a block that came from elsewhere meanwhile. */
static void pass_over(struct sp_conn *c, size_t len, sp_time_ns now)
{
    c->web->at += len;
    c->t->downloaded += len;
    c->t->wasted += len;
    sp_rate_add(&c->down, len, now);
    sp_rate_add(&c->t->down_rate, len, now);
    sp_rate_add(&c->h->down_rate, len, now);
}

static void take_body(struct sp_conn *c, struct sp_slice bytes, sp_time_ns now)
{
    struct sp_web *w = c->web;

    while (bytes.len > 0 && w->at < w->end && !is_stale(c)) {
        if (!c->has_cur)
            begin_block(c, now);
        if (c->state != CONN_OPEN)
            return;
        if (!c->has_cur && is_far(c, now))
            break;
        uint64_t most = block_left(c) < w->end - w->at ? block_left(c) : w->end - w->at;
        size_t n = bytes.len < most ? bytes.len : (size_t)most;
        if (c->has_cur)
            place(c, bytes.ptr, n, now);
        else
            pass_over(c, n, now);
        bytes = (struct sp_slice){bytes.ptr + n, bytes.len - n};
    }
    if (is_stale(c))
        return;
    if (bytes.len > 0)
        start(c, now); /* it sends on: the rest is not for us */
    else if (w->at == w->end)
        w->state = WEB_TAIL;
}

bool sp_web_body(struct sp_conn *c, struct sp_slice bytes, sp_time_ns now)
{
    struct sp_web *w = c->web;

    if (is_stale(c) || w->state == WEB_ASKED)
        return true;
    c->last_recv_at = now;
    if (w->state == WEB_SKIP) {
        skip(c, bytes, now);
        return true;
    }
    if (sp_recv_allowed(c, now) == 0)
        return false;
    if (!has_room(c, bytes.len)) {
        sp_recv_sleep(c, now + 10 * SP_MS_NS);
        return false;
    }
    sp_recv_count(c, bytes.len, now);
    w->seed->bytes += bytes.len;
    take_body(c, bytes, now);
    return true;
}

void sp_web_ended(struct sp_conn *c, const char *why, sp_time_ns now)
{
    struct sp_web *w = c->web;

    if (is_stale(c))
        return;
    if (w->state == WEB_SKIP)
        judge(c, now);
    else if (w->state == WEB_BODY && w->at < w->end)
        failed(c, why ? why : "the answer ends early", now);
    else if (w->state == WEB_ASKED)
        failed(c, why ? why : "no answer", now);
    else {
        w->state = WEB_IDLE;
        start(c, now);
    }
}

/* ---- time ---- */

void sp_web_tick(struct sp_conn *c, sp_time_ns now)
{
    struct sp_web *w = c->web;
    bool sleeps = sp_link_in(&c->down_link) || sp_link_in(&c->effect_link);

    if (c->t->state == SP_TORRENT_SEEDING) {
        sp_conn_end(c, "nothing more is wanted", now);
        return;
    }
    if (sleeps || sp_link_in(&w->fx_link)) /* it is we who do not take what comes */
        c->last_recv_at = c->last_block_at = now;
    if (w->state != WEB_IDLE && now - c->last_recv_at > WEB_STALL_NS) {
        failed(c, "sends nothing", now);
        return;
    }
    sp_ask_tick(c, now);
}
