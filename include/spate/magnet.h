/* spate/magnet.h - magnet links, read and written.
 *
 *   magnet:?xt=urn:btih:HASH&dn=NAME&tr=URL&ws=URL&x.pe=HOST:PORT&so=0,2,4-6
 *
 * What decides which data is meant (xt, so) is refused when malformed; what
 * only helps to find it (tr, ws, xs, as, x.pe, dn, xl) is left out when
 * malformed.  Parameters nobody knows are ignored.
 *
 * Sources: BEP-0009 "magnet URI format", BEP-0053 (so), BEP-0052 (btmh).
 */
#ifndef SPATE_MAGNET_H
#define SPATE_MAGNET_H

#include "spate/err.h"
#include "spate/mem.h"
#include "spate/metainfo.h"

enum {
    SP_MAGNET_LEN_MAX = 65536,  /* bytes of a link */
    SP_MAGNET_LIST_MAX = 512,   /* entries of each list; more are left out */
    SP_MAGNET_RANGE_MAX = 4096, /* parts of so */
};

/* Files first..last, both included; 0-based. */
struct sp_file_range {
    uint32_t first, last;
};

/* All strings are decoded and NUL-terminated. */
struct sp_magnet {
    bool has_v1, has_v2; /* at least one */
    uint8_t info_hash_v1[SP_SHA1_LEN];
    uint8_t info_hash_v2[SP_SHA256_LEN];
    const char *name; /* dn for people: valid UTF-8 without control characters; NULL: absent */
    uint64_t length;  /* xl, bytes; 0: not told */
    const struct sp_metainfo_tracker *trackers; /* tr, each a tier of its own; distinct */
    uint32_t tracker_count;
    const char *const *web_seeds; /* ws */
    uint32_t web_seed_count;
    const char *const *exact_sources; /* xs: where the .torrent file lies */
    uint32_t exact_source_count;
    const char *const *sources; /* as: acceptable source */
    uint32_t source_count;
    const struct sp_metainfo_node *peers; /* x.pe */
    uint32_t peer_count;
    /* so: ascending, neither overlapping nor touching; range_count 0: all files */
    const struct sp_file_range *ranges;
    uint32_t range_count;
};

/* GIVES the magnet; mem must outlive it.
 * SP_EDATA   diag: no magnet link, no usable xt, two that differ, malformed so
 * SP_ELIMIT  longer than SP_MAGNET_LEN_MAX, more than SP_MAGNET_RANGE_MAX in so
 * SP_ENOMEM */
SP_MUST_USE SP_API enum sp_err sp_magnet_parse(const struct sp_mem *mem, struct sp_slice text,
                                               struct sp_magnet **ret_magnet, struct sp_diag *diag);
/* Takes NULL. */
SP_API void sp_magnet_free(struct sp_magnet *magnet);

/* The link as text, with a NUL that ret_len does not count; same magnet, same
 * text.  buf NULL with cap 0 measures: it takes ret_len + 1 bytes.
 * SP_ELIMIT  cap is too small; ret_len is set   SP_EINVAL  no hash */
SP_MUST_USE SP_API enum sp_err sp_magnet_write(const struct sp_magnet *magnet, char *buf,
                                               size_t cap, size_t *ret_len);

/* The same for a torrent: hashes, name, length, trackers and web seeds. */
SP_MUST_USE SP_API enum sp_err sp_magnet_of_metainfo(const struct sp_metainfo *mi, char *buf,
                                                     size_t cap, size_t *ret_len);

/* Does text begin like a magnet link ("magnet:?", any case)? */
SP_API bool sp_magnet_is(struct sp_slice text);

#endif
