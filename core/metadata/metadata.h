/* metadata.h - the info dictionary of a torrent, put together from what many
 * peers send, and who lied about it.
 *
 * Pure: knows no connection and no message; time is an argument.  Drive it so:
 *
 *   peer announced a size    sp_metadata_join (again when it says another)
 *   it may be asked          sp_metadata_ask until false; send each request
 *   data, reject             sp_metadata_got, sp_metadata_rejected
 *   now and then             sp_metadata_tick, then ask again
 *   peer gone                sp_metadata_leave
 *   after got and tick       sp_metadata_liar until false; sp_metadata_is_whole
 *
 * Peers may announce different sizes.  Those of one size work together on one
 * copy.  When the hash of a whole copy is wrong and one peer alone had sent it,
 * he lied; when several had, each peer of that size gets a copy of his own
 * to send, a few at a time, until one is right.  What was sent to the bad copy
 * is then held against the good one.  See docs/core/metadata.md.
 */
#ifndef SP_METADATA_METADATA_H
#define SP_METADATA_METADATA_H

#include "core/base/hash.h"
#include "core/base/mem.h"
#include "core/wire/ut_metadata.h"
#include "spate/err.h"

enum {
    /* Bytes of an info dictionary: as libtorrent takes. */
    SP_METADATA_LEN_MAX = 30 * 1024 * 1024,
    SP_METADATA_ASKS_MAX = 4, /* requests to one peer */
};

struct sp_metadata;
struct sp_metadata_peer; /* one that announced a size */

struct sp_metadata_cfg {
    const struct sp_mem *mem;
    uint8_t info_hash[SP_SHA1_LEN];
    struct sp_hash_key key; /* secret: of fingerprints */
};

SP_MUST_USE enum sp_err sp_metadata_new(const struct sp_metadata_cfg *cfg,
                                        struct sp_metadata **ret_metadata);
/* Also the peers that are in it.  Takes NULL. */
void sp_metadata_free(struct sp_metadata *m);

/* who: what blame is put on, the same for all connections to one address.
 * *peer NULL: it is new, and made.  SP_ELIMIT larger than SP_METADATA_LEN_MAX,
 * or changed its mind too often: of no use   SP_ENOMEM */
SP_MUST_USE enum sp_err sp_metadata_join(struct sp_metadata *m, uint64_t who, uint32_t size,
                                         sp_time_ns now, struct sp_metadata_peer **peer);
/* Frees peer.  Takes NULL. */
void sp_metadata_leave(struct sp_metadata *m, struct sp_metadata_peer *peer);

/* The next piece to ask peer for; false: nothing now. */
bool sp_metadata_ask(struct sp_metadata *m, struct sp_metadata_peer *peer, sp_time_ns now,
                     uint32_t *ret_piece);
/* Requests to it that wait for an answer, those given up not counted. */
uint32_t sp_metadata_asked(const struct sp_metadata_peer *peer);
/* SP_EPROTO  not the length of that piece, or another total_size than it
 *            announced: the peer is broken
 * SP_ENOMEM  asked for again later
 * What was not asked for is passed over. */
SP_MUST_USE enum sp_err sp_metadata_got(struct sp_metadata *m, struct sp_metadata_peer *peer,
                                        uint32_t piece, uint32_t total_size, struct sp_slice data,
                                        sp_time_ns now);
void sp_metadata_rejected(struct sp_metadata *m, struct sp_metadata_peer *peer, uint32_t piece,
                          sp_time_ns now);
/* Requests that were not answered in time go to others. */
void sp_metadata_tick(struct sp_metadata *m, sp_time_ns now);

/* One that is proven to have sent wrong data, once each. */
bool sp_metadata_liar(struct sp_metadata *m, uint64_t *ret_who);

/* The hash is right; no more is asked for. */
bool sp_metadata_is_whole(const struct sp_metadata *m);
/* Bytes of it; of the copy that is furthest while it is not whole, 0: nobody
 * has told.  have: of these that have come. */
uint32_t sp_metadata_size(const struct sp_metadata *m, uint32_t *ret_have_bytes);
/* All of it, to a buffer of sp_metadata_size bytes; only when whole. */
void sp_metadata_copy(const struct sp_metadata *m, uint8_t *to);

/* For tests: NULL, or what does not hold. */
const char *sp_metadata_broken(const struct sp_metadata *m);

#endif
