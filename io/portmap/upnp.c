#include "io/portmap/upnp.h"

#include <miniupnpc/miniupnpc.h>
#include <miniupnpc/upnpcommands.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    DISCOVER_MS = 1000, /* for each kind of device */
    LEASE_S = 3600,
    RENEW_S = 1800,
    RETRY_MIN_S = 300, /* doubled up to RETRY_MAX_S */
    RETRY_MAX_S = 3600,
    OTHER_PORTS = 5, /* tried when ours is taken */
};

/* UPnP's error codes that say what to do. */
enum {
    UPNP_ACTION_FAILED = 501,
    UPNP_INVALID_ARGS = 402,
    UPNP_NOT_AUTHORIZED = 606,
    UPNP_CONFLICT = 718,
    UPNP_SAME_PORTS = 724,
    UPNP_ONLY_PERMANENT = 725,
};

struct sp_upnp {
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows up to the line */
    pthread_cond_t changed;
    struct sp_upnp_cfg cfg;
    bool stopping, done, orphan;
    uint32_t asked; /* how often something else was wanted */
    bool wanted;
    struct sp_addr gateway, local;
    struct sp_upnp_result result;
    /* ---- the thread's own ---- */
    struct sp_portmap_want wants[SP_PORTMAP_WANTS_MAX];
    struct UPNPUrls urls;
    struct IGDdatas igd;
    bool has_igd, permanent;
    char lan[64];
    bool mapped[SP_PORTMAP_WANTS_MAX];
    uint16_t ports[SP_PORTMAP_WANTS_MAX]; /* external */
};

/* ---- finding the router ---- */

/* The host of "http://HOST:PORT/..." is this address. */
static bool url_is_at(const char *url, const struct sp_addr *addr)
{
    char host[SP_ADDR_TEXT_LEN];
    size_t n;
    if (!url || strncmp(url, "http://", 7) != 0)
        return false;
    url += 7;
    sp_addr_text(addr, host);
    n = strlen(host);
    return strncmp(url, host, n) == 0 && (url[n] == ':' || url[n] == '/' || url[n] == '\0');
}

static void forget_igd(struct sp_upnp *u)
{
    if (u->has_igd)
        FreeUPNPUrls(&u->urls);
    u->has_igd = false;
}

static int valid_igd(struct sp_upnp *u, struct UPNPDev *dev)
{
#if MINIUPNPC_API_VERSION >= 18
    char wan[64];
    return UPNP_GetValidIGD(dev, &u->urls, &u->igd, u->lan, (int)sizeof(u->lan), wan,
                            (int)sizeof(wan));
#else
    return UPNP_GetValidIGD(dev, &u->urls, &u->igd, u->lan, (int)sizeof(u->lan));
#endif
}

/* A device at the gateway's own address, whose control is there too, and that
 * we reach from the address we are to use. */
static bool take_igd(struct sp_upnp *u, struct UPNPDev *dev, const struct sp_addr *gateway,
                     const struct sp_addr *local)
{
    char own[SP_ADDR_TEXT_LEN];
    struct UPNPDev alone = *dev;
    alone.pNext = NULL;
    if (!url_is_at(dev->descURL, gateway))
        return false;
    int found = valid_igd(u, &alone);
    if (found == 0)
        return false;
    u->has_igd = true;
    sp_addr_text(local, own);
    if ((found == 1 || found == 2) && url_is_at(u->urls.controlURL, gateway) &&
        strcmp(u->lan, own) == 0)
        return true;
    forget_igd(u);
    return false;
}

static bool is_current(struct sp_upnp *u, uint32_t asked)
{
    pthread_mutex_lock(&u->lock);
    bool is = u->asked == asked && !u->stopping;
    pthread_mutex_unlock(&u->lock);
    return is;
}

static bool discover(struct sp_upnp *u, const struct sp_addr *gateway, const struct sp_addr *local,
                     uint32_t asked)
{
    static const char *const kinds[] = {
        "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
        "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
        "urn:schemas-upnp-org:service:WANIPConnection:1",
        "urn:schemas-upnp-org:service:WANPPPConnection:1",
    };
    char own[SP_ADDR_TEXT_LEN];
    sp_addr_text(local, own);
    for (size_t i = 0; i < SP_COUNT(kinds) && !u->has_igd && is_current(u, asked); i++) {
        const char *const one[] = {kinds[i], NULL};
        int error = 0;
        struct UPNPDev *list = upnpDiscoverDevices(one, DISCOVER_MS, own, NULL, 0, 0, 2, &error, 0);
        for (struct UPNPDev *d = list; d && !u->has_igd; d = d->pNext)
            (void)take_igd(u, d, gateway, local);
        freeUPNPDevlist(list);
    }
    return u->has_igd;
}

/* ---- mapping ---- */

static const char *protocol_name(uint8_t protocol)
{
    return protocol == SP_PORTMAP_TCP ? "TCP" : "UDP";
}

static int add_at(struct sp_upnp *u, uint32_t i, uint16_t port)
{
    const struct sp_portmap_want *w = &u->wants[i];
    char outer[8], inner[8], about[32], lease[16];
    const char *protocol = protocol_name(w->protocol);
    int code = 0;

    snprintf(outer, sizeof(outer), "%u", port);
    snprintf(inner, sizeof(inner), "%u", w->port);
    snprintf(about, sizeof(about), "Spate %u %s", w->port, protocol);
    for (int pass = 0; pass < 2; pass++) {
        snprintf(lease, sizeof(lease), "%d", u->permanent ? 0 : LEASE_S);
        code = UPNP_AddPortMapping(u->urls.controlURL, u->igd.first.servicetype, outer, inner,
                                   u->lan, about, protocol, NULL, lease);
        /* Routers that know no leases say so in several ways. */
        if (u->permanent || (code != UPNP_ONLY_PERMANENT && code != UPNP_INVALID_ARGS &&
                             code != UPNP_ACTION_FAILED))
            break;
        u->permanent = true;
    }
    if (code == 0)
        u->ports[i] = port;
    else if (code != UPNP_ONLY_PERMANENT && u->permanent && !u->mapped[i])
        u->permanent = false; /* it was something else */
    return code;
}

/* IGD 2: the router chooses. */
static int add_any(struct sp_upnp *u, uint32_t i)
{
    const struct sp_portmap_want *w = &u->wants[i];
    char port[8], about[32], lease[16], got[8] = "";
    snprintf(port, sizeof(port), "%u", w->port);
    snprintf(about, sizeof(about), "Spate %u %s", w->port, protocol_name(w->protocol));
    snprintf(lease, sizeof(lease), "%d", LEASE_S);
    int code = UPNP_AddAnyPortMapping(u->urls.controlURL, u->igd.first.servicetype, port, port,
                                      u->lan, about, protocol_name(w->protocol), NULL, lease, got);
    long n = strtol(got, NULL, 10);
    if (code == 0 && n > 0 && n < 65536)
        u->ports[i] = (uint16_t)n;
    return code;
}

static uint16_t some_port(void)
{
    uint16_t n = 0;
    (void)!getrandom(&n, sizeof(n), GRND_NONBLOCK);
    return (uint16_t)(10000 + n % 50000);
}

/* 0, or the router's error. */
static int map_one(struct sp_upnp *u, uint32_t i)
{
    size_t n = strlen(u->igd.first.servicetype);
    bool is_v2 = n > 2 && strcmp(u->igd.first.servicetype + n - 2, ":2") == 0;
    uint16_t first = u->ports[i] ? u->ports[i] : u->wants[i].port;
    int code;

    if (!u->ports[i] && i > 0 && u->mapped[0] && u->wants[0].port == u->wants[i].port)
        first = u->ports[0]; /* UDP where TCP is, if it can be */
    code = add_at(u, i, first);
    if (code == UPNP_CONFLICT && is_v2 && add_any(u, i) == 0)
        code = 0;
    for (int t = 0; code == UPNP_CONFLICT && t < OTHER_PORTS; t++)
        code = add_at(u, i, some_port());
    u->mapped[i] = code == 0;
    if (code != 0)
        u->ports[i] = 0;
    return code;
}

static void unmap(struct sp_upnp *u)
{
    for (uint32_t i = 0; i < u->cfg.want_count; i++) {
        char port[8];
        snprintf(port, sizeof(port), "%u", u->ports[i]);
        if (u->mapped[i] && u->has_igd)
            (void)UPNP_DeletePortMapping(u->urls.controlURL, u->igd.first.servicetype, port,
                                         protocol_name(u->wants[i].protocol), NULL);
        u->mapped[i] = false;
        u->ports[i] = 0;
    }
    forget_igd(u);
    u->permanent = false;
}

static const char *why_of(int code)
{
    switch (code) {
    case UPNP_NOT_AUTHORIZED:
        return "the router does not allow it";
    case UPNP_CONFLICT:
        return "the router has given the port to another host";
    case UPNP_SAME_PORTS:
        return "the router maps no port to another one, and ours is taken";
    default:
        return "the router refused";
    }
}

/* All wants; false when the first one (TCP) is not mapped. */
static bool map_all(struct sp_upnp *u, struct sp_upnp_result *r)
{
    char text[64] = "";
    struct sp_addr outer = {.family = SP_V4};
    *r = (struct sp_upnp_result){0};
    if (UPNP_GetExternalIPAddress(u->urls.controlURL, u->igd.first.servicetype, text) == 0 &&
        sp_addr_parse((struct sp_slice){(const uint8_t *)text, strlen(text)}, false, &outer) !=
            SP_OK)
        outer = (struct sp_addr){.family = SP_V4};
    for (uint32_t i = 0; i < u->cfg.want_count; i++) {
        int code = map_one(u, i);
        r->mapped[i] = code == 0;
        r->external[i] = outer;
        r->external[i].port = u->ports[i];
        if (code != 0 && !r->why)
            r->why = why_of(code);
    }
    r->permanent = u->permanent;
    return r->mapped[0];
}

/* ---- the thread ---- */

static void publish(struct sp_upnp *u, const struct sp_upnp_result *r)
{
    pthread_mutex_lock(&u->lock);
    u->result = *r;
    if (!u->orphan)
        u->cfg.notify(u->cfg.ctx);
    pthread_mutex_unlock(&u->lock);
}

/* Until something else is wanted, or for so long. */
static void sleep_for(struct sp_upnp *u, uint32_t asked, uint32_t seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds;
    pthread_mutex_lock(&u->lock);
    while (!u->stopping && u->asked == asked) {
        if (pthread_cond_timedwait(&u->changed, &u->lock, &until) != 0)
            break;
    }
    pthread_mutex_unlock(&u->lock);
}

/* Looks after one router for as long as it is wanted. */
static void serve(struct sp_upnp *u, const struct sp_addr *gateway, const struct sp_addr *local,
                  uint32_t asked)
{
    uint32_t retry_s = RETRY_MIN_S;
    while (is_current(u, asked)) {
        struct sp_upnp_result r = {.why = "no router answered"};
        bool ok = (u->has_igd || discover(u, gateway, local, asked)) && is_current(u, asked) &&
                  map_all(u, &r);
        if (!is_current(u, asked))
            break;
        publish(u, &r);
        if (!ok)
            forget_igd(u);
        sleep_for(u, asked, ok ? RENEW_S : retry_s);
        retry_s = ok ? RETRY_MIN_S : retry_s * 2 < RETRY_MAX_S ? retry_s * 2 : RETRY_MAX_S;
    }
    unmap(u);
    publish(u, &(struct sp_upnp_result){0});
}

static void destroy(struct sp_upnp *u)
{
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->changed);
    free(u);
}

static void *run(void *arg)
{
    struct sp_upnp *u = arg;
    pthread_mutex_lock(&u->lock);
    while (!u->stopping) {
        if (!u->wanted) {
            pthread_cond_wait(&u->changed, &u->lock);
            continue;
        }
        struct sp_addr gateway = u->gateway, local = u->local;
        uint32_t asked = u->asked;
        pthread_mutex_unlock(&u->lock);
        serve(u, &gateway, &local, asked);
        pthread_mutex_lock(&u->lock);
    }
    u->done = true;
    bool orphan = u->orphan;
    if (!orphan)
        u->cfg.notify(u->cfg.ctx);
    pthread_mutex_unlock(&u->lock);
    if (orphan)
        destroy(u);
    return NULL;
}

enum sp_err sp_upnp_start(const struct sp_upnp_cfg *cfg, struct sp_upnp **ret_upnp)
{
    struct sp_upnp *u = calloc(1, sizeof(*u));
    pthread_condattr_t attr;
    sigset_t all, before;
    if (!u || pthread_mutex_init(&u->lock, NULL) != 0 || pthread_condattr_init(&attr) != 0) {
        free(u);
        return SP_ENOMEM;
    }
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&u->changed, &attr);
    pthread_condattr_destroy(&attr);
    u->cfg = *cfg;
    memcpy(u->wants, cfg->wants, cfg->want_count * sizeof(*cfg->wants));
    u->cfg.wants = u->wants;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&u->thread, NULL, run, u);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        destroy(u);
        return SP_ENOMEM;
    }
    *ret_upnp = u;
    return SP_OK;
}

void sp_upnp_want(struct sp_upnp *u, const struct sp_addr *gateway, const struct sp_addr *local)
{
    pthread_mutex_lock(&u->lock);
    bool is_news =
        u->wanted != (gateway != NULL) ||
        (gateway && (!sp_addr_eq(gateway, &u->gateway) || !sp_addr_eq(local, &u->local)));
    if (is_news) {
        u->asked++;
        u->wanted = gateway != NULL;
        if (gateway) {
            u->gateway = *gateway;
            u->local = *local;
        }
        pthread_cond_signal(&u->changed);
    }
    pthread_mutex_unlock(&u->lock);
}

void sp_upnp_result(struct sp_upnp *u, struct sp_upnp_result *ret_result)
{
    pthread_mutex_lock(&u->lock);
    *ret_result = u->result;
    pthread_mutex_unlock(&u->lock);
}

void sp_upnp_stop(struct sp_upnp *u)
{
    pthread_mutex_lock(&u->lock);
    u->stopping = true;
    pthread_cond_signal(&u->changed);
    pthread_mutex_unlock(&u->lock);
}

bool sp_upnp_is_done(struct sp_upnp *u)
{
    pthread_mutex_lock(&u->lock);
    bool done = u->done;
    pthread_mutex_unlock(&u->lock);
    return done;
}

void sp_upnp_free(struct sp_upnp *u)
{
    if (!u)
        return;
    pthread_mutex_lock(&u->lock);
    bool done = u->done;
    u->stopping = u->orphan = true;
    pthread_cond_signal(&u->changed);
    pthread_t thread = u->thread;
    pthread_mutex_unlock(&u->lock);
    if (!done) {
        (void)pthread_detach(thread);
        return;
    }
    pthread_join(thread, NULL);
    destroy(u);
}
