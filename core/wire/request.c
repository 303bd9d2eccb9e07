/* Blocks: request, cancel, piece (BEP-0003), reject (BEP-0006). */
#include "core/base/out.h"
#include "core/wire/message.h"

/* Is [off, off + len) inside the piece?  Unknown while the torrent is. */
static enum sp_err check_range(struct sp_wire *w, uint32_t piece, uint32_t off, uint32_t len)
{
    enum sp_err err = sp_wire_check_piece(w, piece);
    if (err != SP_OK)
        return err;
    if (len == 0)
        return sp_wire_fail(w, SP_EPROTO, "names a block of no bytes");
    if (w->piece_count == 0)
        return SP_OK;

    uint64_t start = (uint64_t)piece * w->piece_len;
    uint64_t rest = w->total_len > start ? w->total_len - start : 0;
    uint64_t piece_len = rest < w->piece_len ? rest : w->piece_len;
    if ((uint64_t)off + len > piece_len)
        return sp_wire_fail(w, SP_EPROTO, "names a block that is not inside its piece");
    return SP_OK;
}

enum sp_err sp_wire_read_request(struct sp_wire *w, const uint8_t *body, struct sp_wire_event *ev)
{
    ev->piece = sp_be32(body);
    ev->off = sp_be32(body + 4);
    ev->len = sp_be32(body + 8);
    /* BEP-0003, not followed: "close connections which request an amount
     * greater than" 16 KiB.  128 KiB was mainline's limit, and libtorrent asks
     * fast peers for more than one block at a time. */
    if (ev->len > SP_WIRE_REQUEST_LEN_MAX)
        return sp_wire_fail(w, SP_EPROTO, "asks for more than 128 KiB at once");
    return check_range(w, ev->piece, ev->off, ev->len);
}

enum sp_err sp_wire_read_piece(struct sp_wire *w, const uint8_t *body, uint32_t len,
                               struct sp_wire_event *ev)
{
    /* BEP-0006: "if a peer receives a piece that was never requested, the peer
     * MUST close the connection." */
    if (w->piece_count == 0)
        return sp_wire_fail(w, SP_EPROTO, "sends a block before any could be asked for");
    ev->piece = w->piece = sp_be32(body);
    ev->off = w->off = sp_be32(body + 4);
    ev->len = w->len = len;
    return check_range(w, w->piece, w->off, w->len);
}

static enum sp_err put_block(struct sp_buf *out, uint8_t id, uint32_t piece, uint32_t off,
                             uint32_t len)
{
    enum sp_err err;
    uint8_t *body = sp_wire_put(out, id, 12, &err);
    if (!body)
        return err;
    sp_put_be32(body, piece);
    sp_put_be32(body + 4, off);
    sp_put_be32(body + 8, len);
    return SP_OK;
}

enum sp_err sp_wire_put_request(struct sp_buf *out, uint32_t piece, uint32_t off, uint32_t len)
{
    return put_block(out, SP_ID_REQUEST, piece, off, len);
}

enum sp_err sp_wire_put_cancel(struct sp_buf *out, uint32_t piece, uint32_t off, uint32_t len)
{
    return put_block(out, SP_ID_CANCEL, piece, off, len);
}

enum sp_err sp_wire_put_reject(struct sp_buf *out, uint32_t piece, uint32_t off, uint32_t len)
{
    return put_block(out, SP_ID_REJECT, piece, off, len);
}

void sp_wire_piece_head(uint8_t buf[SP_WIRE_PIECE_HEAD_LEN], uint32_t piece, uint32_t off,
                        uint32_t len)
{
    sp_put_be32(buf, 9 + len);
    buf[4] = SP_ID_PIECE;
    sp_put_be32(buf + 5, piece);
    sp_put_be32(buf + 9, off);
}
