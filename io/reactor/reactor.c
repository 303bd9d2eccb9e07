#include "io/reactor/reactor.h"

#include <signal.h>
#include <stdlib.h>

#include "io/base/blocking.h"
#include "io/client/memory.h"

enum { EFFECTS_PER_TURN = 4096 };

#define STOP_MAX_NS (8 * SP_SECOND_NS) /* a slow tracker does not keep us from ending */

/* ---- mailbox ---- */

void sp_reactor_post(struct sp_reactor *r, struct sp_post *post)
{
    post->next = NULL;
    pthread_mutex_lock(&r->lock);
    bool first = !r->mail_first && !r->deaf;
    *r->mail_last = post;
    r->mail_last = &post->next;
    pthread_mutex_unlock(&r->lock);
    if (first)
        uv_async_send(&r->wake);
}

static void on_wake(uv_async_t *wake)
{
    struct sp_reactor *r = wake->data;

    pthread_mutex_lock(&r->lock);
    struct sp_post *post = r->mail_first, *next;
    r->mail_first = NULL;
    r->mail_last = &r->mail_first;
    pthread_mutex_unlock(&r->lock);
    for (; post; post = next) {
        next = post->next;
        post->run(r, post);
    }
}

/* ---- the turn: what the session wants done ---- */

void sp_reactor_event(struct sp_reactor *r, enum sp_client_event_kind kind, sp_torrent_id id,
                      enum sp_err err, const char *text)
{
    struct sp_client_event ev = {.kind = kind, .torrent = id, .err = err};
    size_t n = text ? strlen(text) : 0;
    if (n >= sizeof(ev.text))
        n = sizeof(ev.text) - 1;
    if (n)
        memcpy(ev.text, text, n);
    r->env->event(r->env->ctx, &ev);
}

/* What the event is about can be read in the snapshot when it is heard. */
void sp_reactor_tell(struct sp_reactor *r, const struct sp_client_event *ev)
{
    struct sp_held *h = sp_reactor_find(r, ev->torrent);
    if (h)
        r->env->publish(r->env->ctx, r, h);
    r->env->event(r->env->ctx, ev);
}

static void run_effect(struct sp_reactor *r, struct sp_effect *fx)
{
    switch (fx->kind) {
    case SP_FX_NONE:
        break;
    case SP_FX_METADATA:
        sp_held_metadata(r, fx->torrent, fx->info);
        break;
    case SP_FX_DIAL:
        sp_sock_dial(r, fx->conn, &fx->addr);
        break;
    case SP_FX_CLOSE:
        sp_sock_close(fx->user);
        break;
    case SP_FX_SEND:
        sp_sock_send(fx->user);
        break;
    case SP_FX_RECV:
        sp_sock_resume(fx->user);
        break;
    case SP_FX_WEB:
        sp_web_do(r, fx);
        break;
    case SP_FX_JOB:
        sp_jobs_run(r, fx->job);
        break;
    case SP_FX_TRACKER:
        sp_announce_run(r, &fx->tracker);
        break;
    case SP_FX_EVENT:
        sp_reactor_tell(r, &fx->event);
        break;
    }
}

static void on_again(uv_idle_t *idle)
{
    (void)idle; /* only keeps the loop from sleeping */
}

void sp_reactor_again(struct sp_reactor *r)
{
    uv_idle_start(&r->again, on_again);
}

static void set_timer(struct sp_reactor *r);

static void on_turn(uv_prepare_t *turn)
{
    struct sp_reactor *r = turn->data;
    struct sp_effect fx;
    int n = 0;

    while (n < EFFECTS_PER_TURN && sp_session_next(r->session, &fx, sp_reactor_now(r))) {
        run_effect(r, &fx);
        n++;
    }
    if (n == EFFECTS_PER_TURN)
        uv_idle_start(&r->again, on_again);
    else
        uv_idle_stop(&r->again);
    sp_udp_flush(r);
    set_timer(r);
}

static void on_timer(uv_timer_t *timer)
{
    struct sp_reactor *r = timer->data;
    sp_session_tick(r->session, sp_reactor_now(r));
}

static void set_timer(struct sp_reactor *r)
{
    sp_time_ns at = sp_session_deadline(r->session), now = sp_reactor_now(r);
    if (at == SP_TIME_NEVER) {
        uv_timer_stop(&r->timer);
        return;
    }
    uint64_t wait_ms = at > now ? (at - now + SP_MS_NS - 1) / SP_MS_NS : 0;
    uv_update_time(&r->loop);
    uv_timer_start(&r->timer, on_timer, wait_ms, 0);
}

/* ---- looking after things, four times a second ---- */

static void tick_stop(struct sp_reactor *r, sp_time_ns now)
{
    if (!r->stopping || r->stop_told)
        return;
    bool late = now - r->stop_at > STOP_MAX_NS, settled = sp_session_idle(r->session);
    for (struct sp_link *l = r->held.ends.next; l != &r->held.ends; l = l->next) {
        struct sp_held *h = SP_CONTAINER(l, struct sp_held, link);
        sp_held_stop(h);
        settled = sp_held_is_settled(h) && settled;
    }
    if (!late && !settled)
        return;
    r->stop_told = true;
    sp_reactor_event(r, SP_EV_STOPPED, SP_TORRENT_NONE, SP_OK, NULL);
}

static void on_publish(uv_timer_t *timer)
{
    struct sp_reactor *r = timer->data;
    sp_time_ns now = sp_reactor_now(r);
    struct sp_link *next;

    sp_iface_tick(r, now);
    sp_gate_tick(r, now);
    sp_sock_tick(r, now);
    for (struct sp_link *l = r->held.ends.next; l != &r->held.ends; l = next) {
        next = l->next;
        sp_held_tick(SP_CONTAINER(l, struct sp_held, link), now);
    }
    r->env->publish(r->env->ctx, r, NULL);
    sp_lsd_tick(r, now);
    tick_stop(r, now);
}

struct sp_held *sp_reactor_find(struct sp_reactor *r, sp_torrent_id id)
{
    return id < r->by_id_cap ? r->by_id[id] : NULL;
}

enum sp_err sp_reactor_enter(struct sp_reactor *r, struct sp_held *h)
{
    if (h->id >= r->by_id_cap) {
        uint32_t cap = h->id + h->id / 2 + 16;
        struct sp_held **by_id = realloc(r->by_id, cap * sizeof(*by_id));
        if (!by_id)
            return SP_ENOMEM;
        memset(by_id + r->by_id_cap, 0, (cap - r->by_id_cap) * sizeof(*by_id));
        r->by_id = by_id;
        r->by_id_cap = cap;
    }
    r->by_id[h->id] = h;
    return SP_OK;
}

void sp_reactor_online(struct sp_reactor *r, sp_time_ns now)
{
    sp_session_set_online(r->session, !r->iface_is_down && (!sp_gate_used(r) || r->gate.is_open),
                          now);
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct sp_reactor *r = arg;
    sp_reactor_thread = true;
    uv_run(&r->loop, UV_RUN_DEFAULT);
    sp_reactor_thread = false;
    return NULL;
}

static void init_handles(struct sp_reactor *r)
{
    uv_async_init(&r->loop, &r->wake, on_wake);
    uv_timer_init(&r->loop, &r->timer);
    uv_timer_init(&r->loop, &r->publish);
    uv_prepare_init(&r->loop, &r->turn);
    uv_idle_init(&r->loop, &r->again);
    r->wake.data = r->timer.data = r->publish.data = r->turn.data = r->again.data = r;
    uv_prepare_start(&r->turn, on_turn);
    uv_timer_start(&r->publish, on_publish, SP_PUBLISH_NS / SP_MS_NS, SP_PUBLISH_NS / SP_MS_NS);
}

enum sp_err sp_reactor_start(struct sp_reactor *r, struct sp_reactor_env *env, uint32_t ix,
                             const struct sp_session_cfg *cfg, const struct sp_http_cfg *http,
                             const int *listeners, uint32_t listener_count, int udp4, int udp6)
{
    struct sp_session_cfg own = *cfg;
    sigset_t all, before;

    r->env = env;
    r->ix = ix;
    r->down_Bps = cfg->down_Bps;
    r->up_Bps = cfg->up_Bps;
    r->memory_bytes = cfg->memory_bytes;
    r->half_open_max = cfg->half_open_max;
    r->mail_last = &r->mail_first;
    sp_list_init(&r->held);
    sp_list_init(&r->socks);
    sp_list_init(&r->webs);
    if (pthread_mutex_init(&r->lock, NULL) != 0 || uv_loop_init(&r->loop) != 0)
        return SP_ENOMEM;
    own.mem = sp_mem_libc();
    own.find_skey = env->find_skey;
    own.find_ctx = env->ctx;
    enum sp_err err = sp_session_new(&own, sp_reactor_now(r), &r->session);
    if (err == SP_OK)
        err = sp_names_new(r, &r->names);
    if (err == SP_OK)
        err = sp_http_new(&r->loop, http, &r->http);
    if (err != SP_OK)
        return err;
    init_handles(r);
    sp_sock_listen(r, listeners, listener_count);
    sp_udp_start(r, udp4, udp6);
    sp_announce_open(r);
    sp_lsd_open(r, cfg->seed, cfg->listen_port);
    sp_reactor_online(r, sp_reactor_now(r));
    sp_gate_tick(r, sp_reactor_now(r));

    /* Signals are the program's; none is handled on our threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&r->thread, NULL, run, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    r->started = rc == 0;
    return rc == 0 ? SP_OK : SP_ENOMEM;
}

/* ---- the end ---- */

static void on_http_freed(void *ctx)
{
    struct sp_reactor *r = ctx;
    r->http = NULL;
}

static void run_end(struct sp_reactor *r, struct sp_post *post)
{
    uv_handle_t *const handles[] = {(uv_handle_t *)&r->wake, (uv_handle_t *)&r->timer,
                                    (uv_handle_t *)&r->publish, (uv_handle_t *)&r->turn,
                                    (uv_handle_t *)&r->again};
    (void)post;
    r->stopping = r->ending = true;
    sp_sock_close_all(r);
    sp_udp_close(r);
    sp_announce_close(r);
    sp_lsd_close(r);
    sp_gate_close(r);
    sp_web_close_all(r);
    sp_names_end(r->names);
    sp_http_free(r->http, on_http_freed, r);
    for (size_t i = 0; i < SP_COUNT(handles); i++)
        uv_close(handles[i], NULL);
}

void sp_reactor_end(struct sp_reactor *r)
{
    struct sp_post end = {.run = run_end};

    if (!r->started)
        return;
    sp_reactor_post(r, &end);
    pthread_join(r->thread, NULL);
    /* Jobs that are still on the pools come back into a mailbox that nobody
     * reads: the client ends the pools before it frees the reactors. */
    pthread_mutex_lock(&r->lock);
    r->deaf = true;
    pthread_mutex_unlock(&r->lock);
}

void sp_reactor_close_storages(struct sp_reactor *r)
{
    for (struct sp_link *l = r->held.ends.next; l != &r->held.ends; l = l->next)
        sp_held_close(SP_CONTAINER(l, struct sp_held, link));
}

void sp_reactor_free(struct sp_reactor *r)
{
    sp_names_free(r->names);
    sp_session_free(r->session);
    sp_filter_unref(r->filter);
    sp_udp_free(r);
    while (r->held.count)
        sp_held_free(SP_CONTAINER(r->held.ends.next, struct sp_held, link));
    sp_jobs_done(r);
    free(r->by_id);
    free(r->lsd);
    (void)uv_loop_close(&r->loop);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
