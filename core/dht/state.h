/* state.h - a node as it stands; private to this room.
 *
 *   dht.c       life, maintenance, time
 *   rpc.c       requests out, their answers, how long they take
 *   lookup.c    who is nearest to a key
 *   serve.c     what others ask
 */
#ifndef SP_DHT_STATE_H
#define SP_DHT_STATE_H

#include "core/base/list.h"
#include "core/base/queue.h"
#include "core/base/rate.h"
#include "core/dht/dht.h"
#include "core/dht/peers.h"

enum {
    RPCS_MAX = 512,
    LOOKUPS_MAX = 64,
    CANDS_MAX = 100,
    ALPHA = 5, /* requests of a lookup under way that are not late */
    SEED_NODES = 16,
    TRIES_MAX = 2, /* requests to one candidate */
    OUT_MAX = 512, /* datagrams waiting */
    EVENTS_MAX = 256,
    TOKEN_LEN = 8,
    RTT_BINS = 40,
    GUARDS = 64, /* buckets for who asks too much */
    HELD_MAX = 16,
    HELD_LEN = 256,
};

#define RPC_TIMEOUT_NS  (8 * SP_SECOND_NS)
#define RTT_BIN_NS      (50 * SP_MS_NS)
#define STALL_MIN_NS    (150 * SP_MS_NS)
#define STALL_MAX_NS    (2 * SP_SECOND_NS)
#define PING_PERIOD_NS  (5 * SP_SECOND_NS)
#define SELF_PERIOD_NS  (10 * 60 * SP_SECOND_NS)
#define EPOCH_NS        (5 * 60 * SP_SECOND_NS)
#define HOUSEKEEPING_NS SP_SECOND_NS

enum cand_state { CAND_NEW, CAND_ASKED, CAND_LATE, CAND_ANSWERED, CAND_FAILED };

struct cand {
    struct sp_dht_contact contact;
    uint8_t state; /* enum cand_state */
    uint8_t hops;  /* how many named each other up to it */
    uint8_t tries; /* requests to it */
    bool has_item; /* of this key, it says */
    uint8_t token_len;
    uint8_t token[SP_KRPC_TOKEN_MAX];
};

struct lookup {
    struct sp_link link; /* d->lookups */
    struct sp_dht *d;
    sp_dht_lookup_id id;
    struct sp_dht_id target;
    enum sp_krpc_method method; /* FIND_NODE, GET_PEERS or GET */
    bool silent;                /* our own: no events */
    struct sp_dht_announce announce;
    struct sp_dht_item *item; /* GET: the best so far, or what is to be put; NULL: none */
    bool puts, has_cas;
    int64_t cas;
    uint8_t salt_len, salt[SP_KRPC_SALT_MAX];
    uint32_t asked, answered, late;
    struct cand *cands; /* by distance; CANDS_MAX of them */
    uint32_t count;
};

/* A request that waits for its answer. */
struct rpc {
    bool used, late, has_id;
    uint16_t serial;          /* with the slot: its transaction id */
    struct sp_dht_contact to; /* its id where has_id */
    sp_dht_lookup_id lookup;  /* 0: of none */
    sp_time_ns at;
};

struct guard {
    uint64_t who;
    uint32_t count;
    sp_time_ns since;
};

/* A question whose answer is too long for who has proved nothing: it waits for
 * the answer to a ping. */
struct held {
    struct sp_addr from;
    sp_time_ns at;
    uint32_t len; /* 0: unused */
    uint8_t bytes[HELD_LEN];
};

struct sp_dht {
    const struct sp_mem *mem;
    struct sp_rng rng;
    struct sp_hash_key key; /* of tables and tokens */
    bool read_only;
    uint8_t version[4];
    struct sp_dht_table table;
    struct sp_dht_peers store;
    struct sp_dht_items items;
    sp_dht_verify *verify;
    void *verify_ctx;
    struct rpc *rpcs; /* rpc_cap slots */
    uint32_t rpc_cap, rpc_count;
    uint16_t serial;
    uint16_t rtt[RTT_BINS];
    uint32_t rtt_total;
    struct sp_list lookups;
    sp_dht_lookup_id last_lookup;
    struct sp_queue out, events;
    struct sp_bucket up;
    struct guard *guards; /* NULL until somebody asks */
    struct held *held;    /* a ring of HELD_MAX; NULL until one is held */
    uint32_t held_at;
    sp_time_ns ping_at, self_at, housekeeping_at;
    sp_time_ns self_wait_ns;
    struct sp_dht_stats stats;
};

/* rpc.c */
/* Sends msg (its txn, id, ro and v are filled in).  False: too many wait, or
 * out of memory. */
bool sp_dht_ask(struct sp_dht *d, const struct sp_dht_contact *to, bool has_id,
                sp_dht_lookup_id lookup, struct sp_krpc *msg, sp_time_ns now);
bool sp_dht_put_packet(struct sp_dht *d, const struct sp_addr *to, const struct sp_krpc *msg,
                       size_t max);
void sp_dht_answer(struct sp_dht *d, const struct sp_addr *from, const struct sp_krpc *msg,
                   sp_time_ns now);
sp_time_ns sp_dht_stall_ns(const struct sp_dht *d);
void sp_dht_rpc_tick(struct sp_dht *d, sp_time_ns now);
sp_time_ns sp_dht_rpc_deadline(const struct sp_dht *d);

/* lookup.c */
/* NULL: too many, or out of memory.  Then sp_dht_lookup_start, which may end it. */
struct lookup *sp_dht_lookup_new(struct sp_dht *d, const struct sp_dht_id *target,
                                 enum sp_krpc_method method);
sp_dht_lookup_id sp_dht_lookup_start(struct lookup *l, sp_time_ns now);
struct lookup *sp_dht_lookup_find(const struct sp_dht *d, sp_dht_lookup_id id);
void sp_dht_lookup_free(struct lookup *l);
/* Whom it asked answered, is late, or failed (msg NULL). */
void sp_dht_lookup_answered(struct lookup *l, const struct sp_dht_contact *from,
                            const struct sp_krpc *msg, sp_time_ns now);
void sp_dht_lookup_late(struct lookup *l, const struct sp_dht_contact *who, sp_time_ns now);
void sp_dht_lookup_failed(struct lookup *l, const struct sp_dht_contact *who, sp_time_ns now);
/* A node that answered a request without an id, as bootstrap hosts do. */
void sp_dht_lookup_joined(struct lookup *l, const struct sp_dht_contact *who, sp_time_ns now);

/* serve.c */
void sp_dht_serve(struct sp_dht *d, const struct sp_addr *from, const struct sp_krpc *msg,
                  struct sp_slice bytes, sp_time_ns now);
/* from has answered us: what it asked and was held can be answered in full. */
void sp_dht_serve_held(struct sp_dht *d, const struct sp_addr *from, sp_time_ns now);

#endif
