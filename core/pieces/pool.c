#include "core/pieces/pool.h"

#include <assert.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define POOL_ASAN 1
#endif

#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#define HIDE(ptr, len) __asan_poison_memory_region((ptr), (len))
#define SHOW(ptr, len) __asan_unpoison_memory_region((ptr), (len))
#else
#define HIDE(ptr, len) ((void)(ptr), (void)(len))
#define SHOW(ptr, len) ((void)(ptr), (void)(len))
#endif

#define NONE UINT32_MAX

/* The first SP_BLOCK_LEN bytes of a slab.  Links live here and not in the free
 * blocks, so that a stray write into a block cannot break the list. */
struct sp_pool_slab {
    void *raw;      /* what the allocator gave */
    uint32_t index; /* place in pool->slabs */
    uint32_t used;  /* blocks with references */
    struct {
        uint32_t refs;
        uint32_t next; /* free blocks: the number of the next one */
    } block[SP_SLAB_BLOCKS];
};

_Static_assert(sizeof(struct sp_pool_slab) <= SP_BLOCK_LEN, "the header takes one block's place");

static struct sp_pool_slab *slab_of(const uint8_t *block, uint32_t *ret_ix)
{
    uintptr_t at = (uintptr_t)block, base = at & ~((uintptr_t)SP_SLAB_LEN - 1);

    assert((at - base) % SP_BLOCK_LEN == 0 && at - base >= SP_BLOCK_LEN);
    *ret_ix = (uint32_t)((at - base) / SP_BLOCK_LEN) - 1;
    return (struct sp_pool_slab *)base;
}

static uint8_t *block_at(struct sp_pool_slab *slab, uint32_t ix)
{
    return (uint8_t *)slab + (size_t)(ix + 1) * SP_BLOCK_LEN;
}

struct budget {
    uint32_t block_max, slab_max;
};

static enum sp_err budget_of(uint64_t bytes, struct budget *ret_budget)
{
    uint64_t slabs = bytes / SP_SLAB_LEN, blocks = bytes / SP_BLOCK_LEN;

    if (blocks == 0 || blocks >= NONE)
        return SP_EINVAL;
    if (slabs == 0)
        slabs = 1;
    if (blocks > slabs * SP_SLAB_BLOCKS)
        blocks = slabs * SP_SLAB_BLOCKS;
    *ret_budget = (struct budget){.block_max = (uint32_t)blocks, .slab_max = (uint32_t)slabs};
    return SP_OK;
}

enum sp_err sp_pool_init(struct sp_pool *pool, const struct sp_mem *mem, uint64_t budget_bytes)
{
    struct budget budget;
    enum sp_err err = budget_of(budget_bytes, &budget);

    if (err != SP_OK)
        return err;
    struct sp_pool_slab **slabs = SP_NEW_ARRAY(mem, struct sp_pool_slab *, budget.slab_max);
    if (!slabs)
        return SP_ENOMEM;
    *pool = (struct sp_pool){.mem = mem,
                             .block_max = budget.block_max,
                             .slab_max = budget.slab_max,
                             .slab_cap = budget.slab_max,
                             .free_head = NONE,
                             .slabs = slabs};
    return SP_OK;
}

static void free_slab(struct sp_pool *pool, struct sp_pool_slab *slab)
{
    void *raw = slab->raw;

    pool->slabs[slab->index] = NULL;
    pool->slab_count--;
    SHOW(slab, SP_SLAB_LEN);
    sp_mem_free(pool->mem, raw);
}

void sp_pool_done(struct sp_pool *pool)
{
    if (!pool->mem)
        return;
    assert(pool->used == 0);
    for (uint32_t i = 0; i < pool->slab_cap; i++)
        if (pool->slabs[i])
            free_slab(pool, pool->slabs[i]);
    sp_mem_free(pool->mem, pool->slabs);
    *pool = (struct sp_pool){0};
}

enum sp_err sp_pool_resize(struct sp_pool *pool, uint64_t budget_bytes)
{
    struct budget budget;
    enum sp_err err = budget_of(budget_bytes, &budget);

    if (err != SP_OK)
        return err;
    if (budget.slab_max > pool->slab_cap) {
        struct sp_pool_slab **slabs = sp_mem_grow(pool->mem, pool->slabs, pool->slab_cap,
                                                  budget.slab_max, sizeof(struct sp_pool_slab *));
        if (!slabs)
            return SP_ENOMEM;
        pool->slabs = slabs;
        pool->slab_cap = budget.slab_max;
    }
    pool->block_max = budget.block_max;
    pool->slab_max = budget.slab_max;
    return SP_OK;
}

static void push_free(struct sp_pool *pool, struct sp_pool_slab *slab, uint32_t ix)
{
    slab->block[ix].next = pool->free_head;
    pool->free_head = slab->index * SP_SLAB_BLOCKS + ix;
    pool->free_count++;
}

/* One more slab, its lowest block on top of the list. */
static bool add_slab(struct sp_pool *pool)
{
    uint32_t index = 0;
    uint8_t *raw = sp_mem_alloc(pool->mem, 2, SP_SLAB_LEN);

    if (!raw) {
        pool->failures++;
        return false;
    }
    while (pool->slabs[index])
        index++;

    uintptr_t base = ((uintptr_t)raw + SP_SLAB_LEN - 1) & ~((uintptr_t)SP_SLAB_LEN - 1);
    struct sp_pool_slab *slab = (struct sp_pool_slab *)base;
    slab->raw = raw;
    slab->index = index;
    pool->slabs[index] = slab;
    pool->slab_count++;
    for (uint32_t ix = SP_SLAB_BLOCKS; ix-- > 0;)
        push_free(pool, slab, ix);
    HIDE(block_at(slab, 0), (size_t)SP_SLAB_BLOCKS * SP_BLOCK_LEN);
    return true;
}

/* The caller has seen to the budget, so there is a place for a slab: nothing
 * free means that used fills the slabs held, and used < block_max. */
static uint8_t *take(struct sp_pool *pool)
{
    if (pool->free_count == 0 && !add_slab(pool))
        return NULL;

    struct sp_pool_slab *slab = pool->slabs[pool->free_head / SP_SLAB_BLOCKS];
    uint32_t ix = pool->free_head % SP_SLAB_BLOCKS;
    pool->free_head = slab->block[ix].next;
    pool->free_count--;
    slab->block[ix].refs = 1;
    slab->used++;
    pool->used++;
    pool->gets++;
    if (pool->used > pool->used_peak)
        pool->used_peak = pool->used;
    SHOW(block_at(slab, ix), SP_BLOCK_LEN);
    return block_at(slab, ix);
}

/* Blocks that are neither used nor promised; none after a budget was cut. */
static uint32_t room(const struct sp_pool *pool)
{
    uint64_t taken = (uint64_t)pool->used + pool->reserved;

    return taken < pool->block_max ? (uint32_t)(pool->block_max - taken) : 0;
}

uint8_t *sp_pool_get(struct sp_pool *pool)
{
    if (room(pool) == 0) {
        pool->refusals++;
        return NULL;
    }
    return take(pool);
}

uint8_t *sp_pool_get_reserved(struct sp_pool *pool)
{
    assert(pool->reserved > 0);
    /* After a cut of the budget the table of slabs still has room: promises
     * made before it are kept. */
    uint8_t *block = take(pool);
    if (block)
        pool->reserved--;
    return block;
}

void sp_pool_ref(struct sp_pool *pool, uint8_t *block)
{
    uint32_t ix;
    struct sp_pool_slab *slab = slab_of(block, &ix);

    assert(pool->slabs[slab->index] == slab && slab->block[ix].refs > 0);
    slab->block[ix].refs++;
}

void sp_pool_put(struct sp_pool *pool, uint8_t *block)
{
    uint32_t ix;

    if (!block)
        return;
    struct sp_pool_slab *slab = slab_of(block, &ix);
    assert(pool->slabs[slab->index] == slab && slab->block[ix].refs > 0);
    if (--slab->block[ix].refs > 0)
        return;
    slab->used--;
    pool->used--;
    push_free(pool, slab, ix);
    HIDE(block, SP_BLOCK_LEN);
}

uint32_t sp_pool_refs(const struct sp_pool *pool, const uint8_t *block)
{
    uint32_t ix;
    struct sp_pool_slab *slab = slab_of(block, &ix);

    assert(pool->slabs[slab->index] == slab);
    return slab->block[ix].refs;
}

static uint64_t blocks_of(uint64_t bytes)
{
    return bytes / SP_BLOCK_LEN + (bytes % SP_BLOCK_LEN != 0);
}

bool sp_pool_reserve(struct sp_pool *pool, uint64_t bytes)
{
    uint64_t blocks = blocks_of(bytes);

    if (blocks > room(pool)) {
        pool->refusals++;
        return false;
    }
    pool->reserved += (uint32_t)blocks;
    return true;
}

void sp_pool_unreserve(struct sp_pool *pool, uint64_t bytes)
{
    uint64_t blocks = blocks_of(bytes);

    assert(blocks <= pool->reserved);
    pool->reserved -= (uint32_t)blocks;
}

uint64_t sp_pool_room(const struct sp_pool *pool)
{
    return (uint64_t)room(pool) * SP_BLOCK_LEN;
}

uint32_t sp_pool_trim(struct sp_pool *pool)
{
    uint32_t *link = &pool->free_head, gone = 0;

    for (uint32_t at = *link; at != NONE; at = *link) {
        struct sp_pool_slab *slab = pool->slabs[at / SP_SLAB_BLOCKS];
        uint32_t *next = &slab->block[at % SP_SLAB_BLOCKS].next;
        if (slab->used > 0) {
            link = next;
            continue;
        }
        *link = *next;
        pool->free_count--;
    }
    for (uint32_t i = 0; i < pool->slab_cap; i++) {
        if (!pool->slabs[i] || pool->slabs[i]->used > 0)
            continue;
        free_slab(pool, pool->slabs[i]);
        gone++;
    }
    return gone;
}
