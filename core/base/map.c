#include "core/base/map.h"

#include <assert.h>

enum { CAP_MIN = 16 };

void sp_map_done(struct sp_map *m)
{
    if (m->mem)
        sp_mem_free(m->mem, m->slots);
    *m = (struct sp_map){.mem = m->mem};
}

uint32_t sp_map_find(const struct sp_map *m, uint64_t hash, const void *key, sp_map_is *is,
                     const void *owner)
{
    uint32_t h = (uint32_t)hash;
    if (m->cap == 0)
        return SP_MAP_NONE;
    for (uint32_t i = h & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        const struct sp_map_slot *s = &m->slots[i];
        if (s->value == SP_MAP_NONE)
            return SP_MAP_NONE;
        if (s->hash == h && is(owner, s->value, key))
            return s->value;
    }
}

static void place(struct sp_map_slot *slots, uint32_t cap, struct sp_map_slot slot)
{
    uint32_t i = slot.hash & (cap - 1);
    while (slots[i].value != SP_MAP_NONE)
        i = (i + 1) & (cap - 1);
    slots[i] = slot;
}

static enum sp_err grow(struct sp_map *m)
{
    uint32_t cap = m->cap ? m->cap * 2 : CAP_MIN;
    struct sp_map_slot *slots = SP_NEW_ARRAY(m->mem, struct sp_map_slot, cap);
    if (!slots)
        return SP_ENOMEM;
    for (uint32_t i = 0; i < cap; i++)
        slots[i].value = SP_MAP_NONE;
    for (uint32_t i = 0; i < m->cap; i++) {
        if (m->slots[i].value != SP_MAP_NONE)
            place(slots, cap, m->slots[i]);
    }
    sp_mem_free(m->mem, m->slots);
    m->slots = slots;
    m->cap = cap;
    return SP_OK;
}

enum sp_err sp_map_put(struct sp_map *m, uint64_t hash, uint32_t value)
{
    assert(value != SP_MAP_NONE);
    if (m->count + 1 > m->cap / 4 * 3) {
        enum sp_err err = grow(m);
        if (err != SP_OK)
            return err;
    }
    place(m->slots, m->cap, (struct sp_map_slot){.hash = (uint32_t)hash, .value = value});
    m->count++;
    return SP_OK;
}

void sp_map_del(struct sp_map *m, uint64_t hash, uint32_t value)
{
    uint32_t mask = m->cap - 1, i = (uint32_t)hash & mask;
    while (m->slots[i].value != value) {
        assert(m->slots[i].value != SP_MAP_NONE);
        i = (i + 1) & mask;
    }
    /* Close the gap: move back what would no longer be found across it. */
    for (uint32_t j = (i + 1) & mask; m->slots[j].value != SP_MAP_NONE; j = (j + 1) & mask) {
        uint32_t home = m->slots[j].hash & mask;
        if (((j - home) & mask) >= ((j - i) & mask)) {
            m->slots[i] = m->slots[j];
            i = j;
        }
    }
    m->slots[i].value = SP_MAP_NONE;
    m->count--;
}
