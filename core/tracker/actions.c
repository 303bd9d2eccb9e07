#include <assert.h>

#include "core/tracker/set.h"

/* -- tickets: requests as the shell knows them -- */

static bool grow_tickets(struct sp_trackers *t)
{
    uint32_t cap = t->ticket_cap ? t->ticket_cap * 2 : 32;
    cap = cap < TICKETS_MAX ? cap : TICKETS_MAX;
    if (cap == t->ticket_cap)
        return false;
    struct ticket *grown =
        sp_mem_grow(t->cfg.mem, t->tickets, t->ticket_cap, cap, sizeof(struct ticket));
    if (!grown)
        return false;
    for (uint32_t i = cap; i > t->ticket_cap; i--) {
        grown[i - 1].next = t->ticket_free;
        t->ticket_free = i;
    }
    t->tickets = grown;
    t->ticket_cap = cap;
    return true;
}

uint32_t sp_set_ticket_open(struct sp_trackers *t, struct leg *leg, struct host *host)
{
    if (t->ticket_free == 0 && !grow_tickets(t))
        return 0;
    uint32_t place = t->ticket_free;
    struct ticket *k = &t->tickets[place - 1];
    t->ticket_free = k->next;
    *k = (struct ticket){.state = TICKET_QUEUED, .leg = leg, .host = host};
    k->id = t->generation++ * (TICKETS_MAX + 1) + place;
    return k->id;
}

static struct ticket *find_ticket(struct sp_trackers *t, uint32_t id)
{
    uint32_t place = id & TICKETS_MAX;
    if (place == 0 || place > t->ticket_cap)
        return NULL;
    struct ticket *k = &t->tickets[place - 1];
    return k->id == id && k->state != TICKET_FREE ? k : NULL;
}

static void free_ticket(struct sp_trackers *t, struct ticket *k)
{
    *k = (struct ticket){.next = t->ticket_free};
    t->ticket_free = (uint32_t)(k - t->tickets) + 1;
}

void sp_set_ticket_close(struct sp_trackers *t, uint32_t id, bool answered)
{
    struct ticket *k = find_ticket(t, id);
    assert(k && k->state != TICKET_CANCELED);
    if (k->state == TICKET_QUEUED && k->leg)
        list_del(&t->handout, &k->leg->handout);
    else if (k->state == TICKET_QUEUED)
        list_del(&t->resolve, &k->host->resolve);
    if (k->host)
        k->host->ticket = 0;
    if (answered || k->state == TICKET_QUEUED) {
        free_ticket(t, k);
        return;
    }
    uint32_t place = (uint32_t)(k - t->tickets) + 1;
    k->state = TICKET_CANCELED;
    k->leg = NULL;
    k->host = NULL;
    k->next = 0;
    *(t->canceled_tail ? &t->tickets[t->canceled_tail - 1].next : &t->canceled_head) = place;
    t->canceled_tail = place;
}

void sp_set_changed(struct sp_trackers *t, struct tracker *tk)
{
    if (tk->status_is_queued)
        return;
    tk->status_is_queued = true;
    list_add(&t->changed, &tk->status);
}

/* -- what the shell is told -- */

static bool next_canceled(struct sp_trackers *t, struct sp_tracker_action *ret)
{
    if (t->canceled_head == 0)
        return false;
    struct ticket *k = &t->tickets[t->canceled_head - 1];
    t->canceled_head = k->next;
    if (t->canceled_head == 0)
        t->canceled_tail = 0;
    ret->kind = SP_TRACKER_CANCEL;
    ret->req = k->id;
    free_ticket(t, k);
    return true;
}

static bool next_datagram(struct sp_trackers *t, struct sp_tracker_action *ret)
{
    struct sp_slice bytes;
    if (!sp_udp_next_datagram(&t->udp, t->now, &ret->u.datagram.to, &bytes))
        return false;
    ret->kind = SP_TRACKER_DATAGRAM;
    ret->u.datagram.bytes = bytes.ptr;
    ret->u.datagram.len = bytes.len;
    return true;
}

static bool next_http(struct sp_trackers *t, struct sp_tracker_action *ret)
{
    if (!t->handout.head)
        return false;
    struct leg *leg = SP_CONTAINER(t->handout.head, struct leg, handout);
    const struct request *r = leg->request;
    list_del(&t->handout, &leg->handout);
    find_ticket(t, leg->ticket)->state = TICKET_HANDED;
    ret->kind = SP_TRACKER_HTTP;
    ret->req = leg->ticket;
    ret->torrent = r->trackers[0]->torrent->number;
    ret->tracker_ix = r->trackers[0]->ix;
    ret->u.http.url = r->url;
    ret->u.http.timeout_at = r->timeout_at;
    ret->u.http.family = leg->family;
    ret->u.http.named_by_user = r->host->named_by_user;
    ret->u.http.stopping = r->event == SP_EVENT_STOPPED;
    return true;
}

static bool next_resolve(struct sp_trackers *t, struct sp_tracker_action *ret)
{
    if (!t->resolve.head)
        return false;
    struct host *h = SP_CONTAINER(t->resolve.head, struct host, resolve);
    list_del(&t->resolve, &h->resolve);
    find_ticket(t, h->ticket)->state = TICKET_HANDED;
    ret->kind = SP_TRACKER_RESOLVE;
    ret->req = h->ticket;
    ret->u.resolve.host = h->name;
    ret->u.resolve.port = h->port;
    ret->u.resolve.named_by_user = h->named_by_user;
    return true;
}

static bool next_peers(struct sp_trackers *t, struct sp_tracker_action *ret)
{
    if (!t->peers.head)
        return false;
    struct peers_node *n = SP_CONTAINER(t->peers.head, struct peers_node, node);
    list_del(&t->peers, &n->node);
    t->handed_peers = n;
    ret->kind = SP_TRACKER_PEERS;
    ret->torrent = n->torrent;
    ret->tracker_ix = n->tracker_ix;
    ret->u.peers.addrs = n->addrs;
    ret->u.peers.count = n->count;
    ret->u.peers.switched = n->switched;
    return true;
}

static bool next_external_ip(struct sp_trackers *t, struct sp_tracker_action *ret)
{
    for (int i = 0; i < 2; i++) {
        if (sp_addr_eq(&t->external_ip[i], &t->external_told[i]))
            continue;
        t->external_told[i] = t->external_ip[i];
        ret->kind = SP_TRACKER_EXTERNAL_IP;
        ret->u.external_ip = t->external_ip[i];
        return true;
    }
    return false;
}

static bool next_status(struct sp_trackers *t, struct sp_tracker_action *ret)
{
    if (!t->changed.head)
        return false;
    struct tracker *tk = SP_CONTAINER(t->changed.head, struct tracker, status);
    list_del(&t->changed, &tk->status);
    tk->status_is_queued = false;
    ret->kind = SP_TRACKER_STATUS;
    ret->torrent = tk->torrent->number;
    ret->tracker_ix = tk->ix;
    return true;
}

bool sp_trackers_next(struct sp_trackers *t, struct sp_tracker_action *ret_action)
{
    sp_mem_free(t->cfg.mem, t->handed_peers);
    t->handed_peers = NULL;
    *ret_action = (struct sp_tracker_action){0};
    return next_canceled(t, ret_action) || next_datagram(t, ret_action) ||
           next_http(t, ret_action) || next_resolve(t, ret_action) || next_peers(t, ret_action) ||
           next_external_ip(t, ret_action) || next_status(t, ret_action);
}

/* -- what it answers -- */

/* The leg of an HTTP request that is still wanted; its ticket is closed. */
static struct leg *answered_leg(struct sp_trackers *t, uint32_t req)
{
    struct ticket *k = find_ticket(t, req);
    if (!k || k->state != TICKET_HANDED || !k->leg)
        return NULL;
    struct leg *leg = k->leg;
    sp_set_ticket_close(t, req, true);
    return leg;
}

void sp_trackers_http_reply(struct sp_trackers *t, uint32_t req, int http_status,
                            struct sp_slice body, sp_time_ns now)
{
    struct leg *leg = answered_leg(t, req);
    t->now = now;
    if (leg)
        sp_set_leg_http(t, leg, http_status, body);
    sp_set_pump(t);
}

void sp_trackers_http_failed(struct sp_trackers *t, uint32_t req, const char *why, sp_time_ns now)
{
    struct leg *leg = answered_leg(t, req);
    t->now = now;
    why = why ? why : "no answer";
    if (leg)
        sp_set_leg_failed(t, leg, (struct sp_slice){(const uint8_t *)why, strlen(why)});
    sp_set_pump(t);
}

void sp_trackers_resolved(struct sp_trackers *t, uint32_t req, const struct sp_addr *addrs,
                          uint32_t count, const char *why, sp_time_ns now)
{
    struct ticket *k = find_ticket(t, req);
    t->now = now;
    if (!k || k->state != TICKET_HANDED || !k->host)
        return;
    struct host *h = k->host;
    sp_set_ticket_close(t, req, true);
    h->addr_count = 0;
    for (uint32_t i = 0; i < count && h->addr_count < HOST_ADDRS_MAX; i++) {
        if (addrs[i].port != 0 && addrs[i].family != SP_FAMILY_NONE)
            h->addrs[h->addr_count++] = addrs[i];
    }
    if (h->addr_count == 0) {
        why = why ? why : "host not found";
        sp_set_clean_text((struct sp_slice){(const uint8_t *)why, strlen(why)}, h->why,
                          sizeof(h->why));
    }
    h->addr_ix = 0;
    h->resolved_until = now + (h->addr_count ? RESOLVED_S : UNRESOLVED_S) * SP_SECOND_NS;
    sp_set_host_resolved(t, h);
    sp_set_pump(t);
}

static void take_failed(struct sp_trackers *t)
{
    struct sp_udp_ask *ask;
    while ((ask = sp_udp_next_failed(&t->udp))) {
        struct sp_slice why = {(const uint8_t *)ask->message, strlen(ask->message)};
        sp_set_leg_failed(t, SP_CONTAINER(ask, struct leg, ask), why);
    }
}

bool sp_trackers_datagram(struct sp_trackers *t, const struct sp_addr *from, struct sp_slice bytes,
                          sp_time_ns now)
{
    struct sp_udp_ask *answered;
    if (!sp_udp_recv(&t->udp, from, bytes, now, &answered))
        return false;
    t->now = now;
    if (answered)
        sp_set_leg_udp(t, SP_CONTAINER(answered, struct leg, ask), bytes);
    take_failed(t);
    sp_set_pump(t);
    return true;
}

/* -- time -- */

sp_time_ns sp_trackers_deadline(const struct sp_trackers *t)
{
    sp_time_ns at[] = {sp_timers_next(&t->torrent_timers), sp_timers_next(&t->host_timers),
                       sp_timers_next(&t->request_timers), sp_udp_deadline(&t->udp)};
    for (size_t i = 1; i < SP_COUNT(at); i++)
        at[0] = at[i] < at[0] ? at[i] : at[0];
    return at[0];
}

void sp_trackers_tick(struct sp_trackers *t, sp_time_ns now)
{
    struct sp_timer *timer;
    t->now = now;
    sp_udp_tick(&t->udp, now);
    take_failed(t);
    while ((timer = sp_timers_pop(&t->request_timers, now)))
        sp_set_request_timeout(t, SP_CONTAINER(timer, struct request, timer));
    while ((timer = sp_timers_pop(&t->host_timers, now)))
        sp_set_host_wake(t, SP_CONTAINER(timer, struct host, timer));
    while ((timer = sp_timers_pop(&t->torrent_timers, now)))
        sp_set_torrent_plan(t, SP_CONTAINER(timer, struct torrent, timer));
    sp_set_pump(t);
}
