/* Enciphered connections; see crypt.h. */
#include "core/torrent/crypt.h"

#include "core/torrent/state.h"

#define RETRY_OTHER_NS (SP_SECOND_NS / 4) /* and as much again, by chance */

/* ---- whom to dial how ---- */

bool sp_crypt_is_first(const struct sp_torrent *t, const struct sp_candidate *a)
{
    switch (t->h->cfg->encryption) {
    case SP_ENCRYPT_OFF:
        return false;
    case SP_ENCRYPT_REQUIRE:
        return true;
    case SP_ENCRYPT_PREFER:
        return !a->other_mode;
    case SP_ENCRYPT_ALLOW:
        break;
    }
    return a->other_mode;
}

/* It was refused in the way that it was dialled: not so who said its name, or
 * went through the handshake of MSE. */
static bool is_refused(const struct sp_conn *c)
{
    static const uint8_t nobody[SP_PEER_ID_LEN];
    return !c->incoming && c->state == CONN_HANDSHAKE && c->cipher == SP_CIPHER_NONE &&
           memcmp(c->peer_id, nobody, sizeof(nobody)) == 0;
}

bool sp_crypt_retry(const struct sp_conn *c, struct sp_candidate *a, sp_time_ns now)
{
    enum sp_encryption policy = c->h->cfg->encryption;

    if (c->state == CONN_OPEN)
        a->switched = false; /* so it is dialled the next time */
    if (!is_refused(c) || policy == SP_ENCRYPT_OFF || policy == SP_ENCRYPT_REQUIRE)
        return false;
    a->other_mode = !a->other_mode;
    a->switched = !a->switched;
    if (a->switched)
        a->retry_at = now + RETRY_OTHER_NS + sp_rng_below(&c->h->rng, RETRY_OTHER_NS);
    return a->switched;
}

/* ---- birth and death ---- */

static struct sp_crypt *new_crypt(const struct sp_mem *mem)
{
    struct sp_crypt *k = SP_NEW(mem, struct sp_crypt);
    if (!k)
        return NULL;
    k->batch = CRYPT_BATCH_MIN;
    k->out = sp_buf_of(mem, CRYPT_BATCH_MAX);
    return k;
}

void sp_crypt_free(const struct sp_mem *mem, struct sp_crypt *k)
{
    if (!k)
        return;
    sp_mem_free(mem, k->mse);
    sp_buf_done(&k->out);
    sp_mem_free(mem, k);
}

/* What the handshake found out, and what of it is still to be sent. */
static bool take_over(struct sp_crypt *k, const struct sp_mse *m)
{
    struct sp_slice out = sp_mse_out(m);

    k->rx = m->rx;
    k->tx = m->tx;
    k->rc4 = m->method == SP_MSE_RC4;
    k->rx_left = k->rc4 ? UINT32_MAX : m->ia_len;
    return sp_buf_append(&k->out, out.ptr, out.len) == SP_OK;
}

struct sp_crypt *sp_crypt_of(const struct sp_mem *mem, const struct sp_mse *m)
{
    struct sp_crypt *k = new_crypt(mem);
    if (k && !take_over(k, m)) {
        sp_crypt_free(mem, k);
        return NULL;
    }
    return k;
}

/* ---- our handshake ---- */

static uint8_t methods(const struct sp_conn *c)
{
    return c->h->cfg->encryption == SP_ENCRYPT_REQUIRE ? SP_MSE_RC4 : SP_MSE_BOTH;
}

void sp_crypt_opened(struct sp_conn *c, sp_time_ns now)
{
    struct sp_hub *h = c->h;
    struct sp_mse_dice dice;

    if (!c->dials_mse)
        return;
    c->crypt = new_crypt(h->mem);
    if (c->crypt)
        c->crypt->mse = SP_NEW(h->mem, struct sp_mse);
    if (!c->crypt || !c->crypt->mse) {
        sp_conn_end(c, "out of memory", now);
        return;
    }
    /* Our BitTorrent handshake is all that waits; it goes along as IA. */
    struct sp_slice ia = sp_buf_slice(&c->out);
    sp_mse_dice_of(h->cfg->mse_key, h->dice_count++, &dice);
    sp_mse_dial(c->crypt->mse, &dice, methods(c), c->t->info_hash, ia);
    sp_buf_consume(&c->out, ia.len);
}

static struct sp_slice greet(struct sp_conn *c, uint8_t *bytes, size_t len, sp_time_ns now)
{
    struct sp_crypt *k = c->crypt;
    size_t used;
    enum sp_err err = sp_mse_recv(k->mse, (struct sp_slice){bytes, len}, &used);

    if (err == SP_EPROTO || (err == SP_OK && !take_over(k, k->mse))) {
        sp_conn_end(c, err == SP_OK ? "out of memory" : sp_mse_why(k->mse), now);
        return (struct sp_slice){0};
    }
    sp_conn_wants_send(c);
    if (err == SP_AGAIN)
        return (struct sp_slice){0};
    c->cipher = k->rc4 ? SP_CIPHER_RC4 : SP_CIPHER_HANDSHAKE;
    sp_mem_free(c->h->mem, k->mse);
    k->mse = NULL;
    sp_crypt_decipher(k, bytes + used, len - used);
    return (struct sp_slice){bytes + used, len - used};
}

/* ---- bytes in ---- */

void sp_crypt_decipher(struct sp_crypt *k, uint8_t *bytes, size_t len)
{
    size_t n = len < k->rx_left ? len : k->rx_left;

    sp_rc4_run(&k->rx, bytes, bytes, n);
    if (!k->rc4)
        k->rx_left -= (uint32_t)n;
}

struct sp_slice sp_crypt_received(struct sp_conn *c, uint8_t *bytes, size_t len, sp_time_ns now)
{
    if (c->crypt->mse)
        return greet(c, bytes, len, now);
    sp_crypt_decipher(c->crypt, bytes, len);
    return (struct sp_slice){bytes, len};
}

/* ---- bytes out ---- */

static struct sp_slice encipher(struct sp_conn *c, sp_time_ns now)
{
    struct sp_slice list[64];
    uint32_t count = sp_serve_list(c, list, SP_COUNT(list), c->crypt ? c->crypt->batch : 0, now);
    size_t len = 0, at = 0;
    uint8_t *room;

    for (uint32_t i = 0; i < count; i++)
        len += list[i].len;
    if (len == 0)
        return (struct sp_slice){0};
    struct sp_crypt *k = c->crypt;
    enum sp_err err = sp_buf_reserve(&k->out, len, &room);
    if (err != SP_OK) {
        sp_conn_said(c, err);
        sp_conn_wants_send(c);
        return (struct sp_slice){0};
    }
    for (uint32_t i = 0; i < count; at += list[i++].len)
        sp_rc4_run(&k->tx, list[i].ptr, room + at, list[i].len);
    k->out.len += len;
    sp_serve_sent(c, len, now);
    return sp_buf_slice(&k->out);
}

uint32_t sp_crypt_send_list(struct sp_conn *c, struct sp_slice *list, uint32_t cap, sp_time_ns now)
{
    struct sp_crypt *k = c->crypt;
    struct sp_slice out = k->mse ? sp_mse_out(k->mse) : sp_buf_slice(&k->out);

    if (out.len == 0 && !k->mse && !k->rc4)
        return sp_serve_list(c, list, cap, SP_CONN_SEND_MAX, now);
    if (out.len == 0 && !k->mse)
        out = encipher(c, now);
    if (out.len == 0 || cap == 0)
        return 0;
    list[0] = out;
    return 1;
}

static void adapt(struct sp_crypt *k)
{
    bool all = k->out.len == 0;
    uint32_t batch = all ? k->batch * 2 : k->batch / 2;
    k->batch = batch < CRYPT_BATCH_MIN   ? CRYPT_BATCH_MIN
               : batch > CRYPT_BATCH_MAX ? CRYPT_BATCH_MAX
                                         : batch;
}

static bool has_more(const struct sp_conn *c)
{
    return c->out.len || c->wants.count || c->chunks.count || c->read;
}

bool sp_crypt_sent(struct sp_conn *c, size_t len, sp_time_ns now)
{
    struct sp_crypt *k = c->crypt;

    if (k->mse) {
        sp_mse_sent(k->mse, len);
        if (sp_mse_out(k->mse).len)
            sp_conn_wants_send(c);
    } else if (k->out.len == 0) {
        return false;
    } else {
        sp_buf_consume(&k->out, len);
        adapt(k);
        if (!has_more(c))
            sp_buf_trim(&k->out);
        if (k->out.len || has_more(c))
            sp_conn_wants_send(c);
    }
    c->last_send_at = now;
    return true;
}

void sp_crypt_trim(struct sp_conn *c)
{
    struct sp_crypt *k = c->crypt;

    if (!k || k->mse)
        return;
    if (!has_more(c))
        sp_buf_trim(&k->out);
    if (k->rc4 || k->rx_left || k->out.len)
        return;
    sp_crypt_free(c->h->mem, k); /* plain text from here on */
    c->crypt = NULL;
}
