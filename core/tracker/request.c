#include <assert.h>

#include "core/tracker/http.h"
#include "core/tracker/set.h"

static struct sp_slice text(const char *s)
{
    return (struct sp_slice){.ptr = (const uint8_t *)s, .len = strlen(s)};
}

/* -- building -- */

static uint32_t numwant(const struct tracker *tk, const struct sp_announce *a)
{
    if (a->event == SP_EVENT_STOPPED)
        return 0;
    bool first = a->event == SP_EVENT_STARTED;
    return a->stats.left > 0 && (first || tk->torrent->announcer.hungry) ? 200 : 50;
}

static void fill_announce(struct sp_trackers *t, struct request *r)
{
    const struct tracker *tk = r->trackers[0];
    struct sp_announce *a = &r->announce;

    memcpy(a->info_hash, tk->torrent->info_hash, sizeof(a->info_hash));
    memcpy(a->peer_id, t->cfg.peer_id, sizeof(a->peer_id));
    a->key = tk->torrent->key;
    a->port = t->cfg.listen_port;
    a->announce_ip = t->cfg.announce_ip;
    a->support_crypto = t->cfg.support_crypto;
    a->event = r->event;
    if (tk->torrent->leaving)
        a->stats = tk->torrent->last;
    else
        t->cfg.stats(t->cfg.ctx, tk->torrent->number, &a->stats);
    if (a->event == SP_EVENT_NONE && a->stats.partial_seed)
        a->event = SP_EVENT_PAUSED;
    a->numwant = numwant(tk, a);
    if (tk->tracker_id && !r->host->is_udp)
        a->tracker_id = text(tk->tracker_id);
}

static bool build_url(struct sp_trackers *t, struct request *r)
{
    const struct turl *u = r->trackers[0]->url;
    struct sp_slice url = {(const uint8_t *)u->text, u->len};
    struct sp_out o = sp_out_of(NULL, 0);
    for (int pass = 0; pass < 2; pass++) {
        if (r->scrape)
            sp_http_scrape_url(&o, url, r->hashes, r->count);
        else
            sp_http_announce_url(&o, url, &r->announce);
        if (pass == 0) {
            r->url = SP_NEW_ARRAY(t->cfg.mem, char, o.len + 1);
            if (!r->url)
                return false;
            o = sp_out_of((uint8_t *)r->url, o.len);
        }
    }
    r->announce.tracker_id = (struct sp_slice){0}; /* may go away meanwhile */
    return true;
}

static void free_request(struct sp_trackers *t, struct request *r)
{
    sp_mem_free(t->cfg.mem, r->trackers);
    sp_mem_free(t->cfg.mem, r->hashes);
    sp_mem_free(t->cfg.mem, r->url);
    sp_mem_free(t->cfg.mem, r);
}

static uint32_t batch_size(const struct item *item)
{
    uint32_t n = 0;
    if (!item->scrape || !item->tracker->url->host->is_udp)
        return 1;
    for (const struct node *at = &item->node; at && n < SP_UDP_SCRAPE_MAX; at = at->next)
        n++;
    return n;
}

/* Takes the item, and with a scrape those behind it, out of the queue. */
static struct request *make_request(struct sp_trackers *t, struct item *item)
{
    struct request *r = SP_NEW(t->cfg.mem, struct request);
    uint32_t count = batch_size(item);
    if (!r)
        return NULL;
    r->trackers = SP_NEW_ARRAY(t->cfg.mem, struct tracker *, count);
    r->hashes = SP_NEW_ARRAY(t->cfg.mem, uint8_t, (size_t)count * SP_SHA1_LEN);
    if (!r->trackers || !r->hashes ||
        sp_timers_reserve(&t->request_timers, t->request_count + 1) != SP_OK) {
        free_request(t, r);
        return NULL;
    }
    r->host = item->tracker->url->host;
    r->scrape = item->scrape;
    r->event = r->scrape ? SP_EVENT_NONE : (enum sp_announce_event)item->tracker->a.event;
    for (struct item *next; r->count < count; item = next) {
        assert(item); /* they were counted */
        struct tracker *tk = item->tracker;
        next = item->node.next ? SP_CONTAINER(item->node.next, struct item, node) : NULL;
        memcpy(r->hashes + (size_t)r->count * SP_SHA1_LEN, tk->torrent->info_hash, SP_SHA1_LEN);
        r->trackers[r->count++] = tk;
        *(r->scrape ? &tk->scrape_request : &tk->request) = r;
        sp_set_unqueue(t, item);
    }
    list_add(&t->requests, &r->all);
    t->request_count++;
    return r;
}

/* -- legs -- */

static void leg_live(struct sp_trackers *t, struct request *r, struct leg *leg,
                     enum sp_family family)
{
    leg->request = r;
    leg->family = (uint8_t)family;
    leg->live = true;
    r->live++;
    r->host->running++;
    t->running[sp_set_kind(r->host)]++;
}

static void leg_dead(struct sp_trackers *t, struct leg *leg)
{
    struct request *r = leg->request;
    leg->live = false;
    r->live--;
    r->host->running--;
    t->running[sp_set_kind(r->host)]--;
}

static bool family_is_off(const struct sp_trackers *t, const struct host *h, enum sp_family family)
{
    return h->family_off[family == SP_V6] > t->now;
}

static bool begin_http_leg(struct sp_trackers *t, struct request *r, enum sp_family family)
{
    struct leg *leg = &r->legs[family == SP_V6];
    leg->ticket = sp_set_ticket_open(t, leg, NULL);
    if (leg->ticket == 0)
        return false;
    leg_live(t, r, leg, family);
    list_add(&t->handout, &leg->handout);
    return true;
}

/* BEP-0007: "An announce to the tracker should be made for each local IP address". */
static bool begin_http(struct sp_trackers *t, struct request *r)
{
    bool v4 = !family_is_off(t, r->host, SP_V4), v6 = !family_is_off(t, r->host, SP_V6);
    r->timeout_at =
        t->now + (r->event == SP_EVENT_STOPPED ? t->cfg.stop_timeout_ns : t->cfg.http_timeout_ns);
    sp_timers_set(&t->request_timers, &r->timer, r->timeout_at);
    if (!build_url(t, r))
        return false;
    if (!t->cfg.dual_stack || r->scrape || v4 == v6)
        v4 = v6 = t->cfg.dual_stack && !r->scrape;
    if (!v4 && !v6)
        return begin_http_leg(t, r, SP_FAMILY_NONE);
    bool begun = v4 && begin_http_leg(t, r, SP_V4);
    return (v6 && begin_http_leg(t, r, SP_V6)) || begun;
}

static bool begin_udp_leg(struct sp_trackers *t, struct request *r, const struct sp_addr *to)
{
    struct leg *leg = &r->legs[to->family == SP_V6];
    leg->ask = (struct sp_udp_ask){.to = *to,
                                   .action = r->scrape ? SP_UDP_SCRAPE : SP_UDP_ANNOUNCE,
                                   .announce = &r->announce,
                                   .hashes = r->hashes,
                                   .count = r->count};
    if (!r->scrape)
        leg->ask.target = r->trackers[0]->url->target;
    if (sp_udp_begin(&t->udp, &leg->ask, t->now) != SP_OK)
        return false;
    leg_live(t, r, leg, (enum sp_family)to->family);
    return true;
}

static const struct sp_addr *first_of(const struct host *h, enum sp_family family)
{
    for (uint32_t i = 0; i < h->addr_count; i++) {
        if (h->addrs[i].family == family)
            return &h->addrs[i];
    }
    return NULL;
}

/* The host's addresses are known. */
static bool begin_udp(struct sp_trackers *t, struct request *r)
{
    const struct host *h = r->host;
    const struct sp_addr *v4 = first_of(h, SP_V4), *v6 = first_of(h, SP_V6);

    sp_timers_clear(&t->request_timers, &r->timer);
    if (r->event == SP_EVENT_STOPPED)
        sp_timers_set(&t->request_timers, &r->timer, t->now + t->cfg.stop_timeout_ns);
    if (!t->cfg.dual_stack || r->scrape || !v4 || !v6)
        return begin_udp_leg(t, r, &h->addrs[h->addr_ix % h->addr_count]);
    bool v4_off = family_is_off(t, h, SP_V4), v6_off = family_is_off(t, h, SP_V6);
    bool begun = (!v4_off || v6_off) && begin_udp_leg(t, r, v4);
    return ((!v6_off || v4_off) && begin_udp_leg(t, r, v6)) || begun;
}

/* -- the end -- */

static void detach(struct sp_trackers *t, struct request *r)
{
    assert(r->live == 0);
    sp_timers_clear(&t->request_timers, &r->timer);
    if (r->waits)
        list_del(&r->host->waiting, &r->node);
    list_del(&t->requests, &r->all);
    t->request_count--;
    for (uint32_t i = 0; i < r->count; i++) {
        if (r->trackers[i])
            *(r->scrape ? &r->trackers[i]->scrape_request : &r->trackers[i]->request) = NULL;
    }
    sp_set_host_wake(t, r->host);
}

static void finish_announce(struct sp_trackers *t, struct request *r)
{
    struct tracker *tk = r->trackers[0];
    struct sp_announcer *a = &tk->torrent->announcer;
    if (r->answered) {
        sp_announcer_ok(a, tk->ix, &r->answer, t->cfg.interval_min_ns, t->cfg.rng, t->now);
    } else {
        sp_set_message(t, tk, text(r->why));
        sp_announcer_failed(a, tk->ix, r->retry, r->retry_in_s, t->cfg.rng, t->now);
    }
    sp_set_changed(t, tk);
    sp_set_torrent_plan(t, tk->torrent);
}

/* With all its legs ended. */
static void finish(struct sp_trackers *t, struct request *r)
{
    struct host *h = r->host;
    /* Where the addresses themselves may be wrong they are looked up again. */
    if (h->is_udp && !r->answered && r->why[0] == '\0') {
        h->addr_ix++;
        if (h->addr_ix % (h->addr_count ? h->addr_count : 1) == 0)
            h->resolved_until = 0;
    }
    if (!r->answered && r->why[0] == '\0')
        sp_set_clean_text(SP_LIT("no answer"), r->why, sizeof(r->why));
    detach(t, r);
    if (!r->scrape)
        finish_announce(t, r);
    free_request(t, r);
}

static void leg_ended(struct sp_trackers *t, struct leg *leg)
{
    struct request *r = leg->request;
    leg_dead(t, leg);
    if (r->live == 0)
        finish(t, r);
    else
        sp_set_host_wake(t, r->host);
}

/* Nothing could be begun. */
static void fail_now(struct sp_trackers *t, struct request *r, struct sp_slice why)
{
    sp_set_clean_text(why, r->why, sizeof(r->why));
    finish(t, r);
}

/* -- beginning -- */

static void resolve(struct sp_trackers *t, struct request *r)
{
    struct host *h = r->host;
    if (h->ticket == 0) {
        h->ticket = sp_set_ticket_open(t, NULL, h);
        if (h->ticket == 0) {
            fail_now(t, r, SP_LIT("out of memory"));
            return;
        }
        list_add(&t->resolve, &h->resolve);
    }
    r->waits = true;
    list_add(&h->waiting, &r->node);
    sp_timers_set(&t->request_timers, &r->timer,
                  t->now + (r->event == SP_EVENT_STOPPED ? STOP_RESOLVE_S : RESOLVE_WAIT_S) *
                               SP_SECOND_NS);
}

static void begin_resolved(struct sp_trackers *t, struct request *r)
{
    if (r->host->addr_count == 0)
        fail_now(t, r, text(r->host->why));
    else if (!begin_udp(t, r))
        fail_now(t, r, SP_LIT("out of memory"));
}

void sp_set_begin(struct sp_trackers *t, struct item *item)
{
    struct tracker *tk = item->tracker;
    bool scrape = item->scrape;
    struct request *r = make_request(t, item);
    if (!r) {
        sp_set_unqueue(t, item);
        if (scrape)
            return;
        sp_announcer_failed(&tk->torrent->announcer, tk->ix, SP_RETRY_LATER, 0, t->cfg.rng, t->now);
        sp_set_changed(t, tk);
        sp_set_torrent_plan(t, tk->torrent);
        return;
    }
    if (!r->scrape)
        fill_announce(t, r);
    if (!r->host->is_udp) {
        if (!begin_http(t, r))
            fail_now(t, r, SP_LIT("out of memory"));
    } else if (r->host->resolved_until > t->now) {
        begin_resolved(t, r);
    } else {
        resolve(t, r);
    }
}

void sp_set_host_resolved(struct sp_trackers *t, struct host *h)
{
    while (h->waiting.head) {
        struct request *r = SP_CONTAINER(h->waiting.head, struct request, node);
        list_del(&h->waiting, &r->node);
        r->waits = false;
        begin_resolved(t, r);
    }
}

/* -- results -- */

static void keep_failure(struct request *r, struct sp_slice why)
{
    if (r->why[0] == '\0')
        sp_set_clean_text(why, r->why, sizeof(r->why));
}

static void family_works(struct sp_trackers *t, struct request *r, enum sp_family family)
{
    if (family != SP_FAMILY_NONE)
        r->host->family_off[family == SP_V6] = 0;
    for (int i = 0; i < LEGS && t->cfg.dual_stack; i++) {
        struct leg *other = &r->legs[i];
        /* The other one was tried and failed before. */
        if (other->request && !other->live && other->family != family)
            r->host->family_off[other->family == SP_V6] = t->now + FAMILY_OFF_S * SP_SECOND_NS;
    }
}

void sp_set_leg_failed(struct sp_trackers *t, struct leg *leg, struct sp_slice why)
{
    struct request *r = leg->request;
    if (r->answered && leg->family != SP_FAMILY_NONE)
        r->host->family_off[leg->family == SP_V6] = t->now + FAMILY_OFF_S * SP_SECOND_NS;
    keep_failure(r, why);
    leg_ended(t, leg);
}

static void keep_tracker_id(struct sp_trackers *t, struct tracker *tk, struct sp_slice id)
{
    if (id.len == 0 || id.len > SP_TRACKER_ID_MAX || memchr(id.ptr, 0, id.len))
        return;
    char *copy = SP_NEW_ARRAY(t->cfg.mem, char, id.len + 1);
    if (!copy)
        return;
    memcpy(copy, id.ptr, id.len);
    sp_mem_free(t->cfg.mem, tk->tracker_id);
    tk->tracker_id = copy;
}

static void give_peers(struct sp_trackers *t, struct request *r, const struct tracker *tk,
                       uint32_t count)
{
    if (count == 0)
        return;
    struct peers_node *n = sp_mem_alloc(t->cfg.mem, 1, sizeof(*n) + count * sizeof(struct sp_addr));
    if (!n)
        return;
    n->torrent = tk->torrent->number;
    n->tracker_ix = tk->ix;
    n->count = count;
    n->switched = r->switched;
    r->switched = false; /* said once */
    memcpy(n->addrs, t->scratch, count * sizeof(struct sp_addr));
    list_add(&t->peers, &n->node);
}

static void take_reply(struct sp_trackers *t, struct leg *leg,
                       const struct sp_announce_reply *reply)
{
    struct request *r = leg->request;
    struct tracker *tk = r->trackers[0];

    if (reply->failed) {
        keep_failure(r, reply->failure);
        if (r->retry == SP_RETRY_LATER) {
            r->retry = reply->retry;
            r->retry_in_s = reply->retry_in_s;
        }
        leg_ended(t, leg);
        return;
    }
    family_works(t, r, (enum sp_family)leg->family);
    tk->swarm = reply->swarm;
    tk->peers_got = (r->answered ? tk->peers_got : 0) + reply->peer_count;
    sp_set_message(t, tk, reply->warning);
    keep_tracker_id(t, tk, reply->tracker_id);
    if (reply->external_ip.family != SP_FAMILY_NONE)
        t->external_ip[reply->external_ip.family == SP_V6] = reply->external_ip;
    if (!r->answered) {
        r->answered = true;
        r->answer = (struct sp_announcer_answer){reply->interval_s, reply->min_interval_s};
        r->switched = sp_announcer_switches(&tk->torrent->announcer, tk->ix);
    }
    if (r->event != SP_EVENT_STOPPED && !tk->torrent->leaving)
        give_peers(t, r, tk, reply->peer_count);
    leg_ended(t, leg);
}

static void take_sizes(struct sp_trackers *t, struct request *r, const struct sp_swarm_size *sizes,
                       uint32_t min_interval_s)
{
    for (uint32_t i = 0; i < r->count; i++) {
        struct tracker *tk = r->trackers[i];
        if (!tk || sizes[i].seeds == SP_SWARM_UNKNOWN)
            continue;
        tk->swarm = sizes[i];
        if (min_interval_s > SCRAPE_MIN_S)
            tk->scrape_at = t->now + min_interval_s * SP_SECOND_NS;
        sp_set_changed(t, tk);
    }
}

static void http_scrape(struct sp_trackers *t, struct leg *leg, struct sp_slice body)
{
    struct request *r = leg->request;
    struct sp_swarm_size sizes[SP_UDP_SCRAPE_MAX];
    struct sp_scrape_reply reply;
    if (sp_http_scrape_parse(t->cfg.mem, body, r->hashes, r->count, sizes, &reply) == SP_OK &&
        !reply.failed)
        take_sizes(t, r, sizes, reply.min_request_interval_s);
    leg_ended(t, leg);
}

/* "answered HTTP 404" */
static struct sp_slice status_text(int status, uint8_t buf[32])
{
    struct sp_out o = sp_out_of(buf, 32);
    sp_out_str(&o, "answered HTTP ");
    sp_out_dec(&o, status > 0 ? (uint64_t)status : 0);
    return (struct sp_slice){.ptr = buf, .len = o.len};
}

void sp_set_leg_http(struct sp_trackers *t, struct leg *leg, int status, struct sp_slice body)
{
    struct sp_announce_reply reply;
    uint8_t buf[32];
    if (leg->request->scrape) {
        http_scrape(t, leg, body);
        return;
    }
    if (sp_http_announce_parse(t->cfg.mem, body, t->scratch, SP_TRACKER_PEERS_MAX, &reply) !=
        SP_OK) {
        sp_set_leg_failed(t, leg, SP_LIT("out of memory"));
        return;
    }
    /* A tracker may give its reason with any status; without one the status is the reason. */
    if (status / 100 != 2 && (!reply.failed || body.len == 0 || body.ptr[0] != 'd')) {
        reply.failed = true;
        reply.failure = status_text(status, buf);
    }
    take_reply(t, leg, &reply);
}

void sp_set_leg_udp(struct sp_trackers *t, struct leg *leg, struct sp_slice packet)
{
    struct request *r = leg->request;
    struct sp_swarm_size sizes[SP_UDP_SCRAPE_MAX];
    struct sp_announce_reply reply = {0};

    if (sp_be32(packet.ptr) == SP_UDP_ERROR) {
        struct sp_slice why = sp_udp_read_error(packet);
        reply.failed = true;
        reply.failure = why.len ? why : SP_LIT("answered with an error");
        if (r->scrape)
            leg_ended(t, leg);
        else
            take_reply(t, leg, &reply);
    } else if (r->scrape) {
        if (sp_udp_read_scrape(packet, sizes, r->count) == SP_OK) {
            r->answered = true;
            take_sizes(t, r, sizes, 0);
        }
        leg_ended(t, leg);
    } else if (sp_udp_read_announce(packet, (enum sp_family)leg->family, t->scratch,
                                    SP_TRACKER_PEERS_MAX, &reply) == SP_OK) {
        take_reply(t, leg, &reply);
    } else {
        sp_set_leg_failed(t, leg, SP_LIT("answered with a packet that is too short"));
    }
}

/* -- dropping -- */

static bool leg_was_sent(const struct sp_trackers *t, const struct leg *leg)
{
    assert(leg->request);
    if (leg->request->host->is_udp)
        return leg->ask.was_sent;
    return t->tickets[(leg->ticket & TICKETS_MAX) - 1].state == TICKET_HANDED;
}

static void drop_leg(struct sp_trackers *t, struct leg *leg)
{
    if (leg->request->host->is_udp)
        sp_udp_cancel(&t->udp, &leg->ask);
    else
        sp_set_ticket_close(t, leg->ticket, false);
    leg_dead(t, leg);
}

/* Gives whether the tracker may have heard of it. */
static bool drop_legs(struct sp_trackers *t, struct request *r)
{
    bool was_sent = false;
    for (int i = 0; i < LEGS; i++) {
        was_sent = was_sent || (r->legs[i].request && !r->legs[i].live);
        if (!r->legs[i].live)
            continue;
        was_sent = leg_was_sent(t, &r->legs[i]) || was_sent;
        drop_leg(t, &r->legs[i]);
    }
    return was_sent;
}

void sp_set_cancel(struct sp_trackers *t, struct request *r)
{
    bool was_sent = drop_legs(t, r);
    struct tracker *tk = r->trackers[0];
    detach(t, r);
    if (!r->scrape && tk->a.busy)
        sp_announcer_canceled(&tk->torrent->announcer, tk->ix, was_sent);
    free_request(t, r);
}

void sp_set_request_forget(struct sp_trackers *t, struct request *r, struct tracker *tk)
{
    bool any = false;
    for (uint32_t i = 0; i < r->count; i++) {
        if (r->trackers[i] == tk)
            r->trackers[i] = NULL;
        any = any || r->trackers[i];
    }
    if (any)
        return;
    (void)drop_legs(t, r);
    detach(t, r);
    free_request(t, r);
}

void sp_set_request_timeout(struct sp_trackers *t, struct request *r)
{
    for (int i = 0; i < LEGS; i++) {
        if (r->legs[i].live) {
            if (r->answered && r->legs[i].family != SP_FAMILY_NONE)
                r->host->family_off[i] = t->now + FAMILY_OFF_S * SP_SECOND_NS;
            drop_leg(t, &r->legs[i]);
        }
    }
    keep_failure(r, r->waits ? SP_LIT("the host's name could not be resolved in time")
                             : SP_LIT("timed out"));
    finish(t, r);
}
