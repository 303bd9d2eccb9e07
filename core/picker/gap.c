/* Runs of idle pieces, for those who answer best when asked for much at once. */
#include "core/picker/internal.h"

/* The first piece at or after from that is idle and had, or (is_idle false) is
 * not; piece_count when there is none. */
static uint32_t seek(const struct sp_bits *idle, const struct sp_bits *have, uint32_t from,
                     bool is_idle)
{
    size_t words = sp_bits_room(idle->count) / 8;

    for (size_t w = from / 64; w < words; w++) {
        uint64_t bits = sp_bits_word(idle, w);
        bits &= have ? sp_bits_word(have, w) : bits;
        bits = is_idle ? bits : ~bits;
        if (w == from / 64)
            bits &= ~UINT64_C(0) >> (from % 64);
        if (bits) {
            uint32_t piece = (uint32_t)(w * 64) + (uint32_t)__builtin_clzll(bits);
            return piece < idle->count ? piece : idle->count;
        }
    }
    return idle->count;
}

struct gap {
    uint32_t first, len;
};

/* The first gap of at least least in [from, end), else the longest. */
static struct gap find(const struct sp_bits *idle, const struct sp_bits *have, uint32_t from,
                       uint32_t end, uint32_t least)
{
    struct gap best = {0};

    for (uint32_t at = seek(idle, have, from, true); at < end && best.len < least;) {
        uint32_t stop = seek(idle, have, at, false);
        if (stop - at > best.len)
            best = (struct gap){at, stop - at};
        at = stop < idle->count ? seek(idle, have, stop, true) : stop;
    }
    return best;
}

uint32_t sp_picker_gap(struct sp_picker *p, const struct sp_bits *have, uint32_t near,
                       uint32_t least, uint32_t max, uint32_t *ret_first)
{
    assert(!have || have->count == p->cfg.piece_count);
    if (p->wanted.set == 0 || !sp_order_prepare(p))
        return 0;
    if (near >= p->cfg.piece_count || p->sequential)
        near = 0;
    if (p->sequential)
        least = 1;
    for (uint32_t prio = SP_PICKER_PRIO_MAX; prio > 0; prio--) {
        const struct sp_bits *idle = &p->order->idle[prio];
        if (!idle->bytes || idle->set == 0)
            continue;
        struct gap g = find(idle, have, near, idle->count, least);
        if (g.len < least && near > 0) {
            struct gap before = find(idle, have, 0, near, least);
            g = before.len > g.len ? before : g;
        }
        if (g.len > 0) {
            *ret_first = g.first;
            return g.len < max ? g.len : max;
        }
    }
    return 0;
}
