/* pool.h - the blocks that payload lives in between the socket and the disk.
 *
 * A block is SP_BLOCK_LEN bytes, 4096-aligned, so that it can be the memory
 * of a direct write.  Blocks come from slabs of 2 MiB and are counted: whoever
 * holds one (a piece being fetched, a write under way, a cache) has a reference.
 *
 *   slab, 2 MiB-aligned:  | header 16 KiB | block | block | ... 127 of them |
 *
 * The budget is a promise for requests too: a block is reserved when it is
 * asked of a peer and taken when it arrives, so that a slow disk slows the
 * asking instead of growing a queue.  used + reserved <= budget, always.
 *
 *   ask     sp_pool_reserve(pool, SP_BLOCK_LEN)       false: ask later
 *   arrives sp_pool_get_reserved(pool)                or sp_pool_unreserve
 *   written sp_pool_put(pool, block)
 */
#ifndef SP_PIECES_POOL_H
#define SP_PIECES_POOL_H

#include "core/base/mem.h"
#include "spate/err.h"

enum { SP_SLAB_LEN = 2 << 20, SP_SLAB_BLOCKS = SP_SLAB_LEN / SP_BLOCK_LEN - 1 };

struct sp_pool_slab;

/* Read the counts freely; the rest is the pool's. */
struct sp_pool {
    const struct sp_mem *mem;
    uint32_t block_max;  /* blocks that may be in use or reserved at once */
    uint32_t used;       /* blocks with at least one reference */
    uint32_t reserved;   /* blocks promised to outstanding requests; used + reserved <= max */
    uint32_t free_count; /* blocks on the free list */
    uint32_t slab_count; /* slabs held */
    uint32_t slab_max;   /* slabs that may be held */
    uint32_t used_peak;  /* most blocks ever in use at once */
    uint64_t gets;       /* blocks handed out, ever */
    uint64_t refusals;   /* gets and reserves refused for the budget, ever */
    uint64_t failures;   /* slabs the allocator refused, ever */
    uint32_t free_head;  /* the block put back last is the first to go: hot in the cache */
    struct sp_pool_slab **slabs; /* slab_cap places; NULL: not held */
    uint32_t slab_cap;           /* slab_max, or more after a resize */
};

/* Nothing but the table of slabs is allocated before the first get.  All slabs
 * together stay within budget_bytes (rounded up to one slab).
 * SP_EINVAL  less than one block, or more than 2^32 blocks
 * SP_ENOMEM */
SP_MUST_USE enum sp_err sp_pool_init(struct sp_pool *pool, const struct sp_mem *mem,
                                     uint64_t budget_bytes);
/* Every block must have been put back.  Takes a zeroed pool. */
void sp_pool_done(struct sp_pool *pool);
/* A new budget.  A lower one takes effect as blocks come back.
 * Errors as sp_pool_init, with nothing changed. */
SP_MUST_USE enum sp_err sp_pool_resize(struct sp_pool *pool, uint64_t budget_bytes);

/* A block with one reference and undefined bytes; NULL when the budget is
 * used up (by blocks and reservations) or out of memory. */
uint8_t *sp_pool_get(struct sp_pool *pool);
/* The same, paid by one block of reservation, which there must be: NULL is
 * only out of memory, and leaves the reservation. */
uint8_t *sp_pool_get_reserved(struct sp_pool *pool);
/* One more reference. */
void sp_pool_ref(struct sp_pool *pool, uint8_t *block);
/* One less; the last one frees the block.  Takes NULL. */
void sp_pool_put(struct sp_pool *pool, uint8_t *block);
/* References to a block; for checks. */
uint32_t sp_pool_refs(const struct sp_pool *pool, const uint8_t *block);

/* bytes are rounded up to whole blocks, in both: give back what was taken with
 * the same sizes.  false, and nothing reserved, when the budget has no room. */
SP_MUST_USE bool sp_pool_reserve(struct sp_pool *pool, uint64_t bytes);
void sp_pool_unreserve(struct sp_pool *pool, uint64_t bytes);

/* Bytes that could be reserved now. */
uint64_t sp_pool_room(const struct sp_pool *pool);
static inline uint64_t sp_pool_budget_bytes(const struct sp_pool *pool)
{
    return (uint64_t)pool->block_max * SP_BLOCK_LEN;
}
static inline uint64_t sp_pool_used_bytes(const struct sp_pool *pool)
{
    return (uint64_t)pool->used * SP_BLOCK_LEN;
}
static inline uint64_t sp_pool_reserved_bytes(const struct sp_pool *pool)
{
    return (uint64_t)pool->reserved * SP_BLOCK_LEN;
}

/* Gives slabs without a block in use back to the allocator.  O(free blocks):
 * call it on a timer, or when idle.  Returns how many slabs went. */
uint32_t sp_pool_trim(struct sp_pool *pool);

#endif
