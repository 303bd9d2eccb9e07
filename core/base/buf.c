#include "core/base/buf.h"

#include <assert.h>

enum { CAP_MIN = 256 };

enum sp_err sp_buf_reserve(struct sp_buf *b, size_t n, uint8_t **ret_room)
{
    size_t waiting = b->len - b->pos;
    if (n > b->max || waiting > b->max - n)
        return SP_ELIMIT;

    if (b->cap - b->len < n && b->pos > 0) {
        memmove(b->ptr, b->ptr + b->pos, waiting);
        b->pos = 0;
        b->len = waiting;
    }
    if (b->cap - b->len < n) {
        size_t cap = b->cap ? b->cap : CAP_MIN;
        while (cap - b->len < n)
            cap *= 2;
        if (cap > b->max)
            cap = b->max;
        uint8_t *ptr = sp_mem_grow(b->mem, b->ptr, b->len, cap, 1);
        if (!ptr)
            return SP_ENOMEM;
        b->ptr = ptr;
        b->cap = cap;
    }
    *ret_room = b->ptr + b->len;
    return SP_OK;
}

enum sp_err sp_buf_append(struct sp_buf *b, const void *bytes, size_t n)
{
    uint8_t *room;
    if (n == 0)
        return SP_OK;
    enum sp_err err = sp_buf_reserve(b, n, &room);
    if (err != SP_OK)
        return err;
    memcpy(room, bytes, n);
    b->len += n;
    return SP_OK;
}

void sp_buf_consume(struct sp_buf *b, size_t n)
{
    assert(n <= b->len - b->pos);
    b->pos += n;
    if (b->pos == b->len)
        b->pos = b->len = 0;
}

void sp_buf_trim(struct sp_buf *b)
{
    if (b->pos == b->len)
        sp_buf_done(b);
}
