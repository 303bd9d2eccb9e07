/* choker.h - whom to serve: a pure function of rates and time.
 *
 * The caller runs it every SP_CHOKER_PERIOD_NS with a table of its peers and
 * does what want_unchoked says.  Leeching, slots go to those who give us most
 * and one slot in turn to a stranger; seeding, slots go round by bytes given.
 *
 * Source: BEP-0003 "choking", and Cohen, "Incentives Build Robustness in
 * BitTorrent" (2003).
 */
#ifndef SP_CHOKER_H
#define SP_CHOKER_H

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "spate/err.h"

/* BEP-0003: "The currently deployed choking algorithm avoids fibrillation by only changing who's
 * choked once every ten seconds." */
#define SP_CHOKER_PERIOD_NS     (10 * SP_SECOND_NS) /* between runs */
#define SP_CHOKER_OPTIMISTIC_NS (30 * SP_SECOND_NS) /* how long the optimistic slot stays */
#define SP_CHOKER_NEW_NS        (60 * SP_SECOND_NS) /* connected less long: three times as likely */
#define SP_CHOKER_SEED_MIN_NS   (60 * SP_SECOND_NS) /* a seed's turn lasts at least this long */

/* All in, but for the last two.  Times on the caller's clock; 0: never. */
struct sp_choker_peer {
    uint32_t id;            /* the caller's; breaks ties, unique */
    bool interested;        /* in us */
    bool unchoked;          /* by us, as things are */
    bool upload_only;       /* seeds and partial seeds: never want anything (BEP-0021) */
    bool snubbed;           /* asked and gave nothing for a minute (the caller decides) */
    uint64_t down_Bps;      /* it gives us */
    uint64_t up_Bps;        /* we give it */
    uint64_t given_bytes;   /* to it, since it was unchoked */
    sp_time_ns unchoked_at; /* last time it went from choked to unchoked */
    sp_time_ns choked_at;   /* last time it was choked; 0: never was unchoked */
    sp_time_ns connected_at;
    sp_time_ns last_optimistic_at; /* in, out: last time it got the optimistic slot */
    bool optimistic;               /* in, out: holds the optimistic slot */
    bool want_unchoked;            /* out */
};

struct sp_choker_cfg {
    uint32_t slots_min;    /* 1 or more; optimistic slots included.  Advised: 4 */
    uint32_t slots_max;    /* slots_min or more.  Advised: 8 .. 500 */
    uint64_t up_limit_Bps; /* 0: none */
    uint64_t slot_Bps;     /* what a slot should get; 0: 20 KiB/s */
    uint64_t quota_bytes;  /* a seed's turn; 0: 16 MiB.  Advised: 20 pieces, 256 KiB or more */
};

/* Plain; may be copied. */
struct sp_choker {
    struct sp_choker_cfg cfg;
    uint32_t slots;           /* in use by the last run */
    sp_time_ns optimistic_at; /* when the optimistic slots were last drawn; 0: never */
    uint64_t before_Bps;      /* upload when the last slot was added */
    uint8_t trial;            /* runs until the added slot must have paid; 0: none on trial */
    uint8_t hold;             /* runs before another is tried */
};

/* SP_EINVAL  slots_min of 0 or above slots_max */
SP_MUST_USE enum sp_err sp_choker_init(struct sp_choker *c, const struct sp_choker_cfg *cfg);
/* Limits change at run time; slots are kept within the new bounds. */
SP_MUST_USE enum sp_err sp_choker_set_cfg(struct sp_choker *c, const struct sp_choker_cfg *cfg);

/* One round.  Sorts peers in place (id tells who is who).
 *   seeding  we want nothing: serve in turns
 *   up_Bps   measured upload of all peers together
 * Call it every SP_CHOKER_PERIOD_NS.  O(count log count), allocates nothing. */
void sp_choker_run(struct sp_choker *c, struct sp_choker_peer *peers, uint32_t count, bool seeding,
                   uint64_t up_Bps, sp_time_ns now, struct sp_rng *rng);
/* Between rounds, as often as the caller likes: more slots, at once, where the
 * measured upload pays for them; each call doubles them at most.  To choke
 * waits for the round, to serve one more need not.
 *   busy     unchoked and interested
 *   wanting  interested, unchoked or not */
void sp_choker_grow(struct sp_choker *c, uint32_t busy, uint32_t wanting, uint64_t up_Bps);
/* Between rounds: whether a peer that just became interested can have a slot
 * that nobody uses. */
bool sp_choker_has_room(const struct sp_choker *c, uint32_t unchoked_and_interested);

#endif
