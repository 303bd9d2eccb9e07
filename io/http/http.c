#include "io/http/http.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/list.h"
#include "io/http/transfer.h"

/* Idle connections are kept for the next announce to the same tracker. */
enum { CONN_DEFAULT = 64, IDLE_CONN_MAX = 16, BUCKET_COUNT = 256 };

/* One scheme://host:port.  Gets wait here for a connection, in order.  curl
 * has limits of its own, but what waits inside of curl is not watched by its
 * timeouts and was forgotten by some of its versions. */
struct host {
    struct sp_link link; /* in http.hosts */
    struct sp_list waiting;
    uint32_t running;
    char name[];
};

struct get {
    struct sp_link link; /* in host.waiting or http.running */
    struct get *chain;   /* next of the same bucket */
    struct host *host;
    struct sp_transfer transfer; /* made when its turn comes */
    struct sp_http_get ask;      /* url: below; stream: here */
    struct sp_transfer_stream stream;
    uint32_t id;
    bool is_running;
    char url[];
};

/* A socket of curl's that the loop watches. */
struct watch {
    struct sp_link link; /* in http.watches */
    uv_poll_t poll;
    struct sp_http *http;
    curl_socket_t fd;
    int events; /* UV_READABLE | UV_WRITABLE */
};

struct sp_http {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer; /* curl's */
    uv_timer_t kick;  /* somebody waits, and a connection may be free */
    uint32_t handles; /* of libuv, not closed yet */
    char *user_agent, *ca_file, *interface;
    const struct sp_proxy_url *proxy;
    struct sp_list hosts; /* the one whose turn is longest ago first */
    struct sp_list running;
    struct sp_list watches;
    struct get *buckets[BUCKET_COUNT]; /* all gets, by id */
    uint32_t conn_max, next_id;
    bool is_freed;
    void (*freed)(void *ctx);
    void *ctx;
};

/* ---- hosts ---- */

static struct host *host_get(struct sp_http *h, const char *name)
{
    for (struct sp_link *k = h->hosts.ends.next; k != &h->hosts.ends; k = k->next) {
        struct host *host = SP_CONTAINER(k, struct host, link);
        if (strcmp(host->name, name) == 0)
            return host;
    }
    struct host *host = calloc(1, sizeof(*host) + strlen(name) + 1);
    if (!host)
        return NULL;
    memcpy(host->name, name, strlen(name) + 1);
    sp_list_init(&host->waiting);
    sp_list_add(&h->hosts, &host->link);
    return host;
}

static void host_put(struct sp_http *h, struct host *host)
{
    if (host->running > 0 || host->waiting.count > 0)
        return;
    sp_list_del(&h->hosts, &host->link);
    free(host);
}

static CURLUcode url_parts(CURLU *u, const char *url, char **ret_scheme, char **ret_host,
                           char **ret_port)
{
    CURLUcode code =
        sp_transfer_takes(url) ? curl_url_set(u, CURLUPART_URL, url, 0) : CURLUE_UNSUPPORTED_SCHEME;
    if (code == CURLUE_OK)
        code = curl_url_get(u, CURLUPART_SCHEME, ret_scheme, 0);
    if (code == CURLUE_OK)
        code = curl_url_get(u, CURLUPART_HOST, ret_host, 0);
    if (code == CURLUE_OK)
        code = curl_url_get(u, CURLUPART_PORT, ret_port, CURLU_DEFAULT_PORT);
    return code;
}

/* GIVES (free) "https://tracker.example:443". */
static enum sp_err host_name(const char *url, char **ret_name)
{
    char *scheme = NULL, *host = NULL, *port = NULL, *name = NULL;
    CURLU *u = curl_url();
    CURLUcode code = u ? url_parts(u, url, &scheme, &host, &port) : CURLUE_OUT_OF_MEMORY;

    if (code == CURLUE_OK && asprintf(&name, "%s://%s:%s", scheme, host, port) < 0)
        code = CURLUE_OUT_OF_MEMORY;
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    if (code != CURLUE_OK)
        return code == CURLUE_OUT_OF_MEMORY ? SP_ENOMEM : SP_EDATA;
    *ret_name = name;
    return SP_OK;
}

/* ---- gets ---- */

static struct get **get_at(struct sp_http *h, uint32_t id)
{
    struct get **at = &h->buckets[id % BUCKET_COUNT];
    while (*at && (*at)->id != id)
        at = &(*at)->chain;
    return at;
}

/* Out of all tables and out of curl. */
static void get_unlink(struct sp_http *h, struct get *g)
{
    struct get **at = get_at(h, g->id);

    assert(*at == g);
    *at = g->chain;
    if (g->is_running) {
        if (g->transfer.easy)
            curl_multi_remove_handle(h->multi, g->transfer.easy);
        sp_list_del(&h->running, &g->link);
        g->host->running--;
    } else {
        sp_list_del(&g->host->waiting, &g->link);
    }
    host_put(h, g->host);
    g->host = NULL;
}

static void get_free(struct get *g)
{
    sp_transfer_done(&g->transfer);
    free(g);
}

/* Ends g; done may start, cancel and free whatever it likes. */
static void get_end(struct sp_http *h, struct get *g, CURLcode code)
{
    struct sp_http_result result = {0};
    char why[SP_TRANSFER_WHY_LEN];

    (void)sp_transfer_judge(&g->transfer, code, &result.status, why);
    get_unlink(h, g);
    result.why = why;
    if (result.status != 0)
        result.body = (struct sp_slice){g->transfer.body, g->transfer.len};
    g->ask.done(g->ask.ctx, g->id, &result);
    get_free(g);
}

static CURLcode get_start(struct sp_http *h, struct get *g)
{
    const struct sp_transfer_cfg cfg = {
        .url = g->url,
        .user_agent = h->user_agent,
        .ca_file = h->ca_file,
        .interface = h->interface,
        .proxy = h->proxy,
        .timeout_ms = g->ask.timeout_ms,
        .connect_ms = g->ask.connect_ms,
        .body_max = g->ask.body_max,
        .family = g->ask.family,
        .allow_local = g->ask.allow_local,
        .stream = g->ask.stream,
    };
    enum sp_err err = sp_transfer_init(&g->transfer, &cfg);

    if (err == SP_OK && curl_multi_add_handle(h->multi, g->transfer.easy) == CURLM_OK)
        return CURLE_OK;
    if (err == SP_EINVAL)
        return CURLE_INTERFACE_FAILED;
    return err == SP_EDATA ? CURLE_URL_MALFORMAT : CURLE_OUT_OF_MEMORY;
}

/* The next one that may have a connection: hosts take turns, so that one with
 * a thousand torrents, or one that is dead, keeps nobody else waiting. */
static struct get *take_turn(struct sp_http *h)
{
    if (h->running.count >= h->conn_max)
        return NULL;
    for (struct sp_link *k = h->hosts.ends.next; k != &h->hosts.ends; k = k->next) {
        struct host *host = SP_CONTAINER(k, struct host, link);
        if (host->waiting.count == 0 || host->running >= SP_HTTP_HOST_CONN_MAX)
            continue;
        struct get *g = SP_CONTAINER(sp_list_pop(&host->waiting), struct get, link);
        g->is_running = true;
        host->running++;
        sp_list_add(&h->running, &g->link);
        sp_list_del(&h->hosts, &host->link);
        sp_list_add(&h->hosts, &host->link);
        return g;
    }
    return NULL;
}

static void on_kick(uv_timer_t *timer)
{
    struct sp_http *h = timer->data;
    struct get *g;

    while (!h->is_freed && (g = take_turn(h))) {
        CURLcode code = get_start(h, g);
        if (code != CURLE_OK)
            get_end(h, g, code);
    }
}

static void kick(struct sp_http *h)
{
    if (!h->is_freed)
        uv_timer_start(&h->kick, on_kick, 0, 0);
}

/* Tells of the transfers that have ended. */
static void collect(struct sp_http *h)
{
    CURLMsg *msg;
    int left;

    while (!h->is_freed && (msg = curl_multi_info_read(h->multi, &left))) {
        struct sp_transfer *t = NULL;
        if (msg->msg != CURLMSG_DONE ||
            curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &t) != CURLE_OK)
            continue;
        get_end(h, SP_CONTAINER(t, struct get, transfer), msg->data.result);
        kick(h);
    }
}

/* ---- curl on the loop ---- */

static void on_closed(uv_handle_t *handle)
{
    struct sp_http *h = handle->data;

    if (--h->handles > 0)
        return;
    if (h->freed)
        h->freed(h->ctx);
    free(h);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *w = handle->data;

    handle->data = w->http;
    on_closed(handle);
    free(w);
}

static void watch_close(struct watch *w)
{
    sp_list_del(&w->http->watches, &w->link);
    uv_poll_stop(&w->poll); /* out of the poll set before curl closes the socket */
    uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *w = poll->data;
    struct sp_http *h = w->http;
    int flags = 0, running;

    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    if (status < 0)
        flags = CURL_CSELECT_IN | CURL_CSELECT_OUT | CURL_CSELECT_ERR;
    curl_multi_socket_action(h->multi, w->fd, flags, &running);
    /* libuv stops watching at an error; curl may want to go on. */
    if (status < 0 && !uv_is_closing((uv_handle_t *)poll))
        uv_poll_start(poll, w->events, on_ready);
    collect(h);
}

static struct watch *watch_new(struct sp_http *h, curl_socket_t fd)
{
    struct watch *w = calloc(1, sizeof(*w));

    if (!w || uv_poll_init_socket(h->loop, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    w->http = h;
    w->fd = fd;
    w->poll.data = w;
    h->handles++;
    sp_list_add(&h->watches, &w->link);
    curl_multi_assign(h->multi, fd, w);
    return w;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    struct sp_http *h = ctx;
    struct watch *w = socket_ctx;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w)
            watch_close(w);
        return 0;
    }
    if (!w)
        w = watch_new(h, fd);
    if (!w) /* -1 would end all transfers; so this one meets its timeout */
        return 0;
    w->events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    uv_poll_start(&w->poll, w->events, on_ready);
    return 0;
}

static void on_timer(uv_timer_t *timer)
{
    struct sp_http *h = timer->data;
    int running;

    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(h);
}

static int on_timeout_set(CURLM *multi, long timeout_ms, void *ctx)
{
    struct sp_http *h = ctx;

    (void)multi;
    if (timeout_ms < 0) {
        uv_timer_stop(&h->timer);
        return 0;
    }
    uv_update_time(h->loop); /* or a long turn would let the timer end early */
    uv_timer_start(&h->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

/* ---- the door ---- */

static bool copy(const char *text, char **ret_copy)
{
    *ret_copy = text ? strdup(text) : NULL;
    return !text || *ret_copy;
}

static void strings_free(struct sp_http *h)
{
    free(h->user_agent);
    free(h->ca_file);
    free(h->interface);
}

static CURLM *multi_new(struct sp_http *h)
{
    CURLM *multi = curl_multi_init();
    if (!multi)
        return NULL;
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timeout_set);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, h);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONN_MAX);
    return multi;
}

enum sp_err sp_http_new(uv_loop_t *loop, const struct sp_http_cfg *cfg, struct sp_http **ret_http)
{
    if (sp_transfer_global() != SP_OK)
        return SP_ENOMEM;
    struct sp_http *h = calloc(1, sizeof(*h));
    if (!h)
        return SP_ENOMEM;
    bool copied = copy(cfg->user_agent, &h->user_agent) && copy(cfg->ca_file, &h->ca_file) &&
                  copy(cfg->interface, &h->interface);
    if (copied)
        h->multi = multi_new(h);
    if (!h->multi) {
        strings_free(h);
        free(h);
        return SP_ENOMEM;
    }
    h->loop = loop;
    h->proxy = cfg->proxy && cfg->proxy->kind != SP_PROXY_NONE ? cfg->proxy : NULL;
    h->conn_max = cfg->conn_max ? cfg->conn_max : CONN_DEFAULT;
    sp_list_init(&h->hosts);
    sp_list_init(&h->running);
    sp_list_init(&h->watches);
    uv_timer_init(loop, &h->timer);
    uv_timer_init(loop, &h->kick);
    h->timer.data = h->kick.data = h;
    h->handles = 2;
    *ret_http = h;
    return SP_OK;
}

static uint32_t new_id(struct sp_http *h)
{
    do
        h->next_id++;
    while (h->next_id == 0 || *get_at(h, h->next_id));
    return h->next_id;
}

enum sp_err sp_http_start(struct sp_http *h, const struct sp_http_get *get, uint32_t *ret_id)
{
    char *name = NULL;
    struct host *host = NULL;
    struct get *g = NULL;
    enum sp_err err = host_name(get->url, &name);

    if (err == SP_OK) {
        host = host_get(h, name);
        g = calloc(1, sizeof(*g) + strlen(get->url) + 1);
        err = host && g ? SP_OK : SP_ENOMEM;
    }
    free(name);
    if (err != SP_OK) {
        free(g);
        if (host)
            host_put(h, host);
        return err;
    }
    memcpy(g->url, get->url, strlen(get->url) + 1);
    g->ask = *get;
    g->ask.url = g->url;
    if (get->stream) {
        g->stream = *get->stream;
        g->ask.stream = &g->stream;
    }
    g->host = host;
    g->id = new_id(h);
    *get_at(h, g->id) = g; /* the end of its chain */
    sp_list_add(&host->waiting, &g->link);
    kick(h);
    *ret_id = g->id;
    return SP_OK;
}

void sp_http_resume(struct sp_http *h, uint32_t id)
{
    struct get *g = *get_at(h, id);

    if (g && g->is_running && g->transfer.easy)
        sp_transfer_resume(&g->transfer);
}

void sp_http_cancel(struct sp_http *h, uint32_t id)
{
    struct get *g = *get_at(h, id);

    if (!g)
        return;
    get_unlink(h, g);
    get_free(g);
    kick(h);
}

void sp_http_free(struct sp_http *h, void (*freed)(void *ctx), void *ctx)
{
    assert(!h->is_freed);
    h->is_freed = true;
    h->freed = freed;
    h->ctx = ctx;
    for (uint32_t b = 0; b < BUCKET_COUNT; b++) {
        struct get *g;
        while ((g = h->buckets[b])) {
            get_unlink(h, g);
            get_free(g);
        }
    }
    curl_multi_cleanup(h->multi);
    h->multi = NULL;
    while (h->watches.count > 0)
        watch_close(SP_CONTAINER(h->watches.ends.next, struct watch, link));
    strings_free(h);
    uv_close((uv_handle_t *)&h->timer, on_closed);
    uv_close((uv_handle_t *)&h->kick, on_closed);
}
