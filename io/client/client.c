/* The public client: its start and its end. */
#include "spate/client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/rng.h"
#include "core/wire/peer_id.h"
#include "io/client/impl.h"
#include "io/client/memory.h"
#include "spate/metainfo.h"
#include "spate/version.h"

void sp_client_cfg_init(struct sp_client_cfg *cfg)
{
    *cfg = (struct sp_client_cfg){
        .memory_bytes = 64 << 20,
        .conn_max = 1000,
        .torrent_conn_max = 250,
        .half_open_max = 50,
    };
}

/* ---- starting ---- */

enum sp_err sp_client_say(struct sp_diag *diag, enum sp_err err, const char *format, ...)
{
    char text[sizeof(diag->text)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return sp_diag_set(diag, err, 0, text);
}

/* Connections are only so many as there are descriptors: files have a quarter of
 * them (io/disk), trackers, listeners and the like some more. */
static void fit_descriptors(struct sp_client *c)
{
    enum { OTHERS = 160, FILES_MAX = 512, LEAST = 16 };
    struct rlimit lim;
    char text[SP_CLIENT_TEXT_LEN];

    if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
        return;
    lim.rlim_cur = lim.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &lim);
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur > UINT32_MAX)
        return;
    uint64_t all = lim.rlim_cur, files = all / 4 < FILES_MAX ? all / 4 : FILES_MAX;
    uint64_t room = all > files + OTHERS + LEAST ? all - files - OTHERS : LEAST;
    if (c->cfg.conn_max <= room)
        return;
    snprintf(text, sizeof(text),
             "%u connections need more descriptors than the system allows (%u):"
             " at most %u are made",
             c->cfg.conn_max, (unsigned)all, (unsigned)room);
    c->cfg.conn_max = (uint32_t)room;
    sp_client_warn(c, SP_ELIMIT, text);
}

static enum sp_err check_cfg(struct sp_client_cfg *cfg, struct sp_diag *diag)
{
    if (cfg->memory_bytes < 4 << 20)
        return sp_client_say(diag, SP_EINVAL, "memory: %s is the least", "4M");
    if (cfg->listen_count > SP_LISTEN_MAX)
        return sp_client_say(diag, SP_EINVAL, "listen: at most %s addresses", "8");
    if (cfg->conn_max == 0 || cfg->torrent_conn_max == 0 || cfg->half_open_max == 0)
        return sp_client_say(diag, SP_EINVAL, "connections: %s is none", "0");
    if (cfg->torrent_conn_max > 4000)
        cfg->torrent_conn_max = 4000;
    return SP_OK;
}

static enum sp_err take_proxy(struct sp_client *c, const char *text, struct sp_diag *diag)
{
    const char *why = NULL;
    struct sp_slice s = {(const uint8_t *)text, strlen(text)};
    struct sp_addr a;

    if (sp_proxy_parse(s, &c->env.proxy, &why) != SP_OK)
        return sp_client_say(diag, SP_EINVAL, "proxy: %s", why);
    const char *host = c->env.proxy.host;
    s = (struct sp_slice){(const uint8_t *)host, strlen(host)};
    if (c->cfg.interface && sp_addr_parse(s, false, &a) != SP_OK)
        return sp_client_say(diag, SP_EINVAL,
                             "proxy: with an interface it has to be an address, not '%.60s': its "
                             "name would be asked for elsewhere",
                             host);
    return SP_OK;
}

static char *copy(const char *text)
{
    return text ? strdup(text) : NULL;
}

static enum sp_err make_pools(struct sp_client *c, struct sp_diag *diag)
{
    struct sp_disk_cfg dc = {0};
    enum sp_err err = sp_disk_new(&dc, &c->env.disk);
    if (err == SP_OK)
        err = sp_hasher_new(NULL, &c->env.hasher);
    if (err != SP_OK)
        return sp_client_say(diag, err, "cannot start: %s", sp_err_text(err));
    if (c->cfg.state_dir) {
        struct sp_diag found = {0};
        err = sp_store_open(c->cfg.state_dir, &c->env.store, &found);
        if (err != SP_OK && diag)
            *diag = found;
        else if (err == SP_OK && found.text[0])
            sp_client_warn(c, found.err, found.text);
    }
    return err;
}

static enum sp_err start_reactors(struct sp_client *c, const struct sp_listeners *l,
                                  struct sp_diag *diag)
{
    uint64_t seed = c->cfg.seed, id_seed;
    struct sp_session_cfg sc = {
        .block_mem = sp_block_memory(),
        .client_name = "Spate " SP_VERSION,
        .listen_port = c->port,
        /* Shares follow with the first publishing. */
        .memory_bytes = c->cfg.memory_bytes,
        .down_Bps = c->cfg.down_Bps,
        .up_Bps = c->cfg.up_Bps,
        .conn_max = c->cfg.conn_max / c->reactor_count,
        .torrent_conn_max = c->cfg.torrent_conn_max,
        .half_open_max = (c->cfg.half_open_max + c->reactor_count - 1) / c->reactor_count,
        .upload_slots_max = c->cfg.upload_slots_max,
        .allow_local_peers = c->cfg.allow_local_peers,
        .no_pex = c->cfg.no_pex,
        .encryption = c->cfg.encryption,
        .utp = !c->cfg.no_utp && !c->env.proxy.kind,
        .no_tcp = c->cfg.no_tcp,
        .utp_id_modulo = (uint16_t)c->reactor_count,
    };
    struct sp_http_cfg hc = {.user_agent = c->user_agent,
                             .ca_file = c->cfg.ca_file,
                             .interface = c->cfg.interface,
                             .proxy = &c->env.proxy};
    if (getrandom(&id_seed, sizeof(id_seed), 0) != sizeof(id_seed) ||
        (!seed && getrandom(&seed, sizeof(seed), 0) != sizeof(seed)))
        return sp_client_say(diag, SP_EIO, "no randomness: %s", strerror(errno));
    struct sp_rng rng = sp_rng_of(seed);
    sp_rng_bytes(&rng, sc.secret, sizeof(sc.secret));
    memcpy(&c->env.print_key, sc.secret, sizeof(c->env.print_key));
    /* Never from the user's seed: two clients that share one must not take
     * each other for themselves. */
    struct sp_rng id_rng = sp_rng_of(id_seed);
    sp_peer_id_make(&id_rng, SP_VERSION_MAJOR, SP_VERSION_MINOR, SP_VERSION_PATCH, sc.peer_id);

    for (uint32_t i = 0; i < c->reactor_count; i++) {
        c->reactors[i] = calloc(1, sizeof(struct sp_reactor));
        if (!c->reactors[i])
            return sp_client_say(diag, SP_ENOMEM, "%s", sp_err_text(SP_ENOMEM));
    }
    for (uint32_t i = 0; i < c->reactor_count; i++) {
        sc.seed = sp_rng_u64(&rng);
        sp_rng_bytes(&rng, sc.mse_key, sizeof(sc.mse_key));
        if (!c->cfg.seed && getrandom(sc.mse_key, sizeof(sc.mse_key), 0) != sizeof(sc.mse_key))
            return sp_client_say(diag, SP_EIO, "no randomness: %s", strerror(errno));
        c->conns_dealt[i] = sc.conn_max - c->cfg.conn_max / (2 * c->reactor_count);
        sc.utp_id_of = (uint16_t)i;
        enum sp_err err = sp_reactor_start(c->reactors[i], &c->env, i, &sc, &hc, l->fds[i],
                                           l->count, l->udp4[i], l->udp6[i]);
        if (err != SP_OK)
            return sp_client_say(diag, err, "cannot start a reactor: %s", sp_err_text(err));
    }
    return SP_OK;
}

static uint32_t default_reactors(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > 4 ? 4 : (uint32_t)cores;
}

static void copy_cfg(struct sp_client *c, const struct sp_client_cfg *cfg)
{
    c->cfg = *cfg;
    c->cfg.state_dir = copy(cfg->state_dir);
    c->cfg.interface = copy(cfg->interface);
    c->cfg.ip_filters = NULL;
    c->cfg.proxy = NULL; /* env has it, taken apart */
    c->cfg.ca_file = copy(cfg->ca_file);
    for (uint32_t i = 0; i < cfg->listen_count && i < SP_LISTEN_MAX; i++)
        c->cfg.listen[i] = copy(cfg->listen[i]);
    snprintf(c->user_agent, sizeof(c->user_agent), "%s",
             cfg->user_agent ? cfg->user_agent : "Spate/" SP_VERSION);
    c->reactor_count = cfg->reactor_count ? cfg->reactor_count : default_reactors();
    if (c->reactor_count > REACTORS_MAX)
        c->reactor_count = REACTORS_MAX;
}

static enum sp_err init_sync(struct sp_client *c)
{
    pthread_condattr_t attr;
    c->last = &c->first;
    c->by_req2 = sp_map_of(sp_mem_libc());
    c->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->event_fd < 0 || pthread_mutex_init(&c->lock, NULL) != 0 ||
        pthread_condattr_init(&attr) != 0)
        return SP_ENOMEM;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    int rc = pthread_cond_init(&c->came, &attr);
    pthread_condattr_destroy(&attr);
    return rc == 0 ? SP_OK : SP_ENOMEM;
}

enum sp_err sp_client_new(const struct sp_client_cfg *cfg, struct sp_client **ret_client,
                          struct sp_diag *diag)
{
    struct sp_listeners l;
    struct sp_client *c = calloc(1, sizeof(*c));
    if (!c || init_sync(c) != SP_OK) {
        free(c);
        return sp_client_say(diag, SP_ENOMEM, "%s", sp_err_text(SP_ENOMEM));
    }
    copy_cfg(c, cfg);
    fit_descriptors(c);
    c->env = (struct sp_reactor_env){
        .reactors = c->reactors,
        .reactor_count = c->reactor_count,
        .interface = c->cfg.interface,
        .encryption = c->cfg.encryption,
        .find_skey = sp_client_find_skey,
        .event = sp_client_on_event,
        .publish = sp_client_on_publish,
        .ctx = c,
    };
    enum sp_err err = check_cfg(&c->cfg, diag);
    sp_client_init_listeners(&l);
    if (err == SP_OK && cfg->proxy)
        err = take_proxy(c, cfg->proxy, diag);
    bool hides = cfg->proxy && cfg->listen_count == 0; /* who hides is not to be reached directly */
    if (err == SP_OK && !hides)
        err = sp_client_listen(c, &l, diag);
    /* Multicast would go past a proxy. */
    if (!cfg->no_lsd && c->env.proxy.kind == SP_PROXY_NONE) {
        c->env.lsd_list = sp_client_lsd_list;
        c->env.lsd_heard = sp_client_lsd_heard;
    }
    if (err == SP_OK)
        err = make_pools(c, diag);
    if (err == SP_OK)
        err = start_reactors(c, &l, diag);
    else
        sp_client_close_listeners(c, &l);
    if (err == SP_OK && cfg->ip_filter_count &&
        sp_client_set_ip_filter(c, cfg->ip_filters, cfg->ip_filter_count, diag) != SP_OK)
        err = SP_EINVAL; /* a cfg value; diag says which */
    if (err != SP_OK) {
        sp_client_free(c);
        return err;
    }
    sp_client_start_portmap(c);
    char text[32];
    snprintf(text, sizeof(text), "port %u", c->port);
    struct sp_client_event ev = {.kind = SP_EV_LISTENING, .torrent = SP_TORRENT_NONE};
    memcpy(ev.text, text, sizeof(text));
    if (c->port)
        sp_client_push_event(c, &ev);
    *ret_client = c;
    return SP_OK;
}

/* Pools end after the reactors' loops, so that nothing is submitted any more,
 * and before the reactors' memory, which their last answers are posted to. */
void sp_client_free(struct sp_client *c)
{
    if (!c)
        return;
    sp_portmapper_free(c->portmapper); /* it posts to reactors */
    for (uint32_t i = 0; i < c->reactor_count; i++) {
        if (c->reactors[i])
            sp_reactor_end(c->reactors[i]);
    }
    sp_hasher_free(c->env.hasher, SP_HASHER_CANCEL);
    for (uint32_t i = 0; i < c->reactor_count; i++) {
        if (c->reactors[i])
            sp_reactor_close_storages(c->reactors[i]);
    }
    sp_disk_free(c->env.disk);
    sp_store_close(c->env.store);
    for (uint32_t i = 0; i < c->reactor_count; i++) {
        if (c->reactors[i])
            sp_reactor_free(c->reactors[i]);
    }
    sp_client_drop_events(c);
    for (uint32_t i = 0; i < SP_LISTEN_MAX; i++)
        free((void *)(uintptr_t)c->cfg.listen[i]);
    free((void *)(uintptr_t)c->cfg.state_dir);
    free((void *)(uintptr_t)c->cfg.interface);
    free((void *)(uintptr_t)c->cfg.ca_file);
    free(c->held);
    free(c->hashes);
    sp_map_done(&c->by_req2);
    close(c->event_fd);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->came);
    free(c);
}

void sp_client_set_limits(struct sp_client *c, uint64_t down_Bps, uint64_t up_Bps)
{
    /* Reactors take their shares of it when they publish next. */
    pthread_mutex_lock(&c->lock);
    c->cfg.down_Bps = down_Bps;
    c->cfg.up_Bps = up_Bps;
    pthread_mutex_unlock(&c->lock);
}

uint16_t sp_client_port(const struct sp_client *c)
{
    return c->port;
}
