#include "core/session/state.h"
#include "core/session/utp.h"

/* ---- look-ups ---- */

static bool has_id(const void *owner, uint32_t ix, const void *key)
{
    return ((const struct sp_session *)owner)->torrents[ix]->id == *(const sp_torrent_id *)key;
}

static bool has_hash(const void *owner, uint32_t ix, const void *key)
{
    const struct sp_torrent *t = ((const struct sp_session *)owner)->torrents[ix];
    return memcmp(t->info_hash, key, SP_SHA1_LEN) == 0;
}

static uint64_t hash_id(const struct sp_session *s, sp_torrent_id id)
{
    return sp_hash_bytes(&s->hub.key, &id, sizeof(id));
}

static uint64_t hash_hash(const struct sp_session *s, const uint8_t *info_hash)
{
    return sp_hash_bytes(&s->hub.key, info_hash, SP_SHA1_LEN);
}

struct sp_torrent *sp_session_torrent(const struct sp_session *s, sp_torrent_id id)
{
    uint32_t ix = sp_map_find(&s->by_id, hash_id(s, id), &id, has_id, s);
    return ix == SP_MAP_NONE ? NULL : s->torrents[ix];
}

sp_torrent_id sp_session_find(const struct sp_session *s, const uint8_t info_hash[SP_SHA1_LEN])
{
    uint32_t ix = sp_map_find(&s->by_hash, hash_hash(s, info_hash), info_hash, has_hash, s);
    return ix == SP_MAP_NONE ? SP_TORRENT_NONE : s->torrents[ix]->id;
}

/* ---- birth and death ---- */

/* Of a torrent whose size is not known yet: anything but 0, which a seed says.
 * Custom: seen in libtorrent: one block. */
enum { LEFT_UNKNOWN = SP_BLOCK_LEN };

static void announce_stats(void *ctx, uint32_t id, struct sp_announce_stats *ret)
{
    const struct sp_torrent *t = sp_session_torrent(ctx, id);
    if (!t)
        return;
    ret->uploaded = t->uploaded;
    ret->downloaded = t->downloaded;
    ret->left = LEFT_UNKNOWN;
    if (!t->picker)
        return;
    struct sp_picker_counts counts = sp_picker_counts(t->picker);
    ret->left = t->mi->total_length - counts.have_bytes;
    ret->corrupt = t->corrupt;
    ret->partial_seed = ret->left > 0 && counts.wanted_left == 0;
}

static enum sp_err init_hub(struct sp_session *s, sp_time_ns now)
{
    struct sp_hub *h = &s->hub;
    const struct sp_session_cfg *cfg = &s->cfg;
    const struct sp_mem *block_mem = cfg->block_mem ? cfg->block_mem : cfg->mem;

    h->mem = cfg->mem;
    h->cfg = cfg;
    h->rng = sp_rng_of(cfg->seed);
    memcpy(&h->key, cfg->secret, sizeof(h->key));
    h->timers = sp_timers_of(cfg->mem);
    h->jobs_last = &h->jobs_first;
    h->events = sp_queue_of(sizeof(struct sp_client_event), 1024);
    sp_bucket_init(&h->down, cfg->down_Bps, now);
    sp_bucket_init(&h->up, cfg->up_Bps, now);
    struct sp_list *const lists[] = {&h->down_waiting, &h->up_waiting, &h->closing, &h->dialing,
                                     &h->receiving,    &h->sending,    &h->starved, &h->works,
                                     &h->learned,      &h->webs,       &h->web_fx};
    for (size_t i = 0; i < SP_COUNT(lists); i++)
        sp_list_init(lists[i]);

    enum sp_err err = sp_pool_init(&h->pool, block_mem, cfg->memory_bytes);
    if (err == SP_OK)
        err = sp_timers_reserve(&h->timers, 2);
    if (err != SP_OK)
        return err;
    uint64_t budget = sp_pool_budget_bytes(&h->pool);
    h->open_max_bytes = budget / 8 * 7;
    sp_cache_init(&h->cache, cfg->mem, &h->pool, &h->key, (uint32_t)(budget / SP_BLOCK_LEN / 2));
    h->scratch = SP_NEW_ARRAY(cfg->mem, uint8_t, SP_HUB_SCRATCH_LEN);
    h->spill = SP_NEW_ARRAY(cfg->mem, uint8_t, SP_CONN_RECV_MAX + SP_HUB_SCRATCH_LEN);
    if (!h->scratch || !h->spill)
        return SP_ENOMEM;

    struct sp_trackers_cfg tc = {
        .mem = cfg->mem,
        .rng = &h->rng,
        .listen_port = cfg->listen_port,
        .stats = announce_stats,
        .ctx = s,
    };
    memcpy(tc.peer_id, cfg->peer_id, sizeof(tc.peer_id));
    return sp_trackers_new(&tc, &h->trackers);
}

enum sp_err sp_session_new(const struct sp_session_cfg *cfg, sp_time_ns now,
                           struct sp_session **ret_session)
{
    struct sp_session *s = SP_NEW(cfg->mem, struct sp_session);
    if (!s)
        return SP_ENOMEM;
    s->cfg = *cfg;
    size_t n = strlen(cfg->client_name);
    memcpy(s->client_name, cfg->client_name, n < sizeof(s->client_name) ? n : 63);
    s->cfg.client_name = s->client_name;
    s->by_id = sp_map_of(cfg->mem);
    s->by_hash = sp_map_of(cfg->mem);
    enum sp_err err = init_hub(s, now);
    if (err == SP_OK)
        err = sp_session_utp_init(s);
    if (err != SP_OK) {
        sp_session_free(s);
        return err;
    }
    *ret_session = s;
    return SP_OK;
}

/* Whether queued, stuck, or with the shell, which does not give them back. */
static void drop_works(struct sp_hub *h)
{
    while (h->works.count)
        sp_work_free(h, sp_work_of(h->works.ends.next));
    h->jobs_first = NULL;
    h->jobs_last = &h->jobs_first;
}

static void free_rest(struct sp_torrent *t)
{
    t->jobs_out = 0;
    t->stuck = NULL;
    sp_torrent_free(t);
}

static void free_dead(struct sp_hub *h)
{
    struct sp_link *k;
    while (h->closing.ends.next && (k = sp_list_pop(&h->closing)) != NULL)
        sp_conn_free(SP_CONTAINER(k, struct sp_conn, effect_link));
}

void sp_session_free(struct sp_session *s)
{
    if (!s)
        return;
    struct sp_hub *h = &s->hub;
    for (uint32_t i = 0; i < s->torrent_cap; i++) {
        if (s->torrents[i])
            sp_torrent_drop_conns(s->torrents[i], "session ends", 0);
    }
    drop_works(h);
    for (uint32_t i = 0; i < s->torrent_cap; i++) {
        if (s->torrents[i])
            free_rest(s->torrents[i]);
    }
    for (struct sp_torrent *t = s->leaving, *next; t; t = next) {
        next = t->next_leaving;
        free_rest(t);
    }
    sp_session_utp_done(s);
    free_dead(h);
    sp_trackers_free(h->trackers);
    if (h->cache.mem)
        sp_cache_done(&h->cache);
    sp_pool_done(&h->pool);
    sp_timers_done(&h->timers);
    if (h->events.size)
        sp_queue_done(&h->events, s->cfg.mem);
    sp_map_done(&s->by_id);
    sp_map_done(&s->by_hash);
    sp_mem_free(s->cfg.mem, h->scratch);
    sp_mem_free(s->cfg.mem, h->spill);
    sp_mem_free(s->cfg.mem, s->torrents);
    sp_mem_free(s->cfg.mem, s);
}

/* ---- torrents ---- */

static enum sp_err grow(struct sp_session *s)
{
    uint32_t cap = s->torrent_cap ? s->torrent_cap * 2 : 4;
    struct sp_torrent **list =
        sp_mem_grow(s->cfg.mem, s->torrents, s->torrent_cap, cap, sizeof(struct sp_torrent *));
    if (!list)
        return SP_ENOMEM;
    s->torrents = list;
    s->torrent_cap = cap;
    return SP_OK;
}

/* Shares that follow from a budget: pieces being fetched may hold seven
 * eighths, the cache half of what is left over at any time. */
static enum sp_err set_budget(struct sp_hub *h, uint64_t bytes)
{
    enum sp_err err = sp_pool_resize(&h->pool, bytes);
    if (err != SP_OK)
        return err;
    uint64_t budget = sp_pool_budget_bytes(&h->pool);
    h->open_max_bytes = budget / 8 * 7;
    h->cache.max = (uint32_t)(budget / SP_BLOCK_LEN / 2);
    return SP_OK;
}

/* A piece larger than the budget's share could never be held: the budget
 * grows for such torrents, to two pieces: one comes while one is written. */
static enum sp_err fit_budget(struct sp_session *s, const struct sp_metainfo *mi)
{
    uint64_t room = sp_torrent_piece_room(mi);
    uint64_t need = (2 * room + SP_SLAB_LEN) / 7 * 8 + SP_SLAB_LEN;
    if (need > s->large_bytes)
        s->large_bytes = need;
    return need <= sp_pool_budget_bytes(&s->hub.pool) ? SP_OK : set_budget(&s->hub, need);
}

static enum sp_err enter(struct sp_session *s, uint32_t ix, struct sp_torrent *t)
{
    s->torrents[ix] = t;
    enum sp_err err = sp_map_put(&s->by_id, hash_id(s, t->id), ix);
    if (err != SP_OK)
        return err;
    err = sp_map_put(&s->by_hash, hash_hash(s, t->info_hash), ix);
    if (err != SP_OK)
        sp_map_del(&s->by_id, hash_id(s, t->id), ix);
    return err;
}

enum sp_err sp_session_add(struct sp_session *s, sp_torrent_id id, const struct sp_session_add *add,
                           sp_time_ns now)
{
    struct sp_torrent *t = NULL;
    uint32_t ix = 0;

    const uint8_t *hash = add->metainfo ? add->metainfo->info_hash_v1 : add->info_hash;
    if (sp_session_torrent(s, id) || sp_session_find(s, hash) != SP_TORRENT_NONE)
        return SP_EEXIST;
    while (ix < s->torrent_cap && s->torrents[ix])
        ix++;
    enum sp_err err = ix == s->torrent_cap ? grow(s) : SP_OK;
    if (err == SP_OK)
        err = sp_timers_reserve(&s->hub.timers, s->torrent_count + 3);
    if (err == SP_OK)
        err = sp_torrent_new(&s->hub, id, add, now, &t);
    if (err == SP_OK && add->metainfo)
        err = fit_budget(s, add->metainfo);
    if (err == SP_OK)
        err = enter(s, ix, t);
    if (err != SP_OK) {
        if (t)
            s->torrents[ix] = NULL;
        sp_torrent_free(t);
        return err;
    }
    s->torrent_count++;
    return SP_OK;
}

void sp_torrent_remove(struct sp_session *s, sp_torrent_id id, sp_time_ns now)
{
    uint32_t ix = sp_map_find(&s->by_id, hash_id(s, id), &id, has_id, s);
    if (ix == SP_MAP_NONE)
        return;
    struct sp_torrent *t = s->torrents[ix];
    sp_trackers_leave(s->hub.trackers, id, now); /* while its numbers can be asked for */
    t->has_trackers = false;
    sp_torrent_shut(t, now);
    t->state = SP_TORRENT_PAUSED;
    sp_map_del(&s->by_id, hash_id(s, id), ix);
    sp_map_del(&s->by_hash, hash_hash(s, t->info_hash), ix);
    s->torrents[ix] = NULL;
    s->torrent_count--;
    if (t->jobs_out) {
        t->next_leaving = s->leaving;
        s->leaving = t;
    } else {
        sp_torrent_free(t);
    }
}

bool sp_torrent_busy(const struct sp_session *s, sp_torrent_id id)
{
    const struct sp_torrent *t = sp_session_torrent(s, id);
    if (t)
        return t->jobs_out > 0;
    for (t = s->leaving; t; t = t->next_leaving) {
        if (t->id == id)
            return true;
    }
    return false;
}

void sp_torrent_checked(struct sp_session *s, sp_torrent_id id, const struct sp_bits *have,
                        sp_time_ns now)
{
    struct sp_torrent *t = sp_session_torrent(s, id);
    if (t)
        sp_torrent_begin(t, have, now);
}

enum sp_err sp_torrent_learn(struct sp_session *s, sp_torrent_id id,
                             const struct sp_metainfo *metainfo, const uint8_t *priorities,
                             sp_time_ns now)
{
    struct sp_torrent *t = sp_session_torrent(s, id);
    if (!t)
        return SP_ENOENT;
    if (t->mi)
        return SP_EEXIST;
    if (memcmp(t->info_hash, metainfo->info_hash_v1, SP_SHA1_LEN) != 0)
        return SP_EINVAL;
    enum sp_err err = fit_budget(s, metainfo);
    return err == SP_OK ? sp_torrent_know(t, metainfo, priorities, now) : err;
}

void sp_torrent_recheck(struct sp_session *s, sp_torrent_id id, sp_time_ns now)
{
    struct sp_torrent *t = sp_session_torrent(s, id);
    if (t && t->mi)
        sp_torrent_recheck_from(t, now);
}

void sp_torrent_pause(struct sp_session *s, sp_torrent_id id, sp_time_ns now)
{
    struct sp_torrent *t = sp_session_torrent(s, id);
    if (t)
        sp_torrent_set_paused(t, true, now);
}

void sp_torrent_resume(struct sp_session *s, sp_torrent_id id, sp_time_ns now)
{
    struct sp_torrent *t = sp_session_torrent(s, id);
    if (t)
        sp_torrent_set_paused(t, false, now);
}

void sp_torrent_fail(struct sp_session *s, sp_torrent_id id, enum sp_err err, const char *text,
                     sp_time_ns now)
{
    struct sp_torrent *t = sp_session_torrent(s, id);
    if (!t)
        return;
    if (!t->mi)
        sp_torrent_shut(t, now);
    t->failed_outside = true;
    sp_torrent_set_error(t, err, text, now);
}

void sp_torrent_set_priorities(struct sp_session *s, sp_torrent_id id, const uint8_t *priorities,
                               sp_time_ns now)
{
    struct sp_torrent *t = sp_session_torrent(s, id);
    if (t && t->mi)
        (void)sp_torrent_select(t, priorities, now);
}

void sp_torrent_set_limits(struct sp_session *s, sp_torrent_id id, uint64_t down_Bps,
                           uint64_t up_Bps, sp_time_ns now)
{
    struct sp_torrent *t = sp_session_torrent(s, id);
    if (!t)
        return;
    sp_bucket_change(&t->down, down_Bps, now);
    sp_bucket_change(&t->up, up_Bps, now);
}

void sp_session_set_filter(struct sp_session *s, const struct sp_ipfilter *filter, sp_time_ns now)
{
    s->hub.filter = filter;
    for (uint32_t i = 0; i < s->torrent_cap; i++) {
        if (s->torrents[i])
            sp_swarm_filter(s->torrents[i], now);
    }
}

void sp_session_set_online(struct sp_session *s, bool online, sp_time_ns now)
{
    if (s->hub.offline == !online)
        return;
    s->hub.offline = !online;
    for (uint32_t i = 0; online && i < s->torrent_cap; i++) {
        if (s->torrents[i])
            sp_swarm_online(s->torrents[i], now);
    }
}

void sp_session_set_limits(struct sp_session *s, uint64_t down_Bps, uint64_t up_Bps, sp_time_ns now)
{
    sp_bucket_change(&s->hub.down, down_Bps, now);
    sp_bucket_change(&s->hub.up, up_Bps, now);
}

void sp_session_set_port(struct sp_session *s, uint16_t port, sp_time_ns now)
{
    if (s->cfg.listen_port == port)
        return;
    s->cfg.listen_port = port;
    sp_trackers_set_port(s->hub.trackers, port);
    for (uint32_t i = 0; i < s->torrent_cap; i++) {
        if (s->torrents[i])
            sp_trackers_reannounce(s->hub.trackers, s->torrents[i]->id, now);
    }
}

void sp_session_set_memory(struct sp_session *s, uint64_t bytes, sp_time_ns now)
{
    struct sp_hub *h = &s->hub;
    if (bytes < s->large_bytes)
        bytes = s->large_bytes;
    if (set_budget(h, bytes) != SP_OK)
        return; /* out of memory for a table: the old budget stays */
    while (h->cache.count > h->cache.max)
        (void)sp_cache_evict(&h->cache);
    sp_ask_wake(h, now);
}

void sp_torrent_add_peers(struct sp_session *s, sp_torrent_id id, const struct sp_addr *addrs,
                          uint32_t count, enum sp_peer_source source, sp_time_ns now)
{
    struct sp_torrent *t = sp_session_torrent(s, id);
    if (!t)
        return;
    for (uint32_t i = 0; i < count; i++)
        sp_swarm_add(t, &addrs[i], (uint8_t)source, now);
    sp_swarm_dial(t, now);
}

const struct sp_bits *sp_torrent_have(const struct sp_session *s, sp_torrent_id id)
{
    const struct sp_torrent *t = sp_session_torrent(s, id);
    return t && t->picker ? sp_picker_have(t->picker) : NULL;
}

enum sp_err sp_torrent_stats(struct sp_session *s, sp_torrent_id id, sp_time_ns now,
                             struct sp_torrent_stats *ret_stats)
{
    struct sp_torrent *t = sp_session_torrent(s, id);
    if (!t)
        return SP_ENOENT;
    sp_torrent_fill_stats(t, now, ret_stats);
    return SP_OK;
}

uint32_t sp_torrent_peers(struct sp_session *s, sp_torrent_id id, sp_time_ns now,
                          struct sp_peer_info *ret_peers, uint32_t cap)
{
    struct sp_torrent *t = sp_session_torrent(s, id);
    return t ? sp_torrent_fill_peers(t, now, ret_peers, cap) : 0;
}

void sp_session_totals(struct sp_session *s, sp_time_ns now, struct sp_client_totals *ret_totals)
{
    const struct sp_hub *h = &s->hub;
    *ret_totals = (struct sp_client_totals){
        .down_Bps = sp_rate_Bps(&h->down_rate, now),
        .up_Bps = sp_rate_Bps(&h->up_rate, now),
        .downloaded_bytes = h->down_rate.total,
        .uploaded_bytes = h->up_rate.total,
        .torrents = s->torrent_count,
        .peers = h->conn_count,
        .memory_used_bytes = sp_pool_used_bytes(&h->pool),
        .memory_budget_bytes = sp_pool_budget_bytes(&h->pool),
    };
}

/* ---- our address ---- */

void sp_session_external_vote(struct sp_session *s, enum sp_external_source source,
                              const struct sp_addr *addr)
{
    sp_external_vote(&s->hub.external, &s->hub.key, source, NULL, addr);
}

struct sp_addr sp_session_external(const struct sp_session *s, enum sp_family family)
{
    return s->hub.external.best[family == SP_V6];
}

/* ---- connections ---- */

void sp_session_set_conn_limits(struct sp_session *s, uint32_t conn_max, uint32_t half_open_max)
{
    s->cfg.conn_max = conn_max;
    s->cfg.half_open_max = half_open_max;
}

struct sp_conn *sp_session_accept(struct sp_session *s, sp_torrent_id id,
                                  const struct sp_addr *addr, void *user, sp_time_ns now)
{
    struct sp_torrent *t = sp_session_torrent(s, id);
    const struct sp_session_cfg *cfg = &s->cfg;
    if (!t || s->stopping || !sp_torrent_running(t) || sp_swarm_is_banned(t, addr, true) ||
        sp_turnover_is_crowded(t, addr))
        return NULL;
    bool full = s->hub.conn_count >= cfg->conn_max || t->conn_count >= cfg->torrent_conn_max;
    if (full && !sp_turnover_make_room(t, now))
        return NULL;
    struct sp_conn *c = sp_conn_new(t, addr, true, now);
    if (!c)
        return NULL;
    c->user = user;
    sp_timers_set(&s->hub.timers, &t->timer, now + TICK_NS);
    sp_conn_wants_send(c);
    return c;
}

static void unleave(struct sp_session *s, struct sp_torrent *t)
{
    for (struct sp_torrent **at = &s->leaving; *at; at = &(*at)->next_leaving) {
        if (*at == t) {
            *at = t->next_leaving;
            sp_torrent_free(t);
            return;
        }
    }
}

void sp_session_job_done(struct sp_session *s, struct sp_job *job, enum sp_err err,
                         const char *text, sp_time_ns now)
{
    struct sp_work *w = SP_CONTAINER(job, struct sp_work, job);
    struct sp_torrent *t = w->t;
    bool left = sp_session_torrent(s, t->id) != t;

    t->jobs_out--;
    t->writes_out -= job->kind == SP_JOB_WRITE;
    if (job->kind == SP_JOB_READ) {
        sp_serve_done(w, err, text, now);
    } else if (left || t->state == SP_TORRENT_CHECKING ||
               sp_picker_state(t->picker, w->piece) != SP_PIECE_FULL) {
        /* What was written is on the disk, but nobody claims it: or the check
         * that came between has found it there. */
        if (sp_picker_state(t->picker, w->piece) == SP_PIECE_FULL)
            sp_picker_abandon(t->picker, w->piece);
        sp_work_free(&s->hub, w);
        sp_ask_commit(t);
        sp_ask_wake(&s->hub, now);
    } else {
        sp_store_done(w, err, text, now);
    }
    if (left && t->jobs_out == 0)
        unleave(s, t);
}

struct sp_trackers *sp_session_trackers(struct sp_session *s)
{
    return s->hub.trackers;
}

/* ---- time ---- */

void sp_session_stop(struct sp_session *s, sp_time_ns now)
{
    s->stopping = true;
    for (uint32_t i = 0; i < s->torrent_cap; i++) {
        if (s->torrents[i])
            sp_torrent_set_paused(s->torrents[i], true, now);
    }
}

bool sp_session_idle(const struct sp_session *s)
{
    for (uint32_t i = 0; i < s->torrent_cap; i++) {
        if (s->torrents[i] && s->torrents[i]->jobs_out)
            return false;
    }
    return !s->leaving && s->hub.conn_count == 0 && sp_trackers_idle(s->hub.trackers);
}

sp_time_ns sp_session_deadline(const struct sp_session *s)
{
    sp_time_ns own = sp_timers_next(&s->hub.timers);
    sp_time_ns trackers = sp_trackers_deadline(s->hub.trackers);
    sp_time_ns utp = sp_session_utp_deadline(s);
    if (trackers < own)
        own = trackers;
    return own < utp ? own : utp;
}

static void wake_throttled(struct sp_hub *h)
{
    struct sp_link *k;
    while ((k = sp_list_pop(&h->down_waiting)) != NULL) {
        struct sp_conn *c = SP_CONTAINER(k, struct sp_conn, down_link);
        sp_list_add(&h->receiving, &c->effect_link);
    }
    while ((k = sp_list_pop(&h->up_waiting)) != NULL)
        sp_conn_wants_send(SP_CONTAINER(k, struct sp_conn, up_link));
}

void sp_session_tick(struct sp_session *s, sp_time_ns now)
{
    struct sp_hub *h = &s->hub;
    struct sp_timer *timer;

    while ((timer = sp_timers_pop(&h->timers, now)) != NULL) {
        if (timer == &h->throttle_timer)
            wake_throttled(h);
        else
            sp_torrent_tick(SP_CONTAINER(timer, struct sp_torrent, timer), now);
    }
    sp_trackers_tick(h->trackers, now);
    sp_session_utp_tick(s, now);
}
