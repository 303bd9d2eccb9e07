/* message.h - what the files of one message group share; private to core/wire.
 *
 * wire.c cuts the stream into messages and owns their order.  It hands a
 * group's reader the fixed part of a body (after the id), whose length it has
 * checked; a reader judges the values and fills the event.
 */
#ifndef SP_WIRE_MESSAGE_H
#define SP_WIRE_MESSAGE_H

#include "core/base/cur.h"
#include "core/wire/wire.h"

/* BEP-0003 "peer messages", BEP-0004 "Reserved Message IDs" */
enum sp_wire_id {
    SP_ID_CHOKE = 0,
    SP_ID_UNCHOKE = 1,
    SP_ID_INTERESTED = 2,
    SP_ID_NOT_INTERESTED = 3,
    SP_ID_HAVE = 4,
    SP_ID_BITFIELD = 5,
    SP_ID_REQUEST = 6,
    SP_ID_PIECE = 7,
    SP_ID_CANCEL = 8,
    SP_ID_PORT = 9,
    SP_ID_SUGGEST = 13,
    SP_ID_HAVE_ALL = 14,
    SP_ID_HAVE_NONE = 15,
    SP_ID_REJECT = 16,
    SP_ID_ALLOWED_FAST = 17,
    SP_ID_EXTENDED = 20,
    SP_ID_COUNT = 21,
};

/* Ends the wire: err and why stick, memory goes. */
enum sp_err sp_wire_fail(struct sp_wire *w, enum sp_err err, const char *why);

/* SP_EPROTO  there is no such piece */
enum sp_err sp_wire_check_piece(struct sp_wire *w, uint32_t piece);

/* len:4 id:1 and body_len bytes of room; NULL and ret_err otherwise. */
uint8_t *sp_wire_put(struct sp_buf *out, uint8_t id, size_t body_len, enum sp_err *ret_err);
/* A message without a body. */
enum sp_err sp_wire_put_bare(struct sp_buf *out, uint8_t id);
/* A message of one number. */
enum sp_err sp_wire_put_number(struct sp_buf *out, uint8_t id, uint32_t number);

/* have.c */
enum sp_err sp_wire_read_have(struct sp_wire *w, const uint8_t *body, struct sp_wire_event *ev);
enum sp_err sp_wire_check_bitfield_len(struct sp_wire *w, uint32_t len);
enum sp_err sp_wire_read_bitfield(struct sp_wire *w, struct sp_slice body,
                                  struct sp_wire_event *ev);

/* request.c */
enum sp_err sp_wire_read_request(struct sp_wire *w, const uint8_t *body, struct sp_wire_event *ev);
/* len: bytes of payload after the 8 of body */
enum sp_err sp_wire_read_piece(struct sp_wire *w, const uint8_t *body, uint32_t len,
                               struct sp_wire_event *ev);

/* fast.c */
enum sp_err sp_wire_read_hint(struct sp_wire *w, const uint8_t *body, struct sp_wire_event *ev);

/* port.c */
enum sp_err sp_wire_read_port(const uint8_t *body, struct sp_wire_event *ev);

/* extended.c: len counts what follows the extension's id */
enum sp_err sp_wire_check_extended_len(struct sp_wire *w, uint8_t id, uint32_t len);
enum sp_err sp_wire_read_donthave(struct sp_wire *w, const uint8_t *body, struct sp_wire_event *ev);
enum sp_err sp_wire_read_extended(struct sp_wire *w, struct sp_slice payload,
                                  struct sp_wire_event *ev);

#endif
