/* reactor.h - one thread, one loop, one session: its sockets, timers and the
 * torrents that belong to it.
 *
 *   sock.c         peer connections: dial, accept, hand over, read, write
 *   udp.c          datagrams on the listening port: uTP
 *   jobs.c         the session's jobs: hash pool, disk pool, hot reads
 *   storage.c      a torrent's files: open, load, check, sync, save
 *   gate.c         the way out through a proxy
 *   web.c          requests to web seeds
 *   lsd.c          peers on the local network (reactor 0)
 *   magnet.c       a torrent that was added by its info-hash
 *   iface.c        the interface that all is bound to, gone and back
 *   announce.c     the session's trackers: HTTP, names, datagrams
 *   names.c        host names to addresses
 *   reactor.c      the thread, its mailbox, its turn
 *
 * Other threads reach a reactor only by posting to its mailbox; it reaches
 * them only by jobs (disk, hash, store) and by posting.  It never blocks.
 */
#ifndef SP_IO_REACTOR_H
#define SP_IO_REACTOR_H

#include <pthread.h>
#include <uv.h>

#include "core/base/list.h"
#include "core/session/door.h"
#include "core/session/session.h"
#include "io/disk/disk.h"
#include "io/hash/hasher.h"
#include "io/http/http.h"
#include "io/loop/loop.h"
#include "io/reactor/gate.h"
#include "io/reactor/udp.h"
#include "io/store/store.h"
#include "spate/magnet.h"

struct sp_reactor;
struct sp_filter;
struct sp_held;
struct sp_task;
struct sp_names;
struct addrinfo;
struct http_ref;
struct sp_lsd_io;

/* What to do on a reactor's thread; owned by whoever run says. */
struct sp_post {
    struct sp_post *next;
    void (*run)(struct sp_reactor *r, struct sp_post *post);
};

/* Shared by the reactors of a client; set up before they run. */
struct sp_reactor_env {
    struct sp_disk *disk;
    struct sp_hasher *hasher;
    struct sp_store *store; /* NULL: nothing is remembered */
    struct sp_reactor **reactors;
    uint32_t reactor_count;
    const char *interface;
    struct sp_proxy_url proxy; /* kind NONE: none */
    struct sp_hash_key print_key;
    enum sp_encryption encryption;
    sp_mse_find *find_skey; /* with ctx, from any thread: of all torrents of the client */
    /* Called on reactor threads. */
    void (*event)(void *ctx, const struct sp_client_event *ev);
    /* Every SP_PUBLISH_NS for all torrents (h NULL), and for one before an event about it. */
    void (*publish)(void *ctx, struct sp_reactor *r, struct sp_held *h);
    /* Local service discovery (lsd.c); NULL: off.  lsd_list: hashes of torrents that
     * are called out, from *cursor on, which moves behind the last; cap 0 counts. */
    uint32_t (*lsd_list)(void *ctx, uint32_t *cursor, uint8_t (*ret_hashes)[SP_SHA1_LEN],
                         uint32_t cap, uint32_t *ret_total);
    void (*lsd_heard)(void *ctx, const uint8_t info_hash[SP_SHA1_LEN], const struct sp_addr *addr);
    struct sp_addr listen_addrs[2 * SP_LISTEN_MAX];
    uint32_t listen_addr_count;
    void *ctx;
};

#define SP_PUBLISH_NS (250 * SP_MS_NS)

/* A torrent as the shell sees it; made by the client, owned by its reactor
 * from ADD on. */
struct sp_storage_state;
struct sp_held {
    struct sp_link link; /* r->held */
    struct sp_reactor *r;
    sp_torrent_id id;
    uint8_t info_hash[SP_SHA1_LEN];
    struct sp_metainfo *mi; /* its own copy, unless mi_is_borrowed; NULL until it is known, set
                               under lock */
    struct sp_file_range *ranges; /* files wanted of a magnet; none: all */
    uint32_t range_count;
    bool mi_is_borrowed;
    char *dir;
    uint8_t *priorities; /* NULL: all normal */
    struct sp_tracker_url *trackers;
    uint32_t tracker_count;
    struct sp_session_web *webs; /* besides the torrent's own */
    uint32_t web_count;
    uint64_t down_Bps, up_Bps;
    bool read_only, sequential, full_allocation, force_check, paused, local_peers, super_seed;
    struct sp_addr *peers; /* named by the user */
    uint32_t peer_count;
    char **peer_names; /* "NAME:PORT" to be resolved first */
    uint32_t peer_name_count;

    struct sp_storage *storage;
    struct sp_disk_job disk_job; /* OPEN, CHECK, SYNC, CLOSE, ...: one at a time */
    struct sp_store_job store_job;
    struct sp_post post; /* the answer to either */
    uint8_t phase;       /* enum phase, storage.c */
    bool busy;           /* disk_job or store_job is out */
    bool loaded, removing, delete_data, forgotten, recheck, stopping;
    bool has_disk_error; /* tried again at retry_at */
    bool failed_sync;    /* that was a SYNC */
    bool told;           /* the session knows what is on the disk */
    bool save_failed;    /* and it was said */
    sp_time_ns retry_at, save_began_at, saved_at;
    uint8_t *select;              /* priorities that the files do not follow yet; NULL: none */
    bool *wanted;                 /* of the SELECT under way */
    struct sp_task *walled;       /* jobs that came meanwhile, first to last */
    struct sp_disk_job close_job; /* at the very end, beside disk_job */
    struct sp_bits have;          /* found by load and check, until told to the session */
    struct sp_disk_stat *stats;
    uint8_t *check_state;
    uint32_t files_total;
    struct sp_bits saving; /* what the SAVE under way claims */
    uint32_t saved_count;  /* pieces the last SAVE claimed */
    uint64_t saved_uploaded;
    uint64_t durable_bytes;
    uint64_t downloaded0, uploaded0, active0_ns, seeding0_ns; /* of earlier runs */
    sp_time_ns next_save_at;

    /* Published to other threads, under lock. */
    pthread_mutex_t lock;
    struct sp_torrent_stats stats_out;
    bool called_out; /* takes part in local discovery: runs, and is not private */
    struct sp_peer_info *peers_out;
    uint32_t peers_out_count, peers_out_cap;
    struct sp_client_tracker *trackers_out;
    uint32_t trackers_out_count;
    struct sp_bits have_out;
    bool watched; /* somebody asked for peers, trackers or pieces lately */
};

struct sp_reactor {
    struct sp_reactor_env *env;
    uint32_t ix;
    pthread_t thread;
    bool started;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t timer; /* the session's deadline */
    uv_timer_t publish;
    uv_prepare_t turn; /* effects are pulled before each sleep */
    uv_idle_t again;   /* running while more effects wait than one turn takes */
    struct sp_session *session;
    struct sp_http *http;
    struct sp_list held;
    struct sp_held **by_id; /* by_id_cap entries, NULL: not ours */
    uint32_t by_id_cap;
    struct sp_list socks;
    bool accept_paused;    /* no descriptors were left */
    struct sp_purse purse; /* of doors */
    struct sp_watch listeners[2 * SP_LISTEN_MAX];
    uint32_t listener_count;
    struct sp_list webs;        /* web.c */
    struct sp_watch udp4, udp6; /* of trackers */
    bool has_udp4, has_udp6;
    struct sp_udp udp;          /* udp.c */
    struct http_ref *http_refs; /* announce.c */
    struct sp_lsd_io *lsd;      /* NULL: off, or not reactor 0 */
    struct sp_names *names;
    struct sp_filter *filter;           /* of addresses, io/client/filter.c; NULL: none */
    bool iface_is_down;                 /* iface.c */
    struct sp_gate gate;                /* through the proxy */
    struct sp_task *tasks, *free_tasks; /* jobs.c */
    uint32_t tasks_out;
    uint64_t down_Bps, up_Bps, memory_bytes; /* its share, publish.c */
    uint32_t half_open_max;
    bool stopping, stop_told, ending, deaf;
    sp_time_ns stop_at;

    pthread_mutex_t lock; /* of the mailbox */
    struct sp_post *mail_first, **mail_last;
};

/* The session is made with cfg; listeners are descriptors from sp_tcp_listen
 * (taken).  The thread runs until sp_reactor_end. */
SP_MUST_USE enum sp_err sp_reactor_start(struct sp_reactor *r, struct sp_reactor_env *env,
                                         uint32_t ix, const struct sp_session_cfg *cfg,
                                         const struct sp_http_cfg *http, const int *listeners,
                                         uint32_t listener_count, int udp4, int udp6);
/* There is more to do: the loop does not sleep. */
void sp_reactor_again(struct sp_reactor *r);
/* From any thread. */
void sp_reactor_post(struct sp_reactor *r, struct sp_post *post);
/* Ends the loop and joins the thread.  Answers of jobs may still be posted to
 * it, until sp_reactor_free. */
void sp_reactor_end(struct sp_reactor *r);
/* After that: queues a CLOSE for every storage, as sp_disk_free wants it. */
void sp_reactor_close_storages(struct sp_reactor *r);
/* After the pools have ended.  Frees it and all it has. */
void sp_reactor_free(struct sp_reactor *r);

static inline sp_time_ns sp_reactor_now(struct sp_reactor *r)
{
    return sp_loop_now(&r->loop);
}

struct sp_held *sp_reactor_find(struct sp_reactor *r, sp_torrent_id id);
SP_MUST_USE enum sp_err sp_reactor_enter(struct sp_reactor *r, struct sp_held *h);
/* The snapshot is published first. */
void sp_reactor_tell(struct sp_reactor *r, const struct sp_client_event *ev);
void sp_reactor_event(struct sp_reactor *r, enum sp_client_event_kind kind, sp_torrent_id id,
                      enum sp_err err, const char *text);

/* Takes NULL. */
void sp_filter_unref(struct sp_filter *f);
/* iface.c */
void sp_iface_tick(struct sp_reactor *r, sp_time_ns now);
/* Tells the session whether anybody can be reached at all. */
void sp_reactor_online(struct sp_reactor *r, sp_time_ns now);

/* sock.c */
struct sp_sock;
void sp_sock_dial(struct sp_reactor *r, struct sp_conn *c, const struct sp_addr *addr);
void sp_sock_send(struct sp_sock *k);
void sp_sock_resume(struct sp_sock *k);
void sp_sock_close(struct sp_sock *k);
void sp_sock_listen(struct sp_reactor *r, const int *fds, uint32_t count);
/* All connections are over; listening goes on. */
void sp_sock_lose_all(struct sp_reactor *r, const char *why);
void sp_sock_close_all(struct sp_reactor *r);
void sp_sock_tick(struct sp_reactor *r, sp_time_ns now);

/* jobs.c */
void sp_jobs_run(struct sp_reactor *r, struct sp_job *job);
/* Those that sp_held_is_walled has kept waiting. */
void sp_jobs_release(struct sp_held *h);
void sp_jobs_done(struct sp_reactor *r);

/* storage.c */
void sp_held_add(struct sp_reactor *r, struct sp_held *h);
void sp_held_remove(struct sp_held *h, bool delete_data);
void sp_held_recheck(struct sp_held *h);
/* priorities: one a file; copied. */
void sp_held_select(struct sp_held *h, const uint8_t *priorities);
/* Its files are being moved: no job may be submitted. */
bool sp_held_is_walled(const struct sp_held *h);
void sp_held_tick(struct sp_held *h, sp_time_ns now);
void sp_held_stop(struct sp_held *h);
bool sp_held_is_settled(const struct sp_held *h);
/* sp_torrent_stats and what earlier runs moved.  SP_ENOENT */
/* The session has the info dictionary of a magnet; borrowed for the call. */
void sp_held_metadata(struct sp_reactor *r, sp_torrent_id id, struct sp_slice info);
/* magnet.c: mi and all that its size decides, of an info dictionary.
 * SP_EDATA, SP_ELIMIT  diag   SP_EHASH another one   SP_ENOMEM */
SP_MUST_USE enum sp_err sp_held_build(struct sp_held *h, struct sp_slice info,
                                      struct sp_diag *diag);
SP_MUST_USE enum sp_err sp_held_make_bits(struct sp_held *h, uint32_t piece_count);
enum sp_err sp_held_stats(struct sp_held *h, sp_time_ns now, struct sp_torrent_stats *ret_stats);
void sp_held_close(struct sp_held *h); /* the loop has ended */
void sp_held_free(struct sp_held *h);

/* names.c */
struct sp_name_job {
    struct sp_name_job *next;
    char host[256];
    struct addrinfo *list; /* the answer; NULL: none */
    /* On the reactor; list and job are freed after it. */
    void (*done)(struct sp_reactor *r, struct sp_name_job *job);
};
SP_MUST_USE enum sp_err sp_names_new(struct sp_reactor *r, struct sp_names **ret_names);
/* TAKES job, which begins an allocation by malloc.  False: no thread could be had. */
bool sp_names_ask(struct sp_names *n, struct sp_name_job *job);
/* Nothing is told any more; what is being resolved is left to itself. */
void sp_names_end(struct sp_names *n);
/* Once nothing runs that is posted to the reactor.  Takes NULL. */
void sp_names_free(struct sp_names *n);

/* web.c */
void sp_web_do(struct sp_reactor *r, const struct sp_effect *fx);
void sp_web_close_all(struct sp_reactor *r);

/* lsd.c */
void sp_lsd_open(struct sp_reactor *r, uint64_t seed, uint16_t port);
void sp_lsd_tick(struct sp_reactor *r, sp_time_ns now);
void sp_lsd_close(struct sp_reactor *r);

/* announce.c */
void sp_announce_run(struct sp_reactor *r, const struct sp_tracker_action *a);
void sp_announce_open(struct sp_reactor *r);
void sp_announce_close(struct sp_reactor *r);
void sp_resolve_peer(struct sp_reactor *r, sp_torrent_id id, const char *host_port);

#endif
