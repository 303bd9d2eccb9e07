/* What must hold between calls; for tests and simulations. */
#include "core/torrent/state.h"

void sp_census_block(const struct sp_hub *h, struct sp_census *census, const uint8_t *block)
{
    uint32_t refs = sp_pool_refs(&h->pool, block);
    if (refs == 0 || refs > 40)
        census->blurred = true;
    else
        census->shares += CENSUS_WHOLE / refs;
}

static bool is_asker(const struct sp_open_block *b, uint32_t peer)
{
    for (uint32_t i = 0; i < b->asked; i++) {
        if (b->askers[i] == peer)
            return true;
    }
    return false;
}

/* Every request is one that the picker knows of, and the other way round. */
static const char *check_asks(const struct sp_conn *c, uint64_t *ret_asked,
                              struct sp_census *census)
{
    const struct sp_torrent *t = c->t;
    for (uint32_t ix = 0; ix < c->asks.count + c->has_cur; ix++) {
        const struct sp_ask *a = ix < c->asks.count ? sp_queue_at(&c->asks, ix) : &c->cur;
        if (a->data)
            sp_census_block(c->h, census, a->data);
        else if (ix == c->asks.count)
            return "a block is received into no memory";
        if (a->piece >= t->mi->piece_count ||
            !sp_picker_has_block(t->picker, (struct sp_block_ref){a->piece, a->block}))
            return "a block is asked for that does not exist";
        if (a->released)
            continue;
        const struct sp_open_piece *o = sp_picker_open(t->picker, a->piece);
        bool known = o && is_asker(&o->blocks[a->block], c->peer);
        if (!known && ix == c->asks.count)
            continue; /* another peer's came while this one arrives */
        if (!known)
            return "a block is asked for that the picker does not know as asked";
        (*ret_asked)++;
    }
    return NULL;
}

static const char *check_serving(const struct sp_conn *c, struct sp_census *census)
{
    uint64_t ready = 0;
    for (uint32_t ix = 0; ix < c->chunks.count; ix++) {
        const struct sp_chunk *k = sp_queue_at(&c->chunks, ix);
        sp_census_block(c->h, census, k->block);
        ready += k->len;
    }
    for (uint32_t i = 0; c->read && i < c->read->want_count; i++)
        ready += c->read->wants[i].len;
    if (ready != c->ready_bytes)
        return "bytes read ahead are counted wrong";
    if (c->read && c->read->c != c)
        return "a read does not know its connection";
    return NULL;
}

static const char *check_have(const struct sp_conn *c)
{
    const struct sp_torrent *t = c->t;
    uint32_t interesting = 0;

    if (c->have_all || c->have.bytes)
        interesting = sp_picker_interesting(t->picker, c->have_all ? NULL : &c->have);
    if (interesting != c->interesting)
        return "interesting pieces are counted wrong";
    bool want = interesting > 0 && t->state == SP_TORRENT_DOWNLOADING;
    if (c->state == CONN_OPEN && c->am_interested != want)
        return "interest does not follow from what there is";
    if (c->have_all && c->counted != COUNTED_SEED)
        return "a seed is not counted as one";
    return NULL;
}

static const char *check_conn(const struct sp_conn *c, uint64_t *ret_asked,
                              struct sp_census *census)
{
    const char *why = check_asks(c, ret_asked, census);
    if (!why)
        why = check_serving(c, census);
    if (!why)
        why = check_have(c);
    if (!why && c->state == CONN_DEAD)
        why = "a dead connection is in the torrent";
    if (!why && c->asks.count > ASK_MAX)
        why = "too many blocks are asked for";
    return why;
}

static const char *check_pieces(const struct sp_torrent *t, uint64_t asked,
                                struct sp_census *census)
{
    uint64_t known = 0, open = 0, full = 0;
    if (!t->picker)
        return asked || t->committed_bytes || t->jobs_out ? "nothing can be asked for yet" : NULL;
    for (const struct sp_open_piece *o = sp_picker_open_first(t->picker); o;
         o = sp_picker_open_next(o)) {
        open++;
        full += o->state == SP_PIECE_FULL;
        for (uint32_t i = 0; i < o->block_count; i++) {
            known += o->blocks[i].asked;
            if (o->blocks[i].data)
                sp_census_block(t->h, census, o->blocks[i].data);
        }
        if (sp_bits_get(sp_picker_have(t->picker), o->piece))
            return "a piece is open and had";
    }
    struct sp_picker_counts counts = sp_picker_counts(t->picker);
    if (open != counts.open || full != counts.full)
        return "open pieces are counted wrong";
    if (known != asked)
        return "the picker counts blocks as asked that are not";
    if (t->committed_bytes != open * t->piece_room)
        return "committed memory does not follow from the open pieces";
    return NULL;
}

/* Every full piece has a job that will free it. */
static const char *check_works(const struct sp_torrent *t)
{
    const struct sp_hub *h = t->h;
    uint32_t jobs = 0, stores = 0, stuck = 0;
    if (!t->picker)
        return NULL;
    for (struct sp_link *k = h->works.ends.next; k != &h->works.ends; k = k->next) {
        const struct sp_work *w = sp_work_of(k);
        if (w->t != t)
            continue;
        jobs++;
        stores +=
            w->job.kind != SP_JOB_READ && sp_picker_state(t->picker, w->piece) == SP_PIECE_FULL;
    }
    for (const struct sp_work *w = t->stuck; w; w = w->next)
        stuck++;
    if (jobs != t->jobs_out + stuck)
        return "jobs are counted wrong";
    if (stores != sp_picker_counts(t->picker).full)
        return "a full piece has no job";
    return NULL;
}

static const char *check_cands(const struct sp_torrent *t)
{
    for (uint32_t i = 0; i < t->cand_count; i++) {
        const struct sp_candidate *a = &t->cands[i];
        bool found = false;
        for (uint32_t k = 0; k < t->conn_top && a->connected; k++)
            found |= t->conns[k] && sp_addr_eq(&t->conns[k]->listen, &a->addr);
        if (a->connected && !found)
            return "an address counts as connected and is not";
    }
    return NULL;
}

const char *sp_torrent_broken(const struct sp_torrent *t, struct sp_census *census)
{
    uint64_t asked = 0;
    uint32_t conns = 0, serving = 0;
    const char *why = NULL;

    for (uint32_t i = 0; i < t->conn_cap && !why; i++) {
        const struct sp_conn *c = t->conns[i];
        if (!c)
            continue;
        if (i >= t->conn_top || c->slot != i || c->t != t)
            return "a connection is in the wrong place";
        conns++;
        serving += !c->am_choking && c->peer_interested;
        why = check_conn(c, &asked, census);
    }
    if (!why && conns != t->conn_count)
        why = "connections are counted wrong";
    if (!why && serving != t->serving)
        why = "served connections are counted wrong";
    if (!why)
        why = check_pieces(t, asked, census);
    if (!why)
        why = check_works(t);
    if (!why)
        why = check_cands(t);
    if (!why)
        why = sp_pex_broken(t);
    return why;
}
