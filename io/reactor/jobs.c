/* The session's jobs on the pools: hashing, writing, reading.
 *
 * A read is tried on the spot first, when the pages are in memory; the rest
 * goes out and comes back through the mailbox.
 */
#include <stdlib.h>

#include "io/reactor/reactor.h"

/* A job on its way; reused. */
struct sp_task {
    struct sp_post post;
    struct sp_task *next, *next_free; /* of all; of those not in use */
    struct sp_reactor *r;
    struct sp_job *job;
    union {
        struct sp_disk_job disk;
        struct sp_hash_job hash;
    } u;
    struct sp_slice *parts; /* of hash; part_cap of them */
    uint32_t part_cap;
};

static struct sp_task *new_task(struct sp_reactor *r, struct sp_job *job)
{
    struct sp_task *t = r->free_tasks;
    if (t) {
        r->free_tasks = t->next_free;
    } else {
        if (!(t = calloc(1, sizeof(*t))))
            return NULL;
        t->next = r->tasks;
        r->tasks = t;
    }
    t->r = r;
    t->job = job;
    r->tasks_out++;
    return t;
}

static void put_back(struct sp_task *t)
{
    t->next_free = t->r->free_tasks;
    t->r->free_tasks = t;
    t->r->tasks_out--;
}

static void run_hashed(struct sp_reactor *r, struct sp_post *post)
{
    struct sp_task *t = SP_CONTAINER(post, struct sp_task, post);
    enum sp_err err = t->u.hash.err;
    memcpy(t->job->digest, t->u.hash.msg.digest, SP_SHA1_LEN);
    struct sp_job *job = t->job;
    put_back(t);
    sp_session_job_done(r->session, job, err, NULL, sp_reactor_now(r));
}

static void on_hashed(struct sp_hash_job *hash)
{
    struct sp_task *t = hash->ctx;
    sp_reactor_post(t->r, &t->post);
}

static void run_disk_done(struct sp_reactor *r, struct sp_post *post)
{
    struct sp_task *t = SP_CONTAINER(post, struct sp_task, post);
    struct sp_job *job = t->job;
    enum sp_err err = t->u.disk.err;
    char why[sizeof(t->u.disk.why)];
    memcpy(why, t->u.disk.why, sizeof(why));
    put_back(t);
    sp_session_job_done(r->session, job, err, why, sp_reactor_now(r));
}

static void on_disk_done(struct sp_disk_job *disk)
{
    struct sp_task *t = disk->ctx;
    sp_reactor_post(t->r, &t->post);
}

static bool fit_parts(struct sp_task *t, uint32_t count)
{
    if (count <= t->part_cap)
        return true;
    struct sp_slice *parts = realloc(t->parts, count * sizeof(*parts));
    if (!parts)
        return false;
    t->parts = parts;
    t->part_cap = count;
    return true;
}

static void hash(struct sp_task *t)
{
    struct sp_job *job = t->job;
    for (uint32_t i = 0; i < job->iov_count; i++)
        t->parts[i] = (struct sp_slice){job->iov[i].ptr, job->iov[i].len};
    t->post.run = run_hashed;
    t->u.hash = (struct sp_hash_job){
        .msg = {.parts = t->parts, .part_count = job->iov_count},
        .done = on_hashed,
        .ctx = t,
        .want_prints = job->want_prints,
        .prints = job->prints,
        .key = t->r->env->print_key,
    };
    sp_hasher_submit(t->r->env->hasher, &t->u.hash);
}

static void disk(struct sp_task *t, struct sp_storage *st, enum sp_disk_op op)
{
    t->post.run = run_disk_done;
    memset(&t->u.disk, 0, sizeof(t->u.disk));
    t->u.disk.op = op;
    t->u.disk.st = st;
    t->u.disk.done = on_disk_done;
    t->u.disk.ctx = t;
    t->u.disk.off = t->job->off;
    t->u.disk.iov = t->job->iov;
    t->u.disk.iov_count = t->job->iov_count;
    sp_disk_submit(t->r->env->disk, &t->u.disk);
}

static void submit(struct sp_task *t, struct sp_held *h)
{
    switch (t->job->kind) {
    case SP_JOB_HASH:
        hash(t);
        break;
    case SP_JOB_READ:
        disk(t, h->storage, SP_DISK_READ);
        break;
    case SP_JOB_WRITE:
        disk(t, h->storage, SP_DISK_WRITE);
        break;
    }
}

static void keep(struct sp_held *h, struct sp_task *t)
{
    struct sp_task **at = &h->walled;
    while (*at)
        at = &(*at)->next_free;
    t->next_free = NULL;
    *at = t;
}

void sp_jobs_release(struct sp_held *h)
{
    struct sp_task *next;
    for (struct sp_task *t = h->walled; t; t = next) {
        next = t->next_free;
        submit(t, h);
    }
    h->walled = NULL;
}

void sp_jobs_run(struct sp_reactor *r, struct sp_job *job)
{
    struct sp_held *h = sp_reactor_find(r, job->torrent);
    sp_time_ns now = sp_reactor_now(r);

    if (job->kind != SP_JOB_HASH && (!h || !h->storage)) {
        sp_session_job_done(r->session, job, SP_ECANCELED, "the torrent is gone", now);
        return;
    }
    bool walled = job->kind != SP_JOB_HASH && sp_held_is_walled(h);
    if (job->kind == SP_JOB_READ && !walled &&
        sp_disk_try_read(h->storage, job->off, job->iov, job->iov_count) == SP_OK) {
        sp_session_job_done(r->session, job, SP_OK, NULL, now);
        return;
    }
    struct sp_task *t = new_task(r, job);
    if (!t || (job->kind == SP_JOB_HASH && !fit_parts(t, job->iov_count))) {
        if (t)
            put_back(t);
        sp_session_job_done(r->session, job, SP_ENOMEM, "out of memory", now);
        return;
    }
    if (walled)
        keep(h, t);
    else
        submit(t, h);
}

void sp_jobs_done(struct sp_reactor *r)
{
    struct sp_task *next;
    for (struct sp_task *t = r->tasks; t; t = next) {
        next = t->next;
        free(t->parts);
        free(t);
    }
    r->tasks = r->free_tasks = NULL;
}
