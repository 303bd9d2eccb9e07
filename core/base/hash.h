/* hash.h - a keyed 64-bit hash (SipHash-1-3) for tables and fingerprints whose
 * keys come from strangers: info-hashes, addresses, ids, suspect blocks. */
#ifndef SP_BASE_HASH_H
#define SP_BASE_HASH_H

#include "spate/types.h"

struct sp_hash_key {
    uint64_t k0, k1; /* secret, from the session's seed */
};

uint64_t sp_hash_bytes(const struct sp_hash_key *key, const void *bytes, size_t len);

#endif
