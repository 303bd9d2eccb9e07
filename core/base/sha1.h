/* sha1.h - SHA-1 in plain C for what is small and inside the core: info-hashes
 * and allowed-fast sets.  Pieces are hashed by the shell (io/hash), whose
 * kernels are tested against this one. */
#ifndef SP_BASE_SHA1_H
#define SP_BASE_SHA1_H

#include "spate/types.h"

struct sp_sha1 {
    uint32_t h[5];
    uint64_t len; /* bytes so far */
    uint8_t rest[64];
};

void sp_sha1_init(struct sp_sha1 *s);
void sp_sha1_add(struct sp_sha1 *s, const void *bytes, size_t len);
void sp_sha1_end(struct sp_sha1 *s, uint8_t ret_digest[SP_SHA1_LEN]);

static inline void sp_sha1_of(const void *bytes, size_t len, uint8_t ret_digest[SP_SHA1_LEN])
{
    struct sp_sha1 s;
    sp_sha1_init(&s);
    sp_sha1_add(&s, bytes, len);
    sp_sha1_end(&s, ret_digest);
}

#endif
