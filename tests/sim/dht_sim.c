/* Whole DHTs from a seed; see docs/core/dht.md.
 *
 *   dht_sim                     what ./dev check runs: small networks, and what must hold
 *   dht_sim NODES [LOOKUPS]     calm and harsh, with all figures
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/dht.h"

static long live;

static void *heap_alloc(void *ctx, size_t size)
{
    void *ptr = calloc(1, size);
    (void)ctx;
    live += ptr != NULL;
    return ptr;
}

static void heap_free(void *ctx, void *ptr)
{
    (void)ctx;
    live -= ptr != NULL;
    free(ptr);
}

static const struct sp_mem MEM = {heap_alloc, heap_free, NULL};

static struct sim_dht_cfg calm(uint32_t nodes, uint32_t lookups)
{
    return (struct sim_dht_cfg){
        .mem = &MEM, .seed = 1, .nodes = nodes, .lookups = lookups, .loss_permille = 10};
}

/* Half of the nodes behind NAT, half of what tables hold at the start gone, and
 * lives of an hour. */
static struct sim_dht_cfg harsh(uint32_t nodes, uint32_t lookups)
{
    struct sim_dht_cfg cfg = calm(nodes, lookups);
    cfg.nat_percent = 50;
    cfg.dead_percent = 50;
    cfg.loss_permille = 20;
    cfg.session_min = 60;
    return cfg;
}

static struct sim_dht_result run(const struct sim_dht_cfg *cfg, const char *name)
{
    struct sim_dht_result r = {0};
    if (sim_dht_run(cfg, &r) != SP_OK) {
        fprintf(stderr, "dht_sim: out of memory\n");
        exit(1);
    }
    printf("# %s: %u nodes, found %u of %u; first peer %u ms, p99 %u; done %u ms, p99 %u; recall "
           "%u.%u %%; hops %.2f, %.1f requests, %.1f late; upkeep %.2f packets/s; %" PRIu64
           " bytes a node; %" PRIu64 " packets, trace %016" PRIx64 "\n",
           name, r.nodes, r.found, r.lookups, r.first_median_ms, r.first_p99_ms, r.done_median_ms,
           r.done_p99_ms, r.recall_permille / 10, r.recall_permille % 10, r.hops_centi / 100.0,
           r.asked_centi / 100.0, r.late_centi / 100.0, (double)r.upkeep_milli / 1000.0,
           r.node_bytes, r.packets, r.trace);
    fflush(stdout);
    return r;
}

static int tests, failed;

static void hold(bool good, const char *what)
{
    tests++;
    failed += !good;
    printf("%s %d - %s\n", good ? "ok" : "not ok", tests, what);
}

static void check(void)
{
    struct sim_dht_cfg c = calm(1000, 40), h = harsh(1000, 40), small = harsh(300, 10);
    struct sim_dht_result a = run(&c, "calm"), b = run(&h, "harsh");
    struct sim_dht_result one = run(&small, "once"), two = run(&small, "again");

    hold(a.found == a.lookups, "calm: what was announced is found");
    hold(a.recall_permille >= 990, "calm: the nearest are named");
    hold(a.first_median_ms <= 300 && a.first_p99_ms <= 1000, "calm: the first peer comes soon");
    hold(b.found * 100 >= b.lookups * 95, "harsh: what was announced is found");
    hold(b.recall_permille >= 950, "harsh: the nearest are named");
    hold(b.first_p99_ms <= 2000, "harsh: the first peer comes soon");
    hold(a.node_bytes <= 8192 && b.node_bytes <= 8192, "a node takes at most 8 KiB");
    hold(one.trace == two.trace && one.packets == two.packets, "a seed gives one run");
    hold(live == 0, "all memory is back");
    printf("1..%d\n", tests);
}

int main(int argc, char **argv)
{
    uint32_t nodes = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    uint32_t lookups = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 200;
    if (nodes == 0) {
        check();
        return failed != 0;
    }
    struct sim_dht_cfg c = calm(nodes, lookups), h = harsh(nodes, lookups);
    (void)run(&c, "calm");
    (void)run(&h, "harsh");
    return 0;
}
