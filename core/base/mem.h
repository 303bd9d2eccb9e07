/* mem.h - where the core gets memory: only from the allocator it was handed.
 *
 * One allocator per session makes three things one-liners: a cap per session,
 * a leak check per test, and a test that fails each allocation in turn.
 */
#ifndef SP_BASE_MEM_H
#define SP_BASE_MEM_H

#include <string.h>

#include "spate/mem.h"

/* Zeroed room for count things of size bytes; NULL when there is none, when
 * the product overflows, and when it is 0. */
static inline void *sp_mem_alloc(const struct sp_mem *mem, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total) || total == 0)
        return NULL;
    return mem->alloc(mem->ctx, total);
}

/* Takes NULL. */
static inline void sp_mem_free(const struct sp_mem *mem, void *ptr)
{
    mem->free(mem->ctx, ptr);
}

/* A larger array with the old entries copied and the new ones zeroed.  The
 * old array is freed on success and stays valid on failure (NULL). */
static inline void *sp_mem_grow(const struct sp_mem *mem, void *old, size_t old_count,
                                size_t new_count, size_t size)
{
    void *fresh = sp_mem_alloc(mem, new_count, size);
    if (fresh && old && old_count)
        memcpy(fresh, old, old_count * size);
    if (fresh)
        sp_mem_free(mem, old);
    return fresh;
}

#define SP_NEW(mem, type)              ((type *)sp_mem_alloc((mem), 1, sizeof(type)))
#define SP_NEW_ARRAY(mem, type, count) ((type *)sp_mem_alloc((mem), (count), sizeof(type)))

/* The struct that a member is embedded in. */
#define SP_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
