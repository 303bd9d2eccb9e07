#include "core/tracker/announcer.h"

#include <assert.h>

#define HUNGRY_MIN_NS (120 * SP_SECOND_NS)
#define FAILED_MIN_NS (5 * SP_SECOND_NS) /* between two tries that the user asks for */

void sp_announcer_done(struct sp_announcer *a, const struct sp_mem *mem)
{
    sp_mem_free(mem, a->trackers);
    sp_mem_free(mem, a->order);
    a->trackers = NULL;
    a->order = NULL;
    a->count = a->cap = 0;
}

static enum sp_err grow(struct sp_announcer *a, const struct sp_mem *mem)
{
    uint16_t cap = a->cap ? (uint16_t)(a->cap * 2) : 2;
    uint16_t *order = sp_mem_grow(mem, a->order, a->count, cap, sizeof(*order));
    if (!order)
        return SP_ENOMEM;
    a->order = order;
    struct sp_announcer_tracker **trackers =
        sp_mem_grow(mem, a->trackers, a->count, cap, sizeof(struct sp_announcer_tracker *));
    if (!trackers)
        return SP_ENOMEM;
    a->trackers = trackers;
    a->cap = cap;
    return SP_OK;
}

static struct sp_announcer_tracker *at(const struct sp_announcer *a, uint32_t place)
{
    return a->trackers[a->order[place]];
}

/* BEP-0012: "URLs within each tier will be processed in a randomly chosen order." */
enum sp_err sp_announcer_add(struct sp_announcer *a, const struct sp_mem *mem, struct sp_rng *rng,
                             struct sp_announcer_tracker *tk)
{
    uint32_t first = 0, end;
    if (a->count == SP_TRACKERS_PER_TORRENT_MAX)
        return SP_ELIMIT;
    if (a->count == a->cap && grow(a, mem) != SP_OK)
        return SP_ENOMEM;
    while (first < a->count && at(a, first)->tier < tk->tier)
        first++;
    end = first;
    while (end < a->count && at(a, end)->tier == tk->tier)
        end++;
    if (first < end && at(a, first)->holds)
        first++;
    uint32_t place = first + (uint32_t)sp_rng_below(rng, end - first + 1);
    memmove(a->order + place + 1, a->order + place, (a->count - place) * sizeof(*a->order));
    a->order[place] = a->count;
    a->trackers[a->count++] = tk;
    return SP_OK;
}

/* -- lanes: ranges of order -- */

static uint32_t lane_end(const struct sp_announcer *a, uint32_t first)
{
    uint32_t end = first + 1;
    if (a->tiers == SP_TIERS_STRICT)
        return a->count;
    if (a->tiers == SP_TIERS_ALL)
        return end;
    while (end < a->count && at(a, end)->tier == at(a, first)->tier)
        end++;
    return end;
}

static bool can_ask(const struct sp_announcer_tracker *tk)
{
    return tk->usable && !tk->never;
}

/* When the holder is announced to again.  BEP-0003: "downloaders may rerequest on
 * nonscheduled times if an event happens or they need more peers." */
static sp_time_ns holder_due(const struct sp_announcer *a, const struct sp_announcer_tracker *tk)
{
    sp_time_ns soon = tk->last_at + HUNGRY_MIN_NS;
    if (!a->hungry || !tk->has_min)
        return tk->next_at;
    soon = soon > tk->min_at ? soon : tk->min_at;
    return soon < tk->next_at ? soon : tk->next_at;
}

/* The tracker to ask now, or NULL and when to look again. */
static struct sp_announcer_tracker *look(const struct sp_announcer *a, uint32_t first, uint32_t end,
                                         sp_time_ns now, uint32_t *ret_place, sp_time_ns *ret_at)
{
    sp_time_ns soonest = SP_TIME_NEVER;
    *ret_at = SP_TIME_NEVER;
    for (uint32_t i = first; i < end; i++) {
        const struct sp_announcer_tracker *tk = at(a, i);
        if (tk->busy)
            return NULL;
        if (tk->holds && can_ask(tk) && holder_due(a, tk) > now) {
            *ret_at = holder_due(a, tk);
            return NULL;
        }
    }
    /* BEP-0012: "all URLs in each tier must be checked before the client goes on to the next
     * tier."  Those that failed are waited for only when there is no other. */
    for (uint32_t i = first; i < end; i++) {
        struct sp_announcer_tracker *tk = at(a, i);
        sp_time_ns due = tk->holds ? holder_due(a, tk) : tk->next_at;
        if (can_ask(tk) && due <= now) {
            *ret_place = i;
            return tk;
        }
        if (can_ask(tk) && due < soonest)
            soonest = due;
    }
    *ret_at = soonest;
    return NULL;
}

/* -- events -- */

static bool event_due(const struct sp_announcer *a, const struct sp_announcer_tracker *tk,
                      sp_time_ns now, enum sp_announce_event *ret_event)
{
    if (tk->busy || !can_ask(tk))
        return false;
    if (tk->completed_due && (!a->running || tk->fails == 0 || tk->next_at <= now)) {
        *ret_event = SP_EVENT_COMPLETED;
        return true;
    }
    *ret_event = SP_EVENT_STOPPED;
    return tk->stop_due && !tk->completed_due;
}

static bool take(struct sp_announcer *a, uint32_t ix, enum sp_announce_event event,
                 uint32_t *ret_ix, enum sp_announce_event *ret_event)
{
    a->trackers[ix]->busy = true;
    a->trackers[ix]->event = (uint8_t)event;
    *ret_ix = ix;
    *ret_event = event;
    return true;
}

bool sp_announcer_pick(struct sp_announcer *a, sp_time_ns now, uint32_t *ret_ix,
                       enum sp_announce_event *ret_event)
{
    enum sp_announce_event event;
    for (uint32_t ix = 0; ix < a->count; ix++) {
        if (event_due(a, a->trackers[ix], now, &event))
            return take(a, ix, event, ret_ix, ret_event);
    }
    for (uint32_t first = 0, end; a->running && first < a->count; first = end) {
        uint32_t place = 0;
        sp_time_ns again;
        end = lane_end(a, first);
        struct sp_announcer_tracker *tk = look(a, first, end, now, &place, &again);
        if (tk)
            return take(a, a->order[place], tk->started ? SP_EVENT_NONE : SP_EVENT_STARTED, ret_ix,
                        ret_event);
    }
    return false;
}

sp_time_ns sp_announcer_deadline(const struct sp_announcer *a)
{
    sp_time_ns soonest = SP_TIME_NEVER;
    enum sp_announce_event event;
    for (uint32_t ix = 0; ix < a->count; ix++) {
        const struct sp_announcer_tracker *tk = a->trackers[ix];
        if (event_due(a, tk, SP_TIME_NEVER, &event) && tk->next_at < soonest)
            soonest = tk->next_at;
    }
    for (uint32_t first = 0, end; a->running && first < a->count; first = end) {
        uint32_t place;
        sp_time_ns again;
        end = lane_end(a, first);
        if (look(a, first, end, 0, &place, &again))
            return 0;
        soonest = again < soonest ? again : soonest;
    }
    return soonest;
}

/* -- commands -- */

void sp_announcer_start(struct sp_announcer *a, sp_time_ns now)
{
    if (a->running)
        return;
    a->running = true;
    for (uint32_t ix = 0; ix < a->count; ix++) {
        struct sp_announcer_tracker *tk = a->trackers[ix];
        /* BEP-0031: a wait that the tracker asked for outlives a restart. */
        if (tk->min_at <= now || tk->fails == 0)
            tk->next_at = tk->min_at = 0;
        tk->fails = 0;
    }
}

/* Trackers that took "started" are told, each once, the others take "started" with
 * nothing left. */
void sp_announcer_completed(struct sp_announcer *a)
{
    for (uint32_t ix = 0; a->running && ix < a->count; ix++) {
        struct sp_announcer_tracker *tk = a->trackers[ix];
        if (tk->started || (tk->busy && tk->event == SP_EVENT_STARTED))
            tk->completed_due = true;
    }
}

void sp_announcer_stop(struct sp_announcer *a)
{
    if (!a->running)
        return;
    a->running = false;
    for (uint32_t ix = 0; ix < a->count; ix++) {
        struct sp_announcer_tracker *tk = a->trackers[ix];
        assert(!tk->busy || tk->event == SP_EVENT_COMPLETED || tk->event == SP_EVENT_STOPPED);
        tk->holds = tk->urgent = false;
        tk->completed_due = tk->completed_due && tk->started;
        /* BEP-0003: "Downloaders send an announcement using stopped when they cease
         * downloading." */
        tk->stop_due = tk->started && can_ask(tk);
    }
}

void sp_announcer_reannounce(struct sp_announcer *a, sp_time_ns now)
{
    for (uint32_t ix = 0; a->running && ix < a->count; ix++) {
        struct sp_announcer_tracker *tk = a->trackers[ix];
        sp_time_ns soon = tk->min_at > now ? tk->min_at : now;
        if (!can_ask(tk) || tk->busy)
            continue;
        tk->urgent = true;
        if (soon < tk->next_at)
            tk->next_at = soon;
    }
}

/* -- results -- */

static void find_place(const struct sp_announcer *a, uint32_t ix, uint32_t *ret_place,
                       uint32_t *ret_lane, uint32_t *ret_lane_end)
{
    uint32_t place = 0, first = 0, end;
    while (a->order[place] != ix)
        place++;
    while ((end = lane_end(a, first)) <= place)
        first = end;
    *ret_place = place;
    *ret_lane = first;
    *ret_lane_end = end;
}

/* BEP-0012: "if a connection with a tracker is successful, it will be moved to the front of
 * the tier." */
static void hold(struct sp_announcer *a, uint32_t ix)
{
    uint32_t place, first, end;
    find_place(a, ix, &place, &first, &end);
    for (uint32_t i = first; i < end; i++) {
        /* An event told to one that does not hold does not make it the lane's. */
        if (at(a, i)->holds && i != place && a->trackers[ix]->event == SP_EVENT_COMPLETED)
            return;
    }
    for (uint32_t i = first; i < end; i++)
        at(a, i)->holds = i == place;
    for (; place > 0 && at(a, place - 1)->tier == a->trackers[ix]->tier; place--)
        a->order[place] = a->order[place - 1];
    a->order[place] = (uint16_t)ix;
}

static sp_time_ns clamp(sp_time_ns v, sp_time_ns min, sp_time_ns max)
{
    return v < min ? min : v > max ? max : v;
}

/* Up to a twentieth more, so that what was added together does not stay together. */
static sp_time_ns with_jitter(sp_time_ns v, struct sp_rng *rng)
{
    return v + sp_rng_below(rng, clamp(v / 20, 1, 60 * SP_SECOND_NS));
}

/* BEP-0015: "Do not announce again until interval seconds have passed or an event has
 * occurred." */
static void plan(struct sp_announcer_tracker *tk, const struct sp_announcer_answer *answer,
                 sp_time_ns interval_min_ns, struct sp_rng *rng, sp_time_ns now)
{
    sp_time_ns interval =
        answer->interval_s ? answer->interval_s * SP_SECOND_NS : SP_INTERVAL_DEFAULT_NS;
    sp_time_ns min = answer->min_interval_s * SP_SECOND_NS;

    tk->has_min = min > 0;
    min = clamp(min, SP_REANNOUNCE_MIN_NS, SP_INTERVAL_MAX_NS);
    interval = clamp(interval, interval_min_ns, SP_INTERVAL_MAX_NS);
    if (tk->has_min && interval < min)
        interval = min;
    tk->next_at = now + with_jitter(interval, rng);
    tk->min_at = now + (min < interval ? min : interval);
}

bool sp_announcer_switches(const struct sp_announcer *a, uint32_t ix)
{
    return a->tiers == SP_TIERS_STRICT && a->last_ok != 0 && a->last_ok != ix + 1;
}

void sp_announcer_ok(struct sp_announcer *a, uint32_t ix, const struct sp_announcer_answer *answer,
                     sp_time_ns interval_min_ns, struct sp_rng *rng, sp_time_ns now)
{
    struct sp_announcer_tracker *tk = a->trackers[ix];
    assert(tk->busy);
    tk->busy = tk->urgent = false;
    tk->ok = true;
    tk->fails = 0;
    tk->last_at = now;
    if (tk->event == SP_EVENT_STOPPED) {
        tk->started = tk->stop_due = tk->ok = false;
        tk->next_at = 0;
        return;
    }
    tk->started = true;
    if (tk->event == SP_EVENT_COMPLETED)
        tk->completed_due = false;
    plan(tk, answer, interval_min_ns, rng, now);
    if (!a->running)
        return;
    hold(a, ix);
    a->last_ok = (uint16_t)(ix + 1);
}

/* Custom: seen in libtorrent-rasterbar: 5 s and 12.5 s times the square of the failures in a
 * row, at most an hour. */
static sp_time_ns backoff_ns(uint32_t fails)
{
    sp_time_ns n = fails < 100 ? fails : 100;
    return clamp((10 + 25 * n * n) * SP_SECOND_NS / 2, 0, SP_BACKOFF_MAX_NS);
}

void sp_announcer_failed(struct sp_announcer *a, uint32_t ix, enum sp_retry retry,
                         uint32_t retry_in_s, struct sp_rng *rng, sp_time_ns now)
{
    struct sp_announcer_tracker *tk = a->trackers[ix];
    assert(tk->busy);
    tk->busy = tk->ok = tk->holds = tk->urgent = false;
    tk->last_at = now;
    if (tk->fails < UINT16_MAX)
        tk->fails++;
    if (tk->event == SP_EVENT_STOPPED)
        tk->started = tk->stop_due = false; /* told once, heard or not */
    if (tk->event == SP_EVENT_STARTED || !a->running)
        tk->completed_due = false;
    tk->next_at = now + with_jitter(backoff_ns(tk->fails), rng);
    tk->min_at = now + FAILED_MIN_NS;
    /* BEP-0031: "the number of minutes in which a retry can be done" */
    if (retry == SP_RETRY_IN)
        tk->next_at = tk->min_at = now + retry_in_s * SP_SECOND_NS;
    if (retry == SP_RETRY_NEVER) {
        tk->never = true;
        tk->completed_due = tk->stop_due = tk->started = false;
        tk->next_at = SP_TIME_NEVER;
    }
}

void sp_announcer_canceled(struct sp_announcer *a, uint32_t ix, bool was_sent)
{
    struct sp_announcer_tracker *tk = a->trackers[ix];
    assert(tk->busy);
    tk->busy = false;
    if (was_sent && tk->event == SP_EVENT_STARTED)
        tk->started = true;
}
