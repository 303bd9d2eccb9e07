/* reading.h - hashing the pieces of data that is on the disk, from a thread
 * that may wait: what create and verify have in common. */
#ifndef SP_IO_READING_H
#define SP_IO_READING_H

#include "io/disk/disk.h"
#include "spate/create.h"

struct sp_reading_cfg {
    const char *dir;
    const struct sp_disk_file *files; /* in order */
    uint32_t file_count;
    uint32_t piece_len;
    uint64_t total_len;
    uint32_t piece_count;
    uint32_t threads;               /* 0: one per core */
    const uint8_t *want;            /* piece_count hashes to compare with, or NULL */
    uint8_t *ret_digests;           /* piece_count * SP_SHA1_LEN, or NULL */
    uint8_t *ret_state;             /* piece_count of enum sp_check_state, zeroed */
    struct sp_disk_stat *ret_stats; /* file_count, or NULL */
    sp_progress *progress;
    void *ctx;
};

/* SP_ECANCELED  progress said so    SP_ENOENT  no such directory
 * SP_EACCES, SP_EIO, SP_ENOMEM  diag */
SP_MUST_USE enum sp_err sp_reading(const struct sp_reading_cfg *cfg, struct sp_diag *diag);

#endif
