/* world.h - what the parts of a simulation share; private to sim/.
 *
 *   world.c  time, dice, the event heap, notes, verdicts
 *   net.c    links between hosts
 *   node.c   a session, driven as the reactor does; its user, crash and restart
 *   disk.c   its disk and its hash thread
 *   verify.c what must hold at a node
 *   web.c    scripted web seeds
 *   peer.c   scripted peers
 *   swarm.c  one run from beginning to end
 *   plan.c   drawing a plan from a seed
 *   host.c   memory that counts, and fails when it is told
 *
 * Hosts are numbered: nodes from 0, then peers.
 */
#ifndef SP_SIM_WORLD_H
#define SP_SIM_WORLD_H

#include "core/base/addr.h"
#include "core/base/bits.h"
#include "core/base/buf.h"
#include "core/base/queue.h"
#include "core/base/rng.h"
#include "core/session/door.h"
#include "core/session/session.h"
#include "core/wire/wire.h"
#include "sim/sim.h"

enum { SIM_HOSTS_MAX = SIM_NODES_MAX + SIM_PEERS_MAX };

struct sim;

typedef void sim_fn(struct sim *sim, void *ctx, uint64_t arg);

struct sim_event {
    sp_time_ns at;
    uint64_t seq; /* equal times: in the order of planning */
    sim_fn *fn;
    void *ctx;
    uint64_t arg;
};

/* Counts what a node holds, and fails now and then. */
struct sim_host_mem {
    struct sp_mem mem; /* what the node is given */
    const struct sp_mem *under;
    struct sim *sim;
    uint64_t bytes, peak, live;
    bool flaky;
};

/* ---- net.c ---- */

struct sim_seg {
    uint32_t len;
    sp_time_ns at;
};

/* One direction of a link. */
struct sim_pipe {
    struct sp_buf bytes;  /* pushed, not read yet */
    struct sp_queue segs; /* those of them still on their way */
    size_t readable;      /* first bytes that have arrived */
    sp_time_ns busy_until, last_at, hold_until;
    bool waited_for; /* the sender wants to know of room */
    bool ended;      /* the sender has closed: after these bytes comes the end */
    bool end_seen;   /* the end has arrived */
};

struct sim_side {
    uint32_t host;
    bool open; /* may push and read, is told of events */
    void *user;
};

struct sim_link {
    struct sim *sim;
    struct sim_link *next; /* all of them, newest first; none goes before the end */
    struct sim_addr_pair {
        struct sp_addr from, to;
    } addr;
    struct sim_side side[2]; /* 0 dialled */
    struct sim_pipe pipe[2]; /* pipe[i] carries what side i sends */
    uint64_t rate_Bps;
    sp_time_ns latency_ns;
    uint32_t id, cut_max;
};

/* Side 0 gets sim_host_opened or sim_host_closed, sometime; or nothing. */
struct sim_link *sim_dial(struct sim *sim, uint32_t from, const struct sp_addr *to, void *user);
size_t sim_link_room(const struct sim_link *l, int side);
/* len <= room. */
void sim_link_push(struct sim_link *l, int side, const void *bytes, size_t len);
/* The next sim_host_writable is wanted. */
void sim_link_wait(struct sim_link *l, int side);
size_t sim_link_readable(const struct sim_link *l, int side);
void sim_link_read(struct sim_link *l, int side, void *to, size_t len);
/* Readable is told again, after what else is to happen now. */
void sim_link_again(struct sim_link *l, int side);
bool sim_link_at_end(const struct sim_link *l, int side);
/* Side will hear nothing more; the other one reads what was sent, then the end. */
void sim_link_close(struct sim_link *l, int side);
/* Both ends lose it; what was on its way is lost. */
void sim_link_reset(struct sim_link *l);
void sim_link_hold(struct sim_link *l, sp_time_ns until);
/* The plan's split begins. */
void sim_links_split(struct sim *sim);
void sim_links_free(struct sim *sim);

/* ---- node.c ---- */

/* A connection as the node's shell sees it. */
struct sim_sock {
    struct sim_link *link;
    int side;
    struct sp_conn *conn;
    struct sp_door *door;  /* accepted: until the torrent is known */
    bool blocked;          /* the link is full */
    struct sim_sock *next; /* of the node; freed with it */
};

struct sim_job {
    struct sim_job *next; /* of the node */
    struct sim_job *all_next, **all_prev;
    struct sp_job *job; /* NULL: the session is gone */
    struct sim_node *node;
    uint64_t print; /* of the bytes lent, when they were lent */
    bool printed;
};

struct sim_node {
    struct sim *sim;
    uint32_t host, life; /* life: one more with each crash */
    const struct sim_node_plan *plan;
    struct sim_host_mem mem;
    struct sp_session *session; /* NULL while it is down */
    struct sim_sock *socks;
    struct sim_job *jobs;
    struct sim_web *webs;
    uint8_t *disk;
    struct sp_bits seen; /* pieces that were looked at on the disk */
    sp_time_ns wake_at;  /* of the planned wake-up */
    sp_time_ns disk_free_at;
    sp_time_ns full_until, slow_until;
    sp_time_ns complete_at;
    sp_time_ns born_at; /* of this session, for rate limits */
    struct sp_purse purse;
    uint64_t limit_up_Bps, limit_down_Bps;
    uint64_t payload_in, payload_out; /* of lives that ended */
    uint64_t wasted;
    bool all_wanted, paused;
    uint64_t banned;     /* peers, by bit */
    uint64_t *liars;     /* by block: peers that sent it corrupt in this life, by bit */
    uint64_t due;        /* peers whose lie was proven to the node */
    uint64_t *failed_by; /* by piece: peers whose block made it fail */
};

void sim_node_start(struct sim_node *n);
void sim_node_free(struct sim_node *n);
void sim_node_crash(struct sim_node *n);
void sim_node_pump(struct sim_node *n);
/* Commands of a user, and the end of all trouble. */
void sim_node_command(struct sim_node *n);
void sim_node_heal(struct sim_node *n);
bool sim_node_is_complete(const struct sim_node *n);

/* ---- web.c ---- */
struct sim_web;
#define SIM_WEB_BIT (UINT64_C(1) << 63) /* among liars */
#define SIM_WEB_URL "http://web.example/"
void sim_web_do(struct sim_node *n, const struct sp_effect *fx);
void sim_web_drop(struct sim_node *n); /* the session is gone */

/* ---- disk.c ---- */
void sim_disk_job(struct sim_node *n, struct sp_job *job);
void sim_disk_drop(struct sim_node *n); /* the node crashes: writes may be torn */
void sim_jobs_free(struct sim *sim);

/* ---- verify.c ---- */
void sim_verify_had(struct sim_node *n);      /* cheap: what is new of the pieces */
void sim_verify_complete(struct sim_node *n); /* notes when */
void sim_verify(struct sim_node *n);

/* ---- peer.c ---- */
struct sim_talk;

struct sim_peer {
    struct sim *sim;
    uint32_t host, index;
    const struct sim_peer_plan *plan;
    struct sp_bits claims; /* what it says it has */
    struct sim_talk *talks;
    uint32_t served;
};

void sim_peer_start(struct sim_peer *p);
void sim_peer_free(struct sim_peer *p);

/* ---- what the net tells hosts (node.c, peer.c) ---- */
void sim_node_opened(struct sim_node *n, struct sim_link *l);
void sim_node_refused(struct sim_node *n, struct sim_link *l);
/* Side 1's user is to be set. */
void sim_node_accepted(struct sim_node *n, struct sim_link *l);
void sim_node_readable(struct sim_node *n, struct sim_link *l, int side);
void sim_node_writable(struct sim_node *n, struct sim_link *l, int side);
void sim_node_lost(struct sim_node *n, struct sim_link *l, int side);
void sim_peer_opened(struct sim_peer *p, struct sim_link *l);
void sim_peer_refused(struct sim_peer *p, struct sim_link *l);
void sim_peer_accepted(struct sim_peer *p, struct sim_link *l);
void sim_peer_readable(struct sim_peer *p, struct sim_link *l, int side);
void sim_peer_writable(struct sim_peer *p, struct sim_link *l, int side);
void sim_peer_lost(struct sim_peer *p, struct sim_link *l, int side);

/* ---- world.c ---- */

struct sim {
    const struct sp_mem *mem;
    const struct sim_plan *plan;
    const struct sim_watch *watch;
    struct sim_result *result;
    struct sp_rng rng;
    sp_time_ns now;
    uint64_t seq, web_serial;
    struct sim_event *heap;
    uint32_t heap_count, heap_cap;
    uint32_t at_once; /* events without time going on */
    bool healed, failed;

    struct sp_metainfo *mi;
    uint8_t *truth;
    uint32_t piece_count, piece_blocks;
    struct sim_node nodes[SIM_NODES_MAX];
    struct sim_peer peers[SIM_PEERS_MAX];
    struct sim_link *links;
    struct sim_job *jobs; /* planned, of all nodes and former lives */
    uint32_t link_count;
    uint8_t *bytes; /* SIM_BYTES_LEN of room to copy through */
};

enum { SIM_BYTES_LEN = 1 << 20 };

/* Never NULL: a simulation without memory is given up by its caller's allocator. */
void *sim_alloc(struct sim *sim, size_t count, size_t size);
void sim_at(struct sim *sim, sp_time_ns at, sim_fn *fn, void *ctx, uint64_t arg);
bool sim_step(struct sim *sim, sp_time_ns end);
uint64_t sim_below(struct sim *sim, uint64_t below);
/* True in permille of 1000 cases. */
bool sim_chance(struct sim *sim, uint32_t permille);
/* The same, never after the world healed. */
bool sim_trouble(struct sim *sim, uint32_t permille);
void sim_note(struct sim *sim, uint32_t host, const char *what, uint64_t a, uint64_t b);
void sim_note_text(struct sim *sim, uint32_t host, const char *what, const char *text);
/* The run is lost; the first reason stays. */
void sim_break(struct sim *sim, uint32_t host, const char *why);
struct sp_addr sim_addr(uint32_t host);
/* SIM_HOSTS_MAX: nobody's. */
uint32_t sim_host_of(const struct sim *sim, const struct sp_addr *addr);

static inline bool sim_is_node(const struct sim *sim, uint32_t host)
{
    return host < sim->plan->node_count;
}

/* A block's place in sim_node.liars. */
static inline size_t sim_block_ix(const struct sim *sim, uint32_t piece, uint32_t off)
{
    return (size_t)piece * sim->piece_blocks + off / SP_BLOCK_LEN;
}

static inline uint32_t sim_host_count(const struct sim *sim)
{
    return sim->plan->node_count + sim->plan->peer_count;
}

void sim_host_mem_init(struct sim_host_mem *m, struct sim *sim);

#endif
