#include "io/reactor/gate.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/reactor/reactor.h"

#define PROBE_NS      (2 * SP_SECOND_NS)
#define PROBE_WAIT_NS (10 * SP_SECOND_NS)

static const uint8_t ALIAS[4] = {0xfe, 0x80, 0x53, 0x50};

bool sp_gate_used(const struct sp_reactor *r)
{
    return r->env->proxy.kind != SP_PROXY_NONE;
}

/* One reactor speaks for all. */
static void tell(struct sp_reactor *r, enum sp_err err, const char *what)
{
    char text[SP_CLIENT_TEXT_LEN];
    if (r->ix != 0)
        return;
    snprintf(text, sizeof(text), "proxy %.80s:%u: %.80s", r->env->proxy.host, r->env->proxy.port,
             what);
    sp_reactor_event(r, SP_EV_NETWORK, SP_TORRENT_NONE, err, text);
}

static void open_gate(struct sp_reactor *r, sp_time_ns now)
{
    struct sp_gate *g = &r->gate;
    if (g->is_open)
        return;
    g->is_open = true;
    if (g->told)
        tell(r, SP_OK, "answers again");
    g->told = false;
    sp_reactor_online(r, now);
}

void sp_gate_failed(struct sp_reactor *r, const char *why)
{
    struct sp_gate *g = &r->gate;
    sp_time_ns now = sp_reactor_now(r);
    char text[SP_CLIENT_TEXT_LEN];

    g->is_open = false;
    if (g->addr_count)
        g->addr_at = (g->addr_at + 1) % g->addr_count;
    g->probe_at = now + PROBE_NS;
    sp_reactor_online(r, now);
    if (g->told)
        return;
    g->told = true;
    snprintf(text, sizeof(text), "%s; nothing goes out until it answers", why);
    tell(r, SP_ENET, text);
}

int sp_gate_connect(struct sp_reactor *r)
{
    struct sp_gate *g = &r->gate;
    if (g->addr_count == 0) {
        errno = EHOSTUNREACH;
        return -1;
    }
    return sp_tcp_connect(&g->addrs[g->addr_at], r->env->interface);
}

/* ---- the proxy's own address: the one name we resolve ourselves ---- */

static void on_resolved(struct sp_reactor *r, struct sp_name_job *job)
{
    struct sp_gate *g = &r->gate;
    uint32_t n = 0;

    for (const struct addrinfo *ai = job->list; ai && n < SP_GATE_ADDRS_MAX; ai = ai->ai_next) {
        struct sockaddr_storage ss = {0};
        memcpy(&ss, ai->ai_addr, ai->ai_addrlen < sizeof(ss) ? ai->ai_addrlen : sizeof(ss));
        g->addrs[n] = sp_addr_of_sockaddr(&ss);
        g->addrs[n++].port = r->env->proxy.port;
    }
    g->is_resolving = false;
    g->addr_count = n;
    g->addr_at = 0;
    if (n == 0)
        sp_gate_failed(r, "its address cannot be found");
}

static void resolve(struct sp_reactor *r)
{
    const struct sp_proxy_url *url = &r->env->proxy;
    struct sp_gate *g = &r->gate;
    struct sp_slice host = {(const uint8_t *)url->host, strlen(url->host)};

    if (sp_addr_parse(host, false, &g->addrs[0]) == SP_OK) {
        g->addrs[0].port = url->port;
        g->addr_count = 1;
        return;
    }
    struct sp_name_job *job = calloc(1, sizeof(*job));
    if (job) {
        memcpy(job->host, url->host, host.len + 1);
        job->done = on_resolved;
    }
    g->is_resolving = job && sp_names_ask(r->names, job);
    if (!g->is_resolving)
        sp_gate_failed(r, "its address cannot be found");
}

/* ---- is it there? ---- */

static void on_probe_closed(struct sp_watch *w)
{
    struct sp_reactor *r = w->ctx;
    r->gate.is_closing = false;
}

static void end_probe(struct sp_gate *g)
{
    if (g->is_probing) {
        g->is_closing = true; /* the handle is not free before the loop says so */
        sp_watch_close(&g->probe, on_probe_closed);
    }
    g->is_probing = false;
}

static void on_probe(struct sp_watch *w, int events, int status)
{
    struct sp_reactor *r = w->ctx;
    int err = sp_tcp_connected(w->fd);
    (void)events;
    (void)status;

    end_probe(&r->gate);
    if (err)
        sp_gate_failed(r, strerror(err));
    else
        open_gate(r, sp_reactor_now(r));
}

static void probe(struct sp_reactor *r, sp_time_ns now)
{
    struct sp_gate *g = &r->gate;
    int fd = sp_gate_connect(r);
    if (fd < 0) {
        sp_gate_failed(r, strerror(errno));
        return;
    }
    if (sp_watch_init(&g->probe, &r->loop, fd, on_probe, r) != SP_OK) {
        close(fd);
        return;
    }
    g->is_probing = true;
    g->probe_since = now;
    sp_watch_want(&g->probe, UV_WRITABLE);
}

void sp_gate_tick(struct sp_reactor *r, sp_time_ns now)
{
    struct sp_gate *g = &r->gate;

    if (!sp_gate_used(r) || g->is_open || g->is_resolving || g->is_closing || r->ending)
        return;
    if (g->is_probing) {
        if (now - g->probe_since > PROBE_WAIT_NS) {
            end_probe(g);
            sp_gate_failed(r, "does not answer");
        }
        return;
    }
    if (now < g->probe_at)
        return;
    if (g->addr_count == 0 || (g->told && g->addr_at == 0))
        resolve(r); /* it may have moved */
    if (g->addr_count && !g->is_resolving)
        probe(r, now);
}

void sp_gate_close(struct sp_reactor *r)
{
    end_probe(&r->gate);
    for (uint32_t i = 0; i < r->gate.name_count; i++)
        free(r->gate.names[i]);
    free(r->gate.names);
    r->gate.names = NULL;
    r->gate.name_count = 0;
}

/* ---- names that stay with the proxy ---- */

bool sp_gate_alias(struct sp_reactor *r, const char *host, uint16_t port, struct sp_addr *ret)
{
    struct sp_gate *g = &r->gate;
    size_t len = strlen(host);
    uint8_t ip[16] = {0};
    uint32_t ix = 0;

    while (ix < g->name_count && strcmp(g->names[ix], host) != 0)
        ix++;
    if (ix == g->name_count) {
        if (len == 0 || len > SP_PROXY_NAME_MAX || ix == SP_GATE_NAMES_MAX)
            return false;
        char **names = realloc(g->names, (ix + 1) * sizeof(*names));
        if (!names)
            return false;
        g->names = names;
        if (!(names[ix] = strdup(host)))
            return false;
        g->name_count++;
    }
    memcpy(ip, ALIAS, sizeof(ALIAS));
    ip[14] = (uint8_t)(ix >> 8);
    ip[15] = (uint8_t)ix;
    *ret = sp_addr_v6(ip, port);
    return true;
}

static const char *name_of(const struct sp_reactor *r, const struct sp_addr *a)
{
    uint32_t ix = (uint32_t)a->ip[14] << 8 | a->ip[15];
    if (a->family != SP_V6 || memcmp(a->ip, ALIAS, sizeof(ALIAS)) != 0 || ix >= r->gate.name_count)
        return NULL;
    return r->gate.names[ix];
}

/* ---- one stream on its way ---- */

struct sp_passage {
    struct sp_proxy talk;
    char host[SP_PROXY_NAME_MAX + 1];
};

struct sp_passage *sp_passage_new(struct sp_reactor *r, const struct sp_addr *to)
{
    struct sp_passage *p = calloc(1, sizeof(*p));
    const char *name = name_of(r, to);
    struct sp_proxy_target target = {.addr = *to};

    if (!p)
        return NULL;
    if (name) {
        memcpy(p->host, name, strlen(name) + 1);
        target.host = p->host;
    }
    sp_proxy_begin(&p->talk, &r->env->proxy, SP_PROXY_STREAM, &target);
    return p;
}

void sp_passage_free(struct sp_passage *p)
{
    free(p);
}

/* False: not more now. */
static bool say(struct sp_proxy *talk, int fd)
{
    struct sp_slice s = sp_proxy_say(talk);
    ssize_t n = s.len ? send(fd, s.ptr, s.len, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        sp_proxy_closed(talk);
    if (n > 0)
        sp_proxy_said(talk, (size_t)n);
    return s.len == 0 || n == (ssize_t)s.len;
}

/* Looks before it takes: what follows the talk stays in the socket. */
static bool hear(struct sp_proxy *talk, int fd)
{
    uint8_t bytes[512];
    ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        sp_proxy_closed(talk);
        return false;
    }
    size_t took = sp_proxy_hear(talk, (struct sp_slice){bytes, (size_t)n});
    return took && recv(fd, bytes, took, MSG_DONTWAIT) == (ssize_t)took;
}

enum sp_proxy_state sp_passage_step(struct sp_passage *p, int fd, int *ret_events,
                                    const char **ret_why)
{
    struct sp_proxy *talk = &p->talk;
    bool more = true;

    while (talk->state == SP_PROXY_TALKING && more)
        more = say(talk, fd) && hear(talk, fd);
    *ret_events = UV_READABLE | (sp_proxy_say(talk).len ? UV_WRITABLE : 0);
    *ret_why = talk->why;
    return talk->state;
}

void sp_gate_refused(struct sp_reactor *r, const struct sp_passage *p)
{
    if (p->talk.target_is_wrong || p->talk.why == r->gate.refusal)
        return;
    r->gate.refusal = p->talk.why;
    tell(r, SP_ENET, p->talk.why);
}
