/* The extended message (BEP-0010) and the one extension that is a plain peer
 * message, donthave (BEP-0054). */
#include "core/base/out.h"
#include "core/wire/message.h"

enum sp_err sp_wire_check_extended_len(struct sp_wire *w, uint8_t id, uint32_t len)
{
    /* BEP-0054: "DontHave: <len=0x0006><op=20><subop=xx><index>" */
    if (id == SP_EXT_LT_DONTHAVE && len != 4)
        return sp_wire_fail(w, SP_EPROTO, "sends a message of the wrong length for its type");
    if (len > w->ext_len_max)
        return sp_wire_fail(w, SP_EPROTO, "sends an extended message that is too long");
    return SP_OK;
}

enum sp_err sp_wire_read_donthave(struct sp_wire *w, const uint8_t *body, struct sp_wire_event *ev)
{
    ev->kind = SP_WIRE_DONTHAVE;
    ev->piece = sp_be32(body);
    return sp_wire_check_piece(w, ev->piece);
}

enum sp_err sp_wire_read_extended(struct sp_wire *w, struct sp_slice payload,
                                  struct sp_wire_event *ev)
{
    if (w->ext_id != SP_EXT_HANDSHAKE) {
        ev->kind = SP_WIRE_EXTENDED;
        ev->id = w->ext_id;
        ev->payload = payload;
        return SP_OK;
    }

    if (sp_ext_handshake_read(payload, &ev->ext_hs) != SP_OK)
        return sp_wire_fail(w, SP_EPROTO, "sends a malformed extension handshake");
    /* BEP-0010: "It is valid to send the handshake message more than once" */
    sp_ext_handshake_merge(&ev->ext_hs, w->ext_ids);
    ev->kind = SP_WIRE_EXT_HANDSHAKE;
    return SP_OK;
}

enum sp_err sp_wire_put_extended(struct sp_buf *out, uint8_t id, struct sp_slice payload)
{
    enum sp_err err;
    uint8_t *body = sp_wire_put(out, SP_ID_EXTENDED, 1 + payload.len, &err);
    if (!body)
        return err;
    body[0] = id;
    if (payload.len > 0)
        memcpy(body + 1, payload.ptr, payload.len);
    return SP_OK;
}

enum sp_err sp_wire_put_ext_handshake(struct sp_buf *out, const struct sp_ext_handshake *hs)
{
    uint8_t dict[SP_EXT_HANDSHAKE_LEN_MAX];
    size_t len;
    enum sp_err err = sp_ext_handshake_write(hs, dict, sizeof(dict), &len);
    if (err != SP_OK)
        return err;
    return sp_wire_put_extended(out, SP_EXT_HANDSHAKE, (struct sp_slice){dict, len});
}

enum sp_err sp_wire_put_donthave(struct sp_buf *out, uint8_t id, uint32_t piece)
{
    uint8_t payload[4];
    sp_put_be32(payload, piece);
    return sp_wire_put_extended(out, id, (struct sp_slice){payload, sizeof(payload)});
}
