/* Super-seeding: the first seed of a torrent, which sends each piece once as
 * far as it can.
 *
 * BEP-0016: "masquerades as a normal client with no data.  As clients connect, it will then inform
 * them that it received a piece -- a piece that was never sent, or if all pieces were already sent,
 * is very rare."
 *
 * Each connection has SUPER_SLOTS pieces that it was told of and that are not
 * known to have gone on from it.  A slot is free again when another peer has
 * that piece too, when there is nobody who could take it, or when nothing comes
 * of it for STUCK_NS: a swarm of few, or of peers that do not share, is slowed
 * down but never held up.
 *
 * It is over when another seed is met, or when two copies are out: then all is
 * told to all, and this is a seed like others.
 */
#include "core/torrent/state.h"

enum {
    COPIES_OUT = 2,
    HAVES_MAX = 64 * 1024, /* more of them than fit into what may wait for a peer */
};

#define STUCK_NS (30 * SP_SECOND_NS)

void sp_super_begin(struct sp_torrent *t)
{
    bool is_seed = t->picker && sp_bits_all(sp_picker_have(t->picker));
    if (!t->super_seed || t->shown_live || !is_seed || t->conn_count > 0)
        return;
    /* Without memory it is a seed like others. */
    t->shown_live = SP_NEW_ARRAY(t->h->mem, uint16_t, sp_picker_piece_count(t->picker));
}

bool sp_super_is_on(const struct sp_torrent *t)
{
    return t->shown_live != NULL;
}

/* BEP-0016 says nothing of how: as one that has nothing yet. */
void sp_super_hello(struct sp_conn *c)
{
    sp_conn_said(c, sp_bits_init(&c->shown, c->h->mem, sp_picker_piece_count(c->t->picker)));
    if (c->wire.fast)
        sp_conn_said(c, sp_wire_put_have_none(&c->out));
}

/* ---- slots ---- */

static void let_go(struct sp_conn *c, uint32_t slot)
{
    c->t->shown_live[c->super_slots[slot].piece]--;
    c->super_slots[slot] = c->super_slots[--c->super_count];
}

void sp_super_drop(struct sp_conn *c)
{
    while (c->super_count && c->t->shown_live)
        let_go(c, 0);
    c->super_count = 0;
    if (c->shown.bytes)
        sp_bits_done(&c->shown, c->h->mem);
}

/* The piece that is rarest among peers and shown to fewest; which of several
 * is left to chance, or all would go the same way. */
static uint32_t choose(const struct sp_conn *c)
{
    const struct sp_torrent *t = c->t;
    uint32_t n = sp_picker_piece_count(t->picker), best = SP_BITS_NONE;
    uint64_t best_key = UINT64_MAX;
    uint32_t first = (uint32_t)sp_rng_below(&c->h->rng, n);

    for (uint32_t i = 0; i < n && best_key > 0; i++) {
        uint32_t p = first + i < n ? first + i : first + i - n;
        if (sp_bits_get(&c->shown, p) || sp_conn_has(c, p))
            continue;
        uint64_t key = (uint64_t)sp_picker_avail(t->picker, p) << 16 | t->shown_live[p];
        if (key < best_key) {
            best_key = key;
            best = p;
        }
    }
    return best;
}

static void show_more(struct sp_conn *c, sp_time_ns now)
{
    while (c->super_count < SUPER_SLOTS) {
        uint32_t p = choose(c);
        if (p == SP_BITS_NONE)
            return;
        c->super_slots[c->super_count++] = (struct sp_super_slot){.piece = p, .at = now};
        c->t->shown_live[p]++;
        sp_bits_add(&c->shown, p);
        sp_conn_said(c, sp_wire_put_have(&c->out, p));
        sp_conn_wants_send(c);
    }
}

static bool somebody_else_lacks(const struct sp_conn *c, uint32_t piece)
{
    for (uint32_t i = 0; i < c->t->conn_top; i++) {
        const struct sp_conn *o = c->t->conns[i];
        if (o && o != c && o->state == CONN_OPEN && !o->upload_only && !sp_conn_has(o, piece))
            return true;
    }
    return false;
}

/* BEP-0016: "the seed will not inform it of any other pieces until it has seen the piece it had
 * sent previously present on at least one other client." */
static bool is_over(struct sp_conn *c, struct sp_super_slot *k, sp_time_ns now)
{
    bool has = sp_conn_has(c, k->piece);
    if (sp_picker_avail(c->t->picker, k->piece) > (has ? 1u : 0u))
        return true;
    if (has && !k->got)
        k->at = now;
    k->got = has;
    if (has && !somebody_else_lacks(c, k->piece))
        return true;
    bool takes = !has && (c->wants.count || c->chunks.count || c->read);
    if (takes)
        k->at = now;
    return now - k->at > STUCK_NS;
}

static void look_at(struct sp_conn *c, sp_time_ns now)
{
    for (uint32_t i = 0; i < c->super_count;) {
        if (is_over(c, &c->super_slots[i], now))
            let_go(c, i);
        else
            i++;
    }
    show_more(c, now);
}

static bool plays(const struct sp_conn *c)
{
    return c && c->state == CONN_OPEN && c->shown.bytes && !c->missed;
}

/* ---- what peers say ---- */

void sp_super_seen(struct sp_conn *from, uint32_t piece, sp_time_ns now)
{
    struct sp_torrent *t = from->t;
    if (!t->shown_live || t->shown_live[piece] == 0)
        return;
    for (uint32_t i = 0; i < t->conn_top; i++) {
        struct sp_conn *c = t->conns[i];
        for (uint32_t k = 0; plays(c) && k < c->super_count; k++) {
            if (c->super_slots[k].piece != piece)
                continue;
            look_at(c, now);
            break;
        }
    }
}

/* ---- the end of it ---- */

static void tell_all(struct sp_conn *c, sp_time_ns now)
{
    uint32_t n = sp_picker_piece_count(c->t->picker);
    if (n > HAVES_MAX) {
        sp_conn_end(c, "is to hear of all pieces at once", now); /* when it comes back */
        return;
    }
    for (uint32_t p = 0; p < n; p++) {
        if (!sp_bits_get(&c->shown, p) && !sp_conn_has(c, p))
            sp_conn_said(c, sp_wire_put_have(&c->out, p));
    }
    sp_bits_done(&c->shown, c->h->mem);
    c->super_count = 0;
    sp_conn_wants_send(c);
}

void sp_super_end(struct sp_torrent *t, sp_time_ns now)
{
    if (!t->shown_live)
        return;
    t->super_seed = false; /* once is enough, until it is added again */
    sp_mem_free(t->h->mem, t->shown_live);
    t->shown_live = NULL;
    for (uint32_t i = t->conn_top; i-- > 0;) {
        if (i < t->conn_top && plays(t->conns[i]))
            tell_all(t->conns[i], now);
    }
    sp_upload_only_tell(t);
}

void sp_super_tick(struct sp_torrent *t, sp_time_ns now)
{
    if (!t->shown_live)
        return;
    if (t->state != SP_TORRENT_SEEDING && t->state != SP_TORRENT_ERROR) {
        sp_super_end(t, now);
        return;
    }
    if (sp_picker_copies_milli(t->picker) >= COPIES_OUT * 1000) {
        sp_super_end(t, now);
        return;
    }
    for (uint32_t i = 0; i < t->conn_top; i++) {
        if (plays(t->conns[i]))
            look_at(t->conns[i], now);
    }
}
