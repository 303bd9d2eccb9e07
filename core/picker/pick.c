#include "core/picker/internal.h"

/* Bounds on the work of one pick, whatever the peer has. */
enum {
    PROBES = 256,       /* idle pieces looked at in the order of rarity, */
    PROBES_A_BLOCK = 8, /* and as many more for each block wanted */
    SAMPLE = 32,        /* then the rarest of that many found elsewhere */
    JOIN_VISITS = 1024, /* open pieces looked at to join, per list */
    TEND_VISITS = 64,   /* open pieces that nobody is at, looked at by a fast peer */
    DUP_VISITS = 4096,  /* blocks looked at in the end game */
};

struct pick {
    struct sp_picker *p;
    const struct sp_pick *ask;
    struct sp_block_ref *out;
    uint32_t count;      /* of out */
    uint64_t open_bytes; /* that may still be opened */
    uint32_t probes;     /* left */
};

static bool has(const struct pick *c, uint32_t piece)
{
    return !c->ask->have || sp_bits_get(c->ask->have, piece);
}

static bool more(const struct pick *c)
{
    return c->count < c->ask->count;
}

static void emit(struct pick *c, struct sp_open_piece *o, uint32_t block)
{
    sp_open_ask(c->p, o, block, c->ask->peer);
    c->out[c->count++] = (struct sp_block_ref){.piece = o->piece, .block = block};
}

static void own(struct pick *c, struct sp_open_piece *o)
{
    uint32_t hint = c->ask->peer % OWN_HINTS;

    c->p->order->own[hint].peer = c->ask->peer;
    c->p->order->own[hint].piece = o->piece;
    o->owner = c->ask->peer;
    o->exclusive = c->ask->fast || o->failures > 0;
}

/* FREE blocks from the lowest on.  A piece that nobody is at gets an owner. */
static void take_blocks(struct pick *c, struct sp_open_piece *o)
{
    if (o->asked_count == 0)
        own(c, o);
    while (more(c) && o->got_count + o->asked_count < o->block_count) {
        while (o->blocks[o->first_free].state != SP_BLOCK_FREE)
            o->first_free++;
        emit(c, o, o->first_free);
    }
    sp_open_relist(c->p, o);
}

static bool open_piece(struct pick *c, uint32_t piece)
{
    uint32_t len = sp_picker_piece_len(c->p, piece);

    if (len > c->open_bytes)
        return false;
    struct sp_open_piece *o = sp_open_new(c->p, piece, c->ask->peer, c->ask->fast);
    if (!o)
        return false;
    c->open_bytes -= len;
    take_blocks(c, o);
    return true;
}

/* ---- which idle piece ---- */

/* From that index on, and round: the rarest of the first sample pieces of this
 * priority that the peer has. */
static uint32_t scan(const struct pick *c, uint32_t prio, uint32_t from, uint32_t sample)
{
    const struct sp_bits *idle = &c->p->order->idle[prio];
    size_t words = sp_bits_room(idle->count) / 8;
    uint32_t best = SP_BITS_NONE, best_avail = UINT32_MAX;

    /* The first word is seen twice: its end at first, all of it at last. */
    for (size_t i = 0, w = from / 64; i <= words && sample; i++, w = w + 1 < words ? w + 1 : 0) {
        uint64_t bits = sp_bits_word(idle, w) & (i ? ~UINT64_C(0) : ~UINT64_C(0) >> (from % 64));
        bits &= c->ask->have ? sp_bits_word(c->ask->have, w) : bits;
        for (; bits && sample; sample--) {
            uint32_t bit = (uint32_t)__builtin_clzll(bits);
            uint32_t piece = (uint32_t)(w * 64) + bit;
            bits &= ~(UINT64_C(1) << (63 - bit));
            if (sp_picker_avail(c->p, piece) < best_avail) {
                best = piece;
                best_avail = sp_picker_avail(c->p, piece);
            }
        }
    }
    return best;
}

static uint32_t random_index(const struct pick *c)
{
    return (uint32_t)sp_rng_below(c->p->cfg.rng, c->p->cfg.piece_count);
}

/* BEP-0003, not followed: "Downloaders generally download pieces in random order"; only the first
 * pieces are random (rare ones are slow to complete, and until something is had nothing can be
 * given), the others rarest first. */
static uint32_t any(const struct pick *c, uint32_t prio, uint32_t a, uint32_t b)
{
    if (!c->ask->have)
        return c->p->order->at[a + sp_rng_below(c->p->cfg.rng, b - a)];
    return scan(c, prio, random_index(c), 1);
}

static uint32_t lowest(const struct pick *c, uint32_t prio)
{
    struct sp_order *o = c->p->order;
    const struct sp_bits *idle = &o->idle[prio];

    o->low[prio] = sp_bits_next(idle, o->low[prio]); /* there is one */
    size_t words = sp_bits_room(idle->count) / 8;
    for (size_t w = o->low[prio] / 64; w < words; w++) {
        uint64_t bits = sp_bits_word(idle, w);
        bits &= c->ask->have ? sp_bits_word(c->ask->have, w) : bits;
        if (bits)
            return (uint32_t)(w * 64) + (uint32_t)__builtin_clzll(bits);
    }
    return SP_BITS_NONE;
}

/* The rarest, by key from the best on and from a random place within a key. */
static uint32_t rarest(struct pick *c, uint32_t prio, uint32_t a, uint32_t b)
{
    const struct sp_order *o = c->p->order;

    for (uint32_t end = b; end > a && c->probes > 0;) {
        uint32_t first = o->start[sp_order_key_at(o, end - 1)], size = end - first;
        uint32_t off = (uint32_t)sp_rng_below(c->p->cfg.rng, size);
        uint32_t visits = size < c->probes ? size : c->probes;
        for (uint32_t i = 0; i < visits; i++) {
            uint32_t piece = o->at[first + off];
            if (has(c, piece)) {
                c->probes -= i;
                return piece;
            }
            off = off + 1 < size ? off + 1 : 0;
        }
        c->probes -= visits;
        end = first;
        if (end == a && visits == size)
            return SP_BITS_NONE; /* looked at all of them */
    }
    return scan(c, prio, random_index(c), SAMPLE);
}

static uint32_t choose_idle(struct pick *c, uint32_t prio)
{
    const struct sp_order *o = c->p->order;
    uint32_t a = o->start[(prio - 1) * LEVELS], b = o->start[prio * LEVELS];

    if (a == b)
        return SP_BITS_NONE;
    if (c->p->have.set < SP_PICKER_RANDOM_FIRST)
        return any(c, prio, a, b);
    return rarest(c, prio, a, b);
}

static void open_idle(struct pick *c, uint32_t prio)
{
    while (more(c) && c->open_bytes > 0) {
        uint32_t piece = choose_idle(c, prio);
        if (piece == SP_BITS_NONE || !open_piece(c, piece))
            return;
    }
}

/* ---- open pieces ---- */

/* A piece that failed before is for one peer, so that who is to blame shows;
 * it is shared only when nothing else is left at all. */
static bool may_join(const struct pick *c, const struct sp_open_piece *o)
{
    bool alone = o->asked_count == 0 || o->owner == c->ask->peer;

    return has(c, o->piece) && (o->failures == 0 || alone || c->ask->endgame);
}

static void join(struct pick *c, uint32_t prio, enum list list, bool untended, uint32_t visits)
{
    struct sp_open_piece *next;

    for (struct sp_open_piece *o = c->p->lists[prio][list].head; o && more(c) && visits--;
         o = next) {
        next = o->free_next;
        if (may_join(c, o) && (!untended || o->asked_count == 0))
            take_blocks(c, o);
    }
}

static void join_own(struct pick *c, uint32_t prio)
{
    uint32_t hint = c->ask->peer % OWN_HINTS;
    const struct sp_order *order = c->p->order;

    if (order->own[hint].peer != c->ask->peer)
        return;
    struct sp_open_piece *o = sp_picker_open(c->p, order->own[hint].piece);
    if (o && o->owner == c->ask->peer && o->list != LIST_NONE && o->prio == prio && may_join(c, o))
        take_blocks(c, o);
}

/* One piece by its number, whatever the order says. */
static void take_named(struct pick *c, uint32_t piece, uint32_t prio)
{
    if (piece >= c->p->cfg.piece_count || !has(c, piece) || !sp_bits_get(&c->p->wanted, piece) ||
        (prio && sp_prio(c->p, piece) != prio))
        return;
    struct sp_open_piece *o = sp_picker_open(c->p, piece);
    if (!o)
        open_piece(c, piece);
    else if (o->list != LIST_NONE && may_join(c, o))
        take_blocks(c, o);
}

/* Lowest index first, open or not.  A piece that must not be opened (memory)
 * does not keep open ones behind it from being joined. */
static void pick_in_order(struct pick *c, uint32_t prio)
{
    struct sp_open_piece *o = c->p->lists[prio][LIST_SHARED].head, *next;
    bool may_open = c->p->order->start[prio * LEVELS] > c->p->order->start[(prio - 1) * LEVELS];

    for (uint32_t visits = JOIN_VISITS; more(c) && visits > 0; visits--) {
        uint32_t idle = may_open ? lowest(c, prio) : SP_BITS_NONE;
        for (; o && o->piece < idle && more(c) && visits > 1; o = next, visits--) {
            next = o->free_next;
            if (may_join(c, o))
                take_blocks(c, o);
        }
        if (!more(c) || (idle == SP_BITS_NONE && !o))
            return;
        may_open = idle != SP_BITS_NONE && open_piece(c, idle) && c->p->order->idle[prio].set > 0;
    }
}

/* One priority, best first.  Fast peers keep whole pieces for themselves: one
 * sender to blame, blocks in order, whole pieces soon.  Slow ones finish
 * together what one of them began. */
static void pick_prio(struct pick *c, uint32_t prio)
{
    if (c->p->sequential) {
        pick_in_order(c, prio);
        return;
    }
    /* BEP-0006: "Suggest Piece is an advisory message meaning 'you might like to download this
     * piece.'" */
    for (uint32_t i = 0; i < c->ask->first_count && more(c); i++)
        take_named(c, c->ask->first[i], prio);
    join_own(c, prio);
    if (c->ask->fast)
        join(c, prio, LIST_SHARED, true, TEND_VISITS);
    else
        join(c, prio, LIST_SHARED, false, JOIN_VISITS);
    open_idle(c, prio);
    if (c->ask->fast)
        join(c, prio, LIST_SHARED, false, JOIN_VISITS);
    join(c, prio, LIST_HELD, false, JOIN_VISITS);
}

/* ---- end game ---- */

static bool asked_of(const struct sp_open_block *blk, uint32_t peer)
{
    for (uint32_t i = 0; i < blk->asked; i++)
        if (blk->askers[i] == peer)
            return true;
    return false;
}

static void duplicate(struct pick *c, struct sp_open_piece *o, uint32_t asked, uint32_t *visits)
{
    for (uint32_t b = 0; b < o->block_count && more(c) && *visits; b++, --*visits) {
        const struct sp_open_block *blk = &o->blocks[b];
        if (blk->state == SP_BLOCK_ASKED && blk->asked == asked && !asked_of(blk, c->ask->peer))
            emit(c, o, b);
    }
}

/* BEP-0003, not followed: "it sends requests for everything to everyone it's
 * downloading from"; a block is asked of SP_PICKER_ASKERS_MAX at most, those
 * asked of the fewest first, since more only costs everyone's bandwidth. */
static void pick_endgame(struct pick *c)
{
    uint32_t visits = DUP_VISITS;

    for (uint32_t asked = 1; asked < SP_PICKER_ASKERS_MAX; asked++) {
        if ((asked == 1 ? c->p->once : c->p->twice) == 0)
            continue;
        for (struct sp_open_piece *o = c->p->all.head; o && more(c) && visits; o = o->next) {
            visits--;
            if ((asked == 1 ? o->once : o->twice) > 0 && o->prio > 0 && has(c, o->piece))
                duplicate(c, o, asked, &visits);
        }
    }
}

uint32_t sp_picker_pick(struct sp_picker *p, const struct sp_pick *ask, struct sp_block_ref *out)
{
    struct pick c = {.p = p, .ask = ask, .out = out, .open_bytes = ask->open_max_bytes};

    assert(ask->peer != SP_PEER_NONE && (!ask->have || ask->have->count == p->cfg.piece_count));
    if (ask->count == 0 || p->wanted.set == 0 || !sp_order_prepare(p))
        return 0;
    c.probes = PROBES + (ask->count < 65536 ? ask->count : 65536) * PROBES_A_BLOCK;
    if (ask->only) {
        for (uint32_t i = 0; i < ask->only_count && more(&c); i++)
            take_named(&c, ask->only[i], 0);
        return c.count;
    }
    for (uint32_t prio = SP_PICKER_PRIO_MAX; prio > 0 && more(&c); prio--)
        pick_prio(&c, prio);
    if (ask->endgame && more(&c))
        pick_endgame(&c);
    return c.count;
}
