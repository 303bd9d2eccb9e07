/* map.h - from a key to a small number (an index into the owner's array).
 *
 * Open addressing with linear probing; the keys live in the owner's array and
 * are compared by its function.  Hashes must be keyed (hash.h): the keys come
 * from strangers.  Iteration is not offered: its order would not be stable.
 */
#ifndef SP_BASE_MAP_H
#define SP_BASE_MAP_H

#include "core/base/mem.h"
#include "spate/err.h"

#define SP_MAP_NONE UINT32_MAX

struct sp_map_slot {
    uint32_t hash;  /* low half of the key's hash */
    uint32_t value; /* SP_MAP_NONE: empty */
};

struct sp_map {
    const struct sp_mem *mem;
    struct sp_map_slot *slots; /* cap of them, a power of two; NULL until the first put */
    uint32_t cap;
    uint32_t count;
};

/* Does the owner's entry ix have this key? */
typedef bool sp_map_is(const void *owner, uint32_t ix, const void *key);

static inline struct sp_map sp_map_of(const struct sp_mem *mem)
{
    return (struct sp_map){.mem = mem};
}

void sp_map_done(struct sp_map *m);
/* The value, or SP_MAP_NONE. */
uint32_t sp_map_find(const struct sp_map *m, uint64_t hash, const void *key, sp_map_is *is,
                     const void *owner);
/* The key must not be in it.  SP_ENOMEM */
SP_MUST_USE enum sp_err sp_map_put(struct sp_map *m, uint64_t hash, uint32_t value);
/* The pair must be in it. */
void sp_map_del(struct sp_map *m, uint64_t hash, uint32_t value);

#endif
