/* dh.h - the Diffie-Hellman exchange of message stream encryption: powers
 * modulo its 768-bit prime.
 *
 * The running time and the memory touched do not depend on the secret.  One
 * power costs some 30 us; who may ask for them has to be limited by callers.
 */
#ifndef SP_MSE_DH_H
#define SP_MSE_DH_H

#include "spate/types.h"

enum {
    SP_DH_LEN = 96,        /* a public value or the shared secret, big-endian */
    SP_DH_SECRET_LEN = 20, /* 160 bits, as MSE has it: "at least 128 bits" are required */
};

/* 2 to the power of secret: what is sent to the peer. */
void sp_dh_public(const uint8_t secret[SP_DH_SECRET_LEN], uint8_t ret_y[SP_DH_LEN]);

/* The peer's value to the power of secret.  False, and nothing computed, for
 * values that make the result known to everybody: 0, 1, p - 1, and what is no
 * residue (p and above). */
SP_MUST_USE bool sp_dh_shared(const uint8_t secret[SP_DH_SECRET_LEN], const uint8_t y[SP_DH_LEN],
                              uint8_t ret_shared[SP_DH_LEN]);

#endif
