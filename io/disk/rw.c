/* rw.c - spans of a torrent to and from its files.
 *
 * A long write is cut in three where the file's 4096-byte blocks begin and end:
 *
 *   off            A                                B         off + len
 *   |-- buffered --|------------- direct -----------|-- buffered --|
 *
 * so that the two kinds never meet in one page.  Where buffers and blocks do
 * not line up (a file that begins in the middle of a block, as nearly all in a
 * torrent of many files), the direct part goes through a bounce buffer: a copy
 * costs a twentieth of what the page cache does.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "io/base/blocking.h"
#include "io/disk/impl.h"

enum { AHEAD = 256 << 10, AHEAD_ROTATIONAL = 1 << 20 };

bool sp_disk_iov_covers(const struct sp_iov *iov, uint32_t count, uint64_t off, uint64_t total,
                        uint64_t *ret_len)
{
    uint64_t len = 0, end;
    for (uint32_t i = 0; i < count; i++) {
        if (__builtin_add_overflow(len, iov[i].len, &len))
            return false;
    }
    if (__builtin_add_overflow(off, len, &end) || end > total)
        return false;
    *ret_len = len;
    return true;
}

/* Moves n bytes on; n is not more than what is left. */
static void cur_skip(struct iov_cur *cur, uint64_t n)
{
    while (n > 0) {
        size_t here = cur->iov->len - cur->skip;
        if (n < here) {
            cur->skip += n;
            return;
        }
        n -= here;
        cur->iov++;
        cur->left--;
        cur->skip = 0;
    }
}

/* The next at most len bytes as the system wants them; gives the count of entries. */
static int cur_fill(const struct iov_cur *cur, uint64_t len, struct iovec v[IOV_BATCH])
{
    int n = 0;
    size_t skip = cur->skip;
    for (uint32_t i = 0; i < cur->left && n < IOV_BATCH && len > 0; i++, skip = 0) {
        size_t here = cur->iov[i].len - skip;
        if (here > len)
            here = len;
        uint8_t *ptr = cur->iov[i].ptr + skip;
        len -= here;
        if (here == 0)
            continue;
        if (n > 0 && (uint8_t *)v[n - 1].iov_base + v[n - 1].iov_len == ptr)
            v[n - 1].iov_len += here;
        else
            v[n++] = (struct iovec){.iov_base = ptr, .iov_len = here};
    }
    return n;
}

static void cur_zero(struct iov_cur *cur, uint64_t len)
{
    struct iovec v[IOV_BATCH];
    while (len > 0) {
        int n = cur_fill(cur, len, v);
        uint64_t done = 0;
        for (int i = 0; i < n; i++) {
            memset(v[i].iov_base, 0, v[i].iov_len);
            done += v[i].iov_len;
        }
        cur_skip(cur, done);
        len -= done;
    }
}

static void cur_copy_out(struct iov_cur *cur, uint8_t *to, size_t len)
{
    struct iovec v[IOV_BATCH];
    while (len > 0) {
        int n = cur_fill(cur, len, v);
        size_t done = 0;
        for (int i = 0; i < n; i++) {
            memcpy(to + done, v[i].iov_base, v[i].iov_len);
            done += v[i].iov_len;
        }
        cur_skip(cur, done);
        to += done;
        len -= done;
    }
}

/* Can the next len bytes be handed to a direct descriptor as they lie? */
static bool cur_is_aligned(const struct iov_cur *cur, uint64_t len)
{
    size_t skip = cur->skip;
    for (uint32_t i = 0; i < cur->left && len > 0; i++, skip = 0) {
        size_t here = cur->iov[i].len - skip;
        if (here > len)
            here = len;
        if (((uintptr_t)(cur->iov[i].ptr + skip) | here) % ALIGN != 0)
            return false;
        len -= here;
    }
    return true;
}

static int move_all(int fd, struct iov_cur *cur, uint64_t off, uint64_t len, bool write,
                    uint64_t *ret_done)
{
    struct iovec v[IOV_BATCH];
    *ret_done = 0;
    sp_may_block(write ? "pwritev" : "preadv");
    while (len > 0) {
        int n = cur_fill(cur, len, v);
        ssize_t r = write ? pwritev(fd, v, n, (off_t)off) : preadv(fd, v, n, (off_t)off);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return errno;
        if (r == 0)
            return write ? EIO : -1;
        cur_skip(cur, (uint64_t)r);
        off += (uint64_t)r;
        len -= (uint64_t)r;
        *ret_done += (uint64_t)r;
    }
    return 0;
}

int sp_disk_read_all(int fd, struct iov_cur *cur, uint64_t off, uint64_t len, uint64_t *ret_done)
{
    return move_all(fd, cur, off, len, false, ret_done);
}

int sp_disk_write_all(int fd, struct iov_cur *cur, uint64_t off, uint64_t len, uint64_t *ret_done)
{
    return move_all(fd, cur, off, len, true, ret_done);
}

/* Direct through the bounce buffer; off and len are aligned. */
static int write_bounced(struct worker *w, int fd, struct iov_cur *cur, uint64_t off, uint64_t len,
                         uint64_t *ret_done)
{
    *ret_done = 0;
    if (!w->bounce && !(w->bounce = aligned_alloc(ALIGN, BOUNCE_LEN)))
        return 0;
    while (len > 0) {
        size_t n = len < BOUNCE_LEN ? (size_t)len : BOUNCE_LEN;
        struct iov_cur ahead = *cur;
        cur_copy_out(&ahead, w->bounce, n);
        struct sp_iov iov = {.ptr = w->bounce, .len = n};
        struct iov_cur one = {.iov = &iov, .left = 1};
        uint64_t done;
        int sys = sp_disk_write_all(fd, &one, off, n, &done);
        cur_skip(cur, done);
        *ret_done += done;
        if (sys != 0)
            return sys;
        off += n;
        len -= n;
    }
    return 0;
}

/* The direct part [off, off + len), aligned.  What it leaves undone is the caller's to write
 * buffered: ret_done tells. */
static int write_direct(struct worker *w, struct open_file *f, struct iov_cur *cur, uint64_t off,
                        uint64_t len, uint64_t *ret_done)
{
    *ret_done = 0;
    int fd = sp_disk_fds_direct(f), sys = 0;
    if (fd < 0 && errno != EINVAL)
        return 0;
    if (fd < 0)
        sys = EINVAL;
    else if (cur_is_aligned(cur, len))
        sys = sp_disk_write_all(fd, cur, off, len, ret_done);
    else
        sys = write_bounced(w, fd, cur, off, len, ret_done);
    atomic_fetch_add_explicit(&f->st->disk->direct_bytes, *ret_done, memory_order_relaxed);
    /* The file system does not do it, or its blocks are larger than ours: do not ask again. */
    if (sys == EINVAL) {
        atomic_store(&w->lane->direct, false);
        return 0;
    }
    return sys;
}

static int write_file(struct worker *w, struct open_file *f, struct iov_cur *cur, uint64_t off,
                      uint64_t len)
{
    uint64_t a = (off + ALIGN - 1) / ALIGN * ALIGN, b = (off + len) / ALIGN * ALIGN, done;
    int sys;

    if (atomic_load_explicit(&w->lane->direct, memory_order_relaxed) && b > a &&
        b - a >= w->lane->direct_min) {
        if ((sys = sp_disk_write_all(f->fd, cur, off, a - off, &done)) != 0)
            return sys;
        if ((sys = write_direct(w, f, cur, a, b - a, &done)) != 0)
            return sys;
        len -= a - off + done;
        off = a + done;
    }
    return sp_disk_write_all(f->fd, cur, off, len, &done);
}

enum sp_err sp_disk_write_part(struct worker *w, struct sp_storage *st, uint32_t ix, uint64_t off,
                               struct iov_cur *cur, uint64_t len, struct fault *fault)
{
    struct open_file *f;
    enum sp_err err = sp_disk_fds_get(st, ix, true, &f, fault);
    if (err != SP_OK)
        return err;
    int sys = write_file(w, f, cur, off, len);
    /* Behind the write: a SYNC that comes between must not take the mark away. */
    atomic_fetch_or(&st->dirty[ix], DIRTY_DATA);
    sp_disk_fds_put(f);
    if (sys == 0) {
        atomic_fetch_add_explicit(&st->disk->written_bytes, len, memory_order_relaxed);
        return SP_OK;
    }
    errno = sys;
    return sp_disk_fault_set(fault, "writing", ix);
}

static enum sp_err read_part(struct sp_storage *st, uint32_t ix, uint64_t off, struct iov_cur *cur,
                             uint64_t len, struct fault *fault)
{
    struct open_file *f;
    uint64_t done;
    enum sp_err err = sp_disk_fds_get(st, ix, false, &f, fault);
    if (err != SP_OK)
        return err;
    int sys = sp_disk_read_all(f->fd, cur, off, len, &done);
    sp_disk_fds_put(f);
    if (sys < 0)
        return sp_disk_fault_say(fault, SP_EIO, "reading", ix,
                                 "the file is shorter than it should be");
    errno = sys;
    return sys == 0 ? SP_OK : sp_disk_fault_set(fault, "reading", ix);
}

/* The file at off, the place in it and how much of len lies in it. */
static uint32_t next_span(const struct sp_storage *st, uint64_t off, uint64_t len, uint64_t *ret_at,
                          uint64_t *ret_n)
{
    uint32_t ix = sp_disk_storage_find(st, off);
    uint64_t left = st->files[ix + 1].off - off;
    *ret_at = off - st->files[ix].off;
    *ret_n = left < len ? left : len;
    return ix;
}

enum sp_err sp_disk_read_span(struct sp_storage *st, uint64_t off, struct iov_cur *cur,
                              uint64_t len, struct fault *fault)
{
    enum sp_err err = SP_OK;
    for (uint64_t at, n; err == SP_OK && len > 0; off += n, len -= n) {
        uint32_t ix = next_span(st, off, len, &at, &n);
        if (file_is(st, ix, FILE_PAD))
            cur_zero(cur, n);
        else if (file_is(st, ix, FILE_IN_PARTS))
            err = sp_disk_parts_read(st, off, cur, n, fault);
        else
            err = read_part(st, ix, at, cur, n, fault);
    }
    return err;
}

enum sp_err sp_disk_write_span(struct worker *w, struct sp_storage *st, uint64_t off,
                               struct iov_cur *cur, uint64_t len, struct fault *fault)
{
    enum sp_err err = SP_OK;
    for (uint64_t at, n; err == SP_OK && len > 0; off += n, len -= n) {
        uint32_t ix = next_span(st, off, len, &at, &n);
        if (file_is(st, ix, FILE_PAD))
            cur_skip(cur, n);
        else if (file_is(st, ix, FILE_IN_PARTS))
            err = sp_disk_parts_write(st, off, cur, n, fault);
        else
            err = sp_disk_write_part(w, st, ix, at, cur, n, fault);
    }
    return err;
}

/* Who asks for a block asks for the rest of its piece next: the disk is told at once, so that it
 * moves once a piece and the next blocks are found hot.  Never beyond the piece, whose neighbour
 * may be about to be written past the cache. */
static void read_ahead(struct worker *w, struct sp_storage *st, uint64_t off, uint64_t len)
{
    uint64_t window = w->lane->rotational ? AHEAD_ROTATIONAL : AHEAD;
    uint64_t end = ((off + len - 1) / st->piece_len + 1) * st->piece_len, at, n;
    struct open_file *f;
    struct fault fault;

    if (w->lane->in_memory || len >= window)
        return;
    if (end - off > window)
        end = off + window;
    if (end > st->total_len)
        end = st->total_len;
    uint32_t ix = next_span(st, off, end - off, &at, &n);
    if (n <= len || (st->files[ix].flags & (FILE_PAD | FILE_IN_PARTS)) ||
        sp_disk_fds_get(st, ix, false, &f, &fault) != SP_OK)
        return;
    sp_may_block("readahead");
    (void)posix_fadvise(f->fd, (off_t)at, (off_t)n, POSIX_FADV_WILLNEED);
    sp_disk_fds_put(f);
}

void sp_disk_run_read(struct worker *w, struct sp_disk_job *job)
{
    struct iov_cur cur = {.iov = job->iov, .left = job->iov_count};
    struct fault fault = {0};
    uint64_t len;
    if (!sp_disk_iov_covers(job->iov, job->iov_count, job->off, job->st->total_len, &len)) {
        job->err = SP_EINVAL;
        return;
    }
    if (len > 0)
        read_ahead(w, job->st, job->off, len);
    enum sp_err err = sp_disk_read_span(job->st, job->off, &cur, len, &fault);
    if (err != SP_OK)
        sp_disk_fault_tell(&fault, err, job);
    else
        atomic_fetch_add_explicit(&w->lane->disk->read_bytes, len, memory_order_relaxed);
}

void sp_disk_run_write(struct worker *w, struct sp_disk_job *job)
{
    struct iov_cur cur = {.iov = job->iov, .left = job->iov_count};
    struct fault fault = {0};
    uint64_t len;
    if (!sp_disk_iov_covers(job->iov, job->iov_count, job->off, job->st->total_len, &len)) {
        job->err = SP_EINVAL;
        return;
    }
    enum sp_err err = sp_disk_write_span(w, job->st, job->off, &cur, len, &fault);
    if (err != SP_OK)
        sp_disk_fault_tell(&fault, err, job);
}

/* All of len without waiting, or false. */
static bool read_hot(struct sp_storage *st, struct lane *lane, uint32_t ix, struct iov_cur *cur,
                     uint64_t off, uint64_t len)
{
    struct iovec v[IOV_BATCH];
    struct open_file *f = sp_disk_fds_find(st, ix, false);
    bool ok = f != NULL;
    while (ok && len > 0) {
        int n = cur_fill(cur, len, v);
        ssize_t r = lane->in_memory ? preadv(f->fd, v, n, (off_t)off)
                                    : preadv2(f->fd, v, n, (off_t)off, RWF_NOWAIT);
        ok = r > 0;
        if (ok) {
            cur_skip(cur, (uint64_t)r);
            off += (uint64_t)r;
            len -= (uint64_t)r;
        }
    }
    if (f)
        sp_disk_fds_put_later(st->disk, f);
    return ok;
}

enum sp_err sp_disk_try_read(struct sp_storage *st, uint64_t off, const struct sp_iov *iov,
                             uint32_t iov_count)
{
    struct lane *lane = atomic_load_explicit(&st->lane, memory_order_acquire);
    struct iov_cur cur = {.iov = iov, .left = iov_count};
    uint64_t total;
    if (!sp_disk_iov_covers(iov, iov_count, off, st->total_len, &total))
        return SP_EINVAL;
    if (!lane)
        return SP_AGAIN;

    uint64_t len = total;
    for (uint64_t at, n; len > 0; off += n, len -= n) {
        uint32_t ix = next_span(st, off, len, &at, &n);
        if (file_is(st, ix, FILE_PAD))
            cur_zero(&cur, n);
        else if (file_is(st, ix, FILE_IN_PARTS) || !read_hot(st, lane, ix, &cur, at, n))
            return SP_AGAIN;
    }
    atomic_fetch_add_explicit(&st->disk->read_bytes, total, memory_order_relaxed);
    atomic_fetch_add_explicit(&st->disk->hot_bytes, total, memory_order_relaxed);
    return SP_OK;
}
