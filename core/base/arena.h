/* arena.h - many small allocations that are freed together.
 *
 * For parse results: everything hangs off one owner, one call frees it.
 */
#ifndef SP_BASE_ARENA_H
#define SP_BASE_ARENA_H

#include "core/base/mem.h"

struct sp_arena_chunk {
    struct sp_arena_chunk *next;
    size_t used, cap; /* bytes after this struct */
};

struct sp_arena {
    const struct sp_mem *mem;
    struct sp_arena_chunk *head; /* the one that is filled; NULL at first */
};

static inline struct sp_arena sp_arena_of(const struct sp_mem *mem)
{
    return (struct sp_arena){.mem = mem};
}

void sp_arena_done(struct sp_arena *a);
/* Zeroed room for count things of size bytes, aligned to 8; NULL when there is
 * none, when the product overflows, and when it is 0. */
void *sp_arena_alloc(struct sp_arena *a, size_t count, size_t size);
/* A copy with a NUL behind it; NULL when there is no memory. */
char *sp_arena_text(struct sp_arena *a, struct sp_slice s);

#define SP_ARENA_ARRAY(a, type, count) ((type *)sp_arena_alloc((a), (count), sizeof(type)))

#endif
