/* hash.h - SHA-1 of many messages at once, by the fastest way this CPU has.
 *
 * One core hashes one SHA-1 stream at about 2 GB/s with SHA-NI and several
 * independent streams two to five times faster, because the rounds of one
 * message depend on each other and those of different messages do not:
 *
 *   kernel     messages a call   needs
 *   avx512x16  16                AVX-512 F + BW + VL; also 8 and 4 lanes
 *   avx2x8     8                 AVX2
 *   ni2        2                 SHA extensions
 *   ni         1                 SHA extensions
 *   evp        1                 OpenSSL; any CPU
 *
 * How fast each is on this CPU is measured once, at first use (half a millisecond),
 * so that a wide kernel with few full lanes is never chosen over a narrow one.
 * A message is scattered: the bytes of its parts in order.  Parts that are
 * multiples of 64 bytes (blocks of 16 KiB, and the last) are hashed where
 * they lie; a cut inside 64 bytes costs one small copy.
 *
 * Thread-safe: any number of threads may call at once.
 */
#ifndef SP_IO_HASH_H
#define SP_IO_HASH_H

#include "core/base/sha1.h"
#include "spate/err.h"
#include "spate/types.h"

struct sp_hash_msg {
    const struct sp_slice *parts;  /* borrowed during the call; any lengths, also 0 */
    uint32_t part_count;           /* 0 is the empty message */
    uint8_t digest[SP_SHA256_LEN]; /* out: the first SP_SHA1_LEN bytes are the SHA-1 */
};

/* The digests of count messages of any lengths.  Cannot fail. */
void sp_hash_sha1_many(struct sp_hash_msg *msgs, uint32_t count);
/* The same for messages that are not in one array. */
void sp_hash_sha1_each(struct sp_hash_msg *const *msgs, uint32_t count);
/* One contiguous message. */
void sp_hash_sha1(struct sp_slice bytes, uint8_t ret_digest[SP_SHA1_LEN]);

/* How many messages it takes to keep the fastest way busy: 16 with AVX-512, 8
 * with AVX2 alone, 2 with SHA-NI, 1 where nothing is won by waiting. */
uint32_t sp_hash_best_batch(void);
/* What hashes count messages of one length: "avx512x16", "ni2", ... */
const char *sp_hash_kernel_name(uint32_t count);

/* One message whose bytes come one after the other. */
struct sp_hash_stream {
    void *ctx;            /* EVP_MD_CTX; NULL where OpenSSL refuses SHA-1 */
    struct sp_sha1 plain; /* used there instead */
};

/* SP_ENOMEM */
SP_MUST_USE enum sp_err sp_hash_stream_init(struct sp_hash_stream *s);
void sp_hash_stream_add(struct sp_hash_stream *s, const void *bytes, size_t len);
/* The digest; s is then at the start of the next message. */
void sp_hash_stream_end(struct sp_hash_stream *s, uint8_t ret_digest[SP_SHA1_LEN]);
/* Takes a zeroed one too. */
void sp_hash_stream_done(struct sp_hash_stream *s);

#endif
