/* What we tell peers of each other (BEP-0011). */
#include "core/torrent/pex.h"

#include "core/torrent/state.h"
#include "core/wire/ut_pex.h"

static bool get_bit(const uint64_t *words, uint32_t ix)
{
    return words[ix / 64] >> ix % 64 & 1;
}

static void set_bit(uint64_t *words, uint32_t ix)
{
    words[ix / 64] |= UINT64_C(1) << ix % 64;
}

static void clear_bit(uint64_t *words, uint32_t ix)
{
    words[ix / 64] &= ~(UINT64_C(1) << ix % 64);
}

static unsigned is_v6(const struct sp_addr *addr)
{
    return addr->family == SP_V6;
}

/* ---- life ---- */

bool sp_pex_is_on(const struct sp_torrent *t)
{
    /* BEP-0027: "MUST ONLY initiate connections to peers returned from the private
     * tracker": so nobody is told of anybody. */
    return !t->h->cfg->no_pex && !(t->mi && t->mi->is_private);
}

struct sp_pex *sp_pex_of(struct sp_torrent *t)
{
    if (!sp_pex_is_on(t)) /* it may be known as private only now (a magnet) */
        return NULL;
    if (!t->pex)
        t->pex = SP_NEW(t->h->mem, struct sp_pex);
    return t->pex;
}

struct sp_pex_talk *sp_pex_talk(struct sp_conn *c)
{
    if (!sp_pex_of(c->t))
        return NULL;
    if (!c->pex)
        c->pex = SP_NEW(c->h->mem, struct sp_pex_talk);
    return c->pex;
}

void sp_pex_done(struct sp_torrent *t)
{
    if (!t->pex)
        return;
    sp_mem_free(t->h->mem, t->pex->seats);
    sp_mem_free(t->h->mem, t->pex->tellers);
    sp_mem_free(t->h->mem, t->pex);
    t->pex = NULL;
}

/* ---- seats ---- */

static bool is_free(const struct sp_pex_seat *s)
{
    return s->addr.family == SP_FAMILY_NONE;
}

/* The seat of addr, else a free one; PEX_SEATS_MAX: there is none. */
static uint32_t seat_for(struct sp_torrent *t, const struct sp_addr *addr)
{
    struct sp_pex *p = t->pex;
    uint32_t room = PEX_SEATS_MAX;

    for (uint32_t ix = 0; ix < p->seat_count; ix++) {
        if (is_free(&p->seats[ix]))
            room = ix < room ? ix : room;
        else if (sp_addr_eq(&p->seats[ix].addr, addr))
            return ix;
    }
    if (room < PEX_SEATS_MAX || p->seat_count == PEX_SEATS_MAX)
        return room;
    if (p->seat_count == p->seat_cap) {
        uint32_t cap = p->seat_cap ? p->seat_cap * 2 : 8;
        struct sp_pex_seat *seats =
            sp_mem_grow(t->h->mem, p->seats, p->seat_count, cap, sizeof(*seats));
        if (!seats)
            return PEX_SEATS_MAX;
        p->seats = seats;
        p->seat_cap = cap;
    }
    p->seats[p->seat_count] = (struct sp_pex_seat){0};
    return p->seat_count++;
}

static void undrain(struct sp_torrent *t, uint32_t ix)
{
    for (uint32_t i = 0; i < t->conn_top; i++) {
        if (t->conns[i] && t->conns[i]->pex)
            clear_bit(t->conns[i]->pex->drained, ix);
    }
}

static void free_if_done(struct sp_torrent *t, uint32_t ix)
{
    struct sp_pex *p = t->pex;
    struct sp_pex_seat *s = &p->seats[ix];

    if (is_free(s) || s->live || s->recent || s->told)
        return;
    undrain(t, ix);
    s->addr.family = SP_FAMILY_NONE;
    while (p->seat_count > 0 && is_free(&p->seats[p->seat_count - 1]))
        p->seat_count--;
}

static void forget_recent(struct sp_torrent *t, uint32_t ix)
{
    struct sp_pex_seat *s = &t->pex->seats[ix];
    if (!s->recent)
        return;
    s->recent = false;
    t->pex->recent[is_v6(&s->addr)]--;
    free_if_done(t, ix);
}

/* BEP-0011: "it may keep a list of up to 25 most recently established and fully
 * handshaken connections for that address family" */
static void trim_recent(struct sp_torrent *t, unsigned six)
{
    struct sp_pex *p = t->pex;
    uint32_t oldest = PEX_SEATS_MAX;

    if (p->recent[six] <= PEX_RECENT_MAX)
        return;
    for (uint32_t ix = 0; ix < p->seat_count; ix++) {
        const struct sp_pex_seat *s = &p->seats[ix];
        if (s->recent && is_v6(&s->addr) == six &&
            (oldest == PEX_SEATS_MAX || s->left_at < p->seats[oldest].left_at))
            oldest = ix;
    }
    if (oldest < PEX_SEATS_MAX)
        forget_recent(t, oldest);
}

static uint8_t flags_of(const struct sp_conn *c)
{
    uint8_t flags = 0;
    if (c->prefers_encryption)
        flags |= SP_PEX_ENCRYPTION;
    if (c->upload_only || sp_conn_is_seed(c))
        flags |= SP_PEX_SEED;
    if (c->wire.ext_ids[SP_EXT_UT_HOLEPUNCH])
        flags |= SP_PEX_HOLEPUNCH;
    if (!c->incoming)
        flags |= SP_PEX_REACHABLE;
    return flags;
}

/* BEP-0011: "A peer must only be included in an added field once a connection
 * is successfully established": and with the port that it listens on. */
static bool may_sit(const struct sp_conn *c)
{
    return c->listen.family != SP_FAMILY_NONE && c->listen.port != 0 &&
           sp_addr_scope(&c->listen) != SP_SCOPE_LINK && sp_addr_scope(&c->listen) != SP_SCOPE_NONE;
}

static void sit(struct sp_conn *c)
{
    struct sp_torrent *t = c->t;
    uint32_t ix = seat_for(t, &c->listen);

    if (ix == PEX_SEATS_MAX || (!is_free(&t->pex->seats[ix]) && t->pex->seats[ix].live))
        return;
    struct sp_pex_seat *s = &t->pex->seats[ix];
    s->addr = c->listen;
    s->live = true; /* before it counts as nobody's */
    forget_recent(t, ix);
    s->flags = flags_of(c);
    t->pex->live[is_v6(&s->addr)]++;
    t->pex->changes++;
    c->pex_seat = (uint16_t)(ix + 1);
}

/* Of what goes away for no fault of its own others may hear for a while. */
static void rise(struct sp_conn *c, sp_time_ns now)
{
    struct sp_torrent *t = c->t;
    uint32_t ix = c->pex_seat - 1u;
    struct sp_pex_seat *s = &t->pex->seats[ix];
    unsigned six = is_v6(&s->addr);

    c->pex_seat = 0;
    s->live = false;
    s->left_at = now;
    s->flags = flags_of(c);
    t->pex->live[six]--;
    t->pex->changes++;
    if (c->parted) {
        s->recent = true;
        t->pex->recent[six]++;
        undrain(t, ix);
        trim_recent(t, six);
    } else {
        free_if_done(t, ix);
    }
}

void sp_pex_leave(struct sp_conn *c, sp_time_ns now)
{
    struct sp_torrent *t = c->t;

    if (c->parted && !c->pex_seat && may_sit(c) && sp_pex_of(t))
        sit(c); /* it parted before the first tick */
    if (c->pex_seat)
        rise(c, now);
    for (uint32_t ix = 0; c->pex && ix < t->pex->seat_count; ix++) {
        if (!get_bit(c->pex->told, ix))
            continue;
        t->pex->seats[ix].told--;
        clear_bit(c->pex->told, ix);
        free_if_done(t, ix);
    }
    sp_mem_free(c->h->mem, c->pex);
    c->pex = NULL;
}

/* ---- messages ---- */

/* What is near somebody means nothing to who is far away. */
static bool is_for(const struct sp_conn *c, const struct sp_addr *addr)
{
    enum sp_scope theirs = sp_addr_scope(&c->addr);
    switch (sp_addr_scope(addr)) {
    case SP_SCOPE_GLOBAL:
        return true;
    case SP_SCOPE_PRIVATE:
        return theirs == SP_SCOPE_PRIVATE || theirs == SP_SCOPE_LOOPBACK;
    case SP_SCOPE_LOOPBACK:
        return theirs == SP_SCOPE_LOOPBACK;
    case SP_SCOPE_LINK:
    case SP_SCOPE_NONE:
        break;
    }
    return false;
}

static bool is_news(const struct sp_conn *c, uint32_t ix, bool peer_is_done)
{
    const struct sp_pex *p = c->t->pex;
    const struct sp_pex_seat *s = &p->seats[ix];

    if (is_free(s) || get_bit(c->pex->told, ix) || ix + 1 == c->pex_seat ||
        sp_addr_eq(&s->addr, &c->addr) || !is_for(c, &s->addr))
        return false;
    if (peer_is_done && (s->flags & SP_PEX_SEED))
        return false; /* neither would stay */
    /* BEP-0011: "the liveness requirement is relaxed if a client is connected to
     * less than 25 clients for a particular address family" */
    return s->live || (s->recent && p->live[is_v6(&s->addr)] < PEX_LIVE_ENOUGH &&
                       !get_bit(c->pex->drained, ix));
}

/* Everybody hears of other ones first. */
static uint32_t turned(const struct sp_conn *c, uint32_t i)
{
    uint32_t count = c->t->pex->seat_count;
    return (uint32_t)((i + c->blame_key % count) % count);
}

static void gather_added(const struct sp_conn *c, struct sp_pex_msg *m)
{
    const struct sp_pex *p = c->t->pex;
    bool peer_is_done = c->upload_only || sp_conn_is_seed(c);

    for (uint32_t i = 0; i < p->seat_count && m->added_count < SP_PEX_SEND_MAX; i++) {
        uint32_t ix = turned(c, i);
        if (is_news(c, ix, peer_is_done))
            m->added[m->added_count++] =
                (struct sp_pex_contact){p->seats[ix].addr, p->seats[ix].flags};
    }
}

static void gather_dropped(const struct sp_conn *c, struct sp_pex_msg *m)
{
    const struct sp_pex *p = c->t->pex;

    for (uint32_t i = 0; i < p->seat_count && m->dropped_count < SP_PEX_SEND_MAX; i++) {
        uint32_t ix = turned(c, i);
        if (get_bit(c->pex->told, ix) && !p->seats[ix].live)
            m->dropped[m->dropped_count++] = p->seats[ix].addr;
    }
}

static uint32_t seat_at(const struct sp_pex *p, const struct sp_addr *addr)
{
    uint32_t ix = 0;
    while (ix < p->seat_count && (is_free(&p->seats[ix]) || !sp_addr_eq(&p->seats[ix].addr, addr)))
        ix++;
    assert(ix < p->seat_count);
    return ix;
}

/* The message is on its way: what the peer knows now. */
static void note(struct sp_conn *c, const struct sp_pex_msg *m)
{
    struct sp_pex *p = c->t->pex;

    for (uint32_t i = 0; i < m->added_count; i++) {
        uint32_t ix = seat_at(p, &m->added[i].addr);
        set_bit(c->pex->told, ix);
        p->seats[ix].told++;
        /* BEP-0011: "it must be drained from the recently seen list so it will not
         * be sent again in the next message" */
        if (!p->seats[ix].live)
            set_bit(c->pex->drained, ix);
    }
    for (uint32_t i = 0; i < m->dropped_count; i++) {
        uint32_t ix = seat_at(p, &m->dropped[i]);
        clear_bit(c->pex->told, ix);
        p->seats[ix].told--;
        free_if_done(c->t, ix);
    }
}

static void say(struct sp_conn *c, const struct sp_pex_msg *m)
{
    uint8_t bytes[SP_PEX_LEN_MAX];
    size_t len = 0;
    enum sp_err err = sp_pex_write(m, bytes, sizeof(bytes), &len);

    assert(err == SP_OK);
    sp_conn_said(c, sp_wire_put_extended(&c->out, c->wire.ext_ids[SP_EXT_UT_PEX],
                                         (struct sp_slice){bytes, len}));
    sp_conn_wants_send(c);
}

static void tell(struct sp_conn *c, sp_time_ns now)
{
    struct sp_pex_talk *talk = c->pex;
    struct sp_pex_msg m;

    m.added_count = m.dropped_count = 0;
    gather_added(c, &m);
    gather_dropped(c, &m);
    /* BEP-0011: "a client may wait until it has established enough connections
     * to make sending pex messages worthwhile" */
    if (!talk->has_sent && m.added_count < PEX_FIRST_WORTH && now < talk->send_at)
        return;
    if (m.added_count + m.dropped_count == 0) {
        talk->changes = c->t->pex->changes;
        return;
    }
    note(c, &m);
    say(c, &m);
    talk->has_sent = true;
    talk->send_at = now + PEX_SEND_NS + sp_rng_below(&c->h->rng, PEX_SPREAD_NS);
    talk->changes = 0; /* there may be more than fitted, or a parted one to drop */
}

void sp_pex_tick(struct sp_conn *c, sp_time_ns now)
{
    struct sp_torrent *t = c->t;

    if (!sp_pex_is_on(t) || !sp_pex_of(t))
        return; /* private, which a magnet's metadata may tell late */
    if (!c->pex_seat && may_sit(c))
        sit(c);
    else if (c->pex_seat)
        t->pex->seats[c->pex_seat - 1].flags = flags_of(c);
    if (c->wire.ext_ids[SP_EXT_UT_PEX] == 0 || !sp_pex_talk(c))
        return;
    if (!c->pex->has_sent && c->pex->send_at == 0)
        c->pex->send_at = now + PEX_FIRST_NS;
    if (c->pex->changes == t->pex->changes || t->pex->seat_count == 0 ||
        (c->pex->has_sent && now < c->pex->send_at))
        return;
    tell(c, now);
}

/* ---- for tests ---- */

static const char *check_seat(const struct sp_torrent *t, uint32_t ix)
{
    const struct sp_pex_seat *s = &t->pex->seats[ix];
    uint32_t told = 0, sitting = 0;

    for (uint32_t i = 0; i < t->conn_top; i++) {
        const struct sp_conn *c = t->conns[i];
        told += c && c->pex && get_bit(c->pex->told, ix);
        sitting += c && c->pex_seat == ix + 1;
    }
    if (told != s->told || (is_free(s) && told))
        return "who was told of a peer is counted wrong";
    if (sitting != (!is_free(s) && s->live))
        return "a peer that is told of as connected is not";
    return NULL;
}

const char *sp_pex_broken(const struct sp_torrent *t)
{
    const struct sp_pex *p = t->pex;
    uint32_t live[2] = {0}, recent[2] = {0}, known = 0;
    const char *why = NULL;

    for (uint32_t ix = 0; p && ix < p->seat_count && !why; ix++) {
        why = check_seat(t, ix);
        if (is_free(&p->seats[ix]))
            continue;
        live[is_v6(&p->seats[ix].addr)] += p->seats[ix].live;
        recent[is_v6(&p->seats[ix].addr)] += p->seats[ix].recent;
    }
    for (uint32_t i = 0; p && i < p->teller_cap; i++)
        known += p->tellers[i].known;
    for (unsigned six = 0; p && six < 2 && !why; six++) {
        if (live[six] != p->live[six] || recent[six] != p->recent[six] ||
            recent[six] > PEX_RECENT_MAX)
            why = "peers to tell of are counted wrong";
    }
    for (uint32_t i = 0; i < t->cand_count; i++)
        known -= t->cands[i].teller != 0;
    if (!why && p && known != 0)
        why = "what is known by hearsay is counted wrong";
    return why;
}
