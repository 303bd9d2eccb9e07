/* The state store: what it says is saved is there afterwards, whatever happens. */
#include "io/store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static char base[64]; /* the test's own directory */

static const char *path_of(const char *name)
{
    static char paths[8][256];
    static unsigned at;
    char *path = paths[at++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", base, name);
    return path;
}

/* ---- jobs that are waited for ---- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    uint32_t done;
};

static struct waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

static void on_done(struct sp_store_job *job)
{
    struct waiter *w = job->ctx;
    pthread_mutex_lock(&w->lock);
    w->done++;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

static void wait_done(uint32_t count)
{
    pthread_mutex_lock(&waiter.lock);
    while (waiter.done < count)
        pthread_cond_wait(&waiter.wake, &waiter.lock);
    waiter.done = 0;
    pthread_mutex_unlock(&waiter.lock);
}

static uint8_t bits[1 << 17];

static struct sp_store_job job_of(enum sp_store_op op, uint32_t ix, uint32_t pieces)
{
    struct sp_store_job job = {.op = op, .done = on_done, .ctx = &waiter};

    memcpy(job.row.info_hash, &ix, sizeof(ix));
    job.row.info_hash[19] = 0xee;
    job.row.piece_count = pieces;
    if (op != SP_STORE_SAVE)
        return job;
    job.row.have = bits;
    job.row.have_len = ((size_t)pieces + 7) / 8;
    job.row.downloaded_bytes = UINT64_C(1) << 40 | ix;
    job.row.uploaded_bytes = ix * UINT64_C(3);
    job.row.active_ns = ix * UINT64_C(5);
    job.row.seeding_ns = ix * UINT64_C(7);
    job.row.saved_at = 1700000000 + (int64_t)ix;
    job.row.dir = (char *)(uintptr_t) "/data/a b/\xff\xfe/'\"";
    return job;
}

static enum sp_err do_one(struct sp_store *s, struct sp_store_job *job)
{
    sp_store_submit(s, job);
    wait_done(1);
    return job->err;
}

static enum sp_err save(struct sp_store *s, uint32_t ix, uint32_t pieces)
{
    struct sp_store_job job = job_of(SP_STORE_SAVE, ix, pieces);
    return do_one(s, &job);
}

/* SP_OK: and it is what save saved. */
static enum sp_err load(struct sp_store *s, uint32_t ix, uint32_t pieces)
{
    struct sp_store_job job = job_of(SP_STORE_LOAD, ix, pieces);
    const struct sp_store_row want = job_of(SP_STORE_SAVE, ix, pieces).row, *got = &job.row;

    if (do_one(s, &job) != SP_OK) {
        CHECK(!got->have && !got->dir && job.why[0] != '\0');
        return job.err;
    }
    CHECK_EQ(got->have_len, want.have_len);
    CHECK(memcmp(got->have, want.have, want.have_len) == 0);
    CHECK(strcmp(got->dir, want.dir) == 0);
    CHECK(got->downloaded_bytes == want.downloaded_bytes);
    CHECK(got->uploaded_bytes == want.uploaded_bytes);
    CHECK(got->active_ns == want.active_ns && got->seeding_ns == want.seeding_ns);
    CHECK_EQ(got->saved_at, want.saved_at);
    free(job.row.have);
    free(job.row.dir);
    return SP_OK;
}

static struct sp_store *open_at(const char *dir)
{
    struct sp_store *s = NULL;
    struct sp_diag diag = {0};
    enum sp_err err = sp_store_open(dir, &s, &diag);
    CHECK_EQ(err, SP_OK);
    if (diag.text[0] || err != SP_OK) {
        CHECK(false && "opens silently");
        printf("# %s\n", diag.text);
    }
    return s;
}

static uint32_t listed;

static void count_row(void *ctx, const struct sp_store_row *row)
{
    (void)ctx;
    CHECK_EQ(row->info_hash[19], 0xee);
    CHECK(row->have && row->dir);
    listed++;
}

static enum sp_err list(const char *dir, struct sp_diag *diag)
{
    listed = 0;
    return sp_store_list(dir, count_row, NULL, diag);
}

/* The sqlite3 shell's work, on a database that nobody has open. */
static void run_sql(const char *dir, const char *sql)
{
    char path[512];
    sqlite3 *db;
    snprintf(path, sizeof(path), "%s/state.db", dir);
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* ---- the tests ---- */

TEST(saves_loads_deletes_and_remembers)
{
    static const uint32_t PIECES[] = {1, 7, 8, 9, 1000, 8 * sizeof(bits)};
    const char *dir = path_of("deep/er/state");
    struct stat st;
    struct sp_store *s = open_at(dir);

    CHECK(stat(dir, &st) == 0 && (st.st_mode & 0777) == 0700);
    CHECK_EQ(load(s, 1, 8), SP_ENOENT);
    for (uint32_t i = 0; i < SP_COUNT(PIECES); i++) {
        memset(bits, 0, sizeof(bits));
        bits[0] = 0x80;
        CHECK_EQ(save(s, i, PIECES[i]), SP_OK);
        CHECK_EQ(load(s, i, PIECES[i]), SP_OK);
    }
    sp_store_close(s);
    s = open_at(dir);
    for (uint32_t i = 0; i < SP_COUNT(PIECES); i++) {
        CHECK_EQ(load(s, i, PIECES[i]), SP_OK);
        CHECK_EQ(load(s, i, PIECES[i] + 1), SP_EDATA);
        CHECK_EQ(load(s, i, PIECES[i] + 8), SP_EDATA);
        CHECK_EQ(load(s, i, PIECES[i] - 1), SP_EDATA);
    }
    struct sp_store_job del = job_of(SP_STORE_DELETE, 3, 0);
    CHECK_EQ(do_one(s, &del), SP_OK);
    CHECK_EQ(do_one(s, &del), SP_OK);
    CHECK_EQ(load(s, 3, 9), SP_ENOENT);
    bits[0] = 0xc0;
    CHECK_EQ(save(s, 2, 8), SP_OK); /* over the old one */
    CHECK_EQ(load(s, 2, 8), SP_OK);
    sp_store_close(s);
    sp_store_close(NULL);
}

TEST(rows_that_are_not_whole)
{
    const char *dir = path_of("whole");
    struct sp_store *s = open_at(dir);
    struct sp_store_job job;

    memset(bits, 0xff, sizeof(bits));
    CHECK_EQ(save(s, 1, 12), SP_EINVAL); /* bits past the last piece */
    CHECK_EQ(save(s, 1, 0), SP_EINVAL);
    job = job_of(SP_STORE_SAVE, 1, 16);
    job.row.have_len = 3;
    CHECK_EQ(do_one(s, &job), SP_EINVAL);
    job = job_of(SP_STORE_SAVE, 1, 16);
    job.row.dir = NULL;
    CHECK_EQ(do_one(s, &job), SP_EINVAL);
    CHECK_EQ(save(s, 2, 16), SP_OK);
    CHECK_EQ(save(s, 3, 16), SP_OK);
    sp_store_close(s);
    run_sql(dir, "UPDATE torrent SET have = x'ff' WHERE downloaded_bytes & 255 = 2");
    s = open_at(dir);
    CHECK_EQ(load(s, 1, 16), SP_ENOENT);
    CHECK_EQ(load(s, 2, 16), SP_EDATA);
    CHECK_EQ(load(s, 3, 16), SP_OK);
    struct sp_diag diag = {0};
    CHECK_EQ(list(dir, &diag), SP_EDATA);
    CHECK(strstr(diag.text, "1 rows are damaged") != NULL);
    CHECK_EQ(listed, 1);
    sp_store_close(s);
}

enum { MANY = 3000, SUBMITTERS = 3 };

struct submitter {
    struct sp_store *s;
    struct sp_store_job *jobs;
    pthread_t thread;
};

static void *submit_all(void *ctx)
{
    struct submitter *b = ctx;
    for (uint32_t i = 0; i < MANY; i++)
        sp_store_submit(b->s, &b->jobs[i]);
    return NULL;
}

/* From several threads at once; a bad one among them spoils none; and closing
 * does what still waits. */
TEST(many_together)
{
    struct sp_store *s = open_at(path_of("many"));
    struct submitter b[SUBMITTERS];

    memset(bits, 0, sizeof(bits));
    for (uint32_t t = 0; t < SUBMITTERS; t++) {
        b[t] = (struct submitter){.s = s, .jobs = calloc(MANY, sizeof(*b[t].jobs))};
        for (uint32_t i = 0; i < MANY; i++)
            b[t].jobs[i] = job_of(SP_STORE_SAVE, t * MANY + i, i % 10 == 9 ? 0 : 100);
        pthread_create(&b[t].thread, NULL, submit_all, &b[t]);
    }
    for (uint32_t t = 0; t < SUBMITTERS; t++)
        pthread_join(b[t].thread, NULL);
    sp_store_close(s);
    wait_done(SUBMITTERS * MANY);
    struct sp_diag diag = {0};
    CHECK_EQ(list(path_of("many"), &diag), SP_OK);
    CHECK_EQ(listed, SUBMITTERS * MANY * 9 / 10);
    uint32_t wrong = 0;
    for (uint32_t t = 0; t < SUBMITTERS; t++) {
        for (uint32_t i = 0; i < MANY; i++)
            wrong += b[t].jobs[i].err != (i % 10 == 9 ? SP_EINVAL : SP_OK);
        free(b[t].jobs);
    }
    CHECK_EQ(wrong, 0);
}

/* Saves rows one after another and says each that is done on fd; never returns. */
static void save_until_killed(const char *dir, int fd)
{
    struct sp_store *s = NULL;
    if (sp_store_open(dir, &s, NULL) != SP_OK)
        _exit(1);
    for (uint32_t ix = 0;; ix++) {
        struct sp_store_job job = job_of(SP_STORE_SAVE, ix, 5000);
        if (do_one(s, &job) != SP_OK || write(fd, &ix, sizeof(ix)) != sizeof(ix))
            _exit(2);
    }
}

static uint32_t kill_after(const char *dir, uint32_t count)
{
    int fds[2], status;
    uint32_t ix, told = 0;

    CHECK_EQ(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0)
        save_until_killed(dir, fds[1]);
    close(fds[1]);
    while (told < count && read(fds[0], &ix, sizeof(ix)) == sizeof(ix))
        told++;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status));
    while (read(fds[0], &ix, sizeof(ix)) == sizeof(ix))
        told++;
    close(fds[0]);
    CHECK(told >= count);
    return told;
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void wait_at_gate(struct sp_store_job *job)
{
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    on_done(job);
}

/* The database refuses one change in the middle of a transaction: the others
 * are done all the same, and what they loaded meanwhile is loaded again. */
TEST(a_refused_change_spoils_no_other)
{
    static const struct {
        enum sp_store_op op;
        uint32_t ix, pieces;
        enum sp_err want;
    } BATCH[] = {{SP_STORE_SAVE, 1, 8, SP_OK},   {SP_STORE_LOAD, 1, 8, SP_OK},
                 {SP_STORE_LOAD, 9, 8, SP_OK},   {SP_STORE_DELETE, 9, 0, SP_OK},
                 {SP_STORE_SAVE, 5, 77, SP_EIO}, {SP_STORE_SAVE, 2, 8, SP_OK},
                 {SP_STORE_LOAD, 2, 8, SP_OK},   {SP_STORE_LOAD, 5, 77, SP_ENOENT}};
    const char *dir = path_of("refused");
    struct sp_store *s = open_at(dir);
    struct sp_store_job first = job_of(SP_STORE_LOAD, 100, 8), jobs[SP_COUNT(BATCH)];

    memset(bits, 0, sizeof(bits));
    CHECK_EQ(save(s, 9, 8), SP_OK);
    sp_store_close(s);
    run_sql(dir, "CREATE TRIGGER refuse BEFORE INSERT ON torrent WHEN new.piece_count = 77 "
                 "BEGIN SELECT RAISE(ABORT, 'refused'); END");
    s = open_at(dir);
    first.done = wait_at_gate;
    pthread_mutex_lock(&gate);
    sp_store_submit(s, &first);
    for (size_t i = 0; i < SP_COUNT(BATCH); i++) {
        jobs[i] = job_of(BATCH[i].op, BATCH[i].ix, BATCH[i].pieces);
        sp_store_submit(s, &jobs[i]);
    }
    pthread_mutex_unlock(&gate);
    wait_done(1 + SP_COUNT(BATCH));
    for (size_t i = 0; i < SP_COUNT(BATCH); i++) {
        CHECK_EQ(jobs[i].err, BATCH[i].want);
        if (BATCH[i].op == SP_STORE_LOAD) {
            CHECK_EQ(jobs[i].row.have != NULL, BATCH[i].want == SP_OK);
            free(jobs[i].row.have);
            free(jobs[i].row.dir);
        }
    }
    CHECK(strstr(jobs[4].why, "refused") != NULL);
    CHECK_EQ(load(s, 9, 8), SP_ENOENT);
    CHECK_EQ(save(s, 10, 8), SP_OK); /* no transaction is left open */
    sp_store_close(s);
    s = open_at(dir);
    CHECK_EQ(load(s, 1, 8), SP_OK);
    CHECK_EQ(load(s, 2, 8), SP_OK);
    CHECK_EQ(load(s, 10, 8), SP_OK);
    sp_store_close(s);
}

static const char *log_of(const char *dir)
{
    static char path[300];
    snprintf(path, sizeof(path), "%s/state.db-wal", dir);
    return path;
}

TEST(what_was_told_survives_a_kill)
{
    static const uint32_t COUNTS[] = {1, 3, 20, 111, 300};

    memset(bits, 0, sizeof(bits));
    bits[1] = 0x5a;
    for (size_t i = 0; i < SP_COUNT(COUNTS); i++) {
        char name[16];
        struct sp_diag diag = {0};
        snprintf(name, sizeof(name), "kill%zu", i);
        const char *dir = path_of(name);
        uint32_t told = kill_after(dir, COUNTS[i]);
        struct stat before, after;

        CHECK_EQ(list(dir, &diag), SP_OK); /* with the log still there */
        CHECK(listed == told || listed == told + 1);
        CHECK_EQ(stat(log_of(dir), &before), 0);
        CHECK_EQ(list(dir, &diag), SP_OK);
        CHECK_EQ(stat(log_of(dir), &after), 0); /* looking leaves it as it is */
        CHECK(before.st_ino == after.st_ino && before.st_size == after.st_size);
        CHECK(after.st_size > 0);
        struct sp_store *s = open_at(dir);
        for (uint32_t ix = 0; ix < told; ix++)
            CHECK_EQ(load(s, ix, 5000), SP_OK);
        CHECK_EQ(load(s, told + 1, 5000), SP_ENOENT);
        sp_store_close(s);
    }
}

TEST(another_process_is_refused)
{
    const char *dir = path_of("lock");
    struct sp_store *s = open_at(dir), *other = NULL;
    struct sp_diag diag = {0};
    char pid[32];

    CHECK_EQ(sp_store_open(dir, &other, &diag), SP_EEXIST);
    snprintf(pid, sizeof(pid), "another process (%ld)", (long)getpid());
    CHECK(strstr(diag.text, pid) != NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(sp_store_open(dir, &other, NULL) == SP_EEXIST ? 0 : 1);
    int status = -1;
    waitpid(child, &status, 0);
    CHECK_EQ(status, 0);
    CHECK_EQ(save(s, 1, 8), SP_OK);
    CHECK_EQ(list(dir, &diag), SP_OK); /* looking on is allowed */
    CHECK_EQ(listed, 1);
    CHECK_EQ(save(s, 2, 8), SP_OK); /* and disturbs nothing */
    CHECK_EQ(list(dir, &diag), SP_OK);
    CHECK_EQ(listed, 2);
    sp_store_close(s);
    sp_store_close(open_at(dir));
    CHECK_EQ(list(dir, &diag), SP_OK);
    CHECK_EQ(listed, 2);
    CHECK_EQ(list(path_of("nowhere"), &diag), SP_ENOENT);
    CHECK(access(path_of("nowhere"), F_OK) != 0);
}

/* ---- damage ---- */

static void damage_head(int fd)
{
    CHECK_EQ(pwrite(fd, "this is no database at all, sir", 31, 0), 31);
}

static void damage_schema(int fd)
{
    static const char junk[3000] = {1, 2, 3};
    CHECK_EQ(pwrite(fd, junk, sizeof(junk), 100), (ssize_t)sizeof(junk));
}

static void damage_pages(int fd)
{
    char junk[4096];
    memset(junk, 0xa5, sizeof(junk));
    for (off_t at = 4096; at < 60000; at += 4096)
        CHECK_EQ(pwrite(fd, junk, sizeof(junk), at), (ssize_t)sizeof(junk));
}

static void damage_length(int fd)
{
    CHECK_EQ(ftruncate(fd, 20000), 0);
}

TEST(a_damaged_one_is_put_aside)
{
    static void (*const DAMAGES[])(int fd) = {damage_head, damage_schema, damage_pages,
                                              damage_length};
    const char *dir = path_of("damaged");
    char db[300], aside[300];

    snprintf(db, sizeof(db), "%s/state.db", dir);
    snprintf(aside, sizeof(aside), "%s/state.db.damaged", dir);
    memset(bits, 0, sizeof(bits));
    for (size_t i = 0; i < SP_COUNT(DAMAGES); i++) {
        struct sp_diag diag = {0};
        struct sp_store *s = open_at(dir);
        for (uint32_t ix = 0; ix < 50; ix++)
            CHECK_EQ(save(s, ix, 8000), SP_OK);
        sp_store_close(s);
        (void)unlink(aside);
        int fd = open(db, O_RDWR);
        DAMAGES[i](fd);
        close(fd);
        CHECK_EQ(sp_store_open(dir, &s, &diag), SP_OK);
        CHECK(strstr(diag.text, "damaged") != NULL);
        CHECK_EQ(access(aside, F_OK), 0);
        CHECK_EQ(load(s, 1, 8000), SP_ENOENT);
        CHECK_EQ(save(s, 1, 8000), SP_OK);
        sp_store_close(s);
        s = open_at(dir); /* sound again */
        CHECK_EQ(load(s, 1, 8000), SP_OK);
        sp_store_close(s);
    }
}

TEST(a_newer_one_is_left_alone)
{
    const char *dir = path_of("newer");
    struct sp_store *s = open_at(dir);
    struct sp_diag diag = {0};

    CHECK_EQ(save(s, 1, 8), SP_OK);
    sp_store_close(s);
    run_sql(dir, "PRAGMA user_version = 99");
    CHECK_EQ(sp_store_open(dir, &s, &diag), SP_EDATA);
    CHECK(strstr(diag.text, "newer") != NULL);
    CHECK_EQ(list(dir, &diag), SP_EDATA);
    run_sql(dir, "PRAGMA user_version = 2");
    s = open_at(dir);
    CHECK_EQ(load(s, 1, 8), SP_OK);
    sp_store_close(s);
}

TEST(directories_that_cannot_be)
{
    struct sp_store *s = NULL;
    struct sp_diag diag = {0};

    int fd = open(path_of("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    CHECK_EQ(sp_store_open(path_of("file"), &s, &diag), SP_EIO);
    CHECK_EQ(sp_store_open(path_of("file/under"), &s, &diag), SP_EIO);
    CHECK(strstr(diag.text, "directory") != NULL);
    CHECK_EQ(sp_store_open("", &s, &diag), SP_EIO);
    CHECK_EQ(mkdir(path_of("taken"), 0700), 0);
    CHECK_EQ(mkdir(path_of("taken/state.db"), 0700), 0);
    CHECK_EQ(sp_store_open(path_of("taken"), &s, &diag), SP_EIO);
    CHECK(s == NULL);
}

/* ---- a full disk ---- */

/* In a mount namespace of the child; 77: the machine does not allow one. */
static int fill_disk(const char *dir)
{
    struct sp_store *s = NULL;
    uint32_t saved = 0;
    enum sp_err err;

    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return 77;
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", dir, "tmpfs", 0, "size=1m") != 0)
        return 77;
    check_failed = 0;
    s = open_at(dir);
    memset(bits, 0, sizeof(bits));
    while ((err = save(s, saved, 100000)) == SP_OK && saved < 1000)
        saved++;
    CHECK_EQ(err, SP_ENOSPC);
    CHECK(saved > 5 && saved < 200);
    struct sp_store_job job = job_of(SP_STORE_SAVE, 999, 100000);
    CHECK_EQ(do_one(s, &job), SP_ENOSPC);
    CHECK(strstr(job.why, "full") != NULL);
    for (uint32_t ix = 0; ix < saved; ix++) /* reading goes on, nothing is lost */
        CHECK_EQ(load(s, ix, 100000), SP_OK);
    CHECK_EQ(load(s, saved, 100000), SP_ENOENT);
    for (uint32_t ix = 0; ix < saved / 2; ix++) {
        struct sp_store_job del = job_of(SP_STORE_DELETE, ix, 0);
        (void)do_one(s, &del);
    }
    if (mount("tmpfs", dir, "tmpfs", MS_REMOUNT, "size=4m") != 0)
        return 77;
    CHECK_EQ(save(s, 999, 100000), SP_OK); /* room again */
    sp_store_close(s);
    s = open_at(dir);
    CHECK_EQ(load(s, 999, 100000), SP_OK);
    CHECK_EQ(load(s, saved - 1, 100000), SP_OK);
    sp_store_close(s);
    return check_failed;
}

TEST(a_full_disk_is_told_and_survived)
{
    const char *dir = path_of("full");
    int status;

    CHECK_EQ(mkdir(dir, 0700), 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int rc = fill_disk(dir);
        fflush(stdout);
        _exit(rc);
    }
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        printf("# skipped: no mount namespace\n");
    else
        CHECK_EQ(status, 0);
}

static void remove_tree(const char *dir)
{
    char path[1024];
    struct dirent *e;
    DIR *d = opendir(dir);

    while (d && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (e->d_type == DT_DIR)
            remove_tree(path);
        else
            unlink(path);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}

int main(void)
{
    snprintf(base, sizeof(base), "/tmp/spate-store-XXXXXX");
    if (!mkdtemp(base))
        return 1;
    int rc = check_run();
    remove_tree(base);
    return rc;
}
