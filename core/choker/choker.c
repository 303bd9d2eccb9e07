#include "core/choker/choker.h"

enum {
    SLOT_BPS = 20 << 10,    /* default of cfg.slot_Bps */
    QUOTA_BYTES = 16 << 20, /* default of cfg.quota_bytes */
    TRIAL_RUNS = 2,         /* for an added slot to raise the upload */
    HOLD_RUNS = 6,          /* after one that did not */
    OPTIMISTIC_SHARE = 5,   /* one slot in so many is optimistic, one at least */
    DRAW_TRIES = 64,
};

#define TURN_MAX_NS (300 * SP_SECOND_NS) /* a seed's turn ends, however slow the taker */
#define IDLE_NS     (30 * SP_SECOND_NS)  /* ... and when nothing was taken for so long */

static enum sp_err check_cfg(const struct sp_choker_cfg *cfg)
{
    return cfg->slots_min > 0 && cfg->slots_min <= cfg->slots_max ? SP_OK : SP_EINVAL;
}

enum sp_err sp_choker_init(struct sp_choker *c, const struct sp_choker_cfg *cfg)
{
    if (check_cfg(cfg) != SP_OK)
        return SP_EINVAL;
    *c = (struct sp_choker){.cfg = *cfg, .slots = cfg->slots_min};
    return SP_OK;
}

static uint32_t clamp(uint32_t value, uint32_t min, uint32_t max)
{
    return value < min ? min : value > max ? max : value;
}

enum sp_err sp_choker_set_cfg(struct sp_choker *c, const struct sp_choker_cfg *cfg)
{
    if (check_cfg(cfg) != SP_OK)
        return SP_EINVAL;
    c->cfg = *cfg;
    c->slots = clamp(c->slots, cfg->slots_min, cfg->slots_max);
    c->trial = c->hold = 0;
    return SP_OK;
}

/* ---- how many slots ---- */

static uint32_t root(uint64_t v)
{
    uint64_t r = 0;

    for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
        if ((r | bit) * (r | bit) <= v)
            r |= bit;
    return (uint32_t)r;
}

/* Custom: seen in the first BitTorrent client: sqrt(0.6 * KiB/s) uploads share
 * an uplink well. */
static uint32_t shares(uint64_t up_Bps)
{
    return root(up_Bps / 1024 * 6 / 10);
}

static bool eligible(const struct sp_choker_peer *p)
{
    return p->interested && !p->upload_only;
}

/* The slot added TRIAL_RUNS ago stays if the upload rose by half a share. */
static void judge_trial(struct sp_choker *c, uint64_t up_Bps)
{
    if (--c->trial > 0 || up_Bps / 2 > c->before_Bps / 2 + c->before_Bps / 4 / c->slots)
        return;
    if (c->slots > c->cfg.slots_min)
        c->slots--;
    c->hold = HOLD_RUNS;
}

/* As many as share the measured upload well; then one at a time for as long as
 * that raises the upload and no limit is hit; fewer when each gets too little. */
static void adapt(struct sp_choker *c, uint32_t busy, uint32_t wanting, uint64_t up_Bps)
{
    uint64_t enough = c->cfg.slot_Bps ? c->cfg.slot_Bps : SLOT_BPS;
    uint64_t each = up_Bps / (busy ? busy : 1), limit = c->cfg.up_limit_Bps;
    bool at_limit = limit && up_Bps >= limit - limit / 20;

    if (c->trial > 0) {
        judge_trial(c, up_Bps);
        return;
    }
    if (c->hold > 0)
        c->hold--;
    if (busy < c->slots)
        return; /* not all are in use: nothing to learn */
    if (c->slots > c->cfg.slots_min && each < (at_limit ? enough : enough / 4) && c->hold == 0) {
        c->slots--;
        c->hold = TRIAL_RUNS;
        return;
    }
    if (c->slots >= c->cfg.slots_max || wanting <= c->slots || each < enough)
        return;
    if (c->slots < shares(up_Bps) && up_Bps / (c->slots + 1) >= enough) {
        c->slots++;
    } else if (!at_limit && c->hold == 0) {
        c->slots++;
        c->before_Bps = up_Bps;
        c->trial = TRIAL_RUNS;
    }
}

void sp_choker_grow(struct sp_choker *c, uint32_t busy, uint32_t wanting, uint64_t up_Bps)
{
    uint64_t enough = c->cfg.slot_Bps ? c->cfg.slot_Bps : SLOT_BPS, paid = up_Bps / enough;
    uint32_t slots = c->slots < UINT32_MAX / 2 ? 2 * c->slots : c->slots, fit = shares(up_Bps);

    if (busy < c->slots)
        return; /* not all are in use */
    slots = slots < fit ? slots : fit;
    slots = slots < paid ? slots : (uint32_t)paid;
    slots = slots < wanting ? slots : wanting;
    slots = slots < c->cfg.slots_max ? slots : c->cfg.slots_max;
    if (slots <= c->slots)
        return;
    c->slots = slots;
    c->trial = 0; /* the upload of fewer slots is no measure for these */
}

bool sp_choker_has_room(const struct sp_choker *c, uint32_t unchoked_and_interested)
{
    return unchoked_and_interested < c->slots;
}

/* ---- in which order ---- */

struct rank {
    uint32_t class;  /* smaller is better */
    uint64_t within; /* larger is better */
};

struct order {
    struct rank (*rank)(const struct order *o, const struct sp_choker_peer *p);
    sp_time_ns now;
    uint64_t quota_bytes;
};

enum { CLASS_OUT = 9 };

static sp_time_ns age(const struct order *o, sp_time_ns since)
{
    return o->now > since ? o->now - since : 0;
}

/* How long it has had nothing from us. */
static sp_time_ns waited(const struct order *o, const struct sp_choker_peer *p)
{
    return age(o, p->choked_at ? p->choked_at : p->connected_at);
}

/* Givers by what they give, an eighth more counted for who has earned a slot:
 * near equals would change places every round.  Where nobody gives anything, slots
 * go round. */
static struct rank leech_rank(const struct order *o, const struct sp_choker_peer *p)
{
    if (p->upload_only || p->snubbed || (!p->interested && p->down_Bps == 0))
        return (struct rank){.class = CLASS_OUT};
    if (p->down_Bps > 0) {
        uint64_t bonus = p->unchoked && !p->optimistic ? p->down_Bps / 8 : 0, value;
        if (__builtin_add_overflow(p->down_Bps, bonus, &value))
            value = UINT64_MAX;
        return (struct rank){.class = 0, .within = value};
    }
    if (!p->unchoked)
        return (struct rank){.class = 2, .within = waited(o, p)};
    if (p->optimistic || age(o, p->unchoked_at) >= SP_CHOKER_SEED_MIN_NS)
        return (struct rank){.class = 3};
    return (struct rank){.class = 1, .within = age(o, p->unchoked_at)};
}

static bool turn_over(const struct order *o, const struct sp_choker_peer *p)
{
    sp_time_ns turn = age(o, p->unchoked_at);

    if (turn >= IDLE_NS && p->up_Bps == 0)
        return true;
    return turn >= SP_CHOKER_SEED_MIN_NS &&
           (p->given_bytes >= o->quota_bytes || turn >= TURN_MAX_NS);
}

/* BEP-0003, not followed: "it uses its upload rate rather than its download
 * rate to decide who to unchoke" lets fast takers keep a seed to themselves. */
/* Custom: seen in libtorrent: turns by bytes given, then the longest waiting. */
static struct rank seed_rank(const struct order *o, const struct sp_choker_peer *p)
{
    if (!eligible(p))
        return (struct rank){.class = CLASS_OUT};
    if (!p->unchoked)
        return (struct rank){.class = 1, .within = waited(o, p)};
    return (struct rank){.class = turn_over(o, p) ? 2 : 0, .within = p->up_Bps};
}

static bool before(const struct order *o, const struct sp_choker_peer *a,
                   const struct sp_choker_peer *b)
{
    struct rank ra = o->rank(o, a), rb = o->rank(o, b);

    if (ra.class != rb.class)
        return ra.class < rb.class;
    if (ra.within != rb.within)
        return ra.within > rb.within;
    if (a->unchoked != b->unchoked)
        return a->unchoked;
    return a->id < b->id;
}

static void swap(struct sp_choker_peer *a, struct sp_choker_peer *b)
{
    struct sp_choker_peer t = *a;
    *a = *b;
    *b = t;
}

static void sift(const struct order *o, struct sp_choker_peer *peers, uint32_t at, uint32_t count)
{
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && before(o, &peers[child], &peers[child + 1]))
            child++;
        if (!before(o, &peers[at], &peers[child]))
            return;
        swap(&peers[at], &peers[child]);
    }
}

/* A heap: no memory, and n log n whatever the peers make of their rates. */
static void sort(const struct order *o, struct sp_choker_peer *peers, uint32_t count)
{
    for (uint32_t i = count / 2; i-- > 0;)
        sift(o, peers, i, count);
    for (uint32_t i = count; i-- > 1;) {
        swap(&peers[0], &peers[i]);
        sift(o, peers, 0, i);
    }
}

/* ---- who ---- */

/* Fills the slots of those who have earned them.  Gives how many are used. */
/* BEP-0003: "Peers which have a
 * better upload rate but aren't interested get unchoked and if they become
 * interested the worst uploader gets choked." */
static uint32_t fill_regular(const struct order *o, struct sp_choker_peer *peers, uint32_t count,
                             uint32_t slots)
{
    uint32_t used = 0;

    for (uint32_t i = 0; i < count && used < slots; i++) {
        struct sp_choker_peer *p = &peers[i];
        if (o->rank(o, p).class == CLASS_OUT)
            break;
        p->want_unchoked = true;
        p->optimistic = false;
        used += p->interested;
    }
    return used;
}

/* Moves those who may have an optimistic slot to the front. */
static uint32_t front_strangers(struct sp_choker_peer *peers, uint32_t count, bool again,
                                sp_time_ns now)
{
    uint32_t found = 0;

    for (uint32_t i = 0; i < count; i++) {
        bool had = peers[i].last_optimistic_at && peers[i].last_optimistic_at != now &&
                   now - peers[i].last_optimistic_at <= SP_CHOKER_OPTIMISTIC_NS;
        if (eligible(&peers[i]) && !peers[i].want_unchoked && (again || !had))
            swap(&peers[found++], &peers[i]);
    }
    return found;
}

/* BEP-0003: "new connections are three times as likely to start as the current
 * optimistic unchoke as anywhere else in the rotation." */
static uint32_t draw(struct sp_choker_peer *peers, uint32_t count, uint32_t slots, sp_time_ns now,
                     struct sp_rng *rng)
{
    uint32_t drawn = 0;

    for (; drawn < slots && drawn < count; drawn++) {
        uint32_t at = drawn;
        for (int tries = 0; tries < DRAW_TRIES; tries++) {
            at = drawn + (uint32_t)sp_rng_below(rng, count - drawn);
            bool fresh = now - peers[at].connected_at < SP_CHOKER_NEW_NS;
            if (fresh || sp_rng_below(rng, 3) == 0)
                break;
        }
        peers[at].want_unchoked = peers[at].optimistic = true;
        peers[at].last_optimistic_at = now;
        swap(&peers[drawn], &peers[at]);
    }
    return drawn;
}

/* BEP-0003: "Which peer is optimistically unchoked rotates every 30 seconds." */
/* Holders keep their slot until then; slots that fell free are drawn at once,
 * those that had one last come last. */
static void fill_optimistic(struct sp_choker *c, struct sp_choker_peer *peers, uint32_t count,
                            uint32_t slots, sp_time_ns now, struct sp_rng *rng)
{
    bool rotate = c->optimistic_at == 0 || now - c->optimistic_at >= SP_CHOKER_OPTIMISTIC_NS;

    for (uint32_t i = 0; i < count; i++) {
        struct sp_choker_peer *p = &peers[i];
        p->optimistic = p->optimistic && eligible(p) && !rotate && slots > 0;
        p->want_unchoked |= p->optimistic;
        slots -= p->optimistic;
    }
    if (rotate)
        c->optimistic_at = now;
    if (slots > 0)
        slots -= draw(peers, front_strangers(peers, count, false, now), slots, now, rng);
    if (slots > 0)
        draw(peers, front_strangers(peers, count, true, now), slots, now, rng);
}

void sp_choker_run(struct sp_choker *c, struct sp_choker_peer *peers, uint32_t count, bool seeding,
                   uint64_t up_Bps, sp_time_ns now, struct sp_rng *rng)
{
    struct order order = {.rank = seeding ? seed_rank : leech_rank,
                          .now = now,
                          .quota_bytes = c->cfg.quota_bytes ? c->cfg.quota_bytes : QUOTA_BYTES};
    uint32_t busy = 0, wanting = 0;

    for (uint32_t i = 0; i < count; i++) {
        peers[i].want_unchoked = false;
        peers[i].optimistic &= !seeding;
        wanting += eligible(&peers[i]);
        busy += eligible(&peers[i]) && peers[i].unchoked;
    }
    adapt(c, busy, wanting, up_Bps);
    sort(&order, peers, count);

    /* A single slot leaves nothing for strangers: they come in by waiting. */
    uint32_t strangers = seeding || c->slots < 2 ? 0 : c->slots / OPTIMISTIC_SHARE;
    strangers += !seeding && c->slots >= 2 && strangers == 0;
    uint32_t used = fill_regular(&order, peers, count, c->slots - strangers);
    if (!seeding)
        fill_optimistic(c, peers, count, c->slots - used, now, rng);
}
