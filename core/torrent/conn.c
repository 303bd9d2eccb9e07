/* A connection's life.
 *
 *   DIALING -> HANDSHAKE -> OPEN -> DEAD (until SP_FX_CLOSE is pulled)
 */
#include "core/torrent/web.h"

static void init_wire(struct sp_conn *c)
{
    struct sp_torrent *t = c->t;
    struct sp_wire_cfg cfg = {
        .mem = c->h->mem,
        .piece_count = t->mi ? t->mi->piece_count : 0,
        .piece_len = t->mi ? sp_picker_piece_len(t->picker, 0) : 0,
        .total_len = t->mi ? t->mi->total_length : 0,
        .block_len_max = SP_BLOCK_LEN,
        .ext_len_max = EXT_LEN_MAX,
    };
    sp_handshake_set_fast(cfg.own.reserved);
    sp_handshake_set_ext(cfg.own.reserved);
    memcpy(cfg.own.info_hash, t->info_hash, SP_SHA1_LEN);
    memcpy(cfg.own.peer_id, c->h->cfg->peer_id, SP_PEER_ID_LEN);
    sp_wire_init(&c->wire, &cfg);
    sp_conn_said(c, sp_wire_put_handshake(&c->out, &cfg.own));
}

static bool find_slot(struct sp_torrent *t, uint32_t *ret_slot)
{
    for (uint32_t i = 0; i < t->conn_cap; i++) {
        if (!t->conns[i]) {
            *ret_slot = i;
            return true;
        }
    }
    if (t->conn_cap == 1u << CONN_SLOT_BITS)
        return false;
    uint32_t cap = t->conn_cap ? t->conn_cap * 2 : 16;
    struct sp_conn **conns =
        sp_mem_grow(t->h->mem, t->conns, t->conn_cap, cap, sizeof(struct sp_conn *));
    if (!conns)
        return false;
    *ret_slot = t->conn_cap;
    t->conns = conns;
    t->conn_cap = cap;
    return true;
}

static void enter(struct sp_conn *c)
{
    struct sp_torrent *t = c->t;
    t->conns[c->slot] = c;
    t->conn_count++;
    c->h->conn_count++;
    if (c->slot >= t->conn_top)
        t->conn_top = c->slot + 1;
}

struct sp_conn *sp_conn_new(struct sp_torrent *t, const struct sp_addr *addr, bool incoming,
                            sp_time_ns now)
{
    struct sp_hub *h = t->h;
    uint32_t slot;
    struct sp_addr who = *addr;
    struct sp_conn *c = find_slot(t, &slot) ? SP_NEW(h->mem, struct sp_conn) : NULL;
    if (!c)
        return NULL;

    if (incoming)
        who.port = 0;
    *c = (struct sp_conn){
        .t = t,
        .h = h,
        .addr = *addr,
        .listen = *addr,
        .slot = slot,
        .peer = (t->peer_serial++ << CONN_SLOT_BITS) | slot,
        .blame_key = sp_addr_hash(&h->key, &who) | 1,
        .state = incoming ? CONN_HANDSHAKE : CONN_DIALING,
        .incoming = incoming,
        .am_choking = true,
        .peer_choking = true,
        .out = sp_buf_of(h->mem, OUT_MAX),
        .asks = sp_queue_of(sizeof(struct sp_ask), ASK_MAX + 1),
        .metadata_wants = sp_queue_of(sizeof(uint32_t), METADATA_WANTS_MAX),
        .wants = sp_queue_of(sizeof(struct sp_want), REQUEST_MAX),
        .chunks = sp_queue_of(sizeof(struct sp_chunk), 1 << 16),
        .ask_max = ASK_MAX_SILENT,
        .opened_at = now,
        .last_recv_at = now,
        .last_send_at = now,
        .last_block_at = now,
    };
    if (incoming)
        c->listen.family = SP_FAMILY_NONE;
    init_wire(c);
    enter(c);
    if (!incoming)
        h->half_open_count++;
    return c;
}

struct sp_conn *sp_conn_new_web(struct sp_torrent *t, struct sp_web *web, uint64_t blame_key,
                                sp_time_ns now)
{
    struct sp_hub *h = t->h;
    uint32_t slot;
    struct sp_conn *c = find_slot(t, &slot) ? SP_NEW(h->mem, struct sp_conn) : NULL;
    if (!c)
        return NULL;
    *c = (struct sp_conn){
        .t = t,
        .h = h,
        .web = web,
        .slot = slot,
        .peer = (t->peer_serial++ << CONN_SLOT_BITS) | slot,
        .blame_key = blame_key,
        .state = CONN_OPEN,
        .upload_only = true,
        .am_choking = true,
        .out = sp_buf_of(h->mem, OUT_MAX),
        .asks = sp_queue_of(sizeof(struct sp_ask), ASK_MAX + 1),
        .wants = sp_queue_of(sizeof(struct sp_want), REQUEST_MAX),
        .chunks = sp_queue_of(sizeof(struct sp_chunk), 1 << 16),
        .ask_max = ASK_MAX,
        .opened_at = now,
        .last_recv_at = now,
        .last_send_at = now,
        .last_block_at = now,
    };
    enter(c);
    return c;
}

void sp_conn_wants_send(struct sp_conn *c)
{
    if (!c->web && (c->state == CONN_HANDSHAKE || c->state == CONN_OPEN))
        sp_list_add(&c->h->sending, &c->send_link);
}

void sp_conn_said(struct sp_conn *c, enum sp_err err)
{
    if (err != SP_OK)
        c->missed = true;
}

bool sp_conn_has(const struct sp_conn *c, uint32_t piece)
{
    return c->have_all || (c->have.bytes && sp_bits_get(&c->have, piece));
}

bool sp_conn_is_seed(const struct sp_conn *c)
{
    return c->have_all || (c->have.bytes && sp_bits_all(&c->have));
}

/* ---- the end ---- */

struct sp_addr sp_conn_who(const struct sp_conn *c)
{
    struct sp_addr who = c->addr;
    if (c->incoming)
        who.port = 0;
    return who;
}

static void remember_gone(const struct sp_conn *c)
{
    struct sp_torrent *t = c->t;
    if (!t->gone && c->down.total > 0)
        t->gone = SP_NEW_ARRAY(t->h->mem, struct sp_gone, GONE_KEPT);
    if (t->gone && c->down.total > 0)
        t->gone[t->gone_at++ % GONE_KEPT] = (struct sp_gone){c->peer, c->blame_key, sp_conn_who(c)};
}

/* Takes c out of everything but the memory it stands in. */
static void detach(struct sp_conn *c, sp_time_ns now)
{
    struct sp_torrent *t = c->t;
    struct sp_hub *h = c->h;

    if (c->has_cur) {
        sp_picker_unask(t->picker, (struct sp_block_ref){c->cur.piece, c->cur.block}, c->peer);
        sp_pool_put(&h->pool, c->cur.data);
        c->has_cur = false;
    }
    sp_ask_drop_all(c);
    sp_serve_drop(c);
    if (c->counted == COUNTED_SEED)
        sp_picker_seeds(t->picker, -1);
    else if (c->counted == COUNTED_BITS)
        sp_picker_peer_bits(t->picker, &c->have, -1);
    if (!c->am_choking && c->peer_interested)
        t->serving--;
    sp_list_del(&h->sending, &c->send_link);
    sp_list_del(&h->receiving, &c->effect_link);
    sp_list_del(&h->down_waiting, &c->down_link);
    sp_list_del(&h->up_waiting, &c->up_link);
    if (c->web)
        sp_web_detach(c);
    sp_wire_done(&c->wire);
    sp_buf_done(&c->out);
    sp_crypt_free(h->mem, c->crypt);
    c->crypt = NULL;
    sp_queue_done(&c->asks, h->mem);
    if (c->have.bytes)
        sp_bits_done(&c->have, h->mem);
    sp_told_drop(c);
    sp_super_drop(c);
    sp_info_gone(c);
    sp_queue_done(&c->metadata_wants, h->mem);
    if (c->state == CONN_DIALING)
        h->half_open_count--;
    sp_hearsay_dialed(c);
    sp_pex_leave(c, now);
    remember_gone(c);
    sp_choke_gone(c);
    sp_swarm_gone(t, c, now);
    t->conns[c->slot] = NULL;
    while (t->conn_top > 0 && !t->conns[t->conn_top - 1])
        t->conn_top--;
    t->conn_count--;
    h->conn_count--;
    c->state = CONN_DEAD;
    c->t = NULL;
}

void sp_conn_end(struct sp_conn *c, const char *why, sp_time_ns now)
{
    struct sp_hub *h = c->h;
    if (c->state == CONN_DEAD)
        return;
    (void)why; /* kept for a debugger: why is a static text */
    bool unseen = c->state == CONN_DIALING && sp_link_in(&c->effect_link);
    if (unseen)
        sp_list_del(&h->dialing, &c->effect_link);
    detach(c, now);
    if (unseen) /* the shell never heard of it */
        sp_conn_free(c);
    else
        sp_list_add(&h->closing, &c->effect_link);
}

void sp_conn_free(struct sp_conn *c)
{
    sp_mem_free(c->h->mem, c->web);
    sp_mem_free(c->h->mem, c);
}

/* TCP was refused: there is the other way. */
static bool redial(struct sp_conn *c)
{
    if (c->state != CONN_DIALING || !c->h->cfg->utp || c->tried != SP_BY_TCP)
        return false;
    c->user = NULL;
    sp_list_add(&c->h->dialing, &c->effect_link);
    return true;
}

/* How the candidate was reached is remembered for the next time. */
static void reached(struct sp_conn *c)
{
    struct sp_candidate *a = sp_swarm_find(c->t, &c->listen);
    if (a)
        a->by = c->stream ? SP_BY_UTP : SP_BY_TCP;
}

void sp_conn_closed(struct sp_conn *c, const char *why, sp_time_ns now)
{
    (void)why;
    if (redial(c))
        return;
    if (c->state == CONN_DEAD)
        sp_list_del(&c->h->closing, &c->effect_link);
    else
        detach(c, now);
    sp_conn_free(c);
}

void sp_conn_set_user(struct sp_conn *c, void *user)
{
    c->user = user;
}

void *sp_conn_user(const struct sp_conn *c)
{
    return c->user;
}

void sp_conn_opened(struct sp_conn *c, sp_time_ns now)
{
    if (c->state != CONN_DIALING)
        return;
    c->state = CONN_HANDSHAKE;
    reached(c);
    c->h->half_open_count--;
    sp_hearsay_dialed(c);
    c->opened_at = c->last_recv_at = c->last_send_at = now;
    sp_conn_wants_send(c);
    sp_swarm_dial_next(c->t, now);
    sp_crypt_opened(c, now);
}

/* ---- time ---- */

/* Queues and buffers keep the room they once needed: what carried data and is
 * idle must cost no more than what never did. */
static void trim(struct sp_conn *c, sp_time_ns now)
{
    bool takes = c->wants.count || c->chunks.count || c->read;

    if (c->wants.cap + c->chunks.cap > 0 && !takes && sp_rate_Bps(&c->up, now) == 0) {
        sp_queue_done(&c->wants, c->h->mem);
        sp_queue_done(&c->chunks, c->h->mem);
    }
    if (c->asks.cap > 0 && c->asks.count == 0 && sp_rate_Bps(&c->down, now) == 0)
        sp_queue_done(&c->asks, c->h->mem);
    if (c->out.len == 0 && c->out.cap > OUT_IDLE_MAX && now - c->last_send_at > TRIM_NS)
        sp_buf_trim(&c->out);
    sp_crypt_trim(c);
}

void sp_conn_tick(struct sp_conn *c, sp_time_ns now)
{
    if (c->state == CONN_DIALING && now - c->opened_at > DIAL_TIMEOUT_NS) {
        sp_conn_end(c, "does not answer", now);
        return;
    }
    if (c->state == CONN_HANDSHAKE && now - c->opened_at > HANDSHAKE_TIMEOUT_NS) {
        sp_conn_end(c, "sends no handshake", now);
        return;
    }
    if (c->web) {
        sp_web_tick(c, now);
        return;
    }
    if (c->state != CONN_OPEN)
        return;
    if (c->missed) {
        sp_conn_end(c, "does not read what we send", now);
        return;
    }
    if (now - c->last_recv_at > SILENCE_NS) {
        sp_conn_end(c, "is silent", now);
        return;
    }
    if (now - c->last_send_at > KEEPALIVE_NS) {
        c->last_send_at = now;
        sp_conn_said(c, sp_wire_put_keepalive(&c->out));
        sp_conn_wants_send(c);
    }
    if (c->t->state == SP_TORRENT_SEEDING && (sp_conn_is_seed(c) || c->upload_only)) {
        sp_conn_end_if_useless(c, now);
        return;
    }
    sp_ask_tick(c, now);
    sp_pex_tick(c, now);
    trim(c, now);
    if (c->wants.count)
        sp_conn_wants_send(c); /* memory may have been short */
}
