/* How fast this machine hashes: each kernel beside OpenSSL, then what is
 * chosen for few and many messages, then the pool fed at a download's pace.
 *
 *   hash_bench [SECONDS for each figure, 0.2]
 *
 * "hot" is data in the caches, "cold" 256 MiB of 16 KiB blocks in random order,
 * which is what a piece's blocks look like.  Figures are the best of several, per
 * second of CPU: others may use the machine too. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/rng.h"
#include "io/hash/hasher.h"
#include "io/hash/lanes.h"

enum { BLOCK = 16384, COLD = 16384, HOT = 32 };

static struct sp_slice blocks[COLD];
static double seconds = 0.2;

static double now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* GB/s of messages of `each` blocks, count at a time, over the first `of` blocks. */
static double rate(const struct sp_lane_plan *plan, uint32_t count, uint32_t each, uint32_t of)
{
    struct sp_hash_msg msgs[64];
    uint32_t at = 0;
    double best = 0;

    for (int round = 0; round < 5; round++) {
        double start = now(CLOCK_THREAD_CPUTIME_ID), took, bytes = 0;
        do {
            for (uint32_t i = 0; i < count; i++) {
                if (at + each > of)
                    at = 0;
                msgs[i] = (struct sp_hash_msg){.parts = blocks + at, .part_count = each};
                at += each;
            }
            sp_lanes_run(plan, (struct sp_lane_queue){.array = msgs, .count = count});
            bytes += (double)count * each * BLOCK;
            took = now(CLOCK_THREAD_CPUTIME_ID) - start;
        } while (took < seconds / 5);
        if (bytes / took > best)
            best = bytes / took;
    }
    return best * 1e-9;
}

static void kernels(void)
{
    struct sp_lane_kind kinds[SP_LANE_KINDS_MAX];
    uint32_t n;

    sp_sha1_kinds(kinds, &n);
    printf("%-12s %6s %10s %10s   GB/s\n", "kernel", "lanes", "hot", "cold");
    for (uint32_t k = 0; k < n; k++) {
        if (!kinds[k].is_here)
            continue;
        struct sp_lane_plan plan = sp_sha1_plan_of(&kinds[k]);
        printf("%-12s %6u %10.2f %10.2f\n", kinds[k].name, kinds[k].width,
               rate(&plan, kinds[k].width, 1, HOT), rate(&plan, kinds[k].width, 64, COLD));
    }
}

static void choices(void)
{
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, 17, 24, 32};

    printf("\nbatch %u; chosen for so many waiting pieces of 1 MiB, cold:\n", sp_hash_best_batch());
    for (size_t i = 0; i < SP_COUNT(counts); i++)
        printf("%6u  %-10s %6.2f GB/s\n", counts[i], sp_hash_kernel_name(counts[i]),
               rate(sp_sha1_plan(), counts[i], 64, COLD));
}

static atomic_uint done_count;

static void done(struct sp_hash_job *job)
{
    (void)job;
    done_count++;
}

/* Pieces of `each` blocks at a steady GBps; what a GiB costs in CPU. */
static void paced(double GBps, uint32_t each)
{
    enum { N = 2048 };
    static struct sp_hash_job jobs[N];
    const uint32_t n = each > 64 ? N * 64 / each : N;
    struct sp_hasher *h;
    struct sp_hasher_stats stats;
    const double gap = each * (double)BLOCK / (GBps * 1e9);

    if (sp_hasher_new(NULL, &h) != SP_OK)
        exit(1);
    done_count = 0;
    double start = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID),
           own = now(CLOCK_THREAD_CPUTIME_ID);
    for (uint32_t i = 0; i < n; i++) {
        double wait = start + i * gap - now(CLOCK_MONOTONIC);
        if (wait > 0)
            nanosleep(&(struct timespec){(time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9)},
                      NULL);
        jobs[i] = (struct sp_hash_job){
            .msg = {.parts = blocks + (size_t)i * each % (COLD - each), .part_count = each},
            .done = done};
        sp_hasher_submit(h, &jobs[i]);
    }
    sp_hasher_stats(h, &stats);
    sp_hasher_free(h, SP_HASHER_FINISH);
    own = now(CLOCK_THREAD_CPUTIME_ID) - own;
    cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu - own;
    double gib = n * (double)each * BLOCK / (1 << 30);
    printf("%6.1f %9u %8.2f %12.3f %10.3f\n", GBps, each * BLOCK >> 10,
           stats.batches ? (double)stats.jobs / (double)stats.batches : 0.0, cpu / gib, own / gib);
}

int main(int argc, char **argv)
{
    uint8_t *bytes = aligned_alloc(4096, (size_t)COLD * BLOCK);
    struct sp_rng rng = sp_rng_of(1);

    if (argc > 1)
        seconds = strtod(argv[1], NULL);
    if (!bytes)
        return 1;
    sp_rng_bytes(&rng, bytes, (size_t)COLD * BLOCK);
    for (uint32_t i = 0; i < COLD; i++)
        blocks[i] = (struct sp_slice){bytes + (size_t)i * BLOCK, BLOCK};
    for (uint32_t i = COLD - 1; i > 0; i--) {
        uint32_t j = (uint32_t)sp_rng_below(&rng, i + 1);
        struct sp_slice swap = blocks[i];
        blocks[i] = blocks[j];
        blocks[j] = swap;
    }
    kernels();
    choices();
    printf("\nthe pool, fed evenly:\n%6s %9s %8s %12s %10s\n", "GB/s", "piece KiB", "a batch",
           "CPU s/GiB", "submitter");
    static const double paces[] = {0.1, 0.5, 1.0, 1.5};
    static const uint32_t pieces[] = {16, 64, 256, 1024};
    for (size_t p = 0; p < SP_COUNT(pieces); p++)
        for (size_t i = 0; i < SP_COUNT(paces); i++)
            paced(paces[i], pieces[p]);
    free(bytes);
    return 0;
}
