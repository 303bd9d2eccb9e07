/* Choke, unchoke, interested, not interested (BEP-0003) and the keepalive: no
 * body, so that reading them is wire.c's table alone. */
#include "core/wire/message.h"

/* BEP-0003: "Messages of length zero are keepalives, and ignored." */
enum sp_err sp_wire_put_keepalive(struct sp_buf *out)
{
    return sp_buf_append(out, "\0\0\0\0", 4);
}

enum sp_err sp_wire_put_choke(struct sp_buf *out, bool choke)
{
    return sp_wire_put_bare(out, choke ? SP_ID_CHOKE : SP_ID_UNCHOKE);
}

enum sp_err sp_wire_put_interested(struct sp_buf *out, bool interested)
{
    return sp_wire_put_bare(out, interested ? SP_ID_INTERESTED : SP_ID_NOT_INTERESTED);
}
