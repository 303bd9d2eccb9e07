/* wire.h - the messages of one peer connection: bytes in, events out; and the
 * writers of all messages.
 *
 * Source: BEP-0003 "peer messages", BEP-0005 (port), BEP-0006 (fast),
 * BEP-0010 (extended), BEP-0054 (donthave).
 *
 *   len:4  id:1  body:len-1       len 0 is a keepalive
 *
 * A pure parser: it knows what a message may look like at this point of the
 * connection, not what it is good for.  Drive it so:
 *
 *   do {
 *       err = sp_wire_recv(w, in, &used, &ev);    in = in minus used
 *       ... ev ...
 *   } while (err == SP_OK && ev.kind != SP_WIRE_NONE);
 *
 * Bulk data is not copied: BLOCK announces a block, each BLOCK_DATA is a slice
 * of the very bytes handed in, BLOCK_END closes it.  So a caller who knows
 * sp_wire_block_left can receive a payload straight into its block and pass
 * that memory as in.
 *
 * A wire that gave NONE between two messages holds no heap memory.
 */
#ifndef SP_WIRE_WIRE_H
#define SP_WIRE_WIRE_H

#include "core/base/bits.h"
#include "core/base/buf.h"
#include "core/wire/ext_handshake.h"
#include "core/wire/handshake.h"

enum {
    SP_WIRE_PIECE_HEAD_LEN = 13,           /* length, id, piece, offset */
    SP_WIRE_REQUEST_LEN_MAX = 128 * 1024,  /* longest block a peer may ask for */
    SP_WIRE_BITFIELD_LEN_MAX = 256 * 1024, /* while the piece count is not known */
    SP_WIRE_SKIP_LEN_MAX = 64 * 1024,      /* longest unknown message passed over */
};

struct sp_wire_cfg {
    const struct sp_mem *mem;
    /* What we send: its reserved bits decide which extensions are on (both
     * sides must have the bit), its info-hash must come back. */
    struct sp_handshake own;
    uint32_t piece_count;   /* 0: not known yet; then no index is checked against it */
    uint32_t piece_len;     /* bytes; > 0 when piece_count is */
    uint64_t total_len;     /* bytes; in the last piece's range */
    uint32_t block_len_max; /* longest piece payload taken; SP_BLOCK_LEN normally */
    uint32_t ext_len_max;   /* longest extended payload taken, its id not counted */
};

enum sp_wire_kind {
    SP_WIRE_NONE, /* all of in is used, no event is whole */
    SP_WIRE_HANDSHAKE,
    SP_WIRE_KEEPALIVE,
    SP_WIRE_CHOKE,
    SP_WIRE_UNCHOKE,
    SP_WIRE_INTERESTED,
    SP_WIRE_NOT_INTERESTED,
    SP_WIRE_HAVE,
    SP_WIRE_BITFIELD,
    SP_WIRE_HAVE_ALL,
    SP_WIRE_HAVE_NONE,
    SP_WIRE_REQUEST,
    SP_WIRE_CANCEL,
    SP_WIRE_REJECT,
    SP_WIRE_SUGGEST,
    SP_WIRE_ALLOWED_FAST,
    SP_WIRE_PORT,
    SP_WIRE_BLOCK,
    SP_WIRE_BLOCK_DATA,
    SP_WIRE_BLOCK_END,
    SP_WIRE_EXT_HANDSHAKE,
    SP_WIRE_EXTENDED,
    SP_WIRE_DONTHAVE,
};

/* Only kind and the fields that name it are set. */
struct sp_wire_event {
    enum sp_wire_kind kind;
    uint32_t piece; /* HAVE REQUEST CANCEL REJECT SUGGEST ALLOWED_FAST DONTHAVE BLOCK* */
    /* REQUEST CANCEL REJECT BLOCK BLOCK_DATA BLOCK_END: bytes from the start of
     * the piece and bytes of the whole block, also in each BLOCK_DATA. */
    uint32_t off, len;
    uint32_t block_off; /* BLOCK_DATA: bytes of this block before data */
    uint16_t port;      /* PORT: the peer's DHT node (UDP); may be 0 */
    uint8_t id;         /* EXTENDED: enum sp_ext, never one that we do not know */
    union {
        struct sp_slice bits; /* BITFIELD: right length and spare bits if piece_count was known */
        struct sp_slice payload;        /* EXTENDED: what follows the id.  Both last until the next
                                         * sp_wire_recv or _done, and no longer than in does */
        struct sp_slice data;           /* BLOCK_DATA: into in, at least one byte */
        struct sp_handshake handshake;  /* HANDSHAKE */
        struct sp_ext_handshake ext_hs; /* EXT_HANDSHAKE: may come again; w->ext_ids is merged */
    };
};

/* Caller's storage; what callers read comes first. */
struct sp_wire {
    bool fast, ext, dht;           /* in force: both handshakes have the bit */
    uint8_t ext_ids[SP_EXT_COUNT]; /* the peer's id for each extension; 0: off */

    /* private */
    uint8_t phase;
    uint8_t head_len; /* bytes of head gathered */
    bool own_fast, own_ext, own_dht;
    uint8_t big_kind; /* enum sp_wire_kind of the message that big gathers */
    uint8_t ext_id;   /* and its id when it is an extended one */
    enum sp_err err;
    const char *why; /* static text */
    const struct sp_mem *mem;
    uint8_t *big; /* body of a bitfield or extended message that came in parts */
    uint32_t big_len, big_cap;
    uint32_t left;            /* bytes still to come of what phase reads */
    uint32_t piece, off, len; /* of the block being received */
    uint32_t piece_count, piece_len, block_len_max, ext_len_max;
    uint64_t total_len;
    uint8_t info_hash[20];
    uint8_t head[SP_HANDSHAKE_LEN]; /* a handshake or message head that came in parts */
};
_Static_assert(sizeof(struct sp_wire) <= 256, "idle connections must be cheap");

/* Copies cfg (mem is kept). */
void sp_wire_init(struct sp_wire *w, const struct sp_wire_cfg *cfg);
/* Takes a zeroed wire. */
void sp_wire_done(struct sp_wire *w);

/* The metadata has come (magnet): checks indices from here on.  What came
 * earlier was not checked; SP_WIRE_BITFIELD kept by the caller goes through
 * sp_bits_load. */
void sp_wire_learn(struct sp_wire *w, uint32_t piece_count, uint32_t piece_len, uint64_t total_len);

/* Takes bytes until one event is whole or in is used up, and keeps no pointer
 * into in.  Call again with the rest until kind is SP_WIRE_NONE: an event may
 * be left for a call with nothing in it (BLOCK_END always comes so).
 * SP_EPROTO  the peer broke the protocol; sp_wire_why says how
 * SP_ENOMEM  no memory for a bitfield or extended message
 * An error is the answer to every later call too; ret_ev is then undefined. */
SP_MUST_USE enum sp_err sp_wire_recv(struct sp_wire *w, struct sp_slice in, size_t *ret_used,
                                     struct sp_wire_event *ret_ev);

/* What the error was, for a person: static, one line; "" without an error. */
const char *sp_wire_why(const struct sp_wire *w);

/* Payload bytes of the current piece message still to come; 0 outside one. */
uint32_t sp_wire_block_left(const struct sp_wire *w);

/* No part of a message is held, no BLOCK_END is waiting. */
bool sp_wire_at_boundary(const struct sp_wire *w);

/* Writers append one whole message or nothing.  Indices and lengths are the
 * caller's to get right.  SP_ELIMIT, SP_ENOMEM: as sp_buf_append. */
enum sp_err sp_wire_put_handshake(struct sp_buf *out, const struct sp_handshake *hs);
enum sp_err sp_wire_put_keepalive(struct sp_buf *out);
enum sp_err sp_wire_put_choke(struct sp_buf *out, bool choke);
enum sp_err sp_wire_put_interested(struct sp_buf *out, bool interested);
enum sp_err sp_wire_put_have(struct sp_buf *out, uint32_t piece);
enum sp_err sp_wire_put_bitfield(struct sp_buf *out, const struct sp_bits *bits);
enum sp_err sp_wire_put_request(struct sp_buf *out, uint32_t piece, uint32_t off, uint32_t len);
enum sp_err sp_wire_put_cancel(struct sp_buf *out, uint32_t piece, uint32_t off, uint32_t len);
enum sp_err sp_wire_put_port(struct sp_buf *out, uint16_t port);
/* The five below only where w->fast. */
enum sp_err sp_wire_put_have_all(struct sp_buf *out);
enum sp_err sp_wire_put_have_none(struct sp_buf *out);
enum sp_err sp_wire_put_reject(struct sp_buf *out, uint32_t piece, uint32_t off, uint32_t len);
enum sp_err sp_wire_put_suggest(struct sp_buf *out, uint32_t piece);
enum sp_err sp_wire_put_allowed_fast(struct sp_buf *out, uint32_t piece);
/* Only where w->ext; id is the peer's: w->ext_ids[...]. */
enum sp_err sp_wire_put_ext_handshake(struct sp_buf *out, const struct sp_ext_handshake *hs);
enum sp_err sp_wire_put_extended(struct sp_buf *out, uint8_t id, struct sp_slice payload);
enum sp_err sp_wire_put_donthave(struct sp_buf *out, uint8_t id, uint32_t piece);

/* What goes before a block's bytes, for senders that do not copy them. */
void sp_wire_piece_head(uint8_t buf[SP_WIRE_PIECE_HEAD_LEN], uint32_t piece, uint32_t off,
                        uint32_t len);

#endif
