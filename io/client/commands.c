/* Commands of the public client, posted to the reactor that owns the torrent,
 * and the copies it hands out. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "io/client/client.h"
#include "io/client/memory.h"
#include "spate/metainfo.h"

enum { STOP_LOOK_MS = 50 };

/* ---- posting ---- */

enum command_kind {
    CMD_ADD,
    CMD_REMOVE,
    CMD_PAUSE,
    CMD_RESUME,
    CMD_RECHECK,
    CMD_REANNOUNCE,
    CMD_ADD_PEER,
    CMD_PRIORITIES,
    CMD_TORRENT_LIMITS,
    CMD_STOP,
};

struct command {
    struct sp_post post;
    enum command_kind kind;
    sp_torrent_id torrent;
    struct sp_held *held; /* ADD: taken */
    bool delete_data;
    uint64_t down_Bps, up_Bps;
    uint8_t *priorities;
    uint32_t file_count;
    char *peer;
};

static void run_stop(struct sp_reactor *r, sp_time_ns now)
{
    if (r->stopping)
        return;
    r->stopping = true;
    r->stop_at = now;
    sp_session_stop(r->session, now);
    /* How far it is is looked at when publishing. */
    uv_timer_set_repeat(&r->publish, STOP_LOOK_MS);
    uv_timer_again(&r->publish);
}

static void run_command(struct sp_reactor *r, struct sp_post *post)
{
    struct command *c = SP_CONTAINER(post, struct command, post);
    struct sp_held *h = c->kind == CMD_ADD ? NULL : sp_reactor_find(r, c->torrent);
    sp_time_ns now = sp_reactor_now(r);

    switch (c->kind) {
    case CMD_ADD:
        sp_held_add(r, c->held);
        break;
    case CMD_REMOVE:
        if (h)
            sp_held_remove(h, c->delete_data);
        break;
    case CMD_PAUSE:
        sp_torrent_pause(r->session, c->torrent, now);
        break;
    case CMD_RESUME:
        sp_torrent_resume(r->session, c->torrent, now);
        break;
    case CMD_RECHECK:
        if (h)
            sp_held_recheck(h);
        break;
    case CMD_REANNOUNCE:
        sp_trackers_reannounce(sp_session_trackers(r->session), c->torrent, now);
        break;
    case CMD_ADD_PEER:
        sp_resolve_peer(r, c->torrent, c->peer);
        break;
    case CMD_PRIORITIES:
        if (h && h->mi && c->file_count == h->mi->file_count)
            sp_held_select(h, c->priorities);
        break;
    case CMD_TORRENT_LIMITS:
        sp_torrent_set_limits(r->session, c->torrent, c->down_Bps, c->up_Bps, now);
        break;
    case CMD_STOP:
        run_stop(r, now);
        break;
    }
    free(c->priorities);
    free(c->peer);
    free(c);
}

static struct command *command(enum command_kind kind, sp_torrent_id torrent)
{
    struct command *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->post.run = run_command;
    c->kind = kind;
    c->torrent = torrent;
    return c;
}

/* To the reactor of the torrent; dropped when there is no such torrent. */
static void post(struct sp_client *cl, struct command *c)
{
    if (!c)
        return; /* out of memory: the command is lost, the state stays */
    struct sp_reactor *r = sp_client_reactor_of(cl, c->torrent);
    if (r) {
        sp_reactor_post(r, &c->post);
        return;
    }
    free(c->priorities);
    free(c->peer);
    free(c);
}

void sp_client_remove(struct sp_client *cl, sp_torrent_id torrent, bool delete_data)
{
    struct command *c = command(CMD_REMOVE, torrent);
    struct sp_reactor *r = sp_client_reactor_of(cl, torrent);
    if (!c || !r) {
        free(c);
        return;
    }
    c->delete_data = delete_data;
    sp_client_forget(cl, torrent); /* nobody looks at it when its reactor frees it */
    sp_reactor_post(r, &c->post);
}

void sp_client_pause(struct sp_client *cl, sp_torrent_id torrent)
{
    post(cl, command(CMD_PAUSE, torrent));
}

void sp_client_resume(struct sp_client *cl, sp_torrent_id torrent)
{
    post(cl, command(CMD_RESUME, torrent));
}

void sp_client_recheck(struct sp_client *cl, sp_torrent_id torrent)
{
    post(cl, command(CMD_RECHECK, torrent));
}

void sp_client_reannounce(struct sp_client *cl, sp_torrent_id torrent)
{
    post(cl, command(CMD_REANNOUNCE, torrent));
}

void sp_client_add_peer(struct sp_client *cl, sp_torrent_id torrent, const char *host_port)
{
    struct command *c = command(CMD_ADD_PEER, torrent);
    if (c)
        c->peer = strdup(host_port);
    if (c && !c->peer) {
        free(c);
        return;
    }
    post(cl, c);
}

void sp_client_set_priorities(struct sp_client *cl, sp_torrent_id torrent,
                              const uint8_t *priorities, uint32_t file_count)
{
    struct command *c = command(CMD_PRIORITIES, torrent);
    if (c && (c->priorities = malloc(file_count ? file_count : 1)))
        memcpy(c->priorities, priorities, file_count);
    if (c && !c->priorities) {
        free(c);
        return;
    }
    if (c)
        c->file_count = file_count;
    post(cl, c);
}

void sp_client_set_torrent_limits(struct sp_client *cl, sp_torrent_id torrent, uint64_t down_Bps,
                                  uint64_t up_Bps)
{
    struct command *c = command(CMD_TORRENT_LIMITS, torrent);
    if (c) {
        c->down_Bps = down_Bps;
        c->up_Bps = up_Bps;
    }
    post(cl, c);
}

void sp_client_stop(struct sp_client *cl)
{
    uint32_t n = sp_client_reactor_count(cl);
    for (uint32_t i = 0; i < n; i++) {
        struct command *c = command(CMD_STOP, SP_TORRENT_NONE);
        if (c)
            sp_reactor_post(sp_client_reactor(cl, i), &c->post);
    }
    sp_client_stop_portmap(cl);
}

/* ---- adding ---- */

static enum sp_err say(struct sp_diag *diag, enum sp_err err, const char *what, const char *text)
{
    char line[sizeof(diag->text)];
    snprintf(line, sizeof(line), "%s%s", what, text);
    return sp_diag_set(diag, err, 0, line);
}

static bool is_local_host(struct sp_slice host)
{
    struct sp_addr a;
    if (host.len == 9 && memcmp(host.ptr, "localhost", 9) == 0)
        return true;
    return sp_addr_parse(host, false, &a) == SP_OK && sp_addr_scope(&a) != SP_SCOPE_GLOBAL;
}

/* The host part of a tracker's URL, without brackets. */
static struct sp_slice host_of(const char *url)
{
    const char *at = strstr(url, "://");
    at = at ? at + 3 : url;
    size_t n = strcspn(at, "/?#");
    const char *user = memchr(at, '@', n);
    if (user) {
        n -= (size_t)(user + 1 - at);
        at = user + 1;
    }
    if (n && *at == '[') {
        const char *close = memchr(at, ']', n);
        return (struct sp_slice){(const uint8_t *)at + 1, close ? (size_t)(close - at) - 1 : 0};
    }
    const char *colon = memchr(at, ':', n);
    return (struct sp_slice){(const uint8_t *)at, colon ? (size_t)(colon - at) : n};
}

/* A torrent may name a tracker in the local network, as people do who share
 * there, but not make us send arbitrary requests to its other services.
 * Custom: seen in libtorrent (ssrf_mitigation): the path has to be /announce. */
static bool may_be_local(const char *url)
{
    return strncmp(url, "udp:", 4) == 0 || strstr(url, "/announce") != NULL;
}

static enum sp_err add_tracker(struct sp_held *h, const char *url, uint32_t tier, bool by_user)
{
    struct sp_tracker_url *u = &h->trackers[h->tracker_count];
    char *own = strdup(url);
    if (!own)
        return SP_ENOMEM;
    u->url = (struct sp_slice){(const uint8_t *)own, strlen(own)};
    u->tier = tier > UINT8_MAX ? UINT8_MAX : (uint8_t)tier;
    u->named_by_user = by_user || may_be_local(url);
    if (is_local_host(host_of(url)))
        h->local_peers = true;
    h->tracker_count++;
    return SP_OK;
}

static enum sp_err copy_trackers(struct sp_held *h, const struct sp_client_add *add)
{
    const struct sp_metainfo_tracker *own = h->mi ? h->mi->trackers : add->magnet->trackers;
    uint32_t own_count = h->mi ? h->mi->tracker_count : add->magnet->tracker_count;
    uint32_t count = own_count + add->tracker_count;
    h->trackers = calloc(count ? count : 1, sizeof(*h->trackers));
    enum sp_err err = h->trackers ? SP_OK : SP_ENOMEM;
    for (uint32_t i = 0; err == SP_OK && i < own_count; i++)
        err = add_tracker(h, own[i].url, own[i].tier, false);
    uint32_t base = own_count ? own[own_count - 1].tier + 1 : 0;
    for (uint32_t i = 0; err == SP_OK && i < add->tracker_count; i++)
        err = add_tracker(h, add->trackers[i].url, base + add->trackers[i].tier, true);
    return err;
}

static enum sp_err add_web_seed(struct sp_held *h, const char *url, bool by_user)
{
    char *own = strdup(url);
    if (!own)
        return SP_ENOMEM;
    h->webs[h->web_count++] = (struct sp_session_web){.url = own, .named_by_user = by_user};
    return SP_OK;
}

/* The torrent's own are in its metainfo. */
static enum sp_err copy_web_seeds(struct sp_held *h, const struct sp_client_add *add,
                                  struct sp_diag *diag)
{
    enum sp_err err = SP_OK;
    uint32_t of_magnet = add->magnet ? add->magnet->web_seed_count : 0;
    h->webs = calloc(add->web_seed_count + of_magnet + 1, sizeof(*h->webs));
    if (!h->webs)
        return SP_ENOMEM;
    for (uint32_t i = 0; err == SP_OK && i < of_magnet; i++)
        err = add_web_seed(h, add->magnet->web_seeds[i], false);
    for (uint32_t i = 0; err == SP_OK && i < add->web_seed_count; i++) {
        if (strncasecmp(add->web_seeds[i], "http://", 7) != 0 &&
            strncasecmp(add->web_seeds[i], "https://", 8) != 0)
            return say(diag, SP_EINVAL, "web seed is no http or https URL: ", add->web_seeds[i]);
        err = add_web_seed(h, add->web_seeds[i], true);
    }
    return err;
}

/* x.pe of a magnet: named by the user, who typed it. */
static enum sp_err add_node(struct sp_held *h, const struct sp_metainfo_node *node)
{
    struct sp_slice host = {(const uint8_t *)node->host, strlen(node->host)};
    struct sp_addr *a = &h->peers[h->peer_count];
    if (sp_addr_parse(host, false, a) == SP_OK) {
        a->port = node->port;
        h->peer_count++;
        return SP_OK;
    }
    if (asprintf(&h->peer_names[h->peer_name_count], "%s:%u", node->host, node->port) < 0) {
        h->peer_names[h->peer_name_count] = NULL;
        return SP_ENOMEM;
    }
    h->peer_name_count++;
    return SP_OK;
}

static enum sp_err copy_peers(struct sp_held *h, const struct sp_client_add *add,
                              struct sp_diag *diag)
{
    uint32_t count = add->peer_count + (add->magnet ? add->magnet->peer_count : 0);
    h->peers = calloc(count + 1, sizeof(*h->peers));
    h->peer_names = calloc(count + 1, sizeof(*h->peer_names));
    if (!h->peers || !h->peer_names)
        return SP_ENOMEM;
    for (uint32_t i = 0; add->magnet && i < add->magnet->peer_count; i++) {
        enum sp_err err = add_node(h, &add->magnet->peers[i]);
        if (err != SP_OK)
            return err;
    }
    for (uint32_t i = 0; i < add->peer_count; i++) {
        const char *text = add->peers[i], *colon = strrchr(text, ':');
        struct sp_slice s = {(const uint8_t *)text, strlen(text)};
        if (sp_addr_parse(s, true, &h->peers[h->peer_count]) == SP_OK) {
            h->peer_count++;
            continue;
        }
        long port = colon ? strtol(colon + 1, NULL, 10) : 0;
        if (!colon || colon == text || port < 1 || port > 65535 || s.len > 255)
            return say(diag, SP_EINVAL, "peer is not HOST:PORT: ", text);
        if (!(h->peer_names[h->peer_name_count] = strdup(text)))
            return SP_ENOMEM;
        h->peer_name_count++;
    }
    return SP_OK;
}

/* Resume state names the place by its absolute path. */
static char *absolute(const char *dir)
{
    char cwd[PATH_MAX], *full = NULL;
    char *real = realpath(dir, NULL);
    if (real)
        return real;
    if (dir[0] == '/')
        return strdup(dir);
    if (!getcwd(cwd, sizeof(cwd)) || asprintf(&full, "%s/%s", cwd, dir) < 0)
        return NULL;
    return full;
}

static enum sp_err take_magnet(struct sp_held *h, const struct sp_client_add *add,
                               struct sp_diag *diag)
{
    const struct sp_magnet *magnet = add->magnet;
    const struct sp_file_range *ranges = add->range_count ? add->ranges : magnet->ranges;
    uint32_t count = add->range_count ? add->range_count : magnet->range_count;
    if (!magnet->has_v1)
        return say(diag, SP_EDATA,
                   "the magnet names a version 2 torrent alone (btmh), which is not ",
                   "supported yet");
    memcpy(h->info_hash, magnet->info_hash_v1, SP_SHA1_LEN);
    if (count == 0)
        return SP_OK;
    h->ranges = calloc(count, sizeof(*ranges));
    if (!h->ranges)
        return SP_ENOMEM;
    memcpy(h->ranges, ranges, count * sizeof(*ranges));
    h->range_count = count;
    return SP_OK;
}

static enum sp_err take_metainfo(struct sp_held *h, const struct sp_client_add *add,
                                 struct sp_diag *diag)
{
    enum sp_err err = SP_OK;
    h->mi_is_borrowed = add->keeps_metainfo;
    if (add->keeps_metainfo)
        h->mi = (struct sp_metainfo *)(uintptr_t)add->metainfo; /* only read */
    else
        err = sp_metainfo_parse(sp_mem_libc(), add->metainfo->raw, NULL, &h->mi, diag);
    if (err != SP_OK)
        return err;
    memcpy(h->info_hash, h->mi->info_hash_v1, SP_SHA1_LEN);
    if (add->priorities) {
        h->priorities = malloc(h->mi->file_count);
        if (!h->priorities)
            return SP_ENOMEM;
        memcpy(h->priorities, add->priorities, h->mi->file_count);
    }
    return sp_held_make_bits(h, h->mi->piece_count);
}

static enum sp_err make_held(const struct sp_client_add *add, struct sp_held *h,
                             struct sp_diag *diag)
{
    if (!add->magnet && !add->metainfo)
        return say(diag, SP_EINVAL, "neither a torrent nor a magnet is given", "");
    enum sp_err err = add->magnet ? take_magnet(h, add, diag) : take_metainfo(h, add, diag);
    if (err != SP_OK)
        return err;
    if (pthread_mutex_init(&h->lock, NULL) != 0)
        return SP_ENOMEM;
    h->dir = absolute(add->dir && add->dir[0] ? add->dir : ".");
    if (!h->dir)
        return SP_ENOMEM;
    h->down_Bps = add->down_Bps;
    h->up_Bps = add->up_Bps;
    h->read_only = add->read_only;
    h->sequential = add->sequential;
    h->full_allocation = add->full_allocation;
    h->force_check = add->force_check;
    h->paused = add->paused;
    h->super_seed = add->super_seed;
    err = copy_trackers(h, add);
    if (err == SP_OK)
        err = copy_web_seeds(h, add, diag);
    if (err == SP_OK)
        err = copy_peers(h, add, diag);
    return err;
}

enum sp_err sp_client_add(struct sp_client *cl, const struct sp_client_add *add,
                          sp_torrent_id *ret_torrent, struct sp_diag *diag)
{
    struct sp_held *h = calloc(1, sizeof(*h));
    struct command *c = command(CMD_ADD, 0);
    enum sp_err err = h && c ? make_held(add, h, diag) : SP_ENOMEM;
    if (err == SP_OK)
        err = sp_client_enter(cl, h, &h->id);
    if (err != SP_OK) {
        if (err == SP_EEXIST)
            say(diag, err, "this torrent is added already", "");
        else if (err == SP_ENOMEM)
            say(diag, err, sp_err_text(err), "");
        if (h)
            sp_held_free(h);
        free(c);
        return err;
    }
    c->held = h;
    c->torrent = h->id;
    *ret_torrent = h->id;
    post(cl, c);
    return SP_OK;
}

/* ---- snapshots ---- */

enum sp_err sp_client_stats(const struct sp_client *cl, sp_torrent_id torrent,
                            struct sp_torrent_stats *ret_stats)
{
    struct sp_held *h = sp_client_lock_held(cl, torrent);
    if (!h)
        return SP_ENOENT;
    *ret_stats = h->stats_out;
    if (!h->mi && ret_stats->state == SP_TORRENT_CHECKING) {
        ret_stats->state = SP_TORRENT_METADATA;        /* the store is asked first */
    } else if (h->mi && ret_stats->piece_count == 0) { /* not published yet */
        ret_stats->piece_count = h->mi->piece_count;
        ret_stats->total_bytes = ret_stats->wanted_bytes = h->mi->total_length;
    }
    sp_client_unlock_held(cl, h);
    return SP_OK;
}

static uint32_t at_most(uint32_t n, uint32_t cap)
{
    return n < cap ? n : cap;
}

uint32_t sp_client_peers(const struct sp_client *cl, sp_torrent_id torrent,
                         struct sp_peer_info *ret_peers, uint32_t cap)
{
    struct sp_held *h = sp_client_lock_held(cl, torrent);
    if (!h)
        return 0;
    h->watched = true;
    uint32_t n = at_most(h->peers_out_count, cap);
    if (n)
        memcpy(ret_peers, h->peers_out, n * sizeof(*ret_peers));
    sp_client_unlock_held(cl, h);
    return n;
}

uint32_t sp_client_trackers(const struct sp_client *cl, sp_torrent_id torrent,
                            struct sp_client_tracker *ret_trackers, uint32_t cap)
{
    struct sp_held *h = sp_client_lock_held(cl, torrent);
    if (!h)
        return 0;
    h->watched = true;
    uint32_t n = at_most(h->trackers_out_count, cap);
    if (n)
        memcpy(ret_trackers, h->trackers_out, n * sizeof(*ret_trackers));
    sp_client_unlock_held(cl, h);
    return n;
}

size_t sp_client_pieces(const struct sp_client *cl, sp_torrent_id torrent, uint8_t *ret_bits,
                        size_t cap)
{
    struct sp_held *h = sp_client_lock_held(cl, torrent);
    if (!h)
        return 0;
    h->watched = true;
    size_t len = sp_bits_wire_len(h->have_out.count);
    if (len && cap)
        memcpy(ret_bits, h->have_out.bytes, len < cap ? len : cap);
    sp_client_unlock_held(cl, h);
    return len;
}

enum sp_err sp_client_metainfo(const struct sp_client *cl, sp_torrent_id torrent,
                               uint8_t **ret_bytes, size_t *ret_len)
{
    struct sp_held *h = sp_client_lock_held(cl, torrent);
    enum sp_err err = SP_OK;
    if (!h)
        return SP_ENOENT;
    uint8_t *bytes = h->mi ? malloc(h->mi->raw.len) : NULL;
    if (bytes) {
        memcpy(bytes, h->mi->raw.ptr, h->mi->raw.len);
        *ret_bytes = bytes;
        *ret_len = h->mi->raw.len;
    } else {
        err = h->mi ? SP_ENOMEM : SP_AGAIN;
    }
    sp_client_unlock_held(cl, h);
    return err;
}
