/* peers.h - the peers that were announced to one node of the DHT.
 *
 * Source: BEP-0005 "announce_peer", BEP-0033 (scrape), BEP-0051 (samples).
 *
 * Limits make it safe to keep what strangers send: so many keys, so many peers
 * of a key, one port for an address, each for SP_DHT_PEER_NS.  As a key fills
 * up, tokens for it are refused more and more often (RED), so that no flooder
 * is the one who takes the last place.  When there are too many keys, the one
 * of a few random ones goes that has the fewest peers and lies farthest from us.
 *
 * Nothing is allocated before the first announce.
 */
#ifndef SP_DHT_PEERS_H
#define SP_DHT_PEERS_H

#include "core/base/map.h"
#include "core/dht/krpc.h"

enum {
    SP_DHT_KEYS_MAX = 2000,
    SP_DHT_KEY_PEERS_MAX = 500,
    SP_DHT_SAMPLES_MAX = 20,
    SP_DHT_SAMPLE_S = 21600, /* BEP-0051: the most that is permissible */
};

/* Clients announce every 15 to 30 minutes. */
#define SP_DHT_PEER_NS (45 * 60 * SP_SECOND_NS)

struct sp_dht_swarm;

struct sp_dht_peers {
    const struct sp_mem *mem;
    struct sp_rng *rng;
    struct sp_hash_key key;
    uint8_t family; /* enum sp_family of all peers */
    struct sp_dht_swarm *swarms;
    uint32_t count, cap;
    struct sp_map map;
    uint32_t expire_at; /* the next swarm to be looked at */
    struct sp_dht_id samples[SP_DHT_SAMPLES_MAX];
    uint32_t sample_count;
    sp_time_ns sampled_at; /* 0: never */
};

/* rng and mem are borrowed until done. */
void sp_dht_peers_init(struct sp_dht_peers *p, const struct sp_mem *mem, struct sp_rng *rng,
                       const struct sp_hash_key *key, enum sp_family family);
void sp_dht_peers_done(struct sp_dht_peers *p);

/* A peer is, or still is, in the swarm of hash.  self decides what goes when
 * there are too many keys.  SP_ELIMIT: the swarm is full.  SP_ENOMEM */
SP_MUST_USE enum sp_err sp_dht_peers_put(struct sp_dht_peers *p, const struct sp_dht_id *self,
                                         const struct sp_dht_id *hash, const struct sp_addr *addr,
                                         bool seed, sp_time_ns now);
/* A token for hash may be given now. */
bool sp_dht_peers_may_grow(struct sp_dht_peers *p, const struct sp_dht_id *hash);
/* At most max of them from a random one on, in compact form; no_seeds: only
 * those that are none (BEP-0033).  The slices point into the store: they last
 * until the next call that changes it. */
uint32_t sp_dht_peers_get(struct sp_dht_peers *p, const struct sp_dht_id *hash, bool no_seeds,
                          struct sp_slice *ret_values, uint32_t max);
/* BEP-0033: fills both filters from the addresses; false: the key is unknown. */
bool sp_dht_peers_scrape(const struct sp_dht_peers *p, const struct sp_dht_id *hash,
                         uint8_t seeds[SP_KRPC_BLOOM_LEN], uint8_t peers[SP_KRPC_BLOOM_LEN]);
/* BEP-0051: the same random keys for SP_DHT_SAMPLE_S.  ret_interval_s: until
 * there are others. */
uint32_t sp_dht_peers_sample(struct sp_dht_peers *p, sp_time_ns now,
                             const struct sp_dht_id **ret_keys, uint32_t *ret_interval_s);
/* Lets go what is too old, a few keys at each call: once a second is enough. */
void sp_dht_peers_tick(struct sp_dht_peers *p, sp_time_ns now);

/* BEP-0033 "Bloom Filters" */
void sp_dht_bloom_add(uint8_t bloom[SP_KRPC_BLOOM_LEN], const uint8_t *ip, size_t ip_len);
/* How many addresses went in, as the text estimates it; in thousandths. */
uint64_t sp_dht_bloom_count_milli(const uint8_t bloom[SP_KRPC_BLOOM_LEN]);

#endif
