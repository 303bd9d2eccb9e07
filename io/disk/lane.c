/* lane.c - the pool: lanes, their queues and threads, and the walls. */
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "io/base/fd.h"
#include "io/disk/impl.h"

enum {
    FRONT_THREADS = 2, /* one may hang on a dead network mount */
    STACK_LEN = 512 << 10,
    FDS_DEFAULT_MAX = 512,
    FDS_MIN = 4,
    DIRECT_MIN = 64 << 10,
    /* A disk with heads: the page cache sorts and joins small writes, which is worth more than
     * the copy. */
    DIRECT_MIN_ROTATIONAL = 1 << 20,
    BULK_TURN = 128, /* peers' jobs after which bulk work that waits gets a slice all the same */
    PICK_MAX = 32,   /* reads that a rotational lane looks through for the nearest */
};

static void queue_init(struct queue *q)
{
    q->first = NULL;
    q->last = &q->first;
}

static void queue_push(struct queue *q, struct sp_disk_job *job)
{
    job->next = NULL;
    *q->last = job;
    q->last = &job->next;
}

static void queue_take(struct queue *q, struct sp_disk_job **link)
{
    struct sp_disk_job *job = *link;
    *link = job->next;
    if (q->last == &job->next)
        q->last = link;
    job->next = NULL;
}

static bool is_wall(enum sp_disk_op op)
{
    return op == SP_DISK_OPEN || op == SP_DISK_SELECT || op == SP_DISK_CLOSE ||
           op == SP_DISK_DELETE;
}

static bool is_bulk(enum sp_disk_op op)
{
    return op == SP_DISK_CHECK || op == SP_DISK_ALLOCATE;
}

static void lane_push(struct lane *lane, struct sp_disk_job *job)
{
    pthread_mutex_lock(&lane->lock);
    queue_push(is_bulk(job->op) && !lane->is_front ? &lane->bulk : &lane->peers, job);
    pthread_cond_signal(&lane->wake);
    pthread_mutex_unlock(&lane->lock);
}

/* To the storage's lane, or to the front when it has none yet. */
static void route(struct sp_disk *d, struct sp_disk_job *job)
{
    struct lane *lane =
        job->op == SP_DISK_OPEN ? NULL : atomic_load_explicit(&job->st->lane, memory_order_acquire);
    lane_push(lane ? lane : d->front, job);
}

void sp_disk_submit(struct sp_disk *d, struct sp_disk_job *job)
{
    struct sp_storage *st = job->st;

    job->err = SP_OK;
    job->sys_errno = 0;
    job->file_ix = UINT32_MAX;
    job->why[0] = '\0';
    job->claimed = job->running = 0;
    job->wall = is_wall(job->op);
    if (job->op == SP_DISK_CLOSE || job->op == SP_DISK_DELETE)
        atomic_store(&st->closing, true);

    pthread_mutex_lock(&d->lock);
    assert(!st->parked); /* the contract of walls */
    d->jobs++;
    st->pending++;
    bool park = job->wall && st->pending > 1;
    if (park)
        st->parked = job;
    pthread_mutex_unlock(&d->lock);
    if (!park)
        route(d, job);
}

/* The job is over.  A wall's storage may be freed in its done(), so it is counted out before;
 * any other must be told before the wall behind it can start. */
static void finish(struct sp_disk *d, struct sp_disk_job *job)
{
    struct sp_storage *st = job->st;
    struct sp_disk_job *next = NULL;
    bool wall = job->wall;

    if (!wall)
        job->done(job);
    pthread_mutex_lock(&d->lock);
    if (--st->pending == 1 && st->parked) {
        next = st->parked;
        st->parked = NULL;
    }
    pthread_mutex_unlock(&d->lock);
    if (wall)
        job->done(job);
    if (next)
        route(d, next);

    pthread_mutex_lock(&d->lock);
    if (--d->jobs == 0)
        pthread_cond_broadcast(&d->idle);
    pthread_mutex_unlock(&d->lock);
}

bool sp_disk_job_canceled(struct sp_disk_job *job)
{
    return atomic_load_explicit(&job->cancel, memory_order_relaxed) ||
           atomic_load_explicit(&job->st->closing, memory_order_relaxed);
}

static bool check_is_sound(const struct sp_disk_job *job)
{
    uint64_t end = (uint64_t)job->first_piece + job->piece_count;
    return end <= job->st->piece_count && (job->piece_count == 0 || job->check.ret_state);
}

/* One slice of the bulk job; the lane's lock is held on entry and exit.  A CHECK stays in the
 * queue for the other threads while pieces are left, an ALLOCATE is one thread's at a time. */
static struct sp_disk_job *run_bulk(struct worker *w, struct sp_disk_job **link)
{
    struct lane *lane = w->lane;
    struct sp_disk_job *job = *link;
    bool check = job->op == SP_DISK_CHECK, more = false;
    uint32_t first = job->claimed, count = 0;

    if (check && !check_is_sound(job)) {
        job->err = SP_EINVAL;
        job->claimed = job->piece_count;
    } else if (sp_disk_job_canceled(job)) {
        job->err = SP_ECANCELED;
        job->claimed = check ? job->piece_count : job->st->file_count;
    } else if (check) {
        count = sp_disk_check_slice(job->st);
        if (count > job->piece_count - first)
            count = job->piece_count - first;
        job->claimed += count;
    }
    if (!check || job->claimed == job->piece_count)
        queue_take(&lane->bulk, link);

    job->running++;
    pthread_mutex_unlock(&lane->lock);
    if (count > 0)
        sp_disk_run_check_slice(w, job, first, count);
    else if (!check && job->err == SP_OK)
        more = sp_disk_run_allocate_slice(job);
    pthread_mutex_lock(&lane->lock);
    job->running--;

    if (more) {
        job->next = lane->bulk.first;
        lane->bulk.first = job;
        if (!job->next)
            lane->bulk.last = &job->next;
        return NULL;
    }
    bool over = job->running == 0 && (!check || job->claimed == job->piece_count);
    return over ? job : NULL;
}

/* Which bulk job to work at: a canceled one (somebody waits for its end), else the first. */
static struct sp_disk_job **pick_bulk(struct lane *lane)
{
    for (struct sp_disk_job **link = &lane->bulk.first; *link; link = &(*link)->next) {
        if (sp_disk_job_canceled(*link))
            return link;
    }
    return &lane->bulk.first;
}

/* Which of the peers' jobs: the first, but a device with heads takes the read that lies next on
 * its way, among the first few and not beyond anything but reads. */
static struct sp_disk_job **pick_peers(struct lane *lane)
{
    struct sp_disk_job **best = &lane->peers.first, **link = best;
    if (!lane->rotational || (*best)->op != SP_DISK_READ || lane->passed_over >= PICK_MAX) {
        lane->passed_over = 0;
        return best;
    }
    uint64_t best_way = UINT64_MAX;
    for (int i = 0; i < PICK_MAX && *link && (*link)->op == SP_DISK_READ;
         i++, link = &(*link)->next) {
        bool same = (*link)->st == lane->last_st;
        uint64_t way = same ? (*link)->off - lane->last_off : UINT64_MAX;
        if (way < best_way) {
            best_way = way;
            best = link;
        }
    }
    lane->passed_over = best == &lane->peers.first ? 0 : lane->passed_over + 1;
    return best;
}

static void run_peers(struct worker *w, struct sp_disk_job *job)
{
    struct sp_disk *d = w->lane->disk;
    struct lane *lane;

    if (w->lane->is_front && job->op == SP_DISK_OPEN) {
        if (sp_disk_run_open_dir(job, &lane))
            lane_push(lane, job);
        else
            finish(d, job);
        return;
    }
    if (w->lane->is_front && job->op != SP_DISK_CLOSE) {
        job->err = SP_EINVAL; /* not open */
        finish(d, job);
        return;
    }
    switch (job->op) {
    case SP_DISK_OPEN:
        sp_disk_run_open(w, job);
        break;
    case SP_DISK_READ:
        sp_disk_run_read(w, job);
        break;
    case SP_DISK_WRITE:
        sp_disk_run_write(w, job);
        break;
    case SP_DISK_SYNC:
        sp_disk_run_sync(job);
        break;
    case SP_DISK_SELECT:
        sp_disk_run_select(w, job);
        break;
    case SP_DISK_SPACE:
        sp_disk_run_space(job);
        break;
    case SP_DISK_CLOSE:
        sp_disk_run_close(job);
        break;
    case SP_DISK_DELETE:
        sp_disk_run_delete(job);
        break;
    case SP_DISK_CHECK:
    case SP_DISK_ALLOCATE:
    default:
        job->err = SP_EINVAL;
    }
    finish(d, job);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct lane *lane = w->lane;

    pthread_mutex_lock(&lane->lock);
    for (;;) {
        struct sp_disk_job *job = NULL;
        bool bulk_turn = lane->bulk.first && lane->since_bulk >= BULK_TURN;
        if (lane->peers.first && !bulk_turn) {
            struct sp_disk_job **link = pick_peers(lane);
            lane->since_bulk++;
            job = *link;
            queue_take(&lane->peers, link);
            lane->last_st = job->st;
            lane->last_off = job->off;
            pthread_mutex_unlock(&lane->lock);
            run_peers(w, job);
            sp_disk_fds_reap(lane->disk);
            pthread_mutex_lock(&lane->lock);
        } else if (lane->bulk.first) {
            lane->since_bulk = 0;
            job = run_bulk(w, pick_bulk(lane));
            if (lane->bulk.first)
                pthread_cond_signal(&lane->wake); /* more hands for the rest */
            if (!job)
                continue;
            pthread_mutex_unlock(&lane->lock);
            finish(lane->disk, job);
            pthread_mutex_lock(&lane->lock);
        } else if (lane->stop) {
            break;
        } else {
            free(w->batch); /* megabytes, and a check is rare */
            w->batch = NULL;
            w->batch_len = 0;
            pthread_cond_wait(&lane->wake, &lane->lock);
        }
    }
    pthread_mutex_unlock(&lane->lock);
    free(w->bounce);
    free(w->batch);
    return NULL;
}

/* Threads of the lane: no signals, small stacks.  One is enough to go on with. */
static bool start_workers(struct lane *lane, uint32_t count)
{
    sigset_t all, old;
    pthread_attr_t attr;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_LEN);
    while (lane->worker_count < count) {
        struct worker *w = &lane->workers[lane->worker_count];
        w->lane = lane;
        if (pthread_create(&w->thread, &attr, work, w) != 0)
            break;
        pthread_setname_np(w->thread, lane->is_front ? "sp-disk-open" : "sp-disk");
        lane->worker_count++;
    }
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return lane->worker_count > 0;
}

static struct lane *lane_new(struct sp_disk *d, dev_t dev)
{
    struct lane *lane = calloc(1, sizeof(*lane));
    if (!lane)
        return NULL;
    lane->disk = d;
    lane->dev = dev;
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->wake, NULL);
    queue_init(&lane->peers);
    queue_init(&lane->bulk);
    return lane;
}

static void lane_free(struct lane *lane)
{
    if (!lane)
        return;
    pthread_mutex_lock(&lane->lock);
    lane->stop = true;
    pthread_cond_broadcast(&lane->wake);
    pthread_mutex_unlock(&lane->lock);
    for (uint32_t i = 0; i < lane->worker_count; i++)
        pthread_join(lane->workers[i].thread, NULL);
    pthread_cond_destroy(&lane->wake);
    pthread_mutex_destroy(&lane->lock);
    free(lane);
}

/* A virtual machine's disk calls itself rotational for want of knowing; what is below has a cache
 * and many heads, or none. */
static bool is_virtual(const char *dev_path)
{
    char where[512];
    ssize_t len = readlink(dev_path, where, sizeof(where) - 1);
    where[len < 0 ? 0 : len] = '\0';
    return strstr(where, "/virtio") || strstr(where, "/vbd-");
}

/* Of the disk, or of the disk that the partition is on. */
static bool is_rotational(dev_t dev)
{
    char path[64], file[96];
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(dev), minor(dev));
    for (int parent = 0; parent < 2; parent++) {
        char answer = '0';
        snprintf(file, sizeof(file), "%s/%squeue/rotational", path, parent ? "../" : "");
        SP_FD fd = open(file, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && read(fd, &answer, 1) == 1)
            return answer == '1' && !is_virtual(path);
    }
    return false;
}

static uint32_t thread_count(const struct sp_disk_cfg *cfg, bool rotational)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (rotational)
        return 1; /* two readers make one seeking disk */
    if (cfg->lane_threads)
        return cfg->lane_threads < LANE_THREADS_MAX ? cfg->lane_threads : LANE_THREADS_MAX;
    return cores < 2 ? 2 : cores > 8 ? 8 : (uint32_t)cores;
}

struct lane *sp_disk_lane_for(struct sp_disk *d, dev_t dev, int dir_fd)
{
    struct statfs fs;
    bool in_memory =
        fstatfs(dir_fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
    bool rotational = d->cfg.heads == SP_DISK_HEADS_YES ||
                      (d->cfg.heads == SP_DISK_HEADS_ASK && !in_memory && is_rotational(dev));

    pthread_mutex_lock(&d->lock);
    struct lane *lane = d->lanes;
    while (lane && lane->dev != dev)
        lane = lane->next;
    if (!lane && (lane = lane_new(d, dev)) != NULL) {
        lane->in_memory = in_memory;
        lane->rotational = rotational;
        lane->direct_min = rotational ? DIRECT_MIN_ROTATIONAL : DIRECT_MIN;
        /* tmpfs takes O_DIRECT and gains nothing by it. */
        atomic_store(&lane->direct, !in_memory && !d->cfg.no_direct);
        if (start_workers(lane, thread_count(&d->cfg, rotational))) {
            lane->next = d->lanes;
            d->lanes = lane;
        } else {
            lane_free(lane);
            lane = NULL;
        }
    }
    pthread_mutex_unlock(&d->lock);
    return lane;
}

static uint32_t fd_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur / 4 >= FDS_DEFAULT_MAX)
        return FDS_DEFAULT_MAX;
    return (uint32_t)(r.rlim_cur / 4);
}

enum sp_err sp_disk_new(const struct sp_disk_cfg *cfg, struct sp_disk **ret_disk)
{
    struct sp_disk *d = calloc(1, sizeof(*d));
    if (!d)
        return SP_ENOMEM;
    if (cfg)
        d->cfg = *cfg;
    uint32_t max = d->cfg.fd_max ? d->cfg.fd_max : fd_limit();
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->idle, NULL);
    sp_disk_fds_init(&d->fds, max < FDS_MIN ? FDS_MIN : max);
    d->front = lane_new(d, 0);
    if (!d->front)
        goto fail;
    d->front->is_front = true;
    if (!start_workers(d->front, FRONT_THREADS))
        goto fail;
    *ret_disk = d;
    return SP_OK;

fail:
    sp_disk_free(d);
    return SP_ENOMEM;
}

void sp_disk_free(struct sp_disk *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    while (d->jobs > 0)
        pthread_cond_wait(&d->idle, &d->lock);
    pthread_mutex_unlock(&d->lock);
    lane_free(d->front);
    while (d->lanes) {
        struct lane *lane = d->lanes;
        d->lanes = lane->next;
        lane_free(lane);
    }
    assert(!d->fds.newest); /* a storage was not closed */
    sp_disk_fds_reap(d);
    sp_disk_fds_done(&d->fds);
    pthread_cond_destroy(&d->idle);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

void sp_disk_stats(struct sp_disk *d, struct sp_disk_stats *ret_stats)
{
    pthread_mutex_lock(&d->lock);
    ret_stats->jobs_waiting = d->jobs;
    pthread_mutex_unlock(&d->lock);
    pthread_mutex_lock(&d->fds.lock);
    ret_stats->fds = d->fds.count;
    pthread_mutex_unlock(&d->fds.lock);
    ret_stats->read_bytes = atomic_load(&d->read_bytes);
    ret_stats->hot_bytes = atomic_load(&d->hot_bytes);
    ret_stats->written_bytes = atomic_load(&d->written_bytes);
    ret_stats->direct_bytes = atomic_load(&d->direct_bytes);
    ret_stats->checked_bytes = atomic_load(&d->checked_bytes);
    ret_stats->opens = atomic_load(&d->opens);
}
