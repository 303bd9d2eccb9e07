/* Peers, requests, and what arrives; see metadata.h. */
#include "core/metadata/metadata.h"

#include "core/metadata/internal.h"

enum sp_err sp_metadata_new(const struct sp_metadata_cfg *cfg, struct sp_metadata **ret_metadata)
{
    struct sp_metadata *m = SP_NEW(cfg->mem, struct sp_metadata);
    if (!m)
        return SP_ENOMEM;
    m->cfg = *cfg;
    sp_list_init(&m->peers);
    sp_list_init(&m->copies);
    *ret_metadata = m;
    return SP_OK;
}

static struct sp_metadata_peer *peer_of(struct sp_link *k)
{
    return SP_CONTAINER(k, struct sp_metadata_peer, link);
}

static struct copy *copy_of(struct sp_link *k)
{
    return SP_CONTAINER(k, struct copy, link);
}

void sp_metadata_free(struct sp_metadata *m)
{
    if (!m)
        return;
    m->whole = NULL;
    while (m->peers.count)
        sp_metadata_leave(m, peer_of(m->peers.ends.next));
    while (m->copies.count)
        sp_metadata_drop_copy(m, copy_of(m->copies.ends.next));
    for (uint32_t i = 0; i < FAILED_MAX; i++) {
        sp_mem_free(m->cfg.mem, m->failed[i].from);
        sp_mem_free(m->cfg.mem, m->failed[i].prints);
    }
    sp_mem_free(m->cfg.mem, m);
}

/* ---- peers ---- */

enum sp_err sp_metadata_join(struct sp_metadata *m, uint64_t who, uint32_t size, sp_time_ns now,
                             struct sp_metadata_peer **peer)
{
    struct sp_metadata_peer *p = *peer;
    if (size == 0 || size > SP_METADATA_LEN_MAX)
        return SP_ELIMIT;
    if (p && p->size == size)
        return SP_OK;
    if (p && ++p->changes >= CHANGES_MAX)
        return SP_ELIMIT;
    if (!p) {
        p = SP_NEW(m->cfg.mem, struct sp_metadata_peer);
        if (!p)
            return SP_ENOMEM;
        p->who = who;
        p->rest_until = now;
        sp_list_add(&m->peers, &p->link);
    }
    sp_metadata_let_go(m, p);
    p->size = size;
    *peer = p;
    return SP_OK;
}

void sp_metadata_leave(struct sp_metadata *m, struct sp_metadata_peer *p)
{
    if (!p)
        return;
    sp_metadata_let_go(m, p);
    sp_list_del(&m->peers, &p->link);
    sp_mem_free(m->cfg.mem, p);
}

/* ---- requests ---- */

static void unask(struct sp_metadata_peer *p, uint32_t ix)
{
    if (!p->asks[ix].late)
        p->copy->parts[p->asks[ix].piece].askers--;
    p->asks[ix] = p->asks[--p->ask_count];
}

void sp_metadata_unask_all(struct sp_metadata_peer *p)
{
    while (p->ask_count)
        unask(p, p->ask_count - 1);
}

static uint32_t find_ask(const struct sp_metadata_peer *p, uint32_t piece)
{
    uint32_t ix = 0;
    while (ix < p->ask_count && p->asks[ix].piece != piece)
        ix++;
    return ix;
}

/* The first missing piece that nobody was asked for; at the end, for an idle
 * peer, one that a single other was. */
static uint32_t choose(const struct copy *c, const struct sp_metadata_peer *p)
{
    uint32_t end = c->got * 2 + WINDOW, spare = c->count;
    if (end > c->count)
        end = c->count;
    for (uint32_t ix = c->first; ix < end; ix++) {
        if (ix >= c->cap)
            return ix;
        const struct part *part = &c->parts[ix];
        if (part->data || find_ask(p, ix) < p->ask_count)
            continue;
        if (part->askers == 0)
            return ix;
        if (part->askers == 1 && spare == c->count)
            spare = ix;
    }
    return p->ask_count == 0 ? spare : c->count;
}

static void drop_late(struct sp_metadata_peer *p)
{
    for (uint32_t ix = p->ask_count; ix-- > 0;) {
        if (p->asks[ix].late)
            unask(p, ix);
    }
}

bool sp_metadata_ask(struct sp_metadata *m, struct sp_metadata_peer *p, sp_time_ns now,
                     uint32_t *ret_piece)
{
    if (m->whole || now < p->rest_until)
        return false;
    struct copy *c = sp_metadata_copy_of(m, p, now);
    if (!c)
        return false;
    drop_late(p);
    if (p->ask_count == SP_METADATA_ASKS_MAX)
        return false;
    uint32_t piece = choose(c, p);
    if (piece == c->count || !sp_metadata_reach(m, c, piece))
        return false;
    c->parts[piece].askers++;
    p->asks[p->ask_count++] = (struct asked){.piece = piece, .at = now};
    *ret_piece = piece;
    return true;
}

uint32_t sp_metadata_asked(const struct sp_metadata_peer *p)
{
    uint32_t n = 0;
    for (uint32_t ix = 0; ix < p->ask_count; ix++)
        n += !p->asks[ix].late;
    return n;
}

/* Longer each time, until something comes. */
static void rest(struct sp_metadata_peer *p, sp_time_ns now)
{
    sp_time_ns until = now + (REST_NS << (p->refusals < 5 ? p->refusals : 5));
    p->refusals++;
    if (p->rest_until < until)
        p->rest_until = until;
}

/* ---- answers ---- */

enum sp_err sp_metadata_got(struct sp_metadata *m, struct sp_metadata_peer *p, uint32_t piece,
                            uint32_t total_size, struct sp_slice data, sp_time_ns now)
{
    uint32_t ix = find_ask(p, piece);
    struct copy *c = p->copy;

    if (m->whole || ix == p->ask_count)
        return SP_OK;
    /* BEP-0009: "This key has the same semantics as the \"metadata_size\" in the
     * extension header." */
    if (total_size && total_size != p->size)
        return SP_EPROTO;
    /* BEP-0009: "If it is not the last piece of the metadata, it MUST be 16kiB." */
    if (data.len != sp_metadata_piece_len(c->size, piece))
        return SP_EPROTO;
    unask(p, ix);
    p->refusals = 0;
    if (c->parts[piece].data)
        return SP_OK; /* another was quicker */
    enum sp_err err = sp_metadata_keep(m, c, piece, data, p->who, now);
    if (err == SP_OK)
        sp_metadata_hash(m, c);
    return err;
}

/* BEP-0009: "It SHOULD be interpreted as the peer does not have the piece of
 * metadata that was requested." */
void sp_metadata_rejected(struct sp_metadata *m, struct sp_metadata_peer *p, uint32_t piece,
                          sp_time_ns now)
{
    uint32_t ix = find_ask(p, piece);
    (void)m;
    if (ix == p->ask_count)
        return;
    unask(p, ix);
    rest(p, now);
}

/* ---- time ---- */

static void tick_peer(struct sp_metadata_peer *p, sp_time_ns now)
{
    bool tired = false;
    for (uint32_t ix = 0; ix < p->ask_count; ix++) {
        struct asked *a = &p->asks[ix];
        if (a->late || now - a->at < ASK_TIMEOUT_NS)
            continue;
        a->late = true;
        p->copy->parts[a->piece].askers--;
        tired = true;
    }
    if (tired)
        rest(p, now);
}

/* Some peer waits until one of those that send alone is done. */
static bool someone_waits(const struct sp_metadata *m, sp_time_ns now)
{
    for (const struct sp_link *k = m->peers.ends.next; k != &m->peers.ends; k = k->next) {
        const struct sp_metadata_peer *p =
            SP_CONTAINER((struct sp_link *)(uintptr_t)k, struct sp_metadata_peer, link);
        if (!p->copy && now >= p->rest_until)
            return true;
    }
    return false;
}

static bool is_stale(const struct sp_metadata *m, const struct copy *c, sp_time_ns now)
{
    sp_time_ns idle = now - c->progress_at;
    if (c->solo)
        return idle > SOLO_IDLE_NS && someone_waits(m, now);
    return idle > IDLE_NS && c->peers == 0;
}

void sp_metadata_tick(struct sp_metadata *m, sp_time_ns now)
{
    struct sp_link *next;
    for (struct sp_link *k = m->peers.ends.next; k != &m->peers.ends; k = k->next)
        tick_peer(peer_of(k), now);
    for (struct sp_link *k = m->copies.ends.next; k != &m->copies.ends && !m->whole; k = next) {
        struct copy *c = copy_of(k);
        next = k->next;
        if (is_stale(m, c, now)) {
            if (c->solo)
                c->solo->rest_until = now + IDLE_NS;
            sp_metadata_drop_copy(m, c);
        } else if (c->hashed < c->first) {
            sp_metadata_hash(m, c); /* may free it */
        }
    }
}

/* ---- results ---- */

bool sp_metadata_liar(struct sp_metadata *m, uint64_t *ret_who)
{
    if (m->liar_told == m->liar_count)
        return false;
    *ret_who = m->liars[m->liar_told++];
    return true;
}

bool sp_metadata_is_whole(const struct sp_metadata *m)
{
    return m->whole != NULL;
}

uint32_t sp_metadata_size(const struct sp_metadata *m, uint32_t *ret_have_bytes)
{
    const struct copy *best = m->whole;
    for (struct sp_link *k = m->copies.ends.next; !m->whole && k != &m->copies.ends; k = k->next) {
        if (!best || copy_of(k)->bytes > best->bytes)
            best = copy_of(k);
    }
    *ret_have_bytes = best ? (uint32_t)best->bytes : 0;
    return best ? best->size : 0;
}

void sp_metadata_copy(const struct sp_metadata *m, uint8_t *to)
{
    const struct copy *c = m->whole;
    for (uint32_t ix = 0; ix < c->count; ix++)
        memcpy(to + (size_t)ix * SP_METADATA_PIECE_LEN, c->parts[ix].data,
               sp_metadata_piece_len(c->size, ix));
}

/* ---- for tests ---- */

static const char *check_copy(const struct sp_metadata *m, const struct copy *c)
{
    uint32_t got = 0, peers = 0;
    uint64_t bytes = 0, askers = 0, asked = 0;
    for (uint32_t i = 0; i < c->cap; i++) {
        got += c->parts[i].data != NULL;
        bytes += c->parts[i].data ? sp_metadata_piece_len(c->size, i) : 0;
        askers += c->parts[i].askers;
    }
    for (struct sp_link *k = m->peers.ends.next; k != &m->peers.ends; k = k->next) {
        const struct sp_metadata_peer *p = peer_of(k);
        peers += p->copy == c;
        for (uint32_t i = 0; p->copy == c && i < p->ask_count; i++)
            asked += !p->asks[i].late;
    }
    if (got != c->got || bytes != c->bytes)
        return "what has come of a copy is counted wrong";
    if (peers != c->peers || (c->solo && c->peers > 1))
        return "the peers of a copy are counted wrong";
    if (askers != asked)
        return "requests are counted wrong";
    if (c->hashed > c->first || (c->got == c->count && c->hashed == c->count && c != m->whole))
        return "a whole copy was not judged";
    return NULL;
}

const char *sp_metadata_broken(const struct sp_metadata *m)
{
    uint64_t bytes = 0;
    uint32_t solos = 0;
    for (struct sp_link *k = m->copies.ends.next; k != &m->copies.ends; k = k->next) {
        const struct copy *c = copy_of(k);
        const char *why = check_copy(m, c);
        if (why)
            return why;
        bytes += c->bytes;
        solos += c->solo != NULL;
    }
    if (bytes != m->bytes || bytes > BYTES_MAX)
        return "the bytes of all copies are counted wrong";
    return solos != m->solo_count ? "copies of one peer are counted wrong" : NULL;
}
