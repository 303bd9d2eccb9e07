/* parse.h - what the files that parse a torrent share. */
#ifndef SP_METAINFO_PARSE_H
#define SP_METAINFO_PARSE_H

#include "core/base/arena.h"
#include "spate/bencode.h"
#include "spate/metainfo.h"

struct sp_metainfo_impl {
    struct sp_metainfo pub; /* first: what callers hold */
    struct sp_arena arena;  /* everything pub points to */
};

struct sp_mi_parse {
    const struct sp_metainfo_limits *limits;
    const struct sp_mem *mem; /* for what is needed only while parsing */
    struct sp_arena *arena;   /* for what stays */
    struct sp_metainfo *mi;
    struct sp_diag *diag;
    struct sp_ben ben;
};

/* Fills diag and gives err.  Each '%' of text is replaced by the next of a, b;
 * the offset is that of token tok. */
enum sp_err sp_mi_fail(struct sp_mi_parse *p, enum sp_err err, uint32_t tok, const char *text,
                       uint64_t a, uint64_t b);

/* A length in bytes: 0..INT64_MAX.  name is the value's place for the diag,
 * with a '%' for a; dict_ix is told when tok is SP_BEN_NONE. */
SP_MUST_USE enum sp_err sp_mi_length(struct sp_mi_parse *p, uint32_t dict_ix, uint32_t tok,
                                     const char *name, uint64_t a, uint64_t *ret_length);

/* mi->files, file_count, single_file, total_length; wants piece_length,
 * name, raw_name and info_hash_v1. */
SP_MUST_USE enum sp_err sp_mi_read_files(struct sp_mi_parse *p, uint32_t info_ix);

/* pieces_root of every file, from "file tree", which has to tell the same
 * files in the same order. */
SP_MUST_USE enum sp_err sp_mi_read_tree(struct sp_mi_parse *p, uint32_t info_ix);

/* Trackers, web seeds, nodes. */
SP_MUST_USE enum sp_err sp_mi_read_urls(struct sp_mi_parse *p);

/* Without white space around it, when it can be a URL (1..2048 bytes, none
 * below 0x21, no 0x7f); an empty slice when not. */
struct sp_slice sp_mi_url(struct sp_slice s);

#endif
