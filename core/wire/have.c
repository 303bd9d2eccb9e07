/* What a peer has: have, bitfield (BEP-0003), have-all, have-none (BEP-0006).
 *
 * BEP-0003, not followed: "'bitfield' is only ever sent as the first message",
 * BEP-0006, not followed: "Exactly one of Have All, Have None, or Have Bitfield
 * MUST appear and only immediately after the handshake."  They are taken at any
 * time, and the last one holds:
 * Custom: seen in aria2, which sends a bitfield instead of many haves whenever
 * that is shorter; libtorrent sends it once a magnet's metadata has come.
 */
#include "core/wire/message.h"

enum sp_err sp_wire_read_have(struct sp_wire *w, const uint8_t *body, struct sp_wire_event *ev)
{
    ev->piece = sp_be32(body);
    return sp_wire_check_piece(w, ev->piece);
}

enum sp_err sp_wire_check_bitfield_len(struct sp_wire *w, uint32_t len)
{
    if (w->piece_count ? len != sp_bits_wire_len(w->piece_count)
                       : len == 0 || len > SP_WIRE_BITFIELD_LEN_MAX)
        return sp_wire_fail(w, SP_EPROTO, "sends a bitfield of the wrong length");
    return SP_OK;
}

enum sp_err sp_wire_read_bitfield(struct sp_wire *w, struct sp_slice body, struct sp_wire_event *ev)
{
    /* Again: the piece count may have been learned while the bits arrived. */
    if (w->piece_count && body.len != sp_bits_wire_len(w->piece_count))
        return sp_wire_fail(w, SP_EPROTO, "sends a bitfield of the wrong length");
    /* BEP-0003: "Spare bits at the end are set to zero." */
    if ((w->piece_count & 7) && (body.ptr[body.len - 1] & (0xffu >> (w->piece_count & 7))))
        return sp_wire_fail(w, SP_EPROTO, "sets bits beyond the end of its bitfield");
    ev->kind = SP_WIRE_BITFIELD;
    ev->bits = body;
    return SP_OK;
}

enum sp_err sp_wire_put_have(struct sp_buf *out, uint32_t piece)
{
    return sp_wire_put_number(out, SP_ID_HAVE, piece);
}

enum sp_err sp_wire_put_bitfield(struct sp_buf *out, const struct sp_bits *bits)
{
    enum sp_err err;
    size_t len = sp_bits_wire_len(bits->count);
    uint8_t *body = sp_wire_put(out, SP_ID_BITFIELD, len, &err);
    if (body && len > 0)
        memcpy(body, bits->bytes, len);
    return err;
}

enum sp_err sp_wire_put_have_all(struct sp_buf *out)
{
    return sp_wire_put_bare(out, SP_ID_HAVE_ALL);
}

enum sp_err sp_wire_put_have_none(struct sp_buf *out)
{
    return sp_wire_put_bare(out, SP_ID_HAVE_NONE);
}
