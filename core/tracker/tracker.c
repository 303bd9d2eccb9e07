#include "core/tracker/tracker.h"

#include <assert.h>

#include "core/tracker/http.h"
#include "core/tracker/set.h"

/* -- the set -- */

static void defaults(struct sp_trackers_cfg *c)
{
    c->http_max = c->http_max ? c->http_max : 50;
    c->per_host_max = c->per_host_max ? c->per_host_max : 4;
    c->udp_max = c->udp_max ? c->udp_max : 200;
    c->host_rate = c->host_rate ? c->host_rate : 20;
    c->http_timeout_ns = c->http_timeout_ns ? c->http_timeout_ns : 30 * SP_SECOND_NS;
    c->stop_timeout_ns = c->stop_timeout_ns ? c->stop_timeout_ns : 5 * SP_SECOND_NS;
    c->udp_base_ns = c->udp_base_ns ? c->udp_base_ns : 5 * SP_SECOND_NS;
    c->udp_tries = c->udp_tries ? c->udp_tries : 3;
    c->interval_min_ns = c->interval_min_ns ? c->interval_min_ns : 60 * SP_SECOND_NS;
}

enum sp_err sp_trackers_new(const struct sp_trackers_cfg *cfg, struct sp_trackers **ret_trackers)
{
    struct sp_trackers *t = SP_NEW(cfg->mem, struct sp_trackers);
    if (!t)
        return SP_ENOMEM;
    t->cfg = *cfg;
    defaults(&t->cfg);
    t->key = (struct sp_hash_key){sp_rng_u64(cfg->rng), sp_rng_u64(cfg->rng)};
    t->by_number = t->by_url = t->by_host = sp_map_of(cfg->mem);
    t->torrent_timers = t->host_timers = t->request_timers = sp_timers_of(cfg->mem);
    sp_udp_init(&t->udp, cfg->mem, cfg->rng, &t->key, t->cfg.udp_base_ns, t->cfg.udp_tries);
    *ret_trackers = t;
    return SP_OK;
}

static void remove_torrent(struct sp_trackers *t, struct torrent *to);
static void forget_namesake(struct sp_trackers *t, const uint8_t *info_hash);

void sp_trackers_free(struct sp_trackers *t)
{
    if (!t)
        return;
    const struct sp_mem *mem = t->cfg.mem;
    for (uint32_t ix = 0; ix < t->torrents.cap; ix++) {
        if (t->torrents.entries[ix])
            remove_torrent(t, t->torrents.entries[ix]);
    }
    assert(t->urls.count == 0 && t->hosts.count == 0 && t->request_count == 0);
    sp_udp_done(&t->udp);
    sp_timers_done(&t->torrent_timers);
    sp_timers_done(&t->host_timers);
    sp_timers_done(&t->request_timers);
    sp_map_done(&t->by_number);
    sp_map_done(&t->by_url);
    sp_map_done(&t->by_host);
    sp_mem_free(mem, t->torrents.entries);
    sp_mem_free(mem, t->urls.entries);
    sp_mem_free(mem, t->hosts.entries);
    sp_mem_free(mem, t->tickets);
    sp_mem_free(mem, t->handed_peers);
    sp_mem_free(mem, t);
}

void sp_trackers_set_port(struct sp_trackers *t, uint16_t port)
{
    t->cfg.listen_port = port;
}

/* -- torrents -- */

static bool is_number(const void *owner, uint32_t ix, const void *key)
{
    const struct torrent *to = ((const struct sp_trackers *)owner)->torrents.entries[ix];
    return to->number == *(const uint32_t *)key;
}

static uint64_t hash_number(const struct sp_trackers *t, uint32_t number)
{
    return sp_hash_bytes(&t->key, &number, sizeof(number));
}

static struct torrent *find(const struct sp_trackers *t, uint32_t number)
{
    uint32_t ix = sp_map_find(&t->by_number, hash_number(t, number), &number, is_number, t);
    return ix == SP_MAP_NONE ? NULL : t->torrents.entries[ix];
}

static struct tracker *tracker_at(const struct torrent *to, uint32_t ix)
{
    return SP_CONTAINER(to->announcer.trackers[ix], struct tracker, a);
}

static void free_tracker(struct sp_trackers *t, struct tracker *tk)
{
    if (tk->item)
        sp_set_unqueue(t, tk->item);
    if (tk->scrape_item)
        sp_set_unqueue(t, tk->scrape_item);
    if (tk->request)
        sp_set_request_forget(t, tk->request, tk);
    if (tk->scrape_request)
        sp_set_request_forget(t, tk->scrape_request, tk);
    if (tk->status_is_queued)
        list_del(&t->changed, &tk->status);
    if (tk->url->host)
        tk->url->host->users--;
    sp_set_url_put(t, tk->url);
    sp_mem_free(t->cfg.mem, tk->message);
    sp_mem_free(t->cfg.mem, tk->tracker_id);
    sp_mem_free(t->cfg.mem, tk);
}

static bool has_url(const struct torrent *to, const struct turl *url)
{
    for (uint32_t ix = 0; ix < to->announcer.count; ix++) {
        const struct turl *u = tracker_at(to, ix)->url;
        if (u->len == url->len && memcmp(u->text, url->text, u->len) == 0)
            return true;
    }
    return false;
}

static enum sp_err add_url(struct sp_trackers *t, struct torrent *to,
                           const struct sp_tracker_url *from)
{
    struct turl *url;
    enum sp_err err = sp_set_url_get(t, from, &url);
    if (err != SP_OK)
        return err;
    if (has_url(to, url)) {
        sp_set_url_put(t, url);
        return SP_EEXIST;
    }
    struct tracker *tk = SP_NEW(t->cfg.mem, struct tracker);
    if (!tk) {
        sp_set_url_put(t, url);
        return SP_ENOMEM;
    }
    tk->torrent = to;
    tk->url = url;
    tk->a.tier = from->tier;
    tk->a.usable = url->host != NULL;
    tk->swarm = (struct sp_swarm_size){SP_SWARM_UNKNOWN, SP_SWARM_UNKNOWN, SP_SWARM_UNKNOWN};
    tk->ix = to->announcer.count;
    if (url->host)
        url->host->users++;
    err = sp_announcer_add(&to->announcer, t->cfg.mem, t->cfg.rng, &tk->a);
    if (err != SP_OK)
        free_tracker(t, tk);
    return err;
}

static struct torrent *make_torrent(struct sp_trackers *t, uint32_t number)
{
    struct torrent *to = SP_NEW(t->cfg.mem, struct torrent);
    if (!to)
        return NULL;
    if (sp_set_table_reserve(t, &t->torrents, &to->ix) != SP_OK ||
        sp_timers_reserve(&t->torrent_timers, t->torrents.count + 1) != SP_OK ||
        sp_map_put(&t->by_number, hash_number(t, number), to->ix) != SP_OK) {
        sp_mem_free(t->cfg.mem, to);
        return NULL;
    }
    to->number = number;
    /* BEP-0007: "The key should be generated so it has at least 32bits worth of entropy." */
    to->key = (uint32_t)sp_rng_u64(t->cfg.rng);
    sp_set_table_put(&t->torrents, to->ix, to);
    return to;
}

enum sp_err sp_trackers_add(struct sp_trackers *t, uint32_t torrent,
                            const uint8_t info_hash[SP_SHA1_LEN], bool priv,
                            const struct sp_tracker_url *urls, uint32_t count)
{
    if (find(t, torrent))
        return SP_EEXIST;
    forget_namesake(t, info_hash);
    struct torrent *to = make_torrent(t, torrent);
    if (!to)
        return SP_ENOMEM;
    memcpy(to->info_hash, info_hash, SP_SHA1_LEN);
    /* BEP-0027: "each peer MUST use only one tracker at a time and only switch between
     * trackers when the current tracker fails." */
    to->announcer.tiers = (uint8_t)(priv ? SP_TIERS_STRICT : t->cfg.tiers);
    for (uint32_t i = 0; i < count; i++) {
        if (add_url(t, to, &urls[i]) == SP_ENOMEM) {
            remove_torrent(t, to);
            return SP_ENOMEM;
        }
    }
    return SP_OK;
}

enum sp_err sp_trackers_add_url(struct sp_trackers *t, uint32_t torrent,
                                const struct sp_tracker_url *url, sp_time_ns now)
{
    struct torrent *to = find(t, torrent);
    if (!to)
        return SP_ENOENT;
    enum sp_err err = add_url(t, to, url);
    if (err != SP_OK)
        return err;
    t->now = now;
    sp_set_changed(t, tracker_at(to, to->announcer.count - 1u));
    sp_set_torrent_plan(t, to);
    sp_set_pump(t);
    return SP_OK;
}

static void remove_torrent(struct sp_trackers *t, struct torrent *to)
{
    for (uint32_t ix = 0; ix < to->announcer.count; ix++)
        free_tracker(t, tracker_at(to, ix));
    sp_announcer_done(&to->announcer, t->cfg.mem);
    for (struct node *at = t->peers.head, *next; at; at = next) {
        struct peers_node *n = SP_CONTAINER(at, struct peers_node, node);
        next = at->next;
        if (n->torrent == to->number) {
            list_del(&t->peers, at);
            sp_mem_free(t->cfg.mem, n);
        }
    }
    sp_timers_clear(&t->torrent_timers, &to->timer);
    if (to->leaving)
        t->leaving_count--;
    else
        sp_map_del(&t->by_number, hash_number(t, to->number), to->ix);
    sp_set_table_del(&t->torrents, to->ix);
    sp_mem_free(t->cfg.mem, to);
}

void sp_trackers_remove(struct sp_trackers *t, uint32_t torrent)
{
    struct torrent *to = find(t, torrent);
    if (!to)
        return;
    remove_torrent(t, to);
    sp_set_pump(t);
}

/* -- commands -- */

void sp_set_message(struct sp_trackers *t, struct tracker *tk, struct sp_slice text)
{
    char clean[SP_TRACKER_MESSAGE_LEN];
    size_t len = sp_set_clean_text(text, clean, sizeof(clean));
    if (tk->message && strlen(tk->message) == len && memcmp(tk->message, clean, len) == 0)
        return;
    sp_mem_free(t->cfg.mem, tk->message);
    tk->message = len ? SP_NEW_ARRAY(t->cfg.mem, char, len + 1) : NULL;
    if (tk->message)
        memcpy(tk->message, clean, len);
}

static enum queue queue_of(const struct torrent *to, const struct tracker *tk)
{
    return to->announcer.running && !tk->a.urgent ? QUEUE_NORMAL : QUEUE_URGENT;
}

void sp_set_torrent_plan(struct sp_trackers *t, struct torrent *to)
{
    uint32_t ix;
    enum sp_announce_event event;
    while (sp_announcer_pick(&to->announcer, t->now, &ix, &event)) {
        struct tracker *tk = tracker_at(to, ix);
        if (sp_set_enqueue(t, tk, queue_of(to, tk), false) != SP_OK) {
            sp_set_message(t, tk, SP_LIT("out of memory"));
            sp_announcer_failed(&to->announcer, ix, SP_RETRY_LATER, 0, t->cfg.rng, t->now);
        }
        sp_set_changed(t, tk);
    }
    sp_timers_set(&t->torrent_timers, &to->timer, sp_announcer_deadline(&to->announcer));
}

static void go(struct sp_trackers *t, struct torrent *to)
{
    sp_set_torrent_plan(t, to);
    sp_set_pump(t);
}

void sp_trackers_start(struct sp_trackers *t, uint32_t torrent, sp_time_ns now)
{
    struct torrent *to = find(t, torrent);
    t->now = now;
    if (!to || to->announcer.running)
        return;
    sp_announcer_start(&to->announcer, now);
    go(t, to);
}

void sp_trackers_completed(struct sp_trackers *t, uint32_t torrent, sp_time_ns now)
{
    struct torrent *to = find(t, torrent);
    t->now = now;
    if (!to)
        return;
    sp_announcer_completed(&to->announcer);
    go(t, to);
}

static void make_urgent(struct sp_trackers *t, struct item *item)
{
    struct host *h = item->tracker->url->host;
    list_del(&h->queues[item->queue], &item->node);
    item->queue = QUEUE_URGENT;
    list_add(&h->queues[QUEUE_URGENT], &item->node);
    sp_set_host_wake(t, h);
}

/* What is under way for a torrent that stops: "completed" still goes out, soon. */
static void hurry(struct sp_trackers *t, struct tracker *tk)
{
    sp_time_ns soon = t->now + t->cfg.stop_timeout_ns;
    bool event = tk->a.event == SP_EVENT_COMPLETED || tk->a.event == SP_EVENT_STOPPED;
    if (!tk->a.busy)
        return;
    if (tk->item && event) {
        make_urgent(t, tk->item);
    } else if (tk->item) {
        sp_set_unqueue(t, tk->item);
        sp_announcer_canceled(&tk->torrent->announcer, tk->ix, false);
    } else if (!event) {
        sp_set_cancel(t, tk->request);
    } else if (tk->request->timer.pos == 0 || tk->request->timer.at > soon) {
        sp_timers_set(&t->request_timers, &tk->request->timer, soon);
    }
}

static void stop(struct sp_trackers *t, struct torrent *to)
{
    if (!to->announcer.running)
        return;
    for (uint32_t ix = 0; ix < to->announcer.count; ix++) {
        hurry(t, tracker_at(to, ix));
        sp_set_changed(t, tracker_at(to, ix));
    }
    sp_announcer_stop(&to->announcer);
    sp_set_torrent_plan(t, to);
}

void sp_trackers_stop(struct sp_trackers *t, uint32_t torrent, sp_time_ns now)
{
    struct torrent *to = find(t, torrent);
    t->now = now;
    if (!to)
        return;
    stop(t, to);
    sp_set_pump(t);
}

/* -- torrents that the caller has forgotten, until their trackers know -- */

static bool has_more_to_tell(const struct torrent *to)
{
    for (uint32_t ix = 0; ix < to->announcer.count; ix++) {
        const struct sp_announcer_tracker *a = to->announcer.trackers[ix];
        if (a->busy || a->completed_due || a->stop_due)
            return true;
    }
    return false;
}

void sp_set_forget_left(struct sp_trackers *t)
{
    for (uint32_t ix = 0; t->leaving_count && ix < t->torrents.cap; ix++) {
        struct torrent *to = t->torrents.entries[ix];
        if (to && to->leaving && !has_more_to_tell(to))
            remove_torrent(t, to);
    }
}

/* A "stopped" that overtakes the new "started" would take us out of the swarm. */
static void forget_namesake(struct sp_trackers *t, const uint8_t *info_hash)
{
    for (uint32_t ix = 0; t->leaving_count && ix < t->torrents.cap; ix++) {
        struct torrent *to = t->torrents.entries[ix];
        if (to && to->leaving && memcmp(to->info_hash, info_hash, SP_SHA1_LEN) == 0)
            remove_torrent(t, to);
    }
}

void sp_trackers_leave(struct sp_trackers *t, uint32_t torrent, sp_time_ns now)
{
    struct torrent *to = find(t, torrent);
    if (!to)
        return;
    t->now = now;
    t->cfg.stats(t->cfg.ctx, torrent, &to->last);
    sp_map_del(&t->by_number, hash_number(t, torrent), to->ix);
    to->leaving = true;
    to->number = NUMBER_NONE;
    t->leaving_count++;
    stop(t, to);
    sp_set_pump(t);
}

void sp_trackers_reannounce(struct sp_trackers *t, uint32_t torrent, sp_time_ns now)
{
    struct torrent *to = find(t, torrent);
    t->now = now;
    if (!to || !to->announcer.running)
        return;
    for (uint32_t ix = 0; ix < to->announcer.count; ix++) {
        struct tracker *tk = tracker_at(to, ix);
        struct host *h = tk->url->host;
        if (tk->item)
            make_urgent(t, tk->item);
        if (h)
            h->family_off[0] = h->family_off[1] = 0;
        if (h && h->addr_count == 0)
            h->resolved_until = 0;
    }
    sp_announcer_reannounce(&to->announcer, now);
    go(t, to);
}

static bool can_scrape(const struct sp_trackers *t, const struct tracker *tk)
{
    struct sp_slice url = {(const uint8_t *)tk->url->text, tk->url->len};
    if (!tk->a.usable || tk->a.never || tk->scrape_at > t->now || tk->scrape_item ||
        tk->scrape_request)
        return false;
    return tk->url->host->is_udp || sp_http_can_scrape(url);
}

void sp_trackers_scrape(struct sp_trackers *t, uint32_t torrent, sp_time_ns now)
{
    struct torrent *to = find(t, torrent);
    t->now = now;
    for (uint32_t ix = 0; to && ix < to->announcer.count; ix++) {
        struct tracker *tk = tracker_at(to, ix);
        if (can_scrape(t, tk) && sp_set_enqueue(t, tk, QUEUE_SCRAPE, true) == SP_OK)
            tk->scrape_at = now + SCRAPE_MIN_S * SP_SECOND_NS;
    }
    sp_set_pump(t);
}

void sp_trackers_want_peers(struct sp_trackers *t, uint32_t torrent, bool hungry, sp_time_ns now)
{
    struct torrent *to = find(t, torrent);
    t->now = now;
    if (!to || to->announcer.hungry == hungry)
        return;
    to->announcer.hungry = hungry;
    go(t, to);
}

bool sp_trackers_idle(const struct sp_trackers *t)
{
    return t->item_count == 0 && t->request_count == 0;
}

/* -- for people -- */

const char *sp_tracker_state_name(enum sp_tracker_state state)
{
    switch (state) {
    case SP_TRACKER_IDLE:
        return "idle";
    case SP_TRACKER_ANNOUNCING:
        return "announcing";
    case SP_TRACKER_OK:
        return "ok";
    case SP_TRACKER_FAILING:
        return "failing";
    case SP_TRACKER_DISABLED:
        return "disabled";
    case SP_TRACKER_UNSUPPORTED:
        break;
    }
    return "unsupported";
}

static enum sp_tracker_state state_of(const struct torrent *to, const struct tracker *tk)
{
    if (!tk->a.usable)
        return SP_TRACKER_UNSUPPORTED;
    if (tk->a.never)
        return SP_TRACKER_DISABLED;
    if (tk->a.busy)
        return SP_TRACKER_ANNOUNCING;
    if (!to->announcer.running)
        return SP_TRACKER_IDLE;
    return tk->a.fails ? SP_TRACKER_FAILING : tk->a.ok ? SP_TRACKER_OK : SP_TRACKER_IDLE;
}

bool sp_trackers_info_at(const struct sp_trackers *t, uint32_t torrent, uint32_t tracker_ix,
                         struct sp_tracker_info *ret_info)
{
    const struct torrent *to = find(t, torrent);
    if (!to || tracker_ix >= to->announcer.count)
        return false;
    const struct tracker *tk = tracker_at(to, tracker_ix);
    bool planned = to->announcer.running && !tk->a.busy && (tk->a.holds || tk->a.fails);
    const char *message = tk->a.usable ? tk->message : tk->url->why;
    struct sp_tracker_info info = {
        .url = tk->url->text,
        .tier = tk->a.tier,
        .state = state_of(to, tk),
        .next_announce_at = planned ? tk->a.next_at : SP_TIME_NEVER,
        .last_announce_at = tk->a.last_at,
        .seeds = tk->swarm.seeds,
        .leechers = tk->swarm.leechers,
        .downloaded = tk->swarm.downloaded,
        .peers_got = tk->peers_got,
        .fails = tk->a.fails,
    };
    if (message)
        memcpy(info.message, message, strlen(message));
    *ret_info = info;
    return true;
}

uint32_t sp_trackers_info(const struct sp_trackers *t, uint32_t torrent,
                          struct sp_tracker_info *ret_infos, uint32_t cap)
{
    const struct torrent *to = find(t, torrent);
    for (uint32_t ix = 0; ix < cap; ix++) {
        if (!sp_trackers_info_at(t, torrent, ix, &ret_infos[ix]))
            break;
    }
    return to ? to->announcer.count : 0;
}
