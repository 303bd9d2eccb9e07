#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/disk/impl.h"
#include "io/disk/path.h"

static bool cfg_is_sound(const struct sp_storage_cfg *cfg)
{
    uint64_t sum = 0;
    if (cfg->file_count == 0 || cfg->file_count >= SLOT_NONE - 2 || cfg->piece_len == 0 ||
        cfg->dir[0] == '\0' || strlen(cfg->dir) >= SP_PATH_MAX)
        return false;
    if (cfg->parts_name && (!sp_path_is_clean(cfg->parts_name) || strchr(cfg->parts_name, '/')))
        return false;
    for (uint32_t i = 0; i < cfg->file_count; i++) {
        const struct sp_disk_file *f = &cfg->files[i];
        if (__builtin_add_overflow(sum, f->len, &sum))
            return false;
        if (!f->pad && (!f->path || !sp_path_is_clean(f->path)))
            return false;
    }
    /* Offsets are off_t for the system. */
    return sum == cfg->total_len && sum <= INT64_MAX / 2 &&
           (sum + cfg->piece_len - 1) / cfg->piece_len < UINT32_MAX;
}

/* Copies the names behind each other; false when there is no room or they exceed 4 GiB. */
static bool copy_files(struct sp_storage *st, const struct sp_disk_file *files)
{
    size_t room = 1;
    uint64_t off = 0;

    for (uint32_t i = 0; i < st->file_count; i++)
        room += files[i].pad ? 0 : strlen(files[i].path) + 1;
    if (room > UINT32_MAX || !(st->paths = malloc(room)))
        return false;
    st->paths[0] = '\0';

    uint32_t at = 1;
    for (uint32_t i = 0; i < st->file_count; i++) {
        const struct sp_disk_file *f = &files[i];
        struct file *to = &st->files[i];
        to->off = off;
        to->flags = (f->pad ? FILE_PAD : 0u) | (f->wanted ? FILE_WANTED : 0u) |
                    (f->executable ? FILE_EXECUTABLE : 0u);
        off += f->len;
        if (f->pad)
            continue;
        size_t len = strlen(f->path) + 1;
        memcpy(st->paths + at, f->path, len);
        to->path = at;
        at += (uint32_t)len;
    }
    st->files[st->file_count].off = off;
    return true;
}

enum sp_err sp_storage_new(struct sp_disk *d, const struct sp_storage_cfg *cfg,
                           struct sp_storage **ret_st)
{
    if (!cfg_is_sound(cfg))
        return SP_EINVAL;
    struct sp_storage *st = calloc(1, sizeof(*st));
    if (!st)
        return SP_ENOMEM;
    pthread_mutex_init(&st->sync_lock, NULL);
    pthread_mutex_init(&st->parts.lock, NULL);
    st->disk = d;
    st->file_count = cfg->file_count;
    st->piece_len = cfg->piece_len;
    st->piece_count = (uint32_t)((cfg->total_len + cfg->piece_len - 1) / cfg->piece_len);
    st->total_len = cfg->total_len;
    st->alloc = cfg->alloc;
    st->read_only = cfg->read_only;
    st->dir = strdup(cfg->dir);
    st->parts_name = cfg->parts_name ? strdup(cfg->parts_name) : NULL;
    st->files = calloc((size_t)cfg->file_count + 1, sizeof(*st->files));
    st->slots = calloc((size_t)cfg->file_count + 2, sizeof(struct open_file *));
    st->dirty = calloc((size_t)cfg->file_count + 2, sizeof(*st->dirty));
    if (!st->dir || (cfg->parts_name && !st->parts_name) || !st->files || !st->slots ||
        !st->dirty || !copy_files(st, cfg->files)) {
        sp_storage_free(st);
        return SP_ENOMEM;
    }
    *ret_st = st;
    return SP_OK;
}

void sp_storage_free(struct sp_storage *st)
{
    if (!st)
        return;
    sp_disk_parts_done(st);
    pthread_mutex_destroy(&st->sync_lock);
    pthread_mutex_destroy(&st->parts.lock);
    free(st->dir);
    free(st->parts_name);
    free(st->paths);
    free(st->files);
    free(st->slots);
    free(st->dirty);
    free(st);
}

uint32_t sp_disk_storage_find(const struct sp_storage *st, uint64_t off)
{
    uint32_t low = 0, high = st->file_count; /* files[low].off <= off < files[high].off */
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (st->files[mid].off <= off)
            low = mid;
        else
            high = mid;
    }
    return low;
}

uint32_t sp_disk_storage_piece_len(const struct sp_storage *st, uint32_t ix)
{
    uint64_t left = st->total_len - (uint64_t)ix * st->piece_len;
    return left < st->piece_len ? (uint32_t)left : st->piece_len;
}

enum sp_err sp_disk_err_of_errno(int sys)
{
    switch (sys) {
    case ENOSPC:
    case EDQUOT:
        return SP_ENOSPC;
    case ENOENT:
        return SP_ENOENT;
    case ENOMEM:
        return SP_ENOMEM;
    case EACCES:
    case EPERM:
    case EROFS:
    case ETXTBSY:
    case ELOOP: /* a symlink where a file should be */
    case EXDEV:
    case ENOTDIR:
    case EISDIR:
        return SP_EACCES;
    default:
        return SP_EIO;
    }
}

enum sp_err sp_disk_fault_set(struct fault *f, const char *verb, uint32_t slot)
{
    *f = (struct fault){.verb = verb, .sys = errno, .slot = slot};
    return sp_disk_err_of_errno(f->sys);
}

enum sp_err sp_disk_fault_say(struct fault *f, enum sp_err err, const char *verb, uint32_t slot,
                              const char *text)
{
    *f = (struct fault){.verb = verb, .text = text, .slot = slot};
    return err;
}

/* Appends to job->why, as much as fits. */
static void say(struct sp_disk_job *job, const char *text)
{
    size_t len = strlen(job->why), n = strlen(text), room = sizeof(job->why) - 1 - len;
    if (n > room)
        n = room;
    memcpy(job->why + len, text, n);
    job->why[len + n] = '\0';
}

void sp_disk_fault_tell(const struct fault *f, enum sp_err err, struct sp_disk_job *job)
{
    const struct sp_storage *st = job->st;
    char path[2 * SP_PATH_MAX], room[128];
    const char *reason = f->sys ? strerror_r(f->sys, room, sizeof(room)) : f->text;
    const char *name = "";

    if (f->slot < st->file_count)
        name = file_path(st, f->slot);
    else if (f->slot == SLOT_PARTS(st) && st->parts_name)
        name = st->parts_name;
    size_t len = (size_t)snprintf(path, sizeof(path), "%s%s%s", st->dir, name[0] ? "/" : "", name);

    /* A long path loses its beginning: its end and the reason say more. */
    size_t fits = sizeof(job->why) - 1 - strlen(f->verb) - strlen(reason) - 6;
    bool cut = len > fits;
    job->err = err;
    job->sys_errno = f->sys;
    job->file_ix = f->slot < st->file_count ? f->slot : UINT32_MAX;
    job->why[0] = '\0';
    say(job, f->verb);
    say(job, cut ? " ..." : " ");
    say(job, cut ? path + (len - fits) : path);
    say(job, ": ");
    say(job, reason);
}
