/* impl.h - a uTP endpoint and its connections as they stand; private to this room.
 *
 *   utp.c      life: endpoint, dial, close, look-up, events, time
 *   accept.c   SYNs: what is known of who has not proven his address yet; resets
 *   input.c    a packet comes: which connection, its data in order
 *   acks.c     what the other end has: round trips, losses, time-outs
 *   output.c   what is written becomes packets; what is to be sent now
 *   window.c   how much may be on its way
 *   delay.c    how long it waits there
 *   packet.c   bytes
 *   check.c    invariants
 */
#ifndef SP_UTP_IMPL_H
#define SP_UTP_IMPL_H

#include "core/base/buf.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/base/queue.h"
#include "core/base/rng.h"
#include "core/base/timers.h"
#include "core/utp/delay.h"
#include "core/utp/packet.h"
#include "core/utp/utp.h"
#include "core/utp/window.h"

enum {
    DATAGRAM_LEAST = 1200, /* payload of UDP that any way carries; QUIC lives by it too */
    DATAGRAM_MAX = 8972,   /* of jumbo frames: what is longer saves nothing more */
    PACKETS_MAX = 8192,    /* of one connection on their way */
    SLICES_MAX = 256,
    RESETS_MAX = 64,
    HALF_SETS = 1024, /* half-open connections, HALF_WAYS in each set */
    HALF_WAYS = 4,
    SPARE_MAX = 64,
    DUP_ACKS = 3,
    SYN_TRIES = 4,
    TRIES = 6, /* time-outs in a row and the other end is gone */
};

#define RTO_FIRST_NS SP_SECOND_NS
/* BEP-0029: "the minimum timeout for a packet is 1/2 second" */
#define RTO_MIN_NS     (SP_SECOND_NS / 2)
#define RTO_MAX_NS     (16 * SP_SECOND_NS)
#define KEEPALIVE_NS   (29 * SP_SECOND_NS) /* NATs forget a way after 30 s */
#define HALF_NS        (10 * SP_SECOND_NS)
#define LINGER_NS      (3 * SP_SECOND_NS)
#define CLOSE_NS       (30 * SP_SECOND_NS)
#define PROBE_EVERY_NS (600 * SP_SECOND_NS)

/* Memory of packets on their way, one behind the other as they were written:
 * what is sent together lies together. */
struct sp_chunk_mem {
    struct sp_chunk_mem *next; /* of the spare ones */
    uint32_t cap, used, live;  /* bytes, bytes, packets */
    uint8_t bytes[];
};

enum {
    TX_SACKED = 1, /* came, says a selective acknowledgment */
    TX_LOST = 2,   /* to be sent again */
    TX_FIN = 4,
    TX_PROBE = 8, /* its last sending was padded */
};

/* A packet of ours, not acknowledged yet. */
struct sp_tx {
    struct sp_chunk_mem *chunk;
    uint8_t *ptr; /* head and payload */
    sp_time_ns sent_at;
    uint16_t len; /* payload */
    uint8_t flags, sends;
};

/* A packet that came before one that is still missing. */
struct sp_rx {
    uint8_t *ptr; /* NULL: it did not */
    uint16_t len;
    bool fin;
};

struct sp_again { /* sent more than once */
    sp_time_ns at;
    uint16_t seq;
};

enum conn_state {
    CONN_SYN_SENT,
    CONN_OPEN,
    CONN_CLOSING, /* the caller has left: what is written goes out, then FIN */
    CONN_DEAD,    /* waits for SP_UTP_CLOSED to be pulled */
};

enum {
    EV_CONNECTED = 1,
    EV_ACCEPTED = 2,
    EV_DATA = 4,
    EV_WRITABLE = 8,
    EV_CLOSED = 16,
};

struct sp_utp_conn {
    struct sp_utp *u;
    void *user;
    struct sp_addr addr;
    uint32_t slot;
    uint16_t recv_id, send_id;
    uint8_t state, events; /* enum conn_state; EV_x not pulled yet */
    bool dialled;
    struct sp_link event_link, out_link;
    struct sp_timer timer;
    const char *why;

    /* Ours: [una .. next) sent, [next .. end) written. */
    uint16_t una, next, end;
    struct sp_tx *tx; /* tx_cap, a power of two: by seq */
    uint32_t tx_cap;
    struct sp_chunk_mem *filling; /* the last one, if it has room */
    uint32_t lost_count;
    uint16_t lost_from;     /* none lost before it */
    uint16_t judged;        /* packets before it are not judged by SACK any more */
    struct sp_queue again;  /* struct sp_again, in the order of sending */
    uint32_t flight_bytes;  /* heads included: on their way, as far as we know */
    uint32_t unacked_bytes; /* payload of [una .. end) */
    uint32_t peer_window;
    uint16_t recover; /* losses before it belong to one round trip */
    bool recovering;
    bool full;       /* the window kept us from sending */
    bool wants_room; /* EV_WRITABLE is owed */
    bool persist;    /* one packet into a closed window */
    bool fin_written;
    uint8_t dup_acks, timeouts;
    bool tail_probed;
    sp_time_ns rto_at, tail_at; /* while anything is on its way */
    sp_time_ns rtt_ns, rtt_var_ns, rto_ns;
    sp_time_ns rtt_least_ns;
    sp_time_ns newest_ns; /* when the latest packet that came was sent */
    sp_time_ns sent_at;   /* anything */
    sp_time_ns close_at;  /* CLOSING: the end of patience */
    struct sp_window window;
    struct sp_delay ours, theirs;

    /* Path length: packets are as long as was found to get through. */
    uint16_t mss;                                /* payload of a full packet */
    uint16_t probe_floor, probe_ceil, probe_len; /* datagrams; probe_len 0: none is out */
    uint16_t probe_seq;
    uint8_t probe_fails;
    sp_time_ns probe_at;

    /* Theirs. */
    uint16_t ack; /* the last one in order */
    uint16_t eof; /* FIN's */
    bool has_eof, at_eof, need_ack, need_syn, stopped, from_unread;
    uint32_t reply_us, told_window;
    struct sp_rx *rx; /* rx_cap, a power of two: by seq */
    uint32_t rx_cap, rx_count, rx_bytes;
    uint16_t rx_high; /* the last early one */
    struct sp_buf unread;

    uint64_t sent_bytes, received_bytes, sent_packets, resent_packets, lost_packets;
    uint32_t timeouts_ever;
};

/* Who sent a SYN and was answered; nothing else is kept of him. */
struct sp_half {
    struct sp_addr addr; /* family NONE: free */
    uint16_t id, syn_seq;
    sp_time_ns at;
};

struct sp_reset {
    struct sp_addr to;
    uint16_t id, ack;
};

enum pulled {
    PULLED_NOTHING,
    PULLED_RESET,
    PULLED_SYN_ACK,
    PULLED_CONTROL, /* SYN, acknowledgment */
    PULLED_PACKETS,
};

struct sp_syn_ack {
    struct sp_addr to;
    uint16_t id, seq, ack;
    uint32_t delay_us;
};

struct sp_utp {
    struct sp_utp_cfg cfg;
    struct sp_rng rng;
    struct sp_timers timers;
    struct sp_map by_key; /* address and recv_id */
    struct sp_utp_conn **conns;
    uint32_t conn_cap, conn_count;
    uint32_t free_slot;       /* none is free below */
    struct sp_utp_conn *last; /* the last one looked up */
    struct sp_list events, out;
    uint64_t kept_bytes;    /* early and unread, of all */
    uint64_t unacked_bytes; /* memory of packets on their way, of all */

    struct sp_half *half; /* HALF_SETS * HALF_WAYS; NULL: nobody has knocked yet */
    struct sp_queue resets, syn_acks;

    struct sp_chunk_mem *spare;
    uint32_t spare_count;

    /* SP_UTP_DATA not answered by sp_utp_took yet. */
    struct sp_utp_conn *data_conn;
    struct sp_slice slices[SLICES_MAX];
    uint8_t *spent[SLICES_MAX]; /* memory of early packets among them */
    uint32_t slice_count;

    /* What sp_utp_pull gave. */
    uint8_t pulled; /* enum pulled */
    struct sp_utp_conn *pulled_conn;
    uint16_t pulled_seq;
    uint32_t pulled_count;
    bool pulled_probe, pulled_acks;
    uint8_t scratch[DATAGRAM_MAX];
};

static inline bool seq_before(uint16_t a, uint16_t b)
{
    return (int16_t)(uint16_t)(a - b) < 0;
}

static inline struct sp_tx *tx_at(const struct sp_utp_conn *c, uint16_t seq)
{
    return &c->tx[seq & (c->tx_cap - 1)];
}

static inline uint32_t us_of(sp_time_ns t)
{
    return (uint32_t)(t / 1000);
}

/* utp.c */
struct sp_utp_conn *sp_utp_conn_new(struct sp_utp *u, const struct sp_addr *addr, uint16_t recv_id,
                                    sp_time_ns now);
void sp_utp_conn_free(struct sp_utp_conn *c);
struct sp_utp_conn *sp_utp_find(struct sp_utp *u, const struct sp_addr *addr, uint16_t recv_id);
void sp_utp_raise(struct sp_utp_conn *c, uint8_t event);
/* It has something to send. */
void sp_utp_queue(struct sp_utp_conn *c);
/* The stream is over, by the other end's fault or for want of memory. */
void sp_utp_fail(struct sp_utp_conn *c, const char *why);
/* The timer fires when it has to. */
void sp_utp_arm(struct sp_utp_conn *c, sp_time_ns now);

/* accept.c */
void sp_utp_got_syn(struct sp_utp *u, const struct sp_addr *from, const struct sp_utp_packet *p,
                    sp_time_ns now);
/* The third packet: a connection, or NULL. */
struct sp_utp_conn *sp_utp_accept(struct sp_utp *u, const struct sp_addr *from,
                                  const struct sp_utp_packet *p, sp_time_ns now);
void sp_utp_reset(struct sp_utp *u, const struct sp_addr *from, const struct sp_utp_packet *p);

/* input.c */
void sp_utp_drop_early(struct sp_utp_conn *c);
void sp_utp_drop_slices(struct sp_utp *u);
uint32_t sp_utp_recv_window(const struct sp_utp_conn *c);

/* acks.c */
void sp_utp_got_ack(struct sp_utp_conn *c, const struct sp_utp_packet *p, sp_time_ns now);
void sp_utp_timeout(struct sp_utp_conn *c, sp_time_ns now);
void sp_utp_probe_tail(struct sp_utp_conn *c, sp_time_ns now);
struct sp_way sp_utp_way(const struct sp_utp_conn *c, sp_time_ns now);

/* output.c */
void sp_utp_write_fin(struct sp_utp_conn *c, sp_time_ns now);
void sp_utp_free_tx(struct sp_utp_conn *c, struct sp_tx *t);
void sp_utp_drop_tx(struct sp_utp_conn *c);
uint16_t sp_utp_datagram_max(const struct sp_utp_conn *c);
void sp_utp_probe_done(struct sp_utp_conn *c, bool came, sp_time_ns now);

#endif
