/* Where a peer's DHT node listens (BEP-0005).  Taken from any peer: clients
 * send it by their own bit alone, and it asks for nothing but a ping. */
#include "core/wire/message.h"

/* BEP-0005: "It begins with byte 0x09 and has a two byte payload containing the
 * UDP port of the DHT node in network byte order." */
enum sp_err sp_wire_read_port(const uint8_t *body, struct sp_wire_event *ev)
{
    ev->port = sp_be16(body);
    return SP_OK;
}

enum sp_err sp_wire_put_port(struct sp_buf *out, uint16_t port)
{
    enum sp_err err;
    uint8_t *body = sp_wire_put(out, SP_ID_PORT, 2, &err);
    if (!body)
        return err;
    body[0] = (uint8_t)(port >> 8);
    body[1] = (uint8_t)port;
    return SP_OK;
}
