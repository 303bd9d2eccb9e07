/* Swarms made to show a policy at work, in virtual time; see docs/sim.md.
 *
 *   policy_sim            all, as TAP
 *   policy_sim --verbose  and their figures
 *   policy_sim --peers N  one swarm of so many
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim/sim.h"

static bool verbose;

static void *heap_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return calloc(1, size);
}

static void heap_free(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

enum { MIB = 1 << 20 };

/* One seed and leeches, of a kind; nothing goes wrong. */
static struct sim_plan *calm_plan(uint64_t seed, uint32_t leeches, uint64_t seed_Bps,
                                  uint64_t leech_Bps)
{
    static struct sim_plan plan;

    plan = (struct sim_plan){
        .seed = seed,
        .node_count = 1 + leeches,
        .piece_len = 64 << 10,
        .total_len = 8 * MIB,
        .file_count = 1,
        .by_tracker = true,
        .cut_max = 20000,
        .in_flight = 64 << 10,
        .jitter_percent = 10,
        .heal_at = SP_SECOND_NS,
        .patience_ns = 3000 * SP_SECOND_NS,
        .check_every = 256,
    };
    for (uint32_t i = 0; i < plan.node_count; i++)
        plan.nodes[i] = (struct sim_node_plan){
            .seed = i == 0,
            .memory_bytes = 8 * MIB,
            .up_Bps = i ? leech_Bps : seed_Bps,
            .link_Bps = 4 * MIB,
            .latency_ns = 20 * SP_MS_NS,
            .disk_ns = SP_MS_NS,
            .hot_permille = 1000,
            .conn_max = 50,
        };
    return &plan;
}

static bool run(const char *what, const struct sim_plan *plan, struct sim_result *ret)
{
    static struct sim_result result;
    const struct sp_mem mem = {.alloc = heap_alloc, .free = heap_free};
    const struct sim_watch watch = {0};

    bool ok = sim_run(plan, &mem, &watch, &result) == SP_OK && !result.broken[0];
    if (!ok)
        printf("# %s: seed %" PRIu64 ": %s\n", what, plan->seed, result.broken);
    if (verbose)
        printf("# %-28s first complete at %6.1f s, all at %6.1f s; the seed had sent %.3f copies,"
               " in the end %.3f\n",
               what, (double)result.first_at / 1e9, (double)result.end_at / 1e9,
               (double)result.first_sent / (double)result.size,
               (double)result.uploaded[0] / (double)result.size);
    for (uint32_t i = 1; verbose && i < plan->node_count; i++)
        printf("%s%.1f%s", i == 1 ? "#     complete at " : " ", (double)result.complete_at[i] / 1e9,
               i + 1 == plan->node_count ? " s\n" : "");
    *ret = result;
    return ok;
}

static double copies(const struct sim_result *r)
{
    return (double)r->first_sent / (double)r->size;
}

/* BEP-0016: "able to do so after only uploading 105% of the data." */
static bool super_seeding_sends_one_copy(void)
{
    bool ok = true;
    double super = 0, plain = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct sim_result r;
        struct sim_plan *plan = calm_plan(seed, 8, 256 << 10, 512 << 10);
        ok = run("seed", plan, &r) && ok;
        plain += copies(&r) / 4;
        plan->nodes[0].super_seed = true;
        ok = run("super-seed", plan, &r) && ok;
        super += copies(&r) / 4;
        ok = ok && copies(&r) < 1.1;
    }
    printf("# copies sent until the first leech is complete: %.3f super-seeding, %.3f else\n",
           super, plain);
    return ok && super < 1.1 && super < plain;
}

/* One or two leeches have nobody to pass pieces on to, or just each other. */
static bool super_seeding_serves_few(void)
{
    bool ok = true;
    for (uint32_t leeches = 1; leeches <= 3; leeches++) {
        struct sim_result plain, super;
        struct sim_plan *plan = calm_plan(5, leeches, 512 << 10, 512 << 10);
        ok = run("few", plan, &plain) && ok;
        plan->nodes[0].super_seed = true;
        ok = run("few, super-seed", plan, &super) && ok;
        ok = ok && super.end_at < 2 * plain.end_at;
    }
    return ok;
}

/* Peers that never share: slower, and yet it ends. */
static bool super_seeding_survives_who_does_not_share(void)
{
    struct sim_result r;
    struct sim_plan *plan = calm_plan(6, 4, 1 * MIB, 0);
    plan->total_len = MIB;
    for (uint32_t i = 1; i < plan->node_count; i++)
        plan->nodes[i].up_Bps = 2048; /* requests count, too */
    plan->nodes[0].super_seed = true;
    return run("nobody shares", plan, &r);
}

/* Who cannot be dialled dials; two of them get what they need by the others. */
static bool most_behind_nats(void)
{
    struct sim_result r;
    struct sim_plan *plan = calm_plan(7, 8, 512 << 10, 512 << 10);
    for (uint32_t i = 1; i < 7; i++)
        plan->nodes[i].nat = true;
    bool ok = run("NAT", plan, &r);
    plan->nodes[0].nat = true; /* the seed, too: it dials */
    return run("NAT, seed too", plan, &r) && ok;
}

/* A swarm cut in two for ten minutes; the far side has no whole copy. */
static bool a_swarm_cut_in_two(void)
{
    struct sim_result r;
    struct sim_plan *plan = calm_plan(8, 7, 256 << 10, 256 << 10);
    plan->split_host = 4;
    plan->split_at = 8 * SP_SECOND_NS;
    plan->rejoin_at = 600 * SP_SECOND_NS;
    bool ok = run("split", plan, &r);
    return ok && r.end_at < 900 * SP_SECOND_NS;
}

/* Six take what one seed may send, and do not reach each other: none waits for the others. */
static bool upload_is_shared_evenly(void)
{
    struct sim_result r;
    struct sim_plan *plan = calm_plan(9, 6, 512 << 10, 0);
    plan->total_len = 2 * MIB;
    for (uint32_t i = 1; i < plan->node_count; i++)
        plan->nodes[i].link_Bps = i == 1 ? 64 * MIB : 2 * MIB; /* one is greedy */
    for (uint32_t i = 1; i < plan->node_count; i++)
        plan->nodes[i].nat = true; /* they reach the seed alone */
    bool ok = run("one seed for all", plan, &r);
    sp_time_ns last = 0;
    for (uint32_t i = 1; i < plan->node_count; i++)
        last = r.complete_at[i] > last ? r.complete_at[i] : last;
    double ratio = r.first_at ? (double)last / (double)r.first_at : 99;
    printf("# the last of 6 is complete %.2f times as late as the first\n", ratio);
    return ok && ratio < 1.5;
}

/* Five seeds, one of them far quicker, and a limit that one alone could use up. */
static bool download_is_taken_from_all(void)
{
    struct sim_result r;
    struct sim_plan *plan = calm_plan(10, 5, 0, 0);
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t i = 0; i < plan->node_count; i++) {
        plan->nodes[i].seed = i < 5;
        plan->nodes[i].link_Bps = i == 0 ? 64 * MIB : 2 * MIB;
    }
    plan->nodes[5].down_Bps = 512 << 10;
    bool ok = run("one leech of five seeds", plan, &r);
    for (uint32_t i = 0; i < 5; i++) {
        least = r.uploaded[i] < least ? r.uploaded[i] : least;
        most = r.uploaded[i] > most ? r.uploaded[i] : most;
    }
    printf("# of five seeds the least sent %.2f of what the most did\n",
           (double)least / (double)(most ? most : 1));
    return ok && least * 4 > most;
}

/* Room for three only: the places go round, and all get all. */
static bool a_full_swarm_turns_over(void)
{
    struct sim_result r;
    struct sim_plan *plan = calm_plan(11, 11, 512 << 10, 256 << 10);
    for (uint32_t i = 0; i < plan->node_count; i++)
        plan->nodes[i].conn_max = 3;
    plan->total_len = 4 * MIB;
    bool ok = run("three connections each", plan, &r);
    return ok && r.end_at < 1200 * SP_SECOND_NS;
}

/* One large swarm, and what it cost. */
static bool run_swarm(uint32_t nodes, uint32_t pieces)
{
    static struct sim_plan plan;
    static struct sim_result r;
    clock_t begin = clock();

    sim_draw_swarm(1, nodes, pieces, &plan);
    bool ok = run("swarm", &plan, &r);
    double first = (double)r.first_at / 1e9, last = 0, sum = 0;
    for (uint32_t i = 1; i < nodes; i++) {
        double at = (double)r.complete_at[i] / 1e9;
        last = at > last ? at : last;
        sum += at;
    }
    printf("# %u peers, %" PRIu64
           " KiB: complete after %.1f s (first), %.1f s (mean), %.1f s (last);"
           " the seed sent %.2f copies of %u; %" PRIu64 " steps, %u links, %.1f s of CPU\n",
           nodes, r.size / 1024, first, sum / (nodes - 1), last,
           (double)r.uploaded[0] / (double)r.size, nodes - 1, r.steps, r.links,
           (double)(clock() - begin) / CLOCKS_PER_SEC);
    return ok;
}

static bool a_hundred_peers(void)
{
    return run_swarm(100, 32);
}

static const struct {
    const char *name;
    bool (*run)(void);
} CASES[] = {
    {"super-seeding sends one copy", super_seeding_sends_one_copy},
    {"super-seeding serves few peers", super_seeding_serves_few},
    {"super-seeding is not held up by who does not share",
     super_seeding_survives_who_does_not_share},
    {"most are behind NATs", most_behind_nats},
    {"upload under a limit is shared evenly", upload_is_shared_evenly},
    {"download under a limit is taken from all", download_is_taken_from_all},
    {"a full swarm turns over", a_full_swarm_turns_over},
    {"a hundred peers", a_hundred_peers},
    {"a swarm is cut in two and joined again", a_swarm_cut_in_two},
};

int main(int argc, char **argv)
{
    uint32_t failures = 0;
    if (argc == 3 && strcmp(argv[1], "--peers") == 0) {
        unsigned long n = strtoul(argv[2], NULL, 10);
        if (n >= 2 && n <= SIM_NODES_MAX)
            return !run_swarm((uint32_t)n, 32);
        fprintf(stderr, "--peers: 2 to %d\n", SIM_NODES_MAX);
        return 2;
    }
    verbose = argc > 1 && strcmp(argv[1], "--verbose") == 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (uint32_t i = 0; i < sizeof(CASES) / sizeof(*CASES); i++) {
        bool ok = CASES[i].run();
        failures += !ok;
        printf("%s %u - %s\n", ok ? "ok" : "not ok", i + 1, CASES[i].name);
    }
    printf("1..%zu\n", sizeof(CASES) / sizeof(*CASES));
    return failures != 0;
}
