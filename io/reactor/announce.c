/* The session's trackers on the wire: HTTP by io/http, names by the resolver's
 * threads, datagrams by two sockets of our own.
 *
 * Addresses: what the user named may be anywhere; what came with a torrent
 * must not point into the local network (it would make us knock at doors that
 * only we can reach).
 */
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/reactor/reactor.h"

enum {
    ADDRS_MAX = 16,
    STOP_CONNECT_MS = 2000, /* who ends waits no longer for a name or a connection */
};

/* ---- HTTP: our request numbers to the transfer's ---- */

struct http_ref {
    struct sp_reactor *r;
    uint32_t req; /* the trackers' */
    uint32_t id;  /* the transfer's */
    struct http_ref *next;
};

static void forget_http(struct sp_reactor *r, struct http_ref *ref)
{
    for (struct http_ref **at = &r->http_refs; *at; at = &(*at)->next) {
        if (*at == ref) {
            *at = ref->next;
            free(ref);
            return;
        }
    }
}

static void on_http(void *ctx, uint32_t id, const struct sp_http_result *result)
{
    struct http_ref *ref = ctx;
    struct sp_reactor *r = ref->r;
    struct sp_trackers *t = sp_session_trackers(r->session);
    uint32_t req = ref->req;
    (void)id;

    forget_http(r, ref);
    if (result->status)
        sp_trackers_http_reply(t, req, result->status, result->body, sp_reactor_now(r));
    else
        sp_trackers_http_failed(t, req, result->why, sp_reactor_now(r));
}

static void start_http(struct sp_reactor *r, const struct sp_tracker_action *a)
{
    sp_time_ns now = sp_reactor_now(r);
    struct http_ref *ref = calloc(1, sizeof(*ref));
    struct sp_http_get get = {
        .url = a->u.http.url,
        .timeout_ms = a->u.http.timeout_at > now
                          ? (uint32_t)((a->u.http.timeout_at - now) / SP_MS_NS) + 1
                          : 1,
        .connect_ms = a->u.http.stopping ? STOP_CONNECT_MS : 0,
        .body_max = SP_TRACKER_BODY_MAX,
        .family = a->u.http.family,
        .allow_local = a->u.http.named_by_user,
        .done = on_http,
        .ctx = ref,
    };
    enum sp_err err = SP_ENOMEM;
    if (r->iface_is_down) {
        free(ref);
        sp_trackers_http_failed(sp_session_trackers(r->session), a->req, "the interface is gone",
                                now);
        return;
    }
    if (ref) {
        ref->r = r;
        ref->req = a->req;
        err = sp_http_start(r->http, &get, &ref->id);
    }
    if (err != SP_OK) {
        free(ref);
        sp_trackers_http_failed(sp_session_trackers(r->session), a->req, sp_err_text(err), now);
        return;
    }
    ref->next = r->http_refs;
    r->http_refs = ref;
}

static void cancel(struct sp_reactor *r, uint32_t req)
{
    for (struct http_ref *ref = r->http_refs; ref; ref = ref->next) {
        if (ref->req == req) {
            sp_http_cancel(r->http, ref->id);
            forget_http(r, ref);
            return;
        }
    }
    /* A resolution's answer is ignored when it comes. */
}

/* ---- names ---- */

struct lookup {
    struct sp_name_job job;
    uint32_t req;          /* of a tracker; 0: of a peer */
    sp_torrent_id torrent; /* of a peer */
    uint16_t port;
    bool named_by_user;
};

static uint32_t collect(const struct lookup *l, const struct addrinfo *list,
                        struct sp_addr addrs[ADDRS_MAX], bool *ret_local)
{
    uint32_t n = 0;
    for (const struct addrinfo *ai = list; ai && n < ADDRS_MAX; ai = ai->ai_next) {
        struct sockaddr_storage ss = {0};
        memcpy(&ss, ai->ai_addr, ai->ai_addrlen < sizeof(ss) ? ai->ai_addrlen : sizeof(ss));
        struct sp_addr a = sp_addr_of_sockaddr(&ss);
        a.port = l->port;
        if (!l->named_by_user && sp_addr_scope(&a) != SP_SCOPE_GLOBAL) {
            *ret_local = true;
            continue;
        }
        addrs[n++] = a;
    }
    return n;
}

static void on_lookup(struct sp_reactor *r, struct sp_name_job *job)
{
    const struct lookup *l = SP_CONTAINER(job, struct lookup, job);
    struct sp_addr addrs[ADDRS_MAX];
    bool local = false;
    uint32_t n = collect(l, job->list, addrs, &local);
    sp_time_ns now = sp_reactor_now(r);

    if (l->req)
        sp_trackers_resolved(sp_session_trackers(r->session), l->req, addrs, n,
                             local ? "its address is a local one" : NULL, now);
    else
        sp_torrent_add_peers(r->session, l->torrent, addrs, n, SP_PEER_USER, now);
}

static bool look_up(struct sp_reactor *r, struct lookup want, const char *host)
{
    size_t len = strlen(host);
    if (r->iface_is_down)
        return false; /* the question would leave by another */
    struct lookup *l = len < sizeof(l->job.host) ? malloc(sizeof(*l)) : NULL;
    if (!l)
        return false;
    *l = want;
    l->job.done = on_lookup;
    memcpy(l->job.host, host, len + 1);
    return sp_names_ask(r->names, &l->job);
}

void sp_resolve_peer(struct sp_reactor *r, sp_torrent_id id, const char *host_port)
{
    char host[256];
    const char *colon = strrchr(host_port, ':');
    size_t n = colon ? (size_t)(colon - host_port) : 0;
    unsigned port = 0;

    for (const char *c = colon ? colon + 1 : ""; *c >= '0' && *c <= '9' && port < 65536; c++)
        port = port * 10 + (unsigned)(*c - '0');
    if (n == 0 || n >= sizeof(host) || port == 0 || port > 65535)
        return; /* sp_client_add has refused it with a message */
    memcpy(host, host_port, n);
    host[n] = '\0';
    struct sp_addr alias;
    if (sp_gate_used(r)) { /* the proxy resolves it */
        if (sp_gate_alias(r, host, (uint16_t)port, &alias))
            sp_torrent_add_peers(r->session, id, &alias, 1, SP_PEER_USER, sp_reactor_now(r));
        return;
    }
    (void)look_up(r, (struct lookup){.torrent = id, .port = (uint16_t)port, .named_by_user = true},
                  host);
}

static void resolve(struct sp_reactor *r, const struct sp_tracker_action *a)
{
    struct lookup want = {
        .req = a->req, .port = a->u.resolve.port, .named_by_user = a->u.resolve.named_by_user};
    if (sp_gate_used(r)) {
        sp_trackers_resolved(sp_session_trackers(r->session), a->req, NULL, 0,
                             "UDP trackers are not asked through the proxy", sp_reactor_now(r));
        return;
    }
    if (!look_up(r, want, a->u.resolve.host))
        sp_trackers_resolved(sp_session_trackers(r->session), a->req, NULL, 0, NULL,
                             sp_reactor_now(r));
}

/* ---- datagrams ---- */

static void on_datagram(struct sp_watch *w, int events, int status)
{
    struct sp_reactor *r = w->ctx;
    uint8_t bytes[65536];
    (void)events;

    for (int i = 0; status >= 0 && i < 64; i++) {
        struct sockaddr_storage ss;
        socklen_t len = sizeof(ss);
        ssize_t n =
            recvfrom(w->fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&ss, &len);
        if (n < 0)
            return;
        struct sp_addr from = sp_addr_of_sockaddr(&ss);
        (void)sp_trackers_datagram(sp_session_trackers(r->session), &from,
                                   (struct sp_slice){bytes, (size_t)n}, sp_reactor_now(r));
    }
}

static void send_datagram(struct sp_reactor *r, const struct sp_tracker_action *a)
{
    const struct sp_addr *to = &a->u.datagram.to;
    bool v4 = to->family == SP_V4;
    struct sockaddr_storage ss;
    socklen_t len = sp_sockaddr_of(to, &ss);

    if (v4 ? !r->has_udp4 : !r->has_udp6)
        return; /* as if lost: the machine tries again, then fails */
    (void)sendto((v4 ? r->udp4 : r->udp6).fd, a->u.datagram.bytes, a->u.datagram.len, MSG_DONTWAIT,
                 (struct sockaddr *)&ss, len);
}

static bool open_udp(struct sp_reactor *r, enum sp_family family, struct sp_watch *w)
{
    int fd = sp_udp_open(family, r->env->interface);
    if (fd < 0)
        return false;
    if (sp_watch_init(w, &r->loop, fd, on_datagram, r) != SP_OK) {
        close(fd);
        return false;
    }
    sp_watch_want(w, UV_READABLE);
    return true;
}

void sp_announce_open(struct sp_reactor *r)
{
    if (sp_gate_used(r))
        return; /* a datagram would go past the proxy */
    r->has_udp4 = open_udp(r, SP_V4, &r->udp4);
    r->has_udp6 = open_udp(r, SP_V6, &r->udp6);
}

void sp_announce_close(struct sp_reactor *r)
{
    if (r->has_udp4)
        sp_watch_close(&r->udp4, NULL);
    if (r->has_udp6)
        sp_watch_close(&r->udp6, NULL);
    r->has_udp4 = r->has_udp6 = false;
    while (r->http_refs) {
        sp_http_cancel(r->http, r->http_refs->id);
        forget_http(r, r->http_refs);
    }
}

void sp_announce_run(struct sp_reactor *r, const struct sp_tracker_action *a)
{
    switch (a->kind) {
    case SP_TRACKER_HTTP:
        start_http(r, a);
        break;
    case SP_TRACKER_RESOLVE:
        resolve(r, a);
        break;
    case SP_TRACKER_CANCEL:
        cancel(r, a->req);
        break;
    case SP_TRACKER_DATAGRAM:
        send_datagram(r, a);
        break;
    case SP_TRACKER_NONE:
    case SP_TRACKER_PEERS:
    case SP_TRACKER_STATUS:
    case SP_TRACKER_EXTERNAL_IP:
        break; /* the session keeps these */
    }
}
