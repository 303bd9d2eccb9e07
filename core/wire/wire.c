/* The framing, and the order of events; what messages mean is in the files of
 * the groups: state.c, have.c, request.c, fast.c, port.c, extended.c. */
#include "core/wire/wire.h"

#include "core/base/cur.h"
#include "core/base/out.h"
#include "core/wire/message.h"

enum phase {
    PHASE_HANDSHAKE, /* gathering 68 bytes */
    PHASE_HEAD,      /* gathering length, id and the fixed part of a body */
    PHASE_BLOCK,     /* passing on left bytes of payload */
    PHASE_BLOCK_END, /* the last byte was passed on, its end was not said */
    PHASE_BIG,       /* gathering left bytes of a bitfield or extended message */
    PHASE_BIG_GIVEN, /* big is lent to the caller until the next call */
    PHASE_SKIP,      /* passing over left bytes */
    PHASE_FAILED,
};

enum { BIG_CAP_MIN = 256 };

/* What the length and id of a message must agree with. */
struct shape {
    uint8_t kind;
    uint8_t body_len; /* bytes after the id; of an open one: of its fixed part */
    bool is_open;     /* more may follow the fixed part */
    bool is_fast;     /* BEP-0006: only where negotiated */
};

static const struct shape shapes[SP_ID_COUNT] = {
    [SP_ID_CHOKE] = {SP_WIRE_CHOKE, 0, false, false},
    [SP_ID_UNCHOKE] = {SP_WIRE_UNCHOKE, 0, false, false},
    [SP_ID_INTERESTED] = {SP_WIRE_INTERESTED, 0, false, false},
    [SP_ID_NOT_INTERESTED] = {SP_WIRE_NOT_INTERESTED, 0, false, false},
    [SP_ID_HAVE] = {SP_WIRE_HAVE, 4, false, false},
    [SP_ID_BITFIELD] = {SP_WIRE_BITFIELD, 0, true, false},
    [SP_ID_REQUEST] = {SP_WIRE_REQUEST, 12, false, false},
    [SP_ID_PIECE] = {SP_WIRE_BLOCK, 8, true, false},
    [SP_ID_CANCEL] = {SP_WIRE_CANCEL, 12, false, false},
    [SP_ID_PORT] = {SP_WIRE_PORT, 2, false, false},
    [SP_ID_SUGGEST] = {SP_WIRE_SUGGEST, 4, false, true},
    [SP_ID_HAVE_ALL] = {SP_WIRE_HAVE_ALL, 0, false, true},
    [SP_ID_HAVE_NONE] = {SP_WIRE_HAVE_NONE, 0, false, true},
    [SP_ID_REJECT] = {SP_WIRE_REJECT, 12, false, true},
    [SP_ID_ALLOWED_FAST] = {SP_WIRE_ALLOWED_FAST, 4, false, true},
    [SP_ID_EXTENDED] = {SP_WIRE_EXTENDED, 1, true, false},
};

void sp_wire_init(struct sp_wire *w, const struct sp_wire_cfg *cfg)
{
    *w = (struct sp_wire){
        .mem = cfg->mem,
        .own_fast = sp_handshake_has_fast(cfg->own.reserved),
        .own_ext = sp_handshake_has_ext(cfg->own.reserved),
        .own_dht = sp_handshake_has_dht(cfg->own.reserved),
        .block_len_max = cfg->block_len_max,
        .ext_len_max = cfg->ext_len_max,
    };
    memcpy(w->info_hash, cfg->own.info_hash, sizeof(w->info_hash));
    sp_wire_learn(w, cfg->piece_count, cfg->piece_len, cfg->total_len);
}

static void free_big(struct sp_wire *w)
{
    if (w->big)
        sp_mem_free(w->mem, w->big);
    w->big = NULL;
    w->big_len = w->big_cap = 0;
}

void sp_wire_done(struct sp_wire *w)
{
    free_big(w);
}

void sp_wire_learn(struct sp_wire *w, uint32_t piece_count, uint32_t piece_len, uint64_t total_len)
{
    w->piece_count = piece_count;
    w->piece_len = piece_len;
    w->total_len = total_len;
}

enum sp_err sp_wire_fail(struct sp_wire *w, enum sp_err err, const char *why)
{
    free_big(w);
    w->phase = PHASE_FAILED;
    w->err = err;
    w->why = why;
    return err;
}

const char *sp_wire_why(const struct sp_wire *w)
{
    return w->why ? w->why : "";
}

uint32_t sp_wire_block_left(const struct sp_wire *w)
{
    return w->phase == PHASE_BLOCK ? w->left : 0;
}

bool sp_wire_at_boundary(const struct sp_wire *w)
{
    return w->phase == PHASE_BIG_GIVEN ||
           ((w->phase == PHASE_HANDSHAKE || w->phase == PHASE_HEAD) && w->head_len == 0);
}

enum sp_err sp_wire_check_piece(struct sp_wire *w, uint32_t piece)
{
    if (w->piece_count > 0 && piece >= w->piece_count)
        return sp_wire_fail(w, SP_EPROTO, "names a piece that the torrent does not have");
    return SP_OK;
}

/* Copies until head holds need bytes; false when in ends before. */
static bool gather(struct sp_wire *w, struct sp_slice in, uint32_t need, size_t *used)
{
    size_t lacks = w->head_len < need ? need - w->head_len : 0, left = in.len - *used;
    size_t n = left < lacks ? left : lacks;
    if (n > 0)
        memcpy(w->head + w->head_len, in.ptr + *used, n);
    w->head_len = (uint8_t)(w->head_len + n);
    *used += n;
    return n == lacks;
}

static enum sp_err read_handshake(struct sp_wire *w, struct sp_slice in, size_t *used,
                                  struct sp_wire_event *ev)
{
    uint8_t hash[SP_SHA1_LEN];
    bool is_whole = gather(w, in, SP_HANDSHAKE_LEN, used);
    struct sp_slice head = {w->head, w->head_len};
    enum sp_err err = sp_handshake_peek(head, hash);
    if (err == SP_EPROTO)
        return sp_wire_fail(w, err, "does not start with a BitTorrent handshake");
    /* BEP-0003: "If both sides don't send the same value, they sever the
     * connection." */
    if (err == SP_OK && memcmp(hash, w->info_hash, sizeof(hash)) != 0)
        return sp_wire_fail(w, SP_EPROTO, "answers with another info-hash");
    if (!is_whole)
        return SP_OK;

    err = sp_handshake_read(w->head, &ev->handshake);
    w->head_len = 0;
    w->phase = PHASE_HEAD;
    /* BEP-0006: "The extension is enabled only if both ends of the connection
     * set this bit." */
    w->fast = w->own_fast && sp_handshake_has_fast(ev->handshake.reserved);
    w->ext = w->own_ext && sp_handshake_has_ext(ev->handshake.reserved);
    w->dht = w->own_dht && sp_handshake_has_dht(ev->handshake.reserved);
    ev->kind = SP_WIRE_HANDSHAKE;
    return err;
}

static uint64_t max64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* No message that could be taken has a length prefix above this. */
static uint64_t frame_max(const struct sp_wire *w)
{
    uint64_t bits = w->piece_count ? sp_bits_wire_len(w->piece_count) : SP_WIRE_BITFIELD_LEN_MAX;
    uint64_t max = max64(SP_WIRE_SKIP_LEN_MAX, bits) + 1;
    max = max64(max, (uint64_t)w->block_len_max + 9);
    return max64(max, (uint64_t)w->ext_len_max + 2);
}

/* Judges a message by its length and id alone: body_len is the bytes after the id. */
static enum sp_err check_shape(struct sp_wire *w, uint8_t id, uint32_t body_len)
{
    const struct shape *s = id < SP_ID_COUNT ? &shapes[id] : NULL;
    if (!s || s->kind == SP_WIRE_NONE) {
        if (body_len > SP_WIRE_SKIP_LEN_MAX)
            return sp_wire_fail(w, SP_EPROTO, "sends an unknown message that is too long");
        return SP_OK;
    }
    if (s->is_fast && !w->fast)
        return sp_wire_fail(w, SP_EPROTO, "uses the fast extension, which is not agreed on");
    if (s->is_open ? body_len < s->body_len : body_len != s->body_len)
        return sp_wire_fail(w, SP_EPROTO, "sends a message of the wrong length for its type");

    switch (id) {
    case SP_ID_BITFIELD:
        return sp_wire_check_bitfield_len(w, body_len);
    case SP_ID_PIECE:
        if (body_len - 8 > w->block_len_max)
            return sp_wire_fail(w, SP_EPROTO, "sends a block that is too long");
        return SP_OK;
    case SP_ID_EXTENDED:
        if (!w->ext)
            return sp_wire_fail(w, SP_EPROTO, "uses extensions, which are not agreed on");
        return SP_OK;
    default:
        return SP_OK;
    }
}

/* How many bytes of head the message needs, as far as the first known tell;
 * judged as early as they allow. */
static enum sp_err head_need(struct sp_wire *w, const uint8_t *head, uint32_t known,
                             uint32_t *ret_need)
{
    uint32_t len = sp_be32(head);
    enum sp_err err = SP_OK;
    if (len == 0) {
        *ret_need = 4;
        return SP_OK;
    }
    if (known == 4) {
        if (len > frame_max(w))
            return sp_wire_fail(w, SP_EPROTO, "sends a message that is too long");
        *ret_need = 5;
        return SP_OK;
    }

    uint8_t id = head[4];
    if (known == 5) {
        err = check_shape(w, id, len - 1);
        *ret_need = 5 + (id < SP_ID_COUNT ? shapes[id].body_len : 0u);
    } else if (known == 6 && id == SP_ID_EXTENDED) {
        err = sp_wire_check_extended_len(w, head[5], len - 2);
        *ret_need = head[5] == SP_EXT_LT_DONTHAVE ? 10 : 6;
    }
    return err;
}

/* Turns to the rest of a message whose head is read. */
static enum sp_err await(struct sp_wire *w, enum phase phase, uint32_t left)
{
    w->phase = (uint8_t)phase;
    w->left = left;
    return SP_OK;
}

static enum sp_err begin_extended(struct sp_wire *w, const uint8_t *body, uint32_t len,
                                  struct sp_wire_event *ev)
{
    if (body[0] == SP_EXT_LT_DONTHAVE)
        return sp_wire_read_donthave(w, body + 1, ev);
    if (body[0] >= SP_EXT_COUNT)
        return await(w, PHASE_SKIP, len);
    w->big_kind = SP_WIRE_EXTENDED;
    w->ext_id = body[0];
    return await(w, PHASE_BIG, len);
}

/* All branching on the message id is here; head is whole. */
static enum sp_err dispatch(struct sp_wire *w, const uint8_t *head, struct sp_wire_event *ev)
{
    uint32_t len = sp_be32(head);
    const uint8_t *body = head + 5;
    if (len == 0) {
        ev->kind = SP_WIRE_KEEPALIVE;
        return SP_OK;
    }
    if (head[4] >= SP_ID_COUNT || shapes[head[4]].kind == SP_WIRE_NONE)
        return await(w, PHASE_SKIP, len - 1);

    enum sp_wire_kind kind = shapes[head[4]].kind;
    switch (head[4]) {
    case SP_ID_BITFIELD:
        w->big_kind = SP_WIRE_BITFIELD;
        return await(w, PHASE_BIG, len - 1);
    case SP_ID_PIECE:
        ev->kind = kind;
        (void)await(w, PHASE_BLOCK, len - 9);
        return sp_wire_read_piece(w, body, len - 9, ev);
    case SP_ID_EXTENDED:
        return begin_extended(w, body, len - 2, ev);
    default:
        break;
    }

    ev->kind = kind;
    switch (head[4]) {
    case SP_ID_HAVE_ALL:
    case SP_ID_HAVE_NONE:
        return SP_OK;
    case SP_ID_HAVE:
        return sp_wire_read_have(w, body, ev);
    case SP_ID_REQUEST:
    case SP_ID_CANCEL:
        return sp_wire_read_request(w, body, ev);
    case SP_ID_REJECT:
        return sp_wire_read_request(w, body, ev);
    case SP_ID_SUGGEST:
    case SP_ID_ALLOWED_FAST:
        return sp_wire_read_hint(w, body, ev);
    case SP_ID_PORT:
        return sp_wire_read_port(body, ev);
    default:
        return SP_OK; /* choke, unchoke, interested, not interested: the kind says all */
    }
}

/* Reads a head where it lies, or, when it comes in parts, in w->head. */
static enum sp_err read_head(struct sp_wire *w, struct sp_slice in, size_t *used,
                             struct sp_wire_event *ev)
{
    uint32_t known = 0, need = 4;
    bool lies_whole = w->head_len == 0;
    while (known < need) {
        if (lies_whole && in.len < need)
            lies_whole = false;
        if (!lies_whole && !gather(w, in, need, used))
            return SP_OK;
        known = need;
        enum sp_err err = head_need(w, lies_whole ? in.ptr : w->head, known, &need);
        if (err != SP_OK)
            return err;
    }
    if (lies_whole)
        *used = need;
    w->head_len = 0;
    return dispatch(w, lies_whole ? in.ptr : w->head, ev);
}

static enum sp_err pass_block(struct sp_wire *w, struct sp_slice in, size_t *used,
                              struct sp_wire_event *ev)
{
    size_t n = in.len < w->left ? in.len : w->left;
    if (n == 0)
        return SP_OK;
    ev->kind = SP_WIRE_BLOCK_DATA;
    ev->piece = w->piece;
    ev->off = w->off;
    ev->len = w->len;
    ev->block_off = w->len - w->left;
    ev->data = (struct sp_slice){in.ptr, n};
    *used = n;
    w->left -= (uint32_t)n;
    if (w->left == 0)
        w->phase = PHASE_BLOCK_END;
    return SP_OK;
}

static enum sp_err end_block(struct sp_wire *w, struct sp_wire_event *ev)
{
    ev->kind = SP_WIRE_BLOCK_END;
    ev->piece = w->piece;
    ev->off = w->off;
    ev->len = w->len;
    w->phase = PHASE_HEAD;
    return SP_OK;
}

/* Room for n more bytes: at most twice what has arrived, never what was declared. */
static enum sp_err grow_big(struct sp_wire *w, uint32_t n)
{
    uint32_t whole = w->big_len + w->left, need = w->big_len + n;
    if (need <= w->big_cap)
        return SP_OK;
    uint64_t cap = w->big_cap ? w->big_cap : BIG_CAP_MIN;
    while (cap < need)
        cap *= 2;
    if (cap > whole)
        cap = whole;
    uint8_t *big = sp_mem_grow(w->mem, w->big, w->big_len, cap, 1);
    if (!big)
        return sp_wire_fail(w, SP_ENOMEM, "no memory for its message");
    w->big = big;
    w->big_cap = (uint32_t)cap;
    return SP_OK;
}

static enum sp_err finish_big(struct sp_wire *w, struct sp_slice body, struct sp_wire_event *ev)
{
    if (w->big_kind == SP_WIRE_BITFIELD)
        return sp_wire_read_bitfield(w, body, ev);
    return sp_wire_read_extended(w, body, ev);
}

static enum sp_err gather_big(struct sp_wire *w, struct sp_slice in, size_t *used,
                              struct sp_wire_event *ev)
{
    if (w->big_len == 0 && in.len >= w->left) {
        *used = w->left;
        w->phase = PHASE_HEAD;
        return finish_big(w, (struct sp_slice){in.ptr, w->left}, ev);
    }

    uint32_t n = in.len < w->left ? (uint32_t)in.len : w->left;
    if (n == 0)
        return SP_OK;
    enum sp_err err = grow_big(w, n);
    if (err != SP_OK)
        return err;
    memcpy(w->big + w->big_len, in.ptr, n);
    w->big_len += n;
    w->left -= n;
    *used = n;
    if (w->left > 0)
        return SP_OK;
    w->phase = PHASE_BIG_GIVEN;
    return finish_big(w, (struct sp_slice){w->big, w->big_len}, ev);
}

static void skip(struct sp_wire *w, struct sp_slice in, size_t *used)
{
    *used = in.len < w->left ? in.len : w->left;
    w->left -= (uint32_t)*used;
    if (w->left == 0)
        w->phase = PHASE_HEAD;
}

/* One turn: leads to an event, to the next phase, or to the end of in. */
static enum sp_err step(struct sp_wire *w, struct sp_slice in, size_t *used,
                        struct sp_wire_event *ev)
{
    switch ((enum phase)w->phase) {
    case PHASE_HANDSHAKE:
        return read_handshake(w, in, used, ev);
    case PHASE_BIG_GIVEN:
        free_big(w);
        w->phase = PHASE_HEAD;
        return SP_OK;
    case PHASE_HEAD:
        return read_head(w, in, used, ev);
    case PHASE_BLOCK:
        return pass_block(w, in, used, ev);
    case PHASE_BLOCK_END:
        return end_block(w, ev);
    case PHASE_BIG:
        return gather_big(w, in, used, ev);
    case PHASE_SKIP:
        skip(w, in, used);
        return SP_OK;
    case PHASE_FAILED:
        break;
    }
    return w->err;
}

enum sp_err sp_wire_recv(struct sp_wire *w, struct sp_slice in, size_t *ret_used,
                         struct sp_wire_event *ret_ev)
{
    struct sp_slice rest = in;
    uint8_t before;

    ret_ev->kind = SP_WIRE_NONE;
    /* Each turn uses bytes or changes the phase, and the phase comes round
     * only by using bytes, so this ends. */
    do {
        size_t used = 0;
        before = w->phase;
        enum sp_err err = step(w, rest, &used, ret_ev);
        if (err != SP_OK)
            return err;
        if (used > 0)
            rest = (struct sp_slice){rest.ptr + used, rest.len - used};
    } while (ret_ev->kind == SP_WIRE_NONE && (rest.len > 0 || w->phase != before));

    *ret_used = in.len - rest.len;
    return SP_OK;
}

uint8_t *sp_wire_put(struct sp_buf *out, uint8_t id, size_t body_len, enum sp_err *ret_err)
{
    uint8_t *room;
    *ret_err = sp_buf_reserve(out, 5 + body_len, &room);
    if (*ret_err != SP_OK)
        return NULL;
    sp_put_be32(room, (uint32_t)body_len + 1);
    room[4] = id;
    out->len += 5 + body_len;
    return room + 5;
}

enum sp_err sp_wire_put_bare(struct sp_buf *out, uint8_t id)
{
    enum sp_err err;
    (void)sp_wire_put(out, id, 0, &err);
    return err;
}

enum sp_err sp_wire_put_number(struct sp_buf *out, uint8_t id, uint32_t number)
{
    enum sp_err err;
    uint8_t *body = sp_wire_put(out, id, 4, &err);
    if (body)
        sp_put_be32(body, number);
    return err;
}

enum sp_err sp_wire_put_handshake(struct sp_buf *out, const struct sp_handshake *hs)
{
    uint8_t bytes[SP_HANDSHAKE_LEN];
    sp_handshake_write(hs, bytes);
    return sp_buf_append(out, bytes, sizeof(bytes));
}
