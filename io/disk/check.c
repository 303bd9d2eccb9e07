/* check.c - CHECK: pieces from the disk through the hash kernels.
 *
 * A slice is some pieces in a row, read at once into one buffer and hashed
 * together, as many as the widest kernel takes.  What is not in the page cache
 * is read past it, so that checking a terabyte does not evict the user's data.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io/disk/impl.h"
#include "io/hash/hash.h"

enum {
    SLICE_LEN_MAX = 16 << 20,
    SLICE_PIECES_MAX = 16,
    STREAM_STEP = 4 << 20, /* a piece longer than a slice is hashed in such steps */
    DIRECT_READ_MIN = 256 << 10,
};

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

/* As in the kernel's mman.h since 6.5. */
struct cache_range {
    uint64_t off, len;
};
struct cache_stat {
    uint64_t cached, dirty, writeback, evicted, recently_evicted; /* pages */
};

/* Is little of the range in memory?  An older kernel is asked for a byte of its middle. */
static bool is_cold(int fd, uint64_t off, uint64_t len)
{
    struct cache_range range = {off, len};
    struct cache_stat s;
    uint8_t byte;
    struct iovec v = {&byte, 1};
    if (syscall(SYS_cachestat, fd, &range, &s, 0) == 0)
        return s.cached < len / ALIGN / 4;
    return preadv2(fd, &v, 1, (off_t)(off + len / 2), RWF_NOWAIT) < 0 && errno == EAGAIN;
}

uint32_t sp_disk_check_slice(const struct sp_storage *st)
{
    uint32_t batch = sp_hash_best_batch(), fits = SLICE_LEN_MAX / st->piece_len;
    if (batch > SLICE_PIECES_MAX)
        batch = SLICE_PIECES_MAX;
    if (batch < 4)
        batch = 4; /* fewer, longer reads even where hashing gains nothing */
    return fits == 0 ? 1 : fits < batch ? fits : batch;
}

static uint8_t *get_buffer(struct worker *w, size_t len)
{
    if (w->batch_len >= len)
        return w->batch;
    free(w->batch);
    w->batch = aligned_alloc(ALIGN, (len + ALIGN - 1) / ALIGN * ALIGN);
    w->batch_len = w->batch ? len : 0;
    return w->batch;
}

/* Direct reads of the part of a file that lines up with the buffer.  False, and nothing lost,
 * when it is not to be: the caller reads all of it buffered. */
static bool read_direct(struct worker *w, struct sp_storage *st, uint32_t ix, uint64_t at,
                        uint8_t *to, uint64_t len)
{
    struct open_file *f;
    struct fault fault;
    uint64_t a = (at + ALIGN - 1) / ALIGN * ALIGN, b = (at + len) / ALIGN * ALIGN, done;
    bool ok = false;

    if (b <= a || b - a < DIRECT_READ_MIN || ((uintptr_t)to + (a - at)) % ALIGN != 0 ||
        !atomic_load_explicit(&w->lane->direct, memory_order_relaxed) ||
        sp_disk_fds_get(st, ix, false, &f, &fault) != SP_OK)
        return false;
    int fd = is_cold(f->fd, at, len) ? sp_disk_fds_direct(f) : -1;
    if (fd >= 0) {
        struct sp_iov parts[3] = {
            {to, a - at}, {to + (a - at), b - a}, {to + (b - at), at + len - b}};
        struct iov_cur cur[3] = {{.iov = &parts[0], .left = 1},
                                 {.iov = &parts[1], .left = 1},
                                 {.iov = &parts[2], .left = 1}};
        ok = sp_disk_read_all(f->fd, &cur[0], at, a - at, &done) == 0 &&
             sp_disk_read_all(fd, &cur[1], a, b - a, &done) == 0 &&
             sp_disk_read_all(f->fd, &cur[2], b, at + len - b, &done) == 0;
    }
    sp_disk_fds_put(f);
    return ok;
}

/* A span of the torrent, file by file. */
static enum sp_err read_bulk(struct worker *w, struct sp_storage *st, uint64_t off, uint8_t *to,
                             uint64_t len, struct fault *fault)
{
    enum sp_err err = SP_OK;
    for (uint64_t n; err == SP_OK && len > 0; off += n, to += n, len -= n) {
        uint32_t ix = sp_disk_storage_find(st, off);
        uint64_t left = st->files[ix + 1].off - off;
        n = left < len ? left : len;
        if (!(st->files[ix].flags & (FILE_PAD | FILE_IN_PARTS)) &&
            read_direct(w, st, ix, off - st->files[ix].off, to, n))
            continue;
        struct sp_iov iov = {.ptr = to, .len = n};
        struct iov_cur cur = {.iov = &iov, .left = 1};
        err = sp_disk_read_span(st, off, &cur, n, fault);
    }
    return err;
}

/* Where in its first block the buffer has to begin so that memory and the file's blocks line up,
 * by the file that most of a long span lies in: the one at its middle. */
static size_t buffer_shift(const struct sp_storage *st, uint64_t off, uint64_t len)
{
    uint32_t ix = sp_disk_storage_find(st, off + len / 2);
    return (size_t)((off - st->files[ix].off) % ALIGN); /* wraps as it should: ALIGN divides 2^64 */
}

static void judge(struct sp_disk_job *job, uint32_t at, enum sp_err err, const uint8_t *digest)
{
    struct sp_disk_check *c = &job->check;
    enum sp_check_state state = SP_CHECK_READ;
    if (err != SP_OK)
        state = SP_CHECK_GONE;
    else if (c->want)
        state = memcmp(digest, c->want[at], SP_SHA1_LEN) == 0 ? SP_CHECK_GOOD : SP_CHECK_BAD;
    if (err == SP_OK && c->ret_digests)
        memcpy(c->ret_digests[at], digest, SP_SHA1_LEN);
    c->ret_state[at] = (uint8_t)state;
    atomic_fetch_add_explicit(&c->pieces_done, 1, memory_order_release);
}

/* A disk that fails is worth a word, a file that is not there is not. */
static void note(struct worker *w, struct sp_disk_job *job, const struct fault *fault,
                 enum sp_err err)
{
    if (err == SP_OK || err == SP_ENOENT || fault->sys == 0)
        return;
    pthread_mutex_lock(&w->lane->lock);
    if (job->why[0] == '\0') {
        enum sp_err before = job->err;
        sp_disk_fault_tell(fault, err, job);
        job->err = before;
    }
    pthread_mutex_unlock(&w->lane->lock);
}

/* A piece longer than a slice. */
static void check_long(struct worker *w, struct sp_disk_job *job, uint32_t at)
{
    struct sp_storage *st = job->st;
    uint32_t piece = job->first_piece + at, left = sp_disk_storage_piece_len(st, piece);
    uint64_t off = (uint64_t)piece * st->piece_len;
    uint8_t *buffer = get_buffer(w, STREAM_STEP + ALIGN), digest[SP_SHA1_LEN] = {0};
    struct sp_hash_stream s = {0};
    struct fault fault = {0};
    enum sp_err err = buffer ? sp_hash_stream_init(&s) : SP_ENOMEM;

    for (uint32_t n; err == SP_OK && left > 0; off += n, left -= n) {
        n = left < STREAM_STEP ? left : STREAM_STEP;
        if (sp_disk_job_canceled(job)) {
            sp_hash_stream_done(&s);
            return; /* UNSEEN */
        }
        uint8_t *to = buffer + buffer_shift(st, off, n);
        err = read_bulk(w, st, off, to, n, &fault);
        if (err == SP_OK)
            sp_hash_stream_add(&s, to, n);
    }
    if (err == SP_OK)
        sp_hash_stream_end(&s, digest);
    sp_hash_stream_done(&s);
    note(w, job, &fault, err);
    judge(job, at, err, digest);
}

/* All at once, and when that fails one by one, to know which. */
static void read_pieces(struct worker *w, struct sp_disk_job *job, uint32_t first, uint32_t count,
                        uint8_t *to, uint64_t len, enum sp_err errs[SLICE_PIECES_MAX])
{
    struct sp_storage *st = job->st;
    struct fault fault = {0};
    uint64_t off = ((uint64_t)job->first_piece + first) * st->piece_len;

    if (read_bulk(w, st, off, to, len, &fault) == SP_OK)
        return;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t n = sp_disk_storage_piece_len(st, job->first_piece + first + i);
        fault = (struct fault){0};
        errs[i] = read_bulk(w, st, off, to, n, &fault);
        note(w, job, &fault, errs[i]);
        off += n;
        to += n;
    }
}

void sp_disk_run_check_slice(struct worker *w, struct sp_disk_job *job, uint32_t first,
                             uint32_t count)
{
    struct sp_storage *st = job->st;
    struct sp_hash_msg msgs[SLICE_PIECES_MAX];
    struct sp_slice parts[SLICE_PIECES_MAX];
    uint32_t ix[SLICE_PIECES_MAX], good = 0;
    enum sp_err errs[SLICE_PIECES_MAX] = {SP_OK};
    uint64_t off = ((uint64_t)job->first_piece + first) * st->piece_len, len;

    if (st->piece_len > SLICE_LEN_MAX) {
        check_long(w, job, first);
        return;
    }
    len = (uint64_t)(count - 1) * st->piece_len +
          sp_disk_storage_piece_len(st, job->first_piece + first + count - 1);
    uint8_t *to = get_buffer(w, (size_t)len + ALIGN);
    if (!to) {
        for (uint32_t i = 0; i < count; i++)
            judge(job, first + i, SP_ENOMEM, NULL);
        return;
    }
    to += buffer_shift(st, off, len);
    read_pieces(w, job, first, count, to, len, errs);

    for (uint32_t i = 0; i < count; i++) {
        if (errs[i] != SP_OK) {
            judge(job, first + i, errs[i], NULL);
            continue;
        }
        parts[good] =
            (struct sp_slice){to + (uint64_t)i * st->piece_len,
                              sp_disk_storage_piece_len(st, job->first_piece + first + i)};
        msgs[good] = (struct sp_hash_msg){.parts = &parts[good], .part_count = 1};
        ix[good++] = first + i;
    }
    sp_hash_sha1_many(msgs, good);
    for (uint32_t i = 0; i < good; i++)
        judge(job, ix[i], SP_OK, msgs[i].digest);
    atomic_fetch_add_explicit(&st->disk->checked_bytes, len, memory_order_relaxed);
}
