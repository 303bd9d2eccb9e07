/* spate/mem.h - where the pure parts get memory: only from the allocator they
 * are handed.  sp_mem_libc() will do for most callers.
 */
#ifndef SPATE_MEM_H
#define SPATE_MEM_H

#include "spate/types.h"

struct sp_mem {
    void *(*alloc)(void *ctx, size_t size); /* zeroed, or NULL */
    void (*free)(void *ctx, void *ptr);     /* takes NULL */
    void *ctx;
};

/* calloc and free; never NULL, safe from any thread. */
SP_API const struct sp_mem *sp_mem_libc(void);

#endif
