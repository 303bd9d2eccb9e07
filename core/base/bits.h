/* bits.h - a bitfield laid out as on the wire: the high bit of the first byte
 * is index 0 (BEP-0003).  Storage is rounded up to 8 bytes and its spare bits
 * stay 0, so that whole words can be compared and counted.
 */
#ifndef SP_BASE_BITS_H
#define SP_BASE_BITS_H

#include <assert.h>

#include "core/base/mem.h"
#include "spate/err.h"

struct sp_bits {
    uint8_t *bytes; /* sp_bits_room(count) bytes; NULL when there is no storage */
    uint32_t count; /* bits */
    uint32_t set;   /* how many of them are 1, always right */
};

#define SP_BITS_NONE UINT32_MAX

static inline size_t sp_bits_room(uint32_t count)
{
    return ((size_t)count + 63) / 64 * 8;
}

/* Bytes of a BITFIELD message. */
static inline size_t sp_bits_wire_len(uint32_t count)
{
    return ((size_t)count + 7) / 8;
}

static inline bool sp_bits_get(const struct sp_bits *b, uint32_t ix)
{
    assert(ix < b->count);
    return b->bytes[ix >> 3] & (0x80u >> (ix & 7));
}

/* Both tell whether the bit changed. */
static inline bool sp_bits_add(struct sp_bits *b, uint32_t ix)
{
    if (sp_bits_get(b, ix))
        return false;
    b->bytes[ix >> 3] = (uint8_t)(b->bytes[ix >> 3] | 0x80u >> (ix & 7));
    b->set++;
    return true;
}

static inline bool sp_bits_del(struct sp_bits *b, uint32_t ix)
{
    if (!sp_bits_get(b, ix))
        return false;
    b->bytes[ix >> 3] = (uint8_t)(b->bytes[ix >> 3] & ~(0x80u >> (ix & 7)));
    b->set--;
    return true;
}

static inline bool sp_bits_all(const struct sp_bits *b)
{
    return b->set == b->count;
}

/* Word w (64 bits) with index 64 * w as its highest bit. */
static inline uint64_t sp_bits_word(const struct sp_bits *b, size_t w)
{
    uint64_t v;
    memcpy(&v, b->bytes + w * 8, 8);
    return __builtin_bswap64(v);
}

/* count > 0.  SP_ENOMEM */
SP_MUST_USE enum sp_err sp_bits_init(struct sp_bits *b, const struct sp_mem *mem, uint32_t count);
void sp_bits_done(struct sp_bits *b, const struct sp_mem *mem);
void sp_bits_fill(struct sp_bits *b, bool value);
/* From the bytes of a BITFIELD message.
 * SP_EPROTO  wrong length, or a spare bit is set (BEP-0003) */
SP_MUST_USE enum sp_err sp_bits_load(struct sp_bits *b, struct sp_slice wire);
/* The first 1 at or after from; SP_BITS_NONE when there is none. */
uint32_t sp_bits_next(const struct sp_bits *b, uint32_t from);
/* The first index at or after from that a has and b lacks; equal counts. */
uint32_t sp_bits_next_diff(const struct sp_bits *a, const struct sp_bits *b, uint32_t from);
/* How many a has that b lacks. */
uint32_t sp_bits_count_diff(const struct sp_bits *a, const struct sp_bits *b);

#endif
