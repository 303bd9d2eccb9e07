#include "core/picker/internal.h"

static uint32_t last_len(const struct sp_picker *p)
{
    return (uint32_t)(p->cfg.total_len - (uint64_t)(p->cfg.piece_count - 1) * p->cfg.piece_len);
}

static uint64_t whole_len(const struct sp_picker *p)
{
    uint64_t sum = p->cfg.total_len;

    if (p->cfg.len_of)
        sum = 0;
    for (uint32_t piece = 0; p->cfg.len_of && piece < p->cfg.piece_count; piece++)
        sum += sp_picker_piece_len(p, piece);
    return sum;
}

static enum sp_err check_cfg(const struct sp_picker_cfg *cfg)
{
    if (cfg->piece_count == 0 || cfg->piece_count > SP_PICKER_PIECE_MAX || cfg->piece_len == 0 ||
        cfg->piece_len > SP_PICKER_PIECE_LEN_MAX || (cfg->total_len == 0 && !cfg->len_of))
        return SP_EINVAL;
    if (cfg->len_of)
        return SP_OK;
    return (cfg->total_len - 1) / cfg->piece_len + 1 == cfg->piece_count ? SP_OK : SP_EINVAL;
}

enum sp_err sp_picker_new(const struct sp_picker_cfg *cfg, struct sp_picker **ret_picker)
{
    if (check_cfg(cfg) != SP_OK)
        return SP_EINVAL;

    struct sp_picker *p = SP_NEW(cfg->mem, struct sp_picker);
    if (!p)
        return SP_ENOMEM;
    p->cfg = *cfg;
    if (sp_bits_init(&p->have, cfg->mem, cfg->piece_count) != SP_OK ||
        sp_bits_init(&p->wanted, cfg->mem, cfg->piece_count) != SP_OK) {
        sp_picker_free(p);
        return SP_ENOMEM;
    }
    sp_bits_fill(&p->wanted, true);
    p->counts.wanted_left_bytes = whole_len(p);
    *ret_picker = p;
    return SP_OK;
}

void sp_picker_free(struct sp_picker *p)
{
    if (!p)
        return;

    const struct sp_mem *mem = p->cfg.mem;
    for (struct sp_open_piece *o = p->all.head, *next; o; o = next) {
        next = o->next;
        sp_mem_free(mem, o);
    }
    sp_mem_free(mem, p->slots);
    sp_mem_free(mem, p->slot_free);
    sp_order_free(p);
    sp_mem_free(mem, p->avail);
    sp_mem_free(mem, p->prio);
    sp_bits_done(&p->wanted, mem);
    sp_bits_done(&p->have, mem);
    sp_mem_free(mem, p);
}

/* ---- shapes ---- */

uint32_t sp_picker_piece_count(const struct sp_picker *p)
{
    return p->cfg.piece_count;
}

uint32_t sp_picker_piece_len(const struct sp_picker *p, uint32_t piece)
{
    assert(piece < p->cfg.piece_count);
    if (p->cfg.len_of)
        return p->cfg.len_of(p->cfg.len_ctx, piece);
    return piece + 1 < p->cfg.piece_count ? p->cfg.piece_len : last_len(p);
}

uint32_t sp_picker_block_count(const struct sp_picker *p, uint32_t piece)
{
    return (sp_picker_piece_len(p, piece) + SP_BLOCK_LEN - 1) / SP_BLOCK_LEN;
}

uint32_t sp_picker_block_len(const struct sp_picker *p, struct sp_block_ref ref)
{
    uint32_t len = sp_picker_piece_len(p, ref.piece);

    assert(sp_picker_has_block(p, ref));
    len -= ref.block * SP_BLOCK_LEN;
    return len < SP_BLOCK_LEN ? len : SP_BLOCK_LEN;
}

bool sp_picker_has_block(const struct sp_picker *p, struct sp_block_ref ref)
{
    return ref.piece < p->cfg.piece_count && ref.block < sp_picker_block_count(p, ref.piece);
}

/* ---- open records and their lists ---- */

static void link_all(struct sp_picker *p, struct sp_open_piece *o)
{
    o->prev = p->all.tail;
    *(p->all.tail ? &p->all.tail->next : &p->all.head) = o;
    p->all.tail = o;
}

static void unlink_all(struct sp_picker *p, struct sp_open_piece *o)
{
    *(o->prev ? &o->prev->next : &p->all.head) = o->next;
    *(o->next ? &o->next->prev : &p->all.tail) = o->prev;
}

static void unlist(struct sp_picker *p, struct sp_open_piece *o)
{
    struct sp_open_list *list = &p->lists[o->prio][o->list];

    if (o->list == LIST_NONE)
        return;
    *(o->free_prev ? &o->free_prev->free_next : &list->head) = o->free_next;
    *(o->free_next ? &o->free_next->free_prev : &list->tail) = o->free_prev;
    o->list = LIST_NONE;
}

/* Behind after; NULL: as the first. */
static void enlist(struct sp_picker *p, struct sp_open_piece *o, struct sp_open_piece *after)
{
    struct sp_open_list *list = &p->lists[o->prio][o->list];

    o->free_prev = after;
    o->free_next = after ? after->free_next : list->head;
    *(after ? &after->free_next : &list->head) = o;
    *(o->free_next ? &o->free_next->free_prev : &list->tail) = o;
}

static enum list list_of(const struct sp_picker *p, const struct sp_open_piece *o, uint8_t prio)
{
    if (prio == 0 || o->got_count + o->asked_count == o->block_count)
        return LIST_NONE;
    return o->exclusive && o->asked_count > 0 && !p->sequential ? LIST_HELD : LIST_SHARED;
}

void sp_open_relist(struct sp_picker *p, struct sp_open_piece *o)
{
    uint8_t prio = sp_prio(p, o->piece);
    enum list list = list_of(p, o, prio);

    if (o->list == list && o->prio == prio)
        return;
    unlist(p, o);
    o->prio = prio;
    o->list = (uint8_t)list;
    if (list == LIST_NONE)
        return;

    /* What was begun and given back comes first. */
    bool begun = list == LIST_SHARED && o->got_count + o->asked_count > 0;
    struct sp_open_piece *after = begun ? NULL : p->lists[prio][list].tail;
    if (p->sequential)
        for (after = p->lists[prio][list].tail; after && after->piece > o->piece;)
            after = after->free_prev;
    enlist(p, o, after);
}

static bool slot_room(struct sp_picker *p)
{
    if (p->slot_free_count > 0)
        return true;

    uint32_t cap = p->slot_cap ? 2 * p->slot_cap : 16;
    struct sp_open_piece **slots =
        sp_mem_grow(p->cfg.mem, p->slots, p->slot_cap, cap, sizeof(struct sp_open_piece *));
    if (!slots)
        return false;
    p->slots = slots;
    uint32_t *stack = sp_mem_grow(p->cfg.mem, p->slot_free, 0, cap, sizeof(uint32_t));
    if (!stack)
        return false; /* slots is larger than slot_cap says: harmless */
    p->slot_free = stack;
    for (uint32_t slot = cap; slot-- > p->slot_cap;)
        p->slot_free[p->slot_free_count++] = slot;
    p->slot_cap = cap;
    return true;
}

struct sp_open_piece *sp_open_new(struct sp_picker *p, uint32_t piece, uint32_t owner,
                                  bool exclusive)
{
    uint32_t count = sp_picker_block_count(p, piece);

    if (!slot_room(p))
        return NULL;
    struct sp_open_piece *o = sp_mem_alloc(
        p->cfg.mem, 1, sizeof(struct sp_open_piece) + (size_t)count * sizeof(struct sp_open_block));
    if (!o)
        return NULL;
    o->piece = piece;
    o->block_count = count;
    o->state = SP_PIECE_OPEN;
    o->owner = owner;
    o->exclusive = exclusive;
    for (uint32_t b = 0; b < count; b++)
        o->blocks[b].from = SP_PEER_NONE;

    sp_order_remove(p, piece);
    o->slot = p->slot_free[--p->slot_free_count];
    p->slots[o->slot] = o;
    p->order->pos[piece] = POS_OPEN | o->slot;
    link_all(p, o);
    p->counts.open++;
    p->counts.open_bytes += sp_picker_piece_len(p, piece);
    sp_open_relist(p, o);
    return o;
}

static uint64_t got_bytes(const struct sp_picker *p, const struct sp_open_piece *o)
{
    struct sp_block_ref last = {o->piece, o->block_count - 1};
    uint64_t bytes = (uint64_t)o->got_count * SP_BLOCK_LEN;

    if (o->blocks[last.block].state == SP_BLOCK_GOT)
        bytes -= SP_BLOCK_LEN - sp_picker_block_len(p, last);
    return bytes;
}

/* Nothing of the piece is here or asked any more. */
static void forget_blocks(struct sp_picker *p, struct sp_open_piece *o)
{
    p->counts.got_bytes -= got_bytes(p, o);
    p->counts.asked -= o->asked_count;
    p->counts.full -= o->state == SP_PIECE_FULL;
    p->once -= o->once;
    p->twice -= o->twice;
    o->got_count = o->asked_count = o->once = o->twice = o->first_free = 0;
    o->state = SP_PIECE_OPEN;
}

static void close_piece(struct sp_picker *p, struct sp_open_piece *o)
{
    forget_blocks(p, o);
    unlist(p, o);
    unlink_all(p, o);
    p->counts.open--;
    assert(p->counts.open > 0 || (p->once == 0 && p->twice == 0 && p->counts.asked == 0));
    p->counts.open_bytes -= sp_picker_piece_len(p, o->piece);
    p->slots[o->slot] = NULL;
    p->slot_free[p->slot_free_count++] = o->slot;
    p->order->pos[o->piece] = 0;
    sp_mem_free(p->cfg.mem, o);
}

/* A torrent that wants nothing keeps only its bitfields. */
static void rest(struct sp_picker *p)
{
    if (p->wanted.set > 0 || p->counts.open > 0)
        return;
    sp_order_free(p);
    sp_mem_free(p->cfg.mem, p->slots);
    sp_mem_free(p->cfg.mem, p->slot_free);
    p->slots = NULL;
    p->slot_free = NULL;
    p->slot_cap = p->slot_free_count = 0;
}

struct sp_open_piece *sp_picker_open(const struct sp_picker *p, uint32_t piece)
{
    assert(piece < p->cfg.piece_count);
    if (!p->order || !(p->order->pos[piece] & POS_OPEN))
        return NULL;
    return p->slots[p->order->pos[piece] & ~POS_OPEN];
}

struct sp_open_piece *sp_picker_open_first(const struct sp_picker *p)
{
    return p->all.head;
}

/* ---- what we have and want ---- */

static void set_bit(const struct sp_picker *p, struct sp_bits *bits, uint64_t *bytes,
                    uint32_t piece, bool value)
{
    if (value && sp_bits_add(bits, piece))
        *bytes += sp_picker_piece_len(p, piece);
    else if (!value && sp_bits_del(bits, piece))
        *bytes -= sp_picker_piece_len(p, piece);
}

static void set_had(struct sp_picker *p, uint32_t piece, bool had)
{
    set_bit(p, &p->have, &p->counts.have_bytes, piece, had);
}

/* Wanted is what has a priority and is not had. */
static void set_wanted(struct sp_picker *p, uint32_t piece)
{
    bool wanted = sp_prio(p, piece) > 0 && !sp_bits_get(&p->have, piece);

    set_bit(p, &p->wanted, &p->counts.wanted_left_bytes, piece, wanted);
}

void sp_picker_set_have(struct sp_picker *p, uint32_t piece, bool have)
{
    assert(piece < p->cfg.piece_count);
    if (sp_bits_get(&p->have, piece) == have)
        return;
    if (!have) {
        set_had(p, piece, false);
        set_wanted(p, piece);
        if (sp_prio(p, piece) > 0) {
            sp_order_churn(p);
            sp_order_add(p, piece);
        }
        return;
    }

    struct sp_open_piece *o = sp_picker_open(p, piece);
    if (o) {
        close_piece(p, o);
    } else if (sp_bits_get(&p->wanted, piece)) {
        sp_order_churn(p);
        sp_order_remove(p, piece);
    }
    set_had(p, piece, true);
    set_wanted(p, piece);
    rest(p);
}

enum sp_err sp_picker_set_priority(struct sp_picker *p, uint32_t piece, uint8_t prio)
{
    assert(piece < p->cfg.piece_count && prio <= SP_PICKER_PRIO_MAX);
    if (prio == sp_prio(p, piece))
        return SP_OK;
    if (!p->prio) {
        p->prio = SP_NEW_ARRAY(p->cfg.mem, uint8_t, p->cfg.piece_count);
        if (!p->prio)
            return SP_ENOMEM;
        memset(p->prio, SP_PICKER_PRIO_DEFAULT, p->cfg.piece_count);
    }

    struct sp_open_piece *o = sp_picker_open(p, piece);
    bool had = sp_bits_get(&p->have, piece), idle = !had && !o;
    sp_order_churn(p);
    if (idle && p->prio[piece] > 0)
        sp_order_remove(p, piece);
    p->prio[piece] = prio;
    set_wanted(p, piece);
    if (idle && prio > 0)
        sp_order_add(p, piece);
    if (o)
        sp_open_relist(p, o);
    rest(p);
    return SP_OK;
}

uint8_t sp_picker_priority(const struct sp_picker *p, uint32_t piece)
{
    assert(piece < p->cfg.piece_count);
    return sp_prio(p, piece);
}

void sp_picker_set_sequential(struct sp_picker *p, bool sequential)
{
    if (p->sequential == sequential)
        return;
    p->sequential = sequential;
    for (struct sp_open_piece *o = p->all.head; o; o = o->next)
        unlist(p, o);
    for (struct sp_open_piece *o = p->all.head; o; o = o->next)
        sp_open_relist(p, o);
}

const struct sp_bits *sp_picker_have(const struct sp_picker *p)
{
    return &p->have;
}

const struct sp_bits *sp_picker_wanted(const struct sp_picker *p)
{
    return &p->wanted;
}

enum sp_piece_state sp_picker_state(const struct sp_picker *p, uint32_t piece)
{
    const struct sp_open_piece *o = sp_picker_open(p, piece);

    if (o)
        return o->state;
    return sp_bits_get(&p->have, piece) ? SP_PIECE_HAVE : SP_PIECE_IDLE;
}

struct sp_picker_counts sp_picker_counts(const struct sp_picker *p)
{
    struct sp_picker_counts c = p->counts;

    c.have = p->have.set;
    c.wanted_left = p->wanted.set;
    return c;
}

/* ---- blocks that go out, come in, come back ---- */

/* The end game's counts leave a block out while it changes. */
static void tally(struct sp_picker *p, struct sp_open_piece *o, const struct sp_open_block *blk,
                  uint32_t by)
{
    if (blk->state != SP_BLOCK_ASKED)
        return;
    if (blk->asked == 1) {
        o->once += by;
        p->once += by;
    } else if (blk->asked == 2) {
        o->twice += by;
        p->twice += by;
    }
}

void sp_open_ask(struct sp_picker *p, struct sp_open_piece *o, uint32_t block, uint32_t peer)
{
    struct sp_open_block *blk = &o->blocks[block];

    assert(blk->asked < SP_PICKER_ASKERS_MAX);
    tally(p, o, blk, UINT32_MAX);
    blk->askers[blk->asked++] = peer;
    if (blk->state == SP_BLOCK_FREE) {
        blk->state = SP_BLOCK_ASKED;
        o->asked_count++;
        p->counts.asked++;
    }
    tally(p, o, blk, 1);
}

static bool drop_asker(struct sp_open_block *blk, uint32_t peer)
{
    for (uint32_t i = 0; i < blk->asked; i++) {
        if (blk->askers[i] != peer)
            continue;
        for (blk->asked--; i < blk->asked; i++)
            blk->askers[i] = blk->askers[i + 1];
        return true;
    }
    return false;
}

void sp_picker_unask(struct sp_picker *p, struct sp_block_ref ref, uint32_t peer)
{
    assert(sp_picker_has_block(p, ref));
    struct sp_open_piece *o = sp_picker_open(p, ref.piece);
    if (!o)
        return;

    struct sp_open_block *blk = &o->blocks[ref.block];
    tally(p, o, blk, UINT32_MAX);
    bool was = drop_asker(blk, peer);
    if (was && blk->state == SP_BLOCK_ASKED && blk->asked == 0) {
        blk->state = SP_BLOCK_FREE;
        o->asked_count--;
        p->counts.asked--;
        if (ref.block < o->first_free)
            o->first_free = ref.block;
        sp_open_relist(p, o);
    }
    tally(p, o, blk, 1);
}

void sp_picker_disown(struct sp_picker *p, uint32_t peer)
{
    for (struct sp_open_piece *o = p->all.head; o; o = o->next) {
        if (o->owner != peer)
            continue;
        o->owner = SP_PEER_NONE;
        o->exclusive = false;
        sp_open_relist(p, o);
    }
}

enum sp_got sp_picker_would_get(const struct sp_picker *p, struct sp_block_ref ref)
{
    assert(sp_picker_has_block(p, ref));
    const struct sp_open_piece *o = sp_picker_open(p, ref.piece);
    if (!o)
        return SP_GOT_UNWANTED;
    if (o->blocks[ref.block].state == SP_BLOCK_GOT)
        return SP_GOT_DUPLICATE;
    return o->got_count + 1 == o->block_count ? SP_GOT_PIECE_FULL : SP_GOT_NEW;
}

enum sp_got sp_picker_got(struct sp_picker *p, struct sp_block_ref ref, uint32_t peer,
                          uint8_t *data)
{
    enum sp_got got = sp_picker_would_get(p, ref);
    struct sp_open_piece *o = sp_picker_open(p, ref.piece);

    if (got == SP_GOT_UNWANTED) {
        p->counts.unwanted++;
        return got;
    }
    struct sp_open_block *blk = &o->blocks[ref.block];
    if (got == SP_GOT_DUPLICATE) {
        drop_asker(blk, peer);
        p->counts.duplicates++;
        return got;
    }

    tally(p, o, blk, UINT32_MAX);
    drop_asker(blk, peer);
    if (blk->state == SP_BLOCK_ASKED) {
        o->asked_count--;
        p->counts.asked--;
    }
    blk->state = SP_BLOCK_GOT;
    blk->data = data;
    blk->from = peer;
    o->got_count++;
    p->counts.got_bytes += sp_picker_block_len(p, ref);
    if (got == SP_GOT_PIECE_FULL) {
        o->state = SP_PIECE_FULL;
        p->counts.full++;
    }
    sp_open_relist(p, o);
    return got;
}

void sp_picker_failed(struct sp_picker *p, uint32_t piece, bool keep_blame)
{
    struct sp_open_piece *o = sp_picker_open(p, piece);

    assert(o && o->state == SP_PIECE_FULL);
    forget_blocks(p, o);
    for (uint32_t b = 0; b < o->block_count; b++) {
        uint32_t from = keep_blame ? o->blocks[b].from : SP_PEER_NONE;
        o->blocks[b] = (struct sp_open_block){.from = from, .state = SP_BLOCK_FREE};
    }
    o->owner = SP_PEER_NONE;
    o->exclusive = false;
    o->failures = (uint8_t)(o->failures + (o->failures < UINT8_MAX));
    sp_open_relist(p, o);
}

void sp_picker_abandon(struct sp_picker *p, uint32_t piece)
{
    struct sp_open_piece *o = sp_picker_open(p, piece);

    if (!o)
        return;
    close_piece(p, o);
    if (sp_bits_get(&p->wanted, piece)) {
        sp_order_churn(p);
        sp_order_add(p, piece);
    }
    rest(p);
}

/* ---- questions ---- */

bool sp_picker_wants(const struct sp_picker *p, uint32_t piece)
{
    return sp_bits_get(&p->wanted, piece);
}

bool sp_picker_wants_from(const struct sp_picker *p, const struct sp_bits *bits)
{
    if (!bits)
        return p->wanted.set > 0;
    assert(bits->count == p->cfg.piece_count);
    for (size_t w = 0; w < sp_bits_room(bits->count) / 8; w++)
        if (sp_bits_word(&p->wanted, w) & sp_bits_word(bits, w))
            return true;
    return false;
}

uint32_t sp_picker_interesting(const struct sp_picker *p, const struct sp_bits *bits)
{
    uint32_t count = 0;

    if (!bits)
        return p->wanted.set;
    assert(bits->count == p->cfg.piece_count);
    for (size_t w = 0; w < sp_bits_room(bits->count) / 8; w++)
        count +=
            (uint32_t)__builtin_popcountll(sp_bits_word(&p->wanted, w) & sp_bits_word(bits, w));
    return count;
}

static bool any_has(const struct sp_picker *p, uint32_t piece)
{
    return sp_picker_avail(p, piece) > 0;
}

/* Whether some peer has a piece that is idle.  The order's last level of each
 * priority is "nobody"; few pieces are looked at one by one.  While the order
 * is stale the answer is yes: the next pick may make it true. */
static bool idle_left(const struct sp_picker *p)
{
    const struct sp_order *o = p->order;

    if (o->start[KEYS] <= 64) {
        for (uint32_t i = 0; i < o->start[KEYS]; i++)
            if (any_has(p, o->at[i]))
                return true;
        return false;
    }
    if (p->seeds > 0 || o->stale > 0)
        return true;
    for (uint32_t key = 0; key < KEYS; key += LEVELS)
        if (o->start[key + LEVELS - 1] > o->start[key])
            return true;
    return false;
}

bool sp_picker_endgame_ready(const struct sp_picker *p)
{
    if (p->counts.asked == 0 || !p->order->built || idle_left(p))
        return false;
    for (uint32_t prio = 1; prio <= SP_PICKER_PRIO_MAX; prio++)
        for (uint32_t list = LIST_SHARED; list < LISTS; list++)
            for (struct sp_open_piece *o = p->lists[prio][list].head; o; o = o->free_next)
                if (any_has(p, o->piece))
                    return false;
    return true;
}
