/* What each message of a peer means, and what is said after the handshake. */
#include "core/torrent/state.h"
#include "core/wire/allowed_fast.h"
#include "core/wire/peer_id.h"

/* ---- after the handshake ---- */

void sp_conn_say_ext_handshake(struct sp_conn *c)
{
    struct sp_ext_handshake hs = {
        .has_reqq = true,
        .reqq = REQUEST_MAX,
        .port = c->incoming ? 0 : c->h->cfg->listen_port,
        .has_upload_only = !sp_super_is_on(c->t), /* it would give us away */
        .upload_only = c->t->picker && sp_picker_counts(c->t->picker).wanted_left == 0,
        .yourip = c->addr,
    };
    sp_ext_offer(&hs, SP_EXT_LT_DONTHAVE);
    sp_ext_offer(&hs, SP_EXT_UPLOAD_ONLY);
    if (sp_pex_is_on(c->t)) {
        sp_ext_offer(&hs, SP_EXT_UT_PEX);
        sp_ext_offer(&hs, SP_EXT_UT_HOLEPUNCH);
    } else { /* 0: off; they may have been on before (info.c) */
        hs.in_m[SP_EXT_UT_PEX] = hs.in_m[SP_EXT_UT_HOLEPUNCH] = true;
    }
    sp_info_offer(c->t, &hs);
    size_t n = strlen(c->h->cfg->client_name);
    memcpy(hs.v, c->h->cfg->client_name, n < sizeof(hs.v) ? n : sizeof(hs.v) - 1);
    c->told_upload_only = hs.has_upload_only && hs.upload_only;
    sp_conn_said(c, sp_wire_put_ext_handshake(&c->out, &hs));
}

static void say_have(struct sp_conn *c)
{
    static const struct sp_bits none;
    if (sp_super_is_on(c->t)) {
        sp_super_hello(c);
        return;
    }
    const struct sp_bits *have = c->t->picker ? sp_picker_have(c->t->picker) : &none;
    if (c->wire.fast && have->count > 0 && sp_bits_all(have))
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
    uint32_t n = c->addr.family == SP_V4 && c->t->mi && !sp_super_is_on(c->t)
                     ? sp_allowed_fast(c->addr.ip, c->t->info_hash,
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
        if (o && o != c && o->state == CONN_OPEN && !o->web &&
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
    end->parted = end->addr.family != keep->addr.family; /* and reachable by both */
    sp_conn_end(end, "is connected already", now);
    return end != c;
}

static void got_handshake(struct sp_conn *c, const struct sp_handshake *hs, sp_time_ns now)
{
    memcpy(c->peer_id, hs->peer_id, SP_PEER_ID_LEN);
    struct sp_candidate *cand = c->incoming ? NULL : sp_swarm_find(c->t, &c->addr);
    if (cand)
        sp_hearsay_settle(c->t, cand); /* it is a peer indeed */
    if (memcmp(hs->peer_id, c->h->cfg->peer_id, SP_PEER_ID_LEN) == 0) {
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
        sp_conn_say_ext_handshake(c);
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
        if (!c->web)
            sp_conn_said(c, sp_wire_put_interested(&c->out, want));
        sp_conn_wants_send(c);
    }
    c->idle_pick = false;
    if (want)
        sp_ask_more(c, now);
}

void sp_conn_end_if_useless(struct sp_conn *c, sp_time_ns now)
{
    if (sp_conn_is_seed(c))
        sp_super_end(c->t, now); /* there are two of us */
    bool peer_done = sp_conn_is_seed(c) || c->upload_only;
    if (c->state != CONN_OPEN || !peer_done || c->t->state != SP_TORRENT_SEEDING)
        return;
    c->parted = true;
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

void sp_conn_has_all(struct sp_conn *c, sp_time_ns now)
{
    uncount(c);
    if (c->have.bytes)
        sp_bits_done(&c->have, c->h->mem);
    c->have_all = true;
    sp_picker_seeds(c->t->picker, 1);
    c->counted = COUNTED_SEED;
    c->interesting = sp_picker_interesting(c->t->picker, NULL);
    sp_conn_update_interest(c, now);
    sp_conn_end_if_useless(c, now);
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
        sp_conn_has_all(c, now);
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
    sp_super_seen(c, piece, now);
    if (sp_picker_wants(c->t->picker, piece)) {
        c->interesting++;
        sp_conn_update_interest(c, now);
    }
    sp_conn_end_if_useless(c, now);
}

void sp_conn_has_not(struct sp_conn *c, uint32_t piece, sp_time_ns now)
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
    if (interested && c->am_choking && c->t->picker && sp_torrent_running(c->t) &&
        sp_choker_has_room(&c->t->choker, slots_used))
        sp_choke_set(c, false, now);
}

static void got_ext_handshake(struct sp_conn *c, const struct sp_ext_handshake *hs, sp_time_ns now)
{
    if (hs->has_reqq) {
        c->ask_max = hs->reqq < 1 ? 1 : hs->reqq > ASK_MAX ? ASK_MAX : hs->reqq;
    }
    sp_info_told(c, hs, now);
    if (hs->v[0])
        memcpy(c->client, hs->v, sizeof(c->client));
    if (hs->has_upload_only)
        c->upload_only = hs->upload_only;
    c->prefers_encryption |= hs->prefers_encryption;
    if (hs->yourip.family != SP_FAMILY_NONE)
        sp_external_vote(&c->h->external, &c->h->key, SP_EXTERNAL_PEER, &c->addr, &hs->yourip);
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
    sp_conn_end_if_useless(c, now);
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
        sp_conn_end_if_useless(c, now);
    } else if (ev->id == SP_EXT_UT_PEX) {
        sp_hearsay_got(c, ev->payload, now);
    } else if (ev->id == SP_EXT_UT_HOLEPUNCH) {
        sp_holepunch_got(c, ev->payload, now);
    } else if (ev->id == SP_EXT_UT_METADATA) {
        sp_info_message(c, ev->payload, now);
    }
}

void sp_conn_event(struct sp_conn *c, const struct sp_wire_event *ev, sp_time_ns now)
{
    if (!c->t->picker && sp_told_take(c, ev, now))
        return;
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
        sp_conn_has_all(c, now);
        break;
    case SP_WIRE_HAVE_NONE:
        got_have_none(c, now);
        break;
    case SP_WIRE_DONTHAVE:
        sp_conn_has_not(c, ev->piece, now);
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
