/* ut_holepunch.h - two peers that cannot be reached are introduced by a third.
 *
 * Source: BEP-0055.
 *
 *   kind:1  family:1 (0 IPv4, 1 IPv6)  ip:4 or 16  port:2  error:4
 */
#ifndef SP_WIRE_UT_HOLEPUNCH_H
#define SP_WIRE_UT_HOLEPUNCH_H

#include "core/base/addr.h"

enum sp_holepunch_kind {
    SP_HOLEPUNCH_RENDEZVOUS = 0, /* to a relay: introduce me to this peer */
    SP_HOLEPUNCH_CONNECT = 1,    /* from a relay: connect to this peer now, it does the same */
    SP_HOLEPUNCH_ERROR = 2,      /* from a relay */
};

enum sp_holepunch_error {
    SP_HOLEPUNCH_OK = 0,
    SP_HOLEPUNCH_NO_SUCH_PEER = 1,
    SP_HOLEPUNCH_NOT_CONNECTED = 2,
    SP_HOLEPUNCH_NO_SUPPORT = 3,
    SP_HOLEPUNCH_NO_SELF = 4,
};

struct sp_holepunch_msg {
    enum sp_holepunch_kind kind;
    struct sp_addr addr;
    uint32_t error; /* enum sp_holepunch_error, or one that we do not know */
};

enum { SP_HOLEPUNCH_LEN_MAX = 24 };

/* v4-mapped addresses come out as IPv4; port 0 is let through.
 * SP_EPROTO  another kind or family, or not exactly as long as they tell */
SP_MUST_USE enum sp_err sp_holepunch_read(struct sp_slice payload,
                                          struct sp_holepunch_msg *ret_msg);
/* Gives the length. */
size_t sp_holepunch_write(const struct sp_holepunch_msg *msg, uint8_t buf[SP_HOLEPUNCH_LEN_MAX]);

#endif
