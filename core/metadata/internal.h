/* internal.h - what the files of this room share.
 *
 *   metadata.c  peers, requests, what arrives
 *   copies.c    copies: memory, hashes, verdicts
 */
#ifndef SP_METADATA_INTERNAL_H
#define SP_METADATA_INTERNAL_H

#include "core/base/list.h"
#include "core/base/sha1.h"
#include "core/metadata/metadata.h"

enum {
    SOLO_MAX = 4,                 /* copies that one peer sends alone, at a time */
    FAILED_MAX = 8,               /* bad copies remembered */
    LIARS_MAX = 64,               /* told */
    CHANGES_MAX = 3,              /* sizes that one peer may announce */
    HASH_STEP = 128,              /* pieces hashed in one call: some milliseconds */
    WINDOW = 64,                  /* pieces asked ahead of what has come */
    BYTES_MAX = 64 * 1024 * 1024, /* of all copies together */
};

#define ASK_TIMEOUT_NS (20 * SP_SECOND_NS)
#define IDLE_NS        (60 * SP_SECOND_NS) /* a copy that gets nothing */
#define SOLO_IDLE_NS   (30 * SP_SECOND_NS) /* the same while others wait for their turn */
#define REST_NS        (5 * SP_SECOND_NS)  /* after a refusal; doubled up to 2^5 times */

struct part {
    uint8_t *data; /* NULL: has not come */
    uint64_t from; /* who sent it */
    uint32_t askers;
};

struct copy {
    struct sp_link link;
    uint32_t size, count;          /* bytes; pieces */
    struct sp_metadata_peer *solo; /* he alone sends it; NULL: all of that size */
    struct part *parts;            /* cap of them, grows with what comes */
    uint32_t cap, got, first;      /* first: none is missing before */
    uint32_t peers;
    uint64_t bytes;
    struct sp_sha1 sha;
    uint32_t hashed;
    sp_time_ns progress_at;
};

struct asked {
    uint32_t piece;
    bool late; /* counts as not asked any more */
    sp_time_ns at;
};

struct sp_metadata_peer {
    struct sp_link link;
    uint64_t who;
    uint32_t size, changes;
    struct copy *copy; /* NULL: none yet */
    struct asked asks[SP_METADATA_ASKS_MAX];
    uint32_t ask_count, refusals;
    sp_time_ns rest_until;
};

/* A bad copy that several had sent to. */
struct failed {
    uint32_t size, count;
    uint64_t *from, *prints; /* by piece */
};

struct sp_metadata {
    struct sp_metadata_cfg cfg;
    struct sp_list peers, copies;
    struct copy *whole;
    struct failed failed[FAILED_MAX];
    uint32_t failed_at, solo_count;
    uint64_t bytes;
    uint64_t liars[LIARS_MAX];
    uint32_t liar_count, liar_told;
};

/* The copy that p works on; NULL: its turn has not come, or no memory. */
struct copy *sp_metadata_copy_of(struct sp_metadata *m, struct sp_metadata_peer *p, sp_time_ns now);
/* Room for piece ix; false: no memory. */
bool sp_metadata_reach(struct sp_metadata *m, struct copy *c, uint32_t ix);
/* Copies data in; frees older copies when there is too much. */
enum sp_err sp_metadata_keep(struct sp_metadata *m, struct copy *c, uint32_t piece,
                             struct sp_slice data, uint64_t who, sp_time_ns now);
/* Hashes on; judges a copy that is hashed to its end. */
void sp_metadata_hash(struct sp_metadata *m, struct copy *c);
/* Frees it; its peers have none then. */
void sp_metadata_drop_copy(struct sp_metadata *m, struct copy *c);
/* Requests of p count as not asked. */
void sp_metadata_unask_all(struct sp_metadata_peer *p);
void sp_metadata_let_go(struct sp_metadata *m, struct sp_metadata_peer *p);

#endif
