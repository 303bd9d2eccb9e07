/* out.h - writes into the caller's fixed buffer; overflow sticks as SP_ELIMIT.
 *
 * len keeps counting past cap, so that a first pass with cap 0 measures.
 */
#ifndef SP_BASE_OUT_H
#define SP_BASE_OUT_H

#include <string.h>

#include "spate/err.h"

struct sp_out {
    uint8_t *ptr; /* may be NULL when cap is 0 */
    size_t cap;   /* bytes */
    size_t len;   /* bytes written, or that would have been */
};

static inline struct sp_out sp_out_of(uint8_t *ptr, size_t cap)
{
    return (struct sp_out){.ptr = ptr, .cap = cap};
}

static inline enum sp_err sp_out_err(const struct sp_out *o)
{
    return o->len > o->cap ? SP_ELIMIT : SP_OK;
}

static inline void sp_out_bytes(struct sp_out *o, const void *bytes, size_t len)
{
    if (o->len <= o->cap && len <= o->cap - o->len && len > 0)
        memcpy(o->ptr + o->len, bytes, len);
    o->len += len;
}

static inline void sp_put_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline void sp_out_u8(struct sp_out *o, uint8_t v)
{
    sp_out_bytes(o, &v, 1);
}

static inline void sp_out_u16(struct sp_out *o, uint16_t v)
{
    uint8_t b[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    sp_out_bytes(o, b, 2);
}

static inline void sp_out_u32(struct sp_out *o, uint32_t v)
{
    uint8_t b[4];
    sp_put_be32(b, v);
    sp_out_bytes(o, b, 4);
}

static inline void sp_out_u64(struct sp_out *o, uint64_t v)
{
    sp_out_u32(o, (uint32_t)(v >> 32));
    sp_out_u32(o, (uint32_t)v);
}

static inline void sp_out_str(struct sp_out *o, const char *text)
{
    sp_out_bytes(o, text, strlen(text));
}

/* Decimal, no sign. */
static inline void sp_out_dec(struct sp_out *o, uint64_t v)
{
    char text[20];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    sp_out_bytes(o, text + at, sizeof(text) - at);
}

#endif
