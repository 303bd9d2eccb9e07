/* tree.c - what concerns all files of a storage: OPEN, SYNC, ALLOCATE, SELECT,
 * SPACE, CLOSE, DELETE. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/base/blocking.h"
#include "io/base/fd.h"
#include "io/disk/impl.h"
#include "io/disk/path.h"

enum {
    SYNC_FILES_MAX = 256,     /* more dirty files than this: one syncfs is cheaper */
    ALLOCATE_STEP = 1 << 30,  /* bytes reserved in one slice */
    ALLOCATE_FILES_MAX = 256, /* and files */
};

/* Does path lie in the same directory as the one before? */
static bool same_parent(const char *a, const char *b)
{
    const char *end_a = strrchr(a, '/'), *end_b = strrchr(b, '/');
    size_t len_a = end_a ? (size_t)(end_a - a) : 0, len_b = end_b ? (size_t)(end_b - b) : 0;
    return len_a == len_b && memcmp(a, b, len_a) == 0;
}

/* Files come directory by directory: the last directory is kept open. */
struct walker {
    int dir;    /* of the storage */
    int parent; /* -1: absent, or something is in its way */
    int parent_errno;
    const char *last; /* the path that parent was opened for; NULL at first */
    const char *name; /* last part of the current path */
};

static void walker_to(struct walker *k, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!k->last || !same_parent(k->last, path)) {
        sp_fd_close(&k->parent);
        k->parent = sp_path_parent(k->dir, path, &k->name);
        k->parent_errno = errno;
    }
    k->last = path;
    k->name = slash ? slash + 1 : path;
}

static struct sp_disk_stat look(struct walker *k, const char *path)
{
    struct sp_disk_stat out = {.kind = SP_FILE_ABSENT};
    struct stat s;

    walker_to(k, path);
    int sys = k->parent < 0 ? k->parent_errno : 0;
    if (sys == 0 && fstatat(k->parent, k->name, &s, AT_SYMLINK_NOFOLLOW) != 0)
        sys = errno;
    if (sys != 0) {
        out.kind = sys == ENOENT ? SP_FILE_ABSENT : SP_FILE_ODD;
        return out;
    }
    out.kind = S_ISREG(s.st_mode) ? SP_FILE_REGULAR : SP_FILE_ODD;
    out.size = (uint64_t)s.st_size;
    out.disk_bytes = (uint64_t)s.st_blocks * 512;
    out.mtime_ns = (int64_t)s.st_mtim.tv_sec * 1000000000 + s.st_mtim.tv_nsec;
    return out;
}

static void ask_space(struct sp_disk_job *job, int fd)
{
    struct statvfs v;
    if (fstatvfs(fd, &v) == 0)
        job->free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
}

bool sp_disk_run_open_dir(struct sp_disk_job *job, struct lane **ret_lane)
{
    struct sp_storage *st = job->st;
    struct fault fault = {0};
    struct open_file *dir;

    atomic_store(&st->closing, false);
    if (!st->read_only && !sp_path_make_dir(st->dir)) {
        sp_disk_fault_tell(&fault, sp_disk_fault_set(&fault, "making", SLOT_DIR(st)), job);
        return false;
    }
    enum sp_err err = sp_disk_fds_get(st, SLOT_DIR(st), false, &dir, &fault);
    if (err != SP_OK) {
        sp_disk_fault_tell(&fault, err, job);
        return false;
    }
    struct lane *lane = sp_disk_lane_for(st->disk, st->dev, dir->fd);
    sp_disk_fds_put(dir);
    if (!lane) {
        sp_disk_fds_forget(st);
        job->err = SP_ENOMEM;
        return false;
    }
    atomic_store_explicit(&st->lane, lane, memory_order_release);
    *ret_lane = lane;
    return true;
}

/* A file of no bytes has no write that would make it. */
static enum sp_err make_empty(struct sp_storage *st, uint32_t ix, struct fault *fault)
{
    struct open_file *f;
    enum sp_err err = sp_disk_fds_get(st, ix, true, &f, fault);
    if (err == SP_OK)
        sp_disk_fds_put(f);
    return err;
}

/* Notes what is there of one file, and decides where its bytes live. */
static enum sp_err open_one(struct worker *w, struct sp_disk_job *job, struct walker *k,
                            uint32_t ix, struct fault *fault)
{
    struct sp_storage *st = job->st;
    uint64_t len = file_len(st, ix);
    struct sp_disk_stat s = look(k, file_path(st, ix));

    if (s.kind == SP_FILE_REGULAR) {
        job->files_present++;
        job->bytes_present += s.size < len ? s.size : len;
    }
    job->files_odd += s.kind == SP_FILE_ODD;
    if (job->stats)
        job->stats[ix] = s;
    if (s.kind != SP_FILE_ABSENT)
        return SP_OK;
    if (!file_is(st, ix, FILE_WANTED)) {
        if (st->parts_name)
            st->files[ix].flags |= FILE_IN_PARTS;
        return SP_OK;
    }
    if (st->read_only)
        return SP_OK;
    if (len == 0)
        return make_empty(st, ix, fault);
    /* Selected while nobody was looking: what the parts file has of it moves. */
    if (st->parts.slot_count == 0)
        return SP_OK;
    enum sp_err err = sp_disk_parts_leave(w, st, ix, fault);
    s = look(k, file_path(st, ix)); /* as it is now: what has moved is there */
    if (job->stats)
        job->stats[ix] = s;
    if (s.kind == SP_FILE_REGULAR) {
        job->files_present++;
        job->bytes_present += s.size < len ? s.size : len;
    }
    return err;
}

static enum sp_err sync_all(struct sp_storage *st, struct fault *fault);

void sp_disk_run_open(struct worker *w, struct sp_disk_job *job)
{
    struct sp_storage *st = job->st;
    struct fault fault = {0};
    struct open_file *dir;

    job->files_present = job->files_odd = 0;
    job->bytes_present = job->free_bytes = 0;
    enum sp_err err = sp_disk_fds_get(st, SLOT_DIR(st), false, &dir, &fault);
    if (err != SP_OK)
        goto out;
    ask_space(job, dir->fd);
    err = sp_disk_parts_load(st, &fault);
    uint32_t had_slots = st->parts.slot_count;
    struct walker k = {.dir = dir->fd, .parent = -1};
    for (uint32_t ix = 0; err == SP_OK && ix < st->file_count; ix++) {
        st->files[ix].flags &= ~(uint32_t)FILE_IN_PARTS;
        if (job->stats)
            job->stats[ix] = (struct sp_disk_stat){.kind = SP_FILE_ABSENT};
        if (!file_is(st, ix, FILE_PAD))
            err = open_one(w, job, &k, ix, &fault);
    }
    sp_fd_close(&k.parent);
    sp_disk_fds_put(dir);
    if (err == SP_OK && had_slots && !st->read_only && (err = sync_all(st, &fault)) == SP_OK)
        sp_disk_parts_shrink(st);

out:
    if (err == SP_OK)
        return;
    sp_disk_fault_tell(&fault, err, job);
    sp_disk_run_close(job);
}

/* One directory's names. */
static bool sync_dir(int dir, const char *path)
{
    SP_FD fd = path[0] ? sp_path_open(dir, path, O_RDONLY | O_DIRECTORY, 0)
                       : openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    sp_may_block("fsync");
    /* EINVAL: the file system has no way to do it, and so nothing to do. */
    return fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
}

/* The directories from the one that holds path up to the storage's. */
static bool sync_parents(int dir, const char *path)
{
    char at[SP_PATH_MAX];
    char *slash;
    snprintf(at, sizeof(at), "%s", path);
    while ((slash = strrchr(at, '/')) != NULL) {
        *slash = '\0';
        if (!sync_dir(dir, at))
            return false;
    }
    return sync_dir(dir, "");
}

static const char *slot_name(const struct sp_storage *st, uint32_t slot)
{
    return slot == SLOT_PARTS(st) ? st->parts_name : file_path(st, slot);
}

static enum sp_err sync_slot(struct sp_storage *st, int dir, uint32_t slot, uint8_t marks,
                             const char **last, struct fault *fault)
{
    struct open_file *f;
    enum sp_err err = SP_OK;
    if (marks & DIRTY_DATA) {
        if ((err = sp_disk_fds_get(st, slot, false, &f, fault)) != SP_OK)
            return err;
        sp_may_block("fdatasync");
        if (fdatasync(f->fd) != 0)
            err = sp_disk_fault_set(fault, "syncing", slot);
        sp_disk_fds_put(f);
    }
    const char *path = slot_name(st, slot);
    if (err == SP_OK && (marks & DIRTY_NAME) && (!*last || !same_parent(*last, path))) {
        if (!sync_parents(dir, path))
            return sp_disk_fault_set(fault, "syncing the directory of", slot);
        *last = path;
    }
    return err;
}

static uint32_t count_dirty(struct sp_storage *st)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i <= SLOT_PARTS(st); i++)
        count += atomic_load_explicit(&st->dirty[i], memory_order_relaxed) != 0;
    return count;
}

/* Everything at once: other programs' data goes along, but one pass over the disk for thousands
 * of files is still the shorter way.  marks: room for one a slot. */
static enum sp_err sync_fs(struct sp_storage *st, int dir, uint8_t *marks, struct fault *fault)
{
    for (uint32_t i = 0; i <= SLOT_PARTS(st); i++)
        marks[i] = atomic_exchange(&st->dirty[i], 0);
    sp_may_block("syncfs");
    if (syncfs(dir) == 0)
        return SP_OK;
    enum sp_err err = sp_disk_fault_set(fault, "syncing", SLOT_DIR(st));
    for (uint32_t i = 0; i <= SLOT_PARTS(st); i++)
        atomic_fetch_or(&st->dirty[i], marks[i]);
    return err;
}

static enum sp_err sync_each(struct sp_storage *st, int dir, struct fault *fault)
{
    const char *last = NULL;
    enum sp_err err = SP_OK;
    for (uint32_t slot = 0; err == SP_OK && slot <= SLOT_PARTS(st); slot++) {
        if (atomic_load_explicit(&st->dirty[slot], memory_order_relaxed) == 0)
            continue;
        uint8_t marks = atomic_exchange(&st->dirty[slot], 0);
        err = sync_slot(st, dir, slot, marks, &last, fault);
        if (err != SP_OK)
            atomic_fetch_or(&st->dirty[slot], marks);
    }
    return err;
}

static enum sp_err sync_all(struct sp_storage *st, struct fault *fault)
{
    struct open_file *dir;
    enum sp_err err = sp_disk_fds_get(st, SLOT_DIR(st), false, &dir, fault);
    if (err != SP_OK)
        return err;
    pthread_mutex_lock(&st->sync_lock);
    uint8_t *marks = count_dirty(st) > SYNC_FILES_MAX ? malloc((size_t)st->file_count + 2) : NULL;
    err = marks ? sync_fs(st, dir->fd, marks, fault) : sync_each(st, dir->fd, fault);
    free(marks);
    pthread_mutex_unlock(&st->sync_lock);
    sp_disk_fds_put(dir);
    return err;
}

void sp_disk_run_sync(struct sp_disk_job *job)
{
    struct fault fault = {0};
    enum sp_err err = sync_all(job->st, &fault);
    if (err != SP_OK)
        sp_disk_fault_tell(&fault, err, job);
}

/* Reserves the next bytes of a file from job->off on; true when the file is done. */
static bool allocate_some(struct sp_disk_job *job, uint32_t ix, uint64_t *budget)
{
    struct sp_storage *st = job->st;
    struct fault fault = {0};
    struct open_file *f;
    uint64_t left = file_len(st, ix) - job->off, n = left < *budget ? left : *budget;

    enum sp_err err = sp_disk_fds_get(st, ix, true, &f, &fault);
    if (err != SP_OK) {
        sp_disk_fault_tell(&fault, err, job);
        return true;
    }
    sp_may_block("fallocate");
    int sys = 0;
    while (fallocate(f->fd, 0, (off_t)job->off, (off_t)n) != 0 && (sys = errno) == EINTR)
        sys = 0;
    atomic_fetch_or(&st->dirty[ix], DIRTY_DATA);
    sp_disk_fds_put(f);
    job->off += n;
    *budget -= n;
    if (sys == EOPNOTSUPP)
        return true; /* cannot be had here: the file has its length, that is all */
    if (sys != 0) {
        errno = sys;
        sp_disk_fault_tell(&fault, sp_disk_fault_set(&fault, "reserving room for", ix), job);
        return true;
    }
    return n == left;
}

bool sp_disk_run_allocate_slice(struct sp_disk_job *job)
{
    struct sp_storage *st = job->st;
    uint64_t budget = ALLOCATE_STEP;

    if (st->alloc != SP_ALLOC_FULL)
        return false;
    for (int files = 0; job->claimed < st->file_count && budget > 0 && files < ALLOCATE_FILES_MAX;
         files++) {
        uint32_t ix = job->claimed;
        if (file_is(st, ix, FILE_WANTED) && !file_is(st, ix, FILE_PAD) && file_len(st, ix) > 0 &&
            !allocate_some(job, ix, &budget))
            continue;
        if (job->err != SP_OK)
            return false;
        job->claimed++;
        job->off = 0;
    }
    return job->claimed < st->file_count;
}

static enum sp_err select_one(struct worker *w, struct sp_storage *st, struct walker *k,
                              uint32_t ix, bool wanted, struct fault *fault)
{
    struct file *f = &st->files[ix];
    enum sp_err err = SP_OK;
    if (wanted && file_is(st, ix, FILE_IN_PARTS))
        err = sp_disk_parts_leave(w, st, ix, fault);
    if (wanted && err == SP_OK && file_len(st, ix) == 0 && !st->read_only)
        err = make_empty(st, ix, fault);
    if (err != SP_OK)
        return err;
    f->flags = wanted ? f->flags | FILE_WANTED : f->flags & ~(uint32_t)FILE_WANTED;
    if (!wanted && st->parts_name && look(k, file_path(st, ix)).kind == SP_FILE_ABSENT)
        f->flags |= FILE_IN_PARTS;
    return SP_OK;
}

void sp_disk_run_select(struct worker *w, struct sp_disk_job *job)
{
    struct sp_storage *st = job->st;
    struct fault fault = {0};
    struct open_file *dir;

    enum sp_err err = sp_disk_fds_get(st, SLOT_DIR(st), false, &dir, &fault);
    if (err != SP_OK) {
        sp_disk_fault_tell(&fault, err, job);
        return;
    }
    struct walker k = {.dir = dir->fd, .parent = -1};
    for (uint32_t ix = 0; err == SP_OK && ix < st->file_count; ix++) {
        if (!file_is(st, ix, FILE_PAD) && file_is(st, ix, FILE_WANTED) != job->wanted[ix])
            err = select_one(w, st, &k, ix, job->wanted[ix], &fault);
    }
    sp_fd_close(&k.parent);
    sp_disk_fds_put(dir);
    /* What has moved is durable in its new place before the old one goes. */
    if (err == SP_OK && st->parts.slot_count && (err = sync_all(st, &fault)) == SP_OK)
        sp_disk_parts_shrink(st);
    if (err != SP_OK)
        sp_disk_fault_tell(&fault, err, job);
}

void sp_disk_run_space(struct sp_disk_job *job)
{
    struct fault fault = {0};
    struct open_file *dir;
    enum sp_err err = sp_disk_fds_get(job->st, SLOT_DIR(job->st), false, &dir, &fault);
    if (err != SP_OK) {
        sp_disk_fault_tell(&fault, err, job);
        return;
    }
    ask_space(job, dir->fd);
    sp_disk_fds_put(dir);
}

void sp_disk_run_close(struct sp_disk_job *job)
{
    struct sp_storage *st = job->st;
    sp_disk_fds_forget(st);
    sp_disk_parts_done(st);
    st->ino = 0;
    atomic_store_explicit(&st->lane, NULL, memory_order_release);
}

/* Removes the directories of a path that are empty by now, the deepest first. */
static void remove_empty_dirs(int dir, const char *path)
{
    char at[SP_PATH_MAX];
    const char *name;
    char *slash;
    snprintf(at, sizeof(at), "%s", path);
    while ((slash = strrchr(at, '/')) != NULL) {
        *slash = '\0';
        SP_FD parent = sp_path_parent(dir, at, &name);
        if (parent < 0 || unlinkat(parent, name, AT_REMOVEDIR) != 0)
            return; /* not empty: nor are those above */
    }
}

static enum sp_err delete_file(struct walker *k, uint32_t slot, const char *path,
                               struct fault *fault)
{
    /* Only what a storage would have made: a symlink or directory there is somebody else's. */
    if (look(k, path).kind != SP_FILE_REGULAR || unlinkat(k->parent, k->name, 0) == 0 ||
        errno == ENOENT)
        return SP_OK;
    return sp_disk_fault_set(fault, "deleting", slot);
}

static enum sp_err delete_all(struct sp_storage *st, int dir, struct fault *fault)
{
    struct walker k = {.dir = dir, .parent = -1};
    enum sp_err err = SP_OK, one;
    const char *last = NULL;

    sp_may_block("unlink");
    for (uint32_t ix = 0; ix < st->file_count; ix++) {
        if (!file_is(st, ix, FILE_PAD) &&
            (one = delete_file(&k, ix, file_path(st, ix), fault)) != SP_OK)
            err = one;
    }
    if (st->parts_name && (one = delete_file(&k, SLOT_PARTS(st), st->parts_name, fault)) != SP_OK)
        err = one;
    sp_fd_close(&k.parent);
    for (uint32_t ix = st->file_count; ix-- > 0;) {
        if (file_is(st, ix, FILE_PAD) || (last && same_parent(last, file_path(st, ix))))
            continue;
        last = file_path(st, ix);
        remove_empty_dirs(dir, last);
    }
    return err;
}

void sp_disk_run_delete(struct sp_disk_job *job)
{
    struct sp_storage *st = job->st;
    struct fault fault = {0};
    struct open_file *dir;
    enum sp_err err;

    if (st->read_only) {
        err = sp_disk_fault_say(&fault, SP_EACCES, "deleting", SLOT_DIR(st),
                                "the torrent is read-only");
    } else if ((err = sp_disk_fds_get(st, SLOT_DIR(st), false, &dir, &fault)) == SP_OK) {
        /* A network file system keeps the names of open files. */
        for (uint32_t ix = 0; ix < st->file_count; ix++)
            sp_disk_fds_forget_slot(st, ix);
        sp_disk_fds_forget_slot(st, SLOT_PARTS(st));
        err = delete_all(st, dir->fd, &fault);
        sp_disk_fds_put(dir);
        for (uint32_t slot = 0; slot <= SLOT_PARTS(st); slot++)
            atomic_store(&st->dirty[slot], 0);
    }
    if (err != SP_OK)
        sp_disk_fault_tell(&fault, err, job);
    sp_disk_run_close(job);
}
