#include "core/dht/table.h"

#include <assert.h>

/* A node in 32 or 44 bytes.  When it was heard of is told in steps of four
 * seconds modulo 2^16: three days, in which every entry is asked many times. */
struct entry {
    uint8_t id[SP_DHT_ID_LEN];
    uint16_t port, rtt_ms, seen;
    uint8_t fails, flags;
    uint8_t ip[]; /* 4 or 16 */
};
_Static_assert(sizeof(struct entry) == 28, "the table's memory is a promise");

enum { FITS = 1, GROW = 16 };

#define SEEN_STEP_NS (4 * SP_SECOND_NS)

static size_t ip_len(const struct sp_dht_table *t)
{
    return t->family == SP_V4 ? 4 : 16;
}

static size_t stride(const struct sp_dht_table *t)
{
    return sizeof(struct entry) + ip_len(t);
}

static struct entry *at(const struct sp_dht_table *t, uint32_t ix)
{
    return (struct entry *)(void *)(t->entries + ix * stride(t));
}

static struct sp_dht_id id_of(const struct entry *e)
{
    struct sp_dht_id id;
    memcpy(id.b, e->id, sizeof(id.b));
    return id;
}

static struct sp_addr addr_of(const struct sp_dht_table *t, const struct entry *e)
{
    return t->family == SP_V4 ? sp_addr_v4(e->ip, e->port) : sp_addr_v6(e->ip, e->port);
}

static uint16_t moment(sp_time_ns now)
{
    return (uint16_t)(now / SEEN_STEP_NS);
}

static sp_time_ns silent(const struct entry *e, sp_time_ns now)
{
    return (uint16_t)(moment(now) - e->seen) * SEEN_STEP_NS;
}

/* ---- buckets ---- */

static uint32_t room_of(uint32_t bucket)
{
    uint32_t room = bucket < 8 ? (uint32_t)SP_DHT_FIRST_ROOM >> bucket : 0;
    return room > SP_DHT_K ? room : SP_DHT_K;
}

static uint32_t bucket_of(const struct sp_dht_table *t, const struct sp_dht_id *id)
{
    uint32_t bits = sp_dht_id_common(&t->self, id);
    return bits < t->depth ? bits : t->depth - 1;
}

static uint32_t first_of(const struct sp_dht_table *t, uint32_t bucket)
{
    uint32_t ix = 0;
    for (uint32_t b = 0; b < bucket; b++)
        ix += t->in_bucket[b];
    return ix;
}

void sp_dht_table_init(struct sp_dht_table *t, const struct sp_mem *mem,
                       const struct sp_dht_id *self, enum sp_family family)
{
    *t = (struct sp_dht_table){.mem = mem, .self = *self, .family = (uint8_t)family, .depth = 1};
}

void sp_dht_table_done(struct sp_dht_table *t)
{
    sp_mem_free(t->mem, t->entries);
    t->entries = NULL;
    t->count = t->cap = 0;
}

static void take_out(struct sp_dht_table *t, uint32_t ix)
{
    uint32_t bucket = 0, end = t->in_bucket[0];
    while (ix >= end)
        end += t->in_bucket[++bucket];
    t->in_bucket[bucket]--;
    t->count--;
    memmove(at(t, ix), at(t, ix + 1), (t->count - ix) * stride(t));
}

static bool grow(struct sp_dht_table *t)
{
    if (t->count < t->cap)
        return true;
    uint8_t *entries =
        sp_mem_grow(t->mem, t->entries, t->count * stride(t), (t->cap + GROW) * stride(t), 1);
    if (!entries)
        return false;
    t->entries = entries;
    t->cap += GROW;
    return true;
}

/* Room for one more at the end of bucket; NULL when memory is short. */
static struct entry *put_in(struct sp_dht_table *t, uint32_t bucket)
{
    uint32_t ix = first_of(t, bucket) + t->in_bucket[bucket];
    if (!grow(t))
        return NULL;
    memmove(at(t, ix + 1), at(t, ix), (t->count - ix) * stride(t));
    t->in_bucket[bucket]++;
    t->count++;
    return at(t, ix);
}

/* ---- finding ---- */

static uint32_t find_ip(const struct sp_dht_table *t, const struct sp_addr *addr)
{
    bool by_port = sp_addr_scope(addr) != SP_SCOPE_GLOBAL;
    for (uint32_t ix = 0; ix < t->count; ix++) {
        const struct entry *e = at(t, ix);
        if (memcmp(e->ip, addr->ip, ip_len(t)) == 0 && (!by_port || e->port == addr->port))
            return ix;
    }
    return t->count;
}

/* The entry that is c: its address, port and id. */
static struct entry *find(const struct sp_dht_table *t, const struct sp_dht_contact *c)
{
    uint32_t ix = c->addr.family == t->family ? find_ip(t, &c->addr) : t->count;
    if (ix == t->count)
        return NULL;
    struct entry *e = at(t, ix);
    bool same = e->port == c->addr.port && memcmp(e->id, c->id.b, SP_DHT_ID_LEN) == 0;
    return same ? e : NULL;
}

static bool same_net(const struct sp_dht_table *t, const struct entry *e, const struct sp_addr *a)
{
    return memcmp(e->ip, a->ip, t->family == SP_V4 ? 3 : 8) == 0;
}

/* An entry of the bucket from the same network: t->count when there is none. */
static uint32_t neighbour(const struct sp_dht_table *t, uint32_t bucket, const struct sp_addr *a)
{
    uint32_t ix = first_of(t, bucket), end = ix + t->in_bucket[bucket];
    if (sp_addr_scope(a) == SP_SCOPE_GLOBAL) {
        for (; ix < end; ix++) {
            if (same_net(t, at(t, ix), a))
                return ix;
        }
    }
    return t->count;
}

/* How much an entry is worth less than others. */
static uint32_t badness(const struct entry *e)
{
    return e->fails * 0x100000u + (e->flags & FITS ? 0 : 0x10000u) + e->rtt_ms;
}

static uint32_t worst_of(const struct sp_dht_table *t, uint32_t bucket)
{
    uint32_t first = first_of(t, bucket), worst = first;
    for (uint32_t ix = first; ix < first + t->in_bucket[bucket]; ix++) {
        if (badness(at(t, ix)) > badness(at(t, worst)))
            worst = ix;
    }
    return worst;
}

/* The last bucket keeps those that share exactly as many bits as it says; the
 * others make a new last one. */
static bool split(struct sp_dht_table *t)
{
    uint32_t last = t->depth - 1, keep = first_of(t, last), end = t->count;
    uint8_t swap[sizeof(struct entry) + 16];

    if (t->depth == SP_DHT_DEPTH_MAX)
        return false;
    for (uint32_t ix = keep; ix < end; ix++) {
        struct sp_dht_id id = id_of(at(t, ix));
        if (sp_dht_id_common(&t->self, &id) > last)
            continue;
        memcpy(swap, at(t, keep), stride(t));
        memmove(at(t, keep), at(t, ix), stride(t));
        memcpy(at(t, ix), swap, stride(t));
        keep++;
    }
    t->in_bucket[last] = (uint8_t)(keep - first_of(t, last));
    t->in_bucket[last + 1] = (uint8_t)(end - keep);
    t->depth++;
    while (t->in_bucket[last] > room_of(last)) /* rooms shrink from bucket to bucket */
        take_out(t, worst_of(t, last));
    return true;
}

/* In a full bucket ids shall be spread, so that each next bit has a near node:
 * the worst of the slot (three more bits) that new would join, or of a slot
 * that has more than its part.  t->count: all are better. */
static uint32_t to_replace(const struct sp_dht_table *t, uint32_t bucket,
                           const struct sp_dht_contact *c, uint32_t rtt_ms)
{
    uint32_t first = first_of(t, bucket), end = first + t->in_bucket[bucket], worst = t->count;
    uint32_t slots[8] = {0}, most = 0, mine = 0;
    uint32_t slot_of_entry[256];

    for (uint32_t ix = first; ix <= end; ix++) {
        struct sp_dht_id id = ix < end ? id_of(at(t, ix)) : c->id;
        uint32_t slot = 0;
        for (uint32_t bit = bucket + 1; bit <= bucket + 3 && bit < SP_DHT_ID_BITS; bit++)
            slot = slot * 2 + (id.b[bit / 8] >> (7 - bit % 8) & 1);
        if (ix == end) {
            mine = slot;
            break;
        }
        slot_of_entry[ix - first] = slot;
        if (++slots[slot] > most)
            most = slots[slot];
    }
    bool lonely = slots[mine] + 1 < most; /* it would even things out */
    uint32_t own = sp_dht_id_fits(&c->id, &c->addr) ? rtt_ms : 0x10000u + rtt_ms;
    for (uint32_t ix = first; ix < end; ix++) {
        const struct entry *e = at(t, ix);
        uint32_t slot = slot_of_entry[ix - first];
        bool may = e->fails || (lonely ? slots[slot] == most : slot == mine);
        if (may && (worst == t->count || badness(e) > badness(at(t, worst))))
            worst = ix;
    }
    if (worst == t->count || lonely || at(t, worst)->fails)
        return worst;
    return badness(at(t, worst)) > own + own / 4 ? worst : t->count;
}

/* ---- news of nodes ---- */

static void refresh(struct entry *e, uint32_t rtt_ms, sp_time_ns now)
{
    if (rtt_ms > UINT16_MAX)
        rtt_ms = UINT16_MAX;
    e->fails = 0;
    e->seen = moment(now);
    if (rtt_ms == 0)
        return;
    e->rtt_ms = (uint16_t)(e->rtt_ms == 0 ? rtt_ms : (e->rtt_ms * 3u + rtt_ms) / 4);
}

static void fill(const struct sp_dht_table *t, struct entry *e, const struct sp_dht_contact *c,
                 uint32_t rtt_ms, sp_time_ns now)
{
    memset(e, 0, sizeof(*e));
    memcpy(e->id, c->id.b, sizeof(e->id));
    memcpy(e->ip, c->addr.ip, ip_len(t));
    e->port = c->addr.port;
    e->flags = sp_dht_id_fits(&c->id, &c->addr) ? FITS : 0;
    refresh(e, rtt_ms, now);
}

static bool is_ours(const struct sp_dht_table *t, const struct sp_dht_contact *c)
{
    return c->addr.family != t->family || c->addr.port == 0 || sp_dht_id_eq(&c->id, &t->self);
}

/* Where c may go: a bucket with room for it, made by splits and by throwing
 * out whom it replaces. */
static bool make_room(struct sp_dht_table *t, const struct sp_dht_contact *c, uint32_t rtt_ms,
                      uint32_t *ret_bucket)
{
    uint32_t bucket = bucket_of(t, &c->id), near = neighbour(t, bucket, &c->addr);
    if (near < t->count) {
        if (!at(t, near)->fails)
            return false; /* who is there already stays */
        take_out(t, near);
    }
    while (t->in_bucket[bucket] >= room_of(bucket)) {
        if (bucket == t->depth - 1 && split(t)) {
            bucket = bucket_of(t, &c->id);
            continue;
        }
        uint32_t ix = to_replace(t, bucket, c, rtt_ms);
        if (ix == t->count)
            return false;
        take_out(t, ix);
    }
    *ret_bucket = bucket;
    return true;
}

bool sp_dht_table_answered(struct sp_dht_table *t, const struct sp_dht_contact *c, uint32_t rtt_ms,
                           sp_time_ns now)
{
    uint32_t bucket;

    if (is_ours(t, c))
        return false;
    struct entry *e = find(t, c);
    if (e) {
        refresh(e, rtt_ms, now);
        return true;
    }
    uint32_t ix = find_ip(t, &c->addr);
    if (ix < t->count) {
        if (at(t, ix)->port != c->addr.port && !at(t, ix)->fails)
            return false; /* another node behind the same address */
        take_out(t, ix);
    }
    if (!make_room(t, c, rtt_ms, &bucket) || !(e = put_in(t, bucket)))
        return false;
    fill(t, e, c, rtt_ms, now);
    return true;
}

void sp_dht_table_heard(struct sp_dht_table *t, const struct sp_dht_contact *c, sp_time_ns now)
{
    struct entry *e = find(t, c);
    /* BEP-0005: good too is who "has ever responded to one of our queries and
     * has sent us a query within the last 15 minutes". */
    if (e && e->fails == 0)
        e->seen = moment(now);
}

void sp_dht_table_failed(struct sp_dht_table *t, const struct sp_dht_contact *c)
{
    struct entry *e = find(t, c);
    if (!e)
        return;
    if (++e->fails >= SP_DHT_FAILS_MAX || e->rtt_ms == 0)
        take_out(t, find_ip(t, &c->addr));
}

bool sp_dht_table_has(const struct sp_dht_table *t, const struct sp_dht_contact *c)
{
    const struct entry *e = find(t, c);
    return e && e->fails == 0;
}

bool sp_dht_table_wants(const struct sp_dht_table *t, const struct sp_dht_contact *c)
{
    if (is_ours(t, c) || find(t, c) || find_ip(t, &c->addr) < t->count)
        return false;
    uint32_t bucket = bucket_of(t, &c->id), near = neighbour(t, bucket, &c->addr);
    if (near < t->count)
        return at(t, near)->fails > 0;
    return t->in_bucket[bucket] < room_of(bucket) || bucket == t->depth - 1 ||
           to_replace(t, bucket, c, 0) < t->count;
}

void sp_dht_table_set_self(struct sp_dht_table *t, const struct sp_dht_id *self)
{
    struct sp_dht_table old = *t;

    sp_dht_table_init(t, old.mem, self, (enum sp_family)old.family);
    for (uint32_t ix = 0; ix < old.count; ix++) {
        const struct entry *from = at(&old, ix);
        struct sp_dht_contact c = {id_of(from), addr_of(&old, from)};
        uint32_t bucket;
        struct entry *e;
        if (!is_ours(t, &c) && make_room(t, &c, from->rtt_ms, &bucket) &&
            (e = put_in(t, bucket)) != NULL)
            memcpy(e, from, stride(t));
    }
    sp_mem_free(old.mem, old.entries);
}

/* ---- questions ---- */

struct sp_dht_known sp_dht_table_at(const struct sp_dht_table *t, uint32_t ix, sp_time_ns now)
{
    const struct entry *e = at(t, ix);
    assert(ix < t->count);
    return (struct sp_dht_known){
        .contact = {id_of(e), addr_of(t, e)},
        .rtt_ms = e->rtt_ms,
        .silent_ns = silent(e, now),
        .fails = e->fails,
        .fits = e->flags & FITS,
    };
}

uint32_t sp_dht_table_closest(const struct sp_dht_table *t, const struct sp_dht_id *target,
                              struct sp_dht_known *ret, uint32_t max, sp_time_ns now)
{
    uint32_t n = 0;
    for (uint32_t ix = 0; ix < t->count && max > 0; ix++) {
        struct sp_dht_id id = id_of(at(t, ix));
        if (at(t, ix)->fails)
            continue;
        if (n == max && sp_dht_id_cmp(&id, &ret[n - 1].contact.id, target) >= 0)
            continue;
        uint32_t to = n < max ? n++ : n - 1;
        for (; to > 0 && sp_dht_id_cmp(&id, &ret[to - 1].contact.id, target) < 0; to--)
            ret[to] = ret[to - 1];
        ret[to] = sp_dht_table_at(t, ix, now);
    }
    return n;
}

bool sp_dht_table_stalest(const struct sp_dht_table *t, struct sp_dht_known *ret,
                          struct sp_dht_id *ret_target, struct sp_rng *rng, sp_time_ns now)
{
    uint32_t best = t->count;
    for (uint32_t ix = 0; ix < t->count; ix++) {
        if (best == t->count || silent(at(t, ix), now) > silent(at(t, best), now))
            best = ix;
    }
    if (best == t->count)
        return false;
    *ret = sp_dht_table_at(t, best, now);
    uint32_t bucket = bucket_of(t, &ret->contact.id);
    *ret_target = bucket == t->depth - 1 ? t->self : sp_dht_id_near(&t->self, bucket, rng);
    return true;
}

uint32_t sp_dht_table_good(const struct sp_dht_table *t, sp_time_ns now)
{
    uint32_t n = 0;
    for (uint32_t ix = 0; ix < t->count; ix++)
        n += at(t, ix)->fails == 0 && silent(at(t, ix), now) <= SP_DHT_GOOD_NS;
    return n;
}

/* The last bucket holds all nodes that share its bits with us, as far as they
 * were met; each bit doubles what there are. */
uint64_t sp_dht_table_network_size(const struct sp_dht_table *t)
{
    if (t->count == 0)
        return 0;
    uint32_t last = t->depth - 1, deep = t->in_bucket[last];
    if (last > 0)
        return (uint64_t)(deep + t->in_bucket[last - 1] + 1) << (last - 1);
    return deep + 1;
}

const char *sp_dht_table_broken(const struct sp_dht_table *t)
{
    uint32_t ix = 0;
    for (uint32_t b = 0; b < t->depth; b++) {
        /* What a split left in the last one waits for the next. */
        if (t->in_bucket[b] > room_of(b) &&
            (b + 1 < t->depth || b == 0 || t->in_bucket[b] > room_of(b - 1)))
            return "a bucket holds more than it has room for";
        for (uint32_t end = ix + t->in_bucket[b]; ix < end; ix++) {
            struct sp_dht_id id = id_of(at(t, ix));
            struct sp_addr addr = addr_of(t, at(t, ix));
            if (bucket_of(t, &id) != b)
                return "a node is in a bucket that is not its own";
            if (find_ip(t, &addr) != ix)
                return "an address has two entries";
            if (neighbour(t, b, &addr) < ix)
                return "a bucket holds two of one network";
        }
    }
    return ix == t->count && t->count <= t->cap ? NULL : "entries are counted wrong";
}
