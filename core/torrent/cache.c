#include "core/torrent/cache.h"

#include <assert.h>

enum {
    DECIDE_AFTER = 1024, /* sampled lookups */
    PAYS_FROM = 16,      /* one hit in so many */
};

struct name {
    uint32_t torrent, piece, block;
};

static uint64_t hash_of(const struct sp_cache *c, const struct name *n)
{
    return sp_hash_bytes(&c->key, n, sizeof(*n));
}

static bool is_name(const void *owner, uint32_t ix, const void *key)
{
    const struct sp_cache_entry *e = &((const struct sp_cache *)owner)->entries[ix];
    const struct name *n = key;
    return e->piece == n->piece && e->block == n->block && e->torrent == n->torrent;
}

static uint32_t find(const struct sp_cache *c, const struct name *n)
{
    return sp_map_find(&c->map, hash_of(c, n), n, is_name, c);
}

void sp_cache_init(struct sp_cache *c, const struct sp_mem *mem, struct sp_pool *pool,
                   const struct sp_hash_key *key, uint32_t max)
{
    *c = (struct sp_cache){.mem = mem,
                           .pool = pool,
                           .key = *key,
                           .map = sp_map_of(mem),
                           .max = max,
                           .pays = true,
                           .newest = SP_MAP_NONE,
                           .oldest = SP_MAP_NONE,
                           .unused = SP_MAP_NONE};
}

void sp_cache_done(struct sp_cache *c)
{
    while (sp_cache_evict(c))
        continue;
    sp_map_done(&c->map);
    sp_mem_free(c->mem, c->entries);
    c->entries = NULL;
    c->cap = 0;
}

static void unchain(struct sp_cache *c, uint32_t ix)
{
    struct sp_cache_entry *e = &c->entries[ix];
    *(e->newer == SP_MAP_NONE ? &c->newest : &c->entries[e->newer].older) = e->older;
    *(e->older == SP_MAP_NONE ? &c->oldest : &c->entries[e->older].newer) = e->newer;
}

static void chain(struct sp_cache *c, uint32_t ix)
{
    struct sp_cache_entry *e = &c->entries[ix];
    e->newer = SP_MAP_NONE;
    e->older = c->newest;
    *(c->newest == SP_MAP_NONE ? &c->oldest : &c->entries[c->newest].newer) = ix;
    c->newest = ix;
}

static void drop(struct sp_cache *c, uint32_t ix)
{
    struct sp_cache_entry *e = &c->entries[ix];
    struct name n = {e->torrent, e->piece, e->block};
    sp_map_del(&c->map, hash_of(c, &n), ix);
    unchain(c, ix);
    sp_pool_put(c->pool, e->data);
    e->data = NULL;
    e->newer = c->unused;
    c->unused = ix;
    c->count--;
}

static bool is_sampled(const struct name *n)
{
    return (n->piece * UINT32_C(2654435769)) >> 16 < 65536 / SP_CACHE_SAMPLE;
}

static void judge(struct sp_cache *c, bool hit)
{
    c->sample_hits += hit;
    if (++c->sample_count < DECIDE_AFTER)
        return;
    c->pays = c->sample_hits >= DECIDE_AFTER / PAYS_FROM;
    c->sample_hits = c->sample_count = 0;
}

uint8_t *sp_cache_get(struct sp_cache *c, uint32_t torrent, uint32_t piece, uint32_t block)
{
    struct name n = {torrent, piece, block};
    uint32_t ix = find(c, &n);
    if (is_sampled(&n))
        judge(c, ix != SP_MAP_NONE);
    if (ix == SP_MAP_NONE) {
        c->misses++;
        return NULL;
    }
    c->hits++;
    unchain(c, ix);
    chain(c, ix);
    sp_pool_ref(c->pool, c->entries[ix].data);
    return c->entries[ix].data;
}

/* An entry on the free chain, making more of them up to max. */
static bool make_room(struct sp_cache *c)
{
    if (c->unused != SP_MAP_NONE)
        return true;
    if (c->cap == c->max)
        return sp_cache_evict(c);

    uint32_t cap = c->cap ? c->cap * 2 : 64;
    if (cap > c->max)
        cap = c->max;
    struct sp_cache_entry *entries =
        sp_mem_grow(c->mem, c->entries, c->cap, cap, sizeof(*c->entries));
    if (!entries)
        return sp_cache_evict(c);
    for (uint32_t ix = cap; ix-- > c->cap;) {
        entries[ix].newer = c->unused;
        c->unused = ix;
    }
    c->entries = entries;
    c->cap = cap;
    return true;
}

void sp_cache_put(struct sp_cache *c, uint32_t torrent, uint32_t piece, uint32_t block,
                  uint8_t *data)
{
    struct name n = {torrent, piece, block};
    if (!c->pays) {
        if (!is_sampled(&n))
            return;
        /* The sample has the room that it would have among all. */
        while (c->count > c->max / SP_CACHE_SAMPLE)
            (void)sp_cache_evict(c);
    }
    if (c->max == 0 || find(c, &n) != SP_MAP_NONE || !make_room(c))
        return;
    uint32_t ix = c->unused;
    if (sp_map_put(&c->map, hash_of(c, &n), ix) != SP_OK)
        return;
    c->unused = c->entries[ix].newer;
    c->entries[ix] =
        (struct sp_cache_entry){.torrent = torrent, .piece = piece, .block = block, .data = data};
    sp_pool_ref(c->pool, data);
    chain(c, ix);
    c->count++;
}

bool sp_cache_evict(struct sp_cache *c)
{
    if (c->oldest == SP_MAP_NONE)
        return false;
    drop(c, c->oldest);
    return true;
}

void sp_cache_forget(struct sp_cache *c, uint32_t torrent)
{
    for (uint32_t ix = 0; ix < c->cap; ix++) {
        if (c->entries[ix].data && c->entries[ix].torrent == torrent)
            drop(c, ix);
    }
}
