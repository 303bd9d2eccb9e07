/* A torrent's life: METADATA while only its info-hash is known; CHECKING until the shell knows what
 * is on the disk, then DOWNLOADING and SEEDING, PAUSED by the user, ERROR by the disk. */
#include "core/torrent/torrent.h"

#include "core/torrent/web.h"

enum { ENOUGH_CONNS = 30 }; /* with so many connections trackers need not be asked for more */

struct sp_conn *sp_torrent_conn(const struct sp_torrent *t, uint32_t peer)
{
    uint32_t slot = peer & ((1u << CONN_SLOT_BITS) - 1);
    struct sp_conn *c = slot < t->conn_top ? t->conns[slot] : NULL;
    return c && c->peer == peer ? c : NULL;
}

uint64_t sp_torrent_blame_key(const struct sp_torrent *t, uint32_t peer)
{
    const struct sp_conn *c = sp_torrent_conn(t, peer);
    if (c)
        return c->blame_key;
    for (uint32_t i = 0; t->gone && i < GONE_KEPT; i++) {
        if (t->gone[i].blame_key && t->gone[i].peer == peer)
            return t->gone[i].blame_key;
    }
    return 0;
}

bool sp_torrent_running(const struct sp_torrent *t)
{
    return t->state == SP_TORRENT_DOWNLOADING || t->state == SP_TORRENT_SEEDING ||
           t->state == SP_TORRENT_METADATA || (t->state == SP_TORRENT_ERROR && t->picker);
}

uint64_t sp_torrent_left(const struct sp_torrent *t)
{
    return t->mi->total_length - sp_picker_counts(t->picker).have_bytes;
}

/* ---- selection ---- */

static void go(struct sp_torrent *t, sp_time_ns now);

/* More or less is wanted than before. */
static void follow_wanted(struct sp_torrent *t, sp_time_ns now)
{
    bool left = sp_picker_counts(t->picker).wanted_left > 0;
    if (t->state != (left ? SP_TORRENT_SEEDING : SP_TORRENT_DOWNLOADING))
        return;
    go(t, now);
}

enum sp_err sp_torrent_select(struct sp_torrent *t, const uint8_t *priorities, sp_time_ns now)
{
    const struct sp_metainfo *mi = t->mi;
    uint32_t done = 0; /* pieces below it have their priority */
    uint8_t prev = 0;  /* of piece done - 1 */

    for (uint32_t p = 0; !priorities && t->selected && p < mi->piece_count; p++) {
        enum sp_err err = sp_picker_set_priority(t->picker, p, SP_PICKER_PRIO_DEFAULT);
        if (err != SP_OK)
            return err;
    }
    t->selected = priorities != NULL;
    for (uint32_t f = 0; priorities && f < mi->file_count; f++) {
        const struct sp_file *file = &mi->files[f];
        uint8_t prio = priorities[f] > SP_PICKER_PRIO_MAX ? SP_PICKER_PRIO_MAX : priorities[f];
        /* A piece over several files has the highest priority of them. */
        for (uint32_t p = file->piece_first; p < file->piece_end; p++) {
            uint8_t have = p < done ? prev : 0;
            uint8_t high = prio > have ? prio : have;
            if (p < done && high == have)
                continue;
            enum sp_err err = sp_picker_set_priority(t->picker, p, high);
            if (err != SP_OK)
                return err;
            done = p + 1;
            prev = high;
        }
    }
    for (uint32_t i = 0; i < t->conn_top; i++) {
        struct sp_conn *c = t->conns[i];
        if (!c)
            continue;
        c->interesting = sp_picker_interesting(t->picker, c->have_all     ? NULL
                                                          : c->have.bytes ? &c->have
                                                                          : NULL);
        if (!c->have_all && !c->have.bytes)
            c->interesting = 0;
        sp_conn_update_interest(c, now);
    }
    follow_wanted(t, now);
    return SP_OK;
}

/* ---- state ---- */

static void count_time(struct sp_torrent *t, sp_time_ns now)
{
    sp_time_ns span = now - t->counted_at;
    t->counted_at = now;
    if (sp_torrent_running(t))
        t->active_ns += span;
    if (t->state == SP_TORRENT_SEEDING)
        t->seeding_ns += span;
}

static void set_state(struct sp_torrent *t, enum sp_torrent_state state, sp_time_ns now)
{
    count_time(t, now);
    t->state = state;
    for (uint32_t i = 0; i < t->conn_top; i++) {
        if (t->conns[i])
            sp_conn_update_interest(t->conns[i], now);
    }
}

/* ---- birth and death ---- */

/* What needs the metainfo. */
static enum sp_err init_pieces(struct sp_torrent *t, const struct sp_metainfo *mi,
                               const uint8_t *priorities)
{
    struct sp_picker_cfg pc = {.mem = t->h->mem,
                               .rng = &t->h->rng,
                               .piece_count = mi->piece_count,
                               .piece_len = mi->piece_length,
                               .total_len = mi->total_length};
    enum sp_err err = sp_picker_new(&pc, &t->picker);
    if (err != SP_OK)
        return err;
    t->mi = mi;
    t->piece_room = sp_torrent_piece_room(mi);
    if (priorities)
        err = sp_torrent_select(t, priorities, 0);
    sp_picker_set_sequential(t->picker, t->sequential);
    if (err == SP_OK)
        err = sp_web_add_own(t);
    if (err != SP_OK) {
        sp_picker_free(t->picker);
        t->picker = NULL;
        t->mi = NULL;
    }
    return err;
}

static enum sp_err init_parts(struct sp_torrent *t, const struct sp_session_add *add)
{
    struct sp_hub *h = t->h;
    uint32_t slots_max = h->cfg->upload_slots_max ? h->cfg->upload_slots_max : 500;
    struct sp_choker_cfg cc = {.slots_min = slots_max < 4 ? slots_max : 4,
                               .slots_max = slots_max,
                               .up_limit_Bps = add->up_Bps ? add->up_Bps : h->cfg->up_Bps};

    sp_blame_init(&t->blame, h->mem, h->key);
    enum sp_err err = sp_choker_init(&t->choker, &cc);
    if (err == SP_OK)
        err = sp_web_add_named(t, add);
    if (err == SP_OK && add->metainfo)
        err = init_pieces(t, add->metainfo, add->priorities);
    if (err != SP_OK)
        return err;
    err = sp_trackers_add(h->trackers, t->id, t->info_hash, t->mi && t->mi->is_private,
                          add->trackers, add->tracker_count);
    t->has_trackers = err == SP_OK;
    return err;
}

enum sp_err sp_torrent_new(struct sp_hub *h, sp_torrent_id id, const struct sp_session_add *add,
                           sp_time_ns now, struct sp_torrent **ret_torrent)
{
    struct sp_torrent *t = SP_NEW(h->mem, struct sp_torrent);
    if (!t)
        return SP_ENOMEM;
    t->h = h;
    t->id = id;
    memcpy(t->info_hash, add->metainfo ? add->metainfo->info_hash_v1 : add->info_hash, SP_SHA1_LEN);
    t->sequential = add->sequential;
    t->state = SP_TORRENT_CHECKING;
    t->paused = add->paused;
    t->local_peers = add->local_peers;
    t->super_seed = add->super_seed;
    t->cand_map = sp_map_of(h->mem);
    t->downloaded = add->downloaded_bytes;
    t->uploaded = add->uploaded_bytes;
    t->counted_at = now;
    sp_bucket_init(&t->down, add->down_Bps, now);
    sp_bucket_init(&t->up, add->up_Bps, now);

    enum sp_err err = init_parts(t, add);
    if (err != SP_OK) {
        sp_torrent_free(t);
        return err;
    }
    *ret_torrent = t;
    return SP_OK;
}

enum sp_err sp_torrent_know(struct sp_torrent *t, const struct sp_metainfo *mi,
                            const uint8_t *priorities, sp_time_ns now)
{
    enum sp_err err = init_pieces(t, mi, priorities);
    if (err != SP_OK)
        return err;
    t->first_look = true;
    set_state(t, SP_TORRENT_CHECKING, now);
    if (mi->is_private)
        sp_info_go_private(t, now);
    for (uint32_t i = t->conn_top; i-- > 0;) {
        if (i < t->conn_top && t->conns[i])
            sp_told_apply(t->conns[i], now);
    }
    sp_info_drop(t);
    for (uint32_t i = 0; i < t->conn_top; i++) {
        struct sp_conn *c = t->conns[i];
        if (c && c->state == CONN_OPEN && c->wire.ext)
            sp_conn_say_ext_handshake(c); /* it can have the metadata of us now */
    }
    return SP_OK;
}

static void free_stuck(struct sp_torrent *t)
{
    struct sp_work *next;
    for (struct sp_work *w = t->stuck; w; w = next) {
        next = w->next;
        if (t->picker)
            sp_picker_abandon(t->picker, w->piece);
        sp_work_free(t->h, w);
    }
    t->stuck = NULL;
}

void sp_torrent_free(struct sp_torrent *t)
{
    if (!t)
        return;
    struct sp_hub *h = t->h;
    assert(t->conn_count == 0 && t->jobs_out == 0);
    free_stuck(t);
    if (t->picker) {
        sp_store_drop_open(t);
        h->committed_bytes -= t->committed_bytes;
    }
    sp_info_drop(t);
    sp_cache_forget(&h->cache, t->id);
    if (t->has_trackers)
        sp_trackers_remove(h->trackers, t->id);
    sp_timers_clear(&h->timers, &t->timer);
    sp_blame_done(&t->blame);
    sp_picker_free(t->picker);
    sp_pex_done(t);
    sp_map_done(&t->cand_map);
    sp_mem_free(h->mem, t->shown_live);
    sp_web_done(t);
    sp_mem_free(h->mem, t->cands);
    sp_mem_free(h->mem, t->gone);
    sp_mem_free(h->mem, t->conns);
    sp_mem_free(h->mem, t);
}

void sp_torrent_drop_conns(struct sp_torrent *t, const char *why, sp_time_ns now)
{
    for (uint32_t i = t->conn_top; i-- > 0;) {
        if (i < t->conn_top && t->conns[i])
            sp_conn_end(t->conns[i], why, now);
    }
}

void sp_torrent_shut(struct sp_torrent *t, sp_time_ns now)
{
    sp_torrent_drop_conns(t, "torrent stopped", now);
    free_stuck(t);
    sp_store_drop_open(t);
    sp_trackers_stop(t->h->trackers, t->id, now);
    t->announcing = t->first_look = false;
    sp_info_drop(t);
    sp_timers_clear(&t->h->timers, &t->timer);
    sp_ask_wake(t->h, now);
}

/* ---- going on, and stopping ---- */

static void complete(struct sp_torrent *t, sp_time_ns now)
{
    t->completed = true;
    /* BEP-0021: a partial seed has not completed. */
    if (sp_bits_all(sp_picker_have(t->picker)) && !t->was_complete_at_start)
        sp_trackers_completed(t->h->trackers, t->id, now);
    sp_trackers_want_peers(t->h->trackers, t->id, false, now);
    sp_upload_only_tell(t);
    sp_hub_event(t->h, SP_EV_COMPLETE, t->id, SP_OK, NULL);
}

/* BEP-0003: "downloaders may rerequest on nonscheduled times if an event happens or they need more
 * peers": who downloads and has few of them. */
static bool is_hungry(const struct sp_torrent *t)
{
    uint32_t enough = t->h->cfg->torrent_conn_max / 4;
    return (t->state == SP_TORRENT_DOWNLOADING || t->state == SP_TORRENT_METADATA) &&
           t->conn_count < (enough < ENOUGH_CONNS ? enough : ENOUGH_CONNS);
}

static void want_peers(struct sp_torrent *t, sp_time_ns now)
{
    sp_trackers_want_peers(t->h->trackers, t->id, is_hungry(t), now);
}

/* Starts or goes on: what there is to do follows from what is had. */
static void go(struct sp_torrent *t, sp_time_ns now)
{
    bool left = !t->picker || sp_picker_counts(t->picker).wanted_left > 0;
    if (left && t->state == SP_TORRENT_SEEDING)
        sp_swarm_recall(t, now);
    set_state(t,
              !t->picker ? SP_TORRENT_METADATA
              : left     ? SP_TORRENT_DOWNLOADING
                         : SP_TORRENT_SEEDING,
              now);
    if (left)
        t->completed = false; /* more was selected */
    if (!t->announcing) {
        t->announcing = true;
        sp_trackers_start(t->h->trackers, t->id, now);
    }
    sp_super_begin(t);
    sp_upload_only_tell(t);
    want_peers(t, now);
    if (!left && !t->completed) {
        complete(t, now);
    }
    sp_timers_set(&t->h->timers, &t->timer, now);
}

void sp_torrent_begin(struct sp_torrent *t, const struct sp_bits *have, sp_time_ns now)
{
    if (t->state != SP_TORRENT_CHECKING)
        return;
    for (uint32_t p = have ? sp_bits_next(have, 0) : SP_BITS_NONE; p != SP_BITS_NONE;
         p = sp_bits_next(have, p + 1))
        sp_picker_set_have(t->picker, p, true);
    t->first_look = false;
    if (t->picker) {
        t->was_complete_at_start = sp_bits_all(sp_picker_have(t->picker));
        sp_hub_event(t->h, SP_EV_CHECKED, t->id, SP_OK, NULL);
        sp_told_say_have(t, now);
    }
    if (t->paused)
        set_state(t, SP_TORRENT_PAUSED, now);
    else
        go(t, now);
}

void sp_torrent_recheck_from(struct sp_torrent *t, sp_time_ns now)
{
    sp_torrent_shut(t, now);
    for (uint32_t p = 0; p < t->mi->piece_count; p++) {
        if (sp_picker_state(t->picker, p) == SP_PIECE_HAVE)
            sp_picker_set_have(t->picker, p, false);
    }
    sp_cache_forget(&t->h->cache, t->id);
    t->completed = t->failed_outside = false;
    t->err = SP_OK;
    set_state(t, SP_TORRENT_CHECKING, now);
}

void sp_torrent_set_paused(struct sp_torrent *t, bool paused, sp_time_ns now)
{
    t->paused = paused;
    if (paused && t->first_look) {
        sp_torrent_shut(t, now); /* and PAUSED once it is checked */
    } else if (paused && sp_torrent_running(t)) {
        sp_torrent_shut(t, now);
        set_state(t, SP_TORRENT_PAUSED, now);
    } else if (!paused && t->state == SP_TORRENT_PAUSED) {
        t->err = SP_OK;
        go(t, now);
    }
}

void sp_torrent_set_error(struct sp_torrent *t, enum sp_err err, const char *text, sp_time_ns now)
{
    bool first = t->state != SP_TORRENT_ERROR;
    size_t n = text ? strlen(text) : 0;

    if (n >= sizeof(t->error))
        n = sizeof(t->error) - 1;
    if (n)
        memcpy(t->error, text, n);
    t->error[n] = '\0';
    t->err = err;
    t->passes = false;
    if (!first)
        return;
    set_state(t, SP_TORRENT_ERROR, now);
    sp_hub_event(t->h, SP_EV_ERROR, t->id, err, t->error);
}

void sp_torrent_clear_error(struct sp_torrent *t, sp_time_ns now)
{
    if (t->state != SP_TORRENT_ERROR || t->stuck || t->failed_outside)
        return;
    t->err = SP_OK;
    t->error[0] = '\0';
    sp_hub_event(t->h, SP_EV_RECOVERED, t->id, SP_OK, NULL);
    go(t, now);
}

/* ---- a piece is ours ---- */

void sp_torrent_piece_had(struct sp_torrent *t, uint32_t piece, bool wanted, sp_time_ns now)
{
    for (uint32_t i = 0; i < t->conn_top; i++) {
        struct sp_conn *c = t->conns[i];
        if (!c || c->state != CONN_OPEN)
            continue;
        if (sp_conn_has(c, piece) && wanted) {
            if (c->interesting > 0)
                c->interesting--;
            if (c->interesting == 0)
                sp_conn_update_interest(c, now);
        }
        if (c->web || sp_conn_is_seed(c))
            continue; /* a seed has no use for it */
        sp_conn_said(c, sp_wire_put_have(&c->out, piece));
        sp_conn_wants_send(c);
    }
    if (t->state == SP_TORRENT_ERROR) {
        sp_torrent_clear_error(t, now);
        return;
    }
    if (sp_picker_counts(t->picker).wanted_left > 0 || t->completed)
        return;
    if (t->state != SP_TORRENT_PAUSED)
        set_state(t, SP_TORRENT_SEEDING, now);
    complete(t, now);
}

/* ---- time ---- */

static void tick_conns(struct sp_torrent *t, sp_time_ns now)
{
    for (uint32_t i = 0; i < t->conn_top; i++) {
        if (t->conns[i])
            sp_conn_tick(t->conns[i], now);
    }
}

/* Nothing is asked for or served before the pieces are known and looked at. */
static void tick_early(struct sp_torrent *t, sp_time_ns now)
{
    tick_conns(t, now);
    if (t->state == SP_TORRENT_METADATA) {
        sp_info_tick(t, now);
        sp_swarm_dial(t, now);
        want_peers(t, now);
    }
    sp_timers_set(&t->h->timers, &t->timer, now + TICK_NS);
}

void sp_torrent_tick(struct sp_torrent *t, sp_time_ns now)
{
    if (!sp_torrent_running(t) && !t->first_look)
        return;
    count_time(t, now);
    if (!t->picker || t->first_look) {
        tick_early(t, now);
        return;
    }
    sp_store_retry(t, now);
    if (t->h->starved.count) {
        sp_store_make_room(t);
        sp_ask_wake(t->h, now);
    }
    tick_conns(t, now);
    if (now >= t->next_choke_at) {
        t->next_choke_at = now + SP_CHOKER_PERIOD_NS;
        sp_choke_run(t, now);
        want_peers(t, now);
    } else {
        sp_choke_more(t, now);
    }
    sp_super_tick(t, now);
    sp_turnover_tick(t, now);
    sp_swarm_dial(t, now);
    sp_web_run(t, now);
    /* An idle torrent is looked after seldom. */
    sp_time_ns wait = t->conn_count || t->stuck ? TICK_NS : 2 * SP_SECOND_NS;
    sp_timers_set(&t->h->timers, &t->timer, now + wait);
}

/* ---- numbers for people ---- */

static uint64_t wanted_bytes(const struct sp_torrent *t, uint64_t wanted_left_bytes)
{
    /* Wanted and had, plus wanted and not had. */
    uint64_t had = 0;
    const struct sp_bits *have = sp_picker_have(t->picker);
    if (!t->selected)
        return t->mi->total_length;
    for (uint32_t p = sp_bits_next(have, 0); p != SP_BITS_NONE; p = sp_bits_next(have, p + 1)) {
        if (sp_picker_priority(t->picker, p) > 0)
            had += sp_picker_piece_len(t->picker, p);
    }
    return had + wanted_left_bytes;
}

static void fill_sizes(const struct sp_torrent *t, struct sp_torrent_stats *ret)
{
    struct sp_picker_counts counts = sp_picker_counts(t->picker);
    ret->piece_count = t->mi->piece_count;
    ret->piece_have = counts.have;
    ret->total_bytes = t->mi->total_length;
    ret->wanted_bytes = wanted_bytes(t, counts.wanted_left_bytes);
    ret->have_bytes = ret->wanted_bytes - counts.wanted_left_bytes;
}

void sp_torrent_fill_stats(struct sp_torrent *t, sp_time_ns now, struct sp_torrent_stats *ret)
{
    count_time(t, now);
    *ret = (struct sp_torrent_stats){
        .state = t->state,
        .err = t->err,
        .downloaded_bytes = t->downloaded,
        .uploaded_bytes = t->uploaded,
        .wasted_bytes = t->wasted,
        .down_Bps = sp_rate_Bps(&t->down_rate, now),
        .up_Bps = sp_rate_Bps(&t->up_rate, now),
        .peers_known = t->cand_count,
        .tracker_seeds = t->tracker_seeds,
        .tracker_leechers = t->tracker_leechers,
        .active_ns = t->active_ns,
        .seeding_ns = t->seeding_ns,
    };
    sp_info_progress(t, &ret->metadata_bytes, &ret->metadata_have_bytes);
    if (t->picker)
        fill_sizes(t, ret);
    memcpy(ret->error, t->error, sizeof(ret->error));
    memcpy(ret->known_by, t->known_by, sizeof(ret->known_by));
    for (uint32_t i = 0; i < t->conn_top; i++) {
        const struct sp_conn *c = t->conns[i];
        if (!c || c->state != CONN_OPEN)
            continue;
        ret->peers++;
        ret->seeds += sp_conn_is_seed(c);
        ret->unchoked += !c->am_choking && c->peer_interested;
        ret->unchoking += !c->peer_choking && c->am_interested;
    }
}

static uint32_t have_milli(const struct sp_conn *c)
{
    const struct sp_metainfo *mi = c->t->mi;
    if (!mi || c->have_all)
        return c->have_all ? 1000 : 0;
    return (uint32_t)((uint64_t)c->have.set * 1000 / mi->piece_count);
}

uint32_t sp_torrent_fill_peers(struct sp_torrent *t, sp_time_ns now, struct sp_peer_info *ret,
                               uint32_t cap)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->conn_top && n < cap; i++) {
        const struct sp_conn *c = t->conns[i];
        if (!c || c->state != CONN_OPEN)
            continue;
        ret[n] = (struct sp_peer_info){
            .have_milli = have_milli(c),
            .down_Bps = sp_rate_Bps(&c->down, now),
            .up_Bps = sp_rate_Bps(&c->up, now),
            .downloaded_bytes = c->down.total,
            .uploaded_bytes = c->up.total,
            .asked = c->asks.count,
            .utp = c->stream != NULL,
            .incoming = c->incoming,
            .choking_us = c->peer_choking,
            .choked = c->am_choking,
            .interested_us = c->peer_interested,
            .interested = c->am_interested,
            .snubbed = c->snubbed,
            .optimistic = c->optimistic,
            .cipher = c->cipher,
        };
        const struct sp_candidate *a = sp_swarm_find(t, &c->listen);
        ret[n].sources = (uint8_t)((a ? a->sources : 0) | (c->incoming ? SP_PEER_INCOMING : 0));
        if (c->web)
            sp_web_host_text(c, ret[n].address);
        else
            sp_addr_text(&c->addr, ret[n].address);
        memcpy(ret[n].client, c->client, sizeof(ret[n].client));
        n++;
    }
    return n;
}
