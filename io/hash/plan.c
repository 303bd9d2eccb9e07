/* Which kernel for how many messages: what the CPU has, timed. */
#include <pthread.h>
#include <time.h>

#include "io/hash/lanes.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static void whole(struct sp_hash_msg *msg)
{
    struct sp_hash_stream s;

    if (sp_hash_stream_init(&s) != SP_OK) {
        s.ctx = NULL; /* no memory for a context: the plain one needs none */
        sp_sha1_init(&s.plain);
    }
    for (uint32_t p = 0; p < msg->part_count; p++)
        sp_hash_stream_add(&s, msg->parts[p].ptr, msg->parts[p].len);
    sp_hash_stream_end(&s, msg->digest);
    sp_hash_stream_done(&s);
}

#if defined(__x86_64__)
/* gcc 12's __builtin_cpu_supports does not know "sha". */
static bool has_sha(void)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29)) &&
           __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1");
}
#endif

void sp_sha1_kinds(struct sp_lane_kind ret_kinds[SP_LANE_KINDS_MAX], uint32_t *ret_count)
{
    uint32_t n = 0;

#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl");
    const bool avx2 = __builtin_cpu_supports("avx2"), sha = has_sha();
    ret_kinds[n++] = (struct sp_lane_kind){"avx512x16", sp_sha1_avx512x16, 16, avx512};
    ret_kinds[n++] = (struct sp_lane_kind){"avx512x8", sp_sha1_avx512x8, 8, avx512};
    ret_kinds[n++] = (struct sp_lane_kind){"avx512x4", sp_sha1_avx512x4, 4, avx512};
    ret_kinds[n++] = (struct sp_lane_kind){"avx2x8", sp_sha1_avx2x8, 8, avx2};
    ret_kinds[n++] = (struct sp_lane_kind){"ni2", sp_sha1_ni2, 2, sha};
    ret_kinds[n++] = (struct sp_lane_kind){"ni", sp_sha1_ni, 1, sha};
#endif
    ret_kinds[n++] = (struct sp_lane_kind){"evp", NULL, 1, true};
    *ret_count = n;
}

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SP_SECOND_NS + (uint64_t)t.tv_nsec;
}

/* Nanoseconds that a kind takes for 8 KiB a lane: the best of several, since
 * others use the machine too and wide units take a while to wake up. */
static uint64_t cost(const struct sp_lane_kind *kind)
{
    enum { LEN = 8192, TIMES = 8 };
    static const uint8_t bytes[LEN];
    struct sp_slice part = {bytes, LEN};
    struct sp_hash_msg msg = {.parts = &part, .part_count = 1};
    _Alignas(64) sp_lane_row state[8] = {{0}};
    const uint8_t *data[SP_LANES_MAX];
    uint64_t best = UINT64_MAX;

    for (uint32_t i = 0; i < SP_LANES_MAX; i++)
        data[i] = bytes;
    for (int t = 0; t < TIMES; t++) {
        uint64_t start = now();
        if (kind->run)
            kind->run(state, data, LEN / 64);
        else
            whole(&msg);
        uint64_t took = now() - start;
        if (took < best)
            best = took;
    }
    return best ? best : 1;
}

static const struct sp_lane_plan sha1_plan = {
    .words = 5,
    .start = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0},
    .whole = whole,
    .batch = 1,
};

struct sp_lane_plan sp_sha1_plan_of(const struct sp_lane_kind *kind)
{
    struct sp_lane_plan plan = sha1_plan;

    for (uint32_t n = 1; n <= SP_LANES_MAX; n++) {
        plan.best[n] = kind;
        plan.begun[n] = kind->run ? kind : NULL;
    }
    plan.batch = kind->width;
    return plan;
}

/* The kind with the least time for n messages of one length; NULL: none is
 * here that can go on with messages begun. */
static const struct sp_lane_kind *pick(const struct sp_lane_kind *kinds, const uint64_t *costs,
                                       uint32_t count, uint32_t n, bool begun)
{
    const struct sp_lane_kind *best = NULL;
    uint64_t least = UINT64_MAX;

    for (uint32_t k = 0; k < count; k++) {
        uint64_t total = costs[k] * ((n + kinds[k].width - 1) / kinds[k].width);
        if (!kinds[k].is_here || (begun && !kinds[k].run) || total >= least)
            continue;
        best = &kinds[k];
        least = total;
    }
    return best;
}

static struct sp_lane_plan measured;
static pthread_once_t measured_once = PTHREAD_ONCE_INIT;

static void measure(void)
{
    static struct sp_lane_kind kinds[SP_LANE_KINDS_MAX]; /* the plan points here */
    uint64_t costs[SP_LANE_KINDS_MAX] = {0}, each[SP_LANES_MAX + 1], least = UINT64_MAX;
    uint32_t count;

    sp_sha1_kinds(kinds, &count);
    for (uint32_t k = 0; k < count; k++)
        costs[k] = kinds[k].is_here ? cost(&kinds[k]) : 0;
    measured = sha1_plan;
    for (uint32_t n = 1; n <= SP_LANES_MAX; n++) {
        const struct sp_lane_kind *best = pick(kinds, costs, count, n, false);
        measured.best[n] = best;
        measured.begun[n] = best->run ? best : pick(kinds, costs, count, n, true);
        each[n] = costs[best - kinds] * ((n + best->width - 1) / best->width) / n;
        if (each[n] < least)
            least = each[n];
    }
    /* The fewest messages that fill lanes and come within a sixth of the best. */
    measured.batch = 1;
    for (uint32_t n = SP_LANES_MAX; n > 0; n--)
        if (each[n] <= least + least / 6 && n % measured.best[n]->width == 0)
            measured.batch = n;
}

const struct sp_lane_plan *sp_sha1_plan(void)
{
    pthread_once(&measured_once, measure);
    return &measured;
}
