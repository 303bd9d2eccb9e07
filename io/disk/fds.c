/* fds.c - the open files of all storages, at most so many.
 *
 * The least recently used that nobody is using goes first; when all are in use
 * the limit is exceeded by those, which are never more than threads times two.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "io/base/blocking.h"
#include "io/base/fd.h"
#include "io/disk/impl.h"
#include "io/disk/path.h"

void sp_disk_fds_init(struct fds *c, uint32_t max)
{
    *c = (struct fds){.max = max};
    pthread_mutex_init(&c->lock, NULL);
}

void sp_disk_fds_done(struct fds *c)
{
    pthread_mutex_destroy(&c->lock);
}

static void unlink_lru(struct fds *c, struct open_file *f)
{
    *(f->newer ? &f->newer->older : &c->newest) = f->older;
    *(f->older ? &f->older->newer : &c->oldest) = f->newer;
    f->newer = f->older = NULL;
}

static void link_newest(struct fds *c, struct open_file *f)
{
    f->older = c->newest;
    f->newer = NULL;
    *(c->newest ? &c->newest->newer : &c->oldest) = f;
    c->newest = f;
}

static void destroy(struct fds *c, struct open_file *f)
{
    sp_may_block("close");
    uint32_t count = f->direct_fd >= 0 ? 2 : 1;
    sp_fd_close(&f->fd);
    sp_fd_close(&f->direct_fd);
    pthread_mutex_lock(&c->lock);
    c->count -= count;
    pthread_mutex_unlock(&c->lock);
    free(f);
}

/* Takes it out of the table; the caller then drops the table's reference. */
static void detach(struct fds *c, struct open_file *f)
{
    unlink_lru(c, f);
    f->st->slots[f->slot] = NULL;
}

static bool drop(struct open_file *f)
{
    return atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1;
}

void sp_disk_fds_put(struct open_file *f)
{
    struct fds *c = &f->st->disk->fds;
    if (drop(f))
        destroy(c, f);
}

void sp_disk_fds_put_later(struct sp_disk *d, struct open_file *f)
{
    if (!drop(f))
        return;
    pthread_mutex_lock(&d->fds.lock);
    f->older = d->fds.dead;
    d->fds.dead = f;
    pthread_mutex_unlock(&d->fds.lock);
    atomic_store(&d->fds.has_dead, true);
}

void sp_disk_fds_reap(struct sp_disk *d)
{
    if (!atomic_exchange(&d->fds.has_dead, false))
        return;
    pthread_mutex_lock(&d->fds.lock);
    struct open_file *f = d->fds.dead;
    d->fds.dead = NULL;
    pthread_mutex_unlock(&d->fds.lock);
    while (f) {
        struct open_file *next = f->older;
        destroy(&d->fds, f);
        f = next;
    }
}

/* The oldest that only the table holds, detached; NULL when there is none.  Under the lock a
 * count of 1 cannot rise, since references are taken under it. */
static struct open_file *victim(struct fds *c)
{
    for (struct open_file *f = c->oldest; f; f = f->newer) {
        if (atomic_load_explicit(&f->refs, memory_order_acquire) == 1) {
            detach(c, f);
            return f;
        }
    }
    return NULL;
}

/* Closes old files until at most max are open, or all that are left are in use. */
static void shrink(struct fds *c, uint32_t max)
{
    for (;;) {
        pthread_mutex_lock(&c->lock);
        struct open_file *f = c->count > max ? victim(c) : NULL;
        pthread_mutex_unlock(&c->lock);
        if (!f)
            return;
        if (drop(f))
            destroy(c, f);
    }
}

struct open_file *sp_disk_fds_find(struct sp_storage *st, uint32_t slot, bool write)
{
    struct fds *c = &st->disk->fds;
    pthread_mutex_lock(&c->lock);
    struct open_file *f = st->slots[slot];
    if (f && write && !f->writable)
        f = NULL;
    if (f) {
        atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
        if (c->newest != f) {
            unlink_lru(c, f);
            link_newest(c, f);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return f;
}

static enum sp_err open_dir(struct sp_storage *st, int *ret_fd, struct fault *fault)
{
    sp_may_block("open");
    SP_FD fd = open(st->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat s;
    if (fd < 0 || fstat(fd, &s) != 0)
        return sp_disk_fault_set(fault, "opening", SLOT_DIR(st));
    /* A disk that was unmounted leaves an empty directory of the same name: nothing must be
     * made there. */
    if (st->ino != 0 && (s.st_dev != st->dev || s.st_ino != st->ino))
        return sp_disk_fault_say(fault, SP_ENOENT, "opening", SLOT_DIR(st),
                                 "is another directory than before (unmounted, or replaced)");
    if (st->ino == 0) {
        st->dev = s.st_dev;
        st->ino = s.st_ino;
    }
    *ret_fd = sp_fd_take(&fd);
    return SP_OK;
}

/* O_NONBLOCK: opening a planted FIFO must not wait for its other end. */
static int open_or_make(struct sp_storage *st, int dir, const char *path, bool write, mode_t mode,
                        bool *ret_made)
{
    const int base = (write ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY;
    int fd = sp_path_open(dir, path, base, 0);
    if (fd >= 0 || errno != ENOENT || !write || st->read_only)
        return fd;
    for (int tries = 0; tries < 3; tries++) {
        fd = sp_path_open(dir, path, base | O_CREAT | O_EXCL, mode);
        if (fd >= 0)
            *ret_made = true;
        if (fd >= 0 || (errno != ENOENT && errno != EEXIST))
            return fd;
        if (errno == EEXIST) {
            if ((fd = sp_path_open(dir, path, base, 0)) >= 0 || errno != ENOENT)
                return fd;
        } else if (!sp_path_make_parents(dir, path)) {
            return -1;
        }
    }
    return -1;
}

static const char *slot_path(const struct sp_storage *st, uint32_t slot)
{
    return slot == SLOT_PARTS(st) ? st->parts_name : file_path(st, slot);
}

/* Is it a file, and of its length?  Files get their length at once: a hole costs nothing, and a
 * direct write inside the length need not change it. */
static bool fit(struct sp_storage *st, uint32_t slot, int fd, bool write)
{
    struct stat s;
    if (fstat(fd, &s) != 0)
        return false;
    if (!S_ISREG(s.st_mode)) {
        errno = S_ISDIR(s.st_mode) ? EISDIR : EACCES;
        return false;
    }
    if (!write || slot >= st->file_count)
        return true;
    off_t want = (off_t)file_len(st, slot);
    return s.st_size == want || ftruncate(fd, want) == 0;
}

static enum sp_err open_file_at(struct sp_storage *st, uint32_t slot, int dir, bool write,
                                int *ret_fd, struct fault *fault)
{
    bool made = false;
    mode_t mode = slot < st->file_count && file_is(st, slot, FILE_EXECUTABLE) ? 0777 : 0666;
    SP_FD fd = open_or_make(st, dir, slot_path(st, slot), write, mode, &made);

    if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
        shrink(&st->disk->fds, 0);
        fd = open_or_make(st, dir, slot_path(st, slot), write, mode, &made);
    }
    if (made)
        atomic_fetch_or(&st->dirty[slot], DIRTY_NAME | DIRTY_DATA);
    if (fd < 0 || !fit(st, slot, fd, write))
        return sp_disk_fault_set(fault, write ? "opening for writing" : "opening", slot);
    /* Read-ahead into what is being written by direct I/O only makes pages to throw away. */
    if (write)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    *ret_fd = sp_fd_take(&fd);
    return SP_OK;
}

static enum sp_err open_slot(struct sp_storage *st, uint32_t slot, bool write, int *ret_fd,
                             struct fault *fault)
{
    struct open_file *dir;
    if (slot == SLOT_DIR(st))
        return open_dir(st, ret_fd, fault);
    if (write && st->read_only)
        return sp_disk_fault_say(fault, SP_EACCES, "opening for writing", slot,
                                 "the torrent is read-only");
    enum sp_err err = sp_disk_fds_get(st, SLOT_DIR(st), false, &dir, fault);
    if (err != SP_OK)
        return err;
    err = open_file_at(st, slot, dir->fd, write, ret_fd, fault);
    sp_disk_fds_put(dir);
    return err;
}

/* Puts a fresh one into the table, or takes what another thread put there meanwhile.  ret_old
 * is what must be dropped. */
static struct open_file *publish(struct fds *c, struct open_file *f, struct open_file **ret_old)
{
    struct sp_storage *st = f->st;
    pthread_mutex_lock(&c->lock);
    struct open_file *there = st->slots[f->slot];
    c->count++;
    *ret_old = there;
    if (there && (there->writable || !f->writable)) {
        atomic_fetch_add_explicit(&there->refs, 1, memory_order_relaxed);
        *ret_old = f;
        f = there;
    } else {
        if (there)
            detach(c, there);
        atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
        st->slots[f->slot] = f;
        link_newest(c, f);
    }
    pthread_mutex_unlock(&c->lock);
    return f;
}

enum sp_err sp_disk_fds_get(struct sp_storage *st, uint32_t slot, bool write,
                            struct open_file **ret_f, struct fault *fault)
{
    struct fds *c = &st->disk->fds;
    struct open_file *f = sp_disk_fds_find(st, slot, write), *old;
    if (f) {
        *ret_f = f;
        return SP_OK;
    }
    int fd = -1;
    enum sp_err err = open_slot(st, slot, write, &fd, fault);
    if (err != SP_OK)
        return err;
    f = malloc(sizeof(*f));
    if (!f) {
        sp_fd_close(&fd);
        errno = ENOMEM;
        return sp_disk_fault_set(fault, "opening", slot);
    }
    *f = (struct open_file){
        .st = st, .slot = slot, .fd = fd, .direct_fd = -1, .writable = write, .refs = 1};
    atomic_fetch_add_explicit(&st->disk->opens, 1, memory_order_relaxed);
    f = publish(c, f, &old);
    if (old && drop(old))
        destroy(c, old);
    shrink(c, c->max);
    *ret_f = f;
    return SP_OK;
}

int sp_disk_fds_direct(struct open_file *f)
{
    struct sp_storage *st = f->st;
    struct fds *c = &st->disk->fds;
    struct fault fault;
    struct open_file *dir;

    pthread_mutex_lock(&c->lock);
    int fd = f->direct_fd;
    pthread_mutex_unlock(&c->lock);
    if (fd >= 0 || f->slot >= st->file_count)
        return fd;

    if (sp_disk_fds_get(st, SLOT_DIR(st), false, &dir, &fault) != SP_OK)
        return -1;
    SP_FD fresh = sp_path_open(dir->fd, file_path(st, f->slot),
                               (f->writable ? O_RDWR : O_RDONLY) | O_DIRECT | O_NONBLOCK, 0);
    sp_disk_fds_put(dir);
    /* The name may lead elsewhere by now: both must be the same file. */
    struct stat a, b;
    if (fresh < 0 || fstat(fresh, &a) != 0 || fstat(f->fd, &b) != 0 || a.st_ino != b.st_ino ||
        a.st_dev != b.st_dev)
        return -1;

    pthread_mutex_lock(&c->lock);
    if (f->direct_fd < 0) {
        f->direct_fd = sp_fd_take(&fresh);
        c->count++;
    }
    fd = f->direct_fd;
    pthread_mutex_unlock(&c->lock);
    shrink(c, c->max);
    return fd;
}

void sp_disk_fds_forget_slot(struct sp_storage *st, uint32_t slot)
{
    struct fds *c = &st->disk->fds;
    pthread_mutex_lock(&c->lock);
    struct open_file *f = st->slots[slot];
    if (f)
        detach(c, f);
    pthread_mutex_unlock(&c->lock);
    if (f && drop(f))
        destroy(c, f);
}

void sp_disk_fds_forget(struct sp_storage *st)
{
    for (uint32_t slot = 0; slot <= SLOT_PARTS(st); slot++)
        sp_disk_fds_forget_slot(st, slot);
    sp_disk_fds_reap(st->disk);
}
