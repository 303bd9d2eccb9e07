/* session.h - all torrents of one reactor: the only thing the shell talks to.
 *
 * Pure.  Bytes, disk and hash results and the time go in; what is to be done
 * comes out as effects, pulled until there are none:
 *
 *   readable            sp_conn_recv_room, readv, sp_conn_received
 *   writable            sp_conn_send_list, writev, sp_conn_sent
 *   dialled, refused    sp_conn_opened, sp_conn_closed
 *   accepted            handshake head read by the shell; sp_session_accept
 *   disk or hash done   sp_session_job_done
 *   HTTP, DNS, UDP      sp_session_trackers + sp_trackers_http_reply, ...
 *   deadline reached    sp_session_tick
 *   after any of these  sp_session_next until false
 *   before sleeping     sp_session_deadline
 *
 * So a swarm of sessions runs in one test, in virtual time, from one seed
 * (sim/), and the same code runs behind sockets (io/reactor).
 *
 * Payload never passes through here by copy where it can be helped: the
 * session says where the bytes of the next blocks belong, the shell receives
 * into that; blocks go out, are hashed, written and read as lists of pool
 * blocks.  See docs/core/session.md.
 */
#ifndef SP_SESSION_SESSION_H
#define SP_SESSION_SESSION_H

#include "core/base/addr.h"
#include "core/base/bits.h"
#include "core/base/mem.h"
#include "core/mse/mse.h"
#include "core/session/external.h"
#include "core/tracker/tracker.h"
#include "core/utp/utp.h"
#include "core/web/answer.h"
#include "core/wire/handshake.h"
#include "spate/client.h"
#include "spate/metainfo.h"

struct sp_session;
struct sp_torrent;
struct sp_conn;

struct sp_session_cfg {
    const struct sp_mem *mem;       /* small things; borrowed until free */
    const struct sp_mem *block_mem; /* 2 MiB slabs of payload; NULL: mem */
    uint64_t seed;                  /* of all randomness */
    uint8_t secret[16];             /* keys tables and fingerprints; not guessable by peers */
    uint8_t mse_key[16];            /* from a cryptographic source, another for each session:
                                       of it come the secrets of MSE's key exchange */
    uint8_t peer_id[SP_PEER_ID_LEN];
    const char *client_name;   /* "Spate 0.1.0": v of BEP-0010; copied */
    uint16_t listen_port;      /* 0: none */
    uint64_t memory_bytes;     /* block budget */
    uint64_t down_Bps, up_Bps; /* 0: no limit */
    uint32_t conn_max, torrent_conn_max, half_open_max;
    uint32_t upload_slots_max; /* 0: by capacity */
    bool allow_local_peers;    /* peers from trackers may be private or loopback */
    bool no_pex;               /* no peer exchange (BEP-0011) */
    bool want_prints;          /* unused unless a piece failed; for tests: always */
    enum sp_encryption encryption;
    sp_mse_find *find_skey; /* see sp_door_init; for what comes over uTP */
    void *find_ctx;
    bool utp;                          /* datagrams are sent and received: sp_session_datagrams */
    bool no_tcp;                       /* never dial over TCP */
    uint16_t utp_id_modulo, utp_id_of; /* see sp_utp_cfg */
};

SP_MUST_USE enum sp_err sp_session_new(const struct sp_session_cfg *cfg, sp_time_ns now,
                                       struct sp_session **ret_session);
/* Frees everything, without effects.  Jobs still out must not come back.  Takes NULL. */
void sp_session_free(struct sp_session *s);

/* --- torrents ------------------------------------------------------------- */

struct sp_session_web {
    const char *url; /* BEP 19 */
    bool named_by_user;
};

struct sp_session_add {
    /* Borrowed until the torrent is removed.  NULL: only the info-hash is known;
     * sp_torrent_learn brings the rest. */
    const struct sp_metainfo *metainfo;
    uint8_t info_hash[SP_SHA1_LEN];        /* where metainfo is NULL */
    const uint8_t *priorities;             /* per file, NULL: all normal; copied */
    const struct sp_tracker_url *trackers; /* all of them, the torrent's own included; copied */
    uint32_t tracker_count;
    const struct sp_session_web *webs; /* besides those in metainfo; copied */
    uint32_t web_count;
    uint64_t down_Bps, up_Bps;
    bool sequential;
    bool paused;
    bool super_seed;                           /* BEP-0016, while it is of use */
    bool local_peers;                          /* for this torrent, as allow_local_peers */
    uint64_t downloaded_bytes, uploaded_bytes; /* so far, from saved state */
};

/* The torrent is CHECKING (no network) until sp_torrent_checked; one that is
 * known by its info-hash alone is METADATA then, until the session has the
 * info dictionary (SP_FX_METADATA) and the shell answers with sp_torrent_learn.
 * id is the caller's number.  SP_EEXIST the id or info-hash, SP_ENOMEM */
SP_MUST_USE enum sp_err sp_session_add(struct sp_session *s, sp_torrent_id id,
                                       const struct sp_session_add *add, sp_time_ns now);
/* The shell knows what is on the disk.  have may be NULL: nothing. */
void sp_torrent_checked(struct sp_session *s, sp_torrent_id id, const struct sp_bits *have,
                        sp_time_ns now);
/* The rest of a torrent that was added by its info-hash: metainfo as in
 * sp_session_add, priorities as there.  It is CHECKING then; connections stay.
 * SP_ENOENT, SP_EEXIST it is known, SP_EINVAL another info-hash, SP_ENOMEM */
SP_MUST_USE enum sp_err sp_torrent_learn(struct sp_session *s, sp_torrent_id id,
                                         const struct sp_metainfo *metainfo,
                                         const uint8_t *priorities, sp_time_ns now);
/* Back to CHECKING: connections go, the shell looks again.  No effect while
 * the metadata is not known. */
void sp_torrent_recheck(struct sp_session *s, sp_torrent_id id, sp_time_ns now);
void sp_torrent_pause(struct sp_session *s, sp_torrent_id id, sp_time_ns now);
void sp_torrent_resume(struct sp_session *s, sp_torrent_id id, sp_time_ns now);
/* Something the shell found out: pauses with this error.  An error of writing
 * comes by itself from a failed job. */
void sp_torrent_fail(struct sp_session *s, sp_torrent_id id, enum sp_err err, const char *text,
                     sp_time_ns now);
/* Forgets it; connections close, jobs out are ignored when they come back,
 * the announcer says "stopped".  The metainfo may go once sp_torrent_busy is false. */
void sp_torrent_remove(struct sp_session *s, sp_torrent_id id, sp_time_ns now);
/* Jobs of this id are still out. */
bool sp_torrent_busy(const struct sp_session *s, sp_torrent_id id);

void sp_torrent_set_priorities(struct sp_session *s, sp_torrent_id id, const uint8_t *priorities,
                               sp_time_ns now);
void sp_torrent_set_limits(struct sp_session *s, sp_torrent_id id, uint64_t down_Bps,
                           uint64_t up_Bps, sp_time_ns now);
void sp_session_set_limits(struct sp_session *s, uint64_t down_Bps, uint64_t up_Bps,
                           sp_time_ns now);
/* Whom this blocks is not dialled and not taken, and goes if connected.  NULL:
 * nobody.  Borrowed until another is set, or the end. */
struct sp_ipfilter;
void sp_session_set_filter(struct sp_session *s, const struct sp_ipfilter *filter, sp_time_ns now);
/* Nobody can be reached (the way out is down): nobody is dialled, and no
 * failure is held against anybody, until it is back. */
void sp_session_set_online(struct sp_session *s, bool online, sp_time_ns now);
/* Fewer than there are: none is ended for it, none is added. */
void sp_session_set_conn_limits(struct sp_session *s, uint32_t conn_max, uint32_t half_open_max);
/* The port that peers reach us on is another one (a mapped port came or changed):
 * trackers are told. */
void sp_session_set_port(struct sp_session *s, uint16_t port, sp_time_ns now);
/* Another block budget; a lower one takes effect as blocks come back. */
void sp_session_set_memory(struct sp_session *s, uint64_t bytes, sp_time_ns now);

/* Addresses to dial sometime; those that the rules forbid are left out. */
void sp_torrent_add_peers(struct sp_session *s, sp_torrent_id id, const struct sp_addr *addrs,
                          uint32_t count, enum sp_peer_source source, sp_time_ns now);

/* What is had (written; durable once the shell has synced).  Borrowed until
 * the next call that changes it; NULL for an unknown id, or in METADATA. */
const struct sp_bits *sp_torrent_have(const struct sp_session *s, sp_torrent_id id);
/* SP_TORRENT_MAX_ID when no torrent has it. */
#define SP_TORRENT_NONE UINT32_MAX
sp_torrent_id sp_session_find(const struct sp_session *s, const uint8_t info_hash[SP_SHA1_LEN]);

/* durable_bytes, checked_bytes are the shell's to fill.  SP_ENOENT */
enum sp_err sp_torrent_stats(struct sp_session *s, sp_torrent_id id, sp_time_ns now,
                             struct sp_torrent_stats *ret_stats);
uint32_t sp_torrent_peers(struct sp_session *s, sp_torrent_id id, sp_time_ns now,
                          struct sp_peer_info *ret_peers, uint32_t cap);
void sp_session_totals(struct sp_session *s, sp_time_ns now, struct sp_client_totals *ret_totals);

/* --- connections ------------------------------------------------------------ */

/* A connection the shell accepted and whose handshake names torrent id (see
 * sp_handshake_peek).  The bytes read so far go to sp_conn_received_bytes.
 * NULL: not wanted (full, banned, paused): close it. */
struct sp_conn *sp_session_accept(struct sp_session *s, sp_torrent_id id,
                                  const struct sp_addr *addr, void *user, sp_time_ns now);
/* Answers SP_FX_DIAL. */
void sp_conn_opened(struct sp_conn *c, sp_time_ns now);
/* The stream ended or failed, or could not be dialled (why: for people).  The
 * pointer is dead after this; no SP_FX_CLOSE follows. */
void sp_conn_closed(struct sp_conn *c, const char *why, sp_time_ns now);

/* The shell's own pointer, from accept or set on SP_FX_DIAL. */
void sp_conn_set_user(struct sp_conn *c, void *user);
void *sp_conn_user(const struct sp_conn *c);

enum { SP_CONN_IOV_MAX = 64, SP_CONN_RECV_MAX = 512 * 1024, SP_CONN_SEND_MAX = 1024 * 1024 };

/* Where the next bytes of this connection belong: up to SP_CONN_IOV_MAX
 * entries to be filled in order.  0: do not read now (rate limit); SP_FX_RECV
 * comes when reading may go on.  Valid until the next call on the session;
 * then sp_conn_received tells how many bytes came (> 0). */
uint32_t sp_conn_recv_room(struct sp_conn *c, struct sp_iov iov[SP_CONN_IOV_MAX], sp_time_ns now);
void sp_conn_received(struct sp_conn *c, size_t len, sp_time_ns now);
/* The same for bytes that lie elsewhere. */
void sp_conn_received_bytes(struct sp_conn *c, struct sp_slice bytes, sp_time_ns now);

/* What to send next, up to cap entries and SP_CONN_SEND_MAX bytes; 0 when
 * there is nothing, or nothing now.  Then sp_conn_sent tells how much went.
 * Once for an SP_FX_SEND, which comes again while there is more: who goes on
 * takes the others' share of a rate limit.  So with reading. */
uint32_t sp_conn_send_list(struct sp_conn *c, struct sp_slice *list, uint32_t cap, sp_time_ns now);
void sp_conn_sent(struct sp_conn *c, size_t len, sp_time_ns now);

/* --- web seeds (BEP 19, BEP 17) ------------------------------------------------ */

/* What SP_FX_WEB says is to be done.  conn is NULL with CLOSE; fx.user is what
 * sp_conn_set_user said, NULL when nothing did. */
enum sp_web_kind {
    SP_WEB_GET,    /* ask for this; what was asked for before is given up */
    SP_WEB_RESUME, /* sp_web_body may be called again */
    SP_WEB_STOP,   /* give up what was asked for; a GET may follow, sometime */
    SP_WEB_CLOSE,  /* the same, and the connection is forgotten */
};

struct sp_web_action {
    enum sp_web_kind kind;
    const char *url;   /* GET: valid until the next call on the session */
    bool has_range;    /* GET: bytes [from, to) of it; else the whole */
    uint64_t from, to; /* bytes */
    bool allow_local;  /* GET: the user named it */
};

/* The answer's head has come; the last one, after redirects. */
void sp_web_answered(struct sp_conn *c, const struct sp_web_head *head, sp_time_ns now);
/* Some of the body: taken as a whole, or (false) not now, neither this nor
 * what follows: SP_WEB_RESUME comes when it is to be given again. */
bool sp_web_body(struct sp_conn *c, struct sp_slice bytes, sp_time_ns now);
/* The answer is over.  why: it is not whole, for people; NULL: it is. */
void sp_web_ended(struct sp_conn *c, const char *why, sp_time_ns now);

/* --- datagrams (uTP) ---------------------------------------------------------
 *
 * Connections over uTP are dialled, read and written inside; no effect speaks
 * of them.  After anything else, and before sleeping: sp_session_datagram_next
 * until false. */

/* As sp_utp_datagrams, all of them; those that sp_utp_is_packet. */
void sp_session_datagrams(struct sp_session *s, const struct sp_addr *from, struct sp_slice bytes,
                          uint32_t seg_len, sp_time_ns now);
/* As sp_utp_knocks, sp_utp_vouch: the endpoints of sessions with one secret. */
bool sp_session_knocks(struct sp_session *s, const struct sp_addr *from, struct sp_slice datagram,
                       struct sp_utp_knock *ret_knock, sp_time_ns now);
void sp_session_vouch(struct sp_session *s, const struct sp_utp_knock *knock, sp_time_ns now);
/* As sp_utp_pull, then one of the two; neither when the socket takes nothing now. */
bool sp_session_datagram_next(struct sp_session *s, struct sp_utp_batch *ret_batch, sp_time_ns now);
void sp_session_datagram_sent(struct sp_session *s, sp_time_ns now);
void sp_session_datagram_refused(struct sp_session *s, bool too_long, sp_time_ns now);

/* --- effects ---------------------------------------------------------------- */

enum sp_job_kind {
    SP_JOB_READ,  /* fill iov from off */
    SP_JOB_HASH,  /* SHA-1 of iov in order into digest; prints when asked */
    SP_JOB_WRITE, /* write iov at off */
};

/* The session's, lent to the shell from the effect until sp_session_job_done. */
struct sp_job {
    enum sp_job_kind kind;
    sp_torrent_id torrent;
    uint64_t off;       /* torrent offset */
    struct sp_iov *iov; /* pool blocks, 4096-aligned; each but the last SP_BLOCK_LEN long */
    uint32_t iov_count;
    uint8_t digest[SP_SHA1_LEN]; /* HASH: the shell's answer */
    bool want_prints;            /* HASH: sp_hash_bytes(secret, block) of each entry */
    uint64_t *prints;            /* HASH: iov_count of them when asked */
    void *user;                  /* the shell's */
};

enum sp_effect_kind {
    SP_FX_NONE,
    SP_FX_DIAL,     /* conn: connect to addr over TCP; sp_conn_opened or sp_conn_closed */
    SP_FX_CLOSE,    /* user: end this connection; the session has forgotten it */
    SP_FX_SEND,     /* conn: it has something to send (again) */
    SP_FX_RECV,     /* conn: reading may go on */
    SP_FX_WEB,      /* conn, user, web: a request to a web seed */
    SP_FX_JOB,      /* job */
    SP_FX_TRACKER,  /* tracker: HTTP, RESOLVE, CANCEL, DATAGRAM; others are handled inside */
    SP_FX_EVENT,    /* event: for the user */
    SP_FX_METADATA, /* torrent, info: verified; sp_torrent_learn or sp_torrent_fail answers */
};

struct sp_effect {
    enum sp_effect_kind kind;
    struct sp_conn *conn;
    void *user;
    struct sp_addr addr;
    struct sp_job *job;
    struct sp_tracker_action tracker;
    struct sp_web_action web;
    struct sp_client_event event;
    sp_torrent_id torrent;
    struct sp_slice info; /* borrowed until the answer, at the longest until the torrent goes */
};

/* Somebody says how he sees us (external.h); and what is believed: family NONE, not known. */
void sp_session_external_vote(struct sp_session *s, enum sp_external_source source,
                              const struct sp_addr *addr);
struct sp_addr sp_session_external(const struct sp_session *s, enum sp_family family);

/* False when there is nothing more to do now. */
bool sp_session_next(struct sp_session *s, struct sp_effect *ret_effect, sp_time_ns now);

/* Gives a job back.  text: why it failed, for people; NULL otherwise. */
void sp_session_job_done(struct sp_session *s, struct sp_job *job, enum sp_err err,
                         const char *text, sp_time_ns now);

/* For the answers to SP_FX_TRACKER (sp_trackers_http_reply, ...). */
struct sp_trackers *sp_session_trackers(struct sp_session *s);

/* "stopped" everywhere and no new work.  sp_session_idle: that is done. */
void sp_session_stop(struct sp_session *s, sp_time_ns now);
bool sp_session_idle(const struct sp_session *s);

sp_time_ns sp_session_deadline(const struct sp_session *s);
void sp_session_tick(struct sp_session *s, sp_time_ns now);

/* --- for tests -------------------------------------------------------------- */

/* Checks the invariants that hold between calls; NULL, or the broken one. */
const char *sp_session_broken(const struct sp_session *s);

#endif
