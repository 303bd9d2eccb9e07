/* table.h - the nodes that one node of the DHT knows.
 *
 * Source: BEP-0005 "Routing Table", BEP-0032 (one table per family), BEP-0042.
 *
 * Buckets by how many bits an id shares with ours; the last one holds all that
 * share more and is split when it is full.  The first buckets are larger than
 * eight: half of all lookups begin in the first, a quarter in the second, and
 * begin the nearer the more is known there.
 *
 *   bucket   0   1   2   3   4 ...
 *   room    64  32  16   8   8 ...
 *
 * - Only who answered us gets in; a query proves nothing about who sent it.
 * - One entry for an address; in a bucket one for a /24 (IPv4) or /64 (IPv6).
 *   Addresses that are none of the internet are exempt.
 * - Who fails keeps its place as long as nobody else wants it, up to
 *   SP_DHT_FAILS_MAX times in a row; who never fails is hard to push out.
 *
 * Memory: 32 bytes for an IPv4 node, 44 for an IPv6 one, in one array.
 */
#ifndef SP_DHT_TABLE_H
#define SP_DHT_TABLE_H

#include "core/base/mem.h"
#include "core/dht/id.h"

enum {
    SP_DHT_K = 8,
    SP_DHT_FIRST_ROOM = 64, /* of bucket 0; halved from bucket to bucket down to K */
    SP_DHT_FAILS_MAX = 20,
    SP_DHT_DEPTH_MAX = 40, /* buckets: far more than any network needs */
};

/* BEP-0005: "After 15 minutes of inactivity, a node becomes questionable." */
#define SP_DHT_GOOD_NS (15 * 60 * SP_SECOND_NS)

struct sp_dht_contact {
    struct sp_dht_id id;
    struct sp_addr addr;
};

/* A node as the table tells of it. */
struct sp_dht_known {
    struct sp_dht_contact contact;
    uint32_t rtt_ms;      /* smoothed; 0: not measured (loaded from saved state) */
    sp_time_ns silent_ns; /* since it answered; rounded to seconds */
    uint8_t fails;        /* in a row */
    bool fits;            /* its id is one its address may have */
};

struct sp_dht_table {
    const struct sp_mem *mem;
    struct sp_dht_id self;
    uint8_t family; /* enum sp_family: all addresses are of it */
    uint8_t *entries;
    uint32_t count, cap; /* of entries, bucket after bucket */
    uint32_t depth;      /* buckets, >= 1 */
    uint8_t in_bucket[SP_DHT_DEPTH_MAX];
};

void sp_dht_table_init(struct sp_dht_table *t, const struct sp_mem *mem,
                       const struct sp_dht_id *self, enum sp_family family);
void sp_dht_table_done(struct sp_dht_table *t);
/* Another id of ours: entries are sorted anew, those without room go. */
void sp_dht_table_set_self(struct sp_dht_table *t, const struct sp_dht_id *self);

/* c answered a query of ours after rtt_ms (0: was saved as good by an earlier
 * run).  True when it is in the table afterwards.  Who answers under another id
 * than the one listed for its address loses its place. */
bool sp_dht_table_answered(struct sp_dht_table *t, const struct sp_dht_contact *c, uint32_t rtt_ms,
                           sp_time_ns now);
/* It sent a query: it lives, if it is known. */
void sp_dht_table_heard(struct sp_dht_table *t, const struct sp_dht_contact *c, sp_time_ns now);
/* It did not answer. */
void sp_dht_table_failed(struct sp_dht_table *t, const struct sp_dht_contact *c);

/* c is in it, and answered when it was last asked. */
bool sp_dht_table_has(const struct sp_dht_table *t, const struct sp_dht_contact *c);
/* Would an answer of it find a place?  So that no ping is wasted. */
bool sp_dht_table_wants(const struct sp_dht_table *t, const struct sp_dht_contact *c);

/* The nodes nearest to target, nearest first; those that failed last are left
 * out.  Gives how many, at most max. */
uint32_t sp_dht_table_closest(const struct sp_dht_table *t, const struct sp_dht_id *target,
                              struct sp_dht_known *ret, uint32_t max, sp_time_ns now);
/* The one that was silent longest: to be asked next; false when empty.
 * ret_target: what to ask it for, so that its answer fills its bucket. */
bool sp_dht_table_stalest(const struct sp_dht_table *t, struct sp_dht_known *ret,
                          struct sp_dht_id *ret_target, struct sp_rng *rng, sp_time_ns now);
struct sp_dht_known sp_dht_table_at(const struct sp_dht_table *t, uint32_t ix, sp_time_ns now);
/* Nodes that answered within SP_DHT_GOOD_NS. */
uint32_t sp_dht_table_good(const struct sp_dht_table *t, sp_time_ns now);
/* Nodes that the whole network has, from how dense it is around us; 0: unknown. */
uint64_t sp_dht_table_network_size(const struct sp_dht_table *t);

/* Invariants, for tests: NULL, or the broken one. */
const char *sp_dht_table_broken(const struct sp_dht_table *t);

#endif
