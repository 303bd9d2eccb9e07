/* tracker.h - the trackers of all torrents of one session: when to announce,
 * to whom and what, over HTTP(S) and UDP.
 *
 * Source: BEP-0003 "trackers", BEP-0007, -0012, -0015, -0021, -0023, -0024, -0027,
 * -0031, -0041, -0048.
 *
 * Pure: the shell transfers, resolves and sends.  Drive it so:
 *
 *   torrent added/started/... -> sp_trackers_add, _start, _completed, _stop, _remove
 *   HTTP transfer ended       -> sp_trackers_http_reply or _http_failed
 *   name resolved             -> sp_trackers_resolved
 *   datagram arrived          -> sp_trackers_datagram
 *   deadline reached          -> sp_trackers_tick
 *   after any of these        -> sp_trackers_next until SP_TRACKER_NONE
 *   before sleeping           -> sp_trackers_deadline
 *
 * A torrent is named by the caller's own number; calls that name an unknown
 * one do nothing.  A tracker of a torrent is named by its index, in the order
 * of adding, which does not change while the torrent is there.
 *
 * Life of a torrent here: added (idle) -> start -> announces, "completed" once
 * if it is told so -> stop ("stopped" to each tracker that took "started") ->
 * start again, or remove.
 */
#ifndef SP_TRACKER_TRACKER_H
#define SP_TRACKER_TRACKER_H

#include "core/base/addr.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "spate/err.h"

enum {
    SP_TRACKER_URL_MAX = 8192,         /* bytes; longer ones are left out */
    SP_TRACKER_BODY_MAX = 2097152,     /* bytes of an HTTP reply, after decompression */
    SP_TRACKER_PEERS_MAX = 2000,       /* kept of one reply */
    SP_TRACKERS_PER_TORRENT_MAX = 256, /* further ones are left out */
    SP_TRACKER_MESSAGE_LEN = 128,      /* NUL included */
};

/* Which trackers of a torrent are announced to at the same time. */
enum sp_tracker_tiers {
    /* One tracker of each tier.  BEP-0012, not followed: most torrents name
     * unrelated trackers in tiers of their own; uTorrent, Transmission and
     * qBittorrent use all tiers by default. */
    SP_TIERS_EACH,
    SP_TIERS_STRICT, /* BEP-0012: one; the next tier only when a whole tier fails */
    SP_TIERS_ALL,    /* every tracker of every tier */
};

/* The numbers of an announce, asked for when it is built. */
struct sp_announce_stats {
    uint64_t uploaded;   /* payload bytes sent since "started" */
    uint64_t downloaded; /* payload bytes received since "started" */
    uint64_t left;       /* bytes still to get; UINT64_MAX: not known (magnet without metadata) */
    uint64_t corrupt;    /* bytes received that failed their hash */
    bool partial_seed;   /* BEP-0021: not complete, and wants nothing more */
};

struct sp_trackers;

/* 0 stands for the default where one is named.  Copied. */
struct sp_trackers_cfg {
    const struct sp_mem *mem; /* borrowed until free */
    struct sp_rng *rng;       /* borrowed until free */
    uint8_t peer_id[20];
    uint16_t listen_port;
    /* Fills *ret for a torrent that was added; must not call back in here. */
    void (*stats)(void *ctx, uint32_t torrent, struct sp_announce_stats *ret);
    void *ctx;

    enum sp_tracker_tiers tiers; /* private torrents are always strict (BEP-0027) */
    bool dual_stack;             /* announce over v4 and over v6 (BEP-0007); else over either */
    bool support_crypto;         /* tell HTTP trackers "supportcrypto=1" */
    struct sp_addr announce_ip;  /* SP_FAMILY_NONE: not told (the default) */

    uint32_t http_max;     /* HTTP requests at once; default 50 */
    uint32_t per_host_max; /* HTTP requests at once to one host; default 4 */
    uint32_t udp_max;      /* UDP requests at once; default 200 */
    uint32_t host_rate;    /* announces a second to one host (more when it serves very many
                              torrents); default 20 */

    sp_time_ns http_timeout_ns; /* default 30 s */
    sp_time_ns stop_timeout_ns; /* of "stopped"; default 5 s */
    sp_time_ns udp_base_ns;     /* first wait for a datagram's answer, doubled each time; default
                                   5 s (BEP-0015 says 15 s) */
    uint32_t udp_tries;         /* sends of one datagram; default 3 (BEP-0015 says 9) */
    sp_time_ns interval_min_ns; /* what a tracker's interval is raised to; default 60 s */
};

/* SP_ENOMEM */
SP_MUST_USE enum sp_err sp_trackers_new(const struct sp_trackers_cfg *cfg,
                                        struct sp_trackers **ret_trackers);
/* Takes NULL. */
void sp_trackers_free(struct sp_trackers *t);

/* For the announces from now on (a mapped port came or changed). */
void sp_trackers_set_port(struct sp_trackers *t, uint16_t port);

/* -- torrents -- */

struct sp_tracker_url {
    struct sp_slice url; /* http, https, udp; others are kept and shown as unsupported */
    uint8_t tier;        /* lower is asked first */
    bool named_by_user;  /* typed by the user: may be on loopback or a private network.  Handed
                            on with HTTP and RESOLVE: the shell applies the address rules */
};

/* Adds a torrent, idle.  URLs are copied; repeated, empty and overlong ones
 * are left out.  count may be 0.
 * SP_EEXIST  the number is in use
 * SP_ENOMEM  nothing was added */
SP_MUST_USE enum sp_err sp_trackers_add(struct sp_trackers *t, uint32_t torrent,
                                        const uint8_t info_hash[SP_SHA1_LEN], bool priv,
                                        const struct sp_tracker_url *urls, uint32_t count);
/* One more tracker; announced to at once when the torrent runs and its tier
 * has no other.
 * SP_ENOENT  no such torrent
 * SP_EEXIST  it has this URL
 * SP_EDATA   empty or overlong
 * SP_ELIMIT  it has SP_TRACKERS_PER_TORRENT_MAX
 * SP_ENOMEM */
SP_MUST_USE enum sp_err sp_trackers_add_url(struct sp_trackers *t, uint32_t torrent,
                                            const struct sp_tracker_url *url, sp_time_ns now);
/* Forgets it at once; what is in flight is canceled and nothing is told. */
void sp_trackers_remove(struct sp_trackers *t, uint32_t torrent);
/* Stops it and forgets it once that is told, with the numbers of now.  The
 * caller's number is free at once; the same info-hash added meanwhile ends it. */
void sp_trackers_leave(struct sp_trackers *t, uint32_t torrent, sp_time_ns now);

/* Begins to announce; no effect on a running torrent. */
void sp_trackers_start(struct sp_trackers *t, uint32_t torrent, sp_time_ns now);
/* The download ended while running.  Not for torrents complete at start
 * (BEP-0003: "No completed is sent if the file was complete when started."). */
void sp_trackers_completed(struct sp_trackers *t, uint32_t torrent, sp_time_ns now);
/* "stopped" goes to each tracker that has, or may have, taken "started". */
void sp_trackers_stop(struct sp_trackers *t, uint32_t torrent, sp_time_ns now);
/* The user asks: ahead of the queue and of failure waits, but not before the
 * tracker's min interval (30 s where it gave none). */
void sp_trackers_reannounce(struct sp_trackers *t, uint32_t torrent, sp_time_ns now);
/* Asks each usable tracker for the swarm's size; works on idle torrents too.
 * At most once a minute and tracker; the answer is a STATUS. */
void sp_trackers_scrape(struct sp_trackers *t, uint32_t torrent, sp_time_ns now);
/* Hungry (not at first): asks for 200 peers and, where the tracker allows it by
 * a min interval, sooner than its interval.  Else for 50; "started" with
 * something left always asks for 200. */
void sp_trackers_want_peers(struct sp_trackers *t, uint32_t torrent, bool hungry, sp_time_ns now);

/* Nothing is in flight or queued to be sent: after stop, time to exit. */
bool sp_trackers_idle(const struct sp_trackers *t);

sp_time_ns sp_trackers_deadline(const struct sp_trackers *t);
void sp_trackers_tick(struct sp_trackers *t, sp_time_ns now);

/* -- what is to be done, and what happened -- */

enum sp_tracker_action_kind {
    SP_TRACKER_NONE,
    SP_TRACKER_HTTP,        /* GET u.http.url; answer by http_reply or http_failed */
    SP_TRACKER_RESOLVE,     /* resolve u.resolve.host; answer by resolved */
    SP_TRACKER_CANCEL,      /* req (HTTP or RESOLVE) is not wanted any more; an answer is ignored */
    SP_TRACKER_DATAGRAM,    /* send u.datagram */
    SP_TRACKER_PEERS,       /* u.peers came from a tracker */
    SP_TRACKER_STATUS,      /* sp_trackers_info of this tracker has changed */
    SP_TRACKER_EXTERNAL_IP, /* u.external_ip: how a tracker sees us (BEP-0024); port 0 */
};

/* Pointers are valid until the next call of any function here. */
struct sp_tracker_action {
    enum sp_tracker_action_kind kind;
    uint32_t req;        /* HTTP, RESOLVE, CANCEL: never 0 */
    uint32_t torrent;    /* HTTP, PEERS, STATUS: the caller's number */
    uint32_t tracker_ix; /* HTTP, PEERS, STATUS */
    union {
        struct {
            const char *url;       /* NUL-terminated, printable ASCII */
            sp_time_ns timeout_at; /* counts as failed (and is canceled) then */
            uint8_t family;        /* connect over this one only; SP_FAMILY_NONE: either */
            bool named_by_user;
            bool stopping; /* "stopped": worth waiting for at exit */
        } http;
        struct {
            const char *host;   /* a name or an address without brackets, NUL-terminated */
            uint16_t port;      /* to be put into the addresses */
            bool named_by_user; /* by any of the torrents that share this host */
        } resolve;
        struct {
            struct sp_addr to;
            const uint8_t *bytes;
            size_t len;
        } datagram;
        struct {
            const struct sp_addr *addrs; /* ports are not 0; scopes are not checked */
            uint32_t count;
            /* BEP-0027: "When switching between trackers, the peer MUST disconnect from all
             * current peers and connect only to those provided by the new tracker." */
            bool switched;
        } peers;
        struct sp_addr external_ip;
    } u;
};

/* False, and kind NONE, when there is nothing more. */
bool sp_trackers_next(struct sp_trackers *t, struct sp_tracker_action *ret_action);

/* The whole body, decompressed and at most SP_TRACKER_BODY_MAX (larger: use
 * http_failed), whatever the status.  Borrowed. */
void sp_trackers_http_reply(struct sp_trackers *t, uint32_t req, int http_status,
                            struct sp_slice body, sp_time_ns now);
/* why: for a person ("connection refused"); copied.  NULL: "no answer". */
void sp_trackers_http_failed(struct sp_trackers *t, uint32_t req, const char *why, sp_time_ns now);
/* Addresses that the caller's rules allow, best first, ports set; count 0:
 * failed, why for a person (NULL: "host not found"). */
void sp_trackers_resolved(struct sp_trackers *t, uint32_t req, const struct sp_addr *addrs,
                          uint32_t count, const char *why, sp_time_ns now);
/* True when it was a tracker's answer to us; false: it may be someone else's. */
bool sp_trackers_datagram(struct sp_trackers *t, const struct sp_addr *from, struct sp_slice bytes,
                          sp_time_ns now);

/* -- for people -- */

enum sp_tracker_state {
    SP_TRACKER_IDLE,        /* not asked yet, or the torrent is stopped */
    SP_TRACKER_ANNOUNCING,  /* queued or in flight */
    SP_TRACKER_OK,          /* the last announce was answered */
    SP_TRACKER_FAILING,     /* it was not; message says why, next_announce_at when again */
    SP_TRACKER_DISABLED,    /* said "never" (BEP-0031): not asked again in this session */
    SP_TRACKER_UNSUPPORTED, /* the URL is none we can use; message says why */
};

struct sp_tracker_info {
    const char *url; /* borrowed until the torrent is removed */
    uint8_t tier;
    enum sp_tracker_state state;
    char message[SP_TRACKER_MESSAGE_LEN]; /* failure or warning in printable UTF-8; "" when none */
    sp_time_ns next_announce_at;          /* SP_TIME_NEVER: none planned */
    sp_time_ns last_announce_at;          /* answered or failed; 0: never */
    uint32_t seeds;                       /* UINT32_MAX: not known; so the next two */
    uint32_t leechers;
    uint32_t downloaded; /* completed downloads ever */
    uint32_t peers_got;  /* by the last announce */
    uint32_t fails;      /* in a row */
};

const char *sp_tracker_state_name(enum sp_tracker_state state);
/* False when there is no such tracker. */
bool sp_trackers_info_at(const struct sp_trackers *t, uint32_t torrent, uint32_t tracker_ix,
                         struct sp_tracker_info *ret_info);
/* Up to cap of them, by index; gives how many the torrent has. */
uint32_t sp_trackers_info(const struct sp_trackers *t, uint32_t torrent,
                          struct sp_tracker_info *ret_infos, uint32_t cap);

#endif
