/* blame.h - who sent the bad block of a piece that failed its hash.
 *
 * A failed piece is remembered as one fingerprint and one sender per block.
 * When the piece later passes, whoever sent a block that differs from the good
 * one is guilty for certain.  A piece that came from one peer needs no waiting.
 * Until there is certainty, trust is counted: a peer in many failed pieces and
 * few good ones is suspected.
 *
 * Peers are 64-bit keys that survive a reconnect (made from the address).
 * Fingerprints are a keyed hash of the block (sp_hash_bytes).
 *
 * Custom: seen in libtorrent (smart_ban, trust points)
 */
#ifndef SP_PICKER_BLAME_H
#define SP_PICKER_BLAME_H

#include "core/base/hash.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "spate/err.h"

enum {
    SP_BLAME_PIECES_MAX = 256,   /* failed attempts remembered; the oldest goes */
    SP_BLAME_BLOCKS_MAX = 65536, /* blocks in them: 1 MiB */
    SP_BLAME_PEERS_MAX = 4096,   /* peers with lost trust; the oldest goes */
    SP_BLAME_FAILED = -2,        /* trust for taking part in a failed piece */
    SP_BLAME_PASSED = 1,         /* ... in a good one; up to 0, where the peer is forgotten */
    SP_BLAME_SUSPECT_AT = -7,    /* no more trust: suspected */
};

struct sp_blame_piece;

struct sp_blame_peer {
    uint64_t key;
    int8_t trust;        /* below 0 */
    uint32_t next, prev; /* by age, 1-based; next also links the free ones */
};

struct sp_blame {
    const struct sp_mem *mem;
    struct sp_hash_key key;
    struct sp_blame_piece *oldest, *newest;
    uint32_t piece_count, block_count; /* remembered */
    struct sp_blame_peer *peers;       /* peer_cap of them */
    uint32_t peer_cap, peer_count, peer_free, peer_oldest, peer_newest;
    struct sp_map by_key;
};

/* Allocates nothing. */
void sp_blame_init(struct sp_blame *b, const struct sp_mem *mem, struct sp_hash_key key);
/* Takes a zeroed one. */
void sp_blame_done(struct sp_blame *b);

/* A piece of n blocks failed; prints[i] and from[i] are block i's.  When all
 * came from one peer, true and ret_guilty: nothing is left to find out.  Out of
 * memory only forgets. */
SP_MUST_USE bool sp_blame_failed(struct sp_blame *b, uint32_t piece, const uint64_t *prints,
                                 const uint64_t *from, uint32_t n, uint64_t *ret_guilty);
/* A piece passed: writes who is guilty of its earlier failures, each once, up
 * to guilty_cap of them, and forgets these failures.  Gives how many.  Cheap
 * when the piece never failed (sp_blame_remembers), but call it for every
 * piece while peers are suspected: passing restores trust.  prints may be NULL
 * when the piece is not remembered. */
uint32_t sp_blame_passed(struct sp_blame *b, uint32_t piece, const uint64_t *prints,
                         const uint64_t *from, uint32_t n, uint64_t *guilty, uint32_t guilty_cap);
/* Whether fingerprints are needed when this piece passes. */
bool sp_blame_remembers(const struct sp_blame *b, uint32_t piece);
/* The piece will not be fetched again (had from elsewhere, not wanted). */
void sp_blame_forget(struct sp_blame *b, uint32_t piece);

/* 0 .. SP_BLAME_SUSPECT_AT or below. */
int sp_blame_trust(const struct sp_blame *b, uint64_t peer);
static inline bool sp_blame_suspect(const struct sp_blame *b, uint64_t peer)
{
    return sp_blame_trust(b, peer) <= SP_BLAME_SUSPECT_AT;
}

#endif
