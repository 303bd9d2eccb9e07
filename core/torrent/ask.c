/* Which blocks to ask for, and how many at once.
 *
 * The pipeline is sized from what is measured, per connection: rate times
 * (round trip + slack).  The slack is what peers need that answer in pulses (Transmission: twice a
 * second) or on busy links: it doubles each time all that was asked for is there.  It is no larger
 * than that, and the round trip is the shortest ever seen, because what waits at a peer that is
 * slow only makes a queue there, of blocks that others may fetch elsewhere meanwhile: with six
 * leechers on a slow seed, a second more of it costs a fifth of a copy.  While the peer has more to
 * give than is asked for, the rate grows with the window and the window with the rate; once the
 * link is full it stays.  Requests go out in batches of a quarter of the window, so that both ends
 * work on many at once.
 *
 * Memory is asked before bytes are: a piece is opened only when all of it has
 * room (hub.h).  Who finds none waits in line at hub.starved until a piece has
 * been written.
 */
#include "core/torrent/web.h"

#define SLACK_MIN_NS  (250 * SP_MS_NS)
#define SLACK_MAX_NS  SP_SECOND_NS
#define WINDOW_MIN_NS (50 * SP_MS_NS)
#define IDLE_NS       (100 * SP_MS_NS)

enum {
    ASK_FIRST = 16,
    BATCH_MAX = 256,
    ENDGAME_MIN = 2,
    REFUSALS_MAX = 16,         /* in a row; then it is left alone for a while */
    UNASKED_MAX = 4096 * 1024, /* bytes that nobody asked for, besides as much as was of use */
};

void sp_ask_commit(struct sp_torrent *t)
{
    struct sp_picker_counts counts = sp_picker_counts(t->picker);
    uint64_t bytes = (uint64_t)counts.open * t->piece_room;
    t->h->committed_bytes += bytes - t->committed_bytes;
    t->committed_bytes = bytes;
}

static uint32_t find(const struct sp_conn *c, uint32_t piece, uint32_t block)
{
    for (uint32_t ix = 0; ix < c->asks.count; ix++) {
        const struct sp_ask *a = sp_queue_at(&c->asks, ix);
        if (a->piece == piece && a->block == block)
            return ix;
    }
    return SP_MAP_NONE;
}

static void count_fetching(struct sp_conn *c, uint32_t before)
{
    if (!before && c->asks.count)
        c->h->fetching_count++;
    else if (before && !c->asks.count)
        c->h->fetching_count--;
}

/* Takes out one request; the block may be asked of others. */
static void drop(struct sp_conn *c, uint32_t ix)
{
    struct sp_ask *a = sp_queue_at(&c->asks, ix);
    c->released_count -= a->released;
    if (!a->released)
        sp_picker_unask(c->t->picker, (struct sp_block_ref){a->piece, a->block}, c->peer);
    sp_pool_put(&c->h->pool, a->data);
    sp_queue_remove(&c->asks, ix);
}

void sp_ask_drop_all(struct sp_conn *c)
{
    uint32_t before = c->asks.count;
    while (c->asks.count)
        drop(c, c->asks.count - 1);
    count_fetching(c, before);
    if (c->t->picker)
        sp_picker_disown(c->t->picker, c->peer);
    sp_list_del(&c->h->starved, &c->starved_link);
}

void sp_ask_rejected(struct sp_conn *c, uint32_t piece, uint32_t off, sp_time_ns now)
{
    uint32_t ix = off % SP_BLOCK_LEN ? SP_MAP_NONE : find(c, piece, off / SP_BLOCK_LEN);
    uint32_t before = c->asks.count;
    if (ix == SP_MAP_NONE)
        return; /* an answer to a cancel that crossed it */
    drop(c, ix);
    count_fetching(c, before);
    if (!c->peer_choking && ++c->refusals % REFUSALS_MAX == 0) {
        uint32_t shift = c->refusals / REFUSALS_MAX;
        c->ask_again_at = now + (SP_SECOND_NS << (shift < 5 ? shift : 5));
    }
    /* A suggestion or an allowed piece that is refused is none. */
    for (uint32_t i = 0; i < c->allowed_count; i++) {
        if (c->peer_choking && c->allowed[i] == piece)
            c->allowed[i] = c->allowed[--c->allowed_count];
    }
}

/* ---- how many ---- */

uint32_t sp_ask_share(const struct sp_hub *h)
{
    uint64_t blocks = h->open_max_bytes / SP_BLOCK_LEN * 3 / 4;
    uint64_t each = blocks / (h->fetching_count ? h->fetching_count : 1);
    return each < ASK_MIN ? ASK_MIN : each > ASK_MAX ? ASK_MAX : (uint32_t)each;
}

static uint32_t target(const struct sp_conn *c)
{
    uint32_t n = c->ask_target ? c->ask_target : ASK_FIRST;
    uint32_t fair = sp_ask_share(c->h);
    if (c->snubbed)
        return 1;
    if (n > fair)
        n = fair;
    return n < c->ask_max ? n : c->ask_max;
}

/* dry: nothing that was asked for is left to come. */
static void measure(struct sp_conn *c, uint32_t len, sp_time_ns asked_at, bool dry, sp_time_ns now)
{
    sp_time_ns rtt = now - asked_at;
    if (!c->rtt_ns || rtt < c->rtt_ns)
        c->rtt_ns = rtt ? rtt : 1;
    if (c->slack_ns < SLACK_MIN_NS)
        c->slack_ns = SLACK_MIN_NS;
    if (dry && c->slack_ns < SLACK_MAX_NS)
        c->slack_ns *= 2;
    c->window_bytes += len;
    sp_time_ns span = now - c->window_at;
    if (span < WINDOW_MIN_NS || span < c->rtt_ns)
        return;

    uint64_t Bps = (uint64_t)((unsigned __int128)c->window_bytes * SP_SECOND_NS / span);
    c->fetch_Bps = Bps > c->fetch_Bps ? Bps : (c->fetch_Bps * 3 + Bps) / 4;
    uint64_t n = (uint64_t)((unsigned __int128)c->fetch_Bps * (c->rtt_ns + c->slack_ns) /
                            (SP_SECOND_NS * SP_BLOCK_LEN));
    c->ask_target = n < ASK_MIN ? ASK_MIN : n > ASK_MAX ? ASK_MAX : (uint32_t)n;
    c->window_bytes = 0;
    c->window_at = now;
}

/* ---- which ---- */

static bool may_ask(const struct sp_conn *c)
{
    if (c->state != CONN_OPEN || c->t->state != SP_TORRENT_DOWNLOADING || !c->am_interested)
        return false;
    return !c->peer_choking || c->allowed_count > 0;
}

uint32_t sp_ask_pick(struct sp_conn *c, struct sp_pick *ask, struct sp_block_ref *refs)
{
    struct sp_torrent *t = c->t;
    struct sp_hub *h = c->h;
    uint64_t room =
        h->open_max_bytes > h->committed_bytes ? h->open_max_bytes - h->committed_bytes : 0;
    uint64_t pieces = room / t->piece_room;
    if (pieces == 0 && h->committed_bytes == 0)
        pieces = 1;
    ask->peer = c->peer;
    ask->have = c->have_all ? NULL : &c->have;
    ask->open_max_bytes = pieces * sp_picker_piece_len(t->picker, 0);
    uint32_t n = sp_picker_pick(t->picker, ask, refs);
    sp_ask_commit(t);
    return n;
}

static uint32_t pick(struct sp_conn *c, uint32_t count, bool endgame, struct sp_block_ref *refs)
{
    struct sp_pick ask = {
        .only = c->peer_choking ? c->allowed : NULL,
        .only_count = c->allowed_count,
        .first = c->suggested,
        .first_count = c->suggested_count,
        .count = count,
        /* Fast: fetches a whole piece within a few seconds alone. */
        .fast = c->fetch_Bps * 4 > c->t->piece_room,
        .endgame = endgame,
    };
    return sp_ask_pick(c, &ask, refs);
}

/* It still owes this block, asked for before it was snubbed: no need to ask again. */
static bool ask_still(struct sp_conn *c, const struct sp_block_ref *ref, sp_time_ns now)
{
    uint32_t ix = c->released_count ? find(c, ref->piece, ref->block) : SP_MAP_NONE;
    if (ix == SP_MAP_NONE)
        return false;
    struct sp_ask *a = sp_queue_at(&c->asks, ix);
    a->released = false;
    a->at = now;
    c->released_count--;
    return true;
}

uint32_t sp_ask_push(struct sp_conn *c, const struct sp_block_ref *refs, uint32_t n, sp_time_ns now)
{
    uint32_t before = c->asks.count, i = 0;
    for (; i < n; i++) {
        uint32_t len = sp_picker_block_len(c->t->picker, refs[i]);
        if (ask_still(c, &refs[i], now))
            continue;
        /* Its piece was given up or failed while the block arrives. */
        if (c->has_cur && c->cur.piece == refs[i].piece && c->cur.block == refs[i].block)
            c->cur.released = true;
        struct sp_ask *a = sp_queue_push(&c->asks, c->h->mem);
        if (!a)
            break;
        *a = (struct sp_ask){.piece = refs[i].piece, .block = refs[i].block, .at = now};
        if (!c->web && sp_wire_put_request(&c->out, refs[i].piece, refs[i].block * SP_BLOCK_LEN,
                                           len) != SP_OK) {
            c->asks.count--;
            break;
        }
    }
    for (uint32_t k = i; k < n; k++)
        sp_picker_unask(c->t->picker, refs[k], c->peer);
    count_fetching(c, before);
    if (!before && c->asks.count) {
        c->window_at = c->last_block_at = now;
        c->window_bytes = 0;
    }
    if (i > 0)
        sp_conn_wants_send(c);
    return i;
}

void sp_ask_picked(struct sp_conn *c, uint32_t got, uint32_t wanted)
{
    c->idle_pick = got == 0;
    /* Short of memory, not of blocks: the next piece written wakes us. */
    if (got < wanted && !sp_hub_room(c->h, c->t->piece_room))
        sp_list_add(&c->h->starved, &c->starved_link);
}

static void ask(struct sp_conn *c, bool endgame, sp_time_ns now)
{
    struct sp_block_ref refs[BATCH_MAX];
    uint32_t want = target(c), have = c->asks.count;

    if (c->web) {
        sp_web_ask(c, endgame, now);
        return;
    }

    /* Wait until a quarter of the window is free: batches, not dribbles. */
    if (have >= want || have > want - want / 4)
        return;
    uint32_t n = want - have < BATCH_MAX ? want - have : BATCH_MAX;
    /* What comes twice is for nothing: no more than until the next tick. */
    uint64_t soon = c->fetch_Bps * TICK_NS / SP_SECOND_NS / SP_BLOCK_LEN;
    if (soon < ENDGAME_MIN)
        soon = ENDGAME_MIN;
    if (endgame && n > soon)
        n = (uint32_t)soon;
    uint32_t got = pick(c, n, endgame, refs);
    if (got)
        sp_ask_push(c, refs, got, now);
    sp_ask_picked(c, got, n);
}

void sp_ask_more(struct sp_conn *c, sp_time_ns now)
{
    if (!may_ask(c) || sp_link_in(&c->starved_link) || c->idle_pick || now < c->ask_again_at)
        return;
    ask(c, false, now);
}

void sp_ask_wake(struct sp_hub *h, sp_time_ns now)
{
    for (uint32_t n = h->starved.count; n > 0; n--) {
        struct sp_link *k = h->starved.ends.next;
        struct sp_conn *c = SP_CONTAINER(k, struct sp_conn, starved_link);
        if (!sp_hub_room(h, c->t->piece_room))
            return;
        sp_list_del(&h->starved, k);
        c->idle_pick = false;
        sp_ask_more(c, now);
    }
}

/* ---- a block arrives ---- */

void sp_ask_begin(struct sp_conn *c, uint32_t piece, uint32_t off, uint32_t len, sp_time_ns now)
{
    uint32_t ix = off % SP_BLOCK_LEN ? SP_MAP_NONE : find(c, piece, off / SP_BLOCK_LEN);
    uint32_t before = c->asks.count;

    c->has_cur = false;
    if (ix == SP_MAP_NONE)
        return;
    struct sp_ask *a = sp_queue_at(&c->asks, ix);
    if (len != sp_picker_block_len(c->t->picker, (struct sp_block_ref){a->piece, a->block})) {
        sp_conn_end(c, "sends a block of another length than asked for", now);
        return;
    }
    if (!a->data && !(a->data = sp_hub_block(c->h))) {
        drop(c, ix); /* received for nothing, and asked for again */
        count_fetching(c, before);
        return;
    }
    c->cur = *a;
    c->has_cur = true;
    c->released_count -= a->released;
    sp_queue_remove(&c->asks, ix);
    count_fetching(c, before);
}

/* Others were asked for the block that came: take it back. */
static void cancel_others(struct sp_conn *c, struct sp_block_ref ref, sp_time_ns now)
{
    struct sp_torrent *t = c->t;
    const struct sp_open_piece *o = sp_picker_open(t->picker, ref.piece);
    uint32_t askers[SP_PICKER_ASKERS_MAX], count = 0;

    if (!o)
        return;
    const struct sp_open_block *b = &o->blocks[ref.block];
    for (; count < b->asked; count++)
        askers[count] = b->askers[count];
    for (uint32_t i = 0; i < count; i++) {
        struct sp_conn *other = sp_torrent_conn(t, askers[i]);
        uint32_t ix = other ? find(other, ref.piece, ref.block) : SP_MAP_NONE;
        if (ix == SP_MAP_NONE)
            continue; /* it is arriving this moment */
        uint32_t before = other->asks.count;
        drop(other, ix);
        count_fetching(other, before);
        if (other->web) {
            sp_web_cancelled(other, now);
            continue;
        }
        sp_conn_said(other, sp_wire_put_cancel(&other->out, ref.piece, ref.block * SP_BLOCK_LEN,
                                               sp_picker_block_len(t->picker, ref)));
        sp_conn_wants_send(other);
    }
}

/* The block that c receives was released, and asked of it again meanwhile. */
static void cancel_again(struct sp_conn *c, struct sp_block_ref ref)
{
    uint32_t ix = find(c, ref.piece, ref.block), before = c->asks.count;
    if (ix == SP_MAP_NONE)
        return;
    drop(c, ix);
    count_fetching(c, before);
    if (c->web)
        return;
    sp_conn_said(c, sp_wire_put_cancel(&c->out, ref.piece, ref.block * SP_BLOCK_LEN,
                                       sp_picker_block_len(c->t->picker, ref)));
    sp_conn_wants_send(c);
}

static void count_unasked(struct sp_conn *c, uint32_t len, sp_time_ns now)
{
    c->t->wasted += len;
    c->unasked_bytes += len;
    if (c->unasked_bytes > UNASKED_MAX + (c->down.total - c->unasked_bytes))
        sp_conn_end(c, "sends what nobody asked for", now);
}

void sp_ask_end(struct sp_conn *c, uint32_t len, sp_time_ns now)
{
    struct sp_torrent *t = c->t;

    t->downloaded += len;
    sp_rate_add(&c->down, len, now);
    sp_rate_add(&t->down_rate, len, now);
    sp_rate_add(&c->h->down_rate, len, now);
    c->last_block_at = now;
    if (!c->has_cur) {
        count_unasked(c, len, now);
        return;
    }
    struct sp_ask a = c->cur;
    struct sp_block_ref ref = {a.piece, a.block};
    /* With more to ask for, and the memory for it. */
    bool dry = c->asks.count == 0 && !c->idle_pick && !sp_link_in(&c->starved_link);
    c->has_cur = false;
    c->cur = (struct sp_ask){0};
    c->idle_pick = false;
    c->refusals = 0;
    if (a.released)
        cancel_again(c, ref);
    if (c->snubbed) {
        c->snubbed = false;
        c->ask_target = ASK_MIN;
    }
    measure(c, len, a.at, dry, now);

    enum sp_got got = sp_picker_got(t->picker, ref, c->peer, a.data);
    if (got == SP_GOT_DUPLICATE || got == SP_GOT_UNWANTED) {
        t->wasted += len;
        sp_pool_put(&c->h->pool, a.data);
        return;
    }
    cancel_others(c, ref, now);
    if (got == SP_GOT_PIECE_FULL)
        sp_store_piece(t, a.piece);
}

/* ---- time ---- */

void sp_ask_release_cur(struct sp_conn *c)
{
    if (!c->has_cur || c->cur.released)
        return;
    sp_picker_unask(c->t->picker, (struct sp_block_ref){c->cur.piece, c->cur.block}, c->peer);
    c->cur.released = true;
}

/* A peer that has not sent for long keeps one request as its way back; the
 * rest may be asked of others, and is taken if it comes first after all. */
static void snub(struct sp_conn *c)
{
    c->snubbed = true;
    c->fetch_Bps = 0;
    for (uint32_t ix = 0; ix < c->asks.count; ix++) {
        struct sp_ask *a = sp_queue_at(&c->asks, ix);
        if (!a->released)
            sp_picker_unask(c->t->picker, (struct sp_block_ref){a->piece, a->block}, c->peer);
        a->released = true;
    }
    c->released_count = c->asks.count;
    sp_ask_release_cur(c);
    sp_picker_disown(c->t->picker, c->peer);
}

void sp_ask_tick(struct sp_conn *c, sp_time_ns now)
{
    if ((c->asks.count || c->has_cur) && !c->snubbed && now - c->last_block_at > SNUB_NS)
        snub(c);
    c->idle_pick = false;
    if (!may_ask(c) || now < c->ask_again_at)
        return;
    /* No room may have come, but blocks of open pieces: those of peers that went. */
    sp_list_del(&c->h->starved, &c->starved_link);
    sp_ask_more(c, now);
    if (c->state != CONN_OPEN)
        return; /* a web seed, to which it was one too many */
    /* Nothing is left but what others were asked for.  Only now, and only a
     * peer that is idle for a while: most of it is on its way.  Not where our
     * own limit is what holds it up. */
    if (c->asks.count == 0 && !c->has_cur && !sp_link_in(&c->starved_link) &&
        c->h->down_waiting.count == 0 && now - c->last_block_at > IDLE_NS &&
        sp_picker_endgame_ready(c->t->picker))
        ask(c, true, now);
}
