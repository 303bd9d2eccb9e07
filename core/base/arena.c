#include "core/base/arena.h"

enum { CHUNK_FIRST = 1024, CHUNK_LAST = 256 * 1024 };

void sp_arena_done(struct sp_arena *a)
{
    while (a->head) {
        struct sp_arena_chunk *next = a->head->next;
        sp_mem_free(a->mem, a->head);
        a->head = next;
    }
}

static struct sp_arena_chunk *new_chunk(struct sp_arena *a, size_t cap)
{
    size_t total;
    if (__builtin_add_overflow(cap, sizeof(struct sp_arena_chunk), &total))
        return NULL;
    struct sp_arena_chunk *c = (struct sp_arena_chunk *)sp_mem_alloc(a->mem, 1, total);
    if (c)
        c->cap = cap;
    return c;
}

/* The first chunk is small, for small results; later ones double. */
static struct sp_arena_chunk *chunk_for(struct sp_arena *a, size_t len)
{
    struct sp_arena_chunk *head = a->head;
    if (head && head->cap - head->used >= len)
        return head;

    size_t cap = head && head->cap * 2 > CHUNK_FIRST ? head->cap * 2 : CHUNK_FIRST;
    if (cap > CHUNK_LAST)
        cap = CHUNK_LAST;
    bool own = len > cap / 4; /* behind the head, which stays in use */
    struct sp_arena_chunk *c = new_chunk(a, own ? len : cap);
    if (!c)
        return NULL;
    if (own && head) {
        c->next = head->next;
        head->next = c;
    } else {
        c->next = head;
        a->head = c;
    }
    return c;
}

void *sp_arena_alloc(struct sp_arena *a, size_t count, size_t size)
{
    size_t len;
    if (__builtin_mul_overflow(count, size, &len) || len == 0 || len > SIZE_MAX - 7)
        return NULL;
    len = (len + 7) / 8 * 8;

    struct sp_arena_chunk *c = chunk_for(a, len);
    if (!c)
        return NULL;
    uint8_t *ptr = (uint8_t *)(c + 1) + c->used;
    c->used += len;
    return ptr;
}

char *sp_arena_text(struct sp_arena *a, struct sp_slice s)
{
    char *text = s.len < SIZE_MAX ? (char *)sp_arena_alloc(a, s.len + 1, 1) : NULL;
    if (text && s.len)
        memcpy(text, s.ptr, s.len);
    return text;
}
