/* impl.h - how a client stands; private to this room.
 *
 *   client.c    start and end
 *   listen.c    the addresses it listens on
 *   events.c    events on their way to the caller
 *   portmap.c   routers that are to let peers in
 *   publish.c   what callers see, made on the reactors
 *   torrents.c  torrents by number
 *   commands.c  what callers want
 *   lsd.c       torrents called out on the local network
 *   saved.c     what is remembered between runs
 */
#ifndef SP_IO_CLIENT_IMPL_H
#define SP_IO_CLIENT_IMPL_H

#include "core/base/map.h"
#include "io/client/client.h"
#include "io/portmap/portmapper.h"

enum {
    REACTORS_MAX = 16,
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
    struct sp_addr listened[2 * SP_LISTEN_MAX]; /* ports filled in */
    uint32_t listened_count;
    struct sp_portmapper *portmapper; /* NULL: none */
    char user_agent[64];

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t came;
    int event_fd;
    struct queued *first, **last;
    uint32_t queued_count;
    uint32_t stopped_count; /* reactors, and the portmapper, that are at their end */
    bool stopped_given;
    bool stop_asked;
    /* Torrents by id; slots are not used again. */
    struct sp_held **held;
    uint8_t (*hashes)[SP_SHA1_LEN];
    struct sp_map by_req2; /* the same by sp_mse_req2 of the hash */
    uint32_t held_count, held_cap;
    struct sp_client_totals totals[REACTORS_MAX];
    uint32_t conns_dealt[REACTORS_MAX]; /* of connections, besides what each has for certain */
};

/* client.c: fills diag, gives err. */
SP_PRINTF(3, 4)
enum sp_err sp_client_say(struct sp_diag *diag, enum sp_err err, const char *format, ...);

/* torrents.c: sp_mse_find, ctx is the client. */
bool sp_client_find_skey(void *ctx, const uint8_t req2[SP_SHA1_LEN],
                         uint8_t ret_info_hash[SP_SHA1_LEN]);

/* listen.c: the descriptors of each reactor, for sp_reactor_start. */
struct sp_listeners {
    int fds[REACTORS_MAX][2 * SP_LISTEN_MAX];
    uint32_t count;                             /* per reactor */
    int udp4[REACTORS_MAX], udp6[REACTORS_MAX]; /* -1: none */
};
void sp_client_init_listeners(struct sp_listeners *l);
/* As cfg says; sets c->port. */
enum sp_err sp_client_listen(struct sp_client *c, struct sp_listeners *l, struct sp_diag *diag);
void sp_client_close_listeners(struct sp_client *c, const struct sp_listeners *l);

/* portmap.c: after the reactors were started, where a router can matter. */
void sp_client_start_portmap(struct sp_client *c);

/* events.c */
void sp_client_push_event(struct sp_client *c, const struct sp_client_event *ev);
void sp_client_warn(struct sp_client *c, enum sp_err err, const char *text);
/* A reactor, or the portmapper; the last one makes SP_EV_STOPPED. */
void sp_client_one_stopped(struct sp_client *c);
void sp_client_drop_events(struct sp_client *c);
/* What the reactors call: struct sp_reactor_env. */
void sp_client_on_event(void *ctx, const struct sp_client_event *ev);
uint32_t sp_client_lsd_list(void *ctx, uint32_t *cursor, uint8_t (*ret_hashes)[SP_SHA1_LEN],
                            uint32_t cap, uint32_t *ret_total); /* lsd.c */
void sp_client_lsd_heard(void *ctx, const uint8_t info_hash[SP_SHA1_LEN],
                         const struct sp_addr *addr);
void sp_client_on_publish(void *ctx, struct sp_reactor *r, struct sp_held *h); /* publish.c */

#endif
