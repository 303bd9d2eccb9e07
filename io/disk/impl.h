/* impl.h - what the files of io/disk share.
 *
 *   lane.c     the pool: lanes, queues, threads, walls
 *   storage.c  the file table of one torrent
 *   path.c     names below a directory
 *   fds.c      the cache of open files
 *   rw.c       READ, WRITE, try_read: spans of files, direct and buffered
 *   parts.c    bytes of files that are not wanted
 *   check.c    CHECK
 *   tree.c     OPEN, SYNC, ALLOCATE, SELECT, SPACE, CLOSE, DELETE
 *
 * Locks, each held for pointer work only and never over a system call:
 * disk.lock (jobs of a storage, list of lanes), lane.lock (queues), fds.lock.
 * storage.sync_lock and parts.lock are held over system calls; only disk
 * threads take them.
 */
#ifndef SP_IO_DISK_IMPL_H
#define SP_IO_DISK_IMPL_H

#include <errno.h>
#include <pthread.h>
#include <sys/types.h>

#include "io/disk/disk.h"

enum {
    ALIGN = 4096, /* direct I/O: of file offsets, lengths and memory; every device divides it */
    IOV_BATCH = 256,
    BOUNCE_LEN = 1 << 20,
};

enum file_flag {
    FILE_PAD = 1,
    FILE_WANTED = 2,
    FILE_EXECUTABLE = 4,
    FILE_IN_PARTS = 8, /* not wanted, and not on the disk: its bytes are in the parts file */
};

struct file {
    uint64_t off;   /* of the torrent; the length is the next one's off - this */
    uint32_t path;  /* offset into paths */
    uint32_t flags; /* enum file_flag; WANTED and IN_PARTS change in walls only */
};

enum dirty { DIRTY_DATA = 1, DIRTY_NAME = 2 };

/* An open file, shared by whoever holds a reference; the cache holds one. */
struct open_file {
    struct sp_storage *st;
    uint32_t slot;
    int fd;
    int direct_fd; /* -1 until asked for; fds.lock */
    bool writable;
    _Atomic uint32_t refs;
    struct open_file *newer, *older; /* fds.lock */
};

struct fds {
    pthread_mutex_t lock;
    struct open_file *newest, *oldest;
    struct open_file *dead; /* to be closed by a disk thread; linked by older */
    uint32_t count, max;    /* descriptors */
    _Atomic bool has_dead;
};

/* The parts file: a header of piece_count slot numbers (big-endian, +1, 0 is none), rounded up
 * to ALIGN, then slots of piece_len bytes. */
struct parts {
    pthread_mutex_t lock;
    uint32_t *slot_of; /* piece_count entries, the file's header; NULL until loaded or made */
    uint32_t slot_count;
};

struct lane;

struct sp_storage {
    struct sp_disk *disk;
    char *dir;
    char *parts_name; /* or NULL */
    char *paths;
    struct file *files;       /* file_count + 1, the last one is the end */
    struct open_file **slots; /* fds.lock; file_count, then SLOT_DIR, SLOT_PARTS */
    _Atomic uint8_t *dirty;   /* enum dirty, per slot */
    uint32_t file_count, piece_count, piece_len;
    uint64_t total_len;
    enum sp_disk_alloc alloc;
    bool read_only;

    struct lane *_Atomic lane; /* NULL until OPEN found the device */
    dev_t dev;                 /* of dir, as OPEN saw it */
    ino_t ino;
    atomic_bool closing;
    pthread_mutex_t sync_lock; /* one SYNC at a time: the second must not overtake the first */
    struct parts parts;

    uint32_t pending;           /* disk.lock: jobs submitted and not done */
    struct sp_disk_job *parked; /* disk.lock: the wall that waits for pending to fall to 1 */
};

struct queue {
    struct sp_disk_job *first, **last;
};

struct worker {
    struct lane *lane;
    pthread_t thread;
    uint8_t *bounce; /* BOUNCE_LEN, aligned; NULL until needed */
    uint8_t *batch;  /* CHECK's buffer; given back when idle */
    size_t batch_len;
};

enum { LANE_THREADS_MAX = 16 };

struct lane {
    struct lane *next; /* disk.lock */
    struct sp_disk *disk;
    dev_t dev;
    bool is_front;       /* where OPENs find their device */
    bool rotational;     /* a seek costs more than a copy */
    bool in_memory;      /* tmpfs: nothing is ever cold */
    atomic_bool direct;  /* O_DIRECT works as far as known */
    uint32_t direct_min; /* bytes that are worth it */

    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct queue peers, bulk;         /* lock */
    bool stop;                        /* lock */
    const struct sp_storage *last_st; /* lock; only compared */
    uint64_t last_off;                /* lock */
    uint32_t since_bulk;              /* lock: peers' jobs since the last slice */
    uint32_t passed_over;             /* lock: how often the first of peers had to wait */
    uint32_t worker_count;
    struct worker workers[LANE_THREADS_MAX];
};

struct sp_disk {
    struct sp_disk_cfg cfg;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    uint32_t jobs; /* lock */
    struct lane *lanes;
    struct lane *front;
    struct fds fds;
    _Atomic uint64_t read_bytes, hot_bytes, written_bytes, direct_bytes, checked_bytes, opens;
};

/* Why an operation failed, until it is told to the job. */
struct fault {
    const char *verb; /* "writing" */
    int sys;          /* errno, or 0: see text */
    const char *text; /* used when sys is 0 */
    uint32_t slot;
};

#define SLOT_DIR(st)   ((st)->file_count)
#define SLOT_PARTS(st) ((st)->file_count + 1)
#define SLOT_NONE      UINT32_MAX

static inline const char *file_path(const struct sp_storage *st, uint32_t ix)
{
    return st->paths + st->files[ix].path;
}

static inline uint64_t file_len(const struct sp_storage *st, uint32_t ix)
{
    return st->files[ix + 1].off - st->files[ix].off;
}

static inline bool file_is(const struct sp_storage *st, uint32_t ix, enum file_flag flag)
{
    return st->files[ix].flags & (uint32_t)flag;
}

/* storage.c */
/* The file that holds the byte at off < total_len (never an empty one). */
uint32_t sp_disk_storage_find(const struct sp_storage *st, uint64_t off);
/* Bytes of the piece; ix < piece_count. */
uint32_t sp_disk_storage_piece_len(const struct sp_storage *st, uint32_t ix);
enum sp_err sp_disk_err_of_errno(int sys);
/* Fills f from errno; gives the code. */
enum sp_err sp_disk_fault_set(struct fault *f, const char *verb, uint32_t slot);
/* The same where the system has no word for it. */
enum sp_err sp_disk_fault_say(struct fault *f, enum sp_err err, const char *verb, uint32_t slot,
                              const char *text);
/* Writes err, file_ix and why. */
void sp_disk_fault_tell(const struct fault *f, enum sp_err err, struct sp_disk_job *job);

/* fds.c */
void sp_disk_fds_init(struct fds *c, uint32_t max);
void sp_disk_fds_done(struct fds *c);
/* A reference to the open file of a slot, opened (and for write: made, and given its length) if
 * need be. */
enum sp_err sp_disk_fds_get(struct sp_storage *st, uint32_t slot, bool write,
                            struct open_file **ret_f, struct fault *fault);
/* Only if it is open; never blocks. */
struct open_file *sp_disk_fds_find(struct sp_storage *st, uint32_t slot, bool write);
/* The O_DIRECT twin, or -1 and errno: EINVAL when the file system does not do it. */
int sp_disk_fds_direct(struct open_file *f);
void sp_disk_fds_put(struct open_file *f);
/* The same on a thread that must not close. */
void sp_disk_fds_put_later(struct sp_disk *d, struct open_file *f);
/* Closes what fds_put_later left. */
void sp_disk_fds_reap(struct sp_disk *d);
/* Closes all of a storage. */
void sp_disk_fds_forget(struct sp_storage *st);
void sp_disk_fds_forget_slot(struct sp_storage *st, uint32_t slot);

/* rw.c */
/* A place in a list of buffers. */
struct iov_cur {
    const struct sp_iov *iov;
    uint32_t left; /* entries, iov[0] included */
    size_t skip;   /* bytes of iov[0] that are done */
};
bool sp_disk_iov_covers(const struct sp_iov *iov, uint32_t count, uint64_t off, uint64_t total,
                        uint64_t *ret_len);
enum sp_err sp_disk_read_span(struct sp_storage *st, uint64_t off, struct iov_cur *cur,
                              uint64_t len, struct fault *fault);
enum sp_err sp_disk_write_span(struct worker *w, struct sp_storage *st, uint64_t off,
                               struct iov_cur *cur, uint64_t len, struct fault *fault);
/* Into the file itself, at off of it. */
enum sp_err sp_disk_write_part(struct worker *w, struct sp_storage *st, uint32_t ix, uint64_t off,
                               struct iov_cur *cur, uint64_t len, struct fault *fault);
/* All of len at off of one descriptor.  0, errno, or -1: the file ends before. */
int sp_disk_read_all(int fd, struct iov_cur *cur, uint64_t off, uint64_t len, uint64_t *ret_done);
int sp_disk_write_all(int fd, struct iov_cur *cur, uint64_t off, uint64_t len, uint64_t *ret_done);
void sp_disk_run_read(struct worker *w, struct sp_disk_job *job);
void sp_disk_run_write(struct worker *w, struct sp_disk_job *job);

/* parts.c */
enum sp_err sp_disk_parts_load(struct sp_storage *st, struct fault *fault);
enum sp_err sp_disk_parts_read(struct sp_storage *st, uint64_t off, struct iov_cur *cur,
                               uint64_t len, struct fault *fault);
enum sp_err sp_disk_parts_write(struct sp_storage *st, uint64_t off, struct iov_cur *cur,
                                uint64_t len, struct fault *fault);
/* Copies what the parts file has of a file into the file, which is no longer IN_PARTS. */
enum sp_err sp_disk_parts_leave(struct worker *w, struct sp_storage *st, uint32_t ix,
                                struct fault *fault);
/* Gives up slots that no IN_PARTS file needs, and the file itself when it is empty. */
void sp_disk_parts_shrink(struct sp_storage *st);
void sp_disk_parts_done(struct sp_storage *st);

/* check.c */
/* Pieces of one slice; > 0. */
uint32_t sp_disk_check_slice(const struct sp_storage *st);
void sp_disk_run_check_slice(struct worker *w, struct sp_disk_job *job, uint32_t first,
                             uint32_t count);

/* tree.c */
/* On the front lane: opens dir and finds its lane.  The job is over if it fails. */
bool sp_disk_run_open_dir(struct sp_disk_job *job, struct lane **ret_lane);
void sp_disk_run_open(struct worker *w, struct sp_disk_job *job);
void sp_disk_run_sync(struct sp_disk_job *job);
/* One step; true when there is more. */
bool sp_disk_run_allocate_slice(struct sp_disk_job *job);
void sp_disk_run_select(struct worker *w, struct sp_disk_job *job);
void sp_disk_run_space(struct sp_disk_job *job);
void sp_disk_run_close(struct sp_disk_job *job);
void sp_disk_run_delete(struct sp_disk_job *job);

/* lane.c */
struct lane *sp_disk_lane_for(struct sp_disk *d, dev_t dev, int dir_fd);
bool sp_disk_job_canceled(struct sp_disk_job *job);

#endif
