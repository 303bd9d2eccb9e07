#include "io/portmap/portmapper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "io/loop/loop.h"
#include "io/portmap/route.h"
#include "io/portmap/upnp.h"

enum {
    LISTENS_MAX = 2 * SP_LISTEN_MAX,
    ROUTES4_MAX = 1,
    ROUTES6_MAX = 4, /* addresses of ours that peers may know */
    SHOWN_MAX = 2 * SP_PORTMAP_PATHS_MAX,
    READS_MAX = 16,
};

#define LOOK_NS (15 * SP_SECOND_NS) /* routes and addresses are read again */

struct path {
    bool used;
    struct sp_route route;
    int fd;
    bool failed; /* TCP is not mapped, and that was said */
};

struct sp_portmapper {
    struct sp_portmapper_cfg cfg;
    struct sp_addr listens[LISTENS_MAX];
    pthread_t thread;
    int wake_fd;
    atomic_bool stop_asked, end_asked;
    struct sp_portmap pm;
    struct path paths[SP_PORTMAP_PATHS_MAX];
    int heard4, heard6; /* gateways that announce a restart */
    struct sp_upnp *upnp;
    struct sp_upnp_result upnp_last;
    uint16_t outer_port;
    struct sp_addr outer_address;
    bool stopping;
    sp_time_ns look_at, stop_at;
    pthread_mutex_t lock; /* of shown */
    struct sp_client_mapping shown[SHOWN_MAX];
    uint32_t shown_count;
};

static const char *const methods[] = {
    [SP_PORTMAP_NONE] = "PCP, NAT-PMP",
    [SP_PORTMAP_PCP] = "PCP",
    [SP_PORTMAP_NATPMP] = "NAT-PMP",
};

static sp_time_ns clock_now(void)
{
    return uv_hrtime();
}

static const char *protocol_of(const struct sp_portmapper *p, uint32_t want_ix)
{
    return p->pm.cfg.wants[want_ix].protocol == SP_PORTMAP_TCP ? "TCP" : "UDP";
}

SP_PRINTF(3, 4)
static void say(struct sp_portmapper *p, enum sp_err err, const char *format, ...)
{
    char text[SP_CLIENT_TEXT_LEN];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    p->cfg.event(p->cfg.ctx, err, text);
}

/* ---- sockets ---- */

static socklen_t sockaddr_at(const struct sp_addr *a, uint16_t port, uint32_t device_ix,
                             struct sockaddr_storage *ret)
{
    struct sp_addr with_port = *a;
    with_port.port = port;
    socklen_t len = sp_sockaddr_of(&with_port, ret);
    if (a->family == SP_V6 && sp_addr_scope(a) == SP_SCOPE_LINK)
        ((struct sockaddr_in6 *)ret)->sin6_scope_id = device_ix;
    return len;
}

static int fail(int fd)
{
    if (fd >= 0)
        close(fd);
    return -1;
}

/* From our address to the gateway: the kernel drops what others send to it. */
static int open_path(const struct sp_portmapper *p, const struct sp_route *r)
{
    struct sockaddr_storage ss;
    bool is_device = p->cfg.interface && if_nametoindex(p->cfg.interface) != 0;
    int fd = sp_udp_open((enum sp_family)r->local.family, is_device ? p->cfg.interface : NULL);
    if (fd < 0)
        return -1;
    socklen_t len = sockaddr_at(&r->local, 0, r->device_ix, &ss);
    if (bind(fd, (struct sockaddr *)&ss, len) != 0)
        return fail(fd);
    len = sockaddr_at(&r->gateway, SP_PORTMAP_SERVER_PORT, r->device_ix, &ss);
    if (connect(fd, (struct sockaddr *)&ss, len) != 0)
        return fail(fd);
    return fd;
}

/* 224.0.0.1 and ff02::1, to which every host belongs. */
static int open_heard(const struct sp_portmapper *p, const struct sp_route *r)
{
    static const uint8_t all6[16] = {0xff, 0x02, [15] = 1}, all4[4] = {224, 0, 0, 1};
    bool v4 = r->local.family == SP_V4;
    struct sp_addr group = v4 ? sp_addr_v4(all4, 0) : sp_addr_v6(all6, 0);
    bool is_device = p->cfg.interface && if_nametoindex(p->cfg.interface) != 0;
    struct sockaddr_storage ss;
    int on = 1, fd = sp_udp_open(v4 ? SP_V4 : SP_V6, is_device ? p->cfg.interface : NULL);
    if (fd < 0)
        return -1;
    socklen_t len = sockaddr_at(&group, SP_PORTMAP_CLIENT_PORT, r->device_ix, &ss);
    if (!v4)
        ((struct sockaddr_in6 *)&ss)->sin6_scope_id = r->device_ix;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&ss, len) != 0)
        return fail(fd);
    return fd;
}

static void read_path(struct sp_portmapper *p, uint32_t ix)
{
    uint8_t bytes[2048];
    struct sp_addr from = p->paths[ix].route.gateway;
    from.port = SP_PORTMAP_SERVER_PORT;
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t n = recv(p->paths[ix].fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n < 0) {
            if (errno == ECONNREFUSED)
                sp_portmap_refused(&p->pm, ix, clock_now());
            else if (errno == EAGAIN)
                return;
            continue;
        }
        sp_portmap_datagram(&p->pm, ix, &from, (struct sp_slice){bytes, (size_t)n}, clock_now());
    }
}

static void read_heard(struct sp_portmapper *p, int fd)
{
    uint8_t bytes[2048];
    for (int i = 0; i < READS_MAX; i++) {
        struct sockaddr_storage ss = {0};
        socklen_t len = sizeof(ss);
        ssize_t n = recvfrom(fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&ss, &len);
        if (n < 0)
            return;
        struct sp_addr from = sp_addr_of_sockaddr(&ss);
        sp_portmap_heard(&p->pm, &from, (struct sp_slice){bytes, (size_t)n}, clock_now());
    }
}

/* ---- what the machine wants ---- */

static void tell(struct sp_portmapper *p, const struct sp_portmap_action *a)
{
    char outer[SP_ADDR_TEXT_LEN], gateway[SP_ADDR_TEXT_LEN];
    const struct path *path = &p->paths[a->path_ix];
    const char *protocol = protocol_of(p, a->want_ix), *method = methods[a->method];
    uint16_t port = p->pm.cfg.wants[a->want_ix].port;

    sp_addr_text(&a->external, outer);
    if (a->kind == SP_PORTMAP_MAPPED)
        say(p, SP_OK, "%s: %s %s reaches port %u", method, protocol, outer, port);
    else if (a->kind == SP_PORTMAP_LOST)
        say(p, SP_ENET, "%s: %s %s is lost", method, protocol, outer);
    else if (a->want_ix == 0 || a->method != SP_PORTMAP_NONE) /* silence is told once */
        say(p, SP_ENET, "%s: %s port %u: %s (%s)", method, protocol, port, a->why,
            sp_addr_text(&path->route.gateway, gateway));
}

static void pull(struct sp_portmapper *p)
{
    struct sp_portmap_action a;
    while (sp_portmap_next(&p->pm, &a, clock_now())) {
        struct path *path = &p->paths[a.path_ix];
        switch (a.kind) {
        case SP_PORTMAP_SEND:
            if (path->fd >= 0 && send(path->fd, a.bytes, a.len, MSG_DONTWAIT) < 0 &&
                errno == ECONNREFUSED)
                sp_portmap_refused(&p->pm, a.path_ix, clock_now());
            break;
        case SP_PORTMAP_FAILED:
            path->failed |= a.want_ix == 0;
            tell(p, &a);
            break;
        case SP_PORTMAP_MAPPED:
            path->failed &= a.want_ix != 0;
            tell(p, &a);
            break;
        case SP_PORTMAP_LOST:
            tell(p, &a);
            break;
        }
    }
}

/* ---- routes and addresses, read again now and then ---- */

static bool is_listened(const struct sp_portmapper *p, const struct sp_addr *local)
{
    static const uint8_t any[16];
    for (uint32_t i = 0; i < p->cfg.listen_count; i++) {
        const struct sp_addr *l = &p->listens[i];
        if (l->family == local->family &&
            (memcmp(l->ip, any, sizeof(any)) == 0 || sp_addr_same_ip(l, local)))
            return true;
    }
    return false;
}

/* Routes by which a gateway can lead to us. */
static uint32_t find_routes(const struct sp_portmapper *p, struct sp_route *routes)
{
    uint32_t n = sp_routes_find(SP_V4, p->cfg.interface, routes, ROUTES4_MAX), kept = 0;
    if (n && sp_addr_scope(&routes[0].local) == SP_SCOPE_GLOBAL)
        n = 0; /* no NAT before us */
    n += sp_routes_find(SP_V6, p->cfg.interface, routes + n, ROUTES6_MAX);
    for (uint32_t i = 0; i < n; i++) {
        if (is_listened(p, &routes[i].local))
            routes[kept++] = routes[i];
    }
    return kept;
}

static bool same_route(const struct sp_route *a, const struct sp_route *b)
{
    return sp_addr_same_ip(&a->gateway, &b->gateway) && sp_addr_same_ip(&a->local, &b->local) &&
           a->device_ix == b->device_ix;
}

static bool has_route(const struct sp_route *routes, uint32_t count, const struct sp_route *want)
{
    for (uint32_t i = 0; i < count; i++) {
        if (same_route(&routes[i], want))
            return true;
    }
    return false;
}

static void drop_path(struct sp_portmapper *p, uint32_t ix)
{
    struct path *path = &p->paths[ix];
    sp_portmap_path_gone(&p->pm, ix);
    pull(p);
    if (path->fd >= 0)
        close(path->fd);
    *path = (struct path){.fd = -1};
}

static void take_route(struct sp_portmapper *p, const struct sp_route *route, sp_time_ns now)
{
    uint32_t ix = 0;
    for (uint32_t i = 0; i < SP_PORTMAP_PATHS_MAX; i++) {
        if (p->paths[i].used && same_route(&p->paths[i].route, route))
            return;
    }
    while (ix < SP_PORTMAP_PATHS_MAX && p->paths[ix].used)
        ix++;
    if (ix == SP_PORTMAP_PATHS_MAX)
        return;
    int fd = open_path(p, route), *heard = route->local.family == SP_V4 ? &p->heard4 : &p->heard6;
    if (fd < 0)
        return; /* at the next look */
    p->paths[ix] = (struct path){.used = true, .route = *route, .fd = fd};
    sp_portmap_path(&p->pm, ix, &route->gateway, &route->local, now);
    if (*heard < 0)
        *heard = open_heard(p, route);
}

static void look(struct sp_portmapper *p, sp_time_ns now)
{
    struct sp_route routes[ROUTES4_MAX + ROUTES6_MAX];
    uint32_t n = find_routes(p, routes);
    p->look_at = now + LOOK_NS;
    for (uint32_t i = 0; i < SP_PORTMAP_PATHS_MAX; i++) {
        if (p->paths[i].used && !has_route(routes, n, &p->paths[i].route))
            drop_path(p, i);
    }
    for (uint32_t i = 0; i < n; i++)
        take_route(p, &routes[i], now);
}

/* ---- UPnP: where the others failed ---- */

static void on_upnp(void *ctx)
{
    struct sp_portmapper *p = ctx;
    uint64_t one = 1;
    (void)!write(p->wake_fd, &one, sizeof(one));
}

/* Once it was wanted for a path it stays, also when PCP answers late: to remove
 * its mapping could remove the other's, which may be the same entry. */
static void want_upnp(struct sp_portmapper *p)
{
    const struct path *need = NULL;
    for (uint32_t i = 0; i < SP_PORTMAP_PATHS_MAX; i++) {
        struct path *path = &p->paths[i];
        if (path->used && path->route.local.family == SP_V4 && (path->failed || p->upnp))
            need = path;
    }
    if (!p->upnp && need) {
        struct sp_upnp_cfg cfg = {.wants = p->pm.cfg.wants,
                                  .want_count = p->pm.cfg.want_count,
                                  .notify = on_upnp,
                                  .ctx = p};
        if (sp_upnp_start(&cfg, &p->upnp) != SP_OK)
            p->upnp = NULL;
    }
    if (p->upnp)
        sp_upnp_want(p->upnp, need ? &need->route.gateway : NULL, need ? &need->route.local : NULL);
}

static void hear_upnp(struct sp_portmapper *p)
{
    struct sp_upnp_result r, *last = &p->upnp_last;
    char outer[SP_ADDR_TEXT_LEN];
    if (!p->upnp)
        return;
    sp_upnp_result(p->upnp, &r);
    for (uint32_t i = 0; i < p->pm.cfg.want_count; i++) {
        uint16_t port = p->pm.cfg.wants[i].port;
        if (r.mapped[i] && (!last->mapped[i] || !sp_addr_eq(&r.external[i], &last->external[i])))
            say(p, SP_OK, "UPnP: %s %s reaches port %u%s", protocol_of(p, i),
                sp_addr_text(&r.external[i], outer), port, r.permanent ? ", without a lease" : "");
        else if (last->mapped[i] && !r.mapped[i])
            say(p, SP_ENET, "UPnP: %s %s is lost", protocol_of(p, i),
                sp_addr_text(&last->external[i], outer));
    }
    if (r.why && r.why != last->why)
        say(p, SP_ENET, "UPnP: %s", r.why);
    *last = r;
}

/* ---- what others are told ---- */

static void show(struct sp_portmapper *p, const char *method, uint32_t want_ix,
                 const struct sp_addr *outer, sp_time_ns left)
{
    struct sp_client_mapping *m = &p->shown[p->shown_count];
    char text[SP_ADDR_TEXT_LEN];
    if (p->shown_count == SHOWN_MAX)
        return;
    *m = (struct sp_client_mapping){.port = p->pm.cfg.wants[want_ix].port,
                                    .expires_s = (uint32_t)(left / SP_SECOND_NS)};
    snprintf(m->method, sizeof(m->method), "%s", method);
    snprintf(m->protocol, sizeof(m->protocol), "%s", protocol_of(p, want_ix));
    snprintf(m->external, sizeof(m->external), "%s", sp_addr_text(outer, text));
    p->shown_count++;
}

static void note_outer(struct sp_portmapper *p, uint32_t want_ix, const struct sp_addr *outer,
                       uint16_t *port, struct sp_addr *address)
{
    if (outer->family != SP_V4 || want_ix != 0)
        return;
    if (!*port)
        *port = outer->port;
    if (address->family == SP_FAMILY_NONE && sp_addr_scope(outer) == SP_SCOPE_GLOBAL)
        *address = *outer;
    (void)p;
}

static void publish(struct sp_portmapper *p, sp_time_ns now)
{
    uint16_t port = 0;
    struct sp_addr address = {0};
    pthread_mutex_lock(&p->lock);
    p->shown_count = 0;
    for (uint32_t i = 0; i < SP_PORTMAP_PATHS_MAX * p->pm.cfg.want_count; i++) {
        struct sp_portmap_grant g;
        uint32_t want_ix = i % p->pm.cfg.want_count;
        if (!sp_portmap_granted(&p->pm, i / p->pm.cfg.want_count, want_ix, &g))
            continue;
        show(p, methods[g.method], want_ix, &g.external,
             g.expires_at > now ? g.expires_at - now : 0);
        note_outer(p, want_ix, &g.external, &port, &address);
    }
    for (uint32_t i = 0; i < p->pm.cfg.want_count && p->upnp; i++) {
        if (!p->upnp_last.mapped[i])
            continue;
        show(p, "UPnP", i, &p->upnp_last.external[i], 0);
        note_outer(p, i, &p->upnp_last.external[i], &port, &address);
    }
    pthread_mutex_unlock(&p->lock);
    if (port != p->outer_port)
        p->cfg.outer_port(p->cfg.ctx, port);
    p->outer_port = port;
    if (address.family != SP_FAMILY_NONE && !sp_addr_same_ip(&address, &p->outer_address)) {
        p->outer_address = address;
        address.port = 0;
        p->cfg.outer_address(p->cfg.ctx, &address);
    }
}

uint32_t sp_portmapper_list(struct sp_portmapper *p, struct sp_client_mapping *ret_mappings,
                            uint32_t cap)
{
    pthread_mutex_lock(&p->lock);
    uint32_t n = p->shown_count < cap ? p->shown_count : cap;
    if (n)
        memcpy(ret_mappings, p->shown, n * sizeof(*ret_mappings));
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* ---- the thread ---- */

static void begin_stop(struct sp_portmapper *p, sp_time_ns now)
{
    p->stopping = true;
    p->stop_at = now + SP_PORTMAPPER_STOP_NS;
    sp_portmap_stop(&p->pm, now);
    if (p->upnp)
        sp_upnp_stop(p->upnp);
}

static bool is_over(struct sp_portmapper *p, sp_time_ns now)
{
    if (!p->stopping)
        return false;
    bool done = sp_portmap_idle(&p->pm) && (!p->upnp || sp_upnp_is_done(p->upnp));
    return done || now >= p->stop_at;
}

static void wait_for_something(struct sp_portmapper *p, sp_time_ns now)
{
    struct pollfd fds[3 + SP_PORTMAP_PATHS_MAX] = {{.fd = p->wake_fd, .events = POLLIN},
                                                   {.fd = p->heard4, .events = POLLIN},
                                                   {.fd = p->heard6, .events = POLLIN}};
    sp_time_ns at = sp_portmap_deadline(&p->pm), other = p->stopping ? p->stop_at : p->look_at;
    uint64_t count;
    at = at < other ? at : other;
    int wait_ms = at > now ? (int)((at - now) / SP_MS_NS) + 1 : 0;
    for (uint32_t i = 0; i < SP_PORTMAP_PATHS_MAX; i++)
        fds[3 + i] = (struct pollfd){.fd = p->paths[i].fd, .events = POLLIN};
    if (poll(fds, SP_COUNT(fds), wait_ms) <= 0)
        return;
    if (fds[0].revents)
        (void)!read(p->wake_fd, &count, sizeof(count));
    if (fds[1].revents)
        read_heard(p, p->heard4);
    if (fds[2].revents)
        read_heard(p, p->heard6);
    for (uint32_t i = 0; i < SP_PORTMAP_PATHS_MAX; i++) {
        if (fds[3 + i].revents)
            read_path(p, i);
    }
}

static void *run(void *arg)
{
    struct sp_portmapper *p = arg;
    sp_time_ns now = clock_now();
    while (!atomic_load(&p->end_asked) && !is_over(p, now)) {
        if (atomic_load(&p->stop_asked) && !p->stopping)
            begin_stop(p, now);
        if (!p->stopping && now >= p->look_at)
            look(p, now);
        sp_portmap_tick(&p->pm, now);
        pull(p);
        if (!p->stopping) {
            want_upnp(p);
            hear_upnp(p);
            publish(p, now);
        }
        wait_for_something(p, now);
        now = clock_now();
    }
    if (!p->stopping) { /* no time to hear that it is gone */
        sp_portmap_stop(&p->pm, now);
        pull(p);
    }
    p->cfg.stopped(p->cfg.ctx);
    return NULL;
}

/* ---- start and end ---- */

/* The same in every run of this user on this machine: a client that crashed can
 * take over the mappings it left.  See core/portmap. */
static struct sp_hash_key secret(void)
{
    static const struct sp_hash_key first = {0x7370617465, 1}, second = {0x7370617465, 2};
    struct {
        char id[64];
        uid_t uid;
    } who = {.uid = geteuid()};
    struct sp_hash_key key;
    int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, who.id, sizeof(who.id)) : -1;
    if (fd >= 0)
        close(fd);
    if (n < 16 && getrandom(who.id, sizeof(who.id), 0) < 0)
        who.id[0] = 1;
    key.k0 = sp_hash_bytes(&first, &who, sizeof(who));
    key.k1 = sp_hash_bytes(&second, &who, sizeof(who));
    return key;
}

static bool is_reachable(const struct sp_addr *listen)
{
    static const uint8_t any[16];
    enum sp_scope scope = sp_addr_scope(listen);
    return memcmp(listen->ip, any, sizeof(any)) == 0 ||
           (scope != SP_SCOPE_LOOPBACK && scope != SP_SCOPE_LINK && scope != SP_SCOPE_NONE);
}

/* The first port is the one that peers are told. */
static void take_listens(struct sp_portmapper *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->cfg.listen_count && n < LISTENS_MAX; i++) {
        const struct sp_addr *l = &p->cfg.listens[i];
        if (l->port == p->cfg.listens[0].port && is_reachable(l))
            p->listens[n++] = *l;
    }
    p->cfg.listen_count = n;
}

static enum sp_err start_thread(struct sp_portmapper *p)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&p->thread, NULL, run, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? SP_OK : SP_ENOMEM;
}

enum sp_err sp_portmapper_start(const struct sp_portmapper_cfg *cfg,
                                struct sp_portmapper **ret_portmapper)
{
    struct sp_portmapper *p = calloc(1, sizeof(*p));
    if (!p)
        return SP_ENOMEM;
    p->cfg = *cfg;
    take_listens(p);
    if (p->cfg.listen_count == 0) {
        free(p);
        return SP_ENOENT;
    }
    struct sp_portmap_cfg machine = {
        .seed = cfg->seed,
        .secret = secret(),
        .wants = {{SP_PORTMAP_TCP, p->listens[0].port}, {SP_PORTMAP_UDP, p->listens[0].port}},
        .want_count = 2,
    };
    sp_portmap_init(&p->pm, &machine);
    for (uint32_t i = 0; i < SP_PORTMAP_PATHS_MAX; i++)
        p->paths[i].fd = -1;
    p->heard4 = p->heard6 = -1;
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum sp_err err = p->wake_fd < 0 ? SP_EIO : SP_OK;
    if (err == SP_OK && pthread_mutex_init(&p->lock, NULL) != 0)
        err = SP_ENOMEM;
    if (err == SP_OK)
        err = start_thread(p);
    if (err != SP_OK) {
        (void)fail(p->wake_fd);
        free(p);
        return err;
    }
    *ret_portmapper = p;
    return SP_OK;
}

static void wake(struct sp_portmapper *p)
{
    uint64_t one = 1;
    (void)!write(p->wake_fd, &one, sizeof(one));
}

void sp_portmapper_stop(struct sp_portmapper *p)
{
    atomic_store(&p->stop_asked, true);
    wake(p);
}

void sp_portmapper_free(struct sp_portmapper *p)
{
    if (!p)
        return;
    atomic_store(&p->end_asked, true);
    wake(p);
    pthread_join(p->thread, NULL);
    sp_upnp_free(p->upnp);
    for (uint32_t i = 0; i < SP_PORTMAP_PATHS_MAX; i++)
        (void)fail(p->paths[i].fd);
    (void)fail(p->heard4);
    (void)fail(p->heard6);
    close(p->wake_fd);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
