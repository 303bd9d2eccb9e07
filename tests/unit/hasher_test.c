/* The pool of hash threads: every job done once, right, by somebody; and when
 * a worker waits for more. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "core/base/rng.h"
#include "core/base/sha1.h"
#include "io/hash/hasher.h"
#include "io/hash/linger.h"

enum { JOBS = 400, PARTS = 4, SUBMITTERS = 3 };

static uint8_t bytes[1 << 16];
static atomic_int done_count, wrong_count, canceled_count;

struct work {
    struct sp_hash_job job;
    struct sp_slice parts[PARTS];
    uint64_t prints[PARTS];
    atomic_int times;        /* done was called */
    struct sp_hasher *again; /* submit once more when done */
};

__attribute__((constructor)) static void fill(void)
{
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 11);
}

static bool is_right(const struct sp_hash_job *job)
{
    struct sp_sha1 s;
    uint8_t want[SP_SHA1_LEN];

    sp_sha1_init(&s);
    for (uint32_t p = 0; p < job->msg.part_count; p++) {
        const struct sp_slice *part = &job->msg.parts[p];
        sp_sha1_add(&s, part->ptr, part->len);
        if (job->want_prints && job->prints[p] != sp_hash_bytes(&job->key, part->ptr, part->len))
            return false;
    }
    sp_sha1_end(&s, want);
    return memcmp(want, job->msg.digest, SP_SHA1_LEN) == 0;
}

static void done(struct sp_hash_job *job)
{
    struct work *w = job->ctx;

    if (job->err == SP_ECANCELED)
        canceled_count++;
    else if (job->err != SP_OK || !is_right(job))
        wrong_count++;
    w->times++;
    done_count++;
    if (w->again) {
        struct sp_hasher *h = w->again;
        w->again = NULL;
        sp_hasher_submit(h, job);
    }
}

static void work_init(struct work *w, struct sp_rng *rng)
{
    *w = (struct work){0};
    for (int p = 0; p < PARTS; p++)
        w->parts[p] =
            (struct sp_slice){bytes + sp_rng_below(rng, 40000), 1 + sp_rng_below(rng, 5000)};
    w->job = (struct sp_hash_job){.msg = {.parts = w->parts, .part_count = PARTS},
                                  .done = done,
                                  .ctx = w,
                                  .want_prints = sp_rng_below(rng, 2),
                                  .prints = w->prints,
                                  .key = {1, 2}};
}

static void reset(void)
{
    done_count = wrong_count = canceled_count = 0;
}

static void sleep_us(long us)
{
    nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

/* Bounded: a minute. */
static void wait_done(int count)
{
    for (int i = 0; i < 600000 && done_count < count; i++)
        sleep_us(100);
    CHECK_EQ(done_count, count);
}

struct submitter {
    struct sp_hasher *h;
    struct work *works;
    uint64_t seed;
};

static void *submit_some(void *arg)
{
    struct submitter *s = arg;
    struct sp_rng rng = sp_rng_of(s->seed);

    for (int i = 0; i < JOBS;) {
        int n = 1 + (int)sp_rng_below(&rng, 40);
        if (n > JOBS - i)
            n = JOBS - i;
        for (int k = 0; k < n; k++)
            s->works[i + k].job.next = k + 1 < n ? &s->works[i + k + 1].job : NULL;
        if (n == 1)
            sp_hasher_submit(s->h, &s->works[i].job);
        else
            sp_hasher_submit_list(s->h, &s->works[i].job);
        i += n;
        if (sp_rng_below(&rng, 4) == 0)
            sleep_us((long)sp_rng_below(&rng, 600));
    }
    return NULL;
}

static void load(const struct sp_hasher_cfg *cfg, enum sp_hasher_end how)
{
    struct sp_hasher *h = NULL;
    struct work *works = calloc(SUBMITTERS * JOBS, sizeof(*works));
    struct submitter subs[SUBMITTERS];
    pthread_t threads[SUBMITTERS];
    struct sp_rng rng = sp_rng_of(3);
    struct sp_hasher_stats stats;

    reset();
    CHECK_EQ(sp_hasher_new(cfg, &h), SP_OK);
    for (int i = 0; i < SUBMITTERS * JOBS; i++)
        work_init(&works[i], &rng);
    for (int i = 0; i < SUBMITTERS; i++) {
        subs[i] = (struct submitter){h, works + i * JOBS, (uint64_t)i};
        pthread_create(&threads[i], NULL, submit_some, &subs[i]);
    }
    for (int i = 0; i < SUBMITTERS; i++)
        pthread_join(threads[i], NULL);
    sp_hasher_stats(h, &stats);
    CHECK(stats.jobs + stats.waiting <= SUBMITTERS * JOBS);
    sp_hasher_free(h, how);
    CHECK_EQ(done_count, SUBMITTERS * JOBS);
    CHECK_EQ(wrong_count, 0);
    CHECK(how == SP_HASHER_CANCEL || canceled_count == 0);
    for (int i = 0; i < SUBMITTERS * JOBS; i++)
        CHECK_EQ(works[i].times, 1);
    free(works);
}

TEST(under_load)
{
    static const struct sp_hasher_cfg cfgs[] = {
        {0},
        {.threads = 1},
        {.threads = 4, .linger_ns = SP_TIME_NEVER},
        {.threads = 3, .linger_ns = SP_MS_NS, .batch_bytes_max = 20000},
        {.threads = 2, .batch_bytes_max = 1}, /* every job is huge */
    };
    load(NULL, SP_HASHER_FINISH);
    for (size_t i = 0; i < SP_COUNT(cfgs); i++) {
        load(&cfgs[i], SP_HASHER_FINISH);
        load(&cfgs[i], SP_HASHER_CANCEL);
    }
}

/* A worker that cannot get out of done holds up the rest. */
static atomic_bool gate;

static void *open_gate(void *unused)
{
    sleep_us(20000);
    gate = true;
    return unused;
}

static void done_at_gate(struct sp_hash_job *job)
{
    while (!gate)
        sleep_us(50);
    done(job);
}

TEST(cancel_leaves_what_waits_unhashed)
{
    enum { N = 100 };
    static struct work works[N];
    struct sp_hasher *h = NULL;
    struct sp_rng rng = sp_rng_of(4);
    struct sp_hasher_stats stats = {0};

    reset();
    gate = false;
    CHECK_EQ(sp_hasher_new(&(struct sp_hasher_cfg){.threads = 1}, &h), SP_OK);
    for (int i = 0; i < N; i++)
        work_init(&works[i], &rng);
    works[0].job.done = done_at_gate;
    sp_hasher_submit(h, &works[0].job);
    do
        sp_hasher_stats(h, &stats);
    while (stats.waiting > 0);
    for (int i = 1; i < N; i++)
        sp_hasher_submit(h, &works[i].job);
    sp_hasher_stats(h, &stats);
    CHECK_EQ(stats.waiting, N - 1);
    /* The gate opens only once free is at work, or a little before. */
    pthread_t opener;
    pthread_create(&opener, NULL, open_gate, NULL);
    sp_hasher_free(h, SP_HASHER_CANCEL);
    pthread_join(opener, NULL);
    CHECK_EQ(done_count, N);
    CHECK_EQ(wrong_count, 0);
    CHECK_EQ(canceled_count, N - 1);
}

TEST(done_may_submit)
{
    static struct work works[50];
    struct sp_rng rng = sp_rng_of(5);

    for (int how = 0; how < 2; how++) {
        struct sp_hasher *h = NULL;
        reset();
        CHECK_EQ(sp_hasher_new(&(struct sp_hasher_cfg){.threads = 2}, &h), SP_OK);
        for (size_t i = 0; i < SP_COUNT(works); i++) {
            work_init(&works[i], &rng);
            works[i].again = h;
        }
        for (size_t i = 0; i < SP_COUNT(works); i++)
            sp_hasher_submit(h, &works[i].job);
        sp_hasher_free(h, how ? SP_HASHER_CANCEL : SP_HASHER_FINISH);
        CHECK_EQ(done_count, 2 * SP_COUNT(works));
        CHECK_EQ(wrong_count, 0);
    }
}

/* Waiting jobs go together, not one by one. */
TEST(a_backlog_is_batched)
{
    enum { N = 64 };
    static struct work works[N + 1];
    struct sp_hasher *h = NULL;
    struct sp_rng rng = sp_rng_of(6);
    struct sp_hasher_stats stats = {0};
    const uint32_t batch = sp_hash_best_batch();

    reset();
    gate = false;
    CHECK_EQ(sp_hasher_new(&(struct sp_hasher_cfg){.threads = 1}, &h), SP_OK);
    for (int i = 0; i <= N; i++)
        work_init(&works[i], &rng);
    works[N].job.done = done_at_gate;
    sp_hasher_submit(h, &works[N].job);
    do
        sp_hasher_stats(h, &stats);
    while (stats.waiting > 0);
    for (int i = 0; i < N; i++)
        sp_hasher_submit(h, &works[i].job);
    gate = true;
    wait_done(N + 1);
    do
        sp_hasher_stats(h, &stats);
    while (stats.jobs < N + 1);
    CHECK_EQ(stats.batches, 1 + (N + batch - 1) / batch);
    sp_hasher_free(h, SP_HASHER_FINISH);
    CHECK_EQ(wrong_count, 0);
}

/* A full batch waits for the worker that is busy; one more brings the second. */
TEST(the_second_worker_waits_for_a_full_batch)
{
    static struct work works[20];
    struct sp_hasher *h = NULL;
    struct sp_rng rng = sp_rng_of(8);
    struct sp_hasher_stats stats = {0};
    const int batch = (int)sp_hash_best_batch();

    reset();
    gate = false;
    CHECK_EQ(sp_hasher_new(&(struct sp_hasher_cfg){.threads = 2}, &h), SP_OK);
    for (size_t i = 0; i < SP_COUNT(works); i++)
        work_init(&works[i], &rng);
    works[19].job.done = done_at_gate;
    sp_hasher_submit(h, &works[19].job);
    do
        sp_hasher_stats(h, &stats);
    while (stats.waiting > 0);
    for (int i = 0; i < batch; i++)
        sp_hasher_submit(h, &works[i].job);
    sleep_us(30000);
    CHECK_EQ(done_count, 0);
    sp_hasher_submit(h, &works[batch].job);
    wait_done(batch);
    gate = true;
    wait_done(batch + 2);
    sp_hasher_free(h, SP_HASHER_FINISH);
    CHECK_EQ(wrong_count, 0);
}

/* A burst that does not fill the lanes is waited for, but not when it ends. */
TEST(the_end_cuts_lingering_short)
{
    static struct work works[12];
    struct sp_rng rng = sp_rng_of(9);

    if (sp_hash_best_batch() < 16)
        return; /* the burst would be a batch */
    for (int how = 0; how < 3; how++) {
        struct sp_hasher *h = NULL;
        const time_t start = time(NULL);
        const int jobs = (int)SP_COUNT(works) + (how == 0);
        reset();
        /* It expects the next after a 24th of the longest wait and waits for four. */
        CHECK_EQ(sp_hasher_new(
                     &(struct sp_hasher_cfg){.linger_ns = (how == 2 ? 1 : 60) * SP_SECOND_NS}, &h),
                 SP_OK);
        for (size_t i = 0; i < SP_COUNT(works); i++) {
            work_init(&works[i], &rng);
            works[i].again = how == 0 && i + 1 == SP_COUNT(works) ? h : NULL;
            works[i].job.next = i + 1 < SP_COUNT(works) ? &works[i + 1].job : NULL;
        }
        sp_hasher_submit_list(h, &works[0].job);
        sleep_us(20000);
        CHECK_EQ(done_count, 0);
        if (how == 2)
            wait_done(SP_COUNT(works));
        sp_hasher_free(h, how ? SP_HASHER_FINISH : SP_HASHER_CANCEL);
        CHECK(time(NULL) - start < 6);
        CHECK_EQ(done_count, jobs);
        CHECK_EQ(canceled_count, how ? 0 : jobs);
        CHECK_EQ(wrong_count, 0);
    }
}

TEST(free_of_nothing)
{
    struct sp_hasher *h = NULL;

    sp_hasher_free(NULL, SP_HASHER_FINISH);
    CHECK_EQ(sp_hasher_new(NULL, &h), SP_OK);
    sp_hasher_submit_list(h, NULL);
    sp_hasher_free(h, SP_HASHER_FINISH);
}

TEST(a_lone_piece_does_not_wait)
{
    struct sp_linger l;

    sp_linger_init(&l, 8 * SP_MS_NS, 16, 24 << 20);
    sp_linger_arrive(&l, SP_SECOND_NS, 1);
    CHECK_EQ(sp_linger_until(&l, SP_SECOND_NS, SP_SECOND_NS, 1, 1 << 20), SP_SECOND_NS);
    /* Nor do many that come slowly. */
    sp_time_ns t = SP_SECOND_NS;
    for (int i = 0; i < 100; i++) {
        t += 3 * SP_MS_NS;
        sp_linger_arrive(&l, t, 1);
        CHECK_EQ(sp_linger_until(&l, t, t, 1, 1 << 20), t);
    }
}

TEST(a_burst_waits_for_its_batch)
{
    struct sp_linger l;
    sp_time_ns t = SP_SECOND_NS, gap = 700000;

    sp_linger_init(&l, 8 * SP_MS_NS, 16, 24 << 20);
    for (int i = 0; i < 12; i++)
        sp_linger_arrive(&l, t += gap, 1);
    /* Some gaps, then again when one has come, at most linger_ns in all. */
    sp_time_ns until = sp_linger_until(&l, t, t, 1, 1 << 20);
    CHECK(until >= t + 2 * gap && until <= t + 7 * gap);
    CHECK_EQ(sp_linger_until(&l, t, t, 16, 16 << 20), t);
    CHECK_EQ(sp_linger_until(&l, t, t, 2, 20 << 20), t); /* a third does not fit */
    CHECK(sp_linger_until(&l, t, t - 7 * SP_MS_NS, 9, 9 << 20) <= t + SP_MS_NS);
    CHECK(sp_linger_until(&l, t, t - 8 * SP_MS_NS, 9, 9 << 20) <= t);
    /* None has come: enough. */
    CHECK(sp_linger_until(&l, until, t, 1, 1 << 20) <= until);
    /* One long gap ends the burst. */
    t += 9 * SP_MS_NS;
    sp_linger_arrive(&l, t, 1);
    CHECK_EQ(sp_linger_until(&l, t, t, 1, 1 << 20), t);
    /* Many at once are a burst. */
    sp_linger_arrive(&l, t += SP_MS_NS, 12);
    CHECK(sp_linger_until(&l, t, t, 12, 12 << 20) > t);
}

TEST(lingering_can_be_forbidden)
{
    struct sp_linger l;

    sp_linger_init(&l, 0, 16, 24 << 20);
    for (sp_time_ns t = 1; t < 100; t++) {
        sp_linger_arrive(&l, t, 3);
        CHECK(sp_linger_until(&l, t, t, 1, 1) <= t);
    }
}

int main(void)
{
    return check_run();
}
