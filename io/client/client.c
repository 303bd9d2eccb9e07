/* The public client: reactors, pools and the store put together; commands
 * posted, events queued, snapshots published. */
#include "spate/client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/base/rng.h"
#include "core/wire/peer_id.h"
#include "io/client/client.h"
#include "io/client/memory.h"
#include "spate/metainfo.h"
#include "spate/version.h"

enum {
    REACTORS_MAX = 16,
    EVENTS_MAX = 4096,
    PORT_FIRST = 6881,
    PORT_TRIES = 32,
    PEERS_SHOWN_MAX = 1000,
    TRACKERS_SHOWN_MAX = 256,
};

struct queued {
    struct queued *next;
    struct sp_client_event ev;
};

struct sp_client {
    struct sp_client_cfg cfg;
    struct sp_reactor_env env;
    struct sp_reactor *reactors[REACTORS_MAX];
    uint32_t reactor_count;
    uint16_t port;
    char user_agent[64];

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t came;
    int event_fd;
    struct queued *first, **last;
    uint32_t queued_count;
    uint32_t stopped_count; /* reactors that have told SP_EV_STOPPED */
    bool stopped_given;
    bool stop_asked;
    /* Torrents by id; slots are not used again. */
    struct sp_held **held;
    uint8_t (*hashes)[SP_SHA1_LEN];
    uint32_t held_count, held_cap;
    struct sp_client_totals totals[REACTORS_MAX];
};

void sp_client_cfg_init(struct sp_client_cfg *cfg)
{
    *cfg = (struct sp_client_cfg){
        .memory_bytes = 64 << 20,
        .conn_max = 1000,
        .torrent_conn_max = 250,
        .half_open_max = 50,
    };
}

/* ---- events ---- */

static void push_event(struct sp_client *c, const struct sp_client_event *ev)
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

static void on_event(void *ctx, const struct sp_client_event *ev)
{
    struct sp_client *c = ctx;
    if (ev->kind == SP_EV_STOPPED) {
        pthread_mutex_lock(&c->lock);
        bool all = ++c->stopped_count == c->reactor_count;
        pthread_mutex_unlock(&c->lock);
        if (!all)
            return;
    }
    push_event(c, ev);
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

/* ---- publishing: copies for other threads, made on the reactor ---- */

static void publish_trackers(struct sp_reactor *r, struct sp_held *h)
{
    struct sp_tracker_info infos[TRACKERS_SHOWN_MAX];
    sp_time_ns now = sp_reactor_now(r);
    uint32_t n =
        sp_trackers_info(sp_session_trackers(r->session), h->id, infos, TRACKERS_SHOWN_MAX);
    if (n > TRACKERS_SHOWN_MAX)
        n = TRACKERS_SHOWN_MAX;
    if (n && !h->trackers_out)
        h->trackers_out = calloc(TRACKERS_SHOWN_MAX, sizeof(*h->trackers_out));
    for (uint32_t i = 0; h->trackers_out && i < n; i++) {
        struct sp_client_tracker *to = &h->trackers_out[i];
        const struct sp_tracker_info *from = &infos[i];
        snprintf(to->url, sizeof(to->url), "%s", from->url);
        snprintf(to->status, sizeof(to->status), "%s%s%s", sp_tracker_state_name(from->state),
                 from->message[0] ? ": " : "", from->message);
        to->tier = from->tier;
        to->seeds = from->seeds;
        to->leechers = from->leechers;
        to->peers = from->peers_got;
        to->next_announce_s =
            from->next_announce_at == SP_TIME_NEVER || from->next_announce_at < now
                ? 0
                : (uint32_t)((from->next_announce_at - now) / SP_SECOND_NS);
    }
    h->trackers_out_count = h->trackers_out ? n : 0;
}

static void publish_held(struct sp_reactor *r, struct sp_held *h, sp_time_ns now)
{
    struct sp_torrent_stats stats;
    if (h->removing || sp_held_stats(h, now, &stats) != SP_OK)
        return;
    stats.durable_bytes = h->durable_bytes;
    if (stats.state == SP_TORRENT_CHECKING)
        stats.checked_bytes =
            (uint64_t)atomic_load(&h->disk_job.check.pieces_done) * h->mi->piece_length;
    pthread_mutex_lock(&h->lock);
    h->stats_out = stats;
    if (h->watched) {
        const struct sp_bits *have = sp_torrent_have(r->session, h->id);
        if (!h->peers_out && (h->peers_out = calloc(PEERS_SHOWN_MAX, sizeof(*h->peers_out))))
            h->peers_out_cap = PEERS_SHOWN_MAX;
        h->peers_out_count =
            sp_torrent_peers(r->session, h->id, now, h->peers_out, h->peers_out_cap);
        publish_trackers(r, h);
        if (have)
            memcpy(h->have_out.bytes, have->bytes, sp_bits_room(have->count));
    }
    pthread_mutex_unlock(&h->lock);
}

/* What a reactor may use of what the client has: rates by where the peers
 * are, memory by where the torrents are. */
struct share {
    uint64_t down_Bps, up_Bps, memory_bytes;
};

static uint64_t part(uint64_t whole, uint32_t mine, uint32_t all, uint32_t reactors)
{
    if (whole == 0 || reactors == 1)
        return whole;
    uint64_t n = mine ? whole * mine / all : whole / reactors;
    return n ? n : 1;
}

/* With the lock held. */
static struct share share_of(const struct sp_client *c, uint32_t ix)
{
    uint32_t peers = 0, torrents = 0, n = c->reactor_count;
    for (uint32_t i = 0; i < n; i++) {
        peers += c->totals[i].peers;
        torrents += c->totals[i].torrents;
    }
    uint32_t my_peers = c->totals[ix].peers, my_torrents = c->totals[ix].torrents;
    return (struct share){
        .down_Bps = part(c->cfg.down_Bps, my_peers, peers, n),
        .up_Bps = part(c->cfg.up_Bps, my_peers, peers, n),
        .memory_bytes = part(c->cfg.memory_bytes, my_torrents, torrents, n),
    };
}

static void take_share(struct sp_reactor *r, const struct share *share, sp_time_ns now)
{
    if (share->down_Bps != r->down_Bps || share->up_Bps != r->up_Bps) {
        r->down_Bps = share->down_Bps;
        r->up_Bps = share->up_Bps;
        sp_session_set_limits(r->session, r->down_Bps, r->up_Bps, now);
    }
    if (share->memory_bytes != r->memory_bytes) {
        r->memory_bytes = share->memory_bytes;
        sp_session_set_memory(r->session, r->memory_bytes, now);
    }
}

static void on_publish(void *ctx, struct sp_reactor *r, struct sp_held *h)
{
    struct sp_client *c = ctx;
    sp_time_ns now = sp_reactor_now(r);
    struct sp_client_totals totals;

    if (h) {
        publish_held(r, h, now);
        return;
    }
    for (struct sp_link *l = r->held.ends.next; l != &r->held.ends; l = l->next)
        publish_held(r, SP_CONTAINER(l, struct sp_held, link), now);
    sp_session_totals(r->session, now, &totals);
    pthread_mutex_lock(&c->lock);
    c->totals[r->ix] = totals;
    struct share share = share_of(c, r->ix);
    pthread_mutex_unlock(&c->lock);
    take_share(r, &share, now);
}

/* ---- starting ---- */

SP_PRINTF(3, 4)
static enum sp_err say(struct sp_diag *diag, enum sp_err err, const char *format, ...)
{
    char text[sizeof(diag->text)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return sp_diag_set(diag, err, 0, text);
}

static void raise_fd_limit(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
        return;
    lim.rlim_cur = lim.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &lim);
}

struct listen_fds {
    int fds[REACTORS_MAX][2 * SP_LISTEN_MAX];
    uint32_t count; /* per reactor */
};

static void close_listeners(struct sp_client *c, const struct listen_fds *l)
{
    for (uint32_t r = 0; r < c->reactor_count; r++) {
        for (uint32_t i = 0; i < l->count; i++)
            close(l->fds[r][i]);
    }
}

/* One address on every reactor; the first decides on a free port. */
static bool listen_on(struct sp_client *c, struct listen_fds *l, struct sp_addr *a)
{
    for (uint32_t r = 0; r < c->reactor_count; r++) {
        int fd = sp_tcp_listen(a, c->cfg.interface, &a->port);
        if (fd < 0) {
            int err = errno;
            while (r-- > 0)
                close(l->fds[r][l->count]);
            errno = err;
            return false;
        }
        l->fds[r][l->count] = fd;
    }
    l->count++;
    return true;
}

/* "ADDR:PORT", "[V6]:PORT", ":PORT"; port 0 is allowed. */
static bool parse_listen(const char *text, struct sp_addr *ret)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    char *end;
    if (!colon || !colon[1] || (size_t)(colon - text) >= sizeof(host))
        return false;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (*end || port > 65535)
        return false;
    size_t n = (size_t)(colon - text);
    memcpy(host, text, n);
    host[n] = '\0';
    if (n == 0)
        memcpy(host, "0.0.0.0", 8);
    if (strcmp(host, "localhost") == 0)
        memcpy(host, "127.0.0.1", 10);
    if (sp_addr_parse((struct sp_slice){(const uint8_t *)host, strlen(host)}, false, ret) != SP_OK)
        return false;
    ret->port = (uint16_t)port;
    return true;
}

static enum sp_err listen_as_told(struct sp_client *c, struct listen_fds *l, struct sp_diag *diag)
{
    for (uint32_t i = 0; i < c->cfg.listen_count; i++) {
        struct sp_addr a;
        if (!parse_listen(c->cfg.listen[i], &a))
            return say(diag, SP_EINVAL, "listen: '%s' is not ADDRESS:PORT", c->cfg.listen[i]);
        if (sp_tcp_port_is_taken(&a) || !listen_on(c, l, &a))
            return say(diag, SP_ENET, "cannot listen on %s: %s", c->cfg.listen[i], strerror(errno));
        if (!c->port)
            c->port = a.port;
    }
    return SP_OK;
}

static enum sp_err listen_default(struct sp_client *c, struct listen_fds *l, struct sp_diag *diag)
{
    static const uint8_t any[16];
    for (uint16_t i = 0; i < PORT_TRIES; i++) {
        struct sp_addr a4 = sp_addr_v4(any, (uint16_t)(PORT_FIRST + i));
        struct sp_addr a6 = {.family = SP_V6, .port = a4.port};
        if (sp_tcp_port_is_taken(&a4) || sp_tcp_port_is_taken(&a6))
            continue;
        bool v4 = listen_on(c, l, &a4), v6 = listen_on(c, l, &a6);
        if (v4 || v6) {
            c->port = a4.port;
            return SP_OK;
        }
    }
    return say(diag, SP_ENET, "no port from 6881 on is free: %s", strerror(errno));
}

static enum sp_err check_cfg(struct sp_client_cfg *cfg, struct sp_diag *diag)
{
    if (cfg->memory_bytes < 4 << 20)
        return say(diag, SP_EINVAL, "memory: %s is the least", "4M");
    if (cfg->listen_count > SP_LISTEN_MAX)
        return say(diag, SP_EINVAL, "listen: at most %s addresses", "8");
    if (cfg->conn_max == 0 || cfg->torrent_conn_max == 0 || cfg->half_open_max == 0)
        return say(diag, SP_EINVAL, "connections: %s is none", "0");
    if (cfg->torrent_conn_max > 4000)
        cfg->torrent_conn_max = 4000;
    return SP_OK;
}

static char *copy(const char *text)
{
    return text ? strdup(text) : NULL;
}

static void warn(struct sp_client *c, enum sp_err err, const char *text)
{
    struct sp_client_event ev = {.kind = SP_EV_WARNING, .torrent = SP_TORRENT_NONE, .err = err};
    snprintf(ev.text, sizeof(ev.text), "%s", text);
    push_event(c, &ev);
}

static enum sp_err make_pools(struct sp_client *c, struct sp_diag *diag)
{
    struct sp_disk_cfg dc = {0};
    enum sp_err err = sp_disk_new(&dc, &c->env.disk);
    if (err == SP_OK)
        err = sp_hasher_new(NULL, &c->env.hasher);
    if (err != SP_OK)
        return say(diag, err, "cannot start: %s", sp_err_text(err));
    if (c->cfg.state_dir) {
        struct sp_diag found = {0};
        err = sp_store_open(c->cfg.state_dir, &c->env.store, &found);
        if (err != SP_OK && diag)
            *diag = found;
        else if (err == SP_OK && found.text[0])
            warn(c, found.err, found.text);
    }
    return err;
}

static enum sp_err start_reactors(struct sp_client *c, const struct listen_fds *l,
                                  struct sp_diag *diag)
{
    uint64_t seed = c->cfg.seed;
    struct sp_session_cfg sc = {
        .block_mem = sp_block_memory(),
        .client_name = "Spate " SP_VERSION,
        .listen_port = c->port,
        /* Shares follow with the first publishing. */
        .memory_bytes = c->cfg.memory_bytes,
        .down_Bps = c->cfg.down_Bps,
        .up_Bps = c->cfg.up_Bps,
        .conn_max = c->cfg.conn_max,
        .torrent_conn_max = c->cfg.torrent_conn_max,
        .half_open_max = c->cfg.half_open_max,
        .upload_slots_max = c->cfg.upload_slots_max,
        .allow_local_peers = c->cfg.allow_local_peers,
    };
    struct sp_http_cfg hc = {
        .user_agent = c->user_agent, .ca_file = c->cfg.ca_file, .interface = c->cfg.interface};
    if (!seed && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        return say(diag, SP_EIO, "no randomness: %s", strerror(errno));
    struct sp_rng rng = sp_rng_of(seed);
    sp_rng_bytes(&rng, sc.secret, sizeof(sc.secret));
    memcpy(&c->env.print_key, sc.secret, sizeof(c->env.print_key));
    sp_peer_id_make(&rng, SP_VERSION_MAJOR, SP_VERSION_MINOR, SP_VERSION_PATCH, sc.peer_id);

    for (uint32_t i = 0; i < c->reactor_count; i++) {
        c->reactors[i] = calloc(1, sizeof(struct sp_reactor));
        if (!c->reactors[i])
            return say(diag, SP_ENOMEM, "%s", sp_err_text(SP_ENOMEM));
    }
    for (uint32_t i = 0; i < c->reactor_count; i++) {
        sc.seed = sp_rng_u64(&rng);
        enum sp_err err =
            sp_reactor_start(c->reactors[i], &c->env, i, &sc, &hc, l->fds[i], l->count);
        if (err != SP_OK)
            return say(diag, err, "cannot start a reactor: %s", sp_err_text(err));
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
    struct listen_fds l = {.count = 0};
    struct sp_client *c = calloc(1, sizeof(*c));
    if (!c || init_sync(c) != SP_OK) {
        free(c);
        return say(diag, SP_ENOMEM, "%s", sp_err_text(SP_ENOMEM));
    }
    copy_cfg(c, cfg);
    raise_fd_limit();
    c->env = (struct sp_reactor_env){
        .reactors = c->reactors,
        .reactor_count = c->reactor_count,
        .interface = c->cfg.interface,
        .event = on_event,
        .publish = on_publish,
        .ctx = c,
    };
    enum sp_err err = check_cfg(&c->cfg, diag);
    if (err == SP_OK && !cfg->no_listen)
        err = cfg->listen_count ? listen_as_told(c, &l, diag) : listen_default(c, &l, diag);
    if (err == SP_OK)
        err = make_pools(c, diag);
    if (err == SP_OK)
        err = start_reactors(c, &l, diag);
    else
        close_listeners(c, &l);
    if (err != SP_OK) {
        sp_client_free(c);
        return err;
    }
    char text[32];
    snprintf(text, sizeof(text), "port %u", c->port);
    struct sp_client_event ev = {.kind = SP_EV_LISTENING, .torrent = SP_TORRENT_NONE};
    memcpy(ev.text, text, sizeof(text));
    if (c->port)
        push_event(c, &ev);
    *ret_client = c;
    return SP_OK;
}

/* Pools end after the reactors' loops, so that nothing is submitted any more,
 * and before the reactors' memory, which their last answers are posted to. */
void sp_client_free(struct sp_client *c)
{
    if (!c)
        return;
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
    for (struct queued *q = c->first, *next; q; q = next) {
        next = q->next;
        free(q);
    }
    for (uint32_t i = 0; i < SP_LISTEN_MAX; i++)
        free((void *)(uintptr_t)c->cfg.listen[i]);
    free((void *)(uintptr_t)c->cfg.state_dir);
    free((void *)(uintptr_t)c->cfg.interface);
    free((void *)(uintptr_t)c->cfg.ca_file);
    free(c->held);
    free(c->hashes);
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

/* ---- torrents by number ---- */

struct sp_reactor *sp_client_reactor(struct sp_client *c, uint32_t ix)
{
    return c->reactors[ix];
}

uint32_t sp_client_reactor_count(const struct sp_client *c)
{
    return c->reactor_count;
}

static struct sp_reactor *owner(struct sp_client *c, const uint8_t *info_hash)
{
    return c->reactors[info_hash[SP_SHA1_LEN - 1] % c->reactor_count];
}

struct sp_reactor *sp_client_reactor_of(struct sp_client *c, sp_torrent_id torrent)
{
    struct sp_reactor *r = NULL;
    pthread_mutex_lock(&c->lock);
    if (torrent < c->held_count && c->held[torrent])
        r = owner(c, c->hashes[torrent]);
    pthread_mutex_unlock(&c->lock);
    return r;
}

static enum sp_err enter(struct sp_client *c, struct sp_held *h, sp_torrent_id *ret_torrent)
{
    for (uint32_t i = 0; i < c->held_count; i++) {
        if (c->held[i] && memcmp(c->hashes[i], h->mi->info_hash_v1, SP_SHA1_LEN) == 0)
            return SP_EEXIST;
    }
    if (c->held_count == c->held_cap) {
        uint32_t cap = c->held_cap ? c->held_cap * 2 : 16;
        struct sp_held **held = realloc(c->held, cap * sizeof(*held));
        if (held)
            c->held = held;
        uint8_t(*hashes)[SP_SHA1_LEN] = held ? realloc(c->hashes, cap * sizeof(*hashes)) : NULL;
        if (!hashes)
            return SP_ENOMEM;
        c->hashes = hashes;
        c->held_cap = cap;
    }
    *ret_torrent = c->held_count;
    c->held[c->held_count] = h;
    memcpy(c->hashes[c->held_count], h->mi->info_hash_v1, SP_SHA1_LEN);
    c->held_count++;
    return SP_OK;
}

enum sp_err sp_client_enter(struct sp_client *c, struct sp_held *h, sp_torrent_id *ret_torrent)
{
    pthread_mutex_lock(&c->lock);
    enum sp_err err = enter(c, h, ret_torrent);
    pthread_mutex_unlock(&c->lock);
    return err;
}

void sp_client_forget(struct sp_client *c, sp_torrent_id torrent)
{
    pthread_mutex_lock(&c->lock);
    if (torrent < c->held_count)
        c->held[torrent] = NULL;
    pthread_mutex_unlock(&c->lock);
}

struct sp_held *sp_client_lock_held(const struct sp_client *c, sp_torrent_id torrent)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&c->lock;
    pthread_mutex_lock(lock);
    struct sp_held *h = torrent < c->held_count ? c->held[torrent] : NULL;
    if (!h) {
        pthread_mutex_unlock(lock);
        return NULL;
    }
    pthread_mutex_lock(&h->lock);
    return h;
}

void sp_client_unlock_held(const struct sp_client *c, struct sp_held *h)
{
    pthread_mutex_unlock(&h->lock);
    pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&c->lock);
}

void sp_client_totals(const struct sp_client *c, struct sp_client_totals *ret_totals)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&c->lock;
    *ret_totals = (struct sp_client_totals){0};
    pthread_mutex_lock(lock);
    for (uint32_t i = 0; i < c->reactor_count; i++) {
        const struct sp_client_totals *t = &c->totals[i];
        ret_totals->down_Bps += t->down_Bps;
        ret_totals->up_Bps += t->up_Bps;
        ret_totals->downloaded_bytes += t->downloaded_bytes;
        ret_totals->uploaded_bytes += t->uploaded_bytes;
        ret_totals->torrents += t->torrents;
        ret_totals->peers += t->peers;
        ret_totals->memory_used_bytes += t->memory_used_bytes;
        ret_totals->memory_budget_bytes += t->memory_budget_bytes;
    }
    pthread_mutex_unlock(lock);
}
