/* spate/mem.h - where the pure parts get memory: only from the allocator they
 * are handed.  Two functions over calloc and free will do for most callers.
 */
#ifndef SPATE_MEM_H
#define SPATE_MEM_H

#include "spate/types.h"

struct sp_mem {
    void *(*alloc)(void *ctx, size_t size); /* zeroed, or NULL */
    void (*free)(void *ctx, void *ptr);     /* takes NULL */
    void *ctx;
};

#endif
