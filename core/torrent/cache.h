/* cache.h - blocks kept because a peer is likely to ask for them again: those
 * just written and those just read.
 *
 * Least recently used goes first.  Entries hold a reference on their pool
 * block; whoever needs memory more calls sp_cache_evict.
 *
 * Where peers ask for what nobody asked before, keeping costs more than it
 * gives: each read then goes into memory that has gone cold, instead of into
 * the block that was sent a moment ago.  So it is measured: one piece in
 * SP_CACHE_SAMPLE is always kept, the others only while enough of the sampled
 * ones are found.
 */
#ifndef SP_TORRENT_CACHE_H
#define SP_TORRENT_CACHE_H

#include "core/base/hash.h"
#include "core/base/map.h"
#include "core/pieces/pool.h"

enum { SP_CACHE_SAMPLE = 16 };

struct sp_cache_entry {
    uint32_t torrent, piece, block;
    uint32_t newer, older; /* indices; SP_MAP_NONE ends the chain */
    uint8_t *data;         /* NULL: on the free chain (by newer) */
};

struct sp_cache {
    const struct sp_mem *mem;
    struct sp_pool *pool;
    struct sp_hash_key key;
    struct sp_map map;
    struct sp_cache_entry *entries; /* cap of them */
    uint32_t cap, count, max;
    uint32_t newest, oldest, unused;
    uint64_t hits, misses;
    uint32_t sample_hits, sample_count; /* since pays was last decided */
    bool pays;                          /* all are kept */
};

/* At most max blocks; mem and pool are borrowed. */
void sp_cache_init(struct sp_cache *c, const struct sp_mem *mem, struct sp_pool *pool,
                   const struct sp_hash_key *key, uint32_t max);
void sp_cache_done(struct sp_cache *c);
/* The block with a reference for the caller, or NULL. */
uint8_t *sp_cache_get(struct sp_cache *c, uint32_t torrent, uint32_t piece, uint32_t block);
/* Takes a reference of its own; does nothing when it is in, memory is short, or
 * keeping does not pay. */
void sp_cache_put(struct sp_cache *c, uint32_t torrent, uint32_t piece, uint32_t block,
                  uint8_t *data);
/* Lets the oldest go; false when empty. */
bool sp_cache_evict(struct sp_cache *c);
/* Forgets a torrent's blocks (removed, or checked again). */
void sp_cache_forget(struct sp_cache *c, uint32_t torrent);

#endif
