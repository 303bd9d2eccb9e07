#include "core/base/timers.h"

#include <assert.h>

static bool before(const struct sp_timer *a, const struct sp_timer *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void put(struct sp_timers *ts, uint32_t ix, struct sp_timer *t)
{
    ts->heap[ix] = t;
    t->pos = ix + 1;
}

static void sift_up(struct sp_timers *ts, uint32_t ix, struct sp_timer *t)
{
    for (; ix > 0 && before(t, ts->heap[(ix - 1) / 2]); ix = (ix - 1) / 2)
        put(ts, ix, ts->heap[(ix - 1) / 2]);
    put(ts, ix, t);
}

static void sift_down(struct sp_timers *ts, uint32_t ix, struct sp_timer *t)
{
    for (uint32_t kid; (kid = 2 * ix + 1) < ts->count; ix = kid) {
        if (kid + 1 < ts->count && before(ts->heap[kid + 1], ts->heap[kid]))
            kid++;
        if (!before(ts->heap[kid], t))
            break;
        put(ts, ix, ts->heap[kid]);
    }
    put(ts, ix, t);
}

void sp_timers_done(struct sp_timers *ts)
{
    for (uint32_t i = 0; i < ts->count; i++)
        ts->heap[i]->pos = 0;
    if (ts->mem)
        sp_mem_free(ts->mem, ts->heap);
    *ts = (struct sp_timers){.mem = ts->mem};
}

enum sp_err sp_timers_reserve(struct sp_timers *ts, uint32_t count)
{
    if (count <= ts->cap)
        return SP_OK;
    uint32_t cap = ts->cap ? ts->cap : 16;
    while (cap < count)
        cap *= 2;
    struct sp_timer **heap =
        sp_mem_grow(ts->mem, ts->heap, ts->count, cap, sizeof(struct sp_timer *));
    if (!heap)
        return SP_ENOMEM;
    ts->heap = heap;
    ts->cap = cap;
    return SP_OK;
}

void sp_timers_set(struct sp_timers *ts, struct sp_timer *t, sp_time_ns at)
{
    sp_timers_clear(ts, t);
    if (at == SP_TIME_NEVER)
        return;
    assert(ts->count < ts->cap);
    t->at = at;
    t->seq = ts->seq++;
    sift_up(ts, ts->count++, t);
}

void sp_timers_clear(struct sp_timers *ts, struct sp_timer *t)
{
    if (t->pos == 0)
        return;
    uint32_t ix = t->pos - 1;
    struct sp_timer *last = ts->heap[--ts->count];
    t->pos = 0;
    if (last == t)
        return;
    if (ix > 0 && before(last, ts->heap[(ix - 1) / 2]))
        sift_up(ts, ix, last);
    else
        sift_down(ts, ix, last);
}

struct sp_timer *sp_timers_pop(struct sp_timers *ts, sp_time_ns now)
{
    if (ts->count == 0 || ts->heap[0]->at > now)
        return NULL;
    struct sp_timer *t = ts->heap[0];
    sp_timers_clear(ts, t);
    return t;
}
