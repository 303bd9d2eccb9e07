/* sha256.h - SHA-256 in plain C for what is small and inside the core: the
 * info-hash of v2 torrents.  Piece trees are hashed by the shell (io/hash). */
#ifndef SP_BASE_SHA256_H
#define SP_BASE_SHA256_H

#include "spate/types.h"

struct sp_sha256 {
    uint32_t h[8];
    uint64_t len; /* bytes so far */
    uint8_t rest[64];
};

void sp_sha256_init(struct sp_sha256 *s);
void sp_sha256_add(struct sp_sha256 *s, const void *bytes, size_t len);
void sp_sha256_end(struct sp_sha256 *s, uint8_t ret_digest[SP_SHA256_LEN]);

static inline void sp_sha256_of(const void *bytes, size_t len, uint8_t ret_digest[SP_SHA256_LEN])
{
    struct sp_sha256 s;
    sp_sha256_init(&s);
    sp_sha256_add(&s, bytes, len);
    sp_sha256_end(&s, ret_digest);
}

#endif
