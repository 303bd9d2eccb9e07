#include "core/tracker/set.h"

/* -- the token bucket of a host: a second's worth may go at once -- */

static sp_time_ns cost_ns(const struct sp_trackers *t, const struct host *h)
{
    /* A host that serves very many torrents must be able to hear from each in its interval;
     * twice that, as they begin together. */
    uint64_t rate = h->users / 900 > t->cfg.host_rate ? h->users / 900 : t->cfg.host_rate;
    return SP_SECOND_NS / rate;
}

/* When the next may go. */
static sp_time_ns open_at(const struct host *h)
{
    return h->paid_until > SP_SECOND_NS ? h->paid_until - SP_SECOND_NS : 0;
}

static void pay(const struct sp_trackers *t, struct host *h)
{
    h->paid_until = (h->paid_until > t->now ? h->paid_until : t->now) + cost_ns(t, h);
}

/* -- queues -- */

static bool has_queued(const struct host *h)
{
    for (int q = 0; q < QUEUES; q++) {
        if (h->queues[q].head)
            return true;
    }
    return false;
}

void sp_set_host_wake(struct sp_trackers *t, struct host *h)
{
    if (h->is_ready || !has_queued(h))
        return;
    h->is_ready = true;
    list_add(&t->ready[sp_set_kind(h)], &h->ready);
}

enum sp_err sp_set_enqueue(struct sp_trackers *t, struct tracker *tk, enum queue queue, bool scrape)
{
    struct item *item = SP_NEW(t->cfg.mem, struct item);
    if (!item)
        return SP_ENOMEM;
    item->tracker = tk;
    item->queue = (uint8_t)queue;
    item->scrape = scrape;
    *(scrape ? &tk->scrape_item : &tk->item) = item;
    list_add(&tk->url->host->queues[queue], &item->node);
    t->item_count++;
    sp_set_host_wake(t, tk->url->host);
    return SP_OK;
}

void sp_set_unqueue(struct sp_trackers *t, struct item *item)
{
    struct tracker *tk = item->tracker;
    list_del(&tk->url->host->queues[item->queue], &item->node);
    *(item->scrape ? &tk->scrape_item : &tk->item) = NULL;
    t->item_count--;
    sp_mem_free(t->cfg.mem, item);
}

static bool over_cap(const struct sp_trackers *t, const struct host *h, uint32_t boost)
{
    return !h->is_udp && h->running >= t->cfg.per_host_max * boost;
}

/* What may go now; NULL and, when it is for the bucket, the timer set. */
static struct item *next_item(struct sp_trackers *t, struct host *h)
{
    if (h->queues[QUEUE_URGENT].head && !over_cap(t, h, STOPPING_BOOST))
        return SP_CONTAINER(h->queues[QUEUE_URGENT].head, struct item, node);
    if (over_cap(t, h, 1))
        return NULL;
    for (int q = QUEUE_NORMAL; q < QUEUES; q++) {
        if (!h->queues[q].head)
            continue;
        if (open_at(h) <= t->now)
            return SP_CONTAINER(h->queues[q].head, struct item, node);
        sp_timers_set(&t->host_timers, &h->timer, open_at(h));
        return NULL;
    }
    return NULL;
}

/* Hosts take turns, so that one with thousands of torrents does not hold up the others. */
static void pump_kind(struct sp_trackers *t, uint32_t kind, uint32_t max)
{
    struct list *ring = &t->ready[kind];
    while (ring->head && t->running[kind] < max) {
        struct host *h = SP_CONTAINER(ring->head, struct host, ready);
        struct item *item = next_item(t, h);
        list_del(ring, &h->ready);
        h->is_ready = false;
        if (!item)
            continue; /* its timer or the end of a request wakes it */
        pay(t, h);
        sp_set_begin(t, item);
        sp_set_host_wake(t, h);
    }
}

void sp_set_pump(struct sp_trackers *t)
{
    sp_set_forget_left(t);
    pump_kind(t, 0, t->cfg.http_max);
    pump_kind(t, 1, t->cfg.udp_max);
}
