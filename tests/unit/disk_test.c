/* The disk pool on a real file system: below the directory that the test runs in, since /tmp is
 * often a tmpfs and has nothing to say about direct I/O. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "core/base/rng.h"
#include "core/base/sha1.h"
#include "io/base/blocking.h"
#include "io/base/fd.h"
#include "io/disk/disk.h"
#include "io/disk/path.h"

enum { FILES_MAX = 400, BLOCKS_MAX = 2048 };

static char base[64]; /* "disk_test.XXXXXX" */

/* The system calls that a disk fails in, put in front of libc's: they count, and fail when told. */
enum sabotage { NONE, SHORT_AND_EINTR, NO_DIRECT, BROKEN_WRITE, BROKEN_SYNC };
static _Atomic int sabotage;
static _Atomic uint32_t data_syncs, name_syncs, fs_syncs, writes;

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t off)
{
    uint32_t turn = atomic_fetch_add(&writes, 1);
    int how = atomic_load(&sabotage);
    if (how == BROKEN_WRITE || (how == SHORT_AND_EINTR && turn % 3 == 0)) {
        errno = how == BROKEN_WRITE ? EIO : EINTR;
        return -1;
    }
    if (how == NO_DIRECT && (fcntl(fd, F_GETFL) & O_DIRECT) && turn % 2) {
        errno = EINVAL;
        return -1;
    }
    struct iovec less = v[0];
    if (how == SHORT_AND_EINTR && less.iov_len > 8192)
        less.iov_len = 8192;
    bool cut = how == SHORT_AND_EINTR;
    return syscall(SYS_pwritev, fd, cut ? &less : v, cut ? 1 : n, off, 0);
}

int fdatasync(int fd)
{
    atomic_fetch_add(&data_syncs, 1);
    errno = EIO;
    return sabotage == BROKEN_SYNC ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    atomic_fetch_add(&name_syncs, 1);
    return (int)syscall(SYS_fsync, fd);
}

int syncfs(int fd)
{
    (void)fd; /* the whole machine's data is not ours to wait for */
    atomic_fetch_add(&fs_syncs, 1);
    errno = EIO;
    return sabotage == BROKEN_SYNC ? -1 : 0;
}

/* A torrent in memory: the model that the disk is compared with. */
struct model {
    struct sp_disk_file files[FILES_MAX];
    char names[FILES_MAX][64];
    uint32_t file_count, piece_len;
    uint64_t len;
    uint8_t *bytes;
    char dir[128];
    struct sp_disk *disk;
    struct sp_storage *st;
};

static void post(struct sp_disk_job *job)
{
    sem_post(job->ctx);
}

static enum sp_err run(struct model *m, struct sp_disk_job *job)
{
    sem_t over;
    sem_init(&over, 0, 0);
    job->st = m->st;
    job->done = post;
    job->ctx = &over;
    sp_disk_submit(m->disk, job);
    while (sem_wait(&over) != 0)
        continue;
    sem_destroy(&over);
    CHECK_EQ(job->err == SP_OK || job->err == SP_EINVAL || job->err == SP_ECANCELED,
             job->why[0] == '\0');
    return job->err;
}

static enum sp_err op(struct model *m, enum sp_disk_op what)
{
    struct sp_disk_job job = {.op = what};
    return run(m, &job);
}

/* Blocks as the pool of a reactor hands them out; shift spoils the alignment. */
struct blocks {
    uint8_t *room;
    struct sp_iov iov[BLOCKS_MAX];
    uint32_t count;
};

static void blocks_init(struct blocks *b, uint64_t len, size_t shift)
{
    b->room = aligned_alloc(4096, (len + shift + 2 * SP_BLOCK_LEN) / 4096 * 4096);
    b->count = 0;
    for (uint64_t at = 0; at < len; at += SP_BLOCK_LEN) {
        uint64_t n = len - at < SP_BLOCK_LEN ? len - at : SP_BLOCK_LEN;
        b->iov[b->count++] = (struct sp_iov){b->room + shift + at, n};
    }
    /* Not in the order of memory: a pool's blocks never are. */
    if (b->count > 2) {
        struct sp_iov x = b->iov[0];
        if (b->iov[0].len == b->iov[1].len) {
            b->iov[0] = b->iov[1];
            b->iov[1] = x;
        }
    }
}

static void blocks_fill(struct blocks *b, const uint8_t *from)
{
    for (uint32_t i = 0; i < b->count; i++, from += b->iov[i - 1].len)
        memcpy(b->iov[i].ptr, from, b->iov[i].len);
}

static bool blocks_are(const struct blocks *b, const uint8_t *want)
{
    for (uint32_t i = 0; i < b->count; i++, want += b->iov[i - 1].len) {
        if (memcmp(b->iov[i].ptr, want, b->iov[i].len) != 0)
            return false;
    }
    return true;
}

static enum sp_err span(struct model *m, enum sp_disk_op what, uint64_t off, uint64_t len,
                        size_t shift, bool *ret_same)
{
    struct blocks b;
    blocks_init(&b, len, shift);
    if (what == SP_DISK_WRITE)
        blocks_fill(&b, m->bytes + off);
    else
        memset(b.room + shift, 0xee, len);
    struct sp_disk_job job = {.op = what, .off = off, .iov = b.iov, .iov_count = b.count};
    enum sp_err err = run(m, &job);
    if (ret_same)
        *ret_same = err == SP_OK && blocks_are(&b, m->bytes + off);
    free(b.room);
    return err;
}

static enum sp_err write_at(struct model *m, uint64_t off, uint64_t len)
{
    return span(m, SP_DISK_WRITE, off, len, 0, NULL);
}

static bool reads_back(struct model *m, uint64_t off, uint64_t len)
{
    bool same = false;
    CHECK_EQ(span(m, SP_DISK_READ, off, len, 0, &same), SP_OK);
    return same;
}

static void add_file(struct model *m, const char *name, uint64_t len, bool pad)
{
    uint32_t ix = m->file_count++;
    snprintf(m->names[ix], sizeof(m->names[ix]), "%s", name);
    m->files[ix] = (struct sp_disk_file){
        .path = pad ? NULL : m->names[ix], .len = len, .pad = pad, .wanted = true};
    m->len += len;
}

static void begin(struct model *m, uint32_t piece_len, const char *dir)
{
    *m = (struct model){.piece_len = piece_len};
    snprintf(m->dir, sizeof(m->dir), "%s/%s", base, dir);
}

/* Random content, with zeros where the pads are; a pool and a storage for it. */
static void ready(struct model *m, const struct sp_disk_cfg *disk_cfg, struct sp_storage_cfg cfg)
{
    struct sp_rng rng = sp_rng_of(m->len + m->file_count);
    uint64_t off = 0;
    if (!m->bytes) {
        m->bytes = malloc(m->len + 1);
        sp_rng_bytes(&rng, m->bytes, m->len);
        for (uint32_t i = 0; i < m->file_count; off += m->files[i].len, i++) {
            if (m->files[i].pad)
                memset(m->bytes + off, 0, m->files[i].len);
        }
    }
    cfg.dir = m->dir;
    cfg.files = m->files;
    cfg.file_count = m->file_count;
    cfg.piece_len = m->piece_len;
    cfg.total_len = m->len;
    if (!m->disk)
        CHECK_EQ(sp_disk_new(disk_cfg, &m->disk), SP_OK);
    CHECK_EQ(sp_storage_new(m->disk, &cfg, &m->st), SP_OK);
}

static void close_storage(struct model *m)
{
    struct sp_disk_stats stats;
    CHECK_EQ(op(m, SP_DISK_CLOSE), SP_OK);
    sp_storage_free(m->st);
    m->st = NULL;
    sp_disk_stats(m->disk, &stats);
    CHECK_EQ(stats.fds, 0);
}

static void end(struct model *m)
{
    if (m->st)
        close_storage(m);
    sp_disk_free(m->disk);
    free(m->bytes);
}

static const char *at(const struct model *m, const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", m->dir, name);
    return path;
}

static int64_t size_of(const char *path)
{
    struct stat s;
    return lstat(path, &s) == 0 ? (int64_t)s.st_size : -1;
}

static void plant(const char *path, const char *text)
{
    SP_FD fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

/* Does each file hold what the model says, read without the code under test? */
static void check_files(struct model *m)
{
    uint64_t off = 0;
    for (uint32_t i = 0; i < m->file_count; off += m->files[i].len, i++) {
        if (m->files[i].pad)
            continue;
        SP_FD fd = open(at(m, m->names[i]), O_RDONLY);
        uint8_t *got = malloc(m->files[i].len + 1);
        CHECK(fd >= 0);
        CHECK_EQ(read(fd, got, m->files[i].len + 1), (intmax_t)m->files[i].len);
        CHECK(memcmp(got, m->bytes + off, m->files[i].len) == 0);
        free(got);
    }
}

/* A layout with every oddity: pads, empties at both ends, one byte, blocks that line up and not. */
static void odd_layout(struct model *m)
{
    add_file(m, "empty first", 0, false);
    add_file(m, "top", 5, false);
    add_file(m, "a/one", 1, false);
    add_file(m, "a/big", 700001, false);
    add_file(m, "", 4096 * 3 - 7, true);
    add_file(m, "a/b/c/aligned", 4096 * 100, false);
    add_file(m, "a/b/empty", 0, false);
    add_file(m, "", 100000, true);
    add_file(m, "z/huge", 1500000, false);
    add_file(m, "z/last", 12345, false);
    add_file(m, "z/y/empty last", 0, false);
}

/* Goal: whatever is written comes back, and lies in the files where the metainfo says.  Method:
 * random spans against a flat model, over the ways to open and to write. */
static void random_spans(const struct sp_disk_cfg *cfg, const char *dir, bool walk,
                         struct sp_disk_stats *ret_stats)
{
    struct model m;
    struct sp_rng rng = sp_rng_of(7);
    struct sp_disk_job open_job = {.op = SP_DISK_OPEN};

    atomic_store(&sp_path_walk_always, walk);
    begin(&m, 65536, dir);
    odd_layout(&m);
    ready(&m, cfg, (struct sp_storage_cfg){0});
    CHECK_EQ(run(&m, &open_job), SP_OK);
    CHECK(open_job.free_bytes > 0);
    CHECK_EQ(write_at(&m, 0, m.len), SP_OK);
    for (int i = 0; i < 60; i++) {
        uint64_t off = sp_rng_below(&rng, m.len), len = 1 + sp_rng_below(&rng, 600000);
        size_t shift = sp_rng_below(&rng, 3) ? 0 : sp_rng_below(&rng, 64);
        if (sp_rng_below(&rng, 2))
            off = off / 4096 * 4096;
        if (len > m.len - off)
            len = m.len - off;
        for (uint64_t k = off; k < off + len; k++)
            m.bytes[k] = (uint8_t)(m.bytes[k] + 1);
        uint64_t pads[2][2] = {{700007, 4096 * 3 - 7}, {700007 + 4096 * 103 - 7, 100000}};
        for (int p = 0; p < 2; p++)
            memset(m.bytes + pads[p][0], 0, pads[p][1]);
        CHECK_EQ(span(&m, SP_DISK_WRITE, off, len, shift, NULL), SP_OK);
        off = sp_rng_below(&rng, m.len);
        len = 1 + sp_rng_below(&rng, m.len - off);
        CHECK(reads_back(&m, off, len));
    }
    CHECK_EQ(op(&m, SP_DISK_SYNC), SP_OK);
    CHECK(reads_back(&m, 0, m.len));
    sp_disk_stats(m.disk, ret_stats);
    close_storage(&m);
    check_files(&m);
    end(&m);
    atomic_store(&sp_path_walk_always, false);
}

/* Does the file system here do direct I/O, and is it one that we want it on? */
static bool can_direct(void)
{
    struct statfs fs;
    if (statfs(base, &fs) != 0 || fs.f_type == TMPFS_MAGIC)
        return false;
    SP_FD fd = open(base, O_RDWR | O_TMPFILE | O_DIRECT, 0600);
    void *room = aligned_alloc(4096, 4096);
    bool ok = fd >= 0 && room && pwrite(fd, memset(room, 0, 4096), 4096, 0) == 4096;
    free(room);
    return ok;
}

TEST(disk_random_spans_agree_with_a_flat_model)
{
    struct sp_disk_stats s;
    random_spans(&(struct sp_disk_cfg){0}, "spans", false, &s);
    if (can_direct())
        CHECK(s.direct_bytes > s.written_bytes / 2);
    CHECK(s.direct_bytes < s.written_bytes);
    random_spans(&(struct sp_disk_cfg){.no_direct = true}, "spans", false, &s);
    CHECK_EQ(s.direct_bytes, 0);
    random_spans(&(struct sp_disk_cfg){.fd_max = 4, .lane_threads = 1}, "spans4", true, &s);
    random_spans(&(struct sp_disk_cfg){.heads = SP_DISK_HEADS_YES}, "spans", false, &s);
    if (can_direct())
        CHECK(s.direct_bytes > 0 && s.direct_bytes < s.written_bytes / 2);
}

TEST(disk_survives_short_writes_and_interruptions)
{
    struct sp_disk_stats s;
    atomic_store(&sabotage, SHORT_AND_EINTR);
    random_spans(&(struct sp_disk_cfg){0}, "spans", false, &s);
    if (can_direct())
        CHECK(s.direct_bytes > s.written_bytes / 2);
    atomic_store(&sabotage, NONE);
}

/* A file system that opens for direct I/O and then refuses: the rest goes buffered, for good. */
TEST(disk_falls_back_when_direct_is_refused)
{
    struct sp_disk_stats s;
    atomic_store(&sabotage, NO_DIRECT);
    random_spans(&(struct sp_disk_cfg){0}, "spans", false, &s);
    CHECK(s.direct_bytes < s.written_bytes / 4);
    atomic_store(&sabotage, NONE);
}

/* Goal: SYNC syncs each file written since the last, and where new names are, and no other; what
 * failed is tried again.  Method: count the calls. */
TEST(disk_sync_syncs_what_was_written)
{
    struct model m;
    char name[32];
    begin(&m, 1000, "sync");
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "a/%d/f%d", i / 100, i);
        add_file(&m, name, 1000, false);
    }
    ready(&m, NULL, (struct sp_storage_cfg){0});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    data_syncs = name_syncs = fs_syncs = 0;
    CHECK_EQ(op(&m, SP_DISK_SYNC), SP_OK);
    CHECK_EQ(data_syncs + name_syncs, 0);
    CHECK_EQ(write_at(&m, 99000, 3000), SP_OK); /* f99, f100, f101 */
    CHECK_EQ(op(&m, SP_DISK_SYNC), SP_OK);
    CHECK_EQ(data_syncs, 3);
    CHECK_EQ(name_syncs, 6); /* a/0, a, . and a/1, a, . */
    CHECK_EQ(write_at(&m, 100500, 10), SP_OK);
    sabotage = BROKEN_SYNC;
    struct sp_disk_job job = {.op = SP_DISK_SYNC};
    CHECK_EQ(run(&m, &job), SP_EIO);
    CHECK_EQ(job.file_ix, 100);
    sabotage = NONE;
    data_syncs = name_syncs = 0;
    CHECK_EQ(op(&m, SP_DISK_SYNC), SP_OK);
    CHECK_EQ(op(&m, SP_DISK_SYNC), SP_OK);
    CHECK_EQ(data_syncs, 1);
    CHECK_EQ(name_syncs, 0);
    CHECK_EQ(write_at(&m, 0, m.len), SP_OK);
    sabotage = BROKEN_SYNC;
    CHECK_EQ(op(&m, SP_DISK_SYNC), SP_EIO);
    sabotage = NONE;
    CHECK_EQ(op(&m, SP_DISK_SYNC), SP_OK);
    CHECK_EQ(fs_syncs, 2);
    CHECK_EQ(data_syncs, 1);
    sabotage = BROKEN_WRITE;
    CHECK_EQ(write_at(&m, 5000, 10), SP_EIO);
    sabotage = NONE;
    end(&m);
}

TEST(disk_refuses_unsound_layouts)
{
    static const struct {
        const char *path;
        uint64_t len, total;
        uint32_t piece_len;
        enum sp_err err;
    } cases[] = {
        {"a", 5, 5, 4, SP_OK},
        {"a/b", 5, 5, 4, SP_OK},
        {"...", 5, 5, 4, SP_OK},
        {".a", 5, 5, 4, SP_OK},
        {"a", 5, 6, 4, SP_EINVAL},
        {"a", 5, 5, 0, SP_EINVAL},
        {"a", UINT64_MAX, UINT64_MAX, 4, SP_EINVAL},
        {"a", (uint64_t)1 << 40, (uint64_t)1 << 40, 1, SP_EINVAL},
        {"", 5, 5, 4, SP_EINVAL},
        {"/a", 5, 5, 4, SP_EINVAL},
        {"a/", 5, 5, 4, SP_EINVAL},
        {"a//b", 5, 5, 4, SP_EINVAL},
        {"..", 5, 5, 4, SP_EINVAL},
        {"../a", 5, 5, 4, SP_EINVAL},
        {"a/../b", 5, 5, 4, SP_EINVAL},
        {"a/.", 5, 5, 4, SP_EINVAL},
        {NULL, 5, 5, 4, SP_EINVAL},
    };
    struct sp_disk *d;
    CHECK_EQ(sp_disk_new(NULL, &d), SP_OK);
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_disk_file f = {.path = cases[i].path, .len = cases[i].len};
        struct sp_storage *st = NULL;
        struct sp_storage_cfg cfg = {.dir = "x",
                                     .files = &f,
                                     .file_count = 1,
                                     .piece_len = cases[i].piece_len,
                                     .total_len = cases[i].total};
        CHECK_EQ(sp_storage_new(d, &cfg, &st), cases[i].err);
        CHECK_EQ(st != NULL, cases[i].err == SP_OK);
        sp_storage_free(st);
    }
    sp_disk_free(d);
}

TEST(disk_says_what_is_out_of_range_or_not_open)
{
    struct model m;
    uint8_t byte;
    struct sp_iov iov = {&byte, 1};
    begin(&m, 16, "range");
    add_file(&m, "f", 100, false);
    ready(&m, NULL, (struct sp_storage_cfg){0});
    CHECK_EQ(span(&m, SP_DISK_READ, 0, 1, 0, NULL), SP_EINVAL);
    CHECK_EQ(sp_disk_try_read(m.st, 0, &iov, 1), SP_AGAIN);
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, 100), SP_OK);
    struct sp_disk_job job = {.op = SP_DISK_WRITE, .off = 100, .iov = &iov, .iov_count = 1};
    CHECK_EQ(run(&m, &job), SP_EINVAL);
    job.off = UINT64_MAX;
    CHECK_EQ(run(&m, &job), SP_EINVAL);
    CHECK_EQ(sp_disk_try_read(m.st, 100, &iov, 1), SP_EINVAL);
    uint8_t state[8] = {0};
    struct sp_disk_job check = {.op = SP_DISK_CHECK, .first_piece = 1, .piece_count = 7};
    check.check.ret_state = state;
    CHECK_EQ(run(&m, &check), SP_EINVAL);
    check.piece_count = 6;
    CHECK_EQ(run(&m, &check), SP_OK);
    CHECK_EQ(state[5], SP_CHECK_READ);
    CHECK_EQ(state[6], SP_CHECK_UNSEEN);
    end(&m);
}

/* Goal: nothing outside of the directory is read, made or changed through a symlink, or blocked
 * on through a FIFO.  Method: plant each where a file or a directory should be. */
static void symlinks(bool walk, const char *dir)
{
    struct model m;
    char target[160], link[200];
    struct sp_disk_stat stats[4];
    struct sp_disk_job open_job = {.op = SP_DISK_OPEN, .stats = stats};

    atomic_store(&sp_path_walk_always, walk);
    begin(&m, 16, dir);
    add_file(&m, "d/file", 10, false);
    add_file(&m, "file", 10, false);
    add_file(&m, "dangling", 10, false);
    add_file(&m, "fifo", 10, false);
    ready(&m, NULL, (struct sp_storage_cfg){0});
    CHECK_EQ(mkdir(m.dir, 0777), 0);
    snprintf(target, sizeof(target), "%s.outside", m.dir);
    CHECK_EQ(mkdir(target, 0777), 0);
    snprintf(link, sizeof(link), "../%s.outside", dir);
    CHECK_EQ(symlink(link, at(&m, "d")), 0);
    snprintf(link, sizeof(link), "../%s.outside/file", dir);
    CHECK_EQ(symlink(link, at(&m, "file")), 0);
    snprintf(link, sizeof(link), "../%s.outside/none", dir);
    CHECK_EQ(symlink(link, at(&m, "dangling")), 0);
    CHECK_EQ(mkfifo(at(&m, "fifo"), 0666), 0);
    snprintf(link, sizeof(link), "%s/file", target);
    plant(link, "precious precious");

    CHECK_EQ(run(&m, &open_job), SP_OK);
    CHECK_EQ(open_job.files_present, 0);
    CHECK_EQ(open_job.files_odd, 4);
    for (uint64_t i = 0; i < 4; i++) {
        CHECK_EQ(stats[i].kind, SP_FILE_ODD);
        CHECK_EQ(write_at(&m, i * 10, 10), SP_EACCES);
        CHECK_EQ(span(&m, SP_DISK_READ, i * 10, 10, 0, NULL), SP_EACCES);
    }
    CHECK_EQ(op(&m, SP_DISK_DELETE), SP_OK);
    CHECK_EQ(size_of(link), 17);
    snprintf(link, sizeof(link), "%s/none", target);
    CHECK_EQ(size_of(link), -1);
    CHECK(size_of(at(&m, "file")) > 0); /* the symlinks are not ours either */
    CHECK(size_of(at(&m, "d")) > 0);
    end(&m);
    atomic_store(&sp_path_walk_always, false);
}

TEST(disk_follows_no_symlink)
{
    symlinks(false, "links");
    symlinks(true, "links2");
}

/* The directory itself is the user's word: it may be a symlink. */
TEST(disk_takes_a_symlinked_directory_and_makes_missing_ones)
{
    struct model m;
    char link[128];
    begin(&m, 16, "real/deep/er");
    add_file(&m, "x", 30, false);
    ready(&m, NULL, (struct sp_storage_cfg){0});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, 30), SP_OK);
    close_storage(&m);
    snprintf(link, sizeof(link), "%s/alias", base);
    CHECK_EQ(symlink("real/deep/er", link), 0);
    snprintf(m.dir, sizeof(m.dir), "%s", link);
    ready(&m, NULL, (struct sp_storage_cfg){.read_only = true});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK(reads_back(&m, 0, 30));
    end(&m);
}

static uint32_t count_fds(void)
{
    uint32_t count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) != -1;
    return count;
}

TEST(disk_needs_few_descriptors)
{
    struct model m;
    struct sp_disk_stats s;
    char name[32];
    uint32_t before = count_fds();
    begin(&m, 65536, "many");
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "d%d/f%d", i % 7, i);
        add_file(&m, name, 70000, false);
    }
    ready(&m, &(struct sp_disk_cfg){.fd_max = 4}, (struct sp_storage_cfg){0});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    for (uint64_t off = 0; off < m.len; off += 1000000) {
        CHECK_EQ(write_at(&m, off, m.len - off < 1000000 ? m.len - off : 1000000), SP_OK);
        sp_disk_stats(m.disk, &s);
        CHECK(s.fds <= 4);
        CHECK(count_fds() <= before + 4);
    }
    CHECK(reads_back(&m, 0, m.len));
    CHECK_EQ(op(&m, SP_DISK_SYNC), SP_OK);
    close_storage(&m);
    check_files(&m);
    end(&m);
    CHECK_EQ(count_fds(), before);
}

/* A mount namespace of our own, by a user namespace in which we are root where we are not. */
static bool own_mounts(void)
{
    char uid[32], gid[32];
    snprintf(uid, sizeof(uid), "0 %u 1", (unsigned)geteuid());
    snprintf(gid, sizeof(gid), "0 %u 1", (unsigned)getegid());
    if (unshare(CLONE_NEWNS) == 0)
        return true;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return false;
    plant("/proc/self/setgroups", "deny");
    plant("/proc/self/uid_map", uid);
    plant("/proc/self/gid_map", gid);
    return geteuid() == 0;
}

/* In a mount namespace of its own, so that nobody else sees the small disk. */
static int full_disk(void)
{
    struct model m;
    if (!own_mounts())
        return 77;
    begin(&m, 65536, "full");
    if (mkdir(m.dir, 0777) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", m.dir, "tmpfs", 0, "size=1m") != 0)
        return 77;
    check_failed = 0;
    add_file(&m, "d/a", 600000, false);
    add_file(&m, "d/b", 900000, false);
    ready(&m, NULL, (struct sp_storage_cfg){.alloc = SP_ALLOC_FULL});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, 600000), SP_OK);
    struct blocks b;
    blocks_init(&b, 900000, 0);
    blocks_fill(&b, m.bytes + 600000);
    struct sp_disk_job job = {
        .op = SP_DISK_WRITE, .off = 600000, .iov = b.iov, .iov_count = b.count};
    CHECK_EQ(run(&m, &job), SP_ENOSPC);
    CHECK_EQ(job.file_ix, 1);
    CHECK_EQ(job.sys_errno, ENOSPC);
    CHECK(strncmp(job.why, "writing ", 8) == 0);
    CHECK(strstr(job.why, "full/d/b: No space left on device") != NULL);
    CHECK_EQ(op(&m, SP_DISK_ALLOCATE), SP_ENOSPC);
    CHECK_EQ(op(&m, SP_DISK_SPACE), SP_OK);
    /* It goes on once there is room. */
    CHECK_EQ(mount(NULL, m.dir, NULL, MS_REMOUNT, "size=2m"), 0);
    CHECK_EQ(run(&m, &job), SP_OK);
    CHECK(reads_back(&m, 0, m.len));
    free(b.room);
    close_storage(&m);
    check_files(&m);
    end(&m);
    umount2(m.dir, MNT_DETACH);
    return check_failed;
}

TEST(disk_full_is_said_and_gone_on_from)
{
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int code = full_disk();
        fflush(stdout);
        _exit(code);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        printf("# no right to mount a small disk here\n");
    else
        CHECK_EQ(WEXITSTATUS(status), 0);
}

TEST(disk_short_and_missing_files_are_named)
{
    struct model m;
    uint8_t bytes[10];
    struct sp_iov iov = {bytes, 10};
    struct sp_disk_stat stats[2];
    begin(&m, 16, "short");
    add_file(&m, "cut", 100, false);
    add_file(&m, "gone", 100, false);
    ready(&m, NULL, (struct sp_storage_cfg){0});
    CHECK_EQ(mkdir(m.dir, 0777), 0);
    plant(at(&m, "cut"), "only this");
    struct sp_disk_job open_job = {.op = SP_DISK_OPEN, .stats = stats};
    CHECK_EQ(run(&m, &open_job), SP_OK);
    CHECK_EQ(open_job.files_present, 1);
    CHECK_EQ(open_job.bytes_present, 9);
    CHECK_EQ(stats[0].size, 9);
    CHECK(stats[0].mtime_ns > 0);
    CHECK_EQ(stats[1].kind, SP_FILE_ABSENT);

    struct sp_disk_job job = {.op = SP_DISK_READ, .iov = &iov, .iov_count = 1};
    CHECK_EQ(run(&m, &job), SP_EIO);
    CHECK_EQ(job.file_ix, 0);
    CHECK(strstr(job.why, "short/cut: the file is shorter") != NULL);
    job.off = 150;
    CHECK_EQ(run(&m, &job), SP_ENOENT);
    CHECK_EQ(job.file_ix, 1);
    CHECK(strstr(job.why, "short/gone: No such file") != NULL);
    end(&m);
}

TEST(disk_read_only_makes_and_changes_nothing)
{
    struct model m;
    begin(&m, 16, "fixed");
    add_file(&m, "d/data", 9, false);
    add_file(&m, "d/empty", 0, false);
    ready(&m, NULL, (struct sp_storage_cfg){.read_only = true});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_ENOENT);
    CHECK_EQ(size_of(m.dir), -1);
    CHECK_EQ(mkdir(m.dir, 0777), 0);
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(size_of(at(&m, "d")), -1);
    CHECK_EQ(mkdir(at(&m, "d"), 0777), 0);
    CHECK_EQ(op(&m, SP_DISK_CLOSE), SP_OK);
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, 9), SP_EACCES);
    plant(at(&m, "d/data"), "123456789longer");
    CHECK_EQ(write_at(&m, 0, 9), SP_EACCES);
    memcpy(m.bytes, "123456789", 9);
    CHECK(reads_back(&m, 0, 9));
    CHECK_EQ(write_at(&m, 0, 9), SP_EACCES); /* also with an open descriptor */
    CHECK_EQ(op(&m, SP_DISK_ALLOCATE), SP_OK);
    CHECK_EQ(op(&m, SP_DISK_DELETE), SP_EACCES);
    CHECK_EQ(size_of(at(&m, "d/data")), 15);
    CHECK_EQ(size_of(at(&m, "d/empty")), -1);
    end(&m);
}

static void drop_cache(struct model *m)
{
    for (uint32_t i = 0; i < m->file_count; i++) {
        SP_FD fd = m->files[i].pad ? -1 : open(at(m, m->names[i]), O_RDONLY);
        if (fd >= 0) {
            fsync(fd);
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        }
    }
}

/* Goal: CHECK calls bad exactly the pieces that are.  Method: damage some bytes, compare with a
 * model hashed by the core's SHA-1; hot and cold, pieces of many lengths. */
static void check_round(uint32_t piece_len, bool cold, const char *dir)
{
    struct model m;
    struct sp_rng rng = sp_rng_of(piece_len);
    begin(&m, piece_len, dir);
    odd_layout(&m);
    ready(&m, NULL, (struct sp_storage_cfg){0});
    uint32_t pieces = (uint32_t)((m.len + piece_len - 1) / piece_len);
    uint8_t(*want)[SP_SHA1_LEN] = calloc(pieces, SP_SHA1_LEN);
    uint8_t(*got)[SP_SHA1_LEN] = calloc(pieces, SP_SHA1_LEN);
    uint8_t *state = calloc(pieces, 1), *expect = calloc(pieces, 1);
    memset(expect, SP_CHECK_GOOD, pieces);

    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, m.len), SP_OK);
    for (uint32_t i = 0; i < pieces; i++) {
        uint64_t off = (uint64_t)i * piece_len, left = m.len - off;
        sp_sha1_of(m.bytes + off, left < piece_len ? left : piece_len, want[i]);
    }
    for (int i = 0; i < 5; i++) {
        uint64_t off = 713000 + sp_rng_below(&rng, 4096 * 90);
        m.bytes[off] ^= 1;
        CHECK_EQ(write_at(&m, off, 1), SP_OK);
        m.bytes[off] ^= 1;
        expect[off / piece_len] = SP_CHECK_BAD;
    }
    CHECK_EQ(unlink(at(&m, "a/one")), 0); /* byte 5; its descriptor stays open */
    CHECK_EQ(op(&m, SP_DISK_CLOSE), SP_OK);
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    expect[5 / piece_len] = SP_CHECK_GONE;
    if (cold)
        drop_cache(&m);

    struct sp_disk_job job = {.op = SP_DISK_CHECK, .piece_count = pieces};
    job.check.want = (const uint8_t(*)[SP_SHA1_LEN])want;
    job.check.ret_digests = got;
    job.check.ret_state = state;
    CHECK_EQ(run(&m, &job), SP_OK);
    CHECK_EQ(atomic_load(&job.check.pieces_done), pieces);
    for (uint32_t i = 0; i < pieces; i++) {
        CHECK_EQ(state[i], expect[i]);
        CHECK_EQ(memcmp(got[i], want[i], SP_SHA1_LEN) == 0, expect[i] == SP_CHECK_GOOD);
    }
    free(want);
    free(got);
    free(state);
    free(expect);
    CHECK_EQ(op(&m, SP_DISK_DELETE), SP_OK);
    end(&m);
}

TEST(disk_check_finds_exactly_the_bad_pieces)
{
    static const uint32_t lens[] = {16384, 16389, 65536, 262144, 1 << 20, 8 << 20};
    for (size_t i = 0; i < SP_COUNT(lens); i++) {
        check_round(lens[i], false, "check");
        check_round(lens[i], true, "check");
    }
}

/* Pieces longer than a slice go in steps; a sparse file costs no room here. */
TEST(disk_check_of_a_long_piece)
{
    struct model m;
    enum { LEN = 17 << 20, TAIL = 5000003 };
    uint8_t want[2][SP_SHA1_LEN], state[2] = {0}, zero[SP_BLOCK_LEN] = {0};
    struct sp_sha1 s;
    begin(&m, LEN, "long");
    add_file(&m, "little", 777, false);
    add_file(&m, "x", LEN - 777 + TAIL, false);
    ready(&m, NULL, (struct sp_storage_cfg){0});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, 100000), SP_OK);
    sp_sha1_init(&s);
    sp_sha1_add(&s, m.bytes, 100000);
    for (uint32_t left = LEN - 100000, n; left > 0; left -= n) {
        n = left < sizeof(zero) ? left : sizeof(zero);
        sp_sha1_add(&s, zero, n);
    }
    sp_sha1_end(&s, want[0]);
    memset(want[1], 1, SP_SHA1_LEN);
    for (int cold = 0; cold < 2; cold++) {
        struct sp_disk_job job = {.op = SP_DISK_CHECK, .piece_count = 2};
        job.check.want = (const uint8_t(*)[SP_SHA1_LEN])want;
        job.check.ret_state = state;
        CHECK_EQ(run(&m, &job), SP_OK);
        CHECK_EQ(state[0], SP_CHECK_GOOD);
        CHECK_EQ(state[1], SP_CHECK_BAD);
        drop_cache(&m);
    }
    CHECK_EQ(op(&m, SP_DISK_DELETE), SP_OK);
    end(&m);
}

TEST(disk_delete_removes_only_its_own)
{
    struct model m;
    begin(&m, 65536, "del");
    odd_layout(&m);
    ready(&m, NULL, (struct sp_storage_cfg){.parts_name = ".p"});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, m.len), SP_OK);
    plant(at(&m, "a/b/mine"), "x");
    CHECK_EQ(mkdir(at(&m, "empty of mine"), 0777), 0);
    CHECK_EQ(op(&m, SP_DISK_DELETE), SP_OK);
    CHECK_EQ(size_of(at(&m, "a/b/mine")), 1);
    CHECK(size_of(at(&m, "empty of mine")) >= 0);
    CHECK_EQ(size_of(at(&m, "a/big")), -1);
    CHECK_EQ(size_of(at(&m, "a/b/c")), -1);
    CHECK_EQ(size_of(at(&m, "z")), -1);
    CHECK_EQ(size_of(at(&m, "top")), -1);
    end(&m);
}

TEST(disk_allocates_in_full_when_told)
{
    struct model m;
    struct stat s;
    begin(&m, 65536, "alloc");
    add_file(&m, "big", 3000000, false);
    add_file(&m, "no", 3000000, false);
    add_file(&m, "e", 0, false);
    m.files[1].wanted = false;
    ready(&m, NULL, (struct sp_storage_cfg){.alloc = SP_ALLOC_FULL});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 100, 70000), SP_OK);
    CHECK_EQ(op(&m, SP_DISK_ALLOCATE), SP_OK);
    CHECK(reads_back(&m, 100, 70000));
    CHECK_EQ(stat(at(&m, "big"), &s), 0);
    CHECK(s.st_blocks * 512 >= 3000000);
    CHECK_EQ(size_of(at(&m, "no")), -1);
    struct sp_disk_job job = {.op = SP_DISK_ALLOCATE, .cancel = true};
    CHECK_EQ(run(&m, &job), SP_ECANCELED);
    end(&m);
}

/* A longer file that was there is cut to its length when it is first written to. */
TEST(disk_gives_files_their_length)
{
    struct model m;
    begin(&m, 16, "len");
    add_file(&m, "f", 10, false);
    ready(&m, NULL, (struct sp_storage_cfg){0});
    CHECK_EQ(mkdir(m.dir, 0777), 0);
    plant(at(&m, "f"), "0123456789abcdef");
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(size_of(at(&m, "f")), 16);
    CHECK_EQ(write_at(&m, 2, 2), SP_OK);
    CHECK_EQ(size_of(at(&m, "f")), 10);
    end(&m);
}

/* An unmounted disk leaves a directory of the same name: nothing may be made in it. */
TEST(disk_notices_another_directory_in_its_place)
{
    struct model m, other;
    char away[160];
    begin(&m, 16, "swap");
    add_file(&m, "f", 10, false);
    ready(&m, &(struct sp_disk_cfg){.fd_max = 4}, (struct sp_storage_cfg){0});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, 10), SP_OK);
    /* Push its descriptors out of the cache. */
    begin(&other, 16, "swap2");
    add_file(&other, "1", 10, false);
    add_file(&other, "2", 10, false);
    add_file(&other, "3", 10, false);
    add_file(&other, "4", 10, false);
    other.disk = m.disk;
    ready(&other, NULL, (struct sp_storage_cfg){0});
    CHECK_EQ(op(&other, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&other, 0, 40), SP_OK);
    snprintf(away, sizeof(away), "%s.away", m.dir);
    CHECK_EQ(rename(m.dir, away), 0);
    CHECK_EQ(mkdir(m.dir, 0777), 0);
    CHECK_EQ(write_at(&m, 0, 10), SP_ENOENT);
    CHECK_EQ(size_of(at(&m, "f")), -1);
    CHECK_EQ(op(&other, SP_DISK_CLOSE), SP_OK);
    sp_storage_free(other.st);
    free(other.bytes);
    end(&m);
}

/* Goal: no unwanted file appears, and none of its bytes that came along is lost.  Method: write
 * all pieces of the wanted file, look; select the other, look; over a restart; with damage. */
TEST(disk_keeps_bytes_of_unwanted_files_apart)
{
    struct model m;
    struct sp_storage_cfg cfg = {.parts_name = ".x.parts"};
    bool wanted[4] = {true, false, true, true};
    begin(&m, 1000, "parts");
    add_file(&m, "d/yes", 2500, false);
    add_file(&m, "n/no", 2700, false);
    add_file(&m, "d/also", 2800, false);
    add_file(&m, "n/empty", 0, false);
    m.files[1].wanted = m.files[3].wanted = false;
    ready(&m, NULL, cfg);
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, 3000), SP_OK);
    CHECK_EQ(write_at(&m, 5000, 3000), SP_OK);
    CHECK_EQ(size_of(at(&m, "n")), -1);
    CHECK(size_of(at(&m, ".x.parts")) > 0);
    CHECK(reads_back(&m, 0, 3000));
    CHECK(reads_back(&m, 5000, 3000));
    CHECK_EQ(span(&m, SP_DISK_READ, 3000, 10, 0, NULL), SP_ENOENT);
    uint8_t state[8] = {0};
    struct sp_disk_job check = {.op = SP_DISK_CHECK, .piece_count = 8};
    check.check.ret_state = state;
    CHECK_EQ(run(&m, &check), SP_OK);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(state[i], i == 3 || i == 4 ? SP_CHECK_GONE : SP_CHECK_READ);
    CHECK_EQ(op(&m, SP_DISK_SYNC), SP_OK);
    close_storage(&m);

    /* After a restart, then selected. */
    ready(&m, NULL, cfg);
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK(reads_back(&m, 2000, 1000));
    struct sp_disk_job select = {.op = SP_DISK_SELECT, .wanted = wanted};
    wanted[1] = true;
    CHECK_EQ(run(&m, &select), SP_OK);
    CHECK_EQ(size_of(at(&m, "n/no")), 2700);
    CHECK_EQ(size_of(at(&m, "n/empty")), 0);
    CHECK_EQ(size_of(at(&m, ".x.parts")), -1);
    CHECK_EQ(write_at(&m, 3000, 2000), SP_OK);
    CHECK(reads_back(&m, 0, m.len));
    /* Not wanted any more: what is there stays where it is. */
    wanted[1] = false;
    CHECK_EQ(run(&m, &select), SP_OK);
    CHECK(reads_back(&m, 0, m.len));
    close_storage(&m);
    check_files(&m);
    CHECK_EQ(unlink(at(&m, "n/no")), 0);

    /* Selected while nobody was looking: OPEN moves them. */
    ready(&m, NULL, cfg);
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 2500, 500), SP_OK);
    close_storage(&m);
    m.files[1].wanted = true;
    ready(&m, NULL, cfg);
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK(reads_back(&m, 2500, 500));
    CHECK_EQ(size_of(at(&m, "n/no")), 2700);
    CHECK_EQ(size_of(at(&m, ".x.parts")), -1);
    close_storage(&m);

    /* Nonsense in its place is overwritten, not believed. */
    CHECK_EQ(unlink(at(&m, "n/no")), 0);
    m.files[1].wanted = false;
    plant(at(&m, ".x.parts"), "SPATEPT1 and then nonsense of some length, longer than the header "
                              "......................................................");
    ready(&m, NULL, cfg);
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(span(&m, SP_DISK_READ, 2500, 10, 0, NULL), SP_ENOENT);
    CHECK_EQ(write_at(&m, 2500, 500), SP_OK);
    CHECK(reads_back(&m, 2500, 500));
    CHECK_EQ(op(&m, SP_DISK_DELETE), SP_OK);
    CHECK_EQ(size_of(at(&m, ".x.parts")), -1);
    end(&m);
}

TEST(disk_try_read_serves_what_is_hot)
{
    struct model m;
    struct sp_disk_stats s;
    struct blocks b;
    begin(&m, 65536, "hot");
    odd_layout(&m);
    ready(&m, NULL, (struct sp_storage_cfg){0});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, m.len), SP_OK);
    close_storage(&m);
    ready(&m, NULL, (struct sp_storage_cfg){.read_only = true});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    blocks_init(&b, 700000, 0);
    CHECK_EQ(sp_disk_try_read(m.st, 0, b.iov, b.count), SP_AGAIN); /* nothing open */
    CHECK(reads_back(&m, 0, m.len));
    sp_reactor_thread = true; /* and it must not touch a blocking call */
    enum sp_err err = sp_disk_try_read(m.st, 3, b.iov, b.count);
    sp_reactor_thread = false;
    CHECK_EQ(err, SP_OK);
    CHECK(blocks_are(&b, m.bytes + 3));
    sp_disk_stats(m.disk, &s);
    CHECK_EQ(s.hot_bytes, 700000);
    free(b.room);
    end(&m);
}

/* Is the page of the file in memory? */
static bool is_resident(const char *path, size_t len, size_t off)
{
    SP_FD fd = open(path, O_RDONLY);
    unsigned char in = 0;
    uint8_t *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED && mincore(map + off / 4096 * 4096, 1, &in) == 0);
    munmap(map, len);
    return in & 1;
}

/* Goal: one cold block brings the rest of its piece, and nothing of the next.  Method: look into
 * the page cache. */
TEST(disk_reads_ahead_to_the_end_of_the_piece)
{
    struct model m;
    enum { PIECE = 128 << 10, LEN = 8 * PIECE };
    begin(&m, PIECE, "ahead");
    add_file(&m, "f", LEN, false);
    ready(&m, NULL, (struct sp_storage_cfg){0});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, m.len), SP_OK);
    drop_cache(&m);
    if (!is_resident(at(&m, "f"), LEN, 5 * PIECE)) { /* else a tmpfs, or a cache that stays */
        CHECK(reads_back(&m, 2 * PIECE + 16384, 16384));
        bool there = false;
        for (int i = 0; i < 5000 && !there; i++, usleep(1000))
            there = is_resident(at(&m, "f"), LEN, 3 * PIECE - 1);
        CHECK(there);
        CHECK(!is_resident(at(&m, "f"), LEN, 3 * PIECE));
        CHECK(!is_resident(at(&m, "f"), LEN, 2 * PIECE - 1));
    }
    end(&m);
}

#ifdef SP_REACTOR_CHECKS
TEST(reactor_that_blocks_aborts)
{
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        fclose(stderr);
        signal(SIGABRT, SIG_DFL);
        sp_reactor_thread = true;
        (void)sp_path_open(AT_FDCWD, ".", O_PATH, 0);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
#endif

/* Many jobs in flight from several threads. */
struct crowd {
    struct model *m;
    uint64_t from, to; /* of the torrent: this thread's own */
    uint64_t seed;
    _Atomic uint32_t *left;
};

struct crowd_job {
    struct sp_disk_job job;
    struct blocks blocks;
    _Atomic uint32_t *left;
};

static void count_down(struct sp_disk_job *job)
{
    struct crowd_job *j = job->ctx;
    CHECK_EQ(job->err, SP_OK);
    atomic_fetch_sub(j->left, 1);
    free(j->blocks.room);
    free(j);
}

static void *crowd_work(void *arg)
{
    struct crowd *c = arg;
    struct model *m = c->m;
    struct sp_rng rng = sp_rng_of(c->seed);
    for (int i = 0; i < 120; i++) {
        struct crowd_job *j = calloc(1, sizeof(*j));
        uint64_t off = c->from + sp_rng_below(&rng, c->to - c->from);
        uint64_t len = 1 + sp_rng_below(&rng, c->to - off < 200000 ? c->to - off : 200000);
        blocks_init(&j->blocks, len, 0);
        blocks_fill(&j->blocks, m->bytes + off);
        j->left = c->left;
        j->job.op = i % 13 == 12 ? SP_DISK_SYNC : i % 3 == 0 ? SP_DISK_READ : SP_DISK_WRITE;
        j->job.st = m->st;
        j->job.off = off;
        j->job.iov = j->blocks.iov;
        j->job.iov_count = j->blocks.count;
        j->job.done = count_down;
        j->job.ctx = j;
        atomic_fetch_add(c->left, 1);
        sp_disk_submit(m->disk, &j->job);

        struct blocks hot;
        blocks_init(&hot, len, 0);
        enum sp_err err = sp_disk_try_read(m->st, off, hot.iov, hot.count);
        CHECK(err == SP_AGAIN || (err == SP_OK && blocks_are(&hot, m->bytes + off)));
        free(hot.room);
    }
    return NULL;
}

/* Goal: nothing is lost, torn or raced when several threads, a check and a CLOSE meet.  Method:
 * all write the model's own bytes, so that every read must see them; run under TSan too. */
static void crowded(const struct sp_disk_cfg *cfg)
{
    enum { THREADS = 4 };
    struct model m;
    struct crowd crowd[THREADS];
    pthread_t threads[THREADS];
    _Atomic uint32_t left = 0;
    begin(&m, 65536, "crowd");
    odd_layout(&m);
    ready(&m, cfg, (struct sp_storage_cfg){0});
    uint32_t pieces = (uint32_t)((m.len + m.piece_len - 1) / m.piece_len);
    uint8_t(*digests)[SP_SHA1_LEN] = calloc(pieces, SP_SHA1_LEN);
    uint8_t *state = calloc(pieces, 1), digest[SP_SHA1_LEN];
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, m.len), SP_OK);
    for (uint64_t i = 0; i < THREADS; i++) {
        crowd[i] = (struct crowd){&m, m.len * i / THREADS, m.len * (i + 1) / THREADS, i, &left};
        CHECK_EQ(pthread_create(&threads[i], NULL, crowd_work, &crowd[i]), 0);
    }
    struct sp_disk_job check = {.op = SP_DISK_CHECK, .piece_count = pieces};
    check.check.ret_digests = digests;
    check.check.ret_state = state;
    CHECK_EQ(run(&m, &check), SP_OK);
    for (uint32_t i = 0; i < pieces; i++) {
        uint64_t off = (uint64_t)i * m.piece_len, rest = m.len - off;
        sp_sha1_of(m.bytes + off, rest < m.piece_len ? rest : m.piece_len, digest);
        CHECK(memcmp(digest, digests[i], SP_SHA1_LEN) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    /* The wall: every earlier job is done when CLOSE is. */
    close_storage(&m);
    CHECK_EQ(atomic_load(&left), 0);
    check_files(&m);
    free(digests);
    free(state);
    end(&m);
}

TEST(disk_under_a_crowd)
{
    crowded(&(struct sp_disk_cfg){.fd_max = 6, .lane_threads = 3});
    crowded(&(struct sp_disk_cfg){.no_direct = true, .heads = SP_DISK_HEADS_YES});
}

/* CLOSE ends a check that has hours to go, and one that waits behind it. */
TEST(disk_close_cancels_checks)
{
    struct model m;
    enum { JOBS = 3 };
    struct sp_disk_job jobs[JOBS] = {0};
    sem_t over;
    uint64_t len = (uint64_t)64 << 30;
    begin(&m, 1 << 20, "cancel");
    add_file(&m, "sparse", 0, false);
    m.len = m.files[0].len = len;
    m.bytes = malloc(1); /* no model of that one */
    ready(&m, NULL, (struct sp_storage_cfg){0});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    uint32_t pieces = (uint32_t)(len >> 20);
    uint8_t *state = calloc(pieces, 1), byte = 1;
    struct sp_iov iov = {&byte, 1};
    struct sp_disk_job one = {.op = SP_DISK_WRITE, .iov = &iov, .iov_count = 1};
    CHECK_EQ(run(&m, &one), SP_OK);
    sem_init(&over, 0, 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i].op = SP_DISK_CHECK;
        jobs[i].st = m.st;
        jobs[i].piece_count = pieces;
        jobs[i].check.ret_state = state;
        jobs[i].done = post;
        jobs[i].ctx = &over;
        sp_disk_submit(m.disk, &jobs[i]);
    }
    /* Peers are served between the slices. */
    CHECK_EQ(run(&m, &(struct sp_disk_job){.op = SP_DISK_READ, .iov = &iov, .iov_count = 1}),
             SP_OK);
    while (atomic_load(&jobs[0].check.pieces_done) == 0)
        sched_yield();
    atomic_store(&jobs[2].cancel, true); /* the last in the queue: ends first */
    CHECK_EQ(sem_wait(&over), 0);
    CHECK_EQ(jobs[2].err, SP_ECANCELED);
    CHECK_EQ(op(&m, SP_DISK_DELETE), SP_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(sem_trywait(&over), 0);
        CHECK_EQ(jobs[i].err, SP_ECANCELED);
    }
    CHECK(state[0] == SP_CHECK_READ && state[pieces - 1] == SP_CHECK_UNSEEN);
    sem_destroy(&over);
    free(state);
    end(&m);
}

struct chain {
    struct sp_disk *disk;
    atomic_bool stop;
    sem_t over;
};

static void again(struct sp_disk_job *job)
{
    struct chain *c = job->ctx;
    if (atomic_load(&c->stop))
        sem_post(&c->over);
    else
        sp_disk_submit(c->disk, job);
}

/* Peers that never stop asking do not keep a check from its end. */
TEST(disk_check_is_not_starved)
{
    struct model m;
    enum { JOBS = 4, PIECES = 100 };
    struct sp_disk_job reads[JOBS] = {0}, check = {.op = SP_DISK_CHECK, .piece_count = PIECES};
    uint8_t bytes[JOBS], state[PIECES] = {0};
    struct sp_iov iov[JOBS];
    begin(&m, 16384, "starve");
    add_file(&m, "f", 16384 * PIECES, false);
    ready(&m, &(struct sp_disk_cfg){.lane_threads = 1}, (struct sp_storage_cfg){0});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    CHECK_EQ(write_at(&m, 0, m.len), SP_OK);
    struct chain c = {.disk = m.disk};
    sem_init(&c.over, 0, 0);
    for (int i = 0; i < JOBS; i++) {
        iov[i] = (struct sp_iov){&bytes[i], 1};
        reads[i].op = SP_DISK_READ;
        reads[i].st = m.st;
        reads[i].iov = &iov[i];
        reads[i].iov_count = 1;
        reads[i].done = again;
        reads[i].ctx = &c;
        sp_disk_submit(m.disk, &reads[i]);
    }
    check.check.ret_state = state;
    CHECK_EQ(run(&m, &check), SP_OK);
    CHECK_EQ(state[PIECES - 1], SP_CHECK_READ);
    atomic_store(&c.stop, true);
    for (int i = 0; i < JOBS; i++)
        CHECK_EQ(sem_wait(&c.over), 0);
    sem_destroy(&c.over);
    end(&m);
}

/* A torrent is removed while it is being opened. */
TEST(disk_close_waits_behind_open)
{
    for (int i = 0; i < 20; i++) {
        struct model m;
        struct sp_disk_job jobs[2] = {{.op = SP_DISK_OPEN}, {.op = SP_DISK_DELETE}};
        sem_t over;
        begin(&m, 65536, "behind");
        odd_layout(&m);
        ready(&m, NULL, (struct sp_storage_cfg){0});
        sem_init(&over, 0, 0);
        for (int k = 0; k < 2; k++) {
            jobs[k].st = m.st;
            jobs[k].done = post;
            jobs[k].ctx = &over;
            sp_disk_submit(m.disk, &jobs[k]);
        }
        for (int k = 0; k < 2; k++) {
            CHECK_EQ(sem_wait(&over), 0);
            CHECK_EQ(jobs[k].err, SP_OK);
        }
        CHECK_EQ(size_of(at(&m, "empty first")), -1);
        sp_storage_free(m.st);
        m.st = NULL;
        sem_destroy(&over);
        end(&m);
    }
}

TEST(disk_free_drains)
{
    struct model m;
    _Atomic uint32_t left = 0;
    struct sp_disk_job close_job = {.op = SP_DISK_CLOSE};
    sem_t over;
    begin(&m, 65536, "drain");
    odd_layout(&m);
    ready(&m, NULL, (struct sp_storage_cfg){0});
    CHECK_EQ(op(&m, SP_DISK_OPEN), SP_OK);
    struct crowd c = {&m, 0, m.len, 1, &left};
    CHECK_EQ(write_at(&m, 0, m.len), SP_OK);
    crowd_work(&c);
    sem_init(&over, 0, 0);
    close_job.st = m.st;
    close_job.done = post;
    close_job.ctx = &over;
    sp_disk_submit(m.disk, &close_job);
    sp_disk_free(m.disk);
    CHECK_EQ(sem_trywait(&over), 0);
    CHECK_EQ(atomic_load(&left), 0);
    sp_storage_free(m.st);
    sem_destroy(&over);
    check_files(&m);
    free(m.bytes);
}

int main(void)
{
    char command[96];
    snprintf(base, sizeof(base), "disk_test.XXXXXX");
    if (!mkdtemp(base))
        return 1;
    int status = check_run();
    snprintf(command, sizeof(command), "rm -rf %s", base);
    return system(command) != 0 || status;
}
