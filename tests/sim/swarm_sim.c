/* Whole swarms from seeds; see docs/sim.md.
 *
 *   swarm_sim                      the seeds of seeds.txt, then a fixed range
 *   swarm_sim SEED                 one, told step by step
 *   swarm_sim --seeds FROM COUNT   a range; also --quiet, --twice
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sim/sim.h"

enum { FRESH = 200 }; /* seeds of a run without arguments */

struct heap {
    long live;
};

static void *heap_alloc(void *ctx, size_t size)
{
    struct heap *h = ctx;
    void *ptr = calloc(1, size);
    h->live += ptr != NULL;
    return ptr;
}

static void heap_free(void *ctx, void *ptr)
{
    struct heap *h = ctx;
    h->live -= ptr != NULL;
    free(ptr);
}

static void tell(void *ctx, const struct sim_note *note)
{
    (void)ctx;
    printf("%10.3f  host %-3u %-10s %" PRIu64 " %" PRIu64 " %s\n", (double)note->at / 1e9,
           note->host, note->what, note->a, note->b, note->text ? note->text : "");
}

static void print_plan(const struct sim_plan *plan)
{
    char text[256];

    printf("seed %" PRIu64 ": %" PRIu64
           " bytes in pieces of %u, %u files, %s%s; cut %u, in flight %u,"
           " heals at %" PRIu64 " s%s\n",
           plan->seed, plan->total_len, plan->piece_len, plan->file_count,
           plan->by_tracker ? "tracker" : "peers by name", plan->by_pex ? ", then by PEX" : "",
           plan->cut_max, plan->in_flight, plan->heal_at / SP_SECOND_NS,
           plan->frees_early ? ", frees early" : "");
    if (plan->web_Bps)
        printf("  web seed: %" PRIu64 " B/s, fails %u, busy %u, cuts %u, silent %u, corrupts %u\n",
               plan->web_Bps, plan->web_fails, plan->web_busy, plan->web_cuts, plan->web_silent,
               plan->web_corrupts);
    printf("  trouble: dial fails %u hangs %u, resets %u, stalls %u, disk full %u fails %u slow %u,"
           " crashes %u, commands %u, alloc fails %u\n",
           plan->dial_fails, plan->dial_hangs, plan->resets, plan->stalls, plan->disk_full,
           plan->disk_fails, plan->disk_slow, plan->crashes, plan->commands, plan->alloc_fails);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        const struct sim_node_plan *n = &plan->nodes[i];
        printf("  node %u: %s%s memory %u KiB, up %" PRIu64 " down %" PRIu64 " link %" PRIu64
               " B/s, latency %" PRIu64 " ms, disk %" PRIu64 " us, hot %u, slots %u\n",
               i, n->seed ? "seed" : "leech", n->sequential ? " sequential" : "",
               n->memory_bytes / 1024, n->up_Bps, n->down_Bps, n->link_Bps,
               n->latency_ns / SP_MS_NS, n->disk_ns / 1000, n->hot_permille, n->slots_max);
    }
    for (uint32_t i = 0; i < plan->peer_count; i++)
        printf("  peer %u: %s (lies %u, reqq %u)\n", plan->node_count + i,
               sim_traits_text(plan->peers[i].traits, text), plan->peers[i].lie_permille,
               plan->peers[i].reqq);
}

struct how {
    bool verbose, quiet, twice;
};

/* True when all held. */
static bool run(uint64_t seed, const struct how *how, struct sim_result *ret)
{
    static struct sim_plan plan;
    struct heap heap = {0};
    struct sp_mem mem = {.alloc = heap_alloc, .free = heap_free, .ctx = &heap};
    struct sim_watch watch = {.note = how->verbose ? tell : NULL};

    sim_draw(seed, &plan);
    if (how->verbose) {
        print_plan(&plan);
        fflush(stdout);
    }
    if (sim_run(&plan, &mem, &watch, ret) != SP_OK) {
        printf("# seed %" PRIu64 ": cannot be set up\n", seed);
        return false;
    }
    if (ret->broken[0]) {
        print_plan(&plan);
        printf("# seed %" PRIu64 ": %s\n", seed, ret->broken);
        return false;
    }
    if (heap.live != 0) {
        printf("# seed %" PRIu64 ": %ld allocations are left over\n", seed, heap.live);
        return false;
    }
    return true;
}

static bool run_seed(uint64_t seed, const struct how *how)
{
    struct sim_result first, again;
    clock_t begin = clock();

    if (!run(seed, how, &first))
        return false;
    if (!how->quiet)
        printf("# seed %" PRIu64 ": %" PRIu64 " steps, %.1f s, %u leeches of %" PRIu64
               " KiB, x%.3f, wasted %.3f, links %u, bans %u, lies %u, crashes %u, failed jobs %u"
               " allocs %u, %.0f ms\n",
               seed, first.steps, (double)first.end_at / 1e9, first.leeches, first.size / 1024,
               (double)first.downloaded /
                   (double)(first.size * (first.leeches ? first.leeches : 1)),
               (double)first.wasted / (double)first.size, first.links, first.bans, first.lies,
               first.crashes, first.failed_jobs, first.failed_allocs,
               (double)(clock() - begin) * 1000 / CLOCKS_PER_SEC);
    if (!how->twice)
        return true;
    struct how quiet = {.quiet = true};
    if (!run(seed, &quiet, &again) || first.trace != again.trace || first.steps != again.steps) {
        printf("# seed %" PRIu64 " does not repeat\n", seed);
        return false;
    }
    return true;
}

static uint32_t run_range(uint64_t from, uint64_t count, struct how how)
{
    uint32_t failures = 0;
    for (uint64_t seed = from; seed < from + count; seed++) {
        how.twice = seed % 8 == 0;
        failures += !run_seed(seed, &how);
        fflush(stdout);
    }
    return failures;
}

static uint32_t run_file(const char *path, struct how how)
{
    uint32_t failures = 0;
    char line[256];
    FILE *f = fopen(path, "r");

    if (!f) {
        printf("# cannot open %s\n", path);
        return 1;
    }
    how.twice = true;
    while (fgets(line, sizeof(line), f)) {
        char *end;
        uint64_t seed = strtoull(line, &end, 10);
        if (end != line)
            failures += !run_seed(seed, &how);
    }
    fclose(f);
    return failures;
}

/* A line of nodes, each told of the one before it alone, becomes a mesh. */
static bool run_line(void)
{
    static struct sim_plan plan;
    struct heap heap = {0};
    struct sp_mem mem = {.alloc = heap_alloc, .free = heap_free, .ctx = &heap};
    struct sim_watch watch = {0};
    struct sim_result ret;

    plan = (struct sim_plan){.seed = 11,
                             .node_count = 16,
                             .piece_len = 64 << 10,
                             .total_len = 4 << 20,
                             .file_count = 1,
                             .by_pex = true,
                             .cut_max = 1460,
                             .in_flight = 64 << 10,
                             .heal_at = 400 * SP_SECOND_NS,
                             .patience_ns = 1000 * SP_SECOND_NS,
                             .check_every = 16};
    for (uint32_t i = 0; i < plan.node_count; i++)
        plan.nodes[i] = (struct sim_node_plan){.seed = i == 0,
                                               .memory_bytes = 4 << 20,
                                               .up_Bps = 8 << 10,
                                               .link_Bps = 5 << 20,
                                               .latency_ns = 20 * SP_MS_NS,
                                               .disk_ns = 100000,
                                               .conn_max = 60};
    if (sim_run(&plan, &mem, &watch, &ret) != SP_OK || ret.broken[0])
        printf("# %s\n", ret.broken);
    uint32_t all = plan.node_count * (plan.node_count - 1) / 2;
    printf("# a line of %u: %u of %u pairs met, %.0f s\n", plan.node_count, ret.pairs, all,
           (double)ret.end_at / 1e9);
    return ret.pairs == all && !ret.broken[0] && heap.live == 0;
}

int main(int argc, char **argv)
{
    struct how how = {.quiet = true};

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 4 && strcmp(argv[1], "--seeds") == 0) {
        how.quiet = false;
        uint32_t failures =
            run_range(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), how);
        printf("%u failed\n", failures);
        return failures != 0;
    }
    if (argc == 2 && argv[1][0] >= '0' && argv[1][0] <= '9') {
        how = (struct how){.verbose = true, .twice = true};
        return !run_seed(strtoull(argv[1], NULL, 10), &how);
    }
    uint32_t old = argc > 1 ? run_file(argv[1], how) : 0;
    printf("%s 1 - seeds that failed once\n", old ? "not ok" : "ok");
    uint32_t fresh = run_range(1, FRESH, how);
    printf("%s 2 - seeds 1 to %d\n", fresh ? "not ok" : "ok", FRESH);
    bool meets = run_line();
    printf("%s 3 - peers find each other through peers\n1..3\n", meets ? "ok" : "not ok");
    return old || fresh || !meets;
}
