/* paths.h - the tree of a torrent's paths while it is parsed.
 *
 * Every component is a node below its directory.  A node's name is its raw
 * bytes cleaned, and marked ("~2") where a sibling has the same name already, or
 * one that differs only by case or normal form.  So cleaned paths are
 * distinct where raw ones are, and directories keep together.
 */
#ifndef SP_METAINFO_PATHS_H
#define SP_METAINFO_PATHS_H

#include "core/base/arena.h"
#include "core/base/hash.h"
#include "core/base/map.h"
#include "spate/err.h"

struct sp_path_node {
    struct sp_slice raw; /* borrowed from the torrent's bytes */
    const char *name;    /* cleaned, name_len bytes: in raw when that is clean, else in the arena */
    uint32_t parent;     /* node; the root is its own */
    uint32_t file_ix;    /* the first file that brought it */
    uint8_t name_len;    /* 1..255 */
    bool is_file;
    bool renamed; /* this name or one above it differs from raw */
};

struct sp_paths {
    struct sp_arena *arena; /* for cleaned names */
    struct sp_hash_key key;
    struct sp_path_node *nodes; /* 0 is the root: the torrent's name */
    uint32_t count, cap;
    struct sp_map by_raw, by_name; /* (parent, bytes) to node */
};

/* key from the info-hash: the same on every machine, and nobody can choose
 * names by it, since the names decide it. */
SP_MUST_USE enum sp_err sp_paths_init(struct sp_paths *t, const struct sp_mem *mem,
                                      struct sp_arena *arena, const uint8_t seed[16],
                                      struct sp_slice root_raw, const char *root);
void sp_paths_done(struct sp_paths *t);

/* The child of parent with these raw bytes; SP_MAP_NONE: there is none. */
uint32_t sp_paths_find(const struct sp_paths *t, uint32_t parent, struct sp_slice raw);
/* Makes it; it must not be there.  SP_ENOMEM */
SP_MUST_USE enum sp_err sp_paths_add(struct sp_paths *t, uint32_t parent, struct sp_slice raw,
                                     uint32_t file_ix, uint32_t *ret_node);
/* The node's path from the root on, '/' between, extra bytes of room and a NUL
 * behind; NULL: no memory. */
char *sp_paths_text(struct sp_paths *t, uint32_t node, size_t extra, size_t *ret_len);

#endif
