/* A node's disk and hash thread: jobs take time, and fail. */
#include "core/base/sha1.h"
#include "sim/world.h"

static uint64_t print_of(const struct sp_job *job)
{
    struct sp_hash_key key = {1, 2};
    uint64_t sum = 0;
    for (uint32_t i = 0; i < job->iov_count; i++)
        sum = sum * 31 + sp_hash_bytes(&key, job->iov[i].ptr, job->iov[i].len);
    return sum;
}

static uint64_t length(const struct sp_job *job)
{
    uint64_t len = 0;
    for (uint32_t i = 0; i < job->iov_count; i++)
        len += job->iov[i].len;
    return len;
}

static bool is_good(const struct sim *sim, const struct sp_job *job)
{
    uint64_t off = job->off;
    for (uint32_t i = 0; i < job->iov_count; i++) {
        if (memcmp(job->iov[i].ptr, sim->truth + off, job->iov[i].len) != 0)
            return false;
        off += job->iov[i].len;
    }
    return true;
}

/* Who sent the bad blocks of this piece, where that is certain. */
static void note_liars(struct sim_node *n, const struct sp_job *job)
{
    struct sim *sim = n->sim;
    uint32_t piece = (uint32_t)(job->off / sim->plan->piece_len);
    uint64_t off = job->off;

    for (uint32_t i = 0; i < job->iov_count; off += job->iov[i++].len) {
        if (memcmp(job->iov[i].ptr, sim->truth + off, job->iov[i].len) == 0)
            continue;
        uint64_t who = n->liars[sim_block_ix(sim, piece, (uint32_t)(off - job->off))];
        if (who == 0)
            sim_break(sim, n->host, "a block is corrupt and nobody sent it so");
        if ((who & (who - 1)) == 0)
            n->failed_by[piece] |= who & ~SIM_WEB_BIT; /* which is banned by URL */
    }
    sim_note(sim, n->host, "bad piece", piece, n->failed_by[piece]);
}

static void hash(struct sim_node *n, struct sp_job *job)
{
    struct sim *sim = n->sim;
    uint32_t piece = (uint32_t)(job->off / sim->plan->piece_len);

    if (job->off % sim->plan->piece_len || length(job) != sp_metainfo_piece_len(sim->mi, piece))
        sim_break(sim, n->host, "a HASH job is not one piece");
    if (is_good(sim, job)) { /* saves the sum of what is known */
        memcpy(job->digest, sp_metainfo_piece_hash(sim->mi, piece), SP_SHA1_LEN);
    } else {
        struct sp_sha1 sha;
        sp_sha1_init(&sha);
        for (uint32_t i = 0; i < job->iov_count; i++)
            sp_sha1_add(&sha, job->iov[i].ptr, job->iov[i].len);
        sp_sha1_end(&sha, job->digest);
        note_liars(n, job);
    }
    struct sp_hash_key key = {3, n->life};
    for (uint32_t i = 0; job->want_prints && i < job->iov_count; i++)
        job->prints[i] = sp_hash_bytes(&key, job->iov[i].ptr, job->iov[i].len);
}

static void copy(struct sim_node *n, const struct sp_job *job, uint64_t len)
{
    uint8_t *at = n->disk + job->off;
    for (uint32_t i = 0; i < job->iov_count && len > 0; i++) {
        size_t part = job->iov[i].len < len ? job->iov[i].len : (size_t)len;
        if (job->kind == SP_JOB_WRITE)
            memcpy(at, job->iov[i].ptr, part);
        else
            memcpy(job->iov[i].ptr, at, part);
        at += part;
        len -= part;
    }
}

static enum sp_err perform(struct sim_node *n, struct sp_job *job)
{
    struct sim *sim = n->sim;

    if (job->kind == SP_JOB_HASH) {
        hash(n, job);
        return SP_OK;
    }
    if (job->kind == SP_JOB_WRITE && sim->now < n->full_until)
        return SP_ENOSPC;
    if (sim_trouble(sim, sim->plan->disk_fails)) {
        if (job->kind == SP_JOB_WRITE)
            copy(n, job, sim_below(sim, length(job)));
        return SP_EIO;
    }
    copy(n, job, length(job));
    return SP_OK;
}

static void finish(struct sim_node *n, struct sp_job *job)
{
    struct sim *sim = n->sim;
    static const char names[][8] = {"read", "hashed", "wrote"};
    uint64_t off = job->off;
    enum sp_job_kind kind = job->kind;
    enum sp_err err = perform(n, job);

    if (err != SP_OK)
        sim->result->failed_jobs++;
    sim_note(sim, n->host, err == SP_OK ? names[kind] : "job fails", off / sim->plan->piece_len,
             kind);
    sp_session_job_done(n->session, job, err,
                        err == SP_OK       ? NULL
                        : err == SP_ENOSPC ? "no space left on the disk"
                                           : "input/output error",
                        sim->now);
}

static void free_job(struct sim *sim, struct sim_job *j)
{
    *j->all_prev = j->all_next;
    if (j->all_next)
        j->all_next->all_prev = j->all_prev;
    sp_mem_free(sim->mem, j);
}

void sim_jobs_free(struct sim *sim)
{
    while (sim->jobs)
        free_job(sim, sim->jobs);
}

static void on_done(struct sim *sim, void *ctx, uint64_t arg)
{
    struct sim_job *j = ctx;
    struct sim_node *n = j->node;
    struct sp_job *job = j->job;
    (void)arg;

    if (job) {
        struct sim_job **at = &n->jobs;
        while (*at != j)
            at = &(*at)->next;
        *at = j->next;
        if (j->printed && print_of(job) != j->print)
            sim_break(sim, n->host, "memory lent to a job was changed");
    }
    free_job(sim, j);
    if (!job)
        return;
    finish(n, job);
    sim_node_pump(n);
}

static void check_shape(struct sim_node *n, const struct sp_job *job)
{
    struct sim *sim = n->sim;
    if (job->iov_count == 0 || length(job) == 0 || job->off + length(job) > sim->plan->total_len)
        sim_break(sim, n->host, "a job is outside of the torrent");
    for (uint32_t i = 0; i < job->iov_count; i++) {
        if ((uintptr_t)job->iov[i].ptr % 4096 || job->iov[i].len == 0 ||
            job->iov[i].len > SP_BLOCK_LEN)
            sim_break(sim, n->host, "a job's memory is not a pool block");
        if (i + 1 < job->iov_count && job->iov[i].len != SP_BLOCK_LEN)
            sim_break(sim, n->host, "a job's block that is not the last is short");
    }
    if (job->want_prints && !job->prints)
        sim_break(sim, n->host, "prints are wanted but have no room");
}

void sim_disk_job(struct sim_node *n, struct sp_job *job)
{
    struct sim *sim = n->sim;

    check_shape(n, job);
    if (sim->failed)
        return;
    if (job->kind == SP_JOB_READ && sim_chance(sim, n->plan->hot_permille)) {
        finish(n, job);
        return;
    }
    struct sim_job *j = sim_alloc(sim, 1, sizeof(*j));
    j->job = job;
    j->node = n;
    j->next = n->jobs;
    n->jobs = j;
    j->all_next = sim->jobs;
    j->all_prev = &sim->jobs;
    if (j->all_next)
        j->all_next->all_prev = &j->all_next;
    sim->jobs = j;
    j->printed = job->kind != SP_JOB_READ && sim_chance(sim, 150);
    if (j->printed)
        j->print = print_of(job);
    sp_time_ns base = job->kind == SP_JOB_HASH ? SP_MS_NS : n->plan->disk_ns;
    sp_time_ns wait = sim_below(sim, 2 * base + 1);
    if (sim_trouble(sim, sim->plan->disk_full))
        n->full_until = sim->now + sim_below(sim, 10 * SP_SECOND_NS);
    if (sim_trouble(sim, sim->plan->disk_slow))
        n->slow_until = sim->now + sim_below(sim, 5 * SP_SECOND_NS);
    if (job->kind != SP_JOB_HASH && sim->now < n->slow_until)
        wait *= 50;
    sim_at(sim, sim->now + wait, on_done, j, 0);
}

void sim_disk_drop(struct sim_node *n)
{
    for (struct sim_job *j = n->jobs; j; j = j->next) {
        /* Torn: some of it made it to the disk. */
        if (j->job->kind == SP_JOB_WRITE)
            copy(n, j->job, sim_below(n->sim, length(j->job) + 1));
        j->job = NULL; /* freed when its time comes */
    }
    n->jobs = NULL;
}
