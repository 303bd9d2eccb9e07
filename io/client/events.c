/* Events on their way from the reactors to the caller. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/client/impl.h"

enum { EVENTS_MAX = 4096 };

void sp_client_push_event(struct sp_client *c, const struct sp_client_event *ev)
{
    struct queued *q = malloc(sizeof(*q));
    uint64_t one = 1;
    if (!q)
        return;
    q->next = NULL;
    q->ev = *ev;
    pthread_mutex_lock(&c->lock);
    if (c->queued_count == EVENTS_MAX && ev->kind != SP_EV_STOPPED) {
        pthread_mutex_unlock(&c->lock); /* nobody listens: snapshots still tell */
        free(q);
        return;
    }
    *c->last = q;
    c->last = &q->next;
    c->queued_count++;
    pthread_cond_signal(&c->came);
    pthread_mutex_unlock(&c->lock);
    (void)!write(c->event_fd, &one, sizeof(one));
}

void sp_client_one_stopped(struct sp_client *c)
{
    struct sp_client_event ev = {.kind = SP_EV_STOPPED, .torrent = SP_TORRENT_NONE};
    pthread_mutex_lock(&c->lock);
    bool all = ++c->stopped_count == c->reactor_count + (c->portmapper ? 1 : 0);
    pthread_mutex_unlock(&c->lock);
    if (all)
        sp_client_push_event(c, &ev);
}

void sp_client_on_event(void *ctx, const struct sp_client_event *ev)
{
    if (ev->kind == SP_EV_STOPPED)
        sp_client_one_stopped(ctx);
    else
        sp_client_push_event(ctx, ev);
}

enum sp_err sp_client_wait(struct sp_client *c, uint32_t timeout_ms,
                           struct sp_client_event *ret_event)
{
    struct timespec until;
    enum sp_err err = SP_AGAIN;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&c->lock);
    while (!c->first && timeout_ms && !c->stopped_given) {
        if (pthread_cond_timedwait(&c->came, &c->lock, &until) != 0)
            break;
    }
    struct queued *q = c->first;
    if (q) {
        uint64_t count;
        c->first = q->next;
        if (!c->first) {
            c->last = &c->first;
            (void)!read(c->event_fd, &count, sizeof(count));
        }
        c->queued_count--;
        c->stopped_given = q->ev.kind == SP_EV_STOPPED;
        *ret_event = q->ev;
        err = SP_OK;
    } else if (c->stopped_given) {
        err = SP_ECANCELED;
    }
    pthread_mutex_unlock(&c->lock);
    free(q);
    return err;
}

int sp_client_fd(const struct sp_client *c)
{
    return c->event_fd;
}

void sp_client_warn(struct sp_client *c, enum sp_err err, const char *text)
{
    struct sp_client_event ev = {.kind = SP_EV_WARNING, .torrent = SP_TORRENT_NONE, .err = err};
    snprintf(ev.text, sizeof(ev.text), "%s", text);
    sp_client_push_event(c, &ev);
}

void sp_client_drop_events(struct sp_client *c)
{
    for (struct queued *q = c->first, *next; q; q = next) {
        next = q->next;
        free(q);
    }
}
