/* The advice of the fast extension: suggest, allowed-fast (BEP-0006).
 * Have-all and have-none are in have.c, reject is in request.c. */
#include "core/wire/message.h"

enum sp_err sp_wire_read_hint(struct sp_wire *w, const uint8_t *body, struct sp_wire_event *ev)
{
    ev->piece = sp_be32(body);
    return sp_wire_check_piece(w, ev->piece);
}

enum sp_err sp_wire_put_suggest(struct sp_buf *out, uint32_t piece)
{
    return sp_wire_put_number(out, SP_ID_SUGGEST, piece);
}

enum sp_err sp_wire_put_allowed_fast(struct sp_buf *out, uint32_t piece)
{
    return sp_wire_put_number(out, SP_ID_ALLOWED_FAST, piece);
}
