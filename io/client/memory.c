#include "io/client/memory.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { HEAD_LEN = 4096, HUGE_LEN = 2 << 20 };

static void *heap_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return calloc(1, size);
}

static void heap_free(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

const struct sp_mem *sp_mem_libc(void)
{
    static const struct sp_mem heap = {heap_alloc, heap_free, NULL};
    return &heap;
}

/* The mapping's length stands in a page before what is handed out. */
static void *map_alloc(void *ctx, size_t size)
{
    size_t len;
    (void)ctx;
    if (__builtin_add_overflow(size, HEAD_LEN, &len))
        return NULL;
    char *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    if (len >= HUGE_LEN)
        (void)madvise(map, len, MADV_HUGEPAGE);
    *(size_t *)(void *)map = len;
    return map + HEAD_LEN;
}

static void map_free(void *ctx, void *ptr)
{
    (void)ctx;
    if (!ptr)
        return;
    char *map = (char *)ptr - HEAD_LEN;
    munmap(map, *(size_t *)(void *)map);
}

const struct sp_mem *sp_block_memory(void)
{
    static const struct sp_mem blocks = {map_alloc, map_free, NULL};
    return &blocks;
}
