/* internal.h - the picker's own state, shared by its files:
 *
 *   picker.c  what we have and want, open records, what comes and goes
 *   avail.c   how many peers have each piece
 *   order.c   idle pieces by priority and rarity
 *   pick.c    choosing
 */
#ifndef SP_PICKER_INTERNAL_H
#define SP_PICKER_INTERNAL_H

#include "core/picker/picker.h"

enum {
    LEVELS = 256, /* availability from LEVELS - 1 upwards is all the same to us */
    KEYS = SP_PICKER_PRIO_MAX * LEVELS,
    OWN_HINTS = 256,
};

/* Idle wanted pieces, the least urgent first and the best at the end, where
 * taking one out moves the fewest others.
 *
 *   at     | key 0 ... | key 1 ... | ... | key KEYS-1 ... |
 *          start[0]    start[1]                           start[KEYS] = count
 *
 *   key = (prio - 1) * LEVELS + (LEVELS - 1 - availability)
 */
struct sp_order {
    bool built;     /* at, pos of idle pieces and idle[] are true */
    uint32_t stale; /* bitfields counted since at was sorted */
    uint32_t churn; /* pieces moved since the last pick */
    uint32_t *at;   /* pieces */
    uint32_t *pos;  /* piece to place in at; for open pieces POS_OPEN | slot */
    uint32_t low[SP_PICKER_PRIO_MAX + 1];        /* no idle piece of that priority is below */
    struct sp_bits idle[SP_PICKER_PRIO_MAX + 1]; /* by priority; no storage until one is used */
    uint32_t start[KEYS + 1];
    struct {
        uint32_t peer, piece; /* a piece that peer owns, to find it without a walk */
    } own[OWN_HINTS];         /* by peer modulo OWN_HINTS */
};

#define POS_OPEN UINT32_C(0x80000000)

enum list {
    LIST_NONE,   /* no FREE blocks, or not wanted */
    LIST_SHARED, /* whoever comes may join */
    LIST_HELD,   /* its owner is at it and wants all of it */
    LISTS,
};

struct sp_open_list {
    struct sp_open_piece *head, *tail;
};

struct sp_picker {
    struct sp_picker_cfg cfg;
    struct sp_bits have, wanted;
    uint8_t *prio; /* NULL: all default */
    bool sequential;

    uint16_t *avail;    /* by bits; NULL while all are 0 */
    uint64_t avail_sum; /* of avail, also while lost */
    bool avail_lost;    /* out of memory: avail is not kept until avail_sum is 0 */
    uint32_t seeds;
    uint32_t partial; /* peers counted by bits, roughly */
    bool copies_known;
    uint32_t copies_min, copies_above; /* least avail; pieces with more than that */

    struct sp_order *order; /* NULL until the first pick, and when nothing is wanted */

    struct sp_open_piece **slots; /* slot_cap */
    uint32_t *slot_free;          /* stack of free slots */
    uint32_t slot_cap, slot_free_count;
    struct sp_open_list all;
    struct sp_open_list lists[SP_PICKER_PRIO_MAX + 1][LISTS];
    struct sp_picker_counts
        counts;           /* open, full, asked, open_bytes, got_bytes, duplicates, unwanted */
    uint32_t once, twice; /* sums over the open pieces */
};

static inline uint8_t sp_prio(const struct sp_picker *p, uint32_t piece)
{
    return p->prio ? p->prio[piece] : (uint8_t)SP_PICKER_PRIO_DEFAULT;
}

static inline uint32_t sp_avail_level(const struct sp_picker *p, uint32_t piece)
{
    uint32_t avail = p->avail ? p->avail[piece] : 0;

    return avail < LEVELS ? avail : LEVELS - 1;
}

/* ---- order.c ---- */

/* Makes the order fit to pick from; false when out of memory. */
bool sp_order_prepare(struct sp_picker *p);
void sp_order_free(struct sp_picker *p);
/* A piece became idle and wanted, or no longer is.  prio is what it was sorted
 * under.  Nothing happens while the order is not built. */
void sp_order_add(struct sp_picker *p, uint32_t piece);
void sp_order_remove(struct sp_picker *p, uint32_t piece);
/* Many such changes are coming or have come: rather sort anew. */
void sp_order_churn(struct sp_picker *p);
/* The availability of an idle piece changed a little. */
void sp_order_move(struct sp_picker *p, uint32_t piece);
/* The key whose part of at holds place; place < start[KEYS]. */
uint32_t sp_order_key_at(const struct sp_order *o, uint32_t place);

/* ---- picker.c ---- */

/* NULL when out of memory. */
struct sp_open_piece *sp_open_new(struct sp_picker *p, uint32_t piece, uint32_t owner,
                                  bool exclusive);
/* Moves a record to the list it belongs to. */
void sp_open_relist(struct sp_picker *p, struct sp_open_piece *o);
/* The block is asked of one more peer; below SP_PICKER_ASKERS_MAX before. */
void sp_open_ask(struct sp_picker *p, struct sp_open_piece *o, uint32_t block, uint32_t peer);

#endif
