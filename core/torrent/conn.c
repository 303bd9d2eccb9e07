/* A connection's life, and what each of its messages means.
 *
 *   DIALING -> HANDSHAKE -> OPEN -> DEAD (until SP_FX_CLOSE is pulled)
 */
#include "core/torrent/state.h"
#include "core/wire/allowed_fast.h"
#include "core/wire/peer_id.h"

static void init_wire(struct sp_conn *c)
{
    struct sp_torrent *t = c->t;
    struct sp_wire_cfg cfg = {
        .mem = c->h->mem,
        .piece_count = sp_picker_piece_count(t->picker),
        .piece_len = sp_picker_piece_len(t->picker, 0),
        .total_len = t->mi->total_length,
        .block_len_max = SP_BLOCK_LEN,
        .ext_len_max = 16 * 1024,
    };
    sp_handshake_set_fast(cfg.own.reserved);
    sp_handshake_set_ext(cfg.own.reserved);
    memcpy(cfg.own.info_hash, t->mi->info_hash_v1, SP_SHA1_LEN);
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
    t->conns[slot] = c;
    t->conn_count++;
    h->conn_count++;
    if (slot >= t->conn_top)
        t->conn_top = slot + 1;
    if (!incoming)
        h->half_open_count++;
    return c;
}

void sp_conn_wants_send(struct sp_conn *c)
{
    if (c->state == CONN_HANDSHAKE || c->state == CONN_OPEN)
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
    sp_wire_done(&c->wire);
    sp_buf_done(&c->out);
    sp_queue_done(&c->asks, h->mem);
    if (c->have.bytes)
        sp_bits_done(&c->have, h->mem);
    if (c->state == CONN_DIALING)
        h->half_open_count--;
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
    sp_mem_free(c->h->mem, c);
}

void sp_conn_closed(struct sp_conn *c, const char *why, sp_time_ns now)
{
    (void)why;
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
    c->h->half_open_count--;
    c->opened_at = c->last_recv_at = c->last_send_at = now;
    sp_conn_wants_send(c);
    sp_swarm_dial_next(c->t, now);
}

/* ---- after the handshake ---- */

static void say_ext_handshake(struct sp_conn *c)
{
    struct sp_ext_handshake hs = {
        .has_reqq = true,
        .reqq = REQUEST_MAX,
        .port = c->incoming ? 0 : c->h->cfg->listen_port,
        .has_upload_only = true,
        .upload_only = sp_picker_counts(c->t->picker).wanted_left == 0,
        .yourip = c->addr,
    };
    sp_ext_offer(&hs, SP_EXT_LT_DONTHAVE);
    sp_ext_offer(&hs, SP_EXT_UPLOAD_ONLY);
    size_t n = strlen(c->h->cfg->client_name);
    memcpy(hs.v, c->h->cfg->client_name, n < sizeof(hs.v) ? n : sizeof(hs.v) - 1);
    sp_conn_said(c, sp_wire_put_ext_handshake(&c->out, &hs));
}

static void say_have(struct sp_conn *c)
{
    const struct sp_bits *have = sp_picker_have(c->t->picker);
    if (c->wire.fast && sp_bits_all(have))
        sp_conn_said(c, sp_wire_put_have_all(&c->out));
    else if (c->wire.fast && have->set == 0)
        sp_conn_said(c, sp_wire_put_have_none(&c->out));
    else if (have->set > 0)
        sp_conn_said(c, sp_wire_put_bitfield(&c->out, have));
}

/* BEP-0006: "if you ask for this piece, I'll give it to you even if you're
 * choked": those of its set that we have. */
static void say_allowed_fast(struct sp_conn *c)
{
    uint32_t set[FAST_SET_MAX];
    uint32_t n = c->addr.family == SP_V4
                     ? sp_allowed_fast(c->addr.ip, c->t->mi->info_hash_v1,
                                       sp_picker_piece_count(c->t->picker), FAST_SET_MAX, set)
                     : 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!sp_bits_get(sp_picker_have(c->t->picker), set[i]))
            continue;
        c->granted[c->granted_count++] = set[i];
        sp_conn_said(c, sp_wire_put_allowed_fast(&c->out, set[i]));
    }
}

/* Another connection to the same peer. */
static struct sp_conn *twin_of(const struct sp_conn *c)
{
    for (uint32_t i = 0; i < c->t->conn_top; i++) {
        struct sp_conn *o = c->t->conns[i];
        if (o && o != c && o->state == CONN_OPEN &&
            memcmp(o->peer_id, c->peer_id, SP_PEER_ID_LEN) == 0)
            return o;
    }
    return NULL;
}

/* Two that dial each other at once must not both end the other's connection:
 * the one stays that the larger peer id dialled.  Only where both come from
 * one address, or a stranger who borrows an id could end a connection. */
static bool replaces(const struct sp_conn *c, const struct sp_conn *o)
{
    bool we_are_larger = memcmp(c->h->cfg->peer_id, c->peer_id, SP_PEER_ID_LEN) > 0;
    if (o->incoming == c->incoming || !sp_addr_same_ip(&o->addr, &c->addr))
        return false;
    return c->incoming ? !we_are_larger : we_are_larger;
}

/* Ends one of two; false when it was c. */
static bool end_twin(struct sp_conn *c, sp_time_ns now)
{
    struct sp_conn *o = twin_of(c);
    if (!o)
        return true;
    struct sp_conn *keep = replaces(c, o) ? c : o, *end = keep == c ? o : c;
    if (keep->listen.family == SP_FAMILY_NONE) { /* nobody dials it while keep is there */
        keep->listen = end->listen;
        end->listen.family = SP_FAMILY_NONE;
    }
    sp_conn_end(end, "is connected already", now);
    return end != c;
}

static void got_handshake(struct sp_conn *c, const struct sp_handshake *hs, sp_time_ns now)
{
    memcpy(c->peer_id, hs->peer_id, SP_PEER_ID_LEN);
    if (memcmp(hs->peer_id, c->h->cfg->peer_id, SP_PEER_ID_LEN) == 0) {
        struct sp_candidate *cand = c->incoming ? NULL : sp_swarm_find(c->t, &c->addr);
        if (cand)
            cand->banned = true; /* our own address */
        sp_conn_end(c, "is ourselves", now);
        return;
    }
    if (!end_twin(c, now))
        return;
    c->state = CONN_OPEN;
    c->opened_at = c->last_block_at = now;
    sp_peer_id_client(hs->peer_id, c->client);
    if (c->wire.ext)
        say_ext_handshake(c);
    say_have(c);
    if (c->wire.fast)
        say_allowed_fast(c);
    sp_conn_wants_send(c);
}

/* ---- what it has, and whether we want it ---- */

void sp_conn_update_interest(struct sp_conn *c, sp_time_ns now)
{
    bool want = c->interesting > 0 && c->t->state == SP_TORRENT_DOWNLOADING;
    if (c->state != CONN_OPEN)
        return;
    if (want != c->am_interested) {
        c->am_interested = want;
        sp_conn_said(c, sp_wire_put_interested(&c->out, want));
        sp_conn_wants_send(c);
    }
    c->idle_pick = false;
    if (want)
        sp_ask_more(c, now);
}

/* Two that want nothing of each other. */
static void end_if_useless(struct sp_conn *c, sp_time_ns now)
{
    bool peer_done = sp_conn_is_seed(c) || c->upload_only;
    if (c->state == CONN_OPEN && peer_done && c->t->state == SP_TORRENT_SEEDING)
        sp_conn_end(c, "is a seed, as we are", now);
}

static void uncount(struct sp_conn *c)
{
    if (c->counted == COUNTED_SEED)
        sp_picker_seeds(c->t->picker, -1);
    else if (c->counted == COUNTED_BITS)
        sp_picker_peer_bits(c->t->picker, &c->have, -1);
    c->counted = COUNTED_NOT;
}

static void got_have_all(struct sp_conn *c, sp_time_ns now)
{
    uncount(c);
    if (c->have.bytes)
        sp_bits_done(&c->have, c->h->mem);
    c->have_all = true;
    sp_picker_seeds(c->t->picker, 1);
    c->counted = COUNTED_SEED;
    c->interesting = sp_picker_interesting(c->t->picker, NULL);
    sp_conn_update_interest(c, now);
    end_if_useless(c, now);
}

static void got_have_none(struct sp_conn *c, sp_time_ns now)
{
    uncount(c);
    c->have_all = false;
    if (c->have.bytes)
        sp_bits_done(&c->have, c->h->mem);
    c->interesting = 0;
    sp_conn_update_interest(c, now);
}

static bool ensure_bits(struct sp_conn *c, sp_time_ns now)
{
    if (c->have.bytes ||
        sp_bits_init(&c->have, c->h->mem, sp_picker_piece_count(c->t->picker)) == SP_OK)
        return true;
    sp_conn_end(c, "out of memory", now);
    return false;
}

static void got_bitfield(struct sp_conn *c, struct sp_slice bits, sp_time_ns now)
{
    uncount(c);
    c->have_all = false;
    if (!ensure_bits(c, now))
        return;
    if (sp_bits_load(&c->have, bits) != SP_OK) {
        sp_conn_end(c, "sent a malformed bitfield", now);
        return;
    }
    if (sp_bits_all(&c->have)) {
        got_have_all(c, now);
        return;
    }
    sp_picker_peer_bits(c->t->picker, &c->have, 1);
    c->counted = COUNTED_BITS;
    c->interesting = sp_picker_interesting(c->t->picker, &c->have);
    sp_conn_update_interest(c, now);
}

static void got_have(struct sp_conn *c, uint32_t piece, sp_time_ns now)
{
    if (c->have_all || !ensure_bits(c, now) || !sp_bits_add(&c->have, piece))
        return;
    if (c->counted == COUNTED_NOT) {
        sp_picker_peer_bits(c->t->picker, &c->have, 1);
        c->counted = COUNTED_BITS;
    } else {
        sp_picker_avail_add(c->t->picker, piece, 1);
    }
    if (sp_picker_wants(c->t->picker, piece)) {
        c->interesting++;
        sp_conn_update_interest(c, now);
    }
    end_if_useless(c, now);
}

static void got_donthave(struct sp_conn *c, uint32_t piece, sp_time_ns now)
{
    if (!sp_conn_has(c, piece))
        return;
    if (c->have_all) {
        uncount(c);
        c->have_all = false;
        if (!ensure_bits(c, now))
            return;
        sp_bits_fill(&c->have, true);
        sp_picker_peer_bits(c->t->picker, &c->have, 1);
        c->counted = COUNTED_BITS;
    }
    sp_bits_del(&c->have, piece);
    sp_picker_avail_add(c->t->picker, piece, -1);
    if (sp_picker_wants(c->t->picker, piece)) {
        c->interesting--;
        sp_conn_update_interest(c, now);
    }
}

/* ---- the other messages ---- */

static void got_choke(struct sp_conn *c)
{
    c->peer_choking = true;
    /* BEP-0006: "Choke no longer implicitly rejects all pending requests": with
     * fast on, each is answered by a REJECT or a block. */
    if (!c->wire.fast)
        sp_ask_drop_all(c);
}

static void got_unchoke(struct sp_conn *c, sp_time_ns now)
{
    c->peer_choking = false;
    c->idle_pick = false;
    if (c->asks.count == 0 && !c->has_cur)
        c->last_block_at = now; /* the clock of snubbing starts; flapping does not set it back */
    sp_ask_more(c, now);
}

static void got_interested(struct sp_conn *c, bool interested, sp_time_ns now)
{
    if (c->peer_interested == interested)
        return;
    c->peer_interested = interested;
    if (!c->am_choking)
        c->t->serving += interested ? 1 : (uint32_t)-1;
    uint32_t slots_used = c->t->serving;
    if (interested && c->am_choking && sp_torrent_running(c->t) &&
        sp_choker_has_room(&c->t->choker, slots_used))
        sp_choke_set(c, false, now);
}

static void got_ext_handshake(struct sp_conn *c, const struct sp_ext_handshake *hs, sp_time_ns now)
{
    if (hs->has_reqq) {
        c->ask_max = hs->reqq < 1 ? 1 : hs->reqq > ASK_MAX ? ASK_MAX : hs->reqq;
    }
    if (hs->v[0])
        memcpy(c->client, hs->v, sizeof(c->client));
    if (hs->has_upload_only)
        c->upload_only = hs->upload_only;
    if (c->incoming && hs->port) {
        struct sp_addr addr = c->addr;
        addr.port = hs->port;
        sp_swarm_add(c->t, &addr, SP_PEER_INCOMING, now);
        struct sp_candidate *cand = sp_swarm_find(c->t, &addr);
        if (cand && !cand->connected && c->listen.family == SP_FAMILY_NONE) {
            cand->connected = true;
            c->listen = addr;
        }
    }
    end_if_useless(c, now);
}

static void remember(uint32_t *list, uint8_t *count, uint32_t max, uint32_t piece)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (list[i] == piece)
            return;
    }
    if (*count < max)
        list[(*count)++] = piece;
}

static void got_extended(struct sp_conn *c, const struct sp_wire_event *ev, sp_time_ns now)
{
    if (ev->id == SP_EXT_UPLOAD_ONLY && ev->payload.len >= 1) {
        c->upload_only = ev->payload.ptr[0] != 0;
        end_if_useless(c, now);
    }
}

void sp_conn_event(struct sp_conn *c, const struct sp_wire_event *ev, sp_time_ns now)
{
    switch (ev->kind) {
    case SP_WIRE_HANDSHAKE:
        got_handshake(c, &ev->handshake, now);
        break;
    case SP_WIRE_CHOKE:
        got_choke(c);
        break;
    case SP_WIRE_UNCHOKE:
        got_unchoke(c, now);
        break;
    case SP_WIRE_INTERESTED:
        got_interested(c, true, now);
        break;
    case SP_WIRE_NOT_INTERESTED:
        got_interested(c, false, now);
        break;
    case SP_WIRE_HAVE:
        got_have(c, ev->piece, now);
        break;
    case SP_WIRE_BITFIELD:
        got_bitfield(c, ev->bits, now);
        break;
    case SP_WIRE_HAVE_ALL:
        got_have_all(c, now);
        break;
    case SP_WIRE_HAVE_NONE:
        got_have_none(c, now);
        break;
    case SP_WIRE_DONTHAVE:
        got_donthave(c, ev->piece, now);
        break;
    case SP_WIRE_REQUEST:
        sp_serve_request(c, ev->piece, ev->off, ev->len, now);
        break;
    case SP_WIRE_CANCEL:
        sp_serve_cancel(c, ev->piece, ev->off, ev->len);
        break;
    case SP_WIRE_REJECT:
        sp_ask_rejected(c, ev->piece, ev->off, now);
        break;
    case SP_WIRE_SUGGEST:
        remember(c->suggested, &c->suggested_count, SUGGEST_MAX, ev->piece);
        break;
    case SP_WIRE_ALLOWED_FAST:
        remember(c->allowed, &c->allowed_count, FAST_SET_MAX, ev->piece);
        c->idle_pick = false;
        break;
    case SP_WIRE_BLOCK:
        sp_ask_begin(c, ev->piece, ev->off, ev->len, now);
        break;
    case SP_WIRE_BLOCK_END:
        sp_ask_end(c, ev->len, now);
        break;
    case SP_WIRE_EXT_HANDSHAKE:
        got_ext_handshake(c, &ev->ext_hs, now);
        break;
    case SP_WIRE_EXTENDED:
        got_extended(c, ev, now);
        break;
    case SP_WIRE_NONE:
    case SP_WIRE_KEEPALIVE:
    case SP_WIRE_PORT:
    case SP_WIRE_BLOCK_DATA:
        break;
    }
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
        end_if_useless(c, now);
        return;
    }
    sp_ask_tick(c, now);
    trim(c, now);
    if (c->wants.count)
        sp_conn_wants_send(c); /* memory may have been short */
}
