/* pex.h - peer exchange (BEP-0011): whom each peer was told of, and what peers
 * told us; private to this room.
 *
 *   pex.c       what we tell: seats, messages out, one a minute
 *   hearsay.c   what we are told: whom to believe, how much, and how many of
 *               the connections being dialled it may take
 *
 * Who is connected, or parted from us lately, has a seat.  A connection keeps a
 * bit for each seat that it was told of; a seat stays until everybody who was
 * told of it was told of its end, so nothing is dropped that was not added.
 */
#ifndef SP_TORRENT_PEX_H
#define SP_TORRENT_PEX_H

#include "core/base/addr.h"

struct sp_torrent;
struct sp_conn;
struct sp_candidate;

enum {
    PEX_SEATS_MAX = 512, /* who finds none is told to nobody */
    PEX_WORDS = PEX_SEATS_MAX / 64,
    PEX_RECENT_MAX = 25,      /* BEP-0011: of a family, who parted lately */
    PEX_LIVE_ENOUGH = 25,     /* connected: then nobody needs to hear of those */
    PEX_FIRST_WORTH = 10,     /* contacts for which the first message goes out at once */
    PEX_STRIKES_MAX = 6,      /* breaches of the rules, then the connection ends */
    PEX_TOLD_MAX = 100,       /* contacts of a message: Custom: seen in libtorrent */
    PEX_FIRST_MAX = 300,      /* and of a first one */
    HEARSAY_PER_TELLER = 100, /* candidates that one address answers for */
    HEARSAY_MAX = 2000,       /* of all: half of the table */
    TELLERS_MAX = 256,
    HEARSAY_PORT_MIN = 1024, /* strangers do not send us to services */
};
/* BEP-0011: "no more than 1 PEX message per minute"; a little more, so that a
 * network's jitter makes it no less. */
#define PEX_SEND_NS   (61 * SP_SECOND_NS)
#define PEX_SPREAD_NS (4 * SP_SECOND_NS)
#define PEX_FIRST_NS  (3 * SP_SECOND_NS) /* after the handshake: some more may come */
#define PEX_RECV_NS   (45 * SP_SECOND_NS)

struct sp_pex_seat {
    struct sp_addr addr; /* family NONE: free */
    sp_time_ns left_at;
    uint32_t told; /* connections that know of it */
    uint8_t flags; /* enum sp_pex_flag */
    bool live;
    bool recent; /* BEP-0011 "Filling underpopulated lists" */
};

/* An address that told us of peers which nothing else has confirmed. */
struct sp_teller {
    uint64_t key;     /* 0: free */
    uint16_t known;   /* candidates */
    uint16_t dialing; /* of those, connections in the making */
};

struct sp_pex {
    struct sp_pex_seat *seats;
    uint32_t seat_count, seat_cap; /* seats at and above seat_count are free */
    uint32_t live[2], recent[2];   /* v4, v6 */
    uint64_t changes;              /* counts what may be worth a message */
    struct sp_teller *tellers;
    uint32_t teller_cap;
    uint32_t hearsay; /* candidates of all tellers */
};

/* Of one connection. */
struct sp_pex_talk {
    uint64_t told[PEX_WORDS];
    uint64_t drained[PEX_WORDS]; /* who parted: it was told of once */
    uint64_t changes;            /* of sp_pex, when there was last nothing to tell */
    sp_time_ns send_at, recv_at;
    uint8_t strikes;
    bool has_sent, has_heard;
};

/* pex.c */
bool sp_pex_is_on(const struct sp_torrent *t); /* BEP-0027: never on a private one */
void sp_pex_tick(struct sp_conn *c, sp_time_ns now);
/* The connection ends; c->parted says that neither was at fault. */
void sp_pex_leave(struct sp_conn *c, sp_time_ns now);
void sp_pex_done(struct sp_torrent *t);
/* NULL: no memory, or off. */
struct sp_pex *sp_pex_of(struct sp_torrent *t);
struct sp_pex_talk *sp_pex_talk(struct sp_conn *c);
const char *sp_pex_broken(const struct sp_torrent *t);

/* hearsay.c */
void sp_hearsay_got(struct sp_conn *c, struct sp_slice payload, sp_time_ns now);
/* Somebody better than a teller vouches for it, or it goes. */
void sp_hearsay_settle(struct sp_torrent *t, struct sp_candidate *a);
bool sp_hearsay_may_dial(const struct sp_torrent *t, const struct sp_candidate *a);
void sp_hearsay_dialing(struct sp_conn *c, const struct sp_candidate *a);
void sp_hearsay_dialed(struct sp_conn *c); /* it came to something, or to nothing */

#endif
