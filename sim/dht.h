/* dht.h - thousands of nodes of the DHT in virtual time, from one seed.
 *
 * The nodes are the very code that runs behind sockets (core/dht).  Around them:
 * a plane on which the distance of two makes most of their delay, a last mile
 * of each, jitter, loss; nodes that others cannot reach (NAT); nodes that vanish
 * and others that come (churn); and lookups, which are measured.
 *
 * Tables are filled at the start with nodes that each might have met, so that a
 * run need not begin with the hours in which a network forms.
 */
#ifndef SP_SIM_DHT_H
#define SP_SIM_DHT_H

#include "core/base/mem.h"
#include "spate/err.h"

struct sim_dht_cfg {
    const struct sp_mem *mem;
    uint64_t seed;
    uint32_t nodes;         /* 16 .. 1,000,000 */
    uint32_t lookups;       /* that are measured */
    uint32_t nat_percent;   /* of the nodes: ask, but cannot be asked */
    uint32_t dead_percent;  /* of the entries in tables at the start: long gone */
    uint32_t loss_permille; /* of all packets */
    uint32_t session_min;   /* mean life of a node in minutes; 0: they stay */
    /* While it runs, for people; NULL. */
    void (*progress)(void *ctx, uint32_t done, uint32_t all);
    void *ctx;
};

struct sim_dht_result {
    uint32_t nodes, lookups;
    uint32_t found;                               /* lookups that were told a peer */
    uint32_t first_median_ms, first_p99_ms;       /* until the first peer */
    uint32_t done_median_ms, done_p99_ms;         /* until the lookup ended */
    uint32_t recall_permille;                     /* of the K nearest that live, those it named */
    uint32_t hops_centi, asked_centi, late_centi; /* a lookup, in hundredths */
    uint64_t packets, bytes;                      /* sent in all */
    uint64_t upkeep_milli;                        /* packets a node and second without lookups */
    uint64_t node_bytes;                          /* memory of one, idle */
    sp_time_ns span_ns;                           /* virtual time */
    uint64_t trace;                               /* equal for equal runs */
};

/* SP_EINVAL  a number is out of range   SP_ENOMEM */
SP_MUST_USE enum sp_err sim_dht_run(const struct sim_dht_cfg *cfg,
                                    struct sim_dht_result *ret_result);

#endif
