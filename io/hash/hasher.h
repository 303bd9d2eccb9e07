/* hasher.h - the threads that hash pieces, shared by all reactors.
 *
 *   reactor --submit--> [ waiting jobs, in order ] --batch--> worker --done--> (post to the
 * reactor)
 *
 * A worker takes as many waiting jobs as fill the lanes of the fastest kernel
 * (sp_hash_best_batch), but no more than batch_bytes_max of them.  When fewer
 * wait and jobs have been arriving fast, it lingers for the next ones, never
 * longer than linger_ns and never longer than they should take to come: a
 * lone piece is hashed at once.  A second worker starts only when more than a
 * full batch waits, since two half-empty batches cost twice one full batch.
 */
#ifndef SP_IO_HASHER_H
#define SP_IO_HASHER_H

#include "core/base/hash.h"
#include "io/hash/hash.h"

struct sp_hasher;

struct sp_hasher_cfg {
    uint32_t threads;       /* 0: one a core, 4 at most */
    size_t batch_bytes_max; /* what one batch may hold back, beyond its first job; 0: 24 MiB */
    sp_time_ns linger_ns;   /* longest wait for lanes to fill; 0: 8 ms; SP_TIME_NEVER: no waiting */
};

/* One message to hash.  The job, its parts and their bytes are the caller's,
 * and stay untouched and alive from submit until done is called. */
struct sp_hash_job {
    struct sp_hash_job *next; /* the hasher's */
    uint64_t bytes;           /* the hasher's: the length of the message */
    struct sp_hash_msg msg;
    /* Called once, on a worker thread (or in sp_hasher_free), after which the
     * hasher knows the job no more.  It must not block; it may submit. */
    void (*done)(struct sp_hash_job *job);
    void *ctx;              /* the caller's */
    enum sp_err err;        /* out: SP_OK, or SP_ECANCELED: not hashed, the hasher ended */
    bool want_prints;       /* also fingerprint each part ... */
    uint64_t *prints;       /* ... into here, msg.part_count of them: sp_hash_bytes(key, part) */
    struct sp_hash_key key; /* for prints */
};

struct sp_hasher_stats {
    uint64_t jobs, batches, bytes; /* hashed so far */
    uint64_t lingers;              /* batches that waited for more */
    uint32_t waiting;              /* jobs not yet taken */
};

enum sp_hasher_end {
    SP_HASHER_FINISH, /* hash what waits, then end */
    SP_HASHER_CANCEL, /* finish the batches at work; what waits is done with SP_ECANCELED */
};

/* cfg: NULL for the defaults.  SP_ENOMEM (also when no thread can be had) */
SP_MUST_USE enum sp_err sp_hasher_new(const struct sp_hasher_cfg *cfg, struct sp_hasher **ret_h);
/* From any thread; never waits for a hash.  Not once sp_hasher_free was called,
 * but for done callbacks under SP_HASHER_FINISH. */
void sp_hasher_submit(struct sp_hasher *h, struct sp_hash_job *job);
/* Several at once, linked by next in their order: one wake-up. */
void sp_hasher_submit_list(struct sp_hasher *h, struct sp_hash_job *first);
void sp_hasher_stats(struct sp_hasher *h, struct sp_hasher_stats *ret_stats);
/* Ends and joins the threads; every job was done when it returns.  Takes NULL. */
void sp_hasher_free(struct sp_hasher *h, enum sp_hasher_end how);

#endif
