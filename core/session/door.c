#include "core/session/door.h"

#include <assert.h>

#include "core/session/state.h"

enum {
    SNIFF_LEN = 20, /* bytes in which BitTorrent's handshake shows itself */
    /* Before so many bytes came no second power is of use: key, two hashes, VC ... */
    ASK_LEN_MIN = SP_DH_LEN + 2 * SP_SHA1_LEN + 16,
};

void sp_door_init(struct sp_door *d, enum sp_encryption policy, const struct sp_mse_dice *dice,
                  sp_mse_find *find, void *find_ctx)
{
    *d = (struct sp_door){
        .policy = policy,
        .dice = *dice,
        .find = find,
        .find_ctx = find_ctx,
    };
}

static void fail(struct sp_door *d, const char *why)
{
    d->state = SP_DOOR_FAILED;
    d->why = why;
}

/* ---- power ---- */

static bool spend(struct sp_purse *purse, bool second, sp_time_ns now)
{
    const sp_time_ns each = SP_SECOND_NS / SP_PURSE_PER_S;
    sp_time_ns *to = &purse->spent_to[second];

    if (*to < now)
        *to = now;
    if (*to - now >= SP_PURSE_BURST * each)
        return false;
    *to += each;
    return true;
}

bool sp_door_waits(const struct sp_door *d)
{
    return d->state == SP_DOOR_ASKING && d->enciphered && sp_mse_wants_power(&d->mse) &&
           (!d->answered || (d->went_on && d->total >= ASK_LEN_MIN));
}

/* ---- the two handshakes ---- */

static void drop(struct sp_door *d, size_t len)
{
    d->in_len = (uint16_t)(d->in_len - len);
    if (len)
        memmove(d->in, d->in + len, d->in_len);
}

static void run_mse(struct sp_door *d, struct sp_purse *purse, sp_time_ns now)
{
    for (;;) {
        size_t used;
        enum sp_err err = sp_mse_recv(&d->mse, (struct sp_slice){d->in, d->in_len}, &used);
        drop(d, used);
        if (err == SP_EPROTO) {
            fail(d, sp_mse_why(&d->mse));
            return;
        }
        if (err == SP_OK) {
            memcpy(d->info_hash, d->mse.skey, SP_SHA1_LEN);
            d->state = SP_DOOR_NAMED;
            return;
        }
        /* Before our answer there can be a pad and no more. */
        if (sp_mse_wants_power(&d->mse) && !d->answered && d->in_len > SP_MSE_PAD_MAX) {
            fail(d, "speaks no protocol that we know");
            return;
        }
        if (!sp_door_waits(d) || !spend(purse, d->answered, now))
            return;
        d->answered = true;
        sp_mse_power(&d->mse);
    }
}

static void begin_mse(struct sp_door *d)
{
    bool only_rc4 = d->policy == SP_ENCRYPT_REQUIRE;

    if (d->policy == SP_ENCRYPT_OFF) {
        fail(d, "speaks no protocol that we take");
        return;
    }
    d->enciphered = true;
    sp_mse_answer(&d->mse, &d->dice, only_rc4 ? SP_MSE_RC4 : SP_MSE_BOTH,
                  d->policy == SP_ENCRYPT_PREFER, d->find, d->find_ctx);
}

static void sniff(struct sp_door *d)
{
    struct sp_slice in = {d->in, d->in_len};
    struct sp_slice first = {d->in, in.len < SNIFF_LEN ? in.len : SNIFF_LEN};

    if (sp_handshake_peek(first, d->info_hash) == SP_EPROTO) {
        begin_mse(d);
        return;
    }
    if (d->in_len < SNIFF_LEN)
        return;
    if (d->policy == SP_ENCRYPT_REQUIRE)
        fail(d, "speaks in plain text");
    else if (sp_handshake_peek(in, d->info_hash) == SP_OK)
        d->state = SP_DOOR_NAMED;
}

enum sp_door_state sp_door_go_on(struct sp_door *d, struct sp_purse *purse, sp_time_ns now)
{
    if (d->state == SP_DOOR_ASKING && !d->enciphered && d->in_len > 0)
        sniff(d);
    if (d->state == SP_DOOR_ASKING && d->enciphered)
        run_mse(d, purse, now);
    return (enum sp_door_state)d->state;
}

struct sp_iov sp_door_room(struct sp_door *d)
{
    return (struct sp_iov){.ptr = d->in + d->in_len, .len = sizeof(d->in) - d->in_len};
}

enum sp_door_state sp_door_received(struct sp_door *d, size_t len, struct sp_purse *purse,
                                    sp_time_ns now)
{
    assert(len <= sizeof(d->in) - d->in_len);
    d->in_len = (uint16_t)(d->in_len + len);
    d->total += (uint32_t)len;
    d->went_on = d->answered && len > 0;
    return sp_door_go_on(d, purse, now);
}

struct sp_slice sp_door_out(const struct sp_door *d)
{
    return d->enciphered ? sp_mse_out(&d->mse) : (struct sp_slice){0};
}

void sp_door_sent(struct sp_door *d, size_t len)
{
    if (d->enciphered)
        sp_mse_sent(&d->mse, len);
}

/* ---- through it ---- */

void sp_session_dice(struct sp_session *s, struct sp_mse_dice *ret_dice)
{
    sp_mse_dice_of(s->cfg.mse_key, s->hub.dice_count++, ret_dice);
}

struct sp_conn *sp_session_enter(struct sp_session *s, const struct sp_door *d,
                                 const struct sp_addr *addr, void *user, sp_time_ns now)
{
    const struct sp_mem *mem = s->cfg.mem;
    sp_torrent_id id = sp_session_find(s, d->info_hash);
    struct sp_crypt *k = d->enciphered ? sp_crypt_of(mem, &d->mse) : NULL;

    if (id == SP_TORRENT_NONE || (d->enciphered && !k)) {
        sp_crypt_free(mem, k);
        return NULL;
    }
    struct sp_conn *c = sp_session_accept(s, id, addr, user, now);
    if (!c) {
        sp_crypt_free(mem, k);
        return NULL;
    }
    c->crypt = k;
    if (k)
        c->cipher = k->rc4 ? SP_CIPHER_RC4 : SP_CIPHER_HANDSHAKE;
    sp_conn_received_bytes(c, (struct sp_slice){d->in, d->in_len}, now);
    return c;
}
