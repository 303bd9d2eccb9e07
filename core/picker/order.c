#include "core/picker/internal.h"

/* How many bitfields may be counted before the pieces are sorted anew: a
 * share of the peers, so that n peers joining cost log(n) sorts and not n, and
 * the order is never off by more than that share.  Up to SMALL idle pieces are
 * always sorted. */
enum { STALE_SHARE = 16, SMALL = 4096 };

static uint32_t key_of(uint32_t prio, uint32_t level)
{
    return (prio - 1) * LEVELS + (LEVELS - 1 - level);
}

uint32_t sp_order_key_at(const struct sp_order *o, uint32_t place)
{
    uint32_t lo = 0, hi = KEYS; /* start[lo] <= place < start[hi] */

    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        if (o->start[mid] <= place)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

void sp_order_free(struct sp_picker *p)
{
    struct sp_order *o = p->order;

    if (!o)
        return;
    for (uint32_t prio = 0; prio <= SP_PICKER_PRIO_MAX; prio++)
        sp_bits_done(&o->idle[prio], p->cfg.mem);
    sp_mem_free(p->cfg.mem, o->at);
    sp_mem_free(p->cfg.mem, o->pos);
    sp_mem_free(p->cfg.mem, o);
    p->order = NULL;
}

static bool make(struct sp_picker *p)
{
    if (p->order)
        return true;
    p->order = SP_NEW(p->cfg.mem, struct sp_order);
    if (!p->order)
        return false;
    p->order->at = SP_NEW_ARRAY(p->cfg.mem, uint32_t, p->cfg.piece_count);
    p->order->pos = SP_NEW_ARRAY(p->cfg.mem, uint32_t, p->cfg.piece_count);
    for (uint32_t i = 0; i < OWN_HINTS; i++)
        p->order->own[i].peer = SP_PEER_NONE;
    if (p->order->at && p->order->pos)
        return true;
    sp_order_free(p);
    return false;
}

static bool idle_room(struct sp_picker *p, uint32_t prio)
{
    struct sp_bits *idle = &p->order->idle[prio];

    return idle->bytes || sp_bits_init(idle, p->cfg.mem, p->cfg.piece_count) == SP_OK;
}

/* idle[] from wanted, priorities and open records. */
static bool fill_idle(struct sp_picker *p)
{
    struct sp_order *o = p->order;

    for (uint32_t prio = 1; prio <= SP_PICKER_PRIO_MAX; prio++)
        if (o->idle[prio].bytes)
            sp_bits_fill(&o->idle[prio], false);
    if (!p->prio) {
        struct sp_bits *idle = &o->idle[SP_PICKER_PRIO_DEFAULT];
        if (!idle_room(p, SP_PICKER_PRIO_DEFAULT))
            return false;
        memcpy(idle->bytes, p->wanted.bytes, sp_bits_room(idle->count));
        idle->set = p->wanted.set;
    }
    for (uint32_t i = sp_bits_next(&p->wanted, 0); p->prio && i != SP_BITS_NONE;
         i = i + 1 < p->wanted.count ? sp_bits_next(&p->wanted, i + 1) : SP_BITS_NONE) {
        if (!idle_room(p, p->prio[i]))
            return false;
        sp_bits_add(&o->idle[p->prio[i]], i);
    }
    for (struct sp_open_piece *open = p->all.head; open; open = open->next)
        if (sp_prio(p, open->piece) > 0)
            sp_bits_del(&o->idle[sp_prio(p, open->piece)], open->piece);
    return true;
}

/* Calls for each idle piece with its key: word by word, it is the long loop. */
#define SP_EACH_IDLE(o, prio, piece)                                                               \
    for (size_t w_ = 0, n_ = (o)->idle[prio].set ? sp_bits_room((o)->idle[prio].count) / 8 : 0;    \
         w_ < n_; w_++)                                                                            \
        for (uint64_t bits_ = sp_bits_word(&(o)->idle[prio], w_); bits_; bits_ &= bits_ - 1)       \
            if (((piece) = (uint32_t)(w_ * 64 + 63 - (size_t)__builtin_ctzll(bits_))), true)

/* Counting sort.  Pieces of one key come out with the highest bit of each word
 * last: no order that means anything; who walks a key starts at random. */
static void sort(struct sp_picker *p)
{
    struct sp_order *o = p->order;
    uint32_t fill[KEYS] = {0}, piece, sum = 0;

    for (uint32_t prio = 1; prio <= SP_PICKER_PRIO_MAX; prio++)
        SP_EACH_IDLE(o, prio, piece)
    fill[key_of(prio, sp_avail_level(p, piece))]++;
    for (uint32_t key = 0; key < KEYS; key++) {
        o->start[key] = sum;
        sum += fill[key];
        fill[key] = o->start[key];
    }
    o->start[KEYS] = sum;
    for (uint32_t prio = 1; prio <= SP_PICKER_PRIO_MAX; prio++) {
        SP_EACH_IDLE(o, prio, piece)
        {
            uint32_t place = fill[key_of(prio, sp_avail_level(p, piece))]++;
            o->at[place] = piece;
            o->pos[piece] = place;
        }
        o->low[prio] = 0;
    }
}

bool sp_order_prepare(struct sp_picker *p)
{
    if (!make(p))
        return false;

    struct sp_order *o = p->order;
    o->churn = 0;
    if (!o->built) {
        if (!fill_idle(p))
            return false;
    } else if (o->stale == 0 || (o->start[KEYS] > SMALL && o->stale <= p->partial / STALE_SHARE)) {
        return true;
    }
    sort(p);
    o->built = true;
    o->stale = 0;
    return true;
}

static void put(struct sp_order *o, uint32_t place, uint32_t piece)
{
    o->at[place] = piece;
    o->pos[piece] = place;
}

void sp_order_add(struct sp_picker *p, uint32_t piece)
{
    struct sp_order *o = p->order;
    uint32_t prio = sp_prio(p, piece);

    if (!o || !o->built)
        return;
    if (!idle_room(p, prio)) {
        o->built = false;
        return;
    }
    sp_bits_add(&o->idle[prio], piece);
    if (piece < o->low[prio])
        o->low[prio] = piece;

    /* A hole at the end travels down: each better key gives its first to its
     * own end. */
    uint32_t key = key_of(prio, sp_avail_level(p, piece)), hole = o->start[KEYS]++;
    for (uint32_t k = KEYS - 1; k > key; k--) {
        uint32_t first = o->start[k]++;
        if (first != hole)
            put(o, hole, o->at[first]);
        hole = first;
    }
    put(o, hole, piece);
}

void sp_order_remove(struct sp_picker *p, uint32_t piece)
{
    struct sp_order *o = p->order;

    if (!o || !o->built)
        return;
    sp_bits_del(&o->idle[sp_prio(p, piece)], piece);

    uint32_t hole = o->pos[piece];
    for (uint32_t k = sp_order_key_at(o, hole); k < KEYS; k++) {
        uint32_t last = --o->start[k + 1];
        if (last != hole)
            put(o, hole, o->at[last]);
        hole = last;
    }
    o->pos[piece] = 0;
}

void sp_order_churn(struct sp_picker *p)
{
    struct sp_order *o = p->order;

    if (o && ++o->churn > 64 + p->cfg.piece_count / 128)
        o->built = false;
}

void sp_order_move(struct sp_picker *p, uint32_t piece)
{
    struct sp_order *o = p->order;

    if (!o || !o->built)
        return;

    uint32_t key = sp_order_key_at(o, o->pos[piece]);
    uint32_t to = key_of(sp_prio(p, piece), sp_avail_level(p, piece));
    while (key != to) {
        uint32_t place = o->pos[piece], edge;
        if (key < to) {
            edge = --o->start[++key];
        } else {
            edge = o->start[key]++;
            key--;
        }
        put(o, place, o->at[edge]);
        put(o, edge, piece);
    }
}
