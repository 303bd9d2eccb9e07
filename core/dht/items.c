#include "core/dht/items.h"

#include "core/base/sha1.h"

enum { TRIES = 8, TICK_ITEMS = 16 };

/* ---- an item ---- */

static struct sp_slice salt_of(const struct sp_dht_item *item)
{
    return (struct sp_slice){item->salt, item->salt_len};
}

static struct sp_slice value_of(const struct sp_dht_item *item)
{
    return (struct sp_slice){item->v, item->v_len};
}

struct sp_dht_id sp_dht_item_target(const struct sp_dht_item *item)
{
    struct sp_dht_id target;
    struct sp_sha1 s;
    sp_sha1_init(&s);
    if (item->is_mutable) {
        /* BEP-0044: "This string is appended to the key, as specified in the k
         * field, when calculating the key to store the blob under" */
        sp_sha1_add(&s, item->key, sizeof(item->key));
        sp_sha1_add(&s, item->salt, item->salt_len);
    } else {
        sp_sha1_add(&s, item->v, item->v_len);
    }
    sp_sha1_end(&s, target.b);
    return target;
}

bool sp_dht_item_of(const struct sp_krpc *msg, struct sp_slice salt, struct sp_dht_item *ret_item)
{
    struct sp_dht_item item = {.is_mutable = msg->key.len > 0};
    if (msg->v.len == 0 || salt.len > SP_KRPC_SALT_MAX)
        return false;
    if (item.is_mutable && (msg->sig.len == 0 || !msg->has_seq))
        return false;
    item.v_len = (uint16_t)msg->v.len;
    memcpy(item.v, msg->v.ptr, msg->v.len);
    if (item.is_mutable) {
        memcpy(item.key, msg->key.ptr, sizeof(item.key));
        memcpy(item.sig, msg->sig.ptr, sizeof(item.sig));
        item.seq = msg->seq;
        item.salt_len = (uint8_t)salt.len;
        if (salt.len)
            memcpy(item.salt, salt.ptr, salt.len);
    }
    *ret_item = item;
    return true;
}

bool sp_dht_item_is_signed(const struct sp_dht_item *item, sp_dht_verify *verify, void *ctx)
{
    uint8_t text[SP_KRPC_SIGNED_MAX];
    if (!item->is_mutable)
        return true;
    size_t len = sp_krpc_signed(salt_of(item), item->seq, value_of(item), text);
    return verify && verify(ctx, item->key, item->sig, (struct sp_slice){text, len});
}

/* ---- the store ---- */

static bool is_target(const void *owner, uint32_t ix, const void *key)
{
    const struct sp_dht_items *s = owner;
    return sp_dht_id_eq(&s->stored[ix]->target, key);
}

static uint64_t hash_of(const struct sp_dht_items *s, const struct sp_dht_id *target)
{
    return sp_hash_bytes(&s->hash_key, target->b, sizeof(target->b));
}

static uint32_t find(const struct sp_dht_items *s, const struct sp_dht_id *target)
{
    return sp_map_find(&s->map, hash_of(s, target), target, is_target, s);
}

void sp_dht_items_init(struct sp_dht_items *s, const struct sp_mem *mem, struct sp_rng *rng,
                       const struct sp_hash_key *key)
{
    *s = (struct sp_dht_items){.mem = mem, .rng = rng, .hash_key = *key};
    s->map = sp_map_of(mem);
}

void sp_dht_items_done(struct sp_dht_items *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        sp_mem_free(s->mem, s->stored[i]);
    sp_mem_free(s->mem, s->stored);
    sp_map_done(&s->map);
    s->stored = NULL;
    s->count = s->cap = 0;
}

const struct sp_dht_item *sp_dht_items_get(const struct sp_dht_items *s,
                                           const struct sp_dht_id *target)
{
    uint32_t ix = find(s, target);
    return ix == SP_MAP_NONE ? NULL : &s->stored[ix]->item;
}

/* Only as much as the value needs: most are far shorter than they may be. */
static struct sp_dht_stored *keep(const struct sp_dht_items *s, const struct sp_dht_id *target,
                                  const struct sp_dht_item *item, sp_time_ns now)
{
    size_t head = offsetof(struct sp_dht_stored, item) + offsetof(struct sp_dht_item, v);
    struct sp_dht_stored *st = sp_mem_alloc(s->mem, head + item->v_len, 1);
    if (!st)
        return NULL;
    st->target = *target;
    st->put_at = now;
    memcpy(&st->item, item, offsetof(struct sp_dht_item, v) + item->v_len);
    return st;
}

static void forget(struct sp_dht_items *s, uint32_t ix)
{
    uint32_t last = s->count - 1;
    sp_map_del(&s->map, hash_of(s, &s->stored[ix]->target), ix);
    sp_mem_free(s->mem, s->stored[ix]);
    if (ix != last) {
        uint64_t hash = hash_of(s, &s->stored[last]->target);
        sp_map_del(&s->map, hash, last);
        s->stored[ix] = s->stored[last];
        if (sp_map_put(&s->map, hash, ix) != SP_OK)
            assert(false && "a put after a delete needs no memory");
    }
    s->count--;
}

/* The one of a few random ones that lies farthest from us. */
static void evict(struct sp_dht_items *s, const struct sp_dht_id *self)
{
    uint32_t worst = (uint32_t)sp_rng_below(s->rng, s->count);
    for (int i = 1; i < TRIES; i++) {
        uint32_t ix = (uint32_t)sp_rng_below(s->rng, s->count);
        if (sp_dht_id_cmp(&s->stored[ix]->target, &s->stored[worst]->target, self) > 0)
            worst = ix;
    }
    forget(s, worst);
}

static bool enter(struct sp_dht_items *s, struct sp_dht_stored *st)
{
    if (s->count == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 4;
        struct sp_dht_stored **stored =
            sp_mem_grow(s->mem, s->stored, s->count, cap, sizeof(struct sp_dht_stored *));
        if (!stored)
            return false;
        s->stored = stored;
        s->cap = cap;
    }
    s->stored[s->count] = st;
    if (sp_map_put(&s->map, hash_of(s, &st->target), s->count) != SP_OK)
        return false;
    s->count++;
    return true;
}

static bool same_value(const struct sp_dht_item *a, const struct sp_dht_item *b)
{
    return a->v_len == b->v_len && memcmp(a->v, b->v, a->v_len) == 0;
}

/* BEP-0044: "Storing nodes receiving a put request where seq is lower than or
 * equal to what's already stored on the node, MUST reject the request.  If the
 * sequence number is equal, and the value is also the same, the node SHOULD
 * reset its timeout counter." */
static int replace(struct sp_dht_items *s, uint32_t ix, const struct sp_dht_item *item,
                   bool has_cas, int64_t cas, sp_time_ns now)
{
    struct sp_dht_stored *old = s->stored[ix];
    if (has_cas && item->is_mutable && cas != old->item.seq)
        return SP_KRPC_E_CAS;
    if (!item->is_mutable || (item->seq == old->item.seq && same_value(item, &old->item))) {
        old->put_at = now;
        return 0;
    }
    if (item->seq <= old->item.seq)
        return SP_KRPC_E_SEQ;
    struct sp_dht_stored *st = keep(s, &old->target, item, now);
    if (!st)
        return SP_KRPC_E_SERVER;
    s->stored[ix] = st;
    sp_mem_free(s->mem, old);
    return 0;
}

int sp_dht_items_put(struct sp_dht_items *s, const struct sp_dht_id *self,
                     const struct sp_dht_item *item, bool has_cas, int64_t cas, sp_time_ns now)
{
    struct sp_dht_id target = sp_dht_item_target(item);
    uint32_t ix = find(s, &target);
    if (ix != SP_MAP_NONE)
        return replace(s, ix, item, has_cas, cas, now);
    if (s->count == SP_DHT_ITEMS_MAX)
        evict(s, self);
    struct sp_dht_stored *st = keep(s, &target, item, now);
    if (st && enter(s, st))
        return 0;
    sp_mem_free(s->mem, st);
    return SP_KRPC_E_SERVER;
}

void sp_dht_items_tick(struct sp_dht_items *s, sp_time_ns now)
{
    for (uint32_t n = 0; n < TICK_ITEMS && s->count; n++) {
        uint32_t ix = s->expire_at++ % s->count;
        if (now - s->stored[ix]->put_at > SP_DHT_ITEM_NS)
            forget(s, ix);
    }
}
