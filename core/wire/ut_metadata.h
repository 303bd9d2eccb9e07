/* ut_metadata.h - the messages by which peers hand on the info dictionary.
 *
 * Source: BEP-0009 "extension message".  A payload of SP_EXT_UT_METADATA: a
 * bencoded dictionary, and behind a "data" the bytes themselves.
 */
#ifndef SP_WIRE_UT_METADATA_H
#define SP_WIRE_UT_METADATA_H

#include "spate/err.h"

enum {
    SP_METADATA_PIECE_LEN = 16384, /* of all but the last piece */
    SP_UT_METADATA_LEN_MAX = SP_METADATA_PIECE_LEN + 64,
};

enum sp_ut_metadata_kind {
    SP_UT_METADATA_REQUEST = 0,
    SP_UT_METADATA_DATA = 1,
    SP_UT_METADATA_REJECT = 2,
    SP_UT_METADATA_OTHER = 3, /* a type of the future: to be passed over */
};

struct sp_ut_metadata {
    enum sp_ut_metadata_kind kind;
    uint32_t piece;       /* index */
    uint32_t total_size;  /* DATA: bytes of the whole; 0: not told */
    struct sp_slice data; /* DATA: 1..SP_METADATA_PIECE_LEN bytes, borrowed from the payload */
};

/* SP_EPROTO  no dictionary, no type or piece in it, or data of no possible length */
SP_MUST_USE enum sp_err sp_ut_metadata_read(struct sp_slice payload,
                                            struct sp_ut_metadata *ret_msg);
/* SP_ELIMIT  cap is too small; SP_UT_METADATA_LEN_MAX is room for any. */
SP_MUST_USE enum sp_err sp_ut_metadata_write(const struct sp_ut_metadata *msg, uint8_t *buf,
                                             size_t cap, size_t *ret_len);

static inline uint32_t sp_metadata_piece_count(uint64_t size)
{
    return (uint32_t)((size + SP_METADATA_PIECE_LEN - 1) / SP_METADATA_PIECE_LEN);
}

/* piece below the count. */
static inline uint32_t sp_metadata_piece_len(uint64_t size, uint32_t piece)
{
    uint64_t left = size - (uint64_t)piece * SP_METADATA_PIECE_LEN;
    return left < SP_METADATA_PIECE_LEN ? (uint32_t)left : SP_METADATA_PIECE_LEN;
}

#endif
