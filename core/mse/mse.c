#include "core/mse/mse.h"

#include <assert.h>
#include <string.h>

#include "core/base/cur.h"
#include "core/base/out.h"
#include "core/base/sha1.h"
#include "core/base/sha256.h"

enum {
    VC_LEN = 8,
    ASK_LEN = VC_LEN + 4 + 2, /* VC, crypto_provide, len(PadC) */
    CHOICE_LEN = 4 + 2,       /* crypto_select, len(PadD) */
    RC4_DROP = 1024,          /* "the first 1024 bytes of the RC4 output are discarded" */
};

enum phase {
    PHASE_KEY,    /* the peer's public value */
    PHASE_ANSWER, /* B: a power for Yb is wanted */
    PHASE_SHARE,  /* B: a power for S is wanted */
    PHASE_SYNC,   /* the end of a pad of unknown length: want */
    PHASE_SKEY,   /* B: which torrent */
    PHASE_ASK,    /* B: VC and what A offers */
    PHASE_CHOICE, /* A: what B chose */
    PHASE_PAD,    /* PadC, PadD */
    PHASE_IA,     /* B: len(IA) */
    PHASE_DONE,
    PHASE_FAILED,
};

static const uint8_t zeros[SP_MSE_PAD_MAX];

void sp_mse_dice_of(const uint8_t key[16], uint64_t nth, struct sp_mse_dice *ret_dice)
{
    uint8_t in[16 + 3 + 8], digest[SP_SHA256_LEN];
    struct sp_out o = sp_out_of(in, sizeof(in));

    sp_out_bytes(&o, key, 16);
    sp_out_str(&o, "mse");
    sp_out_u64(&o, nth);
    sp_sha256_of(in, sizeof(in), digest);
    memcpy(ret_dice->secret, digest, SP_DH_SECRET_LEN);
    ret_dice->pads = sp_be64(digest + SP_DH_SECRET_LEN);
}

/* HASH(name, a, b) */
static void hash(const char name[5], const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len,
                 uint8_t ret[SP_SHA1_LEN])
{
    struct sp_sha1 s;
    sp_sha1_init(&s);
    sp_sha1_add(&s, name, 4);
    sp_sha1_add(&s, a, a_len);
    if (b_len)
        sp_sha1_add(&s, b, b_len);
    sp_sha1_end(&s, ret);
}

void sp_mse_req2(const uint8_t info_hash[SP_SHA1_LEN], uint8_t ret_req2[SP_SHA1_LEN])
{
    hash("req2", info_hash, SP_SHA1_LEN, NULL, 0, ret_req2);
}

static void fail(struct sp_mse *m, const char *why)
{
    m->phase = PHASE_FAILED;
    m->why = why;
}

/* ---- bytes out ---- */

/* len more bytes at the end of out. */
static uint8_t *room(struct sp_mse *m, size_t len)
{
    assert(len <= sizeof(m->out) - m->out_len);
    uint8_t *at = m->out + m->out_len;
    m->out_len = (uint16_t)(m->out_len + len);
    return at;
}

static void put(struct sp_mse *m, const void *bytes, size_t len)
{
    if (len)
        memcpy(room(m, len), bytes, len);
}

static void put_enciphered(struct sp_mse *m, const uint8_t *bytes, size_t len)
{
    if (len)
        sp_rc4_run(&m->tx, bytes, room(m, len), len);
}

static uint16_t pad_len(struct sp_mse *m)
{
    return (uint16_t)sp_rng_below(&m->pads, SP_MSE_PAD_MAX + 1);
}

/* Ya, PadA; Yb, PadB. */
static void say_key(struct sp_mse *m)
{
    uint16_t len = pad_len(m);
    sp_dh_public(m->secret, room(m, SP_DH_LEN));
    sp_rng_bytes(&m->pads, room(m, len), len);
}

/* ---- keys ---- */

static void init_rc4(struct sp_rc4 *r, const char name[5], const struct sp_mse *m)
{
    uint8_t key[SP_SHA1_LEN];
    hash(name, m->shared, SP_DH_LEN, m->skey, SP_SHA1_LEN, key);
    sp_rc4_init(r, key, sizeof(key));
    sp_rc4_skip(r, RC4_DROP);
}

static void init_streams(struct sp_mse *m)
{
    init_rc4(m->dials ? &m->tx : &m->rx, "keyA", m);
    init_rc4(m->dials ? &m->rx : &m->tx, "keyB", m);
}

static bool share(struct sp_mse *m)
{
    if (sp_dh_shared(m->secret, m->got, m->shared))
        return true;
    fail(m, "sends a key that is none");
    return false;
}

/* Looks for want behind a pad of at most SP_MSE_PAD_MAX bytes. */
static void search(struct sp_mse *m, uint8_t want_len)
{
    m->phase = PHASE_SYNC;
    m->want_len = want_len;
    m->left = SP_MSE_PAD_MAX + want_len;
    m->got_len = 0;
}

/* ---- A ---- */

void sp_mse_dial(struct sp_mse *m, const struct sp_mse_dice *dice, uint8_t allow,
                 const uint8_t info_hash[SP_SHA1_LEN], struct sp_slice ia)
{
    assert(ia.len <= SP_MSE_IA_MAX && allow);
    *m = (struct sp_mse){
        .dials = true,
        .allow = allow,
        .pads = sp_rng_of(dice->pads),
        .own_ia_len = (uint16_t)ia.len,
    };
    memcpy(m->secret, dice->secret, sizeof(m->secret));
    memcpy(m->skey, info_hash, SP_SHA1_LEN);
    if (ia.len)
        memcpy(m->own_ia, ia.ptr, ia.len);
    say_key(m);
}

/* Step 3. */
static void say_ask(struct sp_mse *m)
{
    uint8_t digest[SP_SHA1_LEN], req2[SP_SHA1_LEN], ask[ASK_LEN], ia_len[2];
    uint16_t len = pad_len(m);
    struct sp_out o = sp_out_of(ask, sizeof(ask));

    hash("req1", m->shared, SP_DH_LEN, NULL, 0, digest);
    put(m, digest, sizeof(digest));
    hash("req3", m->shared, SP_DH_LEN, NULL, 0, digest);
    sp_mse_req2(m->skey, req2);
    for (int i = 0; i < SP_SHA1_LEN; i++)
        digest[i] ^= req2[i];
    put(m, digest, sizeof(digest));
    sp_out_bytes(&o, zeros, VC_LEN);
    sp_out_u32(&o, m->allow);
    sp_out_u16(&o, len);
    put_enciphered(m, ask, sizeof(ask));
    put_enciphered(m, zeros, len);
    o = sp_out_of(ia_len, sizeof(ia_len));
    sp_out_u16(&o, m->own_ia_len);
    put_enciphered(m, ia_len, sizeof(ia_len));
    put_enciphered(m, m->own_ia, m->own_ia_len);
}

/* B's key is whole. */
static void got_answer(struct sp_mse *m)
{
    if (!share(m))
        return;
    init_streams(m);
    say_ask(m);
    /* VC is zeros: enciphered it is the key stream itself. */
    sp_rc4_run(&m->rx, zeros, m->want, VC_LEN);
    search(m, VC_LEN);
}

static void got_choice(struct sp_mse *m)
{
    uint32_t select = sp_be32(m->got);

    m->left = sp_be16(m->got + 4);
    if ((select != SP_MSE_PLAIN && select != SP_MSE_RC4) || !(select & m->allow))
        fail(m, "chooses what was not offered");
    else if (m->left > SP_MSE_PAD_MAX)
        fail(m, "sends a pad that is too long");
    else
        m->phase = PHASE_PAD;
    m->method = (uint8_t)select;
}

/* ---- B ---- */

void sp_mse_answer(struct sp_mse *m, const struct sp_mse_dice *dice, uint8_t allow,
                   bool prefers_rc4, sp_mse_find *find, void *find_ctx)
{
    *m = (struct sp_mse){
        .allow = allow,
        .prefers_rc4 = prefers_rc4,
        .find = find,
        .find_ctx = find_ctx,
        .pads = sp_rng_of(dice->pads),
    };
    memcpy(m->secret, dice->secret, sizeof(m->secret));
}

bool sp_mse_wants_power(const struct sp_mse *m)
{
    return m->phase == PHASE_ANSWER || m->phase == PHASE_SHARE;
}

void sp_mse_power(struct sp_mse *m)
{
    if (m->phase == PHASE_ANSWER) {
        say_key(m);
        m->phase = PHASE_SHARE;
    } else if (m->phase == PHASE_SHARE && share(m)) {
        hash("req1", m->shared, SP_DH_LEN, NULL, 0, m->want);
        search(m, SP_SHA1_LEN);
    }
}

static void got_skey(struct sp_mse *m)
{
    uint8_t digest[SP_SHA1_LEN];

    hash("req3", m->shared, SP_DH_LEN, NULL, 0, digest);
    for (int i = 0; i < SP_SHA1_LEN; i++)
        digest[i] ^= m->got[i];
    if (!m->find(m->find_ctx, digest, m->skey)) {
        fail(m, "asks for a torrent that we do not have");
        return;
    }
    init_streams(m);
    m->phase = PHASE_ASK;
}

static void got_ask(struct sp_mse *m)
{
    uint32_t both = sp_be32(m->got + VC_LEN) & m->allow;

    m->left = sp_be16(m->got + VC_LEN + 4);
    if (memcmp(m->got, zeros, VC_LEN) != 0)
        fail(m, "does not encipher as it should");
    else if (!both)
        fail(m, "offers no kind of stream that we take");
    else if (m->left > SP_MSE_PAD_MAX)
        fail(m, "sends a pad that is too long");
    else
        m->phase = PHASE_PAD;
    if (both == SP_MSE_BOTH)
        both = m->prefers_rc4 ? SP_MSE_RC4 : SP_MSE_PLAIN;
    m->method = (uint8_t)both;
}

/* Step 4; IA itself is payload, whoever reads that takes it. */
static void got_ia_len(struct sp_mse *m)
{
    uint8_t choice[VC_LEN + CHOICE_LEN];
    uint16_t len = pad_len(m);
    struct sp_out o = sp_out_of(choice, sizeof(choice));

    m->ia_len = sp_be16(m->got);
    sp_out_bytes(&o, zeros, VC_LEN);
    sp_out_u32(&o, m->method);
    sp_out_u16(&o, len);
    put_enciphered(m, choice, sizeof(choice));
    put_enciphered(m, zeros, len);
    m->phase = PHASE_DONE;
}

/* ---- bytes in ---- */

/* True when len bytes of one field lie in got. */
static bool gather(struct sp_mse *m, struct sp_slice *in, uint8_t len)
{
    size_t n = (size_t)(len - m->got_len);

    n = n < in->len ? n : in->len;
    if (n) {
        memcpy(m->got + m->got_len, in->ptr, n);
        m->got_len = (uint8_t)(m->got_len + n);
        in->ptr += n;
        in->len -= n;
    }
    if (m->got_len < len)
        return false;
    m->got_len = 0;
    return true;
}

static bool gather_enciphered(struct sp_mse *m, struct sp_slice *in, uint8_t len)
{
    if (!gather(m, in, len))
        return false;
    sp_rc4_run(&m->rx, m->got, m->got, len);
    return true;
}

/* True when want was found; got holds the last bytes seen. */
static bool sync(struct sp_mse *m, struct sp_slice *in)
{
    while (in->len > 0 && m->left > 0) {
        if (m->got_len == m->want_len)
            memmove(m->got, m->got + 1, --m->got_len);
        m->got[m->got_len++] = *in->ptr++;
        in->len--;
        m->left--;
        if (m->got_len == m->want_len && memcmp(m->got, m->want, m->want_len) == 0) {
            m->got_len = 0;
            return true;
        }
    }
    if (m->left == 0)
        fail(m, m->dials ? "does not encipher as it should" : "speaks no protocol that we know");
    return false;
}

static bool skip(struct sp_mse *m, struct sp_slice *in)
{
    size_t n = m->left < in->len ? m->left : in->len;

    if (n) {
        sp_rc4_skip(&m->rx, n);
        m->left = (uint16_t)(m->left - n);
        in->ptr += n;
        in->len -= n;
    }
    return m->left == 0;
}

/* One field; false when there is no more to be done with in. */
static bool advance(struct sp_mse *m, struct sp_slice *in)
{
    switch (m->phase) {
    case PHASE_KEY:
        if (!gather(m, in, SP_DH_LEN))
            return false;
        if (m->dials)
            got_answer(m);
        else
            m->phase = PHASE_ANSWER;
        return true;
    case PHASE_SYNC:
        if (!sync(m, in))
            return false;
        m->phase = m->dials ? PHASE_CHOICE : PHASE_SKEY;
        return true;
    case PHASE_SKEY:
        if (!gather(m, in, SP_SHA1_LEN))
            return false;
        got_skey(m);
        return true;
    case PHASE_ASK:
        if (!gather_enciphered(m, in, ASK_LEN))
            return false;
        got_ask(m);
        return true;
    case PHASE_CHOICE:
        if (!gather_enciphered(m, in, CHOICE_LEN))
            return false;
        got_choice(m);
        return true;
    case PHASE_PAD:
        if (!skip(m, in))
            return false;
        m->phase = m->dials ? PHASE_DONE : PHASE_IA;
        return true;
    case PHASE_IA:
        if (!gather_enciphered(m, in, 2))
            return false;
        got_ia_len(m);
        return true;
    default: /* DONE, FAILED, or a power is wanted */
        return false;
    }
}

enum sp_err sp_mse_recv(struct sp_mse *m, struct sp_slice in, size_t *ret_used)
{
    size_t len = in.len;

    while (advance(m, &in))
        ;
    *ret_used = len - in.len;
    if (m->phase == PHASE_DONE)
        return SP_OK;
    return m->phase == PHASE_FAILED ? SP_EPROTO : SP_AGAIN;
}

struct sp_slice sp_mse_out(const struct sp_mse *m)
{
    return (struct sp_slice){m->out + m->out_pos, (size_t)(m->out_len - m->out_pos)};
}

void sp_mse_sent(struct sp_mse *m, size_t len)
{
    assert(len <= (size_t)(m->out_len - m->out_pos));
    m->out_pos = (uint16_t)(m->out_pos + len);
    if (m->out_pos == m->out_len)
        m->out_pos = m->out_len = 0;
}

const char *sp_mse_why(const struct sp_mse *m)
{
    return m->why ? m->why : "";
}
