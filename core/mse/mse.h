/* mse.h - the handshake of message stream encryption (MSE/PE), both ends.
 *
 * Source: "Message Stream Encryption" (Vuze wiki); no BEP covers it.
 *
 *   1  A -> B   Ya, PadA
 *   2  B -> A   Yb, PadB
 *   3  A -> B   HASH("req1", S), HASH("req2", SKEY) xor HASH("req3", S),
 *               ENCRYPT(VC, crypto_provide, len(PadC), PadC, len(IA)), ENCRYPT(IA)
 *   4  B -> A   ENCRYPT(VC, crypto_select, len(PadD), PadD), payload
 *   5  A -> B   payload
 *
 * S is the Diffie-Hellman secret, SKEY the info-hash, VC eight zero bytes, IA
 * the first bytes of A's payload.  What goes on after it, RC4 or plain text, B
 * chooses among what A offers.
 *
 * Pure.  Bytes come in any cuts and are taken one for one: the first that is
 * not taken belongs to the payload, and is still enciphered.  Who answers asks
 * for its two powers (sp_mse_wants_power), so that strangers cannot have them
 * for nothing.
 */
#ifndef SP_MSE_MSE_H
#define SP_MSE_MSE_H

#include "core/base/rng.h"
#include "core/mse/dh.h"
#include "core/mse/rc4.h"
#include "spate/err.h"

/* What may follow the handshake; bits of crypto_provide and crypto_select. */
enum sp_mse_method {
    SP_MSE_PLAIN = 1,
    SP_MSE_RC4 = 2,
    SP_MSE_BOTH = 3,
};

enum {
    SP_MSE_PAD_MAX = 512, /* of each of the four pads */
    SP_MSE_IA_MAX = 128,  /* of what we send; a peer's may be longer */
    SP_MSE_OUT_MAX = 2 * SP_MSE_PAD_MAX + SP_DH_LEN + 56 + SP_MSE_IA_MAX,
};

/* What must not be guessed.  Whoever makes one hands in bytes of a
 * cryptographic source: the generators of core/base are none, their state
 * can be read off the pads. */
struct sp_mse_dice {
    uint8_t secret[SP_DH_SECRET_LEN];
    uint64_t pads; /* seed of the pads; shows nothing of the secret */
};

/* The nth dice of a key that nobody else knows (16 bytes from the system). */
void sp_mse_dice_of(const uint8_t key[16], uint64_t nth, struct sp_mse_dice *ret_dice);

/* HASH("req2", SKEY): under this an answering client finds the torrent. */
void sp_mse_req2(const uint8_t info_hash[SP_SHA1_LEN], uint8_t ret_req2[SP_SHA1_LEN]);

/* The torrent of which req2 speaks; false: none of ours. */
typedef bool sp_mse_find(void *ctx, const uint8_t req2[SP_SHA1_LEN],
                         uint8_t ret_info_hash[SP_SHA1_LEN]);

struct sp_mse {
    /* Valid once sp_mse_recv gave SP_OK. */
    struct sp_rc4 rx, tx; /* at the first byte of payload each way */
    uint8_t method;       /* enum sp_mse_method, one of them */
    uint16_t ia_len;      /* so many bytes of payload come in RC4 whatever method says */
    uint8_t skey[SP_SHA1_LEN];

    /* private */
    bool dials, prefers_rc4;
    uint8_t allow; /* methods that we go on with */
    uint8_t phase;
    uint8_t got_len;
    uint8_t want_len; /* of want */
    uint16_t left;    /* bytes yet to be searched or skipped */
    uint16_t out_pos, out_len, own_ia_len;
    const char *why; /* static text */
    sp_mse_find *find;
    void *find_ctx;
    struct sp_rng pads;
    uint8_t secret[SP_DH_SECRET_LEN];
    uint8_t got[SP_DH_LEN]; /* a field that came in parts */
    uint8_t want[SP_SHA1_LEN];
    uint8_t shared[SP_DH_LEN];
    uint8_t own_ia[SP_MSE_IA_MAX];
    uint8_t out[SP_MSE_OUT_MAX];
};

/* Begins as A (costs a power): its first bytes are in sp_mse_out.  allow: the
 * methods offered; ia: up to SP_MSE_IA_MAX bytes of payload, copied. */
void sp_mse_dial(struct sp_mse *m, const struct sp_mse_dice *dice, uint8_t allow,
                 const uint8_t info_hash[SP_SHA1_LEN], struct sp_slice ia);

/* Begins as B.  allow: the methods taken; of both, which is preferred. */
void sp_mse_answer(struct sp_mse *m, const struct sp_mse_dice *dice, uint8_t allow,
                   bool prefers_rc4, sp_mse_find *find, void *find_ctx);

/* Takes bytes of in, as many as belong to the handshake.
 * SP_OK      it is done; sp_mse_out is still to be sent
 * SP_AGAIN   more bytes are needed, or a power is wanted
 * SP_EPROTO  failed; sp_mse_why tells.  It stays so. */
SP_MUST_USE enum sp_err sp_mse_recv(struct sp_mse *m, struct sp_slice in, size_t *ret_used);

/* B goes on only when sp_mse_power has been called; it takes no bytes before.
 * The first follows the peer's key and yields our answer; the second is of no
 * use before the peer has seen that, and so before more bytes came. */
bool sp_mse_wants_power(const struct sp_mse *m);
void sp_mse_power(struct sp_mse *m);

/* Bytes to be sent, in order; borrowed until the next call. */
struct sp_slice sp_mse_out(const struct sp_mse *m);
void sp_mse_sent(struct sp_mse *m, size_t len);

/* For people: static, one line; "" without an error. */
const char *sp_mse_why(const struct sp_mse *m);

#endif
