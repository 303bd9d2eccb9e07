#include "core/base/bits.h"

enum sp_err sp_bits_init(struct sp_bits *b, const struct sp_mem *mem, uint32_t count)
{
    uint8_t *bytes = SP_NEW_ARRAY(mem, uint8_t, sp_bits_room(count));
    if (!bytes)
        return SP_ENOMEM;
    *b = (struct sp_bits){.bytes = bytes, .count = count};
    return SP_OK;
}

void sp_bits_done(struct sp_bits *b, const struct sp_mem *mem)
{
    sp_mem_free(mem, b->bytes);
    *b = (struct sp_bits){0};
}

static void clear_spare(struct sp_bits *b)
{
    size_t used = sp_bits_wire_len(b->count);
    memset(b->bytes + used, 0, sp_bits_room(b->count) - used);
    if (b->count & 7)
        b->bytes[used - 1] = (uint8_t)(b->bytes[used - 1] & (0xff00u >> (b->count & 7)));
}

void sp_bits_fill(struct sp_bits *b, bool value)
{
    memset(b->bytes, value ? 0xff : 0, sp_bits_room(b->count));
    clear_spare(b);
    b->set = value ? b->count : 0;
}

enum sp_err sp_bits_load(struct sp_bits *b, struct sp_slice wire)
{
    if (wire.len != sp_bits_wire_len(b->count))
        return SP_EPROTO;
    /* BEP-0003: "Spare bits at the end are set to zero." */
    if ((b->count & 7) && (wire.ptr[wire.len - 1] & (0xffu >> (b->count & 7))))
        return SP_EPROTO;

    memcpy(b->bytes, wire.ptr, wire.len);
    b->set = 0;
    for (size_t w = 0; w < sp_bits_room(b->count) / 8; w++)
        b->set += (uint32_t)__builtin_popcountll(sp_bits_word(b, w));
    return SP_OK;
}

/* The first 1 at or after from in a & ~b (b may be NULL: nothing lacks). */
static uint32_t next(const struct sp_bits *a, const struct sp_bits *b, uint32_t from)
{
    if (from >= a->count)
        return SP_BITS_NONE;

    uint64_t mask = ~UINT64_C(0) >> (from & 63);
    for (size_t w = from / 64; w < sp_bits_room(a->count) / 8; w++) {
        uint64_t v = sp_bits_word(a, w) & mask;
        if (b)
            v &= ~sp_bits_word(b, w);
        if (v)
            return (uint32_t)(w * 64) + (uint32_t)__builtin_clzll(v);
        mask = ~UINT64_C(0);
    }
    return SP_BITS_NONE;
}

uint32_t sp_bits_next(const struct sp_bits *b, uint32_t from)
{
    return next(b, NULL, from);
}

uint32_t sp_bits_next_diff(const struct sp_bits *a, const struct sp_bits *b, uint32_t from)
{
    assert(a->count == b->count);
    return next(a, b, from);
}

uint32_t sp_bits_count_diff(const struct sp_bits *a, const struct sp_bits *b)
{
    uint32_t n = 0;
    assert(a->count == b->count);
    for (size_t w = 0; w < sp_bits_room(a->count) / 8; w++)
        n += (uint32_t)__builtin_popcountll(sp_bits_word(a, w) & ~sp_bits_word(b, w));
    return n;
}
