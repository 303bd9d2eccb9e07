/* utp.h - uTP (BEP-0029): streams over datagrams that give way to others.
 *
 * Pure.  One sp_utp is all connections over one UDP endpoint.  Datagrams and
 * the time go in; events and datagrams come out, pulled until there are none:
 *
 *   datagrams came     sp_utp_datagrams, then sp_utp_next until false; again
 *                      while not all of them were taken
 *   data               SP_UTP_DATA gives slices; sp_utp_took says how much of
 *                      them was wanted, sp_utp_resume that more may come
 *   to send            sp_utp_room, sp_utp_write; SP_UTP_WRITABLE when there is
 *                      room again
 *   datagrams to send  sp_utp_pull, then sp_utp_sent or sp_utp_refused
 *   before sleeping    sp_utp_deadline; sp_utp_tick when it is reached
 *
 * A connection's pointer is valid until SP_UTP_CLOSED was pulled or
 * sp_utp_close was called; what is still to be said to the other end after
 * that (FIN, the last data) is said without the caller.
 * Each call costs O(1) or O(log n) for n connections, amortized.
 * See docs/core/utp.md.
 */
#ifndef SP_UTP_UTP_H
#define SP_UTP_UTP_H

#include "core/base/addr.h"
#include "core/base/hash.h"
#include "core/base/mem.h"

struct sp_utp;
struct sp_utp_conn;

struct sp_utp_cfg {
    const struct sp_mem *mem;  /* borrowed until free */
    uint64_t seed;             /* of all randomness */
    struct sp_hash_key secret; /* not guessable by peers */
    uint32_t conn_max;         /* in all; those that are being closed count */
    uint32_t recv_window_max;  /* bytes of one connection on their way, or not read yet */
    uint64_t recv_bytes_max;   /* out of order or not read yet, of all connections */
    uint32_t send_window_max;  /* bytes of one connection sent and not acknowledged */
    uint64_t send_bytes_max;   /* the same, of all connections */
    /* Ids of connections that we dial are id_of modulo id_modulo, so that a
     * shell with several endpoints on one port can tell whose a datagram is
     * (sp_utp_owner).  id_modulo 0: 1. */
    uint16_t id_modulo, id_of;
};

SP_MUST_USE enum sp_err sp_utp_new(const struct sp_utp_cfg *cfg, struct sp_utp **ret_utp);
/* Sends nothing.  Takes NULL. */
void sp_utp_free(struct sp_utp *u);

enum { SP_UTP_LEAST = 20 }; /* bytes of the shortest packet */

/* Is it a uTP packet by its first bytes?  Those of other protocols on the same
 * port (BEP-0005 begins with 'd') are not. */
bool sp_utp_is_packet(struct sp_slice datagram);
/* Which of modulo endpoints its connection belongs to: a dialler's by its id,
 * an accepted one's by the id of its SYN + 1, which all later packets carry. */
uint16_t sp_utp_owner(struct sp_slice datagram, uint16_t modulo);

/* Datagrams of one sender, seg_len bytes each and the last one maybe shorter,
 * as UDP_GRO gives them.  Gives how many bytes were taken: at least one whole
 * datagram; call again with the rest once the events are pulled. */
size_t sp_utp_datagrams(struct sp_utp *u, const struct sp_addr *from, struct sp_slice bytes,
                        uint32_t seg_len, sp_time_ns now);

/* The third packet of a handshake, that is about to make a connection of an
 * endpoint with the same secret: here, or where sp_utp_vouch comes first. */
struct sp_utp_knock {
    struct sp_addr from;
    uint16_t id, syn_seq; /* of its SYN */
    struct sp_slice payload;
};
bool sp_utp_knocks(struct sp_utp *u, const struct sp_addr *from, struct sp_slice datagram,
                   sp_time_ns now, struct sp_utp_knock *ret_knock);
/* Another endpoint has seen and answered the SYN. */
void sp_utp_vouch(struct sp_utp *u, const struct sp_utp_knock *knock, sp_time_ns now);

/* SP_UTP_CONNECTED or SP_UTP_CLOSED follows.
 * SP_ELIMIT  as many connections as there may be    SP_ENOMEM */
SP_MUST_USE enum sp_err sp_utp_dial(struct sp_utp *u, const struct sp_addr *to, sp_time_ns now,
                                    struct sp_utp_conn **ret_conn);
/* Sends what was written, then FIN; the pointer is dead at once. */
void sp_utp_close(struct sp_utp *u, struct sp_utp_conn *c, sp_time_ns now);

/* The caller's own pointer. */
void sp_utp_set_user(struct sp_utp_conn *c, void *user);
void *sp_utp_user(const struct sp_utp_conn *c);
const struct sp_addr *sp_utp_addr(const struct sp_utp_conn *c);

/* Bytes that sp_utp_write would take now; 0: wait for SP_UTP_WRITABLE. */
size_t sp_utp_room(struct sp_utp *u, struct sp_utp_conn *c, sp_time_ns now);
/* Copies from the list what there is room for, and tells how much.  When that
 * is not all of it, SP_UTP_WRITABLE follows. */
size_t sp_utp_write(struct sp_utp *u, struct sp_utp_conn *c, const struct sp_slice *list,
                    uint32_t count, sp_time_ns now);

/* The first len bytes of what SP_UTP_DATA gave were taken; the rest is kept,
 * and nothing more is given until sp_utp_resume.  To be called for each
 * SP_UTP_DATA before anything else. */
void sp_utp_took(struct sp_utp *u, struct sp_utp_conn *c, size_t len, sp_time_ns now);
void sp_utp_resume(struct sp_utp *u, struct sp_utp_conn *c, sp_time_ns now);

enum sp_utp_event_kind {
    SP_UTP_CONNECTED, /* it was dialled and answered */
    SP_UTP_ACCEPTED,  /* a new one, proven to be at its address; its first data follows */
    SP_UTP_DATA,      /* slices: valid until sp_utp_took */
    SP_UTP_WRITABLE,
    SP_UTP_CLOSED, /* why; its pointer is dead after this */
};

struct sp_utp_event {
    enum sp_utp_event_kind kind;
    struct sp_utp_conn *conn;
    const struct sp_slice *slices;
    uint32_t slice_count;
    void *user;      /* CLOSED: sp_utp_user of it, NULL when it was never set */
    const char *why; /* CLOSED: static text, for people */
};

/* False when there are none. */
bool sp_utp_next(struct sp_utp *u, struct sp_utp_event *ret_event);

/* Datagrams for one address: len bytes, seg_len each and the last one maybe
 * shorter, contiguous, as UDP_SEGMENT takes them. */
struct sp_utp_batch {
    struct sp_addr to;
    const uint8_t *ptr; /* valid until the next call */
    size_t len;
    uint32_t seg_len;
    bool probe; /* one datagram that must not be fragmented: lost rather, or refused */
};

enum { SP_UTP_BATCH_MAX = 60 * 1024, SP_UTP_BATCH_COUNT_MAX = 60 };

/* What to send next; false when there is nothing.  Then one of the two below;
 * without, the same is given again later. */
bool sp_utp_pull(struct sp_utp *u, sp_time_ns now, struct sp_utp_batch *ret_batch);
void sp_utp_sent(struct sp_utp *u, sp_time_ns now);
/* It will not be sent, whoever tries: too long for the way out (too_long), or
 * the system says no.  As if it was lost. */
void sp_utp_refused(struct sp_utp *u, bool too_long, sp_time_ns now);

sp_time_ns sp_utp_deadline(const struct sp_utp *u);
void sp_utp_tick(struct sp_utp *u, sp_time_ns now);

/* --- how it stands, for people and tests ------------------------------------ */

struct sp_utp_stats {
    uint32_t window_bytes, flight_bytes, peer_window_bytes, mss_bytes;
    sp_time_ns rtt_ns, rto_ns, queue_ns; /* queue_ns: what our packets wait on the way */
    uint64_t sent_bytes, received_bytes; /* payload, first time */
    uint64_t sent_packets, resent_packets, lost_packets, timeouts;
    uint64_t unread_bytes, early_bytes; /* kept: not taken yet, out of order */
    bool slow_start;
};

void sp_utp_conn_stats(const struct sp_utp_conn *c, struct sp_utp_stats *ret_stats);
uint32_t sp_utp_conn_count(const struct sp_utp *u); /* those being closed included */
/* Checks what holds between calls; NULL, or what does not. */
const char *sp_utp_broken(const struct sp_utp *u);

#endif
