/* udp.h - questions to UDP trackers: connection ids, transactions, repeats.
 *
 * An ask lives in the caller's storage.  It waits for a connection id (shared
 * by all asks to one address), is sent, repeated, and ends in one of three
 * ways: sp_udp_recv hands it back with its answer, sp_udp_next_failed hands it
 * back without one, or sp_udp_cancel.
 *
 * Source: BEP-0015.
 */
#ifndef SP_TRACKER_UDP_H
#define SP_TRACKER_UDP_H

#include "core/base/map.h"
#include "core/base/rng.h"
#include "core/base/timers.h"
#include "core/tracker/udp_codec.h"

struct sp_udp_conn;

enum sp_udp_ask_state {
    SP_UDP_ENDED,
    SP_UDP_WAIT_ID,     /* in the list of its connection */
    SP_UDP_WAIT_ANSWER, /* sent, or queued to be sent */
    SP_UDP_FAILED,      /* in the list of sp_udp_next_failed */
};

/* What is queued to be sent. */
struct sp_udp_send {
    struct sp_udp_send *next;
    bool is_queued, is_conn;
};

struct sp_udp_ask {
    /* The caller's; kept unchanged from begin to the end. */
    struct sp_addr to;
    enum sp_udp_action action; /* ANNOUNCE or SCRAPE */
    const struct sp_announce *announce;
    struct sp_slice target; /* path and query (BEP-0041) */
    const uint8_t *hashes;  /* SCRAPE: count of 20 bytes */
    uint32_t count;

    /* Results, to be read. */
    bool was_sent;    /* the question itself, not only the connect */
    char message[80]; /* FAILED: what the tracker said to the connect; "" for a time-out */

    /* The machine's. */
    enum sp_udp_ask_state state;
    uint32_t transaction, slot, tries;
    uint64_t used_id;
    bool id_is_old, reconnected; /* the id was got by another ask; a new one was got for this */
    struct sp_udp_conn *conn;
    struct sp_udp_ask *prev, *next; /* in conn's list or the failed list */
    struct sp_udp_send send;
    struct sp_timer timer;
};

struct sp_udp_slot {
    struct sp_udp_ask *ask; /* one of the two, or neither: free */
    struct sp_udp_conn *conn;
    uint32_t transaction;
    uint32_t next_free;
};

struct sp_udp {
    const struct sp_mem *mem;
    struct sp_rng *rng;
    struct sp_hash_key key;
    sp_time_ns base_ns; /* > 0 */
    uint32_t tries_max; /* 1..9 */
    struct sp_timers conn_timers, ask_timers;
    struct sp_map by_addr;        /* -> slot of a conn */
    struct sp_map by_transaction; /* -> slot */
    struct sp_udp_slot *slots;
    uint32_t slot_cap, slot_free; /* slot_free: 1-based head of the free ones */
    struct sp_udp_send *send_head, *send_tail;
    struct sp_udp_ask *failed_head, *failed_tail;
    uint8_t packet[SP_UDP_PACKET_CAP];
};

void sp_udp_init(struct sp_udp *u, const struct sp_mem *mem, struct sp_rng *rng,
                 const struct sp_hash_key *key, sp_time_ns base_ns, uint32_t tries_max);
/* Asks under way are forgotten. */
void sp_udp_done(struct sp_udp *u);

/* SP_ENOMEM */
SP_MUST_USE enum sp_err sp_udp_begin(struct sp_udp *u, struct sp_udp_ask *ask, sp_time_ns now);
/* Takes an ended one. */
void sp_udp_cancel(struct sp_udp *u, struct sp_udp_ask *ask);

/* True when the packet answers one of ours.  ret_answered is that ask, ended,
 * when the packet is its answer or error, which the caller reads; else NULL. */
bool sp_udp_recv(struct sp_udp *u, const struct sp_addr *from, struct sp_slice packet,
                 sp_time_ns now, struct sp_udp_ask **ret_answered);
sp_time_ns sp_udp_deadline(const struct sp_udp *u);
void sp_udp_tick(struct sp_udp *u, sp_time_ns now);
/* Asks that ended without an answer, until NULL. */
struct sp_udp_ask *sp_udp_next_failed(struct sp_udp *u);
/* False: nothing to send.  bytes are valid until the next call. */
bool sp_udp_next_datagram(struct sp_udp *u, sp_time_ns now, struct sp_addr *ret_to,
                          struct sp_slice *ret_bytes);

#endif
