/* picker.h - which blocks to ask of which peer, and the pieces in flight.
 *
 * One picker per torrent.  It knows what we have and want, how many peers have
 * each piece, and holds a record of every piece that is being fetched.  It
 * never sees a socket: peers are the caller's numbers.
 *
 *   IDLE --pick--> OPEN --last block got--> FULL --set_have(true)--> HAVE
 *                   ^  ^------- failed -------'
 *                   '--- abandon: back to IDLE
 *
 * Sources: BEP-0003 (pieces, choosing at random among the rarest, end game),
 * BEP-0006 (allowed fast, suggested pieces).
 *
 * Costs: every call is O(1) or O(log n) unless its comment says otherwise.
 * Memory: two bitfields; plus 2 bytes a piece while a peer has some pieces but
 * not all; plus about 8 bytes a piece from the first pick until nothing is
 * wanted; plus 1 byte a piece once a priority other than the default is set.
 *
 * Asserted, so the caller has to see to it: piece < piece_count, bitfields of
 * piece_count bits, refs from outside checked with sp_picker_has_block first.
 */
#ifndef SP_PICKER_H
#define SP_PICKER_H

#include "core/base/bits.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "spate/err.h"

#define SP_PEER_NONE UINT32_MAX

enum {
    SP_PICKER_PIECE_MAX = 1 << 28,     /* pieces of a torrent */
    SP_PICKER_PIECE_LEN_MAX = 1 << 30, /* bytes of a piece */
    SP_PICKER_PRIO_DEFAULT = 4,        /* 0 not wanted, 1 lowest .. 7 highest */
    SP_PICKER_PRIO_MAX = 7,
    SP_PICKER_ASKERS_MAX = 3,   /* peers one block is asked of at once */
    SP_PICKER_RANDOM_FIRST = 4, /* pieces had before rarest-first starts */
};

/* One request of the wire: a block index within the piece. */
struct sp_block_ref {
    uint32_t piece;
    uint32_t block; /* offset in the piece / SP_BLOCK_LEN */
};

enum sp_piece_state {
    SP_PIECE_IDLE, /* not had, nothing of it here or asked */
    SP_PIECE_OPEN, /* being fetched */
    SP_PIECE_FULL, /* all blocks are in: being hashed or written */
    SP_PIECE_HAVE,
};

enum sp_open_state {
    SP_BLOCK_FREE,  /* to be asked */
    SP_BLOCK_ASKED, /* asked of askers[0 .. asked) */
    SP_BLOCK_GOT,   /* here; askers[0 .. asked) still owe a duplicate: cancel them */
};

struct sp_open_block {
    uint8_t *data;                         /* GOT: what the caller passed to got, the caller's */
    uint32_t from;                         /* GOT: peer that sent it */
    uint32_t askers[SP_PICKER_ASKERS_MAX]; /* the first `asked` of them */
    uint8_t state;                         /* enum sp_open_state */
    uint8_t asked;                         /* peers it is asked of and has not come from */
};

/* A piece in flight.  The caller may read all of it and take (set to NULL)
 * blocks[].data; everything else changes through the functions. */
struct sp_open_piece {
    uint32_t piece;
    uint32_t block_count;
    uint32_t got_count;        /* blocks GOT */
    uint32_t asked_count;      /* blocks ASKED; the rest is FREE */
    enum sp_piece_state state; /* OPEN or FULL */
    uint32_t owner;            /* peer that opened or adopted it, or SP_PEER_NONE */
    bool exclusive;            /* the owner wants all of it */
    uint8_t failures;          /* times its hash did not match; then it is fetched from one peer */
    /* The rest is the picker's. */
    uint8_t list, prio;
    uint32_t slot, first_free;
    uint32_t once; /* blocks ASKED of one peer, two peers: the end game's work */
    uint32_t twice;
    struct sp_open_piece *next, *prev;           /* all open pieces, in the order of opening */
    struct sp_open_piece *free_next, *free_prev; /* those with FREE blocks, by list */
    struct sp_open_block blocks[];
};

struct sp_picker_cfg {
    const struct sp_mem *mem;
    struct sp_rng *rng;   /* kept */
    uint32_t piece_count; /* 1 .. SP_PICKER_PIECE_MAX */
    uint32_t piece_len;   /* bytes, 1 .. SP_PICKER_PIECE_LEN_MAX */
    uint64_t total_len;   /* bytes; piece_count is total_len / piece_len rounded up */
    /* Optional, where not only the last piece may be short (BEP-0052: a file's last piece ends with
     * the file): the length of a piece, 1 .. piece_len.  total_len is not looked at then. */
    uint32_t (*len_of)(const void *ctx, uint32_t piece);
    const void *len_ctx; /* kept */
};

struct sp_picker;

/* GIVES a picker that wants every piece and has none.
 * SP_EINVAL  counts and lengths do not belong together, or are out of range
 * SP_ENOMEM */
SP_MUST_USE enum sp_err sp_picker_new(const struct sp_picker_cfg *cfg,
                                      struct sp_picker **ret_picker);
/* Takes NULL.  Blocks' data must have been taken by the caller. */
void sp_picker_free(struct sp_picker *p);

/* ---- shapes ---- */

uint32_t sp_picker_piece_count(const struct sp_picker *p);
uint32_t sp_picker_piece_len(const struct sp_picker *p, uint32_t piece);          /* bytes */
uint32_t sp_picker_block_count(const struct sp_picker *p, uint32_t piece);        /* blocks */
uint32_t sp_picker_block_len(const struct sp_picker *p, struct sp_block_ref ref); /* bytes */
/* Whether there is such a block: for refs that come from peers. */
bool sp_picker_has_block(const struct sp_picker *p, struct sp_block_ref ref);

/* ---- what we have and want ---- */

/* From resume data, a check, or after the write; false when a piece was lost.
 * Closes the piece's open record: the caller must have taken the data. */
void sp_picker_set_have(struct sp_picker *p, uint32_t piece, bool have);
/* prio 0 .. SP_PICKER_PRIO_MAX; priority goes before rarity and order.  An
 * open piece of priority 0 stays open, but no more of it is asked.
 * SP_ENOMEM (at most once, for the first other than the default) */
SP_MUST_USE enum sp_err sp_picker_set_priority(struct sp_picker *p, uint32_t piece, uint8_t prio);
uint8_t sp_picker_priority(const struct sp_picker *p, uint32_t piece);
/* Lowest index first instead of rarest first; joins open pieces in that order. */
void sp_picker_set_sequential(struct sp_picker *p, bool sequential);

/* Borrowed until sp_picker_free. */
const struct sp_bits *sp_picker_have(const struct sp_picker *p);
const struct sp_bits *sp_picker_wanted(const struct sp_picker *p); /* prio > 0 and not had */
enum sp_piece_state sp_picker_state(const struct sp_picker *p, uint32_t piece);

struct sp_picker_counts {
    uint32_t have;        /* pieces */
    uint32_t wanted_left; /* pieces of priority > 0 not had */
    uint64_t have_bytes;
    uint64_t wanted_left_bytes; /* of those pieces, as if nothing of them were here */
    uint64_t open_bytes;        /* bytes of pieces OPEN and FULL: what they will need of memory */
    uint64_t got_bytes;         /* of these, the bytes that are here; payload counted to the byte */
    uint32_t open;              /* pieces OPEN and FULL */
    uint32_t full;              /* of these, FULL */
    uint32_t asked;             /* blocks ASKED */
    uint64_t duplicates;        /* blocks that came again, ever */
    uint64_t unwanted;          /* blocks that came for no open piece, ever */
};
struct sp_picker_counts sp_picker_counts(const struct sp_picker *p);

/* ---- availability ----
 *
 * Each connected peer is counted one way until it goes: as a seed (O(1)), or
 * by its bits plus one sp_picker_avail_add for every HAVE that was new.  The
 * caller remembers which: a peer that completes may stay counted by bits.
 * At most 65,535 peers by bits.
 *
 * Out of memory here makes availability read 0 until those peers have gone. */

/* O(piece_count / 8): a peer with bits joins (+1) or leaves (-1). */
void sp_picker_peer_bits(struct sp_picker *p, const struct sp_bits *bits, int delta);
void sp_picker_seeds(struct sp_picker *p, int delta);
void sp_picker_avail_add(struct sp_picker *p, uint32_t piece, int delta);
/* Peers that have it, seeds included, we not. */
uint32_t sp_picker_avail(const struct sp_picker *p, uint32_t piece);
/* Distributed copies in thousandths, we not included: whole copies among the
 * peers, and the share of pieces of which there is one more.
 * O(piece_count) after a change: for a status line, not for each event. */
uint64_t sp_picker_copies_milli(struct sp_picker *p);

/* ---- choosing ---- */

struct sp_pick {
    uint32_t peer;              /* caller's number of the peer; not SP_PEER_NONE */
    const struct sp_bits *have; /* what the peer has; NULL: everything */
    const uint32_t *only;       /* not NULL: nothing but these pieces (allowed fast while choked) */
    uint32_t only_count;
    const uint32_t *first; /* suggested pieces: tried first within their priority */
    uint32_t first_count;
    uint32_t count;          /* blocks wanted */
    uint64_t open_max_bytes; /* bytes of further pieces that may be opened (memory budget) */
    bool fast;               /* opens pieces of its own; else joins open pieces first */
    /* May ask for blocks asked of others, when nothing else is left.  With few at a time, and only
     * when nothing of the peer is outstanding, little comes twice. */
    bool endgame;
};

/* Fills out (room for ask->count) and marks the blocks as asked; gives how
 * many.  Blocks of one piece come in order, so that one disk read serves them
 * and they are hashed as they come.  The lists and the bits are borrowed, may
 * hold anything (pieces out of range or not had are skipped). */
uint32_t sp_picker_pick(struct sp_picker *p, const struct sp_pick *ask, struct sp_block_ref *out);

/* A run of pieces that are idle, wanted, and had by the peer (have as above), of the highest
 * priority that has one: the first of at least `least` pieces from near on and round, else the
 * longest; in sequential order the lowest.  Gives its length, at most max; 0: there is none.
 * O(piece_count / 64). */
uint32_t sp_picker_gap(struct sp_picker *p, const struct sp_bits *have, uint32_t near,
                       uint32_t least, uint32_t max, uint32_t *ret_first);

/* Rejected, cancelled, timed out, or the peer is gone: the block may be asked
 * again.  Nothing happens when it is not asked of that peer. */
void sp_picker_unask(struct sp_picker *p, struct sp_block_ref ref, uint32_t peer);
/* The peer is gone, choked us or is snubbed: its pieces are anybody's.  Its
 * requests are unasked one by one.  O(open pieces). */
void sp_picker_disown(struct sp_picker *p, uint32_t peer);

enum sp_got {
    SP_GOT_NEW,        /* data is kept */
    SP_GOT_PIECE_FULL, /* data is kept and the piece is FULL: hash it */
    SP_GOT_DUPLICATE,  /* that block is here already; data stays the caller's */
    SP_GOT_UNWANTED,   /* the piece is not open (had, abandoned, never asked); likewise */
};
/* A block has come.  Kept even when it was not asked of that peer (a late
 * answer to a request given up): drop what you never asked for before this.
 * After NEW or PIECE_FULL blocks[].askers lists who else to send a CANCEL. */
enum sp_got sp_picker_got(struct sp_picker *p, struct sp_block_ref ref, uint32_t peer,
                          uint8_t *data);
/* What sp_picker_got would say, without doing it. */
enum sp_got sp_picker_would_get(const struct sp_picker *p, struct sp_block_ref ref);

/* The record, or NULL.  Valid until the piece is closed. */
struct sp_open_piece *sp_picker_open(const struct sp_picker *p, uint32_t piece);
/* All records in the order of their opening; NULL at the end.  To close the
 * one at hand take next first. */
struct sp_open_piece *sp_picker_open_first(const struct sp_picker *p);
static inline struct sp_open_piece *sp_picker_open_next(const struct sp_open_piece *o)
{
    return o->next;
}

/* The hash did not match.  The record goes back to OPEN with all blocks FREE
 * and is given to one peer as a whole, if one can be found.  The caller must
 * have taken the data.  With keep_blame blocks[].from still says who sent what
 * until the block comes again. */
void sp_picker_failed(struct sp_picker *p, uint32_t piece, bool keep_blame);
/* Closes an open record (memory pressure, stop): the piece is IDLE again.
 * The caller must have taken the data.  Nothing happens without a record. */
void sp_picker_abandon(struct sp_picker *p, uint32_t piece);

/* Every wanted piece that some peer has is open and its blocks are asked for:
 * the time to set sp_pick.endgame.  Usually O(1), at worst O(open pieces). */
bool sp_picker_endgame_ready(const struct sp_picker *p);

/* Whether a piece is wanted: O(1), the question at a HAVE. */
bool sp_picker_wants(const struct sp_picker *p, uint32_t piece);
/* Whether, and how many pieces that we want are in bits (NULL: everything).
 * O(piece_count / 64).  Ask at the bitfield, then keep the count per peer: one
 * up at a HAVE of a wanted piece, one down when a piece it has becomes ours. */
bool sp_picker_wants_from(const struct sp_picker *p, const struct sp_bits *bits);
uint32_t sp_picker_interesting(const struct sp_picker *p, const struct sp_bits *bits);

#endif
