#include "io/hash/hasher.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "io/hash/linger.h"

enum { THREADS_DEFAULT_MAX = 4, THREADS_MAX = 64, BATCH_MAX = 16 };

#define BATCH_BYTES_DEFAULT ((size_t)24 << 20)
#define LINGER_DEFAULT      (8 * SP_MS_NS)

struct sp_hasher {
    pthread_mutex_t lock; /* of everything below, but for threads */
    pthread_cond_t work;  /* an idle worker may start */
    pthread_cond_t full;  /* the lingering worker need not linger on */
    struct sp_hash_job *first, **last;
    uint32_t waiting;
    uint64_t waiting_bytes;
    uint32_t idle;    /* workers waiting for work */
    uint32_t at_work; /* workers lingering, or with a batch of no more than bytes_max */
    bool lingering;   /* one of them waits for full */
    bool waking;      /* an idle worker was signalled and has not come yet */
    bool is_ending, is_canceled;
    struct sp_linger linger;
    struct sp_hasher_stats stats;
    uint32_t thread_count;
    pthread_t threads[THREADS_MAX];
};

static sp_time_ns now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SP_SECOND_NS + (uint64_t)t.tv_nsec;
}

/* One worker at work takes what comes in meanwhile as its next batch; a second
 * one starts only when that would not fit. */
static bool may_start(const struct sp_hasher *h)
{
    if (h->waiting == 0)
        return false;
    return h->at_work == 0 || h->is_ending || h->waiting > h->linger.batch ||
           h->waiting_bytes > h->linger.bytes_max;
}

static void wake(struct sp_hasher *h)
{
    if (h->idle == 0 || h->waking || !may_start(h))
        return;
    h->waking = true;
    pthread_cond_signal(&h->work);
}

/* Up to a batch of jobs, in order; returns how many, bytes through ret_bytes. */
static uint32_t take(struct sp_hasher *h, struct sp_hash_job *ret_jobs[BATCH_MAX],
                     uint64_t *ret_bytes)
{
    uint64_t bytes = 0;
    uint32_t n = 0;

    while (h->first && n < h->linger.batch &&
           (n == 0 || bytes + h->first->bytes <= h->linger.bytes_max)) {
        struct sp_hash_job *job = h->first;
        h->first = job->next;
        bytes += job->bytes;
        ret_jobs[n++] = job;
    }
    if (!h->first)
        h->last = &h->first;
    h->waiting -= n;
    h->waiting_bytes -= bytes;
    *ret_bytes = bytes;
    return n;
}

/* With the lock held.  Only one worker lingers at a time. */
static void linger(struct sp_hasher *h)
{
    const sp_time_ns since = now();
    sp_time_ns at = since;
    bool lingered = false;

    while (!h->is_ending && !h->lingering && h->waiting > 0) {
        sp_time_ns until = sp_linger_until(&h->linger, at, since, h->waiting, h->waiting_bytes);
        if (until <= at)
            break;
        const struct timespec t = {(time_t)(until / SP_SECOND_NS), (long)(until % SP_SECOND_NS)};
        h->lingering = lingered = true;
        pthread_cond_timedwait(&h->full, &h->lock, &t);
        h->lingering = false;
        at = now();
    }
    h->stats.lingers += lingered;
}

static void hash(struct sp_hash_job *const *jobs, uint32_t count)
{
    struct sp_hash_msg *msgs[BATCH_MAX];

    for (uint32_t i = 0; i < count; i++)
        msgs[i] = &jobs[i]->msg;
    sp_hash_sha1_each(msgs, count);
    for (uint32_t i = 0; i < count; i++) {
        struct sp_hash_job *job = jobs[i];
        if (job->want_prints)
            for (uint32_t p = 0; p < job->msg.part_count; p++)
                job->prints[p] =
                    sp_hash_bytes(&job->key, job->msg.parts[p].ptr, job->msg.parts[p].len);
        job->err = SP_OK;
        job->done(job);
    }
}

/* One batch, with the lock held before and after. */
static void work(struct sp_hasher *h)
{
    struct sp_hash_job *jobs[BATCH_MAX];
    uint64_t bytes;
    uint32_t count;

    h->at_work++;
    linger(h);
    if (h->is_canceled) {
        h->at_work--;
        return;
    }
    count = take(h, jobs, &bytes);
    /* Nobody should wait for the end of one huge message. */
    const bool is_huge = bytes > h->linger.bytes_max;
    h->at_work -= is_huge;
    wake(h);
    pthread_mutex_unlock(&h->lock);
    hash(jobs, count);
    pthread_mutex_lock(&h->lock);
    h->at_work -= !is_huge;
    h->stats.jobs += count;
    h->stats.bytes += bytes;
    h->stats.batches += count > 0;
}

static void *worker(void *arg)
{
    struct sp_hasher *h = arg;

    pthread_mutex_lock(&h->lock);
    while (!h->is_canceled && !(h->is_ending && h->waiting == 0)) {
        if (may_start(h)) {
            work(h);
        } else {
            h->idle++;
            pthread_cond_wait(&h->work, &h->lock);
            h->waking = false;
            h->idle--;
        }
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

static uint32_t core_count(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

/* Signals are for the program's own threads. */
static void start(struct sp_hasher *h, uint32_t count)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (h->thread_count < count &&
           pthread_create(&h->threads[h->thread_count], NULL, worker, h) == 0) {
        pthread_setname_np(h->threads[h->thread_count], "spate-hash");
        h->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void release(struct sp_hasher *h)
{
    pthread_cond_destroy(&h->full);
    pthread_cond_destroy(&h->work);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

enum sp_err sp_hasher_new(const struct sp_hasher_cfg *cfg, struct sp_hasher **ret_h)
{
    static const struct sp_hasher_cfg defaults;
    struct sp_hasher *h = calloc(1, sizeof(*h));
    pthread_condattr_t monotonic;
    uint32_t count;
    sp_time_ns wait;

    if (!h)
        return SP_ENOMEM;
    if (!cfg)
        cfg = &defaults;
    count = cfg->threads;
    if (count == 0) {
        count = core_count();
        count = count < THREADS_DEFAULT_MAX ? count : THREADS_DEFAULT_MAX;
    }
    wait = cfg->linger_ns == 0 ? LINGER_DEFAULT : cfg->linger_ns;
    sp_linger_init(&h->linger, wait == SP_TIME_NEVER ? 0 : wait, sp_hash_best_batch(),
                   cfg->batch_bytes_max ? cfg->batch_bytes_max : BATCH_BYTES_DEFAULT);
    h->last = &h->first;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->work, NULL);
    pthread_cond_init(&h->full, &monotonic);
    pthread_condattr_destroy(&monotonic);
    start(h, count < THREADS_MAX ? count : THREADS_MAX);
    if (h->thread_count == 0) {
        release(h);
        return SP_ENOMEM;
    }
    *ret_h = h;
    return SP_OK;
}

static uint64_t length(const struct sp_hash_msg *msg)
{
    uint64_t len = 0;

    for (uint32_t p = 0; p < msg->part_count; p++)
        len += msg->parts[p].len;
    return len;
}

void sp_hasher_submit_list(struct sp_hasher *h, struct sp_hash_job *first)
{
    struct sp_hash_job **last = &first;
    uint64_t bytes = 0;
    uint32_t count = 0;

    for (; *last; last = &(*last)->next) {
        (*last)->bytes = length(&(*last)->msg);
        bytes += (*last)->bytes;
        count++;
    }
    if (count == 0)
        return;
    const sp_time_ns at = now();
    pthread_mutex_lock(&h->lock);
    sp_linger_arrive(&h->linger, at, count);
    *h->last = first;
    h->last = last;
    h->waiting += count;
    h->waiting_bytes += bytes;
    if (h->lingering) {
        if (sp_linger_is_full(&h->linger, h->waiting, h->waiting_bytes))
            pthread_cond_signal(&h->full);
    } else {
        wake(h);
    }
    pthread_mutex_unlock(&h->lock);
}

void sp_hasher_submit(struct sp_hasher *h, struct sp_hash_job *job)
{
    job->next = NULL;
    sp_hasher_submit_list(h, job);
}

void sp_hasher_stats(struct sp_hasher *h, struct sp_hasher_stats *ret_stats)
{
    pthread_mutex_lock(&h->lock);
    *ret_stats = h->stats;
    ret_stats->waiting = h->waiting;
    pthread_mutex_unlock(&h->lock);
}

void sp_hasher_free(struct sp_hasher *h, enum sp_hasher_end how)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->is_ending = true;
    h->is_canceled = how == SP_HASHER_CANCEL;
    pthread_cond_broadcast(&h->work);
    pthread_cond_broadcast(&h->full);
    pthread_mutex_unlock(&h->lock);
    for (uint32_t i = 0; i < h->thread_count; i++)
        pthread_join(h->threads[i], NULL);
    while (h->first) {
        struct sp_hash_job *job = h->first;
        h->first = job->next;
        if (!h->first)
            h->last = &h->first; /* done may submit */
        job->err = SP_ECANCELED;
        job->done(job);
    }
    release(h);
}
