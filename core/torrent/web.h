/* web.h - web seeds of a torrent; private to this room.
 *
 *   web_seed.c  which there are, when to connect, how many at once, bans
 *   web.c       one connection: what is asked for, bytes in
 *
 * A web seed is a peer that has everything, chokes nobody and answers in
 * order.  So a connection to one is a struct sp_conn, without a wire: the
 * requests (ask.c), the blocks, blame, rate limits and the numbers for people
 * are those of any peer, and whoever walks t->conns meets it as a seed.  Only
 * how blocks are asked for and how bytes come in is here.
 */
#ifndef SP_TORRENT_WEB_H
#define SP_TORRENT_WEB_H

#include "core/torrent/state.h"

enum {
    WEB_SEEDS_MAX = 64,       /* of a torrent; more are not looked at */
    WEB_HOST_CONNS_MAX = 4,   /* at once to one host, of all torrents of a session */
    WEB_RUN_MIN = 16,         /* blocks asked for at once: 256 KiB */
    WEB_RUN_MAX = 1024,       /* 16 MiB */
    WEB_BAD_MAX = 3,          /* corrupt pieces; then it is not used any more */
    WEB_LOST_MAX = 16,        /* files that it lacks, one after another; likewise */
    WEB_SKIP_MAX = 64 * 1024, /* bytes of an error's body that are read over */
};

#define WEB_RUN_NS       (4 * SP_SECOND_NS) /* what a run may take at the rate measured */
#define WEB_STALL_NS     (60 * SP_SECOND_NS)
#define WEB_PASS_NS      (250 * SP_MS_NS) /* what is not of use is read over for so long */
#define WEB_GROW_NS      SP_SECOND_NS
#define WEB_SETTLE_NS    (60 * SP_SECOND_NS)
#define WEB_RETRY_NS     SP_SECOND_NS /* doubled with each failure */
#define WEB_RETRY_MAX_NS (300 * SP_SECOND_NS)
#define WEB_BUSY_NS      (30 * SP_SECOND_NS) /* BEP-0017: "a default retry time of 30 seconds" */

struct sp_web_seed {
    char *url;
    uint8_t kind;  /* enum sp_web_seed_kind */
    bool is_local; /* the user named it: it may be anywhere */
    bool is_gone;  /* not used any more */
    uint64_t blame_key, host_key;
    uint32_t conns, conns_want;
    uint32_t fails;      /* in a row */
    uint32_t bad_pieces; /* ever */
    sp_time_ns retry_at;
    struct sp_bits lost;    /* files that it does not have; no storage: none */
    uint32_t lost_in_a_row; /* since the last block */
    /* More connections only while that makes it faster. */
    sp_time_ns look_at;
    uint64_t bytes, bytes_then; /* received; at the last look */
    uint64_t best_Bps;
};

enum web_state {
    WEB_IDLE,  /* nothing is asked for */
    WEB_ASKED, /* the answer is to come */
    WEB_BODY,
    WEB_SKIP, /* the body is an error's, seconds to wait at best */
    WEB_TAIL, /* all that was asked for is here; the end is to come */
};

struct sp_web {
    struct sp_link link;    /* h->webs */
    struct sp_link fx_link; /* h->web_fx: GET, or STOP when IDLE */
    struct sp_conn *conn;
    struct sp_web_seed *seed;
    uint8_t state;    /* enum web_state */
    bool is_starting; /* start() is at work */
    uint64_t at;      /* torrent offset of the next byte */
    uint64_t end;     /* where the answer ends, at most */
    uint32_t near;    /* piece to go on from */
    uint32_t file;    /* that is asked for (BEP 19) */
    uint64_t skipped;
    enum sp_web_verdict verdict; /* SKIP: */
    sp_time_ns wait_ns;          /* SKIP: what the head said */
    const char *why;
    char *url;
    uint8_t note[16]; /* SKIP: the body's beginning */
    uint32_t note_len;
};

/* web_seed.c */
/* Those of add; those of the metainfo, once it is known.  SP_ENOMEM */
enum sp_err sp_web_add_named(struct sp_torrent *t, const struct sp_session_add *add);
enum sp_err sp_web_add_own(struct sp_torrent *t);
void sp_web_done(struct sp_torrent *t);
/* Connects where it is time to; each tick. */
void sp_web_run(struct sp_torrent *t, sp_time_ns now);
/* A corrupt piece is the fault of this key.  false: that is no web seed's. */
bool sp_web_blamed(struct sp_torrent *t, uint64_t key, sp_time_ns now);
void sp_web_host_text(const struct sp_conn *c, char ret_text[SP_HOST_TEXT_LEN]);
/* For people, e.g. "web seed example.org: is busy; asked again in 30 s". */
void sp_web_tell(struct sp_torrent *t, const struct sp_web_seed *seed, const char *why,
                 sp_time_ns wait_ns);
void sp_web_give_up(struct sp_torrent *t, struct sp_web_seed *seed, const char *why,
                    sp_time_ns now);

/* web.c */
struct sp_conn *sp_web_open(struct sp_torrent *t, struct sp_web_seed *seed, sp_time_ns now);
void sp_web_detach(struct sp_conn *c); /* its connection ends */
void sp_web_ask(struct sp_conn *c, bool endgame, sp_time_ns now);
/* Another peer was faster with a block. */
void sp_web_cancelled(struct sp_conn *c, sp_time_ns now);
void sp_web_tick(struct sp_conn *c, sp_time_ns now);
bool sp_web_next(struct sp_hub *h, struct sp_effect *fx);

#endif
