/* spate/create.h - make a torrent of a file or a directory, and check data
 * against a torrent.  Both block the calling thread, use their own threads
 * for hashing, report progress and can be canceled. */
#ifndef SPATE_CREATE_H
#define SPATE_CREATE_H

#include "spate/err.h"
#include "spate/types.h"

struct sp_metainfo;

/* How far a long piece of work is; called on the calling thread about every
 * 100 ms and at the end.  Answering false cancels (SP_ECANCELED). */
typedef bool sp_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes);

enum sp_create_version {
    SP_CREATE_V1 = 1, /* the only one so far */
};

struct sp_create_cfg {
    const char *path; /* the file or directory; its base name becomes the torrent's */
    enum sp_create_version version;
    uint32_t piece_length;       /* bytes, 16 KiB..1 GiB, a power of two; 0: chosen by size */
    uint32_t threads;            /* of hashing; 0: one per core */
    const char *const *trackers; /* each a tier; a comma joins several URLs into one tier */
    uint32_t tracker_count;
    const char *const *web_seeds;
    uint32_t web_seed_count;
    const char *const *nodes; /* "HOST:PORT" */
    uint32_t node_count;
    bool is_private;
    const char *comment;    /* NULL: none */
    const char *source;     /* NULL: none */
    const char *created_by; /* NULL: "Spate/VERSION"; "": none */
    int64_t creation_date;  /* seconds since 1970; negative: none */
    sp_progress *progress;  /* NULL: none */
    void *ctx;
};

/* GIVES the torrent file's bytes (free with sp_bytes_free, client.h).  Same
 * input, same bytes: files are taken in order of their path's bytes.
 * SP_ENOENT, SP_EACCES, SP_EIO  diag names the file; also when it changed meanwhile
 * SP_EINVAL  diag names the setting     SP_EDATA  nothing to share (no bytes) */
SP_MUST_USE SP_API enum sp_err sp_create(const struct sp_create_cfg *cfg, uint8_t **ret_bytes,
                                         size_t *ret_len, struct sp_diag *diag);

enum sp_file_state {
    SP_FILE_OK,
    SP_FILE_BAD, /* a piece over it does not match */
    SP_FILE_MISSING,
    SP_FILE_SHORT, /* or long: the size differs */
};

struct sp_verify_cfg {
    const struct sp_metainfo *metainfo;
    const char *dir;
    uint32_t threads; /* 0: one per core */
    sp_progress *progress;
    void *ctx;
};

struct sp_verify_result {
    uint32_t piece_count, piece_ok;
    uint64_t bytes_ok;
    uint8_t *pieces; /* one bit each as in a BITFIELD message: 1 is good */
    uint32_t file_count;
    uint8_t *files; /* enum sp_file_state, in the torrent's order */
};

/* SP_OK also when data is bad or missing: the result tells.
 * GIVES the result's arrays; free with sp_verify_done. */
SP_MUST_USE SP_API enum sp_err sp_verify(const struct sp_verify_cfg *cfg,
                                         struct sp_verify_result *ret_result, struct sp_diag *diag);
SP_API void sp_verify_done(struct sp_verify_result *result);

#endif
