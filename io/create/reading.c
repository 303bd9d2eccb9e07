#include "io/create/reading.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define LOOK_EVERY_NS (100 * SP_MS_NS)

/* A disk job and the thread that waits for it. */
struct waiter {
    struct sp_disk_job job;
    pthread_mutex_t lock;
    pthread_cond_t came;
    bool done;
};

static void on_done(struct sp_disk_job *job)
{
    struct waiter *w = job->ctx;
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->came);
    pthread_mutex_unlock(&w->lock);
}

static void show(const struct sp_reading_cfg *cfg, struct waiter *w)
{
    uint64_t done = (uint64_t)atomic_load(&w->job.check.pieces_done) * cfg->piece_len;
    if (done > cfg->total_len)
        done = cfg->total_len;
    if (cfg->progress && !cfg->progress(cfg->ctx, done, cfg->total_len))
        atomic_store(&w->job.cancel, true);
}

/* Submits and waits; calls progress meanwhile when asked. */
static enum sp_err run(const struct sp_reading_cfg *cfg, struct sp_disk *d, struct waiter *w,
                       bool with_progress)
{
    w->done = false;
    w->job.done = on_done;
    w->job.ctx = w;
    sp_disk_submit(d, &w->job);
    pthread_mutex_lock(&w->lock);
    while (!w->done) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += (long)LOOK_EVERY_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&w->came, &w->lock, &until);
        if (with_progress && !w->done) {
            pthread_mutex_unlock(&w->lock);
            show(cfg, w);
            pthread_mutex_lock(&w->lock);
        }
    }
    pthread_mutex_unlock(&w->lock);
    if (with_progress && w->job.err == SP_OK)
        show(cfg, w);
    return w->job.err;
}

static enum sp_err fail(struct sp_diag *diag, const struct waiter *w)
{
    return sp_diag_set(diag, w->job.err, 0, w->job.why[0] ? w->job.why : sp_err_text(w->job.err));
}

static enum sp_err check(const struct sp_reading_cfg *cfg, struct sp_disk *d, struct sp_storage *st,
                         struct waiter *w, struct sp_diag *diag)
{
    w->job = (struct sp_disk_job){.op = SP_DISK_OPEN, .st = st, .stats = cfg->ret_stats};
    if (run(cfg, d, w, false) != SP_OK)
        return fail(diag, w);
    w->job = (struct sp_disk_job){
        .op = SP_DISK_CHECK,
        .st = st,
        .piece_count = cfg->piece_count,
        .check = {.ret_state = cfg->ret_state},
    };
    memcpy(&w->job.check.want, &cfg->want, sizeof(cfg->want));
    memcpy(&w->job.check.ret_digests, &cfg->ret_digests, sizeof(cfg->ret_digests));
    enum sp_err err = run(cfg, d, w, true);
    if (err != SP_OK)
        fail(diag, w);
    w->job = (struct sp_disk_job){.op = SP_DISK_CLOSE, .st = st};
    (void)run(cfg, d, w, false);
    return err;
}

enum sp_err sp_reading(const struct sp_reading_cfg *cfg, struct sp_diag *diag)
{
    struct sp_disk_cfg dc = {.lane_threads = cfg->threads};
    struct sp_storage_cfg sc = {
        .dir = cfg->dir,
        .files = cfg->files,
        .file_count = cfg->file_count,
        .piece_len = cfg->piece_len,
        .total_len = cfg->total_len,
        .read_only = true,
    };
    struct waiter w = {.done = false};
    struct sp_storage *st = NULL;
    struct sp_disk *d = NULL;

    if (pthread_mutex_init(&w.lock, NULL) != 0 || pthread_cond_init(&w.came, NULL) != 0)
        return sp_diag_set(diag, SP_ENOMEM, 0, sp_err_text(SP_ENOMEM));
    enum sp_err err = sp_disk_new(&dc, &d);
    if (err == SP_OK)
        err = sp_storage_new(d, &sc, &st);
    if (err != SP_OK)
        sp_diag_set(diag, err, 0, sp_err_text(err));
    else
        err = check(cfg, d, st, &w, diag);
    sp_disk_free(d);
    sp_storage_free(st);
    pthread_cond_destroy(&w.came);
    pthread_mutex_destroy(&w.lock);
    return err;
}
