/* spate/metainfo.h - what a .torrent file says, checked and cleaned; make one.
 *
 * A parsed torrent is one object with plain fields to read; nothing in it
 * changes until sp_metainfo_free.  Everything was checked: sums fit, counts
 * match, paths are relative, clean and distinct.
 *
 * Sources: BEP-0003 "metainfo files", 0005 (nodes), 0012 (tiers), 0017 and
 * 0019 (web seeds), 0027 (private), 0047 (pad files, attributes, symlinks),
 * 0052 (second hash of hybrids).
 */
#ifndef SPATE_METAINFO_H
#define SPATE_METAINFO_H

#include "spate/err.h"
#include "spate/mem.h"

/* BEP-0047 "attr" */
enum sp_attr {
    SP_ATTR_PAD = 1,        /* only zeros, written nowhere */
    SP_ATTR_EXECUTABLE = 2, /* x */
    SP_ATTR_HIDDEN = 4,     /* h */
    SP_ATTR_SYMLINK = 8,    /* l; length is 0 */
};

/* One file.  Its bytes are [offset, offset + length) of the torrent's and lie
 * in the pieces [piece_first, piece_end); the two are equal for an empty file. */
struct sp_file {
    uint64_t length; /* bytes */
    uint64_t offset; /* bytes */
    uint32_t piece_first, piece_end;
    /* Cleaned: relative, components joined by '/', valid UTF-8, NUL-terminated.
     * Begins with the torrent's name; of a single-file torrent it is the name.
     * No two files that are written have paths that are equal, or equal but for
     * case and normal form, or one below the other.  Pad files may repeat. */
    const char *path;
    uint32_t path_len;          /* bytes */
    uint32_t attr;              /* enum sp_attr, or-ed */
    bool renamed;               /* path differs from what the torrent says */
    bool raw_is_list;           /* raw_path is an encoded list, not a bare name */
    const char *symlink;        /* SP_ATTR_SYMLINK: target, in the form of path; else NULL */
    const uint8_t *pieces_root; /* SHA-256 tree root (v2 half of a hybrid), or NULL */
    struct sp_slice raw_path;   /* as encoded, see sp_file_raw_part */
};

struct sp_metainfo_tracker {
    const char *url; /* NUL-terminated; nothing below 0x21, no 0x7f */
    uint32_t tier;   /* ascending from 0; those of one tier are alternatives (BEP-0012) */
};

enum sp_web_seed_kind {
    SP_WEB_SEED_URL,  /* BEP-0019 "url-list" */
    SP_WEB_SEED_HTTP, /* BEP-0017 "httpseeds" */
};

struct sp_metainfo_web_seed {
    const char *url; /* as a tracker's */
    enum sp_web_seed_kind kind;
};

/* A DHT node or peer as text: a name or an IP address, and a port. */
struct sp_metainfo_node {
    const char *host; /* v6 without brackets */
    uint16_t port;    /* 1..65535 */
};

struct sp_metainfo {
    bool has_v1;                         /* always, so far */
    bool has_v2;                         /* a hybrid; read through its v1 half */
    uint8_t info_hash_v1[SP_SHA1_LEN];   /* zeros unless has_v1 */
    uint8_t info_hash_v2[SP_SHA256_LEN]; /* zeros unless has_v2 */
    uint64_t total_length;               /* bytes, pad files included; > 0 */
    uint32_t piece_length;               /* bytes, 1..2^30, not always a power of two */
    uint32_t piece_count;                /* > 0 */
    const uint8_t *pieces;               /* piece_count SHA-1 hashes */
    bool single_file;                    /* "length" instead of "files" */
    bool is_private;                     /* BEP-0027 */
    const char *name;                    /* cleaned: one path component */
    struct sp_slice raw_name;            /* as the torrent says */
    uint32_t file_count;                 /* > 0 */
    const struct sp_file *files;         /* by offset, in the torrent's order */
    uint32_t tracker_count;              /* of them distinct */
    const struct sp_metainfo_tracker *trackers;
    uint32_t web_seed_count;
    const struct sp_metainfo_web_seed *web_seeds;
    uint32_t node_count;
    const struct sp_metainfo_node *nodes;
    /* For people; valid UTF-8 without control characters but '\n', NULL: absent. */
    const char *comment, *created_by, *source;
    int64_t creation_date; /* seconds since 1970; -1: absent */
    struct sp_slice info;  /* the info-dict as encoded: what is hashed and sent (BEP-0009) */
    struct sp_slice raw;   /* the whole file */
};

struct sp_metainfo_limits {
    uint64_t len_max;          /* bytes of the file; 256 MiB */
    uint32_t tok_max;          /* bencoded values; 2^24: 1,000,000 files of a hybrid */
    uint32_t depth_max;        /* nesting; 100 */
    uint32_t file_max;         /* 1,000,000 */
    uint32_t piece_max;        /* 4,194,304 */
    uint32_t piece_length_max; /* bytes; 1 GiB */
    uint32_t path_depth_max;   /* components of a file below the name; 64 */
    uint32_t path_len_max;     /* bytes of a cleaned path; 4000 */
    uint32_t url_max;          /* trackers, web seeds, nodes, each; 4096 */
    bool lax_keys;             /* take dictionaries whose keys are unsorted or double */
};

/* All defaults as told above. */
SP_API void sp_metainfo_limits_init(struct sp_metainfo_limits *limits);

/* Parses a .torrent file.  bytes are copied.  GIVES the torrent; mem must
 * outlive it.
 *
 *   limits  NULL: the defaults
 *   diag    on failure one line that names place and reason, such as
 *           "info.files[3].path: is empty", and the byte offset of that value
 *
 * SP_EDATA   not a torrent, or one that must not be used
 * SP_ELIMIT  larger than limits allow
 * SP_ENOMEM */
SP_MUST_USE SP_API enum sp_err sp_metainfo_parse(const struct sp_mem *mem, struct sp_slice bytes,
                                                 const struct sp_metainfo_limits *limits,
                                                 struct sp_metainfo **ret_metainfo,
                                                 struct sp_diag *diag);

/* The same from an info-dict alone, as peers send it (BEP-0009), with the
 * trackers that are known; raw is the .torrent file made of both. */
SP_MUST_USE SP_API enum sp_err
sp_metainfo_parse_info(const struct sp_mem *mem, struct sp_slice info,
                       const struct sp_metainfo_tracker *trackers, uint32_t tracker_count,
                       const struct sp_metainfo_limits *limits, struct sp_metainfo **ret_metainfo,
                       struct sp_diag *diag);

/* Takes NULL. */
SP_API void sp_metainfo_free(struct sp_metainfo *mi);

/* Component part_ix of the path as the torrent says it, without the torrent's
 * name; of a single-file torrent part 0 is the name.  Untrusted bytes.
 * false: there are fewer. */
SP_API bool sp_file_raw_part(const struct sp_file *file, uint32_t part_ix,
                             struct sp_slice *ret_part);

/* The file that has the torrent's byte off (never an empty one); off < total_length. */
SP_API uint32_t sp_metainfo_file_at(const struct sp_metainfo *mi, uint64_t off);

/* Bytes of piece ix; the last may be shorter. */
static inline uint32_t sp_metainfo_piece_len(const struct sp_metainfo *mi, uint32_t ix)
{
    uint64_t left = mi->total_length - (uint64_t)ix * mi->piece_length;
    return left < mi->piece_length ? (uint32_t)left : mi->piece_length;
}

static inline const uint8_t *sp_metainfo_piece_hash(const struct sp_metainfo *mi, uint32_t ix)
{
    return mi->pieces + (size_t)ix * SP_SHA1_LEN;
}

/* --- making one ------------------------------------------------------------- */

struct sp_metainfo_spec_file {
    struct sp_slice path;    /* below the name, components joined by '/'; bytes as they are */
    uint64_t length;         /* bytes */
    uint32_t attr;           /* enum sp_attr, or-ed */
    struct sp_slice symlink; /* SP_ATTR_SYMLINK: target below the name, in the form of path */
};

struct sp_metainfo_spec {
    struct sp_slice name;
    const struct sp_metainfo_spec_file *files;
    uint32_t file_count;
    bool single_file;       /* one file, whose path is ignored: name is its name */
    uint32_t piece_length;  /* bytes */
    struct sp_slice pieces; /* SHA-1 hashes */
    const struct sp_metainfo_tracker *trackers; /* tiers ascending */
    uint32_t tracker_count;
    const struct sp_metainfo_web_seed *web_seeds;
    uint32_t web_seed_count;
    const struct sp_metainfo_node *nodes;
    uint32_t node_count;
    bool is_private;
    const char *comment, *created_by, *source; /* NULL: none */
    int64_t creation_date;                     /* negative: none */
};

/* Writes a v1 torrent file: same spec, same bytes.
 *
 *   buf      cap bytes; NULL with cap 0 to measure
 *   ret_len  what it takes, also with SP_ELIMIT
 *
 * SP_ELIMIT  cap is too small
 * SP_EINVAL  diag says what in the spec is wrong: lengths and pieces do not
 *            match, an empty, "." or ".." component, no bytes at all.  What is
 *            not looked at: whether paths are distinct */
SP_MUST_USE SP_API enum sp_err sp_metainfo_write(const struct sp_metainfo_spec *spec, uint8_t *buf,
                                                 size_t cap, size_t *ret_len, struct sp_diag *diag);

#endif
