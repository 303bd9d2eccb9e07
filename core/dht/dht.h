/* dht.h - one node of the DHT: what it asks, what it answers, whom it knows.
 *
 * Pure: datagrams and the time go in; datagrams and events are pulled.
 *
 *   datagram came       sp_dht_recv
 *   deadline reached    sp_dht_tick
 *   after any of these  sp_dht_send and sp_dht_next until false
 *   before sleeping     sp_dht_deadline
 *
 * A node has one local address and so one family: BEP-0032 makes two networks
 * of IPv4 and IPv6, and BEP-0045 wants each address of a host to look like a
 * node of its own.  A client with both has two nodes.
 *
 * Sources: BEP-0005, 32, 33, 42, 43, 44, 51.  See docs/core/dht.md.
 */
#ifndef SP_DHT_DHT_H
#define SP_DHT_DHT_H

#include "core/dht/items.h"
#include "core/dht/krpc.h"
#include "core/dht/table.h"

struct sp_dht;

struct sp_dht_cfg {
    const struct sp_mem *mem; /* borrowed until free */
    uint64_t seed;            /* of all randomness */
    uint8_t secret[16];       /* of tokens: not to be guessed by strangers */
    enum sp_family family;
    const struct sp_dht_id *id; /* of an earlier run; NULL: a random one */
    bool read_only;             /* BEP-0043: asks, and answers nothing */
    uint8_t version[4];         /* BEP-0005 "v" */
    uint32_t up_Bps;            /* of answers; 0: no limit */
    sp_dht_verify *verify;      /* NULL: mutable items are neither stored nor believed */
    void *verify_ctx;
};

SP_MUST_USE enum sp_err sp_dht_new(const struct sp_dht_cfg *cfg, sp_time_ns now,
                                   struct sp_dht **ret_dht);
/* Takes NULL. */
void sp_dht_free(struct sp_dht *d);

/* ---- whom to begin with ---- */

/* Somebody may be a node there: it is asked, and counts if it answers.  For
 * bootstrap hosts, PORT messages, nodes of torrents. */
void sp_dht_add_addr(struct sp_dht *d, const struct sp_addr *addr, sp_time_ns now);
/* A node that was good when an earlier run ended. */
void sp_dht_add_saved(struct sp_dht *d, const struct sp_dht_contact *c, sp_time_ns now);
/* Our address as it is known by now: another id is taken where ours may not be
 * at that address (BEP-0042). */
void sp_dht_set_external(struct sp_dht *d, const struct sp_addr *addr, sp_time_ns now);
void sp_dht_set_read_only(struct sp_dht *d, bool read_only);

const struct sp_dht_id *sp_dht_id(const struct sp_dht *d);
/* For saving: those that answered lately, at most max. */
uint32_t sp_dht_good_nodes(const struct sp_dht *d, struct sp_dht_contact *ret, uint32_t max,
                           sp_time_ns now);

/* ---- lookups ---- */

/* A lookup's number; never 0. */
typedef uint32_t sp_dht_lookup_id;

struct sp_dht_announce {
    uint16_t port;     /* where we take connections; 0: do not announce */
    bool implied_port; /* the port this datagram comes from is the one */
    bool seed;
};

/* The nodes nearest to target.  0: too many lookups, or out of memory. */
sp_dht_lookup_id sp_dht_find_node(struct sp_dht *d, const struct sp_dht_id *target, sp_time_ns now);
/* Peers of hash, told as they come; then announces to the nodes nearest to it. */
sp_dht_lookup_id sp_dht_get_peers(struct sp_dht *d, const struct sp_dht_id *hash,
                                  const struct sp_dht_announce *announce, sp_time_ns now);
/* An item by its key: told when it is found, and again when a higher sequence
 * number is.  salt: of a mutable one, at most SP_KRPC_SALT_MAX bytes. */
sp_dht_lookup_id sp_dht_get(struct sp_dht *d, const struct sp_dht_id *target, struct sp_slice salt,
                            sp_time_ns now);
/* Puts a signed item (COPIES) at the nodes nearest to its key.  They are told to
 * replace nothing but sequence number cas where has_cas. */
sp_dht_lookup_id sp_dht_put(struct sp_dht *d, const struct sp_dht_item *item, bool has_cas,
                            int64_t cas, sp_time_ns now);
/* No event of it follows.  Unknown ones are passed over. */
void sp_dht_cancel(struct sp_dht *d, sp_dht_lookup_id lookup);

/* ---- datagrams ---- */

/* False: it is no message of the DHT. */
bool sp_dht_recv(struct sp_dht *d, const struct sp_addr *from, struct sp_slice bytes,
                 sp_time_ns now);

struct sp_dht_packet {
    struct sp_addr to;
    uint32_t len;
    uint8_t bytes[SP_KRPC_REPLY_MAX];
};

/* The next one to be sent; false when there is none. */
bool sp_dht_send(struct sp_dht *d, struct sp_dht_packet *ret_packet, sp_time_ns now);

/* ---- events ---- */

enum { SP_DHT_EVENT_PEERS_MAX = SP_KRPC_VALUES_MAX, SP_DHT_RESULT_MAX = SP_DHT_K };

enum sp_dht_event_kind {
    SP_DHT_PEERS,    /* peers[0 .. count) of target; may name some again */
    SP_DHT_DONE,     /* the lookup ended: nodes[0 .. count) answered, nearest first */
    SP_DHT_ITEM,     /* item: it has this key and is signed as it should be */
    SP_DHT_EXTERNAL, /* from says that we are at addr: a vote */
};

struct sp_dht_event {
    enum sp_dht_event_kind kind;
    sp_dht_lookup_id lookup;
    struct sp_dht_id target;
    uint32_t count;
    union {
        struct sp_addr peers[SP_DHT_EVENT_PEERS_MAX];
        struct sp_dht_contact nodes[SP_DHT_RESULT_MAX];
        struct sp_dht_item item;
    };
    uint32_t asked, answered, late; /* DONE: requests; answers; those beyond the stall time */
    uint32_t hops;                  /* DONE: the longest chain of who named whom */
    uint32_t announced;             /* DONE: nodes that an announce or a put was sent to */
    struct sp_addr from, addr;
};

bool sp_dht_next(struct sp_dht *d, struct sp_dht_event *ret_event);

/* ---- time, numbers ---- */

sp_time_ns sp_dht_deadline(const struct sp_dht *d);
void sp_dht_tick(struct sp_dht *d, sp_time_ns now);

struct sp_dht_stats {
    uint32_t nodes, good_nodes, depth, lookups, keys, items;
    uint64_t network_size; /* estimated; 0: unknown */
    uint64_t queries_in, replies_out, queries_out, replies_in, errors_in, dropped, bad_packets;
    uint32_t stall_ms; /* after which a request counts as late */
};
void sp_dht_stats(const struct sp_dht *d, sp_time_ns now, struct sp_dht_stats *ret_stats);

/* Invariants that hold between calls, for tests: NULL, or the broken one. */
const char *sp_dht_broken(const struct sp_dht *d);

#endif
