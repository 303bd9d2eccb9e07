/* disk.h - the files of torrents, and the pool of threads that touches them.
 *
 * A reactor makes a storage per torrent (memory only), fills jobs and submits
 * them; a job's done() is called on a disk thread when it is over.  Nothing
 * here blocks its caller but sp_disk_free.
 *
 *   sp_storage_new -> OPEN -> READ, WRITE, SYNC, CHECK, ... -> CLOSE -> sp_storage_free
 *
 * The pool has one lane per device (st_dev), with its own threads and two
 * queues: what peers wait for (READ, WRITE, SYNC, SPACE) goes before bulk work
 * (CHECK, ALLOCATE), and bulk work is done in slices so that it can be
 * overtaken.  OPEN, SELECT, CLOSE and DELETE are walls: they start when every
 * earlier job of their storage is done, and nothing may be submitted for it
 * until they are, but for one CLOSE or DELETE behind an OPEN or SELECT.
 *
 * Offsets are torrent offsets: the files one after the other, as the metainfo
 * lists them.  Whole pieces go out by direct I/O where the file system takes
 * it, all else through the page cache; the caller does not see which.
 */
#ifndef SP_IO_DISK_H
#define SP_IO_DISK_H

#include <stdatomic.h>

#include "spate/err.h"
#include "spate/types.h"

struct sp_disk;    /* the pool; shared by all reactors */
struct sp_storage; /* one torrent's files below one directory */

enum sp_disk_heads {
    SP_DISK_HEADS_ASK, /* what /sys says; a virtual disk has none */
    SP_DISK_HEADS_YES, /* a seek costs more than a copy: one thread, few direct writes */
    SP_DISK_HEADS_NO,
};

struct sp_disk_cfg {
    uint32_t
        lane_threads; /* per device; 0: a core each, 2 to 8; a rotational device always has 1 */
    uint32_t fd_max;  /* payload descriptors kept open; 0: a quarter of RLIMIT_NOFILE, <= 512 */
    bool no_direct;   /* never O_DIRECT */
    enum sp_disk_heads heads;
};

/* Starts no thread yet: lanes come with the first OPEN on their device.
 * SP_ENOMEM */
SP_MUST_USE enum sp_err sp_disk_new(const struct sp_disk_cfg *cfg, struct sp_disk **ret_disk);
/* Runs what is queued to its end, then frees; blocks until then.  Takes NULL.
 * Every storage must have been closed or have its CLOSE queued. */
void sp_disk_free(struct sp_disk *d);

/* One file as the metainfo lists it. */
struct sp_disk_file {
    const char *path; /* relative, '/'-joined, already cleaned: no empty, "." or ".." part */
    uint64_t len;     /* bytes; 0 is a file that must exist and be empty */
    bool pad;         /* BEP-0047: virtual zeros, never on the disk; path may be NULL */
    bool wanted;      /* selected by the user; others live in the parts file until they are */
    bool executable;  /* BEP-0047 attribute x: gets mode bits x when it is created */
};

enum sp_disk_alloc {
    SP_ALLOC_SPARSE, /* files get their length at the first write, blocks as data comes */
    SP_ALLOC_FULL,   /* ALLOCATE reserves every block of the wanted files */
};

struct sp_storage_cfg {
    const char *dir;                  /* the user's: absolute or relative to the process, may be a
                                       * symlink; made (with its parents) by OPEN when absent */
    const struct sp_disk_file *files; /* in torrent order; copied, with their paths */
    uint32_t file_count;              /* > 0 */
    uint32_t piece_len;               /* bytes, > 0 */
    uint64_t total_len;               /* sum of the files' lengths, pads included */
    enum sp_disk_alloc alloc;
    bool read_only;         /* seed from data that must not be changed, made or deleted */
    const char *parts_name; /* hidden file in dir for bytes of unwanted files that share a piece
                             * with wanted ones: ".<info-hash>.parts"; NULL: such bytes go into the
                             * real file */
};

/* Memory only.  SP_EINVAL a path that is not clean, lengths that do not add up; SP_ENOMEM */
SP_MUST_USE enum sp_err sp_storage_new(struct sp_disk *d, const struct sp_storage_cfg *cfg,
                                       struct sp_storage **ret_st);
/* Never opened, or its OPEN failed, or its CLOSE or DELETE is done.  Takes NULL. */
void sp_storage_free(struct sp_storage *st);

enum sp_disk_op {
    /* Finds the lane; makes dir, and the wanted empty files (not if read_only); looks at every
     * file: job.stats, bytes_present, files_present, files_odd.  SP_ENOENT no such directory */
    SP_DISK_OPEN,
    /* Fills iov from off.  Pads are zeros.
     * SP_ENOENT no such file; SP_EIO it is shorter than the metainfo says, or cannot be read */
    SP_DISK_READ,
    /* Writes iov at off; makes files and directories as needed.  Bytes of pads go nowhere.
     * SP_ENOSPC, SP_EACCES (also read_only and a symlink in the way), SP_EIO */
    SP_DISK_WRITE,
    /* What every WRITE that was done before this was submitted wrote is durable after it: data,
     * and the names of files and directories made. */
    SP_DISK_SYNC,
    /* Reads pieces first_piece.. in disk order and hashes them: job.check.  All threads of the
     * lane join in.  Only SP_ECANCELED and SP_ENOMEM fail it: bad and missing is a result. */
    SP_DISK_CHECK,
    /* Reserves blocks for all wanted files (SP_ALLOC_FULL; nothing to do otherwise).
     * SP_ENOSPC, SP_EACCES, SP_EIO */
    SP_DISK_ALLOCATE,
    /* Changes which files are wanted: job.wanted.  Bytes of files that become wanted move from
     * the parts file into the file; empty ones are made. */
    SP_DISK_SELECT,
    /* Bytes free for this user on the storage's file system: job.free_bytes. */
    SP_DISK_SPACE,
    /* Closes descriptors. A CHECK under way ends with SP_ECANCELED; reads and writes finish. */
    SP_DISK_CLOSE,
    /* CLOSE, then unlinks the storage's regular files and its parts file, and removes directories
     * of its paths that are empty then.  dir itself and everything else stays.
     * SP_EACCES read_only, or a file could not be removed (the rest are) */
    SP_DISK_DELETE,
};

enum sp_disk_kind {
    SP_FILE_ABSENT,  /* also: a pad */
    SP_FILE_REGULAR, /* size may be less or more than the metainfo says */
    SP_FILE_ODD,     /* a directory, symlink, device... is in the way */
};

/* What OPEN found. */
struct sp_disk_stat {
    uint64_t size;       /* bytes */
    uint64_t disk_bytes; /* of blocks allocated; less than size: has holes */
    int64_t mtime_ns;    /* since the epoch; what resume state compares */
    enum sp_disk_kind kind;
};

enum sp_check_state {
    SP_CHECK_UNSEEN, /* not looked at (yet, or canceled) */
    SP_CHECK_READ,   /* hashed; no hashes to compare with were given */
    SP_CHECK_GOOD,
    SP_CHECK_BAD,
    SP_CHECK_GONE, /* a file is absent or short, or could not be read */
};

/* CHECK: arrays of piece_count entries, entry 0 for first_piece. */
struct sp_disk_check {
    const uint8_t (*want)[SP_SHA1_LEN];  /* NULL: do not compare */
    uint8_t (*ret_digests)[SP_SHA1_LEN]; /* NULL: not needed; undefined for pieces GONE */
    uint8_t *ret_state;                  /* enum sp_check_state; zeroed by the caller */
    _Atomic uint32_t pieces_done;        /* progress, may be read at any time */
};

/* Caller-owned, zeroed but for what is set; the pool's from submit until done is called. */
struct sp_disk_job {
    struct sp_disk_job *next; /* the pool's */
    enum sp_disk_op op;
    struct sp_storage *st;
    /* On a disk thread, which waits: post to your loop and return.  The job may be reused or
     * freed in it.  Jobs of one storage may be done in any order but for the walls. */
    void (*done)(struct sp_disk_job *job);
    void *ctx; /* the caller's */

    uint64_t off;       /* READ, WRITE: torrent offset */
    struct sp_iov *iov; /* READ, WRITE: borrowed; fast when 4096-aligned; off + sum <= total_len */
    uint32_t iov_count; /* READ, WRITE */
    uint32_t first_piece; /* CHECK */
    uint32_t piece_count; /* CHECK */
    struct sp_disk_check check;
    const bool *wanted;         /* SELECT: file_count entries; borrowed */
    struct sp_disk_stat *stats; /* OPEN: file_count entries or NULL; borrowed */
    atomic_bool cancel; /* CHECK, ALLOCATE: may be set at any time; ends with SP_ECANCELED */

    enum sp_err err;        /* SP_EINVAL: off, pieces or state out of range */
    int sys_errno;          /* the system's reason, or 0 */
    uint32_t file_ix;       /* the file that err is about, or UINT32_MAX */
    uint32_t files_present; /* OPEN: regular files that exist (no pads) */
    uint32_t files_odd;     /* OPEN: files that something else stands in the way of */
    uint64_t bytes_present; /* OPEN: their bytes, each counted up to its length */
    uint64_t free_bytes;    /* OPEN, SPACE */
    char why[256];          /* "writing /path/x: No space left on device"; "" on success */

    uint32_t claimed, running; /* the pool's: slices of bulk work */
    bool wall;                 /* the pool's */
};

/* Any thread, never blocks.  Everything the caller set must stay until done. */
void sp_disk_submit(struct sp_disk *d, struct sp_disk_job *job);

/* A read on the spot, for reactors: fills iov from off when the files are open and the pages are
 * in memory.  Between OPEN and CLOSE, from the thread that submits for st.
 * SP_AGAIN  cold, or not open: submit a READ (iov may have been written to)
 * SP_EINVAL off out of range */
SP_MUST_USE enum sp_err sp_disk_try_read(struct sp_storage *st, uint64_t off,
                                         const struct sp_iov *iov, uint32_t iov_count);

/* Counters since the start, each exact, together not a snapshot. */
struct sp_disk_stats {
    uint64_t read_bytes;    /* READ and try_read */
    uint64_t hot_bytes;     /* of these, by try_read */
    uint64_t written_bytes; /* without pads */
    uint64_t direct_bytes;  /* of these, by direct I/O */
    uint64_t checked_bytes; /* by CHECK */
    uint64_t opens;         /* files opened (again) */
    uint32_t jobs_waiting;  /* submitted and not done */
    uint32_t fds;           /* payload descriptors open */
};
void sp_disk_stats(struct sp_disk *d, struct sp_disk_stats *ret_stats);

#endif
