/* parts.c - where the bytes of files live that the user did not select, but
 * that share a piece with one that he did: as in libtorrent and qBittorrent,
 * one hidden file beside the others, so that no unwanted file appears.
 *
 *   off   len             what
 *   0     8               "SPATEPT1"
 *   8     4               piece_len     big-endian, as all
 *   12    4               piece_count
 *   64    4 * piece_count slot of each piece + 1; 0: none
 *   H     piece_len each  slots; H is the end of the table rounded up to 4096
 *
 * A slot belongs to a piece and keeps its bytes at their place in the piece.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/disk/impl.h"

enum { TABLE_OFF = 64 };
static const char MAGIC[8] = "SPATEPT1"; /* without its NUL */

static uint64_t slot_off(const struct sp_storage *st, uint32_t slot)
{
    uint64_t head = TABLE_OFF + 4 * (uint64_t)st->piece_count;
    return (head + ALIGN - 1) / ALIGN * ALIGN + (uint64_t)slot * st->piece_len;
}

static void put_u32(uint8_t *to, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(to, &v, 4);
}

static uint32_t get_u32(const uint8_t *from)
{
    uint32_t v;
    memcpy(&v, from, 4);
    return __builtin_bswap32(v);
}

/* 0, errno, or -1: the file ends before. */
static int move_bytes(int fd, bool write, void *bytes, size_t len, uint64_t off)
{
    struct sp_iov iov = {.ptr = bytes, .len = len};
    struct iov_cur cur = {.iov = &iov, .left = 1};
    uint64_t done;
    return write ? sp_disk_write_all(fd, &cur, off, len, &done)
                 : sp_disk_read_all(fd, &cur, off, len, &done);
}

/* Every number in range and none twice: the file may have been anybody's. */
static bool table_is_sound(const struct sp_storage *st, const uint32_t *table, uint32_t *ret_count)
{
    uint32_t count = 0;
    uint8_t *seen = calloc(1, (size_t)st->piece_count / 8 + 1);
    bool ok = seen != NULL;
    for (uint32_t i = 0; ok && i < st->piece_count; i++) {
        uint32_t slot = table[i] - 1;
        if (table[i] == 0)
            continue;
        ok = slot < st->piece_count && !(seen[slot / 8] & (1u << slot % 8));
        if (ok)
            seen[slot / 8] = (uint8_t)(seen[slot / 8] | 1u << slot % 8);
        if (ok && slot >= count)
            count = slot + 1;
    }
    free(seen);
    *ret_count = count;
    return ok;
}

static enum sp_err make_table(struct sp_storage *st, struct fault *fault)
{
    if (!st->parts.slot_of)
        st->parts.slot_of = calloc((size_t)st->piece_count + 1, sizeof(uint32_t));
    errno = ENOMEM;
    return st->parts.slot_of ? SP_OK : sp_disk_fault_set(fault, "opening", SLOT_PARTS(st));
}

static bool read_table(struct sp_storage *st, int fd)
{
    uint8_t head[TABLE_OFF];
    uint32_t *table = st->parts.slot_of;
    if (move_bytes(fd, false, head, sizeof(head), 0) != 0 || memcmp(head, MAGIC, 8) != 0 ||
        get_u32(head + 8) != st->piece_len || get_u32(head + 12) != st->piece_count ||
        move_bytes(fd, false, table, 4 * (size_t)st->piece_count, TABLE_OFF) != 0)
        return false;
    for (uint32_t i = 0; i < st->piece_count; i++)
        table[i] = __builtin_bswap32(table[i]);
    return table_is_sound(st, table, &st->parts.slot_count);
}

enum sp_err sp_disk_parts_load(struct sp_storage *st, struct fault *fault)
{
    struct open_file *f;
    if (!st->parts_name)
        return SP_OK;
    enum sp_err err = sp_disk_fds_get(st, SLOT_PARTS(st), false, &f, fault);
    if (err == SP_ENOENT)
        return SP_OK;
    if (err != SP_OK || (err = make_table(st, fault)) != SP_OK)
        return err;
    if (!read_table(st, f->fd)) {
        /* Another torrent's, or damaged: its bytes are worth nothing, the pieces will be missed
         * by the check. */
        memset(st->parts.slot_of, 0, 4 * (size_t)st->piece_count);
        st->parts.slot_count = 0;
    }
    sp_disk_fds_put(f);
    return SP_OK;
}

static int write_head(struct sp_storage *st, int fd)
{
    uint8_t head[TABLE_OFF] = {0};
    memcpy(head, MAGIC, 8);
    put_u32(head + 8, st->piece_len);
    put_u32(head + 12, st->piece_count);
    /* A table of zeros: what an unsound file had there goes. */
    if (ftruncate(fd, 0) != 0 || ftruncate(fd, (off_t)slot_off(st, 0)) != 0)
        return errno;
    return move_bytes(fd, true, head, sizeof(head), 0);
}

/* The piece's slot, made if need be; under parts.lock. */
static int slot_for_write(struct sp_storage *st, int fd, uint32_t piece, uint32_t *ret_slot)
{
    struct parts *p = &st->parts;
    uint8_t entry[4];
    int sys = 0;
    if (p->slot_of[piece] == 0) {
        if (p->slot_count == 0)
            sys = write_head(st, fd);
        put_u32(entry, p->slot_count + 1);
        if (sys == 0)
            sys = move_bytes(fd, true, entry, 4, TABLE_OFF + 4 * (uint64_t)piece);
        if (sys == 0)
            p->slot_of[piece] = ++p->slot_count;
    }
    *ret_slot = p->slot_of[piece] - 1;
    return sys;
}

/* The slot of a piece, or SLOT_NONE. */
static uint32_t slot_of(struct sp_storage *st, uint32_t piece)
{
    pthread_mutex_lock(&st->parts.lock);
    uint32_t slot = st->parts.slot_of ? st->parts.slot_of[piece] - 1 : SLOT_NONE;
    pthread_mutex_unlock(&st->parts.lock);
    return slot;
}

/* The piece at off, the place in it, and how much of len lies in it. */
static uint32_t next_piece(const struct sp_storage *st, uint64_t off, uint64_t len,
                           uint32_t *ret_at, uint64_t *ret_n)
{
    *ret_at = (uint32_t)(off % st->piece_len);
    uint64_t left = st->piece_len - *ret_at;
    *ret_n = left < len ? left : len;
    return (uint32_t)(off / st->piece_len);
}

enum sp_err sp_disk_parts_write(struct sp_storage *st, uint64_t off, struct iov_cur *cur,
                                uint64_t len, struct fault *fault)
{
    struct open_file *f;
    enum sp_err err = sp_disk_fds_get(st, SLOT_PARTS(st), true, &f, fault);
    if (err != SP_OK)
        return err;
    int sys = 0;
    for (uint64_t n; err == SP_OK && sys == 0 && len > 0; off += n, len -= n) {
        uint32_t at, slot = 0;
        uint32_t piece = next_piece(st, off, len, &at, &n);
        pthread_mutex_lock(&st->parts.lock);
        err = make_table(st, fault);
        if (err == SP_OK)
            sys = slot_for_write(st, f->fd, piece, &slot);
        pthread_mutex_unlock(&st->parts.lock);
        uint64_t done;
        if (err == SP_OK && sys == 0)
            sys = sp_disk_write_all(f->fd, cur, slot_off(st, slot) + at, n, &done);
    }
    atomic_fetch_or(&st->dirty[SLOT_PARTS(st)], DIRTY_DATA);
    sp_disk_fds_put(f);
    errno = sys;
    return err == SP_OK && sys != 0 ? sp_disk_fault_set(fault, "writing", SLOT_PARTS(st)) : err;
}

enum sp_err sp_disk_parts_read(struct sp_storage *st, uint64_t off, struct iov_cur *cur,
                               uint64_t len, struct fault *fault)
{
    for (uint64_t n; len > 0; off += n, len -= n) {
        struct open_file *f;
        uint32_t at;
        uint32_t slot = slot_of(st, next_piece(st, off, len, &at, &n));
        if (slot == SLOT_NONE)
            return sp_disk_fault_say(
                fault, SP_ENOENT, "reading", sp_disk_storage_find(st, off),
                "the file is not selected, and this part of it was never downloaded");
        enum sp_err err = sp_disk_fds_get(st, SLOT_PARTS(st), false, &f, fault);
        if (err != SP_OK)
            return err;
        uint64_t done;
        int sys = sp_disk_read_all(f->fd, cur, slot_off(st, slot) + at, n, &done);
        sp_disk_fds_put(f);
        if (sys < 0)
            return sp_disk_fault_say(fault, SP_EIO, "reading", SLOT_PARTS(st),
                                     "the file ends too early");
        errno = sys;
        if (sys != 0)
            return sp_disk_fault_set(fault, "reading", SLOT_PARTS(st));
    }
    return SP_OK;
}

static enum sp_err copy_out(struct worker *w, struct sp_storage *st, uint32_t ix, uint64_t off,
                            uint64_t len, struct fault *fault)
{
    enum { STEP = 64 << 10 };
    uint8_t *bytes = malloc(STEP);
    enum sp_err err = SP_OK;
    errno = ENOMEM;
    if (!bytes)
        return sp_disk_fault_set(fault, "writing", ix);
    for (uint64_t n; err == SP_OK && len > 0; off += n, len -= n) {
        n = len < STEP ? len : STEP;
        struct sp_iov iov = {.ptr = bytes, .len = n};
        struct iov_cur in = {.iov = &iov, .left = 1}, out = in;
        err = sp_disk_parts_read(st, off, &in, n, fault);
        if (err == SP_OK)
            err = sp_disk_write_part(w, st, ix, off - st->files[ix].off, &out, n, fault);
    }
    free(bytes);
    return err;
}

enum sp_err sp_disk_parts_leave(struct worker *w, struct sp_storage *st, uint32_t ix,
                                struct fault *fault)
{
    uint64_t off = st->files[ix].off, len = file_len(st, ix);
    enum sp_err err = SP_OK;
    for (uint64_t n; err == SP_OK && len > 0; off += n, len -= n) {
        uint32_t at;
        if (slot_of(st, next_piece(st, off, len, &at, &n)) != SLOT_NONE)
            err = copy_out(w, st, ix, off, n, fault);
    }
    if (err == SP_OK)
        st->files[ix].flags &= ~(uint32_t)FILE_IN_PARTS;
    return err;
}

static bool piece_is_needed(const struct sp_storage *st, uint32_t piece)
{
    uint64_t off = (uint64_t)piece * st->piece_len,
             end = off + sp_disk_storage_piece_len(st, piece);
    for (uint32_t ix = sp_disk_storage_find(st, off);
         ix < st->file_count && st->files[ix].off < end; ix++) {
        if (file_is(st, ix, FILE_IN_PARTS) && file_len(st, ix) > 0)
            return true;
    }
    return false;
}

static void give_up(struct sp_storage *st, int fd, uint32_t piece)
{
    uint8_t none[4] = {0};
    uint32_t slot = st->parts.slot_of[piece] - 1;
    /* Whatever fails here only wastes room. */
    (void)move_bytes(fd, true, none, 4, TABLE_OFF + 4 * (uint64_t)piece);
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)slot_off(st, slot),
                    (off_t)st->piece_len);
    st->parts.slot_of[piece] = 0;
}

void sp_disk_parts_shrink(struct sp_storage *st)
{
    struct fault fault;
    struct open_file *f, *dir;
    uint32_t left = 0;

    if (st->parts.slot_count == 0 || st->read_only ||
        sp_disk_fds_get(st, SLOT_PARTS(st), true, &f, &fault) != SP_OK)
        return;
    for (uint32_t i = 0; i < st->piece_count; i++) {
        if (st->parts.slot_of[i] != 0 && piece_is_needed(st, i))
            left++;
        else if (st->parts.slot_of[i] != 0)
            give_up(st, f->fd, i);
    }
    sp_disk_fds_put(f);
    if (left > 0 || sp_disk_fds_get(st, SLOT_DIR(st), false, &dir, &fault) != SP_OK)
        return;
    sp_disk_fds_forget_slot(st, SLOT_PARTS(st));
    (void)unlinkat(dir->fd, st->parts_name, 0);
    sp_disk_fds_put(dir);
    atomic_store(&st->dirty[SLOT_PARTS(st)], 0);
    st->parts.slot_count = 0;
}

void sp_disk_parts_done(struct sp_storage *st)
{
    free(st->parts.slot_of);
    st->parts.slot_of = NULL;
    st->parts.slot_count = 0;
}
