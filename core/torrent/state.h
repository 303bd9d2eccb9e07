/* state.h - a torrent and its connections as they stand; private to this room.
 *
 *   torrent.c   life: add, check, pause, remove, selection, numbers for people
 *   swarm.c     addresses: whom to dial, whom not
 *   conn.c      a connection's life
 *   messages.c  what its messages mean
 *   recv.c      bytes in: where they belong
 *   ask.c       which blocks to ask for, how many, and when a peer is too slow
 *   store.c     a piece is whole: hash, write, have; blame when it is bad
 *   serve.c     requests of peers: read, send
 *   choke.c     whom to serve
 *   holepunch.c two peers introduced to each other
 *   pex.c, hearsay.c   peers that peers tell of (pex.h)
 *   super.c     super-seeding
 *   crypt.c     enciphered connections
 *   turnover.c  who may be connected, and who gives way
 */
#ifndef SP_TORRENT_STATE_H
#define SP_TORRENT_STATE_H

#include "core/choker/choker.h"
#include "core/picker/blame.h"
#include "core/picker/picker.h"
#include "core/torrent/crypt.h"
#include "core/torrent/hub.h"
#include "core/torrent/pex.h"
#include "core/wire/wire.h"

enum {
    ASK_MAX_SILENT = 512, /* of a peer that tells no reqq */
    ASK_MAX = 2048,       /* of any peer */
    ASK_MIN = 4,
    REQUEST_MAX = 2000,            /* a peer's requests we keep: our reqq */
    READ_MAX = 64,                 /* blocks of one READ job */
    SEND_READY_BYTES = 512 * 1024, /* per connection, read ahead of the socket */
    OUT_MAX = 1024 * 1024,         /* control bytes waiting for a peer that does not read */
    OUT_IDLE_MAX = 256,            /* of those that an idle connection keeps room for */
    FAST_SET_MAX = 10,             /* BEP-0006: k */
    SUGGEST_MAX = 16,
    EXT_LEN_MAX = 32 * 1024, /* of an extended message */
    METADATA_WANTS_MAX = 4096,
    CONN_SLOT_BITS = 12, /* connections of a torrent: below 4096 */
    GONE_KEPT = 128,
    TAKERS_KEPT = 64,
    BANS_MAX = 64,
    SUPER_SLOTS = 2,
};

#define HANDSHAKE_TIMEOUT_NS (15 * SP_SECOND_NS)
#define DIAL_TIMEOUT_NS      (15 * SP_SECOND_NS)
/* BEP-0003: "generally sent once every two minutes" */
#define KEEPALIVE_NS (100 * SP_SECOND_NS)
#define SILENCE_NS   (240 * SP_SECOND_NS)
#define SNUB_NS      (30 * SP_SECOND_NS)
#define SLOT_IDLE_NS (2 * SP_SECOND_NS)
#define TRIM_NS      (2 * SP_SECOND_NS)
#define USELESS_NS   (60 * SP_SECOND_NS)

/* A block asked of a peer; data is where it arrives, from the pool, when it
 * has begun to or is expected next. */
struct sp_ask {
    uint32_t piece, block;
    uint8_t *data;
    sp_time_ns at;
    bool released; /* the picker counts it as not asked any more (snubbed, canceled) */
};

struct sp_want {
    uint32_t piece, off, len;
};

/* A part of what is being sent: a head, a payload, or both. */
struct sp_chunk {
    uint8_t *block; /* a reference of ours */
    uint32_t len;
    uint8_t head_len; /* 0, or SP_WIRE_PIECE_HEAD_LEN */
    uint8_t head[SP_WIRE_PIECE_HEAD_LEN];
};

enum counted {
    COUNTED_NOT,
    COUNTED_BITS,
    COUNTED_SEED,
};

enum sp_conn_state {
    CONN_DIALING,   /* waits for sp_conn_opened */
    CONN_HANDSHAKE, /* waits for the peer's handshake */
    CONN_OPEN,
    CONN_DEAD, /* waits for SP_FX_CLOSE to be pulled; does nothing */
};

/* A piece that a peer was told of while we super-seed (super.c). */
struct sp_super_slot {
    uint32_t piece;
    bool got;      /* by this peer */
    sp_time_ns at; /* told, or moving, or got */
};

enum sp_by {
    SP_BY_TCP = 1,
    SP_BY_UTP = 2,
};

struct sp_stream;

struct sp_conn {
    struct sp_torrent *t; /* NULL when dead */
    struct sp_hub *h;
    void *user;
    struct sp_web *web; /* of a web seed, without wire (web.h); NULL: speaks the peer protocol */
    struct sp_addr addr;
    uint32_t slot;            /* index in t->conns */
    uint32_t peer;            /* the picker's number for it: never used twice in a row for a slot */
    uint64_t blame_key;       /* by address, not by connection: a reconnect washes nothing off */
    uint8_t state;            /* enum sp_conn_state */
    uint8_t tried;            /* enum sp_by, or-ed: how it was dialled, or came */
    struct sp_stream *stream; /* over uTP (core/session/utp.c); NULL: the shell's socket */

    struct sp_addr listen; /* the candidate it counts for; family NONE: none */
    bool incoming, named_by_user, counted_sending;
    bool am_choking, am_interested, peer_choking, peer_interested;
    bool have_all, upload_only, snubbed, optimistic, endgame;
    bool missed;           /* a message to it found no room: it is to be ended */
    uint8_t counted;       /* enum counted: how the picker's availability knows it */
    uint8_t cipher;        /* enum sp_cipher: what it turned out to be */
    bool dials_mse;        /* begins with the handshake of MSE */
    bool told_upload_only; /* that we want nothing more */

    struct sp_link effect_link, send_link, starved_link, down_link, up_link;

    struct sp_wire wire;
    uint32_t msg_bytes;     /* of an unfinished message, taken by the wire so far */
    struct sp_buf out;      /* control messages */
    struct sp_crypt *crypt; /* NULL: bytes are what they seem */

    struct sp_told *told; /* what it said it has before we knew the pieces; NULL: nothing */
    struct sp_bits have;  /* without storage while have_all, or before anything is known */
    uint32_t interesting; /* pieces it has that we want */
    uint32_t have_first, have_most; /* pieces it claimed first, and at most (choke.c) */
    bool claimed;                   /* have_first is set */
    uint32_t allowed[FAST_SET_MAX], suggested[SUGGEST_MAX];
    uint32_t granted[FAST_SET_MAX]; /* pieces we serve it while it is choked */
    uint8_t allowed_count, suggested_count, granted_count;

    /* ask.c */
    struct sp_queue asks; /* struct sp_ask, in order of asking */
    uint32_t ask_target, ask_max;
    uint64_t window_bytes; /* received since window_at */
    sp_time_ns window_at, rtt_ns, slack_ns, last_block_at;
    uint64_t fetch_Bps;      /* smoothed, of the last windows */
    struct sp_ask cur;       /* the block being received, taken out of asks */
    uint32_t released_count; /* of asks */
    uint32_t refusals;       /* since the last block */
    sp_time_ns ask_again_at;
    uint64_t unasked_bytes;
    bool has_cur;   /* false inside a block: nobody asked, its bytes go nowhere */
    bool idle_pick; /* the last pick found nothing */

    /* info.c */
    struct sp_metadata_peer *metadata; /* it announced a size; NULL: not */
    struct sp_queue metadata_wants;    /* uint32_t: pieces of the metadata to send */
    uint32_t metadata_asked;           /* of us, so far */

    /* serve.c */
    struct sp_queue wants;  /* struct sp_want */
    struct sp_queue chunks; /* struct sp_chunk */
    uint32_t ready_bytes;   /* in chunks and in read */
    uint32_t sent_of_chunk; /* bytes of chunks[0] that went out, head included */
    struct sp_work *read;   /* the READ job out for it */

    /* super.c */
    struct sp_bits shown; /* pieces it was told of; without storage: it knows them all */
    struct sp_super_slot super_slots[SUPER_SLOTS];
    uint8_t super_count;

    struct sp_rate down, up;
    uint64_t given_bytes; /* payload sent since unchoked */
    sp_time_ns opened_at, last_recv_at, last_send_at, unchoked_at, choked_at, optimistic_at;
    char client[64];
    uint8_t peer_id[SP_PEER_ID_LEN];

    struct sp_pex_talk *pex; /* NULL: nothing was exchanged */
    uint16_t pex_seat;       /* its seat + 1; 0: none */
    uint16_t teller;         /* while it is dialled: whose word it rests on (hearsay.c); 0 */
    sp_time_ns punch_at;     /* holepunch.c: its allowance is used up until then */
    bool prefers_encryption; /* as its handshake says */
    bool parted;             /* it ends for no fault of its own */
};

/* Room for an address that may be dialled. */
struct sp_candidate {
    struct sp_addr addr;
    sp_time_ns retry_at;
    uint8_t sources; /* enum sp_peer_source bits */
    uint8_t fails;   /* in a row */
    bool connected, banned;
    bool seed;         /* wants nothing: a seed, or a partial one (BEP-0021) */
    uint8_t by;        /* enum sp_by: how it was last reached; 0: never */
    uint8_t pex_flags; /* enum sp_pex_flag, as last told */
    uint16_t teller;   /* whose word alone it rests on, + 1; 0: nobody's (hearsay.c) */
    uint32_t rank;     /* the higher, the earlier (swarm.c) */
    uint32_t relay;    /* the peer that told us last and can introduce us (BEP-0055) */
    bool other_mode;   /* answers to the mode that the policy has second (crypt.c) */
    bool switched;     /* and is being tried that way */
};

/* What an address took from us over connections that are gone (choke.c). */
struct sp_taker {
    uint64_t key; /* blame key; 0: unused */
    uint64_t given_bytes;
    uint32_t have_first, have_most, reconnects;
};

struct sp_gone {
    uint32_t peer;
    uint64_t blame_key;
    struct sp_addr who;
};

/* A job of ours on its way. */
struct sp_work {
    struct sp_job job;
    struct sp_link link;  /* in the hub's works, from birth to end */
    struct sp_work *next; /* in the hub's queue, or t->stuck */
    struct sp_torrent *t; /* NULL: removed meanwhile */
    struct sp_conn *c;    /* READ: NULL when it went */
    uint32_t piece;
    struct sp_want *wants; /* READ: want_count requests it answers, in order */
    uint32_t want_count;
    uint64_t *from; /* HASH, WRITE: who sent each block, as the blame key of its address */
};

static inline struct sp_work *sp_work_of(struct sp_link *link)
{
    return SP_CONTAINER(link, struct sp_work, link);
}

struct sp_torrent {
    struct sp_hub *h;
    sp_torrent_id id;
    uint8_t info_hash[SP_SHA1_LEN];
    const struct sp_metainfo *mi; /* NULL until the metadata is known */
    struct sp_picker *picker;     /* NULL just as long */
    struct sp_blame blame;
    struct sp_choker choker;
    bool selected; /* some files may not be wanted */
    bool sequential;

    enum sp_torrent_state state;
    bool paused, completed, local_peers, was_complete_at_start, announcing;
    bool has_trackers;    /* its number there is ours */
    bool super_seed;      /* wished for, and not over */
    uint16_t *shown_live; /* by piece: in how many connections' super_slots; NULL: it is off */
    enum sp_err err;
    char error[SP_CLIENT_TEXT_LEN];
    bool first_look;       /* CHECKING after METADATA: connections stay */
    bool failed_outside;   /* ERROR by sp_torrent_fail: ends by sp_torrent_recheck alone */
    sp_time_ns retry_at;   /* ERROR of the disk: try the stuck writes again */
    struct sp_work *stuck; /* writes that failed, in order */

    /* told.c, info.c */
    struct sp_metadata *metadata; /* what peers send of it; NULL: nothing yet */
    uint8_t *info;                /* verified, for the shell to learn from; NULL: none */
    size_t info_len;
    struct sp_link learned_link;
    uint32_t told_bytes; /* the sum of conn.told */

    struct sp_torrent *next_leaving; /* session.c: removed, jobs still out */

    struct sp_conn **conns;                  /* conn_cap slots, NULL: free */
    uint32_t conn_cap, conn_count, conn_top; /* slots at and above conn_top are free */

    uint32_t peer_serial;
    struct sp_gone *gone; /* peers that left, for blame; GONE_KEPT in a ring, NULL: none yet */
    uint32_t gone_at;
    struct sp_taker takers[TAKERS_KEPT]; /* a ring */
    uint32_t taker_at;

    struct sp_candidate *cands; /* swarm.c */
    uint32_t cand_count, cand_cap;
    struct sp_map cand_map;
    uint32_t ranked_for;                /* hub.external.changes that the ranks follow */
    uint32_t known_by[SP_PEER_SOURCES]; /* candidates, by bit of their sources */
    struct sp_pex *pex;                 /* NULL: off, or nobody was there yet */
    struct sp_addr bans[BANS_MAX];      /* a ring; port 0: it came to us */
    uint32_t ban_count, ban_at;
    sp_time_ns next_dial_at;
    struct sp_web_seed **webs; /* web_seed.c */
    uint32_t web_count;
    sp_time_ns next_turn_at; /* turnover.c; 0: not begun */

    struct sp_timer timer; /* TICK_NS while there is anything to look after */
    sp_time_ns next_choke_at;
    struct sp_bucket down, up;
    struct sp_rate down_rate, up_rate;
    uint64_t downloaded, uploaded, wasted, corrupt; /* payload bytes, ever */
    uint32_t jobs_out, writes_out;
    bool passes;              /* ERROR of a read: ends by itself at retry_at */
    bool slots_full;          /* after the last sp_choke_more */
    uint32_t serving;         /* connections that we unchoke and that are interested */
    uint64_t committed_bytes; /* its share of the hub's */
    uint32_t piece_room;      /* memory of one piece: its length in whole blocks */
    sp_time_ns active_ns, seeding_ns, counted_at;
    uint32_t tracker_seeds, tracker_leechers;
};

#define TICK_NS (SP_SECOND_NS / 2)

/* torrent.c */
struct sp_conn *sp_torrent_conn(const struct sp_torrent *t, uint32_t peer); /* NULL: gone */
uint64_t sp_torrent_blame_key(const struct sp_torrent *t, uint32_t peer);   /* 0: forgotten */
bool sp_torrent_running(const struct sp_torrent *t); /* may have connections */
void sp_torrent_tick(struct sp_torrent *t, sp_time_ns now);
/* wanted: until now, so that connections count it as interesting. */
void sp_torrent_piece_had(struct sp_torrent *t, uint32_t piece, bool wanted, sp_time_ns now);
void sp_torrent_set_error(struct sp_torrent *t, enum sp_err err, const char *text, sp_time_ns now);
void sp_torrent_clear_error(struct sp_torrent *t, sp_time_ns now);
void sp_torrent_drop_conns(struct sp_torrent *t, const char *why, sp_time_ns now);
uint64_t sp_torrent_left(const struct sp_torrent *t);

/* check.c: for tests.  NULL, or what is wrong. */
struct sp_census {
    uint64_t shares; /* of pool blocks, CENSUS_WHOLE for each block that is reached */
    bool blurred;    /* a block has too many references to be counted so */
};
#define CENSUS_WHOLE UINT64_C(5342931457063200) /* divisible by all up to 40 */
void sp_census_block(const struct sp_hub *h, struct sp_census *census, const uint8_t *block);
const char *sp_torrent_broken(const struct sp_torrent *t, struct sp_census *census);

/* messages.c: again, when it has changed (BEP-0010) */
void sp_conn_say_ext_handshake(struct sp_conn *c);

/* swarm.c */
void sp_swarm_add(struct sp_torrent *t, const struct sp_addr *addr, uint8_t source, sp_time_ns now);
void sp_swarm_dial(struct sp_torrent *t, sp_time_ns now);
/* The way out is back: what failed without it is tried again. */
void sp_swarm_online(struct sp_torrent *t, sp_time_ns now);
/* Another filter of addresses came: whom it blocks goes. */
void sp_swarm_filter(struct sp_torrent *t, sp_time_ns now);
/* One has answered: more may, so the pace grows with those that do. */
void sp_swarm_dial_next(struct sp_torrent *t, sp_time_ns now);
/* Addresses that could be dialled now. */
uint32_t sp_swarm_waiting(struct sp_torrent *t, sp_time_ns now);
/* More is wanted than before: who had nothing to do with us may be of use now. */
void sp_swarm_recall(struct sp_torrent *t, sp_time_ns now);
struct sp_candidate *sp_swarm_find(struct sp_torrent *t, const struct sp_addr *addr);
/* Puts it in, whatever its address is; NULL: banned, or there is no room. */
struct sp_candidate *sp_swarm_enter(struct sp_torrent *t, const struct sp_addr *addr,
                                    uint8_t source);
void sp_swarm_source(struct sp_torrent *t, struct sp_candidate *a, uint8_t source);
/* Not connected. */
void sp_swarm_forget(struct sp_torrent *t, struct sp_candidate *a);
/* who: see sp_conn_who.  Ends the connections that have this blame key. */
void sp_swarm_ban(struct sp_torrent *t, uint64_t key, const struct sp_addr *who, const char *why,
                  sp_time_ns now);
bool sp_swarm_is_banned(const struct sp_torrent *t, const struct sp_addr *addr, bool incoming);
void sp_swarm_gone(struct sp_torrent *t, struct sp_conn *c, sp_time_ns now);

/* conn.c */
struct sp_conn *sp_conn_new(struct sp_torrent *t, const struct sp_addr *addr, bool incoming,
                            sp_time_ns now);
/* OPEN from birth, has nothing yet; web is TAKEN when it succeeds. */
struct sp_conn *sp_conn_new_web(struct sp_torrent *t, struct sp_web *web, uint64_t blame_key,
                                sp_time_ns now);
/* Ends it from our side: SP_FX_CLOSE follows. */
void sp_conn_end(struct sp_conn *c, const char *why, sp_time_ns now);
/* As whom it is known to bans and blame: port 0 where it came to us. */
struct sp_addr sp_conn_who(const struct sp_conn *c);
void sp_conn_free(struct sp_conn *c); /* dead, effect pulled */
void sp_conn_wants_send(struct sp_conn *c);
/* err of a sp_wire_put_x into c->out.  A peer that misses a message cannot be
 * talked to any more; it goes at the next sp_conn_send_list or tick, so that
 * those who queue messages need not expect it to. */
void sp_conn_said(struct sp_conn *c, enum sp_err err);
void sp_conn_say_ext_handshake(struct sp_conn *c); /* messages.c; may be said again */
void sp_conn_tick(struct sp_conn *c, sp_time_ns now);
bool sp_conn_has(const struct sp_conn *c, uint32_t piece);
bool sp_conn_is_seed(const struct sp_conn *c);

/* messages.c */
void sp_conn_event(struct sp_conn *c, const struct sp_wire_event *ev, sp_time_ns now);
void sp_conn_update_interest(struct sp_conn *c, sp_time_ns now);
/* Two that want nothing of each other part. */
void sp_conn_end_if_useless(struct sp_conn *c, sp_time_ns now);

/* told.c */
/* Keeps what it says of pieces until they are known; false: not about pieces. */
bool sp_told_take(struct sp_conn *c, const struct sp_wire_event *ev, sp_time_ns now);
/* The pieces are known now: says it again to sp_conn_event.  May end c. */
void sp_told_apply(struct sp_conn *c, sp_time_ns now);
void sp_told_drop(struct sp_conn *c);
/* What an open connection hears late: it came before we knew what is here. */
void sp_told_say_have(struct sp_torrent *t, sp_time_ns now);

void sp_conn_has_all(struct sp_conn *c, sp_time_ns now);
void sp_conn_has_not(struct sp_conn *c, uint32_t piece, sp_time_ns now);

/* recv.c: bytes that the rate limits let through now; 0 puts c to sleep. */
uint64_t sp_recv_allowed(struct sp_conn *c, sp_time_ns now);
void sp_recv_count(struct sp_conn *c, size_t len, sp_time_ns now);
/* The same sleep, until at. */
void sp_recv_sleep(struct sp_conn *c, sp_time_ns at);
/* info.c */
void sp_info_offer(const struct sp_torrent *t, struct sp_ext_handshake *hs);
void sp_info_told(struct sp_conn *c, const struct sp_ext_handshake *hs, sp_time_ns now);
void sp_info_message(struct sp_conn *c, struct sp_slice payload, sp_time_ns now);
void sp_info_fill(struct sp_conn *c); /* requests it can be answered now */
void sp_info_gone(struct sp_conn *c);
void sp_info_tick(struct sp_torrent *t, sp_time_ns now);
/* Bytes of the info dictionary, 0: not known; and of these how many are here. */
void sp_info_progress(const struct sp_torrent *t, uint64_t *ret_bytes, uint64_t *ret_have);
/* The metadata says that the torrent is private. */
void sp_info_go_private(struct sp_torrent *t, sp_time_ns now);
/* What was fetched is of no use any more. */
void sp_info_drop(struct sp_torrent *t);

/* ask.c */
/* Fills in who asks, what it has and how much memory there is. */
uint32_t sp_ask_pick(struct sp_conn *c, struct sp_pick *ask, struct sp_block_ref *refs);
/* The picker has marked these; gives how many are asked for. */
uint32_t sp_ask_push(struct sp_conn *c, const struct sp_block_ref *refs, uint32_t n,
                     sp_time_ns now);
/* After a pick that gave less than was wanted. */
void sp_ask_picked(struct sp_conn *c, uint32_t got, uint32_t wanted);
uint32_t sp_ask_share(const struct sp_hub *h); /* blocks that one connection may ask for */
void sp_ask_more(struct sp_conn *c, sp_time_ns now);
void sp_ask_drop_all(struct sp_conn *c);
void sp_ask_rejected(struct sp_conn *c, uint32_t piece, uint32_t off, sp_time_ns now);
void sp_ask_begin(struct sp_conn *c, uint32_t piece, uint32_t off, uint32_t len, sp_time_ns now);
/* The block being received may be asked of others. */
void sp_ask_release_cur(struct sp_conn *c);
void sp_ask_end(struct sp_conn *c, uint32_t len,
                sp_time_ns now);                    /* the block of sp_ask_begin is whole */
void sp_ask_commit(struct sp_torrent *t);           /* after pieces were opened or closed */
void sp_ask_wake(struct sp_hub *h, sp_time_ns now); /* memory came back */
void sp_ask_tick(struct sp_conn *c, sp_time_ns now);

/* store.c */
void sp_store_piece(struct sp_torrent *t, uint32_t piece);
void sp_store_done(struct sp_work *w, enum sp_err err, const char *text, sp_time_ns now);
void sp_store_retry(struct sp_torrent *t, sp_time_ns now);
void sp_store_drop_open(struct sp_torrent *t);
/* Memory is short: lets go what nobody goes on with. */
void sp_store_make_room(struct sp_torrent *t);
struct sp_work *sp_work_new(struct sp_hub *h);
void sp_work_free(struct sp_hub *h, struct sp_work *w);
void sp_work_out(struct sp_hub *h, struct sp_work *w);

/* serve.c */
void sp_serve_request(struct sp_conn *c, uint32_t piece, uint32_t off, uint32_t len,
                      sp_time_ns now);
void sp_serve_cancel(struct sp_conn *c, uint32_t piece, uint32_t off, uint32_t len);
void sp_serve_choked(struct sp_conn *c);
void sp_serve_fill(struct sp_conn *c);
void sp_serve_done(struct sp_work *w, enum sp_err err, const char *text, sp_time_ns now);
void sp_serve_drop(struct sp_conn *c);
/* As sp_conn_send_list and sp_conn_sent, in plain text and up to max bytes. */
uint32_t sp_serve_list(struct sp_conn *c, struct sp_slice *list, uint32_t cap, uint64_t max,
                       sp_time_ns now);
void sp_serve_sent(struct sp_conn *c, size_t len, sp_time_ns now);

/* turnover.c */
/* As many strangers as one place may send are connected from it. */
bool sp_turnover_is_crowded(const struct sp_torrent *t, const struct sp_addr *addr);
/* Ends one that is of no use; false: there is none. */
bool sp_turnover_make_room(struct sp_torrent *t, sp_time_ns now);
void sp_turnover_tick(struct sp_torrent *t, sp_time_ns now);
/* Tells those who do not know it yet whether we want nothing more (BEP-0021). */
void sp_upload_only_tell(struct sp_torrent *t);

/* super.c */
void sp_super_begin(struct sp_torrent *t); /* if it is wished for, and has everything */
bool sp_super_is_on(const struct sp_torrent *t);
void sp_super_hello(struct sp_conn *c); /* instead of what is had */
void sp_super_seen(struct sp_conn *from, uint32_t piece, sp_time_ns now);
void sp_super_drop(struct sp_conn *c);
void sp_super_tick(struct sp_torrent *t, sp_time_ns now);
void sp_super_end(struct sp_torrent *t, sp_time_ns now);

/* holepunch.c */
void sp_holepunch_got(struct sp_conn *c, struct sp_slice payload, sp_time_ns now);

/* choke.c */
void sp_choke_run(struct sp_torrent *t, sp_time_ns now);
void sp_choke_more(struct sp_torrent *t, sp_time_ns now); /* between rounds */
void sp_choke_set(struct sp_conn *c, bool choke, sp_time_ns now);
void sp_choke_gone(struct sp_conn *c); /* remembers what it took */

#endif
