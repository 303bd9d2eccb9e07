/* set.h - the inside of struct sp_trackers, shared by its files:
 *
 *   intern.c    URLs and hosts that torrents have in common
 *   queue.c     what waits to be asked, per host; limits; fairness
 *   request.c   what is being asked: its legs over v4 and v6, its end
 *   actions.c   what the shell is told, and what it answers
 *   tracker.c   torrents; time; what people see
 */
#ifndef SP_TRACKER_SET_H
#define SP_TRACKER_SET_H

#include "core/base/map.h"
#include "core/base/timers.h"
#include "core/tracker/announcer.h"
#include "core/tracker/udp.h"
#include "core/tracker/url.h"

enum {
    HOST_ADDRS_MAX = 8,
    TICKETS_MAX = 32767,
    LEGS = 2,
    FAMILY_OFF_S = 3600, /* a family over which a host cannot be reached rests so long */
    RESOLVED_S = 1800,   /* how long addresses are used */
    UNRESOLVED_S = 30,   /* how long a failure is */
    RESOLVE_WAIT_S = 40,
    STOP_RESOLVE_S = 2, /* of "stopped" */
    SCRAPE_MIN_S = 60,
    STOPPING_BOOST = 4, /* times per_host_max for "stopped" */
};

#define NUMBER_NONE UINT32_MAX

struct torrent;
struct tracker;
struct request;

/* Anything that stands in a list. */
struct node {
    struct node *prev, *next;
};

struct list {
    struct node *head, *tail;
};

static inline void list_add(struct list *l, struct node *n)
{
    n->prev = l->tail;
    n->next = NULL;
    *(l->tail ? &l->tail->next : &l->head) = n;
    l->tail = n;
}

static inline void list_del(struct list *l, struct node *n)
{
    *(n->prev ? &n->prev->next : &l->head) = n->next;
    *(n->next ? &n->next->prev : &l->tail) = n->prev;
    n->prev = n->next = NULL;
}

/* From a small number to a thing. */
struct table {
    void **entries; /* cap of them; NULL: free */
    uint32_t cap, count;
    uint32_t low; /* none is free below */
};

enum queue {
    QUEUE_URGENT, /* "stopped", and what the user asked for */
    QUEUE_NORMAL,
    QUEUE_SCRAPE,
    QUEUES,
};

struct host {
    char *name; /* lower case, NUL-terminated */
    uint16_t port;
    bool is_udp;
    bool named_by_user;         /* such a host is never shared with one that was not */
    uint32_t ix, refs;          /* refs: URLs */
    uint32_t users;             /* trackers of torrents */
    uint32_t running;           /* legs in flight */
    struct list queues[QUEUES]; /* of item.node */
    struct node ready;          /* in the ring of its kind */
    bool is_ready;
    sp_time_ns paid_until;    /* the token bucket's */
    struct sp_timer timer;    /* when the bucket lets one through */
    sp_time_ns family_off[2]; /* until when v4, v6 are left out */

    /* UDP */
    struct sp_addr addrs[HOST_ADDRS_MAX];
    uint32_t addr_count;
    uint32_t addr_ix;          /* which one is next, without dual_stack */
    sp_time_ns resolved_until; /* of addrs, or of why */
    char why[48];              /* addr_count 0: why not */
    uint32_t ticket;           /* resolving; 0: not */
    struct node resolve;       /* in the list of those to be handed out */
    struct list waiting;       /* of request.node */
};

/* One text, for all torrents that name it. */
struct turl {
    char *text; /* NUL-terminated */
    uint32_t len;
    uint32_t ix, refs;
    enum sp_url_scheme scheme;
    const char *why; /* not usable; NULL: it is */
    bool named_by_user;
    struct sp_slice target;
    struct host *host; /* NULL when not usable */
};

/* A wish in a host's queue. */
struct item {
    struct node node;
    struct tracker *tracker;
    uint8_t queue;
    bool scrape;
};

/* One tracker of one torrent. */
struct tracker {
    struct sp_announcer_tracker a;
    struct torrent *torrent;
    struct turl *url;
    struct item *item, *scrape_item;          /* queued, or NULL */
    struct request *request, *scrape_request; /* in flight, or NULL */
    char *message;                            /* NULL: none */
    char *tracker_id;                         /* NULL: none */
    struct node status;                       /* in the list of what has changed */
    sp_time_ns scrape_at;                     /* not before */
    struct sp_swarm_size swarm;
    uint32_t peers_got;
    uint16_t ix;
    bool status_is_queued;
};

struct torrent {
    struct sp_announcer announcer;
    struct sp_timer timer;
    uint32_t number; /* the caller's */
    uint32_t ix;
    uint32_t key;
    uint8_t info_hash[SP_SHA1_LEN];
    bool leaving;                  /* the caller has forgotten it; number is NUMBER_NONE */
    struct sp_announce_stats last; /* when it was left */
};

struct leg {
    struct request *request;
    struct node handout; /* HTTP: in the list of those to be handed out */
    uint32_t ticket;     /* HTTP */
    uint8_t family;      /* enum sp_family */
    bool live;
    struct sp_udp_ask ask; /* UDP */
};

struct request {
    struct node node; /* in host.waiting while waits */
    struct node all;  /* in sp_trackers.requests */
    struct host *host;
    struct tracker **trackers; /* count of them; NULL where the torrent went away */
    uint8_t *hashes;           /* scrape: count of 20 bytes */
    uint32_t count;
    enum sp_announce_event event;
    bool scrape;
    bool waits; /* for the host's addresses */
    char *url;  /* HTTP */
    struct sp_announce announce;
    struct leg legs[LEGS];
    uint32_t live;
    struct sp_timer timer;
    sp_time_ns timeout_at;

    bool answered; /* one leg was; then answer is it */
    struct sp_announcer_answer answer;
    bool switched;
    enum sp_retry retry; /* of the first that failed */
    uint32_t retry_in_s;
    char why[SP_TRACKER_MESSAGE_LEN];
};

enum ticket_state {
    TICKET_FREE,
    TICKET_QUEUED, /* not handed out yet */
    TICKET_HANDED,
    TICKET_CANCELED, /* to be told */
};

struct ticket {
    enum ticket_state state;
    uint32_t id;     /* what the shell knows it by */
    struct leg *leg; /* one of the two */
    struct host *host;
    uint32_t next; /* 1-based, in the free list or the canceled list */
};

struct peers_node {
    struct node node;
    uint32_t torrent, tracker_ix, count;
    bool switched;
    struct sp_addr addrs[];
};

struct sp_trackers {
    struct sp_trackers_cfg cfg;
    struct sp_hash_key key;

    struct table torrents, urls, hosts; /* of struct torrent, turl, host */
    struct sp_map by_number, by_url, by_host;

    struct sp_timers torrent_timers, host_timers, request_timers;
    struct list ready[2]; /* of host.ready: HTTP, UDP */
    uint32_t running[2];  /* legs in flight */
    struct list requests; /* of request.all */
    uint32_t request_count, item_count;
    uint32_t leaving_count; /* of torrents */
    struct sp_udp udp;

    struct ticket *tickets;
    uint32_t ticket_cap, ticket_free;
    uint32_t canceled_head, canceled_tail; /* 1-based */
    uint32_t canceled_count;
    uint32_t generation;

    struct list handout;             /* of leg.handout */
    struct list resolve;             /* of host.resolve */
    struct list peers;               /* of peers_node */
    struct list changed;             /* of tracker.status */
    struct peers_node *handed_peers; /* freed by the next call of sp_trackers_next */
    char *handed_url;
    struct sp_addr external_ip[2], external_told[2]; /* v4, v6 */
    sp_time_ns now;                                  /* of the last call that had one */
    struct sp_addr scratch[SP_TRACKER_PEERS_MAX];
};

/* intern.c */
/* Room for one more, so that the next sp_set_table_put cannot fail.  SP_ENOMEM */
enum sp_err sp_set_table_reserve(struct sp_trackers *t, struct table *table, uint32_t *ret_ix);
void sp_set_table_put(struct table *table, uint32_t ix, void *entry);
void sp_set_table_del(struct table *table, uint32_t ix);
/* Found or made, with one more reference.
 * SP_EDATA empty or overlong, SP_ENOMEM */
enum sp_err sp_set_url_get(struct sp_trackers *t, const struct sp_tracker_url *from,
                           struct turl **ret_url);
void sp_set_url_put(struct sp_trackers *t, struct turl *url);

/* queue.c */
/* SP_ENOMEM */
enum sp_err sp_set_enqueue(struct sp_trackers *t, struct tracker *tk, enum queue queue,
                           bool scrape);
void sp_set_unqueue(struct sp_trackers *t, struct item *item);
void sp_set_host_wake(struct sp_trackers *t, struct host *host);
/* Begins requests while the limits allow. */
void sp_set_pump(struct sp_trackers *t);

/* request.c */
/* Begins what the item asks for, and frees it. */
void sp_set_begin(struct sp_trackers *t, struct item *item);
/* Drops it without a result; what was sent counts as maybe heard. */
void sp_set_cancel(struct sp_trackers *t, struct request *r);
/* One tracker of it has gone away. */
void sp_set_request_forget(struct sp_trackers *t, struct request *r, struct tracker *tk);
/* why: for a person, unclean. */
void sp_set_leg_failed(struct sp_trackers *t, struct leg *leg, struct sp_slice why);
void sp_set_leg_http(struct sp_trackers *t, struct leg *leg, int status, struct sp_slice body);
void sp_set_leg_udp(struct sp_trackers *t, struct leg *leg, struct sp_slice packet);
void sp_set_host_resolved(struct sp_trackers *t, struct host *host);
void sp_set_request_timeout(struct sp_trackers *t, struct request *r);

/* actions.c */
/* 0: no room */
uint32_t sp_set_ticket_open(struct sp_trackers *t, struct leg *leg, struct host *host);
/* answered: by the shell; else it is told when it has been handed out. */
void sp_set_ticket_close(struct sp_trackers *t, uint32_t id, bool answered);
void sp_set_changed(struct sp_trackers *t, struct tracker *tk);

/* tracker.c */
/* Picks what is due and sets the timer. */
void sp_set_torrent_plan(struct sp_trackers *t, struct torrent *torrent);
/* Forgets those that were left and have told so. */
void sp_set_forget_left(struct sp_trackers *t);
/* Replaces it, cleaned; empty: none. */
void sp_set_message(struct sp_trackers *t, struct tracker *tk, struct sp_slice text);
/* intern.c */
/* Printable UTF-8 out of any bytes, NUL-terminated; cap > 0. */
size_t sp_set_clean_text(struct sp_slice in, char *buf, size_t cap);

static inline uint32_t sp_set_kind(const struct host *h)
{
    return h->is_udp ? 1 : 0;
}

#endif
