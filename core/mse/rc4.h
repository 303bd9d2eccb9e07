/* rc4.h - the stream cipher of message stream encryption.
 *
 * RC4 is broken as a cipher; here it only makes a stream look like noise to
 * whoever slows BitTorrent down.  Nothing may be called encrypted for it where
 * people read it as safe.
 */
#ifndef SP_MSE_RC4_H
#define SP_MSE_RC4_H

#include "spate/types.h"

struct sp_rc4 {
    uint8_t i, j;
    uint8_t s[256];
};

void sp_rc4_init(struct sp_rc4 *r, const uint8_t *key, size_t key_len);
/* Enciphers, deciphers: the same.  out may be in, and may not overlap it otherwise. */
void sp_rc4_run(struct sp_rc4 *r, const uint8_t *in, uint8_t *out, size_t len);
/* Throws len bytes of the key stream away. */
void sp_rc4_skip(struct sp_rc4 *r, size_t len);

#endif
