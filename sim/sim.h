/* sim.h - a whole swarm in one thread and in virtual time: sessions, disks,
 * links, a tracker and scripted bad peers, all of it from one seed.
 *
 * Pure as the core is: no clock, no threads, no files, no malloc.  Time does
 * not pass, it jumps to the next event, so that an hour of swarm costs what
 * its events cost.  The code under test is the very code of the reactor.
 *
 *   sim_draw(seed, &plan);                 what to do, printable
 *   sim_run(&plan, mem, &watch, &result);  does it
 *
 * A run has two parts.  Until plan.heal_at everything goes wrong that the plan
 * says: links break, disks fail, memory runs out, nodes crash.  Then the world
 * heals (bad peers stay), and every honest node has to be complete within
 * plan.patience_ns.  See docs/sim.md.
 */
#ifndef SP_SIM_SIM_H
#define SP_SIM_SIM_H

#include "core/base/mem.h"
#include "spate/client.h"
#include "spate/err.h"

enum {
    SIM_NODES_MAX = 1024, /* sessions */
    SIM_DRAWN_MAX = 24,   /* of a plan that sim_draw makes */
    SIM_PEERS_MAX = 16,   /* scripted peers */
};

/* What a scripted peer does wrong; any set of them.  None: an honest peer. */
enum sim_trait {
    SIM_LIES = 1 << 0,      /* sends corrupt blocks, lie_permille of them */
    SIM_REFUSES = 1 << 1,   /* claims all, answers no request */
    SIM_REJECTS = 1 << 2,   /* answers every request with REJECT (BEP-0006) */
    SIM_TRICKLES = 1 << 3,  /* slowloris: a byte at a time */
    SIM_FLOODS = 1 << 4,    /* requests without end, choked or not */
    SIM_BREAKS = 1 << 5,    /* breaks the protocol at some point */
    SIM_UNASKED = 1 << 6,   /* sends blocks that nobody asked for */
    SIM_TWICE = 1 << 7,     /* sends blocks twice */
    SIM_SHUFFLES = 1 << 8,  /* answers in any order */
    SIM_HAVES = 1 << 9,     /* HAVE between blocks, again and again */
    SIM_FLAPS = 1 << 10,    /* chokes and unchokes all the time */
    SIM_CLOSES = 1 << 11,   /* ends the connection after a few blocks */
    SIM_SNUBS = 1 << 12,    /* serves some blocks, then none */
    SIM_DRIBBLES = 1 << 13, /* tells what it has by one HAVE after another */
    SIM_OLD = 1 << 14,      /* neither fast nor extension protocol */
    SIM_DIALS = 1 << 15,    /* dials nodes, besides being dialled */
    SIM_TAKES = 1 << 16,    /* downloads, and checks what it gets */
    SIM_PARTIAL = 1 << 17,  /* claims about half of the pieces */
    SIM_STALLS = 1 << 18,   /* stops in the middle of a message */
    SIM_UNHAVES = 1 << 19,  /* takes back what it claimed (BEP-0054) */
    SIM_TRAITS = 20,
};

/* "lies refuses ..." into text; gives text. */
const char *sim_traits_text(uint32_t traits, char text[256]);

struct sim_peer_plan {
    uint32_t traits; /* enum sim_trait, or-ed */
    uint32_t lie_permille;
    uint32_t reqq; /* 0: not told */
};

struct sim_node_plan {
    bool seed; /* has all data at the start */
    bool sequential;
    bool super_seed;
    bool nat; /* cannot be dialled: who tries hears nothing */
    uint32_t memory_bytes;
    uint64_t up_Bps, down_Bps; /* 0: no limit */
    uint64_t link_Bps;
    sp_time_ns latency_ns;
    sp_time_ns disk_ns;    /* of a job, on average */
    uint32_t hot_permille; /* reads that are answered on the spot */
    uint32_t conn_max;
    uint32_t slots_max;
    enum sp_encryption encryption;
};

/* Everything that a run does, but for its dice. */
struct sim_plan {
    uint64_t seed;
    uint32_t node_count, peer_count;
    struct sim_node_plan nodes[SIM_NODES_MAX];
    struct sim_peer_plan peers[SIM_PEERS_MAX];

    uint32_t piece_len;
    uint64_t total_len;
    uint32_t file_count;
    bool by_tracker;         /* peers come from a tracker; else named by the user */
    bool by_pex;             /* of all of them only the first node, and each its neighbour */
    uint32_t cut_max;        /* longest run of bytes that arrives at once */
    uint32_t in_flight;      /* bytes a link holds before the sender has to wait */
    uint32_t jitter_percent; /* of the latency */

    /* Until heal_at, each in events per 1000 chances; 0: never. */
    uint32_t dial_fails, dial_hangs, resets, stalls;
    uint32_t disk_full, disk_fails, disk_slow;
    uint32_t crashes, commands;
    uint32_t alloc_fails; /* per 100,000 allocations of a node */
    /* Between these, hosts below split_host and the others do not reach each other. */
    sp_time_ns split_at, rejoin_at;
    uint32_t split_host; /* 0: no such thing */
    bool frees_early;    /* the run ends at heal_at: every session freed in full flight */

    /* A web seed, where web_Bps is not 0, and what it does wrong of 1000 requests until heal_at. */
    uint64_t web_Bps;
    uint32_t web_fails, web_busy, web_cuts, web_silent, web_corrupts;

    sp_time_ns heal_at, patience_ns;
    uint32_t check_every; /* steps between looks at all invariants */
};

void sim_draw(uint64_t seed, struct sim_plan *ret_plan);
/* A large swarm in which nothing goes wrong: the first node is the seed, lines
 * and latencies are as people have them, three in ten cannot be dialled.
 * 2 <= node_count <= SIM_NODES_MAX, piece_count > 0 pieces of 16 KiB. */
void sim_draw_swarm(uint64_t seed, uint32_t node_count, uint32_t piece_count,
                    struct sim_plan *ret_plan);

/* Something that happened, for people and for the trace. */
struct sim_note {
    sp_time_ns at;
    uint32_t host;    /* nodes first, then peers */
    const char *what; /* static */
    uint64_t a, b;
    const char *text; /* or NULL; valid during the call */
};

struct sim_watch {
    void (*note)(void *ctx, const struct sim_note *note); /* or NULL */
    void *ctx;
};

struct sim_result {
    char broken[256]; /* the invariant that did not hold; "": all held */
    uint64_t trace;   /* hash of all that happened */
    uint64_t steps;
    sp_time_ns end_at;           /* all honest nodes complete, or given up */
    uint64_t size;               /* bytes of the torrent */
    uint64_t downloaded, wasted; /* by all nodes, payload */
    uint32_t leeches;            /* nodes that had to download */
    uint32_t pairs;              /* of the first 32 nodes that had a connection, however short */
    uint32_t bans, crashes, links, failed_jobs, failed_allocs, lies;
    uint64_t memory_peak; /* of one node */
    sp_time_ns first_at;  /* when the first leech was complete; 0: none */
    uint64_t first_sent;  /* payload that node 0 had sent by then */
    uint64_t uploaded[SIM_NODES_MAX], downloaded_by[SIM_NODES_MAX];
    sp_time_ns complete_at[SIM_NODES_MAX]; /* 0: it is a seed, or was never complete */
};

/* SP_ENOMEM  the simulator itself got no memory */
SP_MUST_USE enum sp_err sim_run(const struct sim_plan *plan, const struct sp_mem *mem,
                                const struct sim_watch *watch, struct sim_result *ret_result);

#endif
