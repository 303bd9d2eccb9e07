#include "io/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/blocking.h"
#include "io/base/fd.h"
#include "io/store/db.h"

enum { PATH_ROOM = 4096 - 32 };

struct sp_store {
    struct sp_db db;
    int lock_fd; /* <dir>/lock, flock'ed while we live */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct sp_store_job *first, **last; /* the mailbox, under lock */
    bool closing;
};

/* ---- the thread ---- */

static bool is_change(const struct sp_store_job *job)
{
    return job->op != SP_STORE_LOAD && job->op != SP_STORE_LOAD_INFO;
}

static void do_job(struct sp_store *s, struct sp_store_job *job)
{
    job->why[0] = '\0';
    switch (job->op) {
    case SP_STORE_LOAD:
        job->row.have = NULL;
        job->row.dir = NULL;
        job->err = sp_db_load(&s->db, &job->row, job->why);
        return;
    case SP_STORE_SAVE:
        job->err = sp_db_save(&s->db, &job->row, job->why);
        return;
    case SP_STORE_DELETE:
        job->err = sp_db_delete(&s->db, job->row.info_hash, job->why);
        return;
    case SP_STORE_LOAD_INFO:
        job->info = NULL;
        job->err =
            sp_db_load_info(&s->db, job->row.info_hash, &job->info, &job->info_len, job->why);
        return;
    case SP_STORE_SAVE_INFO:
        job->err = sp_db_save_info(&s->db, job->row.info_hash,
                                   (struct sp_slice){job->info, job->info_len}, job->why);
        return;
    }
    job->err = SP_EINVAL;
}

/* In one transaction: SP_OK when all is committed.  A change that the database
 * refused spoils it for all; one that was no good itself does not. */
static enum sp_err do_together(struct sp_store *s, struct sp_store_job *jobs,
                               char why[SP_DB_WHY_LEN])
{
    enum sp_err err = SP_OK;
    bool changes = false;

    for (struct sp_store_job *j = jobs; j; j = j->next)
        changes = changes || is_change(j);
    if (changes)
        err = sp_db_exec(&s->db, "BEGIN IMMEDIATE", why);
    for (struct sp_store_job *j = jobs; j && err == SP_OK; j = j->next) {
        do_job(s, j);
        if (is_change(j) && j->err != SP_OK && j->err != SP_EINVAL) {
            err = j->err;
            memcpy(why, j->why, SP_DB_WHY_LEN);
        }
    }
    if (err == SP_OK && changes)
        err = sp_db_exec(&s->db, "COMMIT", why);
    if (err != SP_OK) { /* SQLite may have rolled back by itself */
        char none[SP_DB_WHY_LEN];
        (void)!sp_db_exec(&s->db, "ROLLBACK", none);
    }
    return err;
}

/* What was loaded in a transaction that failed is loaded again. */
static void unload(struct sp_store_job *job)
{
    if (is_change(job) || job->err != SP_OK)
        return;
    free(job->row.have);
    free(job->row.dir);
    free(job->info);
}

static void do_alone(struct sp_store *s, struct sp_store_job *job)
{
    struct sp_store_job *next = job->next;
    char why[SP_DB_WHY_LEN];

    job->next = NULL;
    enum sp_err err = do_together(s, job, why);
    if (err != SP_OK) {
        job->err = err;
        memcpy(job->why, why, sizeof(job->why));
    }
    job->next = next;
}

static void do_batch(struct sp_store *s, struct sp_store_job *jobs)
{
    char why[SP_DB_WHY_LEN];

    for (struct sp_store_job *j = jobs; j; j = j->next)
        j->err = SP_ECANCELED; /* not done yet */
    if (do_together(s, jobs, why) != SP_OK) {
        for (struct sp_store_job *j = jobs; j; j = j->next) {
            unload(j);
            do_alone(s, j);
        }
    }
    for (struct sp_store_job *j = jobs, *next; j; j = next) {
        next = j->next; /* done may reuse the job */
        j->next = NULL;
        j->done(j);
    }
}

static struct sp_store_job *take_all(struct sp_store *s)
{
    pthread_mutex_lock(&s->lock);
    while (!s->first && !s->closing)
        pthread_cond_wait(&s->wake, &s->lock);
    struct sp_store_job *jobs = s->first;
    s->first = NULL;
    s->last = &s->first;
    pthread_mutex_unlock(&s->lock);
    return jobs;
}

static void *run(void *ctx)
{
    struct sp_store *s = ctx;
    struct sp_store_job *jobs;

    while ((jobs = take_all(s)))
        do_batch(s, jobs);
    return NULL;
}

void sp_store_submit(struct sp_store *s, struct sp_store_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&s->lock);
    *s->last = job;
    s->last = &job->next;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

/* ---- opening ---- */

static enum sp_err refuse(struct sp_diag *diag, const char *what, const char *path)
{
    char text[sizeof(diag->text)];
    int number = errno;
    enum sp_err err = number == ENOSPC || number == EDQUOT                     ? SP_ENOSPC
                      : number == EACCES || number == EPERM || number == EROFS ? SP_EACCES
                                                                               : SP_EIO;

    snprintf(text, sizeof(text), "%.40s %.60s: %.50s", what, path, strerrordesc_np(number));
    return sp_diag_set(diag, err, 0, text);
}

/* The parent has to remember the directory, or the state is lost with it. */
static void sync_parent(const char *path)
{
    char parent[PATH_ROOM];
    const char *slash = strrchr(path, '/');
    int len = !slash ? 1 : slash == path ? 1 : (int)(slash - path);

    snprintf(parent, sizeof(parent), "%.*s", len, slash ? path : ".");
    SP_FD fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)fsync(fd);
}

/* dir and those above it that are missing, for this user alone. */
static enum sp_err make_dir(const char *dir, struct sp_diag *diag)
{
    char path[PATH_ROOM];
    size_t len = strlen(dir);
    struct stat st;

    if (len == 0 || len >= sizeof(path))
        return sp_diag_set(diag, SP_EIO, 0, "the state directory's path is empty or too long");
    for (size_t at = 1; at <= len; at++) {
        if (dir[at] != '/' && dir[at] != '\0')
            continue;
        memcpy(path, dir, at);
        path[at] = '\0';
        if (mkdir(path, 0700) == 0)
            sync_parent(path);
        else if (errno != EEXIST && (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)))
            return refuse(diag, "cannot make the directory", path);
    }
    return SP_OK;
}

static enum sp_err take_lock(const char *dir, int *ret_fd, struct sp_diag *diag)
{
    char path[4096], text[sizeof(diag->text)], pid[32] = "";

    snprintf(path, sizeof(path), "%s/lock", dir);
    SP_FD fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return refuse(diag, "cannot open", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return refuse(diag, "cannot lock", path);
        ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);
        pid[n < 0 ? 0 : n] = '\0';
        pid[strspn(pid, "0123456789")] = '\0';
        snprintf(text, sizeof(text), "another process%s%s%s uses the state in %.80s",
                 pid[0] ? " (" : "", pid, pid[0] ? ")" : "", dir);
        return sp_diag_set(diag, SP_EEXIST, 0, text);
    }
    /* Only for the message above: that it cannot be written hurts nobody. */
    int len = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)len, 0) != len)
        (void)!ftruncate(fd, 0);
    *ret_fd = sp_fd_take(&fd);
    return SP_OK;
}

static enum sp_err open_db(struct sp_store *s, const char *dir, struct sp_diag *diag)
{
    char path[4096], why[SP_DB_WHY_LEN], again[SP_DB_WHY_LEN], text[sizeof(diag->text)];

    snprintf(path, sizeof(path), "%s/state.db", dir);
    enum sp_err err = sp_db_open(&s->db, path, why);
    if (err == SP_OK)
        return SP_OK;
    if (err != SP_EDATA)
        return sp_diag_set(diag, err == SP_EEXIST ? SP_EDATA : err, 0, why);
    err = sp_db_put_aside(path, again);
    if (err == SP_OK)
        err = sp_db_open(&s->db, path, again);
    if (err != SP_OK)
        return sp_diag_set(diag, err == SP_EDATA ? SP_EIO : err, 0, again);
    snprintf(text, sizeof(text),
             "the state was damaged and is put aside as state.db.damaged (%.90s)", why);
    sp_diag_set(diag, SP_EDATA, 0, text);
    return SP_OK;
}

static int start_thread(struct sp_store *s)
{
    sigset_t all, before;

    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    s->last = &s->first;
    /* Signals are the program's; none is handled on our threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&s->thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void store_free(struct sp_store *s)
{
    sp_db_close(&s->db);
    sp_fd_close(&s->lock_fd); /* after the database: the next one finds it closed */
    free(s);
}

enum sp_err sp_store_open(const char *dir, struct sp_store **ret_store, struct sp_diag *diag)
{
    sp_may_block("sp_store_open");
    struct sp_store *s = calloc(1, sizeof(*s));
    if (!s)
        return sp_diag_set(diag, SP_ENOMEM, 0, "out of memory");
    s->lock_fd = -1;
    enum sp_err err = make_dir(dir, diag);
    if (err == SP_OK)
        err = take_lock(dir, &s->lock_fd, diag);
    if (err == SP_OK)
        err = open_db(s, dir, diag);
    if (err == SP_OK && start_thread(s) != 0)
        err = sp_diag_set(diag, SP_ENOMEM, 0, "the state's thread cannot be started");
    if (err != SP_OK) {
        store_free(s);
        return err;
    }
    *ret_store = s;
    return SP_OK;
}

void sp_store_close(struct sp_store *s)
{
    sp_may_block("sp_store_close");
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    store_free(s);
}

enum sp_err sp_store_list(const char *dir, void (*each)(void *ctx, const struct sp_store_row *row),
                          void *ctx, struct sp_diag *diag)
{
    char path[4096], why[SP_DB_WHY_LEN] = "";
    struct sp_db db;

    sp_may_block("sp_store_list");
    if ((size_t)snprintf(path, sizeof(path), "%s/state.db", dir) >= sizeof(path))
        return sp_diag_set(diag, SP_EIO, 0, "the state directory's path is too long");
    enum sp_err err = sp_db_open_to_look(&db, path, why);
    if (err == SP_OK)
        err = sp_db_each(&db, each, ctx, why);
    sp_db_close(&db);
    return err == SP_OK ? SP_OK : sp_diag_set(diag, err, 0, why);
}
