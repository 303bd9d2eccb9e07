#include "core/picker/internal.h"

/* Bitfields with fewer pieces than this are counted piece by piece, which
 * keeps the order exact. */
static uint32_t few(const struct sp_picker *p)
{
    return 64 + p->cfg.piece_count / 256;
}

static bool is_idle(const struct sp_picker *p, uint32_t piece)
{
    return sp_bits_get(&p->wanted, piece) && !sp_picker_open(p, piece);
}

/* Room for counts, or the mark that they are lost. */
static bool counted(struct sp_picker *p)
{
    if (!p->avail && !p->avail_lost) {
        p->avail = SP_NEW_ARRAY(p->cfg.mem, uint16_t, sp_bits_room(p->cfg.piece_count) * 8);
        p->avail_lost = !p->avail;
    }
    return !p->avail_lost;
}

/* Counts of nobody need no memory, and losses heal. */
static void settle(struct sp_picker *p)
{
    p->copies_known = false;
    if (p->avail_sum > 0)
        return;
    sp_mem_free(p->cfg.mem, p->avail);
    p->avail = NULL;
    p->avail_lost = false;
}

static void add_one(struct sp_picker *p, uint32_t piece, int delta)
{
    assert(delta > 0 || p->avail_sum > 0);
    p->avail_sum += delta > 0 ? 1 : UINT64_MAX;
    if (!counted(p))
        return;
    assert(delta > 0 || p->avail[piece] > 0);
    assert(delta < 0 || p->avail[piece] < UINT16_MAX);
    p->avail[piece] = (uint16_t)(p->avail[piece] + delta);
    if (is_idle(p, piece))
        sp_order_move(p, piece);
}

void sp_picker_avail_add(struct sp_picker *p, uint32_t piece, int delta)
{
    assert(piece < p->cfg.piece_count && (delta == 1 || delta == -1));
    add_one(p, piece, delta);
    settle(p);
}

typedef uint16_t lanes __attribute__((vector_size(16)));

/* Eight pieces at a time: this is all that a million-piece bitfield costs.
 * avail has room for whole words of bits, and spare bits are 0. */
static void add_all(struct sp_picker *p, const struct sp_bits *bits, int delta)
{
    static const lanes which = {0x80, 0x40, 0x20, 0x10, 8, 4, 2, 1};
    size_t bytes = sp_bits_wire_len(bits->count);
    lanes sign = (lanes){0} + (uint16_t)delta;

    for (size_t i = 0; i < bytes; i++) {
        lanes at, set = ((lanes){0} + (uint16_t)bits->bytes[i]) & which;
        memcpy(&at, p->avail + i * 8, sizeof(at));
        at += (lanes)(set == which) & sign;
        memcpy(p->avail + i * 8, &at, sizeof(at));
    }
}

void sp_picker_peer_bits(struct sp_picker *p, const struct sp_bits *bits, int delta)
{
    assert(bits->count == p->cfg.piece_count && (delta == 1 || delta == -1));
    if (delta > 0)
        p->partial++;
    else if (p->partial > 0)
        p->partial--;
    if (bits->set <= few(p)) {
        for (uint32_t i = sp_bits_next(bits, 0); i != SP_BITS_NONE;
             i = i + 1 < bits->count ? sp_bits_next(bits, i + 1) : SP_BITS_NONE)
            add_one(p, i, delta);
        settle(p);
        return;
    }
    assert(delta > 0 || p->avail_sum >= bits->set);
    p->avail_sum += delta > 0 ? bits->set : (uint64_t)0 - bits->set;
    if (counted(p)) {
        add_all(p, bits, delta);
        if (p->order)
            p->order->stale++;
    }
    settle(p);
}

void sp_picker_seeds(struct sp_picker *p, int delta)
{
    assert(delta >= 0 || p->seeds >= (uint32_t)-delta);
    p->seeds += (uint32_t)delta;
}

uint32_t sp_picker_avail(const struct sp_picker *p, uint32_t piece)
{
    assert(piece < p->cfg.piece_count);
    return p->seeds + (p->avail ? p->avail[piece] : 0);
}

static void count_copies(struct sp_picker *p)
{
    uint32_t least = p->avail ? UINT16_MAX : 0, above = 0;

    for (uint32_t i = 0; p->avail && i < p->cfg.piece_count; i++)
        least = p->avail[i] < least ? p->avail[i] : least;
    for (uint32_t i = 0; p->avail && i < p->cfg.piece_count; i++)
        above += p->avail[i] > least;
    p->copies_min = least;
    p->copies_above = above;
    p->copies_known = true;
}

uint64_t sp_picker_copies_milli(struct sp_picker *p)
{
    if (!p->copies_known)
        count_copies(p);
    return ((uint64_t)p->seeds + p->copies_min) * 1000 +
           (uint64_t)p->copies_above * 1000 / p->cfg.piece_count;
}
