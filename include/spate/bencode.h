/* spate/bencode.h - read one bencoded value into a flat array of tokens; write one.
 *
 * Tokens point into the caller's bytes: nothing is copied or allocated, and
 * the raw span of a list or dictionary (an info-dict to hash, say) stays at
 * hand.  Source: BEP-0003 "bencoding".
 *
 * Shape of the result for  d3:fooli1ei2eee
 *
 *   ix  kind  off len        next
 *   0   DICT  0   15 whole   5      next = index just past this value,
 *   1   STR   3   3  foo     2             children included; so a value
 *   2   LIST  6   8  whole   5             is skipped with one assignment
 *   3   INT   8   1  1       4
 *   4   INT   11  1  2       5
 *
 *   struct sp_ben_tok toks[64];
 *   struct sp_ben doc;
 *   struct sp_ben_limits limits = {.depth_max = 8, .tok_max = 64};
 *   if (sp_ben_read(in, &limits, toks, &doc, NULL) == SP_OK)
 *       sp_ben_int(&doc, sp_ben_find(&doc, 0, "interval"), 1, 86400, &interval);
 */
#ifndef SPATE_BENCODE_H
#define SPATE_BENCODE_H

#include "spate/err.h"

enum sp_ben_kind {
    SP_BEN_INT,
    SP_BEN_STR,
    SP_BEN_LIST,
    SP_BEN_DICT,
};

struct sp_ben_tok {
    uint32_t off;  /* bytes from the start of the input */
    uint32_t len;  /* bytes: INT the sign and digits, STR the payload, LIST and DICT the whole */
    uint32_t next; /* token index */
    uint8_t kind;  /* enum sp_ben_kind */
};

/* What was read: token 0 is the outermost value. */
struct sp_ben {
    struct sp_slice in;            /* borrowed: has to outlive this */
    const struct sp_ben_tok *toks; /* count of them; NULL after a counting pass */
    uint32_t count;
    size_t end; /* bytes of in that the value takes; the rest was not looked at */
};

enum {
    SP_BEN_DEPTH_DEFAULT = 100, /* levels of LIST and DICT inside one another */
    SP_BEN_DEPTH_CAP = 256,     /* the most that may be configured */
};

struct sp_ben_limits {
    uint32_t depth_max; /* 0: SP_BEN_DEPTH_DEFAULT; more than SP_BEN_DEPTH_CAP is taken as that */
    uint32_t tok_max;   /* values in all, and entries of toks; also the bound on the work */
    bool strict;        /* refuse dictionaries whose keys are unsorted or double: for
                           metainfo.  Peers and trackers do send unsorted ones. */
};

/* Reads the value that starts at in.ptr[0].  No recursion; the stack it needs
 * does not depend on the input.
 *
 *   toks     the caller's limits->tok_max entries; NULL: only check and count
 *   ret_ben  untouched unless SP_OK
 *   diag     byte offset and reason; NULL: not wanted
 *
 * SP_AGAIN   in ends inside the value
 * SP_EDATA   not bencode: bad digit, leading zero, -0, key that is no string,
 *            key without value, or (strict) keys out of order
 * SP_ELIMIT  more values or deeper than limits allow, or in is 4 GiB or more
 */
SP_MUST_USE SP_API enum sp_err sp_ben_read(struct sp_slice in, const struct sp_ben_limits *limits,
                                           struct sp_ben_tok *toks, struct sp_ben *ret_ben,
                                           struct sp_diag *diag);

/* --- looking things up ------------------------------------------------------
 * Every function takes SP_BEN_NONE and values of another kind, and answers
 * "not there", so that look-ups can be chained without a check between.
 */
#define SP_BEN_NONE UINT32_MAX

/* The value of key in the dictionary; of the first such key where there are several. */
SP_API uint32_t sp_ben_find(const struct sp_ben *ben, uint32_t dict_ix, const char *key);
/* Is it there and of this kind? */
SP_API bool sp_ben_is(const struct sp_ben *ben, uint32_t ix, enum sp_ben_kind kind);
/* The integer, when it lies in min..max.  BEP-0003 sets integers no size: one
 * that does not fit is read well, and is out of every range here. */
SP_API bool sp_ben_int(const struct sp_ben *ben, uint32_t ix, int64_t min, int64_t max,
                       int64_t *ret_value);
/* The bytes of a string; borrowed from the input. */
SP_API bool sp_ben_str(const struct sp_ben *ben, uint32_t ix, struct sp_slice *ret_str);
/* Is it a string of exactly these bytes? */
SP_API bool sp_ben_str_is(const struct sp_ben *ben, uint32_t ix, const char *text);
/* The encoded bytes of a list or dictionary, to hash or to hand on. */
SP_API bool sp_ben_raw(const struct sp_ben *ben, uint32_t ix, struct sp_slice *ret_raw);

/* for (i = sp_ben_first(b, ix); i != SP_BEN_NONE; i = sp_ben_next(b, ix, i))
 * visits the values of a list, or the keys of a dictionary (the value of the
 * key at i is at i + 1).  sp_ben_next skips a dictionary's values. */
SP_API uint32_t sp_ben_first(const struct sp_ben *ben, uint32_t ix);
SP_API uint32_t sp_ben_next(const struct sp_ben *ben, uint32_t ix, uint32_t at);

/* --- writing ----------------------------------------------------------------
 * Straight down, one check at the end.  With cap 0 nothing is written and
 * only measured.
 *
 *   struct sp_ben_writer w = sp_ben_writer_of(buf, cap);
 *   sp_ben_put_dict(&w);
 *   sp_ben_put_key(&w, "interval");
 *   sp_ben_put_int(&w, 1800);
 *   sp_ben_put_end(&w);
 *   err = sp_ben_writer_end(&w, &len);
 */
enum { SP_BEN_WRITER_DEPTH = 72 };

struct sp_ben_level {
    struct sp_slice key; /* DICT: the last one; empty before the first */
    uint8_t kind;        /* enum sp_ben_kind */
    bool has_key;        /* DICT: key is waiting for its value */
    bool has_any;        /* DICT: there was a key */
};

struct sp_ben_writer {
    uint8_t *ptr; /* may be NULL when cap is 0 */
    size_t cap;   /* bytes */
    size_t len;   /* bytes written, or that would have been */
    bool misused; /* sticks: the calls do not make one bencoded value */
    bool whole;   /* the outermost value is complete */
    uint32_t depth;
    struct sp_ben_level levels[SP_BEN_WRITER_DEPTH];
};

static inline struct sp_ben_writer sp_ben_writer_of(uint8_t *ptr, size_t cap)
{
    return (struct sp_ben_writer){.ptr = ptr, .cap = cap};
}

SP_API void sp_ben_put_int(struct sp_ben_writer *w, int64_t value);
SP_API void sp_ben_put_str(struct sp_ben_writer *w, struct sp_slice str);
SP_API void sp_ben_put_text(struct sp_ben_writer *w, const char *text);
SP_API void sp_ben_put_list(struct sp_ben_writer *w);
SP_API void sp_ben_put_dict(struct sp_ben_writer *w);
/* Closes the innermost list or dictionary. */
SP_API void sp_ben_put_end(struct sp_ben_writer *w);
/* Keys have to come in ascending order of their bytes, each once.  Borrowed
 * until the next key of the same dictionary or its end. */
SP_API void sp_ben_put_key(struct sp_ben_writer *w, const char *key);
SP_API void sp_ben_put_key_str(struct sp_ben_writer *w, struct sp_slice key);
/* One whole value that is encoded already; not looked at. */
SP_API void sp_ben_put_raw(struct sp_ben_writer *w, struct sp_slice raw);

/* SP_ELIMIT  cap was too small; *ret_len tells how much it takes
 * SP_EINVAL  keys out of order, a key without value, an end too many or too
 *            few, deeper than SP_BEN_WRITER_DEPTH; ret_len untouched */
SP_API enum sp_err sp_ben_writer_end(const struct sp_ben_writer *w, size_t *ret_len);

#endif
