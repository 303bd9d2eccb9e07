#include "core/dht/peers.h"

#include "core/base/sha1.h"

enum { RED_FROM = SP_DHT_KEY_PEERS_MAX * 6 / 10, TRIES = 8, TICK_KEYS = 16 };

/* Of a peer: when it announced, in steps of four seconds modulo 2^16. */
struct peer {
    uint16_t seen;
    uint8_t seed;
    uint8_t compact[]; /* 6 or 18 */
};

struct sp_dht_swarm {
    struct sp_dht_id hash;
    uint8_t *peers; /* cap of stride bytes */
    uint32_t count, cap;
};

#define SEEN_STEP_NS (4 * SP_SECOND_NS)

static size_t compact_len(const struct sp_dht_peers *p)
{
    return p->family == SP_V4 ? SP_COMPACT4_LEN : SP_COMPACT6_LEN;
}

static size_t stride(const struct sp_dht_peers *p)
{
    return sizeof(struct peer) + compact_len(p);
}

static struct peer *peer_at(const struct sp_dht_peers *p, const struct sp_dht_swarm *s, uint32_t ix)
{
    return (struct peer *)(void *)(s->peers + ix * stride(p));
}

static uint16_t moment(sp_time_ns now)
{
    return (uint16_t)(now / SEEN_STEP_NS);
}

/* ---- keys ---- */

static bool is_hash(const void *owner, uint32_t ix, const void *key)
{
    return sp_dht_id_eq(&((const struct sp_dht_swarm *)owner)[ix].hash, key);
}

static uint64_t hash_of(const struct sp_dht_peers *p, const struct sp_dht_id *hash)
{
    return sp_hash_bytes(&p->key, hash->b, sizeof(hash->b));
}

static struct sp_dht_swarm *find(const struct sp_dht_peers *p, const struct sp_dht_id *hash)
{
    uint32_t ix = sp_map_find(&p->map, hash_of(p, hash), hash, is_hash, p->swarms);
    return ix == SP_MAP_NONE ? NULL : &p->swarms[ix];
}

void sp_dht_peers_init(struct sp_dht_peers *p, const struct sp_mem *mem, struct sp_rng *rng,
                       const struct sp_hash_key *key, enum sp_family family)
{
    *p = (struct sp_dht_peers){.mem = mem, .rng = rng, .key = *key, .family = (uint8_t)family};
    p->map = sp_map_of(mem);
}

void sp_dht_peers_done(struct sp_dht_peers *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        sp_mem_free(p->mem, p->swarms[i].peers);
    sp_mem_free(p->mem, p->swarms);
    sp_map_done(&p->map);
    p->swarms = NULL;
    p->count = p->cap = 0;
}

static void forget(struct sp_dht_peers *p, uint32_t ix)
{
    uint32_t last = p->count - 1;
    sp_map_del(&p->map, hash_of(p, &p->swarms[ix].hash), ix);
    sp_mem_free(p->mem, p->swarms[ix].peers);
    if (ix != last) {
        uint64_t hash = hash_of(p, &p->swarms[last].hash);
        sp_map_del(&p->map, hash, last);
        p->swarms[ix] = p->swarms[last];
        if (sp_map_put(&p->map, hash, ix) != SP_OK)
            assert(false && "a put after a delete needs no memory");
    }
    p->count--;
}

static void evict(struct sp_dht_peers *p, const struct sp_dht_id *self)
{
    uint32_t worst = (uint32_t)sp_rng_below(p->rng, p->count);
    for (int i = 1; i < TRIES; i++) {
        uint32_t ix = (uint32_t)sp_rng_below(p->rng, p->count);
        const struct sp_dht_swarm *a = &p->swarms[ix], *b = &p->swarms[worst];
        if (a->count < b->count ||
            (a->count == b->count && sp_dht_id_cmp(&a->hash, &b->hash, self) > 0))
            worst = ix;
    }
    forget(p, worst);
}

static struct sp_dht_swarm *enter(struct sp_dht_peers *p, const struct sp_dht_id *self,
                                  const struct sp_dht_id *hash)
{
    if (p->count == SP_DHT_KEYS_MAX)
        evict(p, self);
    if (p->count == p->cap) {
        uint32_t cap = p->cap ? p->cap * 2 : 4;
        struct sp_dht_swarm *swarms =
            sp_mem_grow(p->mem, p->swarms, p->count, cap, sizeof(*p->swarms));
        if (!swarms)
            return NULL;
        p->swarms = swarms;
        p->cap = cap;
    }
    if (sp_map_put(&p->map, hash_of(p, hash), p->count) != SP_OK)
        return NULL;
    p->swarms[p->count] = (struct sp_dht_swarm){.hash = *hash};
    return &p->swarms[p->count++];
}

/* ---- peers of a key ---- */

static struct peer *add(struct sp_dht_peers *p, struct sp_dht_swarm *s)
{
    if (s->count == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 2;
        if (cap > SP_DHT_KEY_PEERS_MAX)
            cap = SP_DHT_KEY_PEERS_MAX;
        uint8_t *peers = sp_mem_grow(p->mem, s->peers, s->count * stride(p), cap * stride(p), 1);
        if (!peers)
            return NULL;
        s->peers = peers;
        s->cap = cap;
    }
    return peer_at(p, s, s->count++);
}

/* BEP-0033: "the storing node should store only one entry" for an address. */
static struct peer *same_ip(const struct sp_dht_peers *p, const struct sp_dht_swarm *s,
                            const struct sp_addr *addr)
{
    bool by_port = sp_addr_scope(addr) != SP_SCOPE_GLOBAL;
    uint8_t compact[SP_COMPACT6_LEN];
    size_t len = sp_addr_compact(addr, compact) - (by_port ? 0 : 2);
    for (uint32_t i = 0; i < s->count; i++) {
        struct peer *q = peer_at(p, s, i);
        if (memcmp(q->compact, compact, len) == 0)
            return q;
    }
    return NULL;
}

enum sp_err sp_dht_peers_put(struct sp_dht_peers *p, const struct sp_dht_id *self,
                             const struct sp_dht_id *hash, const struct sp_addr *addr, bool seed,
                             sp_time_ns now)
{
    struct sp_dht_swarm *s = find(p, hash);
    if (addr->family != p->family)
        return SP_EINVAL;
    if (!s && !(s = enter(p, self, hash)))
        return SP_ENOMEM;
    struct peer *q = same_ip(p, s, addr);
    if (!q && s->count == SP_DHT_KEY_PEERS_MAX)
        return SP_ELIMIT;
    if (!q && !(q = add(p, s))) {
        if (s->count == 0)
            forget(p, (uint32_t)(s - p->swarms));
        return SP_ENOMEM;
    }
    q->seen = moment(now);
    q->seed = seed;
    (void)sp_addr_compact(addr, q->compact);
    return SP_OK;
}

bool sp_dht_peers_may_grow(struct sp_dht_peers *p, const struct sp_dht_id *hash)
{
    const struct sp_dht_swarm *s = find(p, hash);
    if (!s || s->count < RED_FROM)
        return true;
    return sp_rng_below(p->rng, SP_DHT_KEY_PEERS_MAX - RED_FROM) >= s->count - RED_FROM;
}

uint32_t sp_dht_peers_get(struct sp_dht_peers *p, const struct sp_dht_id *hash, bool no_seeds,
                          struct sp_slice *ret_values, uint32_t max)
{
    const struct sp_dht_swarm *s = find(p, hash);
    uint32_t n = 0;
    if (!s || s->count == 0)
        return 0;
    uint32_t from = (uint32_t)sp_rng_below(p->rng, s->count);
    for (uint32_t i = 0; i < s->count && n < max; i++) {
        const struct peer *q = peer_at(p, s, (from + i) % s->count);
        if (!no_seeds || !q->seed)
            ret_values[n++] = (struct sp_slice){q->compact, compact_len(p)};
    }
    return n;
}

bool sp_dht_peers_scrape(const struct sp_dht_peers *p, const struct sp_dht_id *hash,
                         uint8_t seeds[SP_KRPC_BLOOM_LEN], uint8_t peers[SP_KRPC_BLOOM_LEN])
{
    const struct sp_dht_swarm *s = find(p, hash);
    memset(seeds, 0, SP_KRPC_BLOOM_LEN);
    memset(peers, 0, SP_KRPC_BLOOM_LEN);
    if (!s)
        return false;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct peer *q = peer_at(p, s, i);
        sp_dht_bloom_add(q->seed ? seeds : peers, q->compact, compact_len(p) - 2);
    }
    return true;
}

/* ---- samples ---- */

uint32_t sp_dht_peers_sample(struct sp_dht_peers *p, sp_time_ns now,
                             const struct sp_dht_id **ret_keys, uint32_t *ret_interval_s)
{
    sp_time_ns span = SP_DHT_SAMPLE_S * SP_SECOND_NS;
    /* As long as all keys fit, or did, there is nothing to hold back. */
    if (!p->sampled_at || now - p->sampled_at >= span || p->count <= SP_DHT_SAMPLES_MAX ||
        p->sample_count < SP_DHT_SAMPLES_MAX) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < p->count; i++) { /* a reservoir */
            uint32_t to = n < SP_DHT_SAMPLES_MAX ? n++ : (uint32_t)sp_rng_below(p->rng, i + 1);
            if (to < SP_DHT_SAMPLES_MAX)
                p->samples[to] = p->swarms[i].hash;
        }
        p->sample_count = n;
        p->sampled_at = now ? now : 1;
    }
    sp_time_ns left = p->sampled_at + span > now ? p->sampled_at + span - now : 0;
    *ret_interval_s = p->count > SP_DHT_SAMPLES_MAX ? (uint32_t)(left / SP_SECOND_NS) : 0;
    *ret_keys = p->samples;
    return p->sample_count;
}

/* ---- time ---- */

static void drop_old(struct sp_dht_peers *p, struct sp_dht_swarm *s, sp_time_ns now)
{
    for (uint32_t i = 0; i < s->count;) {
        struct peer *q = peer_at(p, s, i);
        if ((uint16_t)(moment(now) - q->seen) * SEEN_STEP_NS <= SP_DHT_PEER_NS) {
            i++;
            continue;
        }
        if (i != --s->count)
            memcpy(q, peer_at(p, s, s->count), stride(p));
    }
}

void sp_dht_peers_tick(struct sp_dht_peers *p, sp_time_ns now)
{
    for (uint32_t n = 0; n < TICK_KEYS && n < p->count; n++) {
        uint32_t ix = p->expire_at++ % p->count;
        drop_old(p, &p->swarms[ix], now);
        if (p->swarms[ix].count == 0)
            forget(p, ix);
    }
}

/* ---- BEP-0033 ---- */

void sp_dht_bloom_add(uint8_t bloom[SP_KRPC_BLOOM_LEN], const uint8_t *ip, size_t ip_len)
{
    uint8_t h[SP_SHA1_LEN];
    sp_sha1_of(ip, ip_len, h);
    /* BEP-0033: "int index1 = hash[0] | hash[1] << 8", "index1 %= m" */
    for (int i = 0; i < 4; i += 2) {
        uint32_t bit = (h[i] | (uint32_t)h[i + 1] << 8) % (SP_KRPC_BLOOM_LEN * 8);
        bloom[bit / 8] |= (uint8_t)(1 << bit % 8);
    }
}

/* Thousandths of ln(2048 / zeros) / (2 * ln(2048 / 2047)), with no function of
 * the mathematical library: the logarithm is a sum of 1 / n, which for these
 * numbers is the integral to six digits by the midpoint of each step. */
uint64_t sp_dht_bloom_count_milli(const uint8_t bloom[SP_KRPC_BLOOM_LEN])
{
    const uint32_t m = SP_KRPC_BLOOM_LEN * 8;
    uint32_t ones = 0;
    for (uint32_t i = 0; i < SP_KRPC_BLOOM_LEN; i++)
        ones += (uint32_t)__builtin_popcount(bloom[i]);
    /* BEP-0033: "c = min(m-1,countZeroBits(bloom))" */
    uint32_t zeros = m - ones < m - 1 ? m - ones : m - 1;
    double ln = 0, step = 1 / (m - 0.5);
    for (uint32_t n = zeros ? zeros : 1; n < m; n++)
        ln += 1 / (n + 0.5);
    return (uint64_t)(ln / (2 * step) * 1000 + 0.5);
}
