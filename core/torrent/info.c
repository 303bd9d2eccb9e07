/* The info dictionary (BEP-0009): fetched from peers while it is not known,
 * served to them once it is.
 *
 * Peers of private torrents are served like others: who knows the info-hash
 * and is connected got both from the tracker.
 */
#include "core/metadata/metadata.h"
#include "core/torrent/state.h"

enum {
    SERVE_TIMES = 3,         /* we send all of it to one connection so often */
    SERVE_SPARE = 16,        /* pieces besides */
    SERVE_AHEAD = 64 * 1024, /* bytes queued for the socket, then the requests wait */
};

void sp_info_offer(const struct sp_torrent *t, struct sp_ext_handshake *hs)
{
    sp_ext_offer(hs, SP_EXT_UT_METADATA);
    if (!t->mi || t->mi->info.len > UINT32_MAX)
        return;
    hs->has_metadata_size = true;
    hs->metadata_size = (uint32_t)t->mi->info.len;
}

static bool is_fetching(const struct sp_torrent *t)
{
    return t->state == SP_TORRENT_METADATA && !t->mi && !t->info;
}

static void say(struct sp_conn *c, const struct sp_ut_metadata *msg)
{
    uint8_t payload[SP_UT_METADATA_LEN_MAX];
    size_t len = 0;
    uint8_t id = c->wire.ext_ids[SP_EXT_UT_METADATA];
    if (!id || sp_ut_metadata_write(msg, payload, sizeof(payload), &len) != SP_OK)
        return;
    sp_conn_said(c, sp_wire_put_extended(&c->out, id, (struct sp_slice){payload, len}));
    sp_conn_wants_send(c);
}

/* BEP-0027: what others than the tracker told of is not to be used; only now is
 * it known that it was a private torrent. */
void sp_info_go_private(struct sp_torrent *t, sp_time_ns now)
{
    const uint8_t allowed = SP_PEER_USER | SP_PEER_TRACKER | SP_PEER_INCOMING;
    for (uint32_t i = 0; i < t->cand_count; i++) {
        if (!(t->cands[i].sources & allowed))
            t->cands[i].banned = true;
    }
    for (uint32_t i = t->conn_top; i-- > 0;) {
        struct sp_conn *c = i < t->conn_top ? t->conns[i] : NULL;
        const struct sp_candidate *a = c && !c->incoming ? sp_swarm_find(t, &c->addr) : NULL;
        if (a && !(a->sources & allowed))
            sp_conn_end(c, "is not of the tracker of a private torrent", now);
    }
}

/* ---- fetching ---- */

/* Custom: seen in rTorrent 0.9.8: a request that comes while another is being
 * answered is lost.  Like other old ones it has no fast extension. */
static bool may_ask(const struct sp_conn *c)
{
    return c->wire.fast || sp_metadata_asked(c->metadata) == 0;
}

static void ask(struct sp_conn *c, sp_time_ns now)
{
    struct sp_torrent *t = c->t;
    struct sp_ut_metadata msg = {.kind = SP_UT_METADATA_REQUEST};
    if (c->state != CONN_OPEN || !c->metadata || !is_fetching(t))
        return;
    while (may_ask(c) && sp_metadata_ask(t->metadata, c->metadata, now, &msg.piece))
        say(c, &msg);
}

static bool ensure_machine(struct sp_torrent *t)
{
    struct sp_metadata_cfg cfg = {.mem = t->h->mem, .key = t->h->key};
    memcpy(cfg.info_hash, t->info_hash, SP_SHA1_LEN);
    return t->metadata || sp_metadata_new(&cfg, &t->metadata) == SP_OK;
}

void sp_info_told(struct sp_conn *c, const struct sp_ext_handshake *hs, sp_time_ns now)
{
    struct sp_torrent *t = c->t;
    if (!is_fetching(t) || !ensure_machine(t))
        return;
    if (!c->wire.ext_ids[SP_EXT_UT_METADATA]) {
        sp_info_gone(c);
        return;
    }
    if (!hs->has_metadata_size)
        return;
    if (sp_metadata_join(t->metadata, c->blame_key, hs->metadata_size, now, &c->metadata) == SP_OK)
        ask(c, now);
    else
        sp_info_gone(c); /* such a size is of no use */
}

void sp_info_gone(struct sp_conn *c)
{
    if (c->metadata)
        sp_metadata_leave(c->t->metadata, c->metadata);
    c->metadata = NULL;
}

void sp_info_drop(struct sp_torrent *t)
{
    for (uint32_t i = 0; i < t->conn_top; i++) {
        if (t->conns[i])
            t->conns[i]->metadata = NULL;
    }
    sp_metadata_free(t->metadata);
    t->metadata = NULL;
    sp_list_del(&t->h->learned, &t->learned_link);
    sp_mem_free(t->h->mem, t->info);
    t->info = NULL;
    t->info_len = 0;
}

/* As whom a ban knows it: connected, or one that we dialled. */
static bool address_of(struct sp_torrent *t, uint64_t key, struct sp_addr *ret_who)
{
    for (uint32_t i = 0; i < t->conn_top; i++) {
        if (t->conns[i] && t->conns[i]->blame_key == key) {
            *ret_who = sp_conn_who(t->conns[i]);
            return true;
        }
    }
    for (uint32_t i = 0; i < t->cand_count; i++) {
        if ((sp_addr_hash(&t->h->key, &t->cands[i].addr) | 1) == key) {
            *ret_who = t->cands[i].addr;
            return true;
        }
    }
    return false;
}

static void ban_liars(struct sp_torrent *t, sp_time_ns now)
{
    uint64_t key;
    struct sp_addr who;
    while (t->metadata && sp_metadata_liar(t->metadata, &key)) {
        if (address_of(t, key, &who))
            sp_swarm_ban(t, key, &who, "sent wrong metadata", now);
    }
}

/* Where there is no memory for it, it is tried again at the next tick. */
static void take_whole(struct sp_torrent *t, sp_time_ns now)
{
    uint32_t have, size;
    ban_liars(t, now);
    if (!t->metadata || !sp_metadata_is_whole(t->metadata))
        return;
    size = sp_metadata_size(t->metadata, &have);
    uint8_t *info = SP_NEW_ARRAY(t->h->mem, uint8_t, size);
    if (!info)
        return;
    sp_metadata_copy(t->metadata, info);
    sp_info_drop(t);
    t->info = info;
    t->info_len = size;
    sp_list_add(&t->h->learned, &t->learned_link);
}

static void got_data(struct sp_conn *c, const struct sp_ut_metadata *msg, sp_time_ns now)
{
    struct sp_torrent *t = c->t;
    enum sp_err err =
        sp_metadata_got(t->metadata, c->metadata, msg->piece, msg->total_size, msg->data, now);
    if (err == SP_EPROTO) {
        sp_conn_end(c, "sends metadata that does not fit its size", now);
        return;
    }
    take_whole(t, now); /* may end c */
    if (c->state == CONN_OPEN)
        ask(c, now);
}

void sp_info_tick(struct sp_torrent *t, sp_time_ns now)
{
    if (!t->metadata)
        return;
    sp_metadata_tick(t->metadata, now);
    take_whole(t, now);
    for (uint32_t i = 0; i < t->conn_top && is_fetching(t); i++) {
        if (t->conns[i])
            ask(t->conns[i], now);
    }
}

void sp_info_progress(const struct sp_torrent *t, uint64_t *ret_bytes, uint64_t *ret_have)
{
    uint32_t have = 0;
    if (t->metadata)
        *ret_bytes = sp_metadata_size(t->metadata, &have);
    else
        *ret_bytes = have = (uint32_t)(t->mi ? t->mi->info.len : t->info_len);
    *ret_have = have;
}

/* ---- serving ---- */

static void reject(struct sp_conn *c, uint32_t piece)
{
    say(c, &(struct sp_ut_metadata){.kind = SP_UT_METADATA_REJECT, .piece = piece});
}

/* BEP-0009: "Peers that do not have the entire metadata MUST respond with a
 * reject message to any metadata request."
 * BEP-0009: "Clients MAY implement flood protection by rejecting request
 * messages after a certain number of them have been served." */
static void got_request(struct sp_conn *c, uint32_t piece)
{
    const struct sp_metainfo *mi = c->t->mi;
    uint32_t count = mi ? sp_metadata_piece_count(mi->info.len) : 0;
    uint32_t *want = NULL;

    if (piece < count && c->metadata_asked < SERVE_TIMES * count + SERVE_SPARE)
        want = sp_queue_push(&c->metadata_wants, c->h->mem);
    if (!want) {
        reject(c, piece);
        return;
    }
    c->metadata_asked++;
    *want = piece;
    sp_conn_wants_send(c);
}

void sp_info_fill(struct sp_conn *c)
{
    const struct sp_metainfo *mi = c->t->mi;
    while (c->metadata_wants.count && sp_buf_slice(&c->out).len < SERVE_AHEAD) {
        uint32_t piece = *(uint32_t *)sp_queue_at(&c->metadata_wants, 0);
        sp_queue_pop(&c->metadata_wants);
        say(c, &(struct sp_ut_metadata){
                   .kind = SP_UT_METADATA_DATA,
                   .piece = piece,
                   .total_size = (uint32_t)mi->info.len,
                   .data = {mi->info.ptr + (size_t)piece * SP_METADATA_PIECE_LEN,
                            sp_metadata_piece_len(mi->info.len, piece)},
               });
    }
    if (c->metadata_wants.count == 0 && c->metadata_wants.cap)
        sp_queue_done(&c->metadata_wants, c->h->mem);
}

void sp_info_message(struct sp_conn *c, struct sp_slice payload, sp_time_ns now)
{
    struct sp_ut_metadata msg;
    if (sp_ut_metadata_read(payload, &msg) != SP_OK) {
        sp_conn_end(c, "sends a malformed metadata message", now);
        return;
    }
    if (msg.kind == SP_UT_METADATA_REQUEST)
        got_request(c, msg.piece);
    if (!c->metadata || !is_fetching(c->t))
        return;
    if (msg.kind == SP_UT_METADATA_REJECT)
        sp_metadata_rejected(c->t->metadata, c->metadata, msg.piece, now);
    else if (msg.kind == SP_UT_METADATA_DATA)
        got_data(c, &msg, now);
}
