/* cur.h - a read position in borrowed bytes, with an error that sticks.
 *
 * Parsers read straight down and ask cur->err once at the end.  After the
 * first error every read returns zero and moves nothing, so the zeros cannot
 * be mistaken for progress and the first cause is the one reported.
 */
#ifndef SP_BASE_CUR_H
#define SP_BASE_CUR_H

#include "spate/err.h"

struct sp_cur {
    const uint8_t *pos;
    const uint8_t *end; /* pos <= end, always */
    enum sp_err err;    /* SP_OK until the first failure, then fixed */
};

static inline struct sp_cur sp_cur_of(struct sp_slice s)
{
    return (struct sp_cur){.pos = s.ptr, .end = s.ptr ? s.ptr + s.len : s.ptr};
}

static inline size_t sp_cur_left(const struct sp_cur *c)
{
    return (size_t)(c->end - c->pos);
}

static inline void sp_cur_fail(struct sp_cur *c, enum sp_err err)
{
    if (c->err == SP_OK)
        c->err = err;
}

/* The next len bytes, or an empty slice and SP_AGAIN. */
static inline struct sp_slice sp_cur_take(struct sp_cur *c, size_t len)
{
    if (c->err == SP_OK && len > sp_cur_left(c))
        sp_cur_fail(c, SP_AGAIN);
    if (c->err != SP_OK)
        return (struct sp_slice){0};

    struct sp_slice s = {.ptr = c->pos, .len = len};
    c->pos += len;
    return s;
}

static inline uint8_t sp_cur_u8(struct sp_cur *c)
{
    struct sp_slice s = sp_cur_take(c, 1);
    return s.len ? s.ptr[0] : 0;
}

/* Big-endian, as every integer on the peer wire (BEP-0003) and of the UDP
 * tracker protocol (BEP-0015). */
static inline uint16_t sp_be16(const uint8_t *p)
{
    return (uint16_t)((uint16_t)(p[0] << 8) | p[1]);
}

static inline uint32_t sp_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t sp_be64(const uint8_t *p)
{
    return (uint64_t)sp_be32(p) << 32 | sp_be32(p + 4);
}

static inline uint16_t sp_cur_u16(struct sp_cur *c)
{
    struct sp_slice s = sp_cur_take(c, 2);
    return s.len ? sp_be16(s.ptr) : (uint16_t)0;
}

static inline uint32_t sp_cur_u32(struct sp_cur *c)
{
    struct sp_slice s = sp_cur_take(c, 4);
    return s.len ? sp_be32(s.ptr) : 0;
}

static inline uint64_t sp_cur_u64(struct sp_cur *c)
{
    struct sp_slice s = sp_cur_take(c, 8);
    return s.len ? sp_be64(s.ptr) : 0;
}

#endif
