/* buf.h - bytes that grow up to a limit set at init.
 *
 * Used as a queue: append at the end, consume at the front.  Consuming all
 * resets it; memory is kept until done or trim.
 */
#ifndef SP_BASE_BUF_H
#define SP_BASE_BUF_H

#include "core/base/mem.h"
#include "spate/err.h"

struct sp_buf {
    const struct sp_mem *mem;
    uint8_t *ptr; /* cap bytes; what waits is ptr[pos..len) */
    size_t pos, len, cap;
    size_t max; /* len never exceeds it */
};

static inline struct sp_buf sp_buf_of(const struct sp_mem *mem, size_t max)
{
    return (struct sp_buf){.mem = mem, .max = max};
}

static inline void sp_buf_done(struct sp_buf *b)
{
    if (b->mem)
        sp_mem_free(b->mem, b->ptr);
    b->ptr = NULL;
    b->pos = b->len = b->cap = 0;
}

static inline struct sp_slice sp_buf_slice(const struct sp_buf *b)
{
    return (struct sp_slice){.ptr = b->ptr ? b->ptr + b->pos : NULL, .len = b->len - b->pos};
}

/* Room for n more bytes at ptr + len, NULL and unchanged on failure:
 * over max (SP_ELIMIT for the caller) or out of memory (SP_ENOMEM). */
enum sp_err sp_buf_reserve(struct sp_buf *b, size_t n, uint8_t **ret_room);
/* Copies. */
enum sp_err sp_buf_append(struct sp_buf *b, const void *bytes, size_t n);
/* n <= what waits. */
void sp_buf_consume(struct sp_buf *b, size_t n);
/* Frees the memory when nothing waits. */
void sp_buf_trim(struct sp_buf *b);

#endif
