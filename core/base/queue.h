/* queue.h - a first-in first-out array of fixed-size entries, up to a limit.
 *
 * Entries may also be looked at and removed in the middle.  Pointers to
 * entries are valid until the next push.
 */
#ifndef SP_BASE_QUEUE_H
#define SP_BASE_QUEUE_H

#include <assert.h>

#include "core/base/mem.h"
#include "spate/err.h"

struct sp_queue {
    uint8_t *items;
    uint32_t head, count, cap; /* entries; items[head .. head+count) wait */
    uint32_t max;              /* count never exceeds it */
    uint32_t size;             /* bytes of an entry */
};

static inline struct sp_queue sp_queue_of(uint32_t entry_size, uint32_t max)
{
    return (struct sp_queue){.size = entry_size, .max = max};
}

static inline void sp_queue_done(struct sp_queue *q, const struct sp_mem *mem)
{
    sp_mem_free(mem, q->items);
    q->items = NULL;
    q->head = q->count = q->cap = 0;
}

static inline void *sp_queue_at(const struct sp_queue *q, uint32_t ix)
{
    assert(ix < q->count);
    return q->items + (size_t)(q->head + ix) * q->size;
}

/* A zeroed entry at the end, or NULL: full, or out of memory. */
static inline void *sp_queue_push(struct sp_queue *q, const struct sp_mem *mem)
{
    if (q->count == q->max)
        return NULL;
    if (q->head + q->count == q->cap && q->head > q->cap / 2) {
        memmove(q->items, sp_queue_at(q, 0), (size_t)q->count * q->size);
        q->head = 0;
    }
    if (q->head + q->count == q->cap) {
        uint32_t cap = q->cap ? q->cap * 2 : 8;
        uint8_t *items = sp_mem_alloc(mem, cap, q->size);
        if (!items)
            return NULL;
        if (q->count)
            memcpy(items, sp_queue_at(q, 0), (size_t)q->count * q->size);
        sp_mem_free(mem, q->items);
        q->items = items;
        q->head = 0;
        q->cap = cap;
    }
    q->count++;
    void *entry = sp_queue_at(q, q->count - 1);
    memset(entry, 0, q->size);
    return entry;
}

static inline void sp_queue_pop(struct sp_queue *q)
{
    assert(q->count > 0);
    q->head++;
    q->count--;
    if (q->count == 0)
        q->head = 0;
}

static inline void sp_queue_remove(struct sp_queue *q, uint32_t ix)
{
    if (ix == 0) {
        sp_queue_pop(q);
        return;
    }
    uint8_t *at = sp_queue_at(q, ix);
    memmove(at, at + q->size, (size_t)(q->count - ix - 1) * q->size);
    q->count--;
}

#endif
